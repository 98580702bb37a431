//! The session cookie: its name and attributes, and how it is read, set and removed.

mod base64;
#[cfg(feature = "device-binding")]
mod bound;
mod read;
mod token;
mod write;

use cookie::Cookie;
use http::HeaderValue;
use memchr::memmem::Finder;

#[cfg(feature = "device-binding")]
pub(crate) use self::token::fill;
pub(crate) use self::{read::Candidates, token::Token, write::varies_by_cookie};
use crate::{Error, ErrorKind};

/// The session cookie's name and attributes.
///
/// The default is `__Host-id` with `Secure; HttpOnly; SameSite=Lax; Path=/`: bound to this host,
/// unreadable by scripts, and not sent with cross-site subrequests. It is always `HttpOnly`.
///
/// # Example
///
/// ```
/// use tower_tenure::cookie::{SameSite, SessionCookie};
///
/// let cookie = SessionCookie::builder("__Host-admin").with_same_site(SameSite::Strict).build()?;
/// assert_eq!(cookie.name(), "__Host-admin");
///
/// // `build` refuses what a browser would refuse, and says how to correct it.
/// let error = SessionCookie::builder("__Host-admin").with_path("/admin").build().unwrap_err();
/// assert_eq!(error.to_string(), "a cookie named __Host-… needs Path=/: drop the path or the prefix");
/// # Ok::<(), tower_tenure::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SessionCookie {
    name: Box<str>,
    finder: Finder<'static>,
    /// `; HttpOnly; SameSite=Lax; Secure; Path=/`, rendered once.
    attributes: Box<str>,
    removal: HeaderValue,
    secure: bool,
}

/// When a browser sends a cookie along with requests that another site started (RFC 6265bis,
/// section 4.1.2.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SameSite {
    /// Never.
    Strict,
    /// With top-level navigations only.
    #[default]
    Lax,
    /// Always; browsers then require `Secure`.
    None,
}

impl Default for SessionCookie {
    fn default() -> Self {
        Self::builder("__Host-id").build().expect("the default cookie is one that browsers accept")
    }
}

impl SessionCookie {
    /// A builder with the default attributes and another name.
    pub fn builder(name: impl Into<String>) -> CookieBuilder {
        CookieBuilder {
            name: name.into(),
            domain: None,
            path: "/".to_owned(),
            same_site: SameSite::default(),
            secure: true,
            partitioned: false,
        }
    }

    /// A cookie named `id` without `Secure`, for development over plain http only.
    ///
    /// Rarely needed: browsers accept `Secure` cookies from `http://localhost` and
    /// `http://127.0.0.1`, so the default works there. Use this for development on another machine
    /// of the network. Anyone on that network can steal the cookie.
    pub fn insecure_for_http_development() -> Self {
        match Self::builder("id").with_insecure_http_development().build() {
            Ok(cookie) => cookie,
            Err(_) => unreachable!("browsers accept the development cookie"),
        }
    }

    fn new(name: &str, attributes: &str, secure: bool) -> Result<Self, Error> {
        let removal = format!("{name}={attributes}; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0");
        Ok(Self {
            finder: Finder::new(name.as_bytes()).into_owned(),
            attributes: attributes.into(),
            removal: HeaderValue::try_from(removal).map_err(|error| {
                refuse("the cookie's attributes contain characters that a header cannot carry")
                    .with_source(error)
            })?,
            secure,
            name: name.into(),
        })
    }

    /// The cookie's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has the attribute `Secure`.
    pub const fn is_secure(&self) -> bool {
        self.secure
    }
}

/// Builds a [`SessionCookie`]; see [`SessionCookie::builder`].
#[derive(Clone, Debug)]
#[must_use = "call build"]
pub struct CookieBuilder {
    name: String,
    domain: Option<String>,
    path: String,
    same_site: SameSite,
    secure: bool,
    partitioned: bool,
}

