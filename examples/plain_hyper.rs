//! Sessions on hyper alone, without a framework: `cargo run --example plain_hyper`, then
//! `curl -c jar -b jar http://127.0.0.1:3000/visits`, several times.

use std::{convert::Infallible, io};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::net::TcpListener;
use tower::{ServiceBuilder, service_fn};
use tower_tenure::{Error, ErrorKind, Key, MemoryStore, Session, SessionLayer};

const VISITS: Key<u64> = Key::new("visits");

/// A handler finds the session in the request's extensions.
async fn route(request: Request<Incoming>) -> Result<(StatusCode, String), Error> {
    let session = request.extensions().get::<Session>().expect("the layer is around this service");
    let said = match (request.method(), request.uri().path()) {
        (&Method::GET, "/visits") => {
            let visits = session.update(&VISITS, |visits| visits.unwrap_or(0) + 1).await?;
            format!("{visits} visits\n")
        }
        (&Method::POST, "/logout") => {
            session.logout()?;
            "bye\n".to_owned()
        }
        _ => return Ok((StatusCode::NOT_FOUND, "there are /visits and /logout\n".to_owned())),
    };
    Ok((StatusCode::OK, said))
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, text) = route(request).await.unwrap_or_else(|error| {
        let status = match error.kind() {
            ErrorKind::Store | ErrorKind::Timeout => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Ended => StatusCode::UNAUTHORIZED,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, format!("{error}\n"))
    });
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    Ok(response)
}

#[tokio::main]
async fn main() -> io::Result<()> {
    // One layer for all connections, because it owns the store.
    let service =
        ServiceBuilder::new().layer(SessionLayer::new(MemoryStore::new())).service(service_fn(answer));
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            // Ignore a broken connection.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
