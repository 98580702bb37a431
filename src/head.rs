//! What the settings and hooks may look at of a request.

use std::fmt;

use http::{Extensions, HeaderMap, HeaderName, Method, Request, Uri, header, request::Parts};

/// The head of a request, borrowed: what classifiers, policy choosers and the client-address function look at.
///
/// # Example
///
/// ```
/// use tower_tenure::RequestHead;
///
/// fn is_health_check(head: RequestHead<'_>) -> bool {
///     head.uri.path() == "/healthz"
/// }
/// let request = http::Request::get("/healthz").body(()).unwrap();
/// assert!(is_health_check((&request).into()));
/// ```
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target, before any router has taken a prefix from it.
    pub uri: &'a Uri,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// What the server and outer layers attached, for example the peer's address.
    pub extensions: &'a Extensions,
}

impl<'a, B> From<&'a Request<B>> for RequestHead<'a> {
    fn from(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }
}

impl<'a> From<&'a Parts> for RequestHead<'a> {
    fn from(parts: &'a Parts) -> Self {
        Self {
            method: &parts.method,
            uri: &parts.uri,
            headers: &parts.headers,
            extensions: &parts.extensions,
        }
    }
}

impl<'a> RequestHead<'a> {
    /// A header's value, if it is there once or more and visible ASCII.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether a browser asks for permission ahead of a cross-origin request (Fetch, "CORS-preflight request"). It carries
    /// no cookies, and the layers here let it pass untouched (SPEC L8, E1).
    pub fn is_cors_preflight(&self) -> bool {
        self.method == Method::OPTIONS
            && self.headers.contains_key(header::ORIGIN)
            && self.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// Whether it can not be an interaction, whatever the application says (SPEC L8): a speculative load
    /// (`Sec-Purpose: prefetch`, also with `;prerender`), or one that the page marked as background polling
    /// (`Session-Activity: passive`).
    pub fn is_always_passive(&self) -> bool {
        let says = |name: &HeaderName, token: &str| {
            self.headers.get(name).is_some_and(|value| {
                let first = value.as_bytes().split(|byte| matches!(byte, b';' | b',')).next();
                first.is_some_and(|first| first.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
            })
        };
        says(&PURPOSE, "prefetch") || says(&ACTIVITY, "passive")
    }
}

/// Without the headers: the cookie is among them (SPEC H5).
impl fmt::Debug for RequestHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", self.method)
            .field("uri", self.uri)
            .finish_non_exhaustive()
    }
}

// Names that are parsed once: every request asks for them.
static PURPOSE: HeaderName = HeaderName::from_static("sec-purpose");
static ACTIVITY: HeaderName = HeaderName::from_static("session-activity");
