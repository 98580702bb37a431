//! "Where you are signed in": the user's own sessions with their devices. The user ends one of
//! them, or all others. Works without a script.
//!
//! A page with a script of its own can use `GET` and `DELETE /session/sessions` of
//! `browser::Endpoints` instead.
//!
//! ```console
//! $ cargo run --example your_devices -- 127.0.0.1:3000
//! $ curl -c jar -X POST http://127.0.0.1:3000/login/ada
//! $ curl -b jar http://127.0.0.1:3000/devices
//! ```
use std::time::Duration;

use axum::{
    Form, Router,
    extract::Path,
    http::StatusCode,
    response::{Html, IntoResponse, Redirect, Response, Result},
    routing::{get, post},
};
use serde::Deserialize;
use tower_tenure::{
    Error, MemoryStore, RequireSession, Session, SessionId, SessionLayer, SessionSummary, User,
};

/// Ending other sessions needs a recent login. Otherwise anyone who finds an open browser could
/// lock its user out.
const RECENT: Duration = Duration::from_secs(15 * 60);

async fn list(User(name): User, session: Session) -> Result<Html<String>, Error> {
    let items: String = session.own().await?.iter().map(item).collect();
    Ok(Html(format!(
        r#"<!doctype html><html lang="en"><meta charset="utf-8"><title>Your devices</title>
        <h1>Where {} is signed in</h1>
        <ul>{items}</ul>
        <form method="post" action="/devices/others"><button>Sign out of all other devices</button></form>"#,
        escaped(&name)
    )))
}

fn item(one: &SessionSummary) -> String {
    // The description comes from a header, so it is escaped like all text from users.
    let device = escaped(&one.device);
    if one.current {
        return format!("<li>{device}, this device</li>");
    }
    let SessionSummary { last_interaction_at, sid, .. } = one;
    format!(
        r#"<li>{device}, active at <time>{last_interaction_at}</time>
        <form method="post" action="/devices"><button name="sid" value="{sid}">Sign out</button></form></li>"#
    )
}

/// The button of one session.
#[derive(Deserialize)]
struct Chosen {
    sid: SessionId,
}

async fn end_one(session: Session, Form(chosen): Form<Chosen>) -> Result<Response, Error> {
    // Also `false` for a session of another user, which stays.
    if !session.sign_out_one(chosen.sid).await? {
        return Ok((StatusCode::NOT_FOUND, "You have no live session with this id.\n").into_response());
    }
    Ok(Redirect::to("/devices").into_response())
}

async fn end_others(session: Session) -> Result<Redirect, Error> {
    session.sign_out_others().await?;
    Ok(Redirect::to("/devices"))
}

// A real login checks a password first: see `examples/password_login.rs`.
async fn login(session: Session, Path(user): Path<String>) -> Result<(), Error> {
    session.login(user).await?.accepted()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let recent = RequireSession::new().with_authentication_within(RECENT);
    let app = Router::new()
        .route("/devices", post(end_one))
        .route("/devices/others", post(end_others))
        .route_layer(recent)
        .route("/devices", get(list))
        .route("/login/{user}", post(login))
        .layer(SessionLayer::new(MemoryStore::new()));

    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await
}
