//! The way to the login page and back (E1).

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, Uri, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::public::{PublicPrefix, PublicUrl};
use crate::{Error, ErrorKind, RequestHead};

/// The page that browser navigations without a session are sent to: a path as the browser sees it,
/// or an absolute `http(s)` URL.
///
/// It is checked when it is made, so a route that uses it cannot fail later.
///
/// # Example
///
/// ```
/// use tower_tenure::LoginPage;
///
/// // A constant: a mistake in it does not compile.
/// const LOGIN: LoginPage = LoginPage::from_static("/login");
///
/// // From a configuration: a mistake is an error at the start.
/// let page = LoginPage::new(std::env::var("LOGIN_PAGE").unwrap_or("/login".into()))?;
/// assert!(LoginPage::new("login").is_err());
/// # Ok::<(), tower_tenure::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginPage(Cow<'static, str>);

impl LoginPage {
    /// A page that is known at run time.
    ///
    /// # Errors
    ///
    /// When it is neither a path such as `/login` nor an absolute URL, or has a fragment.
    pub fn new(page: impl Into<Cow<'static, str>>) -> Result<Self, Error> {
        let page = page.into();
        if is_login_page(page.as_bytes()) {
            Ok(Self(page))
        } else {
            Err(Error::new(ErrorKind::Configuration, NO_LOGIN_PAGE))
        }
    }

    /// A page that is known when the program is written.
    ///
    /// # Panics
    ///
    /// When it is no such page. In a constant, or in a `const` block, that is an error of the
    /// compiler:
    ///
    /// ```compile_fail
    /// const LOGIN: tower_tenure::LoginPage = tower_tenure::LoginPage::from_static("login");
    /// # let _ = LOGIN;
    /// ```
    pub const fn from_static(page: &'static str) -> Self {
        assert!(is_login_page(page.as_bytes()), "{}", NO_LOGIN_PAGE);
        Self(Cow::Borrowed(page))
    }

    /// Whether a request asks for this very page.
    ///
    /// It then passes without a session, so this is strict: whole paths, byte by byte. An absolute
    /// URL counts only if it begins with the configured address of this site. The Host header
    /// cannot say which site this is, since the client chooses it.
    pub(super) fn is_target(
        &self,
        target: &Uri,
        site: Option<&PublicUrl>,
        prefix: Option<&PublicPrefix>,
    ) -> bool {
        let page = site.and_then(|site| site.path_of(&self.0)).unwrap_or(&self.0);
        let (path, query) = match page.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (page, None),
        };
        let same_path = match prefix {
            None => target.path() == path,
            // A request that reaches the server without the proxy has the prefix still.
            Some(prefix) => {
                prefix.strip(path).is_some_and(|inner| target.path() == inner || target.path() == path)
            }
        };
        same_path && query.is_none_or(|query| is_page_query(query, target.query().unwrap_or_default()))
    }

    /// The 303 to this page.
    pub(super) fn redirect(
        &self,
        reason: &str,
        method: &Method,
        target: &Uri,
        prefix: Option<&PublicPrefix>,
    ) -> Response<Bytes> {
        let mut location = self.0.clone().into_owned();
        location.push(if location.contains('?') { '&' } else { '?' });
        if let Some(path) = return_to(method, target, prefix) {
            location.push_str("return_to=");
            location.extend(utf8_percent_encode(&path, QUERY_VALUE));
            location.push('&');
        }
        location.push_str("reason=");
        location.push_str(reason);
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::SEE_OTHER;
        if let Ok(location) = HeaderValue::try_from(location) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// Whether a query is that of a login page, alone or with what the redirect adds.
///
/// In `/index?page=login` the query decides which page it is, and of `?page=login&page=admin` an
/// application may read either.
fn is_page_query(page: &str, query: &str) -> bool {
    let added = |rest: &str| {
        let mut pairs = rest.split('&');
        pairs.all(|pair| pair.starts_with("return_to=") || pair.starts_with("reason="))
    };
    match query.strip_prefix(page) {
        Some("") => true,
        Some(rest) => rest.strip_prefix('&').is_some_and(added),
        None => false,
    }
}

/// What the browser asked for, as it sees it. What was posted cannot be returned to.
fn return_to<'a>(method: &Method, target: &'a Uri, prefix: Option<&PublicPrefix>) -> Option<Cow<'a, str>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    let path = target.path_and_query().map_or("/", |target| target.as_str());
    let path = match prefix {
        Some(prefix) => Cow::Owned(prefix.add(path)),
        None => Cow::Borrowed(path),
    };
    Some(path).filter(|path| is_same_origin_path(path))
}

/// Whether a browser is loading a page (W3C Fetch Metadata), by `Accept` where it does not say.
pub(super) fn is_navigation(head: RequestHead<'_>) -> bool {
    match head.header("sec-fetch-mode") {
        Some(mode) => mode == "navigate",
        None => head.header("accept").is_some_and(|accept| accept.contains("text/html")),
    }
}

