//! What the examples promise: audit lines (SPEC O1), the latest events, and back-channel logout
//! from an observer (R2).

#[path = "../../examples/back_channel_logout/back_channel.rs"]
mod back_channel;
#[path = "../../examples/login_hook.rs"]
#[expect(dead_code, reason = "its main is not run here")]
mod login_hook;

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Form, Router,
    body::Body,
    http::{Request, StatusCode},
    routing::post,
};
use back_channel::{BackChannel, Client};
use base64ct::{Base64UrlUnpadded, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::{net::TcpListener, sync::mpsc};
use tower::ServiceExt;
use tower_tenure::{
    MemoryStore, SessionLayer,
    events::{AuditLog, Operation, RecentEvents},
    testing::Probe,
};

use crate::common::{Site, usual_routes};

/// What each call of the writer received.
#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<String>>>);

impl Write for Calls {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().push(String::from_utf8(line.to_vec()).unwrap());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn site(layer: SessionLayer) -> Site {
    Site::over(layer, usual_routes(), |layer| layer)
}

#[tokio::test]
async fn o1_every_event_is_one_line_of_json_without_tokens_or_data() {
    let (calls, store) = (Calls::default(), Probe::remote(MemoryStore::new()));
    let site = site(SessionLayer::new(store.clone()).with_observer(AuditLog::new(calls.clone())));
    let ada = site.browser();
    ada.post("/login/ada%20%22x%22%0A").await;
    ada.post("/add/hunter2").await;
    let token = ada.cookie_header().unwrap();
    ada.post("/rotate").await;
    store.fail(Operation::Load, 1);
    ada.get("/me").await;
    ada.post("/logout").await;

    let lines = calls.0.lock().unwrap().clone();
    let secret = token.split_once('=').unwrap().1;
    assert!(lines.iter().all(|line| line.ends_with('\n') && line.matches('\n').count() == 1), "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains(secret) && !line.contains("hunter2")), "{lines:?}");
    let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events: Vec<_> =
        lines.iter().map(|line| (line["event"].as_str().unwrap(), line["reason"].as_str())).collect();
    assert_eq!(events[..3], [("created", None), ("authenticated", None), ("rotated", None)]);
    assert!(events[3].0 == "store_failed" && events[3].1.unwrap().starts_with("load: "), "{events:?}");
    assert_eq!(events[4..], [("ended", Some("signed_out"))]);
    let sid = lines[0]["sid"].as_str().unwrap();
    assert!(sid.len() == 22 && secret.starts_with(&sid[..21]), "the public handle");
    assert_eq!((&lines[0]["user"], &lines[4]["user"]), (&json!("ada \"x\"\n"), &json!("ada \"x\"\n")));
    assert_eq!(lines[4]["at"].as_str().unwrap().len(), 24);
}

#[tokio::test]
async fn o1_a_writer_that_fails_fails_no_request() {
    struct Broken;
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::other("full"))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let site = site(SessionLayer::new(MemoryStore::new()).with_observer(AuditLog::new(Broken)));
    assert_eq!(site.browser().post("/login/ada").await.status, StatusCode::OK);
}

#[tokio::test]
async fn o1_the_latest_events_are_kept_and_no_more() {
    let recent = RecentEvents::new(5);
    let site = site(SessionLayer::new(MemoryStore::new()).with_observer(recent.clone()));
    for user in ["a", "b", "c", "d"] {
        site.browser().post(&format!("/login/{user}")).await;
    }
    let users = |most| {
        recent.latest(most).into_iter().map(|line| (line.event, line.user.unwrap())).collect::<Vec<_>>()
    };
    let owned = |event, user: &str| (event, user.to_owned());
    assert_eq!(
        users(100),
        [
            owned("authenticated", "d"),
            owned("created", "d"),
            owned("authenticated", "c"),
            owned("created", "c"),
            owned("authenticated", "b"),
        ]
    );
    assert_eq!(users(1), [owned("authenticated", "d")]);
}

/// A client application that accepts logout tokens. It refuses the first one, as if it were
/// overloaded.
async fn client_application() -> (String, mpsc::UnboundedReceiver<String>) {
    let (sender, tokens) = mpsc::unbounded_channel();
    let mut is_first = true;
    let take = move |Form(form): Form<Vec<(String, String)>>| {
        let status =
            if std::mem::take(&mut is_first) { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        if status == StatusCode::OK {
            assert_eq!((form.len(), &*form[0].0), (1, "logout_token"));
            sender.send(form[0].1.clone()).unwrap();
        }
        async move { status }
    };
    let take = Arc::new(Mutex::new(take));
    let handler = post(move |form| take.lock().unwrap()(form));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/logout", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/logout", handler)).await });
    (url, tokens)
}

