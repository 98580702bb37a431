//! Responses of the middleware itself: RFC 9457 problem details.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

/// RFC 9457, section 3.1; `reason` is an extension member (E1).
#[derive(Debug, Serialize)]
pub(crate) struct Problem {
    #[serde(serialize_with = "as_number")]
    pub(crate) status: StatusCode,
    pub(crate) title: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'static str>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form serde asks for")]
fn as_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Problem {
    pub(crate) const fn new(status: StatusCode, title: &'static str) -> Self {
        Self { status, title, detail: None, reason: None }
    }

    pub(crate) fn with_detail(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    pub(crate) const fn with_reason(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }

    /// The session store failed: the request counts neither as logged in nor as logged out (S6).
    pub(crate) fn store_unavailable() -> Response<Bytes> {
        let detail = "The session could not be read or stored. You are not signed out; please try again.";
        let mut response = Self::new(StatusCode::SERVICE_UNAVAILABLE, "Session store unavailable")
            .with_detail(detail)
            .into_response();
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        response
    }

    pub(crate) fn into_response(self) -> Response<Bytes> {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}
