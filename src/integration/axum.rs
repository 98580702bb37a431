//! `Session` as an axum extractor (feature `axum`).

use std::{convert::Infallible, fmt};

use axum_core::{
    body::Body,
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use http::{StatusCode, request::Parts};

use crate::{Error, ErrorKind, Session, web::Problem};

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
        let problem = Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "Misconfigured session layers");
        problem.with_detail(self.to_string()).into_response().map(Body::from)
    }
}

/// Lets a handler use `?`: the response is `application/problem+json` (RFC 9457).
///
/// | kind | status |
/// |---|---|
/// | [`Store`](ErrorKind::Store), [`Timeout`](ErrorKind::Timeout) | 503, with `Retry-After` |
/// | [`Ended`](ErrorKind::Ended) | 401 |
/// | [`Refused`](ErrorKind::Refused) | 403 |
/// | [`TooLarge`](ErrorKind::TooLarge) | 413 |
/// | [`InvalidInput`](ErrorKind::InvalidInput) | 400 |
/// | others | 500 |
///
/// The message of the error is in it only for 400, 403 and 413. Its cause never is.
///
/// # Example
///
/// ```
/// use axum::{Json, response::Result};
/// use tower_tenure::{Key, Session};
///
/// const CART: Key<Vec<u32>> = Key::new("cart");
///
/// async fn add(session: Session, Json(item): Json<u32>) -> Result<()> {
///     session.update(&CART, |cart| [cart.unwrap_or_default(), vec![item]].concat()).await?;
///     Ok(())
/// }
/// ```
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        tracing::debug!(target: "tower_tenure", error = %self, "a handler answered with a session error");
        let problem = match self.kind() {
            ErrorKind::Store | ErrorKind::Timeout => return Problem::store_unavailable().map(Body::from),
            ErrorKind::Ended => Problem::new(StatusCode::UNAUTHORIZED, "Login required")
                .with_detail("The session ended meanwhile, and nothing was stored."),
            ErrorKind::Refused => {
                Problem::new(StatusCode::FORBIDDEN, "Login refused").with_detail(self.to_string())
            }
            ErrorKind::TooLarge => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "Session data too large")
                .with_detail(self.to_string()),
            ErrorKind::InvalidInput => {
                Problem::new(StatusCode::BAD_REQUEST, "Invalid input").with_detail(self.to_string())
            }
            _ => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "The session could not be used"),
        };
        problem.into_response().map(Body::from)
    }
}