fn decoded(part: &str) -> Vec<u8> {
    let mut bytes = vec![0; part.len()];
    Base64UrlUnpadded::decode(part, &mut bytes).unwrap().to_vec()
}

#[tokio::test]
async fn r2_every_end_sends_clients_a_signed_logout_token() {
    let (url, mut tokens) = client_application().await;
    let client = Client { url: url.parse().unwrap(), id: "shop".into(), secret: "secret".into() };
    let layer = SessionLayer::new(MemoryStore::new());
    let site = site(layer.with_observer(BackChannel::to(vec![client], "https://login.example")));
    let (ada, bob, visitor) = (site.browser(), site.browser(), site.browser());
    ada.post("/login/ada").await;
    bob.post("/login/bob").await;
    visitor.post("/add/x").await;
    visitor.post("/logout").await;
    ada.post("/logout").await;
    let record = site.sessions.list(Some("bob"), None, 1).await.unwrap().sessions.remove(0);
    site.sessions.revoke(record.sid).await.unwrap();

    let mut subjects = Vec::new();
    for _ in 0..2 {
        let token = tokio::time::timeout(Duration::from_secs(20), tokens.recv()).await.unwrap().unwrap();
        let (text, signature) = token.rsplit_once('.').unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(b"secret").unwrap();
        mac.update(text.as_bytes());
        mac.verify_slice(&decoded(signature)).unwrap();
        let (head, claims) = text.split_once('.').unwrap();
        let head: Value = serde_json::from_slice(&decoded(head)).unwrap();
        assert_eq!(head, json!({ "alg": "HS256", "typ": "logout+jwt" }));
        let claims: Value = serde_json::from_slice(&decoded(claims)).unwrap();
        assert_eq!((&claims["iss"], &claims["aud"]), (&json!("https://login.example"), &json!("shop")));
        assert_eq!(claims["events"], json!({ "http://schemas.openid.net/event/backchannel-logout": {} }));
        assert!(claims.get("nonce").is_none() && claims["exp"].as_i64() > claims["iat"].as_i64());
        if claims["sub"] == "bob" {
            assert_eq!(claims["sid"], record.sid.to_string());
        }
        subjects.push(claims["sub"].clone());
    }
    assert_eq!(subjects, ["ada", "bob"], "in order, each once, and no anonymous visitor");
}

#[tokio::test]
async fn a1_the_login_hooks_of_the_example_do_what_they_say() {
    let store = MemoryStore::new();
    let layer = SessionLayer::new(store);
    let sessions = layer.sessions();
    let app = login_hook::site(layer);
    let login = async |user: &str, headers: &[(&str, &str)]| {
        let mut request = Request::post(format!("/login/{user}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    };
    let lifetimes = async |user: &str| {
        let timing =
            tower_tenure::testing::records(&sessions, Some(user), 100).await.unwrap().last().unwrap().timing;
        (timing.lifetimes.idle().as_secs() / 60, timing.lifetimes.absolute().as_secs() / 60)
    };
    let days = 24 * 60;
    login("ada", &[]).await;
    assert_eq!(lifetimes("ada").await, (3 * days, 7 * days));
    login("high", &[("x-risk", "high")]).await;
    assert_eq!(lifetimes("high").await, (5, 15));
    login("bob@partner.example", &[]).await;
    assert_eq!(lifetimes("bob@partner.example").await, (7 * days, 30 * days));
    login("eve@partner.example", &[("x-risk", "high")]).await;
    assert_eq!(lifetimes("eve@partner.example").await, (5, 15), "a later hook sees what an earlier one did");
    let cookie = async |kind: &str| {
        let response = login("kim", &[("x-application", kind)]).await;
        response.headers()["set-cookie"].to_str().unwrap().contains("Expires=")
    };
    assert_eq!((cookie("kiosk").await, cookie("installed").await), (false, true));
    let refused = login("eve", &[("x-risk", "blocked")]).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert!(refused.headers().get("set-cookie").is_none());
}
