//! `Session` as an axum extractor (feature `axum`).

use std::{convert::Infallible, fmt};

use axum_core::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use http::{StatusCode, request::Parts};

use crate::{Error, Session};

/// Takes the session that [`SessionLayer`](crate::SessionLayer) put into the request.
impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = MissingSessionLayer;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        parts.extensions.get().cloned().ok_or(MissingSessionLayer)
    }
}

/// `None` without a layer around the handler, or when the layer skips the request.
impl<S: Sync> OptionalFromRequestParts<S> for Session {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(parts.extensions.get().cloned())
    }
}

/// A handler extracts a [`Session`] without a [`SessionLayer`](crate::SessionLayer) around it, or
/// the layer skips the request.
#[derive(Clone, Copy, Debug)]
pub struct MissingSessionLayer;

impl fmt::Display for MissingSessionLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no session in the request: add a SessionLayer outside this route, and check that it does not skip the request")
    }
}

impl std::error::Error for MissingSessionLayer {}

impl IntoResponse for MissingSessionLayer {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
    }
}

/// Lets a handler use `?`: 503 when the store failed, 401 when the session ended meanwhile, 403 for
/// a refused login, 413 for data over the limit, 400 for wrong input, 500 otherwise. The text
/// contains no internal details.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        use crate::ErrorKind::{Ended, InvalidInput, Refused, Store, Timeout, TooLarge};
        let (status, text) = match self.kind() {
            Store | Timeout => {
                (StatusCode::SERVICE_UNAVAILABLE, "the session store is not available, please try again")
            }
            Ended => (StatusCode::UNAUTHORIZED, "the session has ended"),
            Refused => return (StatusCode::FORBIDDEN, self.to_string()).into_response(),
            TooLarge => return (StatusCode::PAYLOAD_TOO_LARGE, self.to_string()).into_response(),
            InvalidInput => return (StatusCode::BAD_REQUEST, self.to_string()).into_response(),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "the session could not be used"),
        };
        tracing::debug!(target: "tower_tenure", error = %self, "a handler answered with a session error");
        (status, text).into_response()
    }
}
