//! Files that are compiled in and served with an entity tag of their content (RFC 9110, section
//! 8.8.3).

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use sha2::{Digest, Sha256};

/// A file.
#[derive(Debug)]
pub(crate) struct Asset {
    kind: &'static str,
    content: Bytes,
    version: String,
    tag: HeaderValue,
}

impl Asset {
    /// A file of this media type.
    pub(crate) fn new(kind: &'static str, content: impl Into<Bytes>) -> Self {
        let content = content.into();
        let digest = Sha256::digest(&content);
        let version = digest[..6].iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
        let tag = HeaderValue::try_from(format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"\""));
        Self { kind, content, version, tag }
    }

    /// A version that changes with the content.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// The file, or 304 if the client has it; 405 for methods other than GET and HEAD.
    pub(crate) fn respond(
        &self,
        method: &Method,
        headers: &HeaderMap,
        keep: &'static str,
    ) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        if !matches!(*method, Method::GET | Method::HEAD) {
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        if headers.get(header::IF_NONE_MATCH) == Some(&self.tag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else if *method == Method::GET {
            *response.body_mut() = self.content.clone();
        }
        let headers = response.headers_mut();
        headers.insert(header::ETAG, self.tag.clone());
        for (name, value) in [
            (header::CONTENT_TYPE, self.kind),
            (header::CACHE_CONTROL, keep),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}
