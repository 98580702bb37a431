//! The address of the site as browsers see it.

use http::{Uri, uri::Scheme};

use super::is_same_origin_path;
use crate::{Error, ErrorKind};

/// The address at which browsers reach this site, behind a proxy that strips a path prefix or
/// rewrites `Host`.
///
/// A server cannot see this address reliably: `Host` and `X-Forwarded-*` come from the client
/// unless a proxy replaces them. So the application says it once, and hands it to
/// [`RequireSession::with_public_url`](crate::RequireSession::with_public_url) and, with the
/// feature `browser`, to `Endpoints::with_public_url`. No forwarded header is read.
///
/// # Example
///
/// A proxy serves this application below `https://example.com/shop/` and forwards `/shop/account`
/// as `/account`.
///
/// ```
/// use tower_tenure::{LoginPage, PublicUrl, RequireSession};
///
/// let public = PublicUrl::new("https://example.com/shop")?;
/// let page = LoginPage::new(public.path("/login"))?;
/// let require = RequireSession::new().with_public_url(&public).with_login_page(page);
///
/// assert_eq!(public.origin(), "https://example.com");
/// assert_eq!(public.path("/login"), "/shop/login");
/// assert!(PublicUrl::new("example.com/shop").is_err());
/// # Ok::<(), tower_tenure::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    /// Scheme and authority, in lower case.
    origin: String,
    prefix: Option<PublicPrefix>,
}

/// The path prefix that a proxy takes off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PublicPrefix(String);

impl PublicUrl {
    /// The site at this URL, such as `https://app.example` or `https://app.example/prefix`.
    ///
    /// # Errors
    ///
    /// When it is not an absolute http(s) URL, or has a user name, a query or a fragment.
    pub fn new(url: &str) -> Result<Self, Error> {
        let refuse = || {
            let message = "a public URL is like https://app.example or https://app.example/prefix: http(s), without user name, query and fragment";
            Error::new(ErrorKind::Configuration, message)
        };
        let uri: Uri = url.parse().map_err(|_| refuse())?;
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else { return Err(refuse()) };
        let is_web = *scheme == Scheme::HTTPS || *scheme == Scheme::HTTP;
        // The parser drops a fragment silently.
        if !is_web || authority.host().is_empty() || url.contains(['@', '?', '#']) {
            return Err(refuse());
        }
        let path = uri.path().strip_suffix('/').unwrap_or(uri.path());
        let prefix = if path.is_empty() { None } else { Some(PublicPrefix::new(path.to_owned())?) };
        Ok(Self { origin: format!("{scheme}://{authority}").to_ascii_lowercase(), prefix })
    }

    /// The scheme, host and port: `https://app.example`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The path prefix, such as `/shop`; empty without one.
    pub fn prefix(&self) -> &str {
        self.prefix.as_ref().map_or("", |prefix| &prefix.0)
    }

    /// A path of this server as browsers see it, with the prefix.
    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", self.prefix())
    }

    pub(super) const fn public_prefix(&self) -> Option<&PublicPrefix> {
        self.prefix.as_ref()
    }

    /// The path of an absolute URL of this site.
    pub(super) fn path_of<'a>(&self, url: &'a str) -> Option<&'a str> {
        let (origin, path) = url.split_at_checked(self.origin.len())?;
        (origin.eq_ignore_ascii_case(&self.origin) && path.starts_with('/')).then_some(path)
    }
}

impl PublicPrefix {
    pub(super) fn new(prefix: String) -> Result<Self, Error> {
        let plain = is_same_origin_path(&prefix) && prefix.is_ascii();
        if !plain || prefix.ends_with('/') || prefix.contains(['?', '#']) {
            let message = "a public prefix is a path such as /shop, without a slash at its end";
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        Ok(Self(prefix))
    }

    /// A path of the server, as the browser sees it.
    pub(super) fn add(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// The path on the server of a path that the browser sees, once the proxy took the prefix off.
    pub(super) fn strip<'a>(&self, path: &'a str) -> Option<&'a str> {
        match path.strip_prefix(&self.0)? {
            "" => Some("/"),
            inner => Some(inner).filter(|inner| inner.starts_with('/')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e8_a_public_url_is_an_origin_and_a_prefix() {
        for (url, origin, prefix) in [
            ("https://app.example", "https://app.example", ""),
            ("https://app.example/", "https://app.example", ""),
            ("HTTPS://App.Example:8443/Shop", "https://app.example:8443", "/Shop"),
            ("http://[::1]:3000/a/b/", "http://[::1]:3000", "/a/b"),
        ] {
            let public = PublicUrl::new(url).unwrap();
            assert_eq!((public.origin(), public.prefix()), (origin, prefix), "{url}");
        }
        for url in [
            "",
            "/shop",
            "app.example",
            "app.example:443",
            "ftp://app.example",
            "https://",
            "https:///shop",
            "https://me@app.example",
            "https://app.example/shop?x",
            "https://app.example/shop#x",
            "https://app.example//shop",
            "https://app.example/a\\b",
            "https://app.example/shop//",
        ] {
            assert!(PublicUrl::new(url).is_err(), "{url}");
        }
    }
}
