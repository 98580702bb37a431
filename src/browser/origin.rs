//! Whether a request is same-origin.

use http::{Uri, header, uri::Authority};
use url::{Origin, Url};

use crate::{PublicUrl, RequestHead};

/// The scheme under which browsers reach the site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scheme {
    /// `https`, for production.
    #[default]
    Https,
    /// `http`, for development.
    Http,
}

impl Scheme {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
        }
    }
}

/// Whether a page of this origin, or the user, started the request.
///
/// `Sec-Fetch-Site` must be `same-origin` or `none`. If the browser does not send it, `Origin` must
/// equal this origin in scheme, host (as in `Host`) and port. Everything else is refused:
/// `cross-site`, `same-site`, `Origin: null`, and a request with neither header.
///
/// # Example
///
/// ```
/// use http::Request;
/// use tower_tenure::browser::{Scheme, is_same_origin};
///
/// let request = Request::post("/").header("host", "app.example").header("origin", "https://app.example");
/// assert!(is_same_origin((&request.body(()).unwrap()).into(), Scheme::Https));
///
/// let request = Request::post("/").header("sec-fetch-site", "cross-site");
/// assert!(!is_same_origin((&request.body(()).unwrap()).into(), Scheme::Https));
/// ```
pub fn is_same_origin(head: RequestHead<'_>, scheme: Scheme) -> bool {
    let host = one(head, header::HOST.as_str()).or_else(|| head.uri.authority().map(Authority::as_str));
    is_from(head, || origin(scheme.as_str(), host?))
}

/// As [`is_same_origin`], for a site whose public address is known: behind a proxy, `Host` may name
/// another one.
///
/// # Example
///
/// ```
/// use http::Request;
/// use tower_tenure::{PublicUrl, browser::is_same_origin_as};
///
/// let site = PublicUrl::new("https://app.example")?;
/// let request = Request::post("/").header("host", "10.0.0.7:3000").header("origin", "https://app.example");
/// assert!(is_same_origin_as((&request.body(()).unwrap()).into(), &site));
/// # Ok::<(), tower_tenure::Error>(())
/// ```
pub fn is_same_origin_as(head: RequestHead<'_>, site: &PublicUrl) -> bool {
    is_from(head, || parse(site.origin()))
}

fn is_from(head: RequestHead<'_>, ours: impl FnOnce() -> Option<Origin>) -> bool {
    if head.headers.contains_key("sec-fetch-site") {
        return matches!(one(head, "sec-fetch-site"), Some("same-origin" | "none"));
    }
    let ours = ours();
    ours.is_some() && ours == one(head, header::ORIGIN.as_str()).and_then(parse)
}

/// The value of a header that is there once.
pub(super) fn one<'a>(head: RequestHead<'a>, name: &str) -> Option<&'a str> {
    let mut values = head.headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok())
}

/// The origin of `https://host:port`.
fn parse(text: &str) -> Option<Origin> {
    let (scheme, host) = text.split_once("://")?;
    origin(scheme, host.strip_suffix('/').unwrap_or(host))
}

fn origin(scheme: &str, host: &str) -> Option<Origin> {
    let url = is_authority(host).then(|| Url::parse(&format!("{scheme}://{host}/")).ok())??;
    // That of another scheme is opaque, which equals no other.
    Some(url.origin())
}

/// Whether this is a host with an optional port, and nothing that a URL would parse as another
/// part.
fn is_authority(host: &str) -> bool {
    !host.contains('@')
        && host.parse::<Uri>().is_ok_and(|uri| uri.authority().is_some_and(|a| a.as_str() == host))
}