/// All but what RFC 3986 calls unreserved, and the slash.
const QUERY_VALUE: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// Whether a `return_to` stays on this origin: a path as browsers understand it.
///
/// A login handler has to check this before it redirects.
///
/// # Example
///
/// ```
/// use tower_tenure::is_same_origin_path;
///
/// assert!(is_same_origin_path("/account?tab=1"));
/// assert!(!is_same_origin_path("//evil.example"));
/// assert!(!is_same_origin_path("/\\evil.example"));
/// assert!(!is_same_origin_path("https://evil.example/"));
/// ```
pub fn is_same_origin_path(path: &str) -> bool {
    path.bytes().all(is_plain) && is_path(path.as_bytes())
}

const NO_LOGIN_PAGE: &str =
    "a login page is a path such as /login, or an absolute http(s) URL, without a fragment";

/// Whether a login page can be sent as `Location`, and leads where it seems to.
const fn is_login_page(page: &[u8]) -> bool {
    let mut at = 0;
    while at < page.len() {
        if page[at] == b'#' || !is_plain(page[at]) {
            return false;
        }
        at += 1;
    }
    is_path(page) || begins_with(page, b"https://") || begins_with(page, b"http://")
}

/// Whether a byte cannot turn a path into something else. The URL standard drops tabs and newlines,
/// and takes a backslash for a slash, before it looks for an authority.
const fn is_plain(byte: u8) -> bool {
    byte > 0x20 && byte != 0x7f && byte != b'\\'
}

const fn is_path(text: &[u8]) -> bool {
    begins_with(text, b"/") && !begins_with(text, b"//")
}

const fn begins_with(text: &[u8], start: &[u8]) -> bool {
    let mut at = 0;
    while at < start.len() {
        if at >= text.len() || text[at] != start[at] {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e1_only_the_login_page_itself_is_taken_for_it() {
        for (page, prefix, target, expected) in [
            ("/login", None, "/login", true),
            ("/login", None, "/login?reason=idle&return_to=/x", true),
            ("/login", None, "/login?anything", true),
            ("/login", None, "/login/", false),
            ("/login", None, "/login/x", false),
            ("/login", None, "/Login", false),
            ("/login", None, "/%6cogin", false),
            ("/login", None, "//login", false),
            ("/login", None, "/x/../login", false),
            ("/login", None, "/account?/login", false),
            ("/login", None, "http://any.example/login", true),
            ("/", None, "/", true),
            ("/", None, "/account", false),
            // A query that says which page it is.
            ("/i?page=login", None, "/i?page=login", true),
            ("/i?page=login", None, "/i?page=login&return_to=/x&reason=none", true),
            ("/i?page=login", None, "/i?page=login&reason=none", true),
            ("/i?page=login", None, "/i?page=login&page=admin", false),
            ("/i?page=login", None, "/i?page=login&reason=none&page=admin", false),
            ("/i?page=login", None, "/i?page=login2", false),
            ("/i?page=login", None, "/i?page=admin", false),
            ("/i?page=login", None, "/i", false),
            // Another site, as far as can be known.
            ("https://id.example/", None, "/", false),
            ("https://id.example/login", None, "/login", false),
            ("https://id.example/login", None, "https://id.example/login", false),
            // Behind a proxy that takes the prefix off.
            ("/shop/login", Some("/shop"), "/login", true),
            ("/shop/login", Some("/shop"), "/shop/login", true),
            ("/shop", Some("/shop"), "/", true),
            ("/shop/login", Some("/shop"), "/account", false),
            ("/shop/login", Some("/shop"), "/shop", false),
            ("/login", Some("/shop"), "/login", false), // this one is /shop/login for browsers
            ("/shopping/login", Some("/shop"), "/login", false),
            ("/shopping/login", Some("/shop"), "ping/login", false),
        ] {
            let page = LoginPage::new(page).unwrap();
            let prefix = prefix.map(|prefix| PublicPrefix::new(prefix.into()).unwrap());
            let Ok(uri) = target.parse() else { continue };
            assert_eq!(page.is_target(&uri, None, prefix.as_ref()), expected, "{page:?} {prefix:?} {target}");
        }
    }

    #[test]
    fn e8_an_absolute_login_page_is_this_sites_only_by_its_configured_address() {
        let site = PublicUrl::new("https://app.example/shop").unwrap();
        for (page, target, expected) in [
            ("https://app.example/shop/login", "/login", true),
            ("https://App.Example/shop/login", "/login", true),
            ("/shop/login", "/login", true),
            ("https://app.example/shop/login", "/account", false),
            ("https://app.example/login", "/login", false),
            ("https://app.example.evil/shop/login", "/login", false),
            ("https://id.example/shop/login", "/login", false),
            ("http://app.example/shop/login", "/login", false),
        ] {
            let page = LoginPage::new(page).unwrap();
            let is_target = page.is_target(&target.parse().unwrap(), Some(&site), site.public_prefix());
            assert_eq!(is_target, expected, "{page:?} {target}");
        }
    }
}
