//! `?` in a handler answers with a problem (RFC 9457) that never contains the cause (SPEC H2, S6).

use axum::{Router, http::StatusCode, response::IntoResponse, routing::post};
use serde_json::Value;
use tower_tenure::{
    Error, ErrorKind, Key, MemoryStore, Session, SessionLayer, events::Operation, testing::Probe,
};

use crate::common::{Reply, Site, usual_routes};

async fn answer(error: Error) -> (Reply, Value) {
    let reply = Reply::read(error.into_response()).await;
    let body = serde_json::from_str(&reply.body).expect("a problem is JSON");
    (reply, body)
}

#[tokio::test]
async fn an_error_is_a_problem_with_its_status_and_without_its_cause() {
    let secret = || Error::store(std::io::Error::other("postgres://app:hunter2@db"));
    let cases = [
        (secret(), 503, None),
        (Error::new(ErrorKind::Timeout, "hunter2 did not answer"), 503, None),
        (Error::new(ErrorKind::Ended, "hunter2"), 401, None),
        (Error::new(ErrorKind::Refused, "too many sessions"), 403, Some("too many sessions")),
        (Error::new(ErrorKind::TooLarge, "at most 65536 bytes"), 413, Some("at most 65536 bytes")),
        (Error::new(ErrorKind::InvalidInput, "a lifetime of zero"), 400, Some("a lifetime of zero")),
        (Error::new(ErrorKind::Data, "hunter2"), 500, None),
        (Error::new(ErrorKind::Configuration, "hunter2"), 500, None),
        (Error::new(ErrorKind::Random, "hunter2"), 500, None),
        (Error::new(ErrorKind::Closed, "hunter2"), 500, None),
    ];
    for (error, status, detail) in cases {
        let name = format!("{error:?}");
        let (reply, body) = answer(error).await;
        assert_eq!(reply.status, status, "{name}");
        assert_eq!(reply.headers["content-type"], "application/problem+json", "{name}");
        assert_eq!(reply.headers["cache-control"], "no-store", "{name}");
        assert_eq!(body["status"], status, "{name}");
        assert!(body["title"].as_str().is_some_and(|title| !title.is_empty()), "{name}");
        assert!(detail.is_none_or(|detail| body["detail"] == detail), "{name}: {body}");
        assert!(!reply.body.contains("hunter2"), "{name}: {body}");
        assert_eq!(reply.headers.contains_key("retry-after"), status == 503, "{name}");
    }
}

#[tokio::test]
async fn s6_a_question_mark_after_a_failed_save_answers_503_through_the_whole_stack() {
    let store = Probe::remote(MemoryStore::new());
    let routes = usual_routes().merge(Router::new().route(
        "/save",
        post(async |session: Session| {
            session.insert(&Key::new("a"), &1)?;
            session.save().await?.accepted()?;
            Ok::<_, Error>("saved")
        }),
    ));
    let site = Site::over(SessionLayer::new(store.clone()), routes, |layer| layer);
    let browser = site.log_in("alice").await;
    store.fail(Operation::Update, usize::MAX);
    let reply = browser.post("/save").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(reply.headers["content-type"], "application/problem+json");
    assert!(!reply.body.contains("made to fail"), "{}", reply.body);
}
