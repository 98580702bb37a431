//! OpenID Connect login: authorization code with PKCE, `state` and `nonce`. The session ends no
//! later than the provider's. A logout here logs out at the provider, and a logout there ends the
//! session here.
//!
//! ```console
//! $ cd examples/crates/openid_connect
//! $ cargo run --bin provider -- 127.0.0.1:4000 http://127.0.0.1:3000 &
//! $ cargo run --bin application -- 127.0.0.1:3000 http://127.0.0.1:4000
//! ```
//! Then open <http://127.0.0.1:3000/>.
mod oidc;

use std::sync::Arc;

use axum::{
    Form, Router,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{Html, IntoResponse, Redirect, Result},
    routing::{get, post},
};
use openidconnect::core::CoreIdToken;
use serde::Deserialize;
use tower_tenure::{
    Error, Key, LoginPage, MemoryStore, RequireSession, Session, SessionLayer, Sessions, Timestamp, User,
    is_same_origin_path,
};

use crate::oidc::{Pending, Provider};

/// A login in progress at the provider, and where to go afterwards. It is stored in the anonymous
/// session of the browser that began it, so no other browser can finish it. Its key is the `state`,
/// so that logins in two tabs do not disturb each other.
fn pending_login(state: &str) -> Key<(Pending, String)> {
    Key::named(format!("oidc.pending.{state}"))
}

/// The provider requires it at a logout.
const ID_TOKEN: Key<CoreIdToken> = Key::new("oidc.id_token");

/// The metadata entry with the id of the provider's session.
const PROVIDER_SID: &str = "provider_sid";

#[derive(Clone)]
struct App {
    provider: Arc<Provider>,
    sessions: Sessions,
}

#[derive(Deserialize)]
struct Asked {
    /// `RequireSession` adds it.
    #[serde(default)]
    return_to: String,
}

/// Sends the browser to the provider.
async fn login(State(app): State<App>, session: Session, Query(asked): Query<Asked>) -> Result<Redirect> {
    let return_to = if is_same_origin_path(&asked.return_to) { asked.return_to } else { "/".to_owned() };
    let (url, state, pending) = app.provider.begin();
    session.insert(&pending_login(state.secret()), &(pending, return_to))?;
    Ok(Redirect::to(url.as_str()))
}

#[derive(Deserialize)]
struct Answer {
    state: String,
    /// Absent if the user cancelled.
    code: Option<String>,
}

/// The provider redirects the browser to this route.
async fn callback(
    State(app): State<App>,
    session: Session,
    Query(answer): Query<Answer>,
) -> Result<Redirect> {
    // A 4xx keeps this change, a 5xx would not: each login is answered once.
    let refused = (StatusCode::BAD_REQUEST, "The login failed. Begin again.\n");
    let (pending, return_to) = session.remove(&pending_login(&answer.state))?.ok_or(refused)?;
    let code = answer.code.ok_or(refused)?;
    let (claims, id_token) = app.provider.finish(pending, code).await.map_err(|error| {
        eprintln!("a login failed: {error}");
        refused
    })?;

    let mut login = session.login(claims.sub);
    if let Some(seconds) = claims.session_expiry {
        login = login.with_not_after(Timestamp::from_unix_millis(seconds.saturating_mul(1000)));
    }
    if let Some(sid) = &claims.sid {
        login = login.with_metadata(PROVIDER_SID, sid);
    }
    for method in claims.amr {
        login = login.with_method(method);
    }
    login.await?.accepted()?;
    session.insert(&ID_TOKEN, &id_token)?;
    Ok(Redirect::to(&return_to))
}

/// Logs out here, and then at the provider.
async fn logout(State(app): State<App>, session: Session) -> Result<Redirect, Error> {
    let id_token = session.get(&ID_TOKEN)?;
    session.logout()?;
    Ok(match id_token {
        Some(id_token) => Redirect::to(&app.provider.logout_url(&id_token)),
        None => Redirect::to("/signed_out"),
    })
}

#[derive(Deserialize)]
struct BackChannel {
    logout_token: String,
}

/// The provider calls this, not a browser, when one or all of the user's sessions there have ended.
async fn back_channel_logout(
    State(app): State<App>,
    Form(form): Form<BackChannel>,
) -> Result<impl IntoResponse> {
    let claims = app.provider.verify_logout(&form.logout_token).map_err(|error| {
        eprintln!("a logout token was refused: {error}");
        (StatusCode::BAD_REQUEST, "the logout token is wrong\n")
    })?;
    match &claims.sid {
        Some(sid) => revoke_one(&app.sessions, &claims.sub, sid).await?,
        None => app.sessions.revoke_all(&claims.sub, None).await?,
    }
    Ok([(header::CACHE_CONTROL, "no-store")])
}

/// Ends the sessions that began with one session of the provider.
async fn revoke_one(sessions: &Sessions, user: &str, provider_sid: &str) -> Result<(), Error> {
    let mut after = None;
    loop {
        let page = sessions.list(Some(user), after, 100).await?;
        for session in &page.sessions {
            if session.facts.metadata.get(PROVIDER_SID) == Some(provider_sid) {
                sessions.revoke(session.sid).await?;
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

async fn home(User(name): User, session: Session) -> Html<String> {
    let until = session.info().map(|info| info.expires_at.to_string()).unwrap_or_default();
    // A provider's name for a user is untrusted text, so it is escaped.
    let name = name.replace('&', "&amp;").replace('<', "&lt;");
    Html(format!(
        r#"<!doctype html><meta charset=utf-8><title>Signed in</title><p>Hello, {name}, until {until}.</p>
        <form method="post" action="/logout"><button>Sign out</button></form>"#
    ))
}

async fn signed_out() -> Html<&'static str> {
    Html(r#"<!doctype html><meta charset=utf-8><title>Signed out</title><a href="/">Sign in</a>"#)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(issuer)) = (arguments.next(), arguments.next()) else {
        return Err("give an address to listen on, and the URL of the provider".into());
    };
    let listener = tokio::net::TcpListener::bind(address).await?;
    let here = format!("http://{}", listener.local_addr()?);
    let (callback_url, after_logout) = (format!("{here}/callback"), format!("{here}/signed_out"));
    // The application's client secret. A real one comes from the environment.
    let secret = "application-secret";
    let provider = Provider::discover(&issuer, "application", secret, callback_url, after_logout).await?;

    let layer = SessionLayer::new(MemoryStore::new());
    let app = App { provider: Arc::new(provider), sessions: layer.sessions() };
    let signed_in = RequireSession::new().with_login_page(LoginPage::from_static("/login"));
    let router = Router::new()
        .route("/", get(home))
        .route_layer(signed_in)
        .route("/login", get(login))
        .route("/callback", get(callback))
        .route("/logout", post(logout))
        .route("/signed_out", get(signed_out))
        .route("/back_channel_logout", post(back_channel_logout))
        .layer(layer)
        .with_state(app);
    println!("listening on {here}");
    Ok(axum::serve(listener, router).await?)
}
