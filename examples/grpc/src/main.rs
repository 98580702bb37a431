//! A gRPC service (tonic) behind the session layer. The session is in the extensions of the request.
//! The client keeps the cookie: it gets `set-cookie` in the metadata of the answer to a login, and
//! sends it back as `cookie`. Without a session the status is `UNAUTHENTICATED`, and the message is
//! the reason.
//!
//! ```console
//! $ cd examples/grpc
//! $ cargo run -- 127.0.0.1:3000
//! $ cargo test      # a client, in tests/client.rs
//! ```
mod messages;

mod accounts {
    include!(concat!(env!("OUT_DIR"), "/example.Accounts.rs"));
}

use tonic::{Request, Response, Status, service::Routes};
use tower_tenure::{Error, ErrorKind, MemoryStore, Session, SessionLayer};

use crate::{
    accounts::accounts_server::{Accounts, AccountsServer},
    messages::{Empty, User},
};

struct Service;

#[tonic::async_trait]
impl Accounts for Service {
    /// A real login checks a password first: see `examples/password_login.rs`.
    async fn log_in(&self, request: Request<User>) -> Result<Response<Empty>, Status> {
        let session = session(&request)?.clone();
        let User { name } = request.into_inner();
        session.login(name).await.and_then(|outcome| outcome.accepted()).map_err(status)?;
        Ok(Response::new(Empty {}))
    }

    async fn log_out(&self, request: Request<Empty>) -> Result<Response<Empty>, Status> {
        session(&request)?.logout().map_err(status)?;
        Ok(Response::new(Empty {}))
    }

    async fn who_am_i(&self, request: Request<Empty>) -> Result<Response<User>, Status> {
        let session = session(&request)?;
        let Some(name) = session.subject() else {
            let reason = session.end_reason().map_or("none", |reason| reason.as_str());
            return Err(Status::unauthenticated(reason));
        };
        Ok(Response::new(User { name: name.to_string() }))
    }
}

fn session<T>(request: &Request<T>) -> Result<&Session, Status> {
    request.extensions().get().ok_or_else(|| Status::internal("the session layer is not around this service"))
}

fn status(error: Error) -> Status {
    match error.kind() {
        ErrorKind::Ended => Status::unauthenticated("the session has ended"),
        ErrorKind::Refused => Status::permission_denied(error.to_string()),
        // What went wrong is for the log of the server. The layer emits an event for each failure of
        // its store.
        _ => Status::unavailable("the session store does not answer"),
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let services = Routes::new(AccountsServer::new(Service));
    let app = services.into_axum_router().layer(SessionLayer::new(MemoryStore::new()));

    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await
}
