//! Extractors for axum: the session, and its user (feature `axum`).

use std::{any::type_name, convert::Infallible, fmt, str::FromStr};

use axum_core::{
    body::Body,
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use http::{StatusCode, request::Parts};

use crate::{Error, ErrorKind, RequireSession, Session, require::refuse, web::Problem};

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

/// The user of a live session, as an axum extractor: the subject of its login, parsed.
///
/// Without one the answer is the 401 of [`RequireSession`], so a handler that takes a `User` needs
/// no check of its own; `Option<User>` is for pages that everybody may see. Rules such as step-up,
/// and the redirect to a login page, are those of the layer: use it where you need them.
///
/// A subject that does not parse is a mistake of the application, and answered with 500.
///
/// # Example
///
/// ```
/// use tower_tenure::User;
///
/// async fn greet(User(name): User) -> String {
///     format!("Hello, {name}")
/// }
///
/// /// The login was `session.login(id.to_string())`.
/// async fn orders(User(id): User<u64>) -> String {
///     format!("The orders of user {id}")
/// }
///
/// async fn home(user: Option<User>) -> &'static str {
///     if user.is_some() { "Welcome back" } else { "Welcome" }
/// }
/// # let _: axum::Router = axum::Router::new()
/// #     .route("/greet", axum::routing::get(greet))
/// #     .route("/orders", axum::routing::get(orders))
/// #     .route("/", axum::routing::get(home));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User<T = String>(pub T);

impl<T: FromStr> User<T> {
    fn of(session: &Session) -> Option<Result<Self, T::Err>> {
        session.subject().map(|subject| subject.parse().map(Self))
    }
}

/// The name of a user is not for the log.
fn unreadable<T>() -> Response {
    let expected = type_name::<T>();
    tracing::error!(target: "tower_tenure", expected, "the subject of a session cannot be read as this type");
    let problem = Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "The session could not be used");
    problem.into_response().map(Body::from)
}

/// The user, or a 401 that says why there is none.
impl<T: FromStr, S: Sync> FromRequestParts<S> for User<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let session: &Session =
            parts.extensions.get().ok_or(MissingSessionLayer).map_err(IntoResponse::into_response)?;
        // The rules of a layer without any: a user is logged in.
        if let Some(refusal) = refuse(session, &RequireSession::new()) {
            return Err(refusal.map(Body::from));
        }
        match Self::of(session) {
            Some(user) => user.map_err(|_| unreadable::<T>()),
            None => Err(Error::new(ErrorKind::Ended, "the user has just signed out").into_response()),
        }
    }
}

/// `None` for a visitor who is not logged in.
impl<T: FromStr, S: Sync> OptionalFromRequestParts<S> for User<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        let session: Option<&Session> = parts.extensions.get();
        session.and_then(Self::of).transpose().map_err(|_| unreadable::<T>())
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
