//! A complete site with session lifetimes: `cargo run --example demo`, then
//! <http://127.0.0.1:3000>.
//!
//! | file | contents |
//! |---|---|
//! | `flags.rs` | the command line |
//! | `store.rs` | the store of sessions and settings |
//! | `app.rs` | the layers and the routes |
//! | `auth.rs` | login, logout, rotation, and who is signed in |
//! | `data.rs` | values of the session |
//! | `sessions.rs` | where the user is signed in: `sessions.html`, `device.html` |
//! | `stream.rs` | a response that ends with the session |
//! | `page.rs` | the page: `*.html`, `page.css`, `page.js` |
//! | `reply.rs` | refusals as the client reads them, and the headers of every response |
//! | `site.rs` | the address of the site behind a proxy |
//! | `form.rs` | form decoding without guesses |
//! | `tls.rs` | https |
//! | `logging.rs` | `RUST_LOG`, and what it cannot enable |

mod app;
mod auth;
mod data;
mod flags;
mod form;
mod logging;
mod page;
mod reply;
mod sessions;
mod site;
mod store;
mod stream;
mod tls;

use std::{
    io::{self, Write},
    net::SocketAddr,
    process::ExitCode,
    time::Duration,
};

use axum::{
    Router,
    serve::{Listener, ListenerExt},
};
use tokio::{net::TcpListener, sync::watch};

use crate::{
    flags::{Asked, Flags},
    tls::TlsListener,
};

/// How long a shutdown waits for requests in flight.
const LAST_ORDERS: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> ExitCode {
    let flags = match flags::parse(std::env::args_os().skip(1).collect(), |name| std::env::var_os(name)) {
        Ok(Asked::Run(flags)) => flags,
        Ok(Asked::Help) => {
            print(flags::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(wrong) => return refuse(&wrong),
    };
    match run(flags).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(wrong) => refuse(&wrong),
    }
}

async fn run(flags: Box<Flags>) -> Result<(), String> {
    logging::start()?;
    let listen = flags.listen;
    let taken = |error: io::Error| format!("cannot listen on {listen}: {error}; try another --listen");
    let listener = TcpListener::bind(listen).await.map_err(taken)?;
    let address = listener.local_addr().map_err(taken)?;
    let random_token = flags.random_management_token();
    let tls = flags.tls.clone();

    let (stop, stopped) = watch::channel(false);
    let app = app::router(*flags, stopped.clone()).await.map_err(|error| explain(&error))?;
    print(&format!("listening on {}://{address}\n", if tls.is_some() { "https" } else { "http" }));
    if let Some(token) = random_token {
        print(&format!("management token: {token}\n"));
    }

    tokio::spawn(async move {
        asked_to_stop().await;
        let _ = stop.send(true);
    });
    let served = match tls {
        Some(tls) => serve(TlsListener::new(listener, address, tls), app, stopped).await,
        None => serve(listener, app, stopped).await,
    };
    served.map_err(|error| format!("the server failed: {error}"))
}

/// Serves until the server must stop, and a little longer for requests in flight.
async fn serve<L>(listener: L, app: Router, stopped: watch::Receiver<bool>) -> io::Result<()>
where
    L: Listener<Addr = SocketAddr>,
{
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    // `tap_io` gives access to a client's address for any type of listener.
    let serving = axum::serve(listener.tap_io(|_| {}), service).with_graceful_shutdown(wait(stopped.clone()));
    tokio::select! {
        served = serving => served,
        () = async { wait(stopped).await; tokio::time::sleep(LAST_ORDERS).await } => Ok(()),
    }
}

/// An error with its causes, in one line.
fn explain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", explain(source)),
        None => error.to_string(),
    }
}

/// Resolves when the server must stop.
async fn wait(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Ctrl-C or SIGTERM.
async fn asked_to_stop() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}

/// Not `println!`, which panics when the reader is gone.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints the message as one line on stderr.
fn refuse(wrong: &str) -> ExitCode {
    let line: String = wrong.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let _ = writeln!(io::stderr(), "demo: {line} (see --help)");
    ExitCode::from(2)
}
