//! An outage of the store is told once when it begins and once when it is over (SPEC O3), and the readiness call sees it.

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

type Told = Arc<Mutex<Vec<String>>>;

fn take(told: &Told) -> Vec<String> {
    std::mem::take(&mut *told.lock().unwrap())
}

/// A layer that tells of outages, with a clock of its own.
fn watched(store: impl Into<AnyStore>) -> (SessionLayer, ManualClock, Told) {
    let (told, clock) = (Told::default(), ManualClock::default());
    let ears = Arc::clone(&told);
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
            ears.lock().unwrap().push(line);
        });
    (layer, clock, told)
}

fn source(error: &Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

async fn is_told_twice<const IN_PROCESS: bool>(store: Probe<MemoryStore, IN_PROCESS>)
where
    Probe<MemoryStore, IN_PROCESS>: SessionStore,
{
    let (layer, clock, told) = watched(store.clone());
    let mut site = Site::over(layer, usual_routes(), |layer| layer.with_clock(clock.clone()));
    site.clock = clock;
    let browser = site.log_in("alice").await;
    store.fail(Operation::Load, 20);
    for _ in 0..20 {
        assert_eq!(browser.get("/me").await.status, StatusCode::SERVICE_UNAVAILABLE);
        site.clock.advance(Duration::from_millis(100));
    }
    assert_eq!(take(&told), ["load of memory failed: made to fail"]);

    assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    assert!(take(&told).is_empty(), "one success just after a failure proves little");
    for _ in 0..3 {
        site.clock.advance(SECOND);
        assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    }
    assert_eq!(take(&told), ["memory is back after 3s and 20 failures"]);
}

#[tokio::test]
async fn o3_an_outage_is_told_when_it_begins_and_when_it_is_over_not_for_each_call() {
    is_told_twice(Probe::remote(MemoryStore::new())).await;
    is_told_twice(Probe::in_process(MemoryStore::new())).await;
}

#[tokio::test]
async fn o3_two_stores_in_one_process_do_not_mix() {
    let (one, other) = (Probe::remote(MemoryStore::new()), Probe::remote(MemoryStore::new()));
    let (first, clock, told) = watched(one.clone());
    let (second, its_clock, also_told) = watched(other.clone());
    one.fail(Operation::NotBefore, 2);
    other.fail(Operation::NotBefore, 1);
    let (sessions, others) = (first.sessions(), second.sessions());
    assert!(sessions.ready().await.is_err());
    assert!(others.ready().await.is_err());
    assert_eq!((take(&told).len(), take(&also_told).len()), (1, 1), "each tells of its own");
    its_clock.advance(SECOND);
    others.ready().await.unwrap();
    assert_eq!(take(&also_told), ["memory is back after 1s and 1 failures"]);
    assert!(sessions.ready().await.is_err());
    assert!(take(&told).is_empty(), "it goes on here");
    clock.advance(SECOND);
    sessions.ready().await.unwrap();
    assert_eq!(take(&told), ["memory is back after 1s and 2 failures"]);
}

/// Layers that were cloned judge together, since they share the store.
#[tokio::test]
async fn o3_clones_of_a_layer_tell_of_one_outage() {
    let store = Probe::remote(MemoryStore::new());
    let (layer, _, told) = watched(store.clone());
    let copy = layer.clone();
    store.fail(Operation::NotBefore, 2);
    assert!(layer.sessions().ready().await.is_err());
    assert!(copy.sessions().ready().await.is_err());
    assert_eq!(take(&told).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_readiness_call_is_one_read_within_the_budget() {
    let store = Probe::remote(MemoryStore::new());
    let (layer, _, told) = watched(store.clone());
    let sessions = layer.sessions();
    sessions.ready().await.unwrap();
    assert_eq!(store.take_calls(), [], "nothing but the read that requests share");

    let gate = store.hold(Operation::NotBefore);
    let ready = tokio::time::timeout(2 * SECOND + TICK, sessions.ready());
    let error = ready.await.expect("within the budget").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(take(&told).len(), 1, "an event, as for a request");
    drop(gate);
    sessions.ready().await.unwrap();
}

#[test]
fn a_store_says_what_it_is() {
    assert_eq!(SessionStore::info(&MemoryStore::new()), StoreInfo::new("memory"));
    assert_eq!(Probe::remote(MemoryStore::new()).info().to_string(), "memory");
}
