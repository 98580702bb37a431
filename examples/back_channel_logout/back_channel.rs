//! An observer that sends a logout token to every client when a session ends.

use std::time::Duration;

use axum::http::{Request, Uri, header};
use base64ct::{Base64UrlUnpadded, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::Full;
use hyper_util::{client::legacy, rt::TokioExecutor};
use serde_json::json;
use sha2::Sha256;
use tokio::sync::mpsc;
use tower_tenure::{
    SessionId, Timestamp,
    events::{Event, EventKind, Observer},
};

/// A client application to notify.
pub(crate) struct Client {
    pub(crate) url: Uri,
    pub(crate) id: String,
    /// The secret shared with the client, for signatures (HS256).
    pub(crate) secret: String,
}

/// Queues the event while a request is served; a separate task sends the tokens.
pub(crate) struct BackChannel(mpsc::UnboundedSender<Ended>);

struct Ended {
    at: Timestamp,
    sid: SessionId,
    subject: String,
}

/// How often an unresponsive client is retried, and how long to wait in between.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);

impl BackChannel {
    pub(crate) fn to(clients: Vec<Client>, issuer: &'static str) -> Self {
        let (sender, mut ended) = mpsc::unbounded_channel::<Ended>();
        tokio::spawn(async move {
            while let Some(ended) = ended.recv().await {
                for client in &clients {
                    if let Err(error) = notify(client, issuer, &ended).await {
                        eprintln!("{} was not notified of the end of {}: {error}", client.id, ended.sid);
                    }
                }
            }
        });
        Self(sender)
    }
}

impl Observer for BackChannel {
    fn observe(&self, event: &Event<'_>) {
        // Anonymous sessions have no subject.
        if let (EventKind::Ended(_), Some(sid), Some(subject)) = (event.kind, event.sid, event.subject) {
            let _ = self.0.send(Ended { at: event.at, sid, subject: subject.to_owned() });
        }
    }
}

async fn notify(
    client: &Client,
    issuer: &str,
    ended: &Ended,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let http = legacy::Client::builder(TokioExecutor::new()).build_http::<Full<axum::body::Bytes>>();
    let form = format!("logout_token={}", token(client, issuer, ended)?);
    for attempt in 1.. {
        let request = Request::post(&client.url)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::from(form.clone()))?;
        match http.request(request).await {
            Ok(response) if response.status().is_success() => break,
            Ok(response) if attempt == TRIES => return Err(response.status().to_string().into()),
            Err(error) if attempt == TRIES => return Err(error.into()),
            _ => tokio::time::sleep(PAUSE * attempt).await,
        }
    }
    Ok(())
}

/// A logout token (OpenID Connect Back-Channel Logout 1.0, section 2.4).
fn token(client: &Client, issuer: &str, ended: &Ended) -> Result<String, hmac::digest::InvalidLength> {
    let seconds = ended.at.unix_seconds_floor();
    let head = json!({ "alg": "HS256", "typ": "logout+jwt" });
    let claims = json!({
        "iss": issuer,
        "aud": client.id,
        "iat": seconds,
        "exp": seconds + 120,
        "jti": format!("{}-{}", ended.sid, ended.at.as_unix_millis()),
        "sub": ended.subject,
        "sid": ended.sid.to_string(),
        "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
    });
    let text = format!("{}.{}", base64(head.to_string().as_bytes()), base64(claims.to_string().as_bytes()));
    let mut mac = Hmac::<Sha256>::new_from_slice(client.secret.as_bytes())?;
    mac.update(text.as_bytes());
    Ok(format!("{text}.{}", base64(&mac.finalize().into_bytes())))
}

fn base64(bytes: &[u8]) -> String {
    let mut text = vec![0; Base64UrlUnpadded::encoded_len(bytes)];
    Base64UrlUnpadded::encode(bytes, &mut text).unwrap_or_default().to_owned()
}
