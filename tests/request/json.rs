//! What applications send as JSON: the exact text of the handle's views.

use axum::{
    Json, Router,
    http::header,
    routing::{get, post},
};
use serde_json::{Value, json};
use tower_tenure::{
    EndReason, Error, MemoryStore, Mode, Session, SessionId, SessionLayer, Timestamp, testing::ManualClock,
};

use crate::common::{MINUTE, SECOND, Site, policy};

fn site() -> Site {
    let login = post(async |session: Session| {
        let login =
            session.login("alice").with_client("web").with_method("pwd").with_metadata("risk", "secret");
        login.await?.accepted()
    });
    let routes = Router::new()
        .route("/login", login)
        .route("/info", get(async |session: Session| Json(session.info())))
        .route("/past", get(async |session: Session| Json(session.past())))
        .route(
            "/cart",
            post(async |session: Session| {
                session.insert(&tower_tenure::Key::new("cart"), &1)?;
                Ok::<_, Error>(())
            }),
        );
    let clock = ManualClock::new(Timestamp::from_unix_millis(1_700_000_000_123));
    let layer = SessionLayer::new(MemoryStore::new()).with_policy(policy());
    let mut site = Site::over(layer, routes, |layer| layer.with_clock(clock.clone()));
    site.clock = clock;
    site
}

#[tokio::test]
async fn h2_a_session_is_an_object_with_text_for_moments_and_without_metadata() {
    let site = site();
    let browser = site.browser();
    assert_eq!(browser.get("/info").await.body, "null");
    let reply = browser
        .request(
            axum::http::Request::post("/login").header(header::USER_AGENT, "Test/1").body("".into()).unwrap(),
        )
        .await;
    assert_eq!(reply.status, 200);
    site.clock.advance(SECOND);
    let body = browser.get("/info").await.body;
    let sid = site.sessions.list(None, None, 1).await.unwrap().sessions[0].sid;
    let expected = json!({
        "sid": sid.to_string(),
        "subject": "alice",
        "mode": "non-persistent",
        "created_at": "2023-11-14T22:13:20.123Z",
        "authenticated_at": "2023-11-14T22:13:20.123Z",
        "last_interacted_at": "2023-11-14T22:13:21.123Z",
        "idle_expires_at": "2023-11-14T22:28:21.123Z",
        "expires_at": "2023-11-14T23:13:20.123Z",
        "bound_at": null,
        "proven_at": null,
        "device": {
            "initial_ip": null,
            "initial_user_agent": "Test/1",
            "last": { "ip": null, "user_agent": "Test/1" },
        },
        "clients": ["web"],
        "authentication": [{ "name": "pwd", "at": "2023-11-14T22:13:20.123Z" }],
    });
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), expected);
    assert!(!body.contains("secret"));
}

#[tokio::test]
async fn h2_an_anonymous_session_has_neither_subject_nor_authentication() {
    let site = site();
    let browser = site.browser();
    browser.post("/cart").await;
    let info: Value = serde_json::from_str(&browser.get("/info").await.body).unwrap();
    assert_eq!((&info["subject"], &info["authenticated_at"]), (&Value::Null, &Value::Null));
    assert!(info.as_object().unwrap().contains_key("subject"), "the keys are always the same");
}

#[tokio::test]
async fn e3_what_is_past_says_why_and_how_long_in_seconds() {
    let site = site();
    let browser = site.browser();
    browser.post("/login").await;
    site.clock.advance(15 * MINUTE);
    let past: Value = serde_json::from_str(&browser.get("/past").await.body).unwrap();
    let expected = json!({
        "reason": "idle",
        "ended_at": "2023-11-14T22:28:20.123Z",
        "idle_lifetime_seconds": 900,
        "absolute_lifetime_seconds": 3600,
    });
    assert_eq!(past, expected);
}

#[test]
fn the_words_are_those_of_the_api() {
    assert_eq!(json!([Mode::Persistent, Mode::NonPersistent]), json!(["persistent", "non-persistent"]));
    assert_eq!(json!([EndReason::SignedOut, EndReason::Idle]), json!(["signed_out", "idle"]));
    assert_eq!(json!(SessionId::from_bytes([0; 16])), json!("AAAAAAAAAAAAAAAAAAAAAA"));
    assert_eq!(json!(Timestamp::UNIX_EPOCH), json!("1970-01-01T00:00:00.000Z"));
}
