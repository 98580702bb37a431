//! Errors in the format of the client, and the headers of every response.

use std::convert::Infallible;

use axum::{
    Json,
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde_json::json;
use tower_tenure::browser::Scheme;

use crate::{page, site};

/// The format that the client reads, by its `Accept`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// A script.
    Json,
    /// A browser that loads a page.
    Html,
    /// Anything else.
    Text,
}

impl Reads {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let accepts = |kind: &str| {
            let mut lines = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
            lines.any(|line| line.to_ascii_lowercase().contains(kind))
        };
        match () {
            () if accepts("application/json") => Self::Json,
            () if accepts("text/html") => Self::Html,
            () => Self::Text,
        }
    }

    pub(crate) fn refuse(self, status: StatusCode, message: &str) -> Response {
        match self {
            Self::Json => (status, Json(json!({ "error": message }))).into_response(),
            Self::Html => (status, page::message(status, message)).into_response(),
            Self::Text => (status, format!("{message}\n")).into_response(),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Reads {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

pub(crate) async fn not_found(reads: Reads) -> Response {
    reads.refuse(StatusCode::NOT_FOUND, "There is nothing here.")
}

/// Refuses changes that a browser marks as cross-site. A client without these headers is not a
/// browser, so it sends no victim's cookie.
pub(crate) async fn refuse_cross_site(
    State(scheme): State<Scheme>,
    request: Request,
    next: Next,
) -> Response {
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let headers = request.headers();
    let says = headers.contains_key("sec-fetch-site") || headers.contains_key(header::ORIGIN);
    if changes && says && !site::has_sent((&request).into(), scheme) {
        return Reads::of(headers).refuse(StatusCode::FORBIDDEN, "This was asked from another site.");
    }
    next.run(request).await
}

/// Allows no script, style or frame from another origin, and no caching of session data.
pub(crate) async fn guard(mut response: Response) -> Response {
    const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
        img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CSP));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Not `no-referrer`, with which forms send `Origin: null`.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