impl CookieBuilder {
    /// Shares the cookie with this domain and its subdomains. The `__Host-` prefix forbids this.
    pub fn with_domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into());
        self
    }

    /// Limits the cookie to paths below this one; `/` by default. The `__Host-` prefix requires
    /// `/`.
    pub fn with_path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Sets when the browser sends the cookie with requests that another site started; `Lax` by
    /// default.
    pub const fn with_same_site(mut self, same_site: SameSite) -> Self {
        self.same_site = same_site;
        self
    }

    /// Keeps a separate cookie for each top-level site (CHIPS), for embedded pages; off by default.
    pub const fn with_partitioned(mut self, partitioned: bool) -> Self {
        self.partitioned = partitioned;
        self
    }

    /// Removes `Secure`; see [`SessionCookie::insecure_for_http_development`] for the risk.
    pub const fn with_insecure_http_development(mut self) -> Self {
        self.secure = false;
        self
    }

    /// Checks the settings and builds the cookie.
    ///
    /// # Errors
    ///
    /// When a browser would refuse the cookie; the message says how to correct it.
    pub fn build(self) -> Result<SessionCookie, Error> {
        self.check()?;
        let Self { name, domain, path, same_site, secure, partitioned } = self;
        let same_site = match same_site {
            SameSite::Strict => cookie::SameSite::Strict,
            SameSite::Lax => cookie::SameSite::Lax,
            SameSite::None => cookie::SameSite::None,
        };
        let mut rendered = Cookie::build((name.as_str(), ""))
            .http_only(true)
            .same_site(same_site)
            .secure(secure)
            .path(path.as_str());
        if let Some(domain) = domain {
            rendered = rendered.domain(domain);
        }
        let rendered = rendered.partitioned(partitioned).build().to_string();
        SessionCookie::new(&name, &rendered[name.len() + 1..], secure)
    }

    fn check(&self) -> Result<(), Error> {
        let name = self.name.as_bytes();
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return Err(refuse(
                "a cookie name is one or more letters, digits or !#$%&'*+-.^_`|~ (RFC 9110 token)",
            ));
        }
        // RFC 6265bis, section 5.6: name and value over 4096 octets, attributes over 1024: ignored.
        if name.len() + Token::CHARS > 4096 {
            return Err(refuse("browsers ignore cookies over 4096 bytes: use a shorter name"));
        }
        let too_long = |value: &str| value.len() > 1024;
        if too_long(&self.path) || self.domain.as_deref().is_some_and(too_long) {
            return Err(refuse(
                "browsers ignore cookie attributes over 1024 bytes: use a shorter path or domain",
            ));
        }
        if !self.path.starts_with('/')
            || self.path.bytes().any(|byte| !(0x20..0x7f).contains(&byte) || byte == b';')
        {
            return Err(refuse("a cookie path starts with / and has neither ; nor control characters"));
        }
        let host = |domain: &str| {
            !matches!(domain, "" | ".")
                && domain.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
        };
        if self.domain.as_deref().is_some_and(|domain| !host(domain)) {
            return Err(refuse(
                "a cookie domain is a host name in ASCII, without a port: write international names in punycode",
            ));
        }
        if self.same_site == SameSite::None && !self.secure {
            return Err(refuse("SameSite=None needs Secure: serve over https, or use SameSite=Lax"));
        }
        if self.partitioned && !self.secure {
            return Err(refuse("Partitioned needs Secure: serve over https, or leave it off"));
        }
        self.check_prefix()
    }

    /// RFC 6265bis, section 5.7: browsers match the prefixes without regard to case.
    fn check_prefix(&self) -> Result<(), Error> {
        let name = self.name.to_ascii_lowercase();
        let host = name.starts_with("__host-");
        if (host || name.starts_with("__secure-") || name.starts_with("__http-")) && !self.secure {
            return Err(refuse(
                "a cookie named __Host-…, __Secure-… or __Http-… needs Secure: drop the prefix",
            ));
        }
        if host && self.domain.is_some() {
            return Err(refuse(
                "a cookie named __Host-… must not have a Domain: drop the domain or the prefix",
            ));
        }
        if host && self.path != "/" {
            return Err(refuse("a cookie named __Host-… needs Path=/: drop the path or the prefix"));
        }
        Ok(())
    }
}

fn refuse(message: &'static str) -> Error {
    Error::new(ErrorKind::Configuration, message)
}

/// RFC 9110, section 5.6.2.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}
