//! What the settings and hooks may look at of a request.

use std::fmt;

use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Uri, header, request::Parts};

/// The head of a request, borrowed: what classifiers, policy choosers and the client-address
/// function look at.
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
    /// The target as the client sent it, if the layer is outside of all routers that strip a
    /// prefix, or has [`with_original_uri`](crate::SessionLayer::with_original_uri). Otherwise the
    /// target that reached the layer. A prefix that a proxy stripped is never in it.
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

    /// Whether a browser asks for permission ahead of a cross-origin request (Fetch,
    /// "CORS-preflight request"). It carries no cookies, and the layers here let it pass untouched.
    pub fn is_cors_preflight(&self) -> bool {
        self.method == Method::OPTIONS
            && self.headers.contains_key(header::ORIGIN)
            && self.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// Whether it cannot be an interaction, whatever the application says.
    ///
    /// - A speculative load, before anybody asked for the page: `prefetch` in `Sec-Purpose`,
    ///   `X-Sec-Purpose`, `Purpose` or `X-Moz`, `prefetch` or `preview` in `X-Purpose`, or
    ///   `HX-Preloaded: true`.
    /// - A part of a page, which the browser loads on its own: `Sec-Fetch-Dest` is `image`,
    ///   `style`, `script`, `font`, `audio`, `video`, `track`, `manifest`, `json`, `text`, `xslt`,
    ///   `report`, or a worker or worklet. A page that reloads an image each minute must not keep a
    ///   session alive.
    /// - What the page marked as background polling: `Session-Activity: passive`.
    ///
    /// Documents, frames, `embed` and `object` stay interactions, since people navigate in them. So
    /// does `empty`, which is `fetch` and everything else that a script asks for: most of it
    /// follows what a user does, and a page can mark the rest. A browser that sends no
    /// `Sec-Fetch-Dest` says nothing about it, so its images count.
    pub fn is_always_passive(&self) -> bool {
        // One pass over the headers is cheaper than to look for each of the names.
        self.headers.iter().any(|(name, value)| {
            let tokens: &[&str] = match name.as_str() {
                "sec-purpose" | "x-sec-purpose" | "purpose" | "x-moz" => &["prefetch"],
                "x-purpose" => &["prefetch", "preview"],
                "hx-preloaded" => &["true"],
                "session-activity" => &["passive"],
                "sec-fetch-dest" => PARTS_OF_A_PAGE,
                _ => return false,
            };
            has_token(value, tokens)
        })
    }
}

/// The destinations of the Fetch standard that are neither navigations nor asked for by `fetch`.
/// The destination is enough: the mode is `no-cors` for most, and `cors` for fonts, modules and
/// images with `crossorigin`. What is not known here stays an interaction, so that no session ends
/// too early.
const PARTS_OF_A_PAGE: &[&str] = &[
    "image",
    "script",
    "style",
    "font",
    "audio",
    "video",
    "track",
    "manifest",
    "json",
    "text",
    "xslt",
    "report",
    "worker",
    "sharedworker",
    "serviceworker",
    "audioworklet",
    "paintworklet",
];

/// Whether one of these tokens is in a list between commas, with or without parameters after it.
fn has_token(value: &HeaderValue, tokens: &[&str]) -> bool {
    value.as_bytes().split(|byte| *byte == b',').any(|item| {
        let token = item.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        tokens.iter().any(|known| token.eq_ignore_ascii_case(known.as_bytes()))
    })
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
