//! Responses of the API: JSON, errors too.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;

/// An error response.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    message: Cow<'static, str>,
    code: Option<&'static str>,
    /// For `WWW-Authenticate`, after `Bearer`.
    challenge: Option<Cow<'static, str>>,
    allow: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    status_code: u16,
    error: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'a str>,
}

impl ApiError {
    fn new(status: StatusCode, message: impl Into<Cow<'static, str>>, code: Option<&'static str>) -> Self {
        Self { status, message: message.into(), code, challenge: None, allow: None }
    }

    /// The body is wrong at `property`; an empty one means the whole body.
    pub(super) fn body(reason: &str, property: &str) -> Self {
        let place = if property.is_empty() { String::new() } else { format!(" on property {property}") };
        let message = format!("Payload validation error: '{reason}'{place}");
        Self::new(StatusCode::BAD_REQUEST, message, Some("invalid_body"))
    }

    /// The query is wrong at `parameter`.
    pub(super) fn query(reason: &str, parameter: &str) -> Self {
        let message = format!("Query validation error: '{reason}' on property {parameter}");
        Self::new(StatusCode::BAD_REQUEST, message, Some("invalid_query_string"))
    }

    pub(super) fn no_such_session() -> Self {
        Self::new(StatusCode::NOT_FOUND, "The session does not exist.", Some("inexistent_session"))
    }

    pub(super) fn no_such_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, "No such endpoint.", Some("not_found"))
    }

    pub(super) fn wrong_method(allow: &'static str) -> Self {
        let message = format!("Method not allowed; use one of {allow}.");
        let error = Self::new(StatusCode::METHOD_NOT_ALLOWED, message, Some("method_not_allowed"));
        Self { allow: Some(allow), ..error }
    }

    pub(super) fn no_token() -> Self {
        let message = "Missing authentication: send a bearer token in the Authorization header.";
        let error = Self::new(StatusCode::UNAUTHORIZED, message, None);
        // RFC 6750, section 3.1: a request without a token gets no error code.
        Self { challenge: Some("realm=\"management\"".into()), ..error }
    }

    pub(super) fn bad_token() -> Self {
        let error = Self::new(StatusCode::UNAUTHORIZED, "Invalid token.", Some("invalid_token"));
        let challenge = "realm=\"management\", error=\"invalid_token\", error_description=\"Invalid token.\"";
        Self { challenge: Some(challenge.into()), ..error }
    }

    pub(super) fn missing_scope(scope: &str) -> Self {
        let message = format!("Insufficient scope, expected any of: {scope}");
        let challenge = format!(
            "realm=\"management\", error=\"insufficient_scope\", error_description=\"{message}\", scope=\"{scope}\""
        );
        let error = Self::new(StatusCode::FORBIDDEN, message, Some("insufficient_scope"));
        Self { challenge: Some(challenge.into()), ..error }
    }

    pub(super) fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "The body is over 64 KiB.", Some("payload_too_large"))
    }

    pub(super) fn media_type() -> Self {
        let message = "The body must be application/json or application/x-www-form-urlencoded.";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message, Some("unsupported_media_type"))
    }

    pub(super) fn store_unavailable() -> Self {
        let message = "The session store is unavailable, so the outcome is unknown. Try again.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message, Some("store_unavailable"))
    }

    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let body = Body {
            status_code: self.status.as_u16(),
            error: self.status.canonical_reason().unwrap_or("Error"),
            message: &self.message,
            error_code: self.code,
        };
        let mut response = json(self.status, &body);
        let headers = response.headers_mut();
        if let Some(Ok(challenge)) =
            self.challenge.map(|challenge| HeaderValue::try_from(format!("Bearer {challenge}")))
        {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(allow) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

/// A JSON response that must not be cached: it says who is logged in.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(serde_json::to_vec(body).unwrap_or_default())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
