//! Tests of an application's timeouts, without a `sleep`: the tests at the end move the clock.
//!
//! The application takes its layer as an argument, so that a test can give the layer another clock.
//! `ManualClock` needs the feature `testing`, in `[dev-dependencies]`.
//!
//! ```console
//! $ cargo test --example manual_clock
//! $ cargo run --example manual_clock -- 127.0.0.1:3000
//! $ curl -c jar -X POST http://127.0.0.1:3000/login/ada && curl -b jar http://127.0.0.1:3000/me
//! ```
use std::time::Duration;

use axum::{
    Router,
    extract::Path,
    routing::{get, post},
};
use tower_tenure::{Error, Lifetimes, MemoryStore, Policy, RequireSession, Session, SessionLayer, User};

const MINUTE: Duration = Duration::from_secs(60);

/// Signed out after 15 minutes without activity, and 8 hours after the login in any case.
fn layer() -> Result<SessionLayer, Error> {
    let lifetimes = Lifetimes::new(15 * MINUTE, 8 * 60 * MINUTE)?;
    Ok(SessionLayer::new(MemoryStore::new()).with_policy(Policy::both(lifetimes)))
}

fn app(layer: SessionLayer) -> Router {
    let fresh = RequireSession::new().with_authentication_within(5 * MINUTE);
    Router::new()
        .route("/me", get(async |User(name): User| format!("{name}\n")))
        .route("/transfer", post(async || "sent\n").route_layer(fresh))
        .route("/login/{user}", post(login))
        .layer(layer)
}

// A real login checks a password first: see `examples/password_login.rs`.
async fn login(session: Session, Path(user): Path<String>) -> Result<(), Error> {
    session.login(user).await?.accepted()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app(layer()?)).await?)
}

#[cfg(test)]
mod tests {
    use axum::{
        body::Body,
        http::{Request, StatusCode, header},
        response::Response,
    };
    use tower::ServiceExt;
    use tower_tenure::testing::ManualClock;

    use super::*;

    const TICK: Duration = Duration::from_millis(1);

    /// A signed-in user of the application, with the clock that the application reads.
    struct Visit {
        app: Router,
        clock: ManualClock,
        cookie: String,
    }

    impl Visit {
        async fn start() -> Self {
            let clock = ManualClock::default();
            let app = app(layer().unwrap().with_clock(clock.clone()));
            let mut visit = Self { app, clock, cookie: String::new() };
            let response = visit.send(Request::post("/login/ada")).await;
            let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap();
            visit.cookie = cookie.split(';').next().unwrap().to_owned();
            visit
        }

        async fn send(&self, request: axum::http::request::Builder) -> Response {
            let request = request.header(header::COOKIE, &self.cookie).body(Body::empty()).unwrap();
            self.app.clone().oneshot(request).await.unwrap()
        }

        async fn status(&self, request: axum::http::request::Builder) -> StatusCode {
            self.send(request).await.status()
        }
    }

    #[tokio::test]
    async fn a_user_is_signed_out_after_15_minutes_without_activity() {
        let visit = Visit::start().await;
        visit.clock.advance(15 * MINUTE - TICK);
        assert_eq!(visit.status(Request::get("/me")).await, StatusCode::OK);
        visit.clock.advance(15 * MINUTE);
        assert_eq!(visit.status(Request::get("/me")).await, StatusCode::UNAUTHORIZED);
    }

    #[tokio::test]
    async fn background_polls_keep_no_user_signed_in() {
        let visit = Visit::start().await;
        let poll = || Request::get("/me").header("Session-Activity", "passive");
        for _ in 0..14 {
            visit.clock.advance(MINUTE);
            assert_eq!(visit.status(poll()).await, StatusCode::OK);
        }
        visit.clock.advance(MINUTE);
        assert_eq!(visit.status(poll()).await, StatusCode::UNAUTHORIZED);
    }

    #[tokio::test]
    async fn a_user_is_signed_out_after_8_hours_however_active() {
        let visit = Visit::start().await;
        for _ in 0..8 * 6 - 1 {
            visit.clock.advance(10 * MINUTE);
            assert_eq!(visit.status(Request::get("/me")).await, StatusCode::OK);
        }
        visit.clock.advance(10 * MINUTE);
        assert_eq!(visit.status(Request::get("/me")).await, StatusCode::UNAUTHORIZED);
    }

    #[tokio::test]
    async fn a_transfer_needs_a_login_of_the_last_5_minutes() {
        let visit = Visit::start().await;
        visit.clock.advance(5 * MINUTE - TICK);
        assert_eq!(visit.status(Request::post("/transfer")).await, StatusCode::OK);
        visit.clock.advance(TICK);
        assert_eq!(visit.status(Request::post("/transfer")).await, StatusCode::UNAUTHORIZED);
        assert_eq!(visit.status(Request::get("/me")).await, StatusCode::OK);
    }
}
