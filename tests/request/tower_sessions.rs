//! Our stores as stores of `tower-sessions`, and the migration from `tower-sessions`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tower_sessions_core::{
    Expiry, Session,
    session::{Id, Record},
    session_store::SessionStore as TheirStore,
};
use tower_tenure::{
    Clock, MemoryStore, SessionStore, SystemClock, TowerSessions,
    events::Operation,
    store::Page,
    testing::{ManualClock, Probe},
};

use crate::common::HOUR;

struct Place {
    store: MemoryStore,
    theirs: Arc<TowerSessions>,
    clock: ManualClock,
}

fn place() -> Place {
    let (store, clock) = (MemoryStore::new(), ManualClock::default());
    let theirs = Arc::new(TowerSessions::new(store.clone()).with_clock(clock.clone()));
    Place { store, theirs, clock }
}

impl Place {
    fn record(&self, lives: Duration) -> Record {
        let data = [("user".to_owned(), json!("alice"))].into();
        Record { id: Id::default(), data, expiry_date: (self.clock.now() + lives).into() }
    }

    fn session(&self, id: Option<Id>) -> Session {
        Session::new(id, self.theirs.clone(), Some(Expiry::OnSessionEnd))
    }
}

#[tokio::test]
async fn what_a_session_holds_comes_back_in_a_later_request() {
    // `tower-sessions` computes its expiry from the system's clock.
    let theirs = Arc::new(TowerSessions::new(MemoryStore::new()));
    let session = Session::new(None, theirs.clone(), None);
    session.insert("user", "alice").await.unwrap();
    session.save().await.unwrap();
    let again = Session::new(session.id(), theirs.clone(), None);
    assert_eq!(again.get::<String>("user").await.unwrap().unwrap(), "alice");
    again.cycle_id().await.unwrap();
    again.save().await.unwrap();
    assert_ne!(again.id(), session.id());
    let cycled = Session::new(again.id(), theirs.clone(), None);
    assert_eq!(cycled.get::<String>("user").await.unwrap().unwrap(), "alice");
    assert_eq!(theirs.load(&session.id().unwrap()).await.unwrap(), None, "the id before is dead");
}

#[tokio::test]
async fn a_session_is_over_at_its_expiry_also_when_that_moved_either_way() {
    let place = place();
    let mut record = place.record(HOUR);
    place.theirs.create(&mut record).await.unwrap();
    for lives in [HOUR, 3 * HOUR, Duration::from_secs(5)] {
        record.expiry_date = (place.clock.now() + lives).into();
        place.theirs.save(&record).await.unwrap();
        place.clock.advance(lives - Duration::from_millis(1));
        assert_eq!(place.theirs.load(&record.id).await.unwrap().unwrap(), record);
    }
    place.clock.advance(Duration::from_millis(1));
    assert_eq!(place.theirs.load(&record.id).await.unwrap(), None);
}

#[tokio::test]
async fn s4_a_save_in_flight_does_not_bring_back_what_was_deleted() {
    let place = place();
    let mut record = place.record(HOUR);
    place.theirs.create(&mut record).await.unwrap();
    place.theirs.delete(&record.id).await.unwrap();
    assert!(place.theirs.save(&record).await.is_err());
    assert_eq!(place.theirs.load(&record.id).await.unwrap(), None);
    let unknown = place.record(HOUR);
    assert!(place.theirs.save(&unknown).await.is_err(), "nor does it adopt an id");
    assert_eq!(place.theirs.load(&unknown.id).await.unwrap(), None);
    place.theirs.delete(&unknown.id).await.unwrap();
}

#[tokio::test]
async fn a_taken_id_is_replaced_by_another() {
    let place = place();
    let mut first = place.record(HOUR);
    place.theirs.create(&mut first).await.unwrap();
    let mut second = Record { id: first.id, ..place.record(2 * HOUR) };
    place.theirs.create(&mut second).await.unwrap();
    assert_ne!(first.id, second.id);
    for record in [first, second] {
        assert_eq!(place.theirs.load(&record.id).await.unwrap().unwrap(), record);
    }
}

#[tokio::test]
async fn c6_the_store_holds_no_id_that_works_as_a_cookie() {
    let place = place();
    let mut record = place.record(HOUR);
    place.theirs.create(&mut record).await.unwrap();
    let page = Page { realm: "tower-sessions".into(), subject: None, after: None, limit: 10 };
    let kept = place.store.list(page).await.unwrap().remove(0);
    let text = serde_json::to_string(&kept).unwrap();
    assert!(!text.contains(&record.id.to_string()) && !text.contains(&record.id.0.to_string()), "{text}");
    assert_ne!(kept.sid.as_bytes(), &record.id.0.to_le_bytes());
}

#[tokio::test]
async fn s6_a_failing_store_is_an_error_and_no_empty_session() {
    let probe = Probe::remote(MemoryStore::new());
    let theirs = TowerSessions::new(probe.clone());
    for operation in [Operation::Load, Operation::Update] {
        let mut record = Record {
            id: Id::default(),
            data: [("key".to_owned(), json!("private"))].into(),
            expiry_date: time::OffsetDateTime::from(SystemClock.now()) + HOUR,
        };
        theirs.create(&mut record).await.unwrap();
        probe.fail(operation, 1);
        let error = theirs.save(&record).await.unwrap_err().to_string();
        assert!(!error.contains("private"), "{error}");
        probe.fail(Operation::Load, 1);
        assert!(theirs.load(&record.id).await.is_err());
        assert!(theirs.load(&record.id).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn what_a_cookie_leads_to_is_taken_over_once() {
    let place = place();
    let session = place.session(None);
    assert!(session.is_empty().await);
    let mut record = place.record(HOUR);
    place.theirs.create(&mut record).await.unwrap();
    let cookie = record.id.to_string();
    let taken = futures_util::future::join_all((0..8).map(|_| place.theirs.take(&cookie))).await;
    let taken: Vec<BTreeMap<String, Value>> = taken.into_iter().filter_map(Result::unwrap).collect();
    assert_eq!(taken, [BTreeMap::from([("user".to_owned(), json!("alice"))])]);
    for nothing in ["", "nonsense", &Id::default().to_string(), &cookie] {
        assert_eq!(place.theirs.take(nothing).await.unwrap(), None);
    }
}
