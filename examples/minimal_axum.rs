//! The minimum for a site: login, a protected page, logout. `cargo run --example minimal_axum`
use axum::{Router, extract::Path, routing::get, routing::post};
use tower_tenure::{Error, MemoryStore, Outcome, RequireSession, Session, SessionLayer};

/// A real handler checks the password first.
async fn login(session: Session, Path(user): Path<String>) -> Result<&'static str, Error> {
    let outcome = session.login(user).await?;
    Ok(if outcome == Outcome::Done { "welcome\n" } else { "not now\n" })
}

async fn account(session: Session) -> String {
    format!("hello {}\n", session.subject().unwrap_or_default())
}

async fn logout(session: Session) -> Result<&'static str, Error> {
    session.logout().map(|()| "bye\n")
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let app = Router::new()
        .route("/account", get(account).route_layer(RequireSession::new()))
        .route("/login/{user}", post(login))
        .route("/logout", post(logout))
        .layer(SessionLayer::new(MemoryStore::new()));
    axum::serve(tokio::net::TcpListener::bind("127.0.0.1:3000").await?, app).await
}
