//! What a URL says about TLS, as libpq reads it.

use std::{borrow::Cow, path::PathBuf};

use percent_encoding::percent_decode_str;

use crate::{Error, ErrorKind};

/// Whether connections to PostgreSQL are encrypted, and what is checked of the server: libpq's
/// `sslmode`.
///
/// Only [`VerifyFull`](Self::VerifyFull) protects against somebody between this process and the
/// server. Unix sockets are never encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum PostgresSslMode {
    /// Never encrypted.
    Disable,
    /// Encrypted only if the server refuses a connection that is not.
    Allow,
    /// Encrypted if the server offers it; its certificate is not checked. Without the feature
    /// `rustls`, as `Disable`.
    #[default]
    Prefer,
    /// Encrypted. The certificate is checked as for `VerifyCa` if there are root certificates, else
    /// not at all.
    Require,
    /// Encrypted, and a trusted authority has signed the certificate, for whatever name.
    VerifyCa,
    /// Encrypted, and a trusted authority has signed the certificate for the host name of the URL.
    VerifyFull,
}

impl PostgresSslMode {
    fn parse(value: &str) -> Option<Self> {
        Some(match value {
            "disable" => Self::Disable,
            "allow" => Self::Allow,
            "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => return None,
        })
    }

    #[cfg(not(feature = "rustls"))]
    const fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Allow => "allow",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

/// Which authorities are trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Roots {
    /// The system's where a certificate must be checked. libpq would look for
    /// `~/.postgresql/root.crt`, which a server rarely has.
    #[default]
    Unset,
    System,
    File(PathBuf),
    #[cfg(feature = "rustls")]
    Pem(Vec<u8>),
}

/// The part of the options that is about TLS.
#[derive(Clone, Debug, Default)]
pub(super) struct Ssl {
    pub(super) mode: PostgresSslMode,
    pub(super) roots: Roots,
}

/// The parameters that the driver reads, besides those read here.
const KNOWN: [&str; 18] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "load_balance_hosts",
    "options",
    "password",
    "port",
    "sslnegotiation",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

impl Ssl {
    /// Takes `sslmode` and `sslrootcert` out of a URL: the driver does not know all of their
    /// values.
    ///
    /// # Errors
    ///
    /// When a value is wrong, or a parameter is not supported; the message names it.
    pub(super) fn take_from(url: &str) -> Result<(Self, Cow<'_, str>), Error> {
        // As the driver: credentials end at the first `@`, and may contain a `?`.
        let credentials = url.find('@').map_or(0, |at| at + 1);
        let Some(query) = url[credentials..].find('?').map(|at| credentials + at + 1) else {
            return Ok((Self::default(), Cow::Borrowed(url)));
        };
        let (mut mode, mut roots) = (None, Roots::Unset);
        let mut rest = Vec::new();
        for pair in url[query..].split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = || percent_decode_str(value).decode_utf8_lossy();
            match key {
                "sslmode" => {
                    let hint = "`sslmode` is disable, allow, prefer, require, verify-ca or verify-full";
                    mode = Some(PostgresSslMode::parse(&value()).ok_or_else(|| refuse(hint))?);
                }
                "sslrootcert" => {
                    roots = match &*value() {
                        "" => Roots::Unset,
                        "system" => Roots::System,
                        path => Roots::File(path.into()),
                    }
                }
                // The driver has no Kerberos, so these two are always met.
                "gssencmode" if matches!(&*value(), "disable" | "prefer") => {}
                key if KNOWN.contains(&key) => rest.push(pair),
                key => return Err(unsupported(key)),
            }
        }
        if roots == Roots::System && mode.is_some_and(|mode| mode != PostgresSslMode::VerifyFull) {
            return Err(refuse("`sslrootcert=system` needs `sslmode=verify-full`, as in libpq"));
        }
        let default =
            if roots == Roots::System { PostgresSslMode::VerifyFull } else { PostgresSslMode::Prefer };
        let ssl = Self { mode: mode.unwrap_or(default), roots };
        Ok((ssl, Cow::Owned(format!("{}{}", &url[..query], rest.join("&")))))
    }

    /// Whether this build can do what is asked.
    #[cfg(not(feature = "rustls"))]
    pub(super) fn check(&self) -> Result<(), Error> {
        let what = match (self.mode, &self.roots) {
            (PostgresSslMode::Disable, _) => return Ok(()),
            (_, Roots::System | Roots::File(_)) => "sslrootcert",
            (PostgresSslMode::Allow | PostgresSslMode::Prefer, _) => return Ok(()),
            (mode, _) => mode.as_str(),
        };
        let what = if what == "sslrootcert" { what.to_owned() } else { format!("sslmode={what}") };
        let message = format!(
            "`{what}` needs the feature `rustls`; enable it, or pass in a pool with TLS of another kind"
        );
        Err(Error::new(ErrorKind::Configuration, message))
    }
}

