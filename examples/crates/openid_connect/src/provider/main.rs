//! A small OpenID provider for one application, for trying the example. It asks for no password,
//! and its key is public: never use it for anything else.
//!
//! Its own sessions are sessions of tower-tenure, too. When one ends, for any reason, an observer
//! sends the application a logout token.
mod tokens;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{
    Form, Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response, Result},
    routing::{get, post},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use openidconnect::{CsrfToken, PkceCodeChallenge, PkceCodeVerifier, reqwest};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tower_tenure::{
    Lifetimes, LoginPage, MemoryStore, Policy, RequireSession, Session, SessionLayer, Timestamp, User,
    cookie::SessionCookie,
    events::{Event, EventKind},
    is_same_origin_path,
};

use crate::tokens::Tokens;

const CLIENT: &str = "application";
const SECRET: &str = "application-secret";

/// The login behind an authorization code, until the code is used.
struct Grant {
    id_token: String,
    challenge: String,
}

#[derive(Clone)]
struct App {
    issuer: String,
    client_url: String,
    tokens: Arc<Tokens>,
    grants: Arc<Mutex<HashMap<String, Grant>>>,
}

async fn discovery(State(app): State<App>) -> Json<Value> {
    let issuer = app.issuer;
    Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "end_session_endpoint": format!("{issuer}/logout"),
        "jwks_uri": format!("{issuer}/keys"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "backchannel_logout_supported": true,
        "backchannel_logout_session_supported": true,
    }))
}

#[derive(Deserialize)]
struct Authorize {
    client_id: String,
    redirect_uri: String,
    state: String,
    nonce: String,
    code_challenge: String,
    code_challenge_method: String,
}

/// `RequireSession` is around it, so a user is logged in.
async fn authorize(
    State(app): State<App>,
    User(name): User,
    session: Session,
    Query(asked): Query<Authorize>,
) -> Result<Redirect> {
    let callback = format!("{}/callback", app.client_url);
    if asked.client_id != CLIENT || asked.redirect_uri != callback || asked.code_challenge_method != "S256" {
        return Err((StatusCode::BAD_REQUEST, "no such application, or not its address\n").into());
    }
    let info = session.info().ok_or(StatusCode::UNAUTHORIZED)?;
    let id_token = app.tokens.sign(
        "JWT",
        json!({
            "iss": app.issuer, "aud": CLIENT, "sub": name, "nonce": asked.nonce, "amr": ["user"],
            "sid": info.sid.to_string(), "session_expiry": info.expires_at.unix_seconds_floor(),
        }),
        session.now(),
    );
    let code = CsrfToken::new_random().secret().clone();
    let location = format!("{callback}?code={code}&state={}", asked.state);
    let grant = Grant { id_token, challenge: asked.code_challenge };
    app.grants.lock().expect("no thread panicked").insert(code, grant);
    Ok(Redirect::to(&location))
}

#[derive(Deserialize)]
struct Code {
    code: String,
    code_verifier: String,
}

async fn token(State(app): State<App>, headers: HeaderMap, Form(form): Form<Code>) -> Result<Response> {
    let expected = format!("Basic {}", BASE64_STANDARD.encode(format!("{CLIENT}:{SECRET}")));
    if headers.get(header::AUTHORIZATION).is_none_or(|given| *given != *expected) {
        return Err((StatusCode::UNAUTHORIZED, Json(json!({ "error": "invalid_client" }))).into());
    }
    let grant = app.grants.lock().expect("no thread panicked").remove(&form.code);
    let challenge = PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(form.code_verifier));
    let Some(grant) = grant.filter(|grant| grant.challenge == challenge.as_str()) else {
        return Err((StatusCode::BAD_REQUEST, Json(json!({ "error": "invalid_grant" }))).into());
    };
    let body = json!({ "access_token": "unused", "token_type": "Bearer", "id_token": grant.id_token });
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

