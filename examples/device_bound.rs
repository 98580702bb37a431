//! A session bound to the device of its browser, and a copied cookie that stops working.
//!
//! `cargo run --example device_bound`, then start Chrome as it prints, log in, and press the
//! button. The certificate is generated at the start, for development only. Browsers bind a session
//! only if they trust the certificate, so one flag gives Chrome its hash. The other flag keeps the
//! key in software. Without it Chrome keeps the key in the device's TPM or secure enclave, if there
//! is one.
//!
//! Run the copied command twice: at once, and a minute later. It prints `ada`, then the reason for
//! the refusal.

#[path = "demo/tls.rs"]
#[expect(dead_code, reason = "the demo also reads certificates from files")]
mod tls;

use std::{net::SocketAddr, time::Duration};

use axum::{
    Router,
    http::{HeaderMap, Uri, header, uri::Authority},
    response::{Html, Redirect},
    routing::{get, post},
};
use base64ct::{Base64, Encoding};
use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tower_tenure::{
    DeviceBinding, Error, MemoryStore, RequireSession, Session, SessionLayer, browser::Endpoints,
};

/// Short, to watch it expire. Ten minutes are usual.
const PROOF_LIFETIME: Duration = Duration::from_secs(15);

fn site() -> Result<Router, Error> {
    let binding = DeviceBinding::enforce().with_cookie_lifetime(PROOF_LIFETIME)?;
    let endpoints = Endpoints::at("/session")?.with_device_binding(binding);
    Ok(Router::new()
        .route(
            "/whoami",
            get(async |session: Session| format!("{}\n", session.subject().unwrap_or_default())),
        )
        .route("/curl", post(curl))
        .route_layer(RequireSession::new())
        .route("/", get(page))
        .route("/login", post(login))
        .route("/logout", post(async |session: Session| session.logout().map(|()| Redirect::to("/"))))
        .layer(SessionLayer::new(MemoryStore::new()).with_endpoints(endpoints)))
}

/// A real handler checks the password first. The response offers the browser to bind the session.
async fn login(session: Session) -> Result<Redirect, Error> {
    session.login("ada").await?.accepted()?;
    Ok(Redirect::to("/"))
}

async fn page(session: Session) -> Html<String> {
    let button = |action: &str, text: &str| {
        format!("<form method=post action={action}><button>{text}</button></form>")
    };
    let content = match session.info() {
        None => "<p>Not signed in.".to_owned() + &button("/login", "Log in"),
        Some(info) => {
            let device = match (info.bound_at, info.proven_at) {
                (Some(bound), Some(proven)) => {
                    format!("Bound {bound}. The device last proved itself {proven}.")
                }
                _ => "Not bound: wait a second, or start Chrome as the example says.".to_owned(),
            };
            format!("<p id=device>{device}")
                + &button("/curl", "Copy the cookies")
                + &button("/logout", "Log out")
        }
    };
    Html(format!("<!doctype html><meta http-equiv=refresh content=3><title>Bound</title>{content}"))
}

/// The cookies of this session, as a command. They are `HttpOnly`, so a script cannot read them,
/// and the server shows them here to simulate a theft. No real site has such a route. It is a
/// `POST`, so browsers send it no `SameSite=Lax` cookies from another site, and a page of another
/// site cannot read the response.
async fn curl(uri: Uri, headers: HeaderMap) -> Html<String> {
    // HTTP/2 has the host in the URI, and may have a line for each cookie.
    let lines = |name| headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    let host = uri.authority().map(Authority::as_str).or_else(|| lines(header::HOST).next());
    let cookies: Vec<_> = lines(header::COOKIE).collect();
    // Cookies may contain anything, such as markup, or a quote that ends the argument.
    let plain = |text: &str| text.replace(|c: char| !c.is_ascii_alphanumeric() && !"-_=;: .".contains(c), "");
    let (host, cookies) = (plain(host.unwrap_or_default()), plain(&cookies.join("; ")));
    Html(format!(
        "<!doctype html><pre id=curl>curl -k -b '{cookies}' https://{host}/whoami</pre><a href=/>Back</a>"
    ))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(["localhost".to_owned()])?.self_signed(&key)?;
    let hash = Base64::encode_string(&Sha256::digest(key.subject_public_key_info()));
    let tls = tls::config(vec![certificate.der().clone()], key.into())?;

    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3443".to_owned());
    let listener = TcpListener::bind(&address).await?;
    let address: SocketAddr = listener.local_addr()?;
    println!(
        "listening on https://{address}\n\
         chromium --user-data-dir=/tmp/device-bound --ignore-certificate-errors-spki-list={hash} \
         --enable-features=DeviceBoundSessions:RequireOriginTrialTokens/false,EnableBoundSessionCredentialsSoftwareKeysForManualTesting \
         https://localhost:{}/",
        address.port()
    );
    axum::serve(tls::TlsListener::new(listener, address, tls), site()?).await?;
    Ok(())
}
