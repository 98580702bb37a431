//! The routes, and the interface that a library implements for them.

use std::{
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use axum::{
    Router,
    extract::{FromRequestParts, Path},
    http::StatusCode,
    routing::{get, post},
};

/// A library's error, which most handlers turn into a 500.
#[derive(Debug)]
pub struct Failed;

/// An application's operations on sessions, implemented with the calls that a library's
/// documentation shows.
pub trait Sessions: FromRequestParts<(), Rejection: Send> + Send + Sync + 'static {
    /// The logged-in user.
    fn user(&self) -> impl Future<Output = Result<Option<String>, Failed>> + Send;

    /// Only reads the user, as a guard before each page does.
    fn look(&self) -> impl Future<Output = Result<(), Failed>> + Send {
        async { self.user().await.map(|user| drop(black_box(user))) }
    }

    fn get(&self, key: &str) -> impl Future<Output = Result<Option<u64>, Failed>> + Send;

    fn set(&self, key: &str, value: u64) -> impl Future<Output = Result<(), Failed>> + Send;

    /// Stores a number under a name that is known at compile time.
    fn set_visits(&self, visits: u64) -> impl Future<Output = Result<(), Failed>> + Send {
        self.set("visits", visits)
    }

    /// Logs a user in. Also requests a new id, if the library leaves that to the application.
    fn login(&self, user: &str) -> impl Future<Output = Result<(), Failed>> + Send;

    fn logout(&self) -> impl Future<Output = Result<(), Failed>> + Send;

    /// Gives the session a new id or secret.
    fn rotate(&self) -> impl Future<Output = Result<(), Failed>> + Send;
}

type Answer = Result<String, StatusCode>;

const HELLO: Result<&str, StatusCode> = Ok("hello");

const fn failed(_: Failed) -> StatusCode {
    StatusCode::INTERNAL_SERVER_ERROR
}

/// The measured routes.
pub fn benchmarked<S: Sessions>() -> Router {
    Router::new()
        .route("/plain", get(async || "hello"))
        .route("/read", get(async |session: S| session.look().await.map_err(failed).and(HELLO)))
        .route(
            "/write",
            post(async |session: S| {
                static VISITS: AtomicU64 = AtomicU64::new(0);
                let visits = VISITS.fetch_add(1, Ordering::Relaxed);
                session.set_visits(visits).await.map_err(failed).and(HELLO)
            }),
        )
        .route("/rotate", post(async |session: S| session.rotate().await.map_err(failed).and(HELLO)))
        .route(
            "/login",
            post(async |session: S| {
                static LOGINS: AtomicU64 = AtomicU64::new(0);
                let user = format!("user-{}", LOGINS.fetch_add(1, Ordering::Relaxed) % 10_000);
                session.login(&user).await.map_err(failed).and(HELLO)
            }),
        )
}

/// The same paths without sessions.
pub fn bare() -> Router {
    let hello = || async { "hello" };
    Router::new()
        .route("/plain", get(hello))
        .route("/read", get(hello))
        .route("/write", post(hello))
        .route("/rotate", post(hello))
        .route("/login", post(hello))
}

/// The probed routes.
pub fn probed<S: Sessions>() -> Router {
    Router::new()
        .route("/who", get(who::<S>))
        .route("/login", post(async |session: S| session.login("alice").await.map_err(failed)))
        .route("/logout", post(async |session: S| session.logout().await.map_err(failed)))
        .route("/rotate", post(async |session: S| session.rotate().await.map_err(failed)))
        .route("/set/{key}/{millis}", post(set::<S>))
        .route("/count/{keys}", get(count::<S>))
}

/// The user, or `nobody` without a login.
async fn who<S: Sessions>(session: S) -> Answer {
    Ok(session.user().await.map_err(failed)?.unwrap_or_else(|| "nobody".to_owned()))
}

/// Stores a value in a session that it has read, and works for some time before it responds.
async fn set<S: Sessions>(session: S, Path((key, millis)): Path<(String, u64)>) -> Result<(), StatusCode> {
    session.user().await.map_err(failed)?;
    session.set(&key, 1).await.map_err(failed)?;
    tokio::time::sleep(Duration::from_millis(millis)).await;
    Ok(())
}

/// How many of the values `0`, `1`, … are stored.
async fn count<S: Sessions>(session: S, Path(keys): Path<u64>) -> Answer {
    let mut there = 0;
    for key in 0..keys {
        there += u64::from(session.get(&key.to_string()).await.map_err(failed)?.is_some());
    }
    Ok(there.to_string())
}
