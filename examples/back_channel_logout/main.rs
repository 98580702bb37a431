//! Notifies other applications of a logout (OpenID Connect Back-Channel Logout 1.0), and writes an
//! audit log. Both are observers.
//!
//! ```console
//! $ cargo run --example back_channel_logout -- http://127.0.0.1:4000/logout my-client the-secret-of-my-client
//! $ curl -c jar -X POST http://127.0.0.1:3000/login/ada && curl -b jar -X POST http://127.0.0.1:3000/logout
//! ```
mod back_channel;

use axum::{Router, extract::Path, routing::post};
use back_channel::{BackChannel, Client};
use tower_tenure::{Error, MemoryStore, Session, SessionLayer, events::AuditLog};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(id), Some(secret)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("give the URL, the id and the secret of a client, in this order".into());
    };
    let client = Client { url: url.parse()?, id, secret };
    let back_channel = BackChannel::to(vec![client], "http://127.0.0.1:3000");

    let layer = SessionLayer::new(MemoryStore::new())
        .with_observer(AuditLog::new(std::io::stderr()))
        .with_observer(back_channel);
    let app = Router::new()
        .route("/login/{user}", post(login))
        .route("/logout", post(async |session: Session| session.logout()))
        .layer(layer);
    Ok(axum::serve(tokio::net::TcpListener::bind("127.0.0.1:3000").await?, app).await?)
}

async fn login(session: Session, Path(user): Path<String>) -> Result<(), Error> {
    session.login(user).await?.accepted()
}
