//! An outage of the store is one event when it begins and one when it is over (SPEC O3). The
//! readiness call sees it too.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::http::StatusCode;
use tower_tenure::{
    Error, ErrorKind, MemoryStore, SessionLayer, SessionStore,
    events::{Event, EventKind, Operation},
    store::{AnyStore, StoreInfo},
    testing::{ManualClock, Probe},
};

use crate::common::{SECOND, Site, TICK, usual_routes};

type Lines = Arc<Mutex<Vec<String>>>;

fn take(lines: &Lines) -> Vec<String> {
    std::mem::take(&mut *lines.lock().unwrap())
}

/// A layer whose outages are recorded, with its own clock.
fn watched(store: impl Into<AnyStore>) -> (SessionLayer, ManualClock, Lines) {
    let (lines, clock) = (Lines::default(), ManualClock::default());
    let observed = Arc::clone(&lines);
    let layer =
        SessionLayer::new(store).with_clock(clock.clone()).with_observer_fn(move |event: &Event<'_>| {
            let line = match event.kind {
                EventKind::StoreFailed { store, operation, error, .. } => {
                    format!("{operation} of {store} failed: {}", source(error))
                }
                EventKind::StoreRecovered { store, lasted, failures, .. } => {
                    format!("{store} is back after {lasted:?} and {failures} failures")
                }
                _ => return,
            };
            observed.lock().unwrap().push(line);
        });
    (layer, clock, lines)
}

fn source(error: &Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

async fn is_emitted_at_its_begin_and_its_end<const IN_PROCESS: bool>(store: Probe<MemoryStore, IN_PROCESS>)
where
    Probe<MemoryStore, IN_PROCESS>: SessionStore,
{
    let (layer, clock, lines) = watched(store.clone());
    let mut site = Site::over(layer, usual_routes(), |layer| layer.with_clock(clock.clone()));
    site.clock = clock;
    let browser = site.log_in("alice").await;
    store.fail(Operation::Load, 20);
    for _ in 0..20 {
        assert_eq!(browser.get("/me").await.status, StatusCode::SERVICE_UNAVAILABLE);
        site.clock.advance(Duration::from_millis(100));
    }
    assert_eq!(take(&lines), ["load of memory failed: made to fail"]);

    assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    assert!(take(&lines).is_empty(), "one success just after a failure proves little");
    for _ in 0..3 {
        site.clock.advance(SECOND);
        assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    }
    assert_eq!(take(&lines), ["memory is back after 3s and 20 failures"]);
}

#[tokio::test]
async fn o3_an_outage_is_emitted_when_it_begins_and_when_it_is_over_not_for_each_call() {
    is_emitted_at_its_begin_and_its_end(Probe::remote(MemoryStore::new())).await;
    is_emitted_at_its_begin_and_its_end(Probe::in_process(MemoryStore::new())).await;
}

#[tokio::test]
async fn o3_two_stores_in_one_process_do_not_mix() {
    let (one, other) = (Probe::remote(MemoryStore::new()), Probe::remote(MemoryStore::new()));
    let (first, clock, lines) = watched(one.clone());
    let (second, its_clock, other_lines) = watched(other.clone());
    one.fail(Operation::NotBefore, 2);
    other.fail(Operation::NotBefore, 1);
    let (sessions, others) = (first.sessions(), second.sessions());
    assert!(sessions.ready().await.is_err());
    assert!(others.ready().await.is_err());
    assert_eq!((take(&lines).len(), take(&other_lines).len()), (1, 1), "each emits its own outage");
    its_clock.advance(SECOND);
    others.ready().await.unwrap();
    assert_eq!(take(&other_lines), ["memory is back after 1s and 1 failures"]);
    assert!(sessions.ready().await.is_err());
    assert!(take(&lines).is_empty(), "this outage goes on");
    clock.advance(SECOND);
    sessions.ready().await.unwrap();
    assert_eq!(take(&lines), ["memory is back after 1s and 2 failures"]);
}

/// Clones of a layer share the store and the state of its outage.
#[tokio::test]
async fn o3_clones_of_a_layer_emit_one_outage_once() {
    let store = Probe::remote(MemoryStore::new());
    let (layer, _, lines) = watched(store.clone());
    let copy = layer.clone();
    store.fail(Operation::NotBefore, 2);
    assert!(layer.sessions().ready().await.is_err());
    assert!(copy.sessions().ready().await.is_err());
    assert_eq!(take(&lines).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_readiness_call_is_one_read_within_the_budget() {
    let store = Probe::remote(MemoryStore::new());
    let (layer, _, lines) = watched(store.clone());
    let sessions = layer.sessions();
    sessions.ready().await.unwrap();
    assert_eq!(store.take_calls(), [], "nothing but the read that requests share");

    let gate = store.hold(Operation::NotBefore);
    let ready = tokio::time::timeout(2 * SECOND + TICK, sessions.ready());
    let error = ready.await.expect("within the budget").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(take(&lines).len(), 1, "an event, as for a request");
    drop(gate);
    sessions.ready().await.unwrap();
}

#[test]
fn a_store_says_what_it_is() {
    assert_eq!(SessionStore::info(&MemoryStore::new()), StoreInfo::new("memory"));
    assert_eq!(Probe::remote(MemoryStore::new()).info().to_string(), "memory");
}
