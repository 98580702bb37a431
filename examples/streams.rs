//! Server-sent events and a WebSocket that close when the session ends: by a timeout, a logout, or
//! "sign out everywhere" on another node.
//!
//! ```console
//! $ cargo run --example streams -- 127.0.0.1:3000
//! $ curl -c jar -X POST http://127.0.0.1:3000/login/ada
//! $ curl -N -b jar http://127.0.0.1:3000/events &
//! $ curl -b jar -X POST http://127.0.0.1:3000/logout             # the other curl ends, too
//! ```
use std::{convert::Infallible, io, time::Duration};

use axum::{
    Router,
    extract::{
        Path, Request,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade},
    },
    http::StatusCode,
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
    routing::{any, get, post},
};
use futures_util::{Stream, stream};
use tokio::time::interval;
use tower_tenure::{
    Error, ErrorKind, MemoryStore, RequireSession, Session, SessionLayer,
    browser::{Scheme, is_same_origin},
};

/// A number every second.
async fn events(session: Session) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let ticks = stream::unfold((interval(Duration::from_secs(1)), 0), async |(mut every, count)| {
        every.tick().await;
        Some((Ok(Event::default().data(count.to_string())), (every, count + 1)))
    });
    Sse::new(session.until_ended(ticks))
}

/// Pages of any site can open a WebSocket, and the browser may send the cookie along. So the origin
/// is checked, as for a form.
async fn socket(upgrade: WebSocketUpgrade, session: Session, request: Request) -> Response {
    if !is_same_origin((&request).into(), Scheme::Http) {
        return (StatusCode::FORBIDDEN, "the origin is another site, or is missing\n").into_response();
    }
    upgrade.on_upgrade(async move |socket| {
        // It fails if the other side is gone, and then nothing is left to do.
        let _ = echo(socket, session).await;
    })
}

async fn echo(mut socket: WebSocket, session: Session) -> Result<(), axum::Error> {
    let mut ended = Box::pin(session.ended());
    loop {
        let message = tokio::select! {
            biased;
            reason = &mut ended => {
                // 1008: policy violation. The page should offer to sign in, and not reconnect.
                let reason = reason.map_or("ended", |reason| reason.as_str());
                let close = CloseFrame { code: 1008, reason: reason.into() };
                return socket.send(Message::Close(Some(close))).await;
            }
            message = socket.recv() => message,
        };
        match message.transpose()? {
            Some(Message::Text(text)) => {
                // A message from the user is activity, like a request. Without this the session
                // would expire as idle during the conversation.
                match session.touch().await {
                    Ok(()) => socket.send(Message::Text(text)).await?,
                    // The next iteration sends the reason.
                    Err(error) if error.kind() == ErrorKind::Ended => {}
                    Err(error) => return Err(axum::Error::new(error)),
                }
            }
            Some(_) => {}
            None => return Ok(()),
        }
    }
}

// A real login checks a password first: see `examples/password_login.rs`.
async fn login(session: Session, Path(user): Path<String>) -> Result<(), Error> {
    session.login(user).await?.accepted()
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let app = Router::new()
        .route("/events", get(events))
        .route("/socket", any(socket))
        .route_layer(RequireSession::new())
        .route("/login/{user}", post(login))
        .route("/logout", post(async |session: Session| session.logout()))
        .layer(SessionLayer::new(MemoryStore::new()));

    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await
}
