//! Limits for one visitor: bytes of data and open streams (S13).

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, http::StatusCode, routing::post};
use tower_tenure::{
    EndReason, Error, ErrorKind, Key, MemoryStore, Session, SessionLayer, events::Operation, store::AnyStore,
    testing::Probe,
};

use crate::common::{Browser, Reply, Site, background_tasks, stores, usual_routes};

/// FINDINGS C13: one anonymous session of 16 MB delayed all other sessions.
#[tokio::test]
async fn c13_data_over_the_limit_is_refused_and_nothing_is_lost() {
    for store in stores() {
        let site = Site::over(SessionLayer::new(store), usual_routes(), |layer| layer);
        let browser = site.browser();
        assert_eq!(browser.put("/data/a", "x".repeat(60 * 1024)).await.status, StatusCode::OK);
        let reply = browser.put("/data/b", "x".repeat(5 * 1024)).await;
        assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE, "{}", reply.body);
        assert_eq!(browser.get("/data/a").await.body.len(), 60 * 1024);
        assert_eq!(browser.get("/data/b").await.status, StatusCode::NOT_FOUND);
        assert_eq!(browser.put("/data/a", "x".repeat(1024)).await.status, StatusCode::OK, "it may shrink");
        assert_eq!(browser.put("/data/b", "x".repeat(60 * 1024)).await.status, StatusCode::OK);
        // The same holds for the first write of a visitor.
        let visitor = site.browser();
        assert_eq!(visitor.put("/data/a", "x".repeat(1 << 20)).await.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(visitor.cookie_header(), None);
    }
}

/// Interleaving: two requests in flight each stay below the limit, but together they exceed it.
#[tokio::test]
async fn s13_the_limit_holds_under_parallel_writes() {
    let store = Probe::remote(MemoryStore::new());
    let site =
        Site::over(SessionLayer::new(store.clone()), usual_routes(), |layer| layer.with_max_data(1000));
    let browser = site.browser();
    assert_eq!(browser.put("/data/a", "x".repeat(10)).await.status, StatusCode::OK);
    let gate = store.hold(Operation::Update);
    let tab = browser.copy();
    let late = tokio::spawn(async move { tab.put("/data/b", "x".repeat(600)).await });
    gate.arrived().await;
    assert_eq!(browser.put("/data/c", "x".repeat(600)).await.status, StatusCode::OK);
    gate.open();
    assert_eq!(late.await.unwrap().status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(browser.get("/data/b").await.status, StatusCode::NOT_FOUND);
    assert_eq!(browser.get("/data/c").await.body.len(), 600);
}

/// The handler gets the error from `insert`, and what it wrote before is stored.
#[tokio::test]
async fn s13_a_write_over_the_limit_fails_at_once_and_earlier_writes_are_kept() {
    let kind = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&kind);
    let handler = post(async move |session: Session| {
        session.insert(&Key::new("small"), &"kept".to_owned())?;
        let error = session.insert(&Key::new("large"), &"x".repeat(2000)).unwrap_err();
        *seen.lock().unwrap() = Some(error.kind());
        Ok::<_, Error>(StatusCode::OK)
    });
    let routes = usual_routes().merge(Router::new().route("/write", handler));
    let site = Site::over(SessionLayer::new(MemoryStore::new()), routes, |layer| layer.with_max_data(1000));
    let browser = site.browser();
    assert_eq!(browser.post("/write").await.status, StatusCode::OK);
    assert_eq!(*kind.lock().unwrap(), Some(ErrorKind::TooLarge));
    assert_eq!(browser.get("/data/small").await.body, "kept");
}

/// A site where `/wait` answers with the result of `Session::ended` when the session ends.
fn waiting_site(store: impl Into<AnyStore>, streams: usize) -> Site {
    let wait = post(async |session: Session| match session.ended().await {
        Some(reason) => reason.as_str(),
        None => "closed",
    });
    let routes = usual_routes().merge(Router::new().route("/wait", wait));
    Site::over(SessionLayer::new(store), routes, |layer| layer.with_max_streams(streams))
}

fn wait_on(browser: &Browser) -> tokio::task::JoinHandle<Reply> {
    let tab = browser.copy();
    tokio::spawn(async move { tab.post("/wait").await })
}

/// FINDINGS A14: 2,000 streams of one session were accepted.
#[tokio::test(start_paused = true)]
async fn a14_one_stream_too_many_ends_the_oldest() {
    for store in stores() {
        let site = waiting_site(store, 3);
        let browser = site.browser();
        browser.post("/login/alice").await;
        let mut streams = Vec::new();
        for _ in 0..4 {
            streams.push(wait_on(&browser));
            background_tasks().await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let ended: Vec<_> = streams.iter().map(tokio::task::JoinHandle::is_finished).collect();
        assert_eq!(ended, [true, false, false, false]);
        browser.post("/logout").await;
        for (number, stream) in streams.into_iter().enumerate() {
            let expected = if number == 0 { "closed" } else { EndReason::SignedOut.as_str() };
            assert_eq!(stream.await.unwrap().body, expected);
        }
    }
}

/// FINDINGS A14: each stream asked the store once a second.
#[tokio::test(start_paused = true)]
async fn a14_a_session_costs_one_load_a_second_however_many_streams_it_has() {
    let store = Probe::remote(MemoryStore::new());
    let site = waiting_site(store.clone(), 32);
    let browser = site.browser();
    browser.post("/login/alice").await;
    let streams: Vec<_> = (0..30).map(|_| wait_on(&browser)).collect();
    background_tasks().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    store.take_calls();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let loads = store.take_calls().len();
    assert!((8..=11).contains(&loads), "{loads} loads in ten seconds");
    assert!(streams.iter().all(|stream| !stream.is_finished()));
}
