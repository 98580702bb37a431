//! OpenID Connect login: authorization code with PKCE, `state` and `nonce`. The session ends no
//! later than the provider's. A logout here logs out at the provider, and a logout there ends the
//! session here.
//!
//! ```console
//! $ cd examples/openid_connect
//! $ cargo run --bin provider -- 127.0.0.1:4000 http://127.0.0.1:3000 &
//! $ cargo run --bin application -- 127.0.0.1:3000 http://127.0.0.1:4000
//! ```
//! Then open <http://127.0.0.1:3000/>.
mod http;
mod oidc;

use std::sync::Arc;

use axum::{
    Form, Router,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response, Result},
    routing::{get, post},
};
use openidconnect::{
    AuthorizationCode, CsrfToken, Nonce, OAuth2TokenResponse, PkceCodeVerifier, TokenResponse,
};
use serde::{Deserialize, Serialize};
use tower_tenure::{
    Error, Key, LoginPage, MemoryStore, RequireSession, Session, SessionLayer, Sessions, Timestamp, User,
    is_same_origin_path,
};

use crate::oidc::{IdToken, Provider};

/// A login that is at the provider. It is in the anonymous session of the browser that started it,
/// so an answer that was meant for another browser is refused.
const PENDING: Key<Pending> = Key::new("oidc.pending");

/// The provider wants it back at the logout.
const ID_TOKEN: Key<IdToken> = Key::new("oidc.id_token");

/// The entry of metadata with the provider's id of its session.
const PROVIDER_SID: &str = "provider_sid";

#[derive(Serialize, Deserialize)]
struct Pending {
    state: CsrfToken,
    nonce: Nonce,
    verifier: PkceCodeVerifier,
    return_to: String,
}

#[derive(Clone)]
struct App {
    provider: Arc<Provider>,
    sessions: Sessions,
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    return_to: String,
}

/// Sends the browser to the provider.
async fn login(State(app): State<App>, session: Session, Query(asked): Query<Asked>) -> Result<Redirect> {
    let (url, state, nonce, verifier) = app.provider.login_url();
    let return_to = if is_same_origin_path(&asked.return_to) { asked.return_to } else { "/".to_owned() };
    session.insert(&PENDING, &Pending { state, nonce, verifier, return_to })?;
    Ok(Redirect::to(url.as_str()))
}

#[derive(Deserialize)]
struct Answer {
    state: String,
    code: Option<String>,
}

/// Where the provider sends the browser back to.
async fn callback(
    State(app): State<App>,
    session: Session,
    Query(answer): Query<Answer>,
) -> Result<Redirect> {
    // Removed whatever follows: each login is answered once.
    let pending = session.remove(&PENDING)?.filter(|pending| *pending.state.secret() == answer.state);
    let refused = |why: &'static str| (StatusCode::BAD_REQUEST, why);
    let pending = pending.ok_or(refused("this login was not started in this browser\n"))?;
    let code = answer.code.ok_or(refused("the provider did not log you in\n"))?;

    let failed = |error: &dyn std::error::Error| {
        eprintln!("login by the provider: {error}");
        (StatusCode::BAD_GATEWAY, "the answer of the provider is wrong\n")
    };
    let client = app.provider.client();
    let request = client.exchange_code(AuthorizationCode::new(code)).map_err(|error| failed(&error))?;
    let tokens = request.set_pkce_verifier(pending.verifier).request_async(&http::send).await;
    let tokens = tokens.map_err(|error| failed(&error))?;
    let id_token = tokens.extra_fields().id_token().ok_or(refused("the provider sent no ID token\n"))?;
    // Signature, issuer, audience, expiry and nonce.
    let claims =
        id_token.claims(&client.id_token_verifier(), &pending.nonce).map_err(|error| failed(&error))?;

    let mut login = session.login(claims.subject().as_str()).with_method("fed");
    if let Some(sid) = &claims.additional_claims().sid {
        login = login.with_metadata(PROVIDER_SID, sid);
    }
    if let Some(seconds) = claims.additional_claims().session_expiry {
        login = login.with_not_after(Timestamp::from_unix_millis(seconds.saturating_mul(1000)));
    }
    login.await?.accepted()?;
    session.insert(&ID_TOKEN, id_token)?;
    Ok(Redirect::to(&pending.return_to))
}

/// Logs out here, and then at the provider.
async fn logout(State(app): State<App>, session: Session) -> Result<Redirect, Error> {
    let id_token = session.get(&ID_TOKEN)?;
    session.logout()?;
    Ok(Redirect::to(id_token.map_or("/".to_owned(), |token| app.provider.logout_url(&token)).as_str()))
}

#[derive(Deserialize)]
struct BackChannel {
    logout_token: String,
}

/// Called by the provider, not by a browser: its session has ended.
async fn back_channel_logout(State(app): State<App>, Form(form): Form<BackChannel>) -> Result<Response> {
    let claims = app.provider.verify_logout(&form.logout_token).map_err(|error| {
        eprintln!("logout by the provider: {error}");
        (StatusCode::BAD_REQUEST, "the logout token is wrong\n")
    })?;
    let subject = claims.subject().as_str();
    match &claims.additional_claims().sid {
        None => app.sessions.revoke_all(subject, None).await?,
        Some(sid) => {
            let mut after = None;
            loop {
                let page = app.sessions.list(Some(subject), after, 100).await?;
                for session in &page.sessions {
                    if session.facts.metadata.get(PROVIDER_SID) == Some(sid) {
                        app.sessions.revoke(session.sid).await?;
                    }
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
    }
    Ok([(header::CACHE_CONTROL, "no-store")].into_response())
}

async fn home(User(name): User, session: Session) -> Html<String> {
    let until = session.info().map(|info| info.expires_at.to_string()).unwrap_or_default();
    // What a provider calls a user is text like any other.
    let name = name.replace('&', "&amp;").replace('<', "&lt;");
    Html(format!(
        r#"<!doctype html><meta charset=utf-8><title>Signed in</title><p>Hello, {name}, until {until}.</p>
        <form method="post" action="/logout"><button>Sign out</button></form>"#
    ))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(issuer)) = (arguments.next(), arguments.next()) else {
        return Err("give an address to listen on, and the URL of the provider".into());
    };
    let listener = tokio::net::TcpListener::bind(address).await?;
    let here = format!("http://{}", listener.local_addr()?);
    // The secret that the provider gave this application. A real one comes from the environment.
    let provider = Arc::new(Provider::discover(&issuer, "application", "application-secret", &here).await?);

    let layer = SessionLayer::new(MemoryStore::new());
    let app = App { provider, sessions: layer.sessions() };
    let signed_in = RequireSession::new().with_login_page(LoginPage::from_static("/login"));
    let router = Router::new()
        .route("/", get(home).route_layer(signed_in))
        .route("/login", get(login))
        .route("/callback", get(callback))
        .route("/logout", post(logout))
        .route("/back_channel_logout", post(back_channel_logout))
        .layer(layer)
        .with_state(app);
    println!("listening on {here}");
    Ok(axum::serve(listener, router).await?)
}