async fn login_page(Query(query): Query<HashMap<String, String>>) -> Html<String> {
    let return_to = query.get("return_to").map_or("", String::as_str);
    let return_to = return_to.replace('&', "&amp;").replace('"', "&quot;");
    Html(format!(
        r#"<!doctype html><meta charset=utf-8><title>The provider</title><form method="post">
        <input type="hidden" name="return_to" value="{return_to}">
        <label>Name <input name="name" required></label><button>Sign in</button></form>"#
    ))
}

#[derive(Deserialize)]
struct LogIn {
    name: String,
    return_to: String,
}

async fn login(session: Session, Form(form): Form<LogIn>) -> Result<Redirect> {
    session.login(form.name).await?.accepted()?;
    Ok(Redirect::to(if is_same_origin_path(&form.return_to) { &form.return_to } else { "/" }))
}

#[derive(Deserialize)]
struct LogOut {
    id_token_hint: String,
    post_logout_redirect_uri: String,
}

/// Any site can send a browser here, so only the ID token of this session ends it.
async fn logout(State(app): State<App>, session: Session, Query(asked): Query<LogOut>) -> Result<Redirect> {
    if asked.post_logout_redirect_uri != format!("{}/signed_out", app.client_url) {
        return Err((StatusCode::BAD_REQUEST, "not an address of the application\n").into());
    }
    let sid = app.tokens.sid_of(&asked.id_token_hint).ok_or(StatusCode::BAD_REQUEST)?;
    if session.sid().is_some_and(|this| this.to_string() == sid) {
        session.logout()?;
    }
    Ok(Redirect::to(&asked.post_logout_redirect_uri))
}

/// Sends a logout token (OpenID Connect Back-Channel Logout 1.0, section 2.4).
async fn notify(app: &App, sid: String, subject: String, at: Timestamp) -> reqwest::Result<()> {
    let claims = json!({
        "iss": app.issuer, "aud": CLIENT, "sub": subject, "sid": sid, "jti": format!("{sid}-{at}"),
        "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
    });
    let form = [("logout_token", app.tokens.sign("logout+jwt", claims, at))];
    let url = format!("{}/back_channel_logout", app.client_url);
    reqwest::Client::new().post(url).form(&form).send().await?.error_for_status()?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(client_url)) = (arguments.next(), arguments.next()) else {
        return Err("give an address to listen on, and the URL of the application".into());
    };
    let listener = tokio::net::TcpListener::bind(address).await?;
    let issuer = format!("http://{}", listener.local_addr()?);
    let tokens = Arc::new(Tokens::new()?);
    let app = App { issuer: issuer.clone(), client_url, tokens, grants: Arc::default() };

    let (sender, mut ended) = mpsc::unbounded_channel();
    let layer = SessionLayer::new(MemoryStore::new())
        // Browsers store cookies by host, not by port, so on the application's host this cookie
        // needs another name.
        .with_cookie(SessionCookie::builder("__Host-provider").build()?)
        .with_policy(Policy::both(Lifetimes::from_minutes(60, 8 * 60)))
        .with_observer_fn(move |event: &Event<'_>| {
            if let (EventKind::Ended(_), Some(sid), Some(subject)) = (event.kind, event.sid, event.subject) {
                let _ = sender.send((sid.to_string(), subject.to_owned(), event.at));
            }
        });
    let notifier = app.clone();
    tokio::spawn(async move {
        // A real provider retries: see `examples/back_channel_logout`.
        while let Some((sid, subject, at)) = ended.recv().await {
            if let Err(error) = notify(&notifier, sid, subject, at).await {
                eprintln!("the application was not notified of a logout: {error}");
            }
        }
    });

    let signed_in = RequireSession::new().with_login_page(LoginPage::from_static("/login"));
    let router = Router::new()
        .route("/authorize", get(authorize).route_layer(signed_in))
        .route("/login", get(login_page).post(login))
        .route("/logout", get(logout))
        .route("/leave", post(async |session: Session| session.logout()))
        .route("/token", post(token))
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/keys", get(async |State(app): State<App>| Json(app.tokens.keys())))
        .layer(layer)
        .with_state(app);
    println!("listening on {issuer}");
    Ok(axum::serve(listener, router).await?)
}