fn refuse(message: &'static str) -> Error {
    Error::new(ErrorKind::Configuration, message)
}

/// Names a parameter, if that cannot be a part of a password.
fn unsupported(key: &str) -> Error {
    if key.is_empty() || key.len() > 32 || !key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    {
        return refuse("the URL of the PostgreSQL database has a parameter that is not supported");
    }
    let what = match key {
        "sslcert" | "sslkey" | "sslpassword" | "sslcertmode" => ": client certificates are not",
        "sslcrl" | "sslcrldir" => ": revocation lists are not",
        "gssencmode" | "krbsrvname" | "gsslib" | "gssdelegation" => ": Kerberos is not",
        _ => "",
    };
    let message = format!(
        "the parameter `{key}` of a PostgreSQL URL is not supported{what}; leave it out, or pass in a pool that has it"
    );
    Error::new(ErrorKind::Configuration, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> (PostgresSslMode, Roots, String) {
        let (ssl, rest) = Ssl::take_from(url).unwrap();
        (ssl.mode, ssl.roots, rest.into_owned())
    }

    #[test]
    fn d4_the_parameters_about_tls_are_taken_out_of_the_url() {
        use PostgresSslMode::{Prefer, Require, VerifyCa, VerifyFull};
        let file = |path: &str| Roots::File(path.into());
        for (url, mode, roots, rest) in [
            ("postgres://h/x", Prefer, Roots::Unset, "postgres://h/x"),
            ("postgres://h/x?sslmode=require", Require, Roots::Unset, "postgres://h/x?"),
            ("postgres://h/x?a@b", Prefer, Roots::Unset, "postgres://h/x?a@b"),
            ("postgres://m:p?sslmode=x@h/x", Prefer, Roots::Unset, "postgres://m:p?sslmode=x@h/x"),
            (
                "postgres://h/x?connect_timeout=3&sslmode=verify-ca&sslrootcert=/a%20b.crt&port=1",
                VerifyCa,
                file("/a b.crt"),
                "postgres://h/x?connect_timeout=3&port=1",
            ),
            ("postgres://h/x?sslrootcert=system", VerifyFull, Roots::System, "postgres://h/x?"),
            ("postgres://h/x?sslrootcert=ca.pem", Prefer, file("ca.pem"), "postgres://h/x?"),
            ("postgres://h/x?gssencmode=disable", Prefer, Roots::Unset, "postgres://h/x?"),
        ] {
            assert_eq!(read(url), (mode, roots, rest.to_owned()), "{url}");
        }
    }

    #[test]
    fn d4_what_is_not_supported_is_named() {
        for (query, named) in [
            ("sslmode=verify_full", "verify-full"),
            ("sslmode=", "`sslmode`"),
            ("sslcert=/x", "`sslcert`"),
            ("sslcert=/x", "client certificates"),
            ("sslcrl=/x", "revocation lists"),
            ("gssencmode=require", "Kerberos"),
            ("ssl_min_protocol_version=TLSv1.3", "`ssl_min_protocol_version`"),
            ("sslmode=require&sslrootcert=system", "verify-full"),
        ] {
            let error = Ssl::take_from(&format!("postgres://me:hunter2@h/x?{query}")).unwrap_err();
            let said = error.to_string();
            assert!(
                said.contains(named) && !said.contains("hunter2") && !said.contains('\n'),
                "{query}: {said}"
            );
        }
        let said = Ssl::take_from("postgres://h/x?Hunter2=1").unwrap_err().to_string();
        assert!(!said.contains("Hunter2"), "{said}");
    }
}
