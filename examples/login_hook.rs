//! Login hooks: shorter sessions for risky logins, longer ones for trusted organisations, and the
//! mode by application.
//!
//! ```console
//! $ cargo run --example login_hook
//! $ curl -i -X POST http://127.0.0.1:3000/login/ada                          # as the policy says
//! $ curl -i -X POST http://127.0.0.1:3000/login/ada -H 'x-risk: high'        # 5 minutes idle, 15 absolute
//! $ curl -i -X POST http://127.0.0.1:3000/login/eve -H 'x-risk: blocked'     # refused
//! $ curl -i -X POST http://127.0.0.1:3000/login/bob@partner.example          # 30 days
//! $ curl -i -X POST http://127.0.0.1:3000/login/ada -H 'x-application: kiosk' # no Expires: ends with the browser session
//! ```
use std::time::Duration;

use axum::{Router, extract::Path, http::StatusCode, routing::post};
use tower_tenure::{Error, LoginContext, LoginHook, MemoryStore, Mode, Outcome, Session, SessionLayer};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A header that a proxy in front sets. (A header that clients can set proves nothing.)
fn proxy_header<'a>(login: &LoginContext<'a>, header: &str) -> &'a str {
    login.request().headers.get(header).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Limits high-risk logins, and refuses blocked ones.
struct Risk;

impl LoginHook for Risk {
    async fn on_login(&self, login: &mut LoginContext<'_>) -> Result<(), Error> {
        match proxy_header(login, "x-risk") {
            "blocked" => login.deny("this login looks like an attack"),
            "high" => {
                let deadline = login.now() + 15 * MINUTE;
                login.overrides().expires_at(deadline);
                login.overrides().idle_lifetime(5 * MINUTE)?;
                login.metadata().set("risk", "high")?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Keeps users of a trusted organisation logged in for 30 days, unless an earlier hook found a
/// risk.
struct Organisation;

impl LoginHook for Organisation {
    async fn on_login(&self, login: &mut LoginContext<'_>) -> Result<(), Error> {
        if login.subject().ends_with("@partner.example") && login.facts().metadata.get("risk").is_none() {
            let deadline = login.now() + 30 * DAY; // a value above the policy's limits would be clamped
            login.overrides().expires_at(deadline);
            login.overrides().idle_lifetime(7 * DAY)?;
            login.metadata().set("organisation", "partner")?;
        }
        Ok(())
    }
}

/// Ends a kiosk's session with the browser; an installed application keeps its own.
struct Application;

impl LoginHook for Application {
    async fn on_login(&self, login: &mut LoginContext<'_>) -> Result<(), Error> {
        match proxy_header(login, "x-application") {
            "kiosk" => login.overrides().mode(Mode::NonPersistent),
            "installed" => login.overrides().mode(Mode::Persistent),
            _ => {}
        }
        Ok(())
    }
}

pub(crate) fn site(layer: SessionLayer) -> Router {
    let layer = layer.with_login_hook(Risk).with_login_hook(Organisation).with_login_hook(Application);
    Router::new().route("/login/{user}", post(login)).layer(layer)
}

async fn login(session: Session, Path(user): Path<String>) -> Result<(StatusCode, String), Error> {
    Ok(match session.login(user).await? {
        Outcome::Done => {
            let expires_at = session.info().map(|info| info.expires_at.to_string()).unwrap_or_default();
            (StatusCode::OK, format!("welcome, until {expires_at}\n"))
        }
        Outcome::Refused(reason) => (StatusCode::FORBIDDEN, format!("no: {reason}\n")),
    })
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let site = site(SessionLayer::new(MemoryStore::new()));
    axum::serve(tokio::net::TcpListener::bind("127.0.0.1:3000").await?, site).await
}
