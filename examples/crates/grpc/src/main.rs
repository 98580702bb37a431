//! gRPC services (tonic) with a session. A client keeps the cookie: it gets `set-cookie` in the
//! metadata of the answer to a login, and sends it back as `cookie`. Without a session the status
//! is `UNAUTHENTICATED`. A stream ends with that status when the session does.
//!
//! ```console
//! $ cd examples/crates/grpc
//! $ cargo run -- 127.0.0.1:3000
//! $ cargo test      # a client, in tests/client.rs
//! ```
mod messages;

mod services {
    include!(concat!(env!("OUT_DIR"), "/example.Logins.rs"));
    include!(concat!(env!("OUT_DIR"), "/example.Account.rs"));
}

use std::{pin::Pin, time::Duration};

use futures_util::{Stream, StreamExt, stream};
use tonic::{
    Code, Request, Response, Status,
    body::Body,
    codegen::{StdError, http},
    service::LayerExt,
    transport::{Server, server::TcpIncoming},
};
use tower::util::MapResponseLayer;
use tower_tenure::{EndReason, Error, ErrorKind, MemoryStore, RequireSession, Session, SessionLayer};

use crate::{
    messages::{Empty, Tick, User},
    services::{
        account_server::{Account, AccountServer},
        logins_server::{Logins, LoginsServer},
    },
};

struct Service;

#[tonic::async_trait]
impl Logins for Service {
    /// A real login checks a password first: see `examples/password_login.rs`.
    async fn log_in(&self, request: Request<User>) -> Result<Response<Empty>, Status> {
        let session = session(&request)?;
        session
            .login(request.into_inner().name)
            .await
            .and_then(|outcome| outcome.accepted())
            .map_err(status)?;
        Ok(Response::new(Empty {}))
    }
}

/// `RequireSession` is around it, so a user is logged in.
#[tonic::async_trait]
impl Account for Service {
    async fn who_am_i(&self, request: Request<Empty>) -> Result<Response<User>, Status> {
        let name = session(&request)?.subject().unwrap_or_default().to_string();
        Ok(Response::new(User { name }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<Tick, Status>> + Send>>;

    /// A number every second, until the session ends.
    async fn watch(&self, request: Request<Empty>) -> Result<Response<Self::WatchStream>, Status> {
        let session = session(&request)?;
        let ticks = stream::unfold(0, async |count| {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok(Tick { count }), count + 1))
        });
        let ticks = session.until_ended(ticks);
        // A stream that just ends would be a success to the client.
        let end = async move {
            Err(Status::unauthenticated(session.ended().await.map_or("ended", EndReason::as_str)))
        };
        Ok(Response::new(Box::pin(ticks.chain(stream::once(end)))))
    }

    async fn log_out(&self, request: Request<Empty>) -> Result<Response<Empty>, Status> {
        session(&request)?.logout().map_err(status)?;
        Ok(Response::new(Empty {}))
    }
}

fn session<T>(request: &Request<T>) -> Result<Session, Status> {
    let session = request.extensions().get::<Session>();
    session.cloned().ok_or_else(|| Status::internal("the session layer is not around this service"))
}

fn status(error: Error) -> Status {
    match error.kind() {
        ErrorKind::Ended => Status::unauthenticated("the session has ended"),
        ErrorKind::Refused => Status::permission_denied("the login is refused"),
        // The layer emits an event for each outage of its store. The client need not know the
        // cause.
        _ => Status::unavailable("the session store does not answer"),
    }
}

/// The layers answer with HTTP: 401 without a session, 503 when the store fails. A gRPC client
/// would parse the text of such an answer as a broken message, so this converts it to a gRPC
/// status.
fn to_grpc<B>(response: http::Response<B>) -> http::Response<Body>
where
    B: tonic::codegen::Body<Data = tonic::codegen::Bytes, Error: Into<StdError>> + Send + 'static,
{
    let (code, message) = match response.status() {
        http::StatusCode::OK => return response.map(Body::new),
        http::StatusCode::UNAUTHORIZED => (Code::Unauthenticated, "log in first"),
        http::StatusCode::SERVICE_UNAVAILABLE => (Code::Unavailable, "the session store does not answer"),
        _ => (Code::Internal, "the session layer failed"),
    };
    let mut answer = Status::new(code, message).into_http();
    // It removes the cookie of a session that has ended.
    if let Some(line) = response.headers().get(http::header::SET_COOKIE) {
        answer.headers_mut().insert(http::header::SET_COOKIE, line.clone());
    }
    answer
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let incoming = TcpIncoming::bind(address.parse()?)?;
    println!("listening on http://{}", incoming.local_addr()?);
    Server::builder()
        .layer(MapResponseLayer::new(to_grpc)) // the first layer is the outermost
        .layer(SessionLayer::new(MemoryStore::new()))
        .add_service(LoginsServer::new(Service))
        .add_service(RequireSession::new().named_layer(AccountServer::new(Service)))
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}
