//! The stores pass the conformance suite (SPEC S8), and the suite catches stores that do not.

#[expect(dead_code, reason = "its main shows the store to people")]
#[path = "../examples/custom_store.rs"]
mod custom_store;

use std::sync::Arc;

use custom_store::FileStore;
use tower_tenure::{
    Error, MemoryStore, SessionId, SessionStore, Timestamp,
    record::{Change, Data, End, Ending, Record, Updated},
    store::{Created, Creation, Page, SettingsStore, Swept},
    testing::{Probe, conformance},
};

#[tokio::test]
async fn s8_the_memory_store_passes() {
    conformance::check(MemoryStore::new()).await;
}

#[tokio::test]
async fn s7_the_memory_store_keeps_settings() {
    let store = MemoryStore::new();
    conformance::check_settings(&store, &store.clone()).await;
    assert!(store.load_settings().await.unwrap().is_some());
    conformance::check_settings(&store.clone(), &store).await;
}

#[tokio::test]
async fn s8_the_memory_store_passes_where_it_is_taken_for_a_remote_one() {
    conformance::check(Probe::remote(MemoryStore::new())).await;
}

#[tokio::test]
async fn s8_the_memory_store_passes_with_calls_that_pend_and_cross() {
    let store = Probe::remote(MemoryStore::new());
    store.pause(2);
    conformance::check(store).await;
}

#[tokio::test]
async fn s8_the_store_of_the_example_passes() {
    let path = std::env::temp_dir().join(format!("conformance_{}.json", std::process::id()));
    conformance::check(FileStore::open(&path).unwrap()).await;
    // What it wrote can be read again.
    FileStore::open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn s8_every_check_runs_alone_and_twice_on_a_store_with_other_data() {
    let store = Arc::new(MemoryStore::new());
    for _ in 0..2 {
        for check in conformance::checks() {
            check.run(&store).await;
        }
    }
    assert!(!store.is_empty(), "the suite leaves others' data alone, so also its own");
}

/// The mistakes of stores elsewhere.
#[derive(Clone, Copy, Debug)]
enum Fault {
    RoundsToSeconds,
    TellsGoneAsApplied,
    OverwritesTheRevision,
    IgnoresTheCap,
    TakesNothingOver,
    KeepsNoTombstone,
    ListsByTheEarlierMoment,
    EndsAllButNone,
    SweepsAnHourAhead,
    LosesTheGrace,
}

/// A memory store with one of them.
struct Faulty(MemoryStore, Fault);

impl SessionStore for Faulty {
    async fn create(&self, mut creation: Creation) -> Result<Created, Error> {
        match (self.1, &mut creation.replaces) {
            (Fault::IgnoresTheCap, _) => creation.cap = None,
            (Fault::TakesNothingOver, Some(replaced)) => replaced.keep_data = false,
            _ => {}
        }
        self.0.create(creation).await
    }

    async fn load(&self, sid: SessionId) -> Result<Option<Record>, Error> {
        let mut found = self.0.load(sid).await?;
        match (self.1, &mut found) {
            (Fault::RoundsToSeconds, Some(record)) => {
                let millis = record.timing.created_at.as_unix_millis();
                record.timing.created_at = Timestamp::from_unix_millis(millis / 1000 * 1000);
            }
            (Fault::KeepsNoTombstone, Some(record)) if record.ended.is_some() => found = None,
            _ => {}
        }
        Ok(found)
    }

    async fn update(&self, sid: SessionId, mut change: Change) -> Result<Updated, Error> {
        match (self.1, &mut change.rotation) {
            (Fault::OverwritesTheRevision, _) => change.if_revision = None,
            (Fault::LosesTheGrace, Some(rotation)) => rotation.grace = std::time::Duration::ZERO,
            _ => {}
        }
        let updated = self.0.update(sid, change.clone()).await?;
        Ok(match (self.1, updated, self.0.load(sid).await?) {
            (Fault::TellsGoneAsApplied, Updated::Gone(Some(_)), Some(mut record)) => {
                record.ended = None;
                record.data = Data::default();
                change.apply(&mut record)
            }
            _ => updated,
        })
    }

    async fn end(&self, sid: SessionId, end: End) -> Result<Ending, Error> {
        self.0.end(sid, end).await
    }

    async fn list(&self, mut page: Page) -> Result<Vec<Record>, Error> {
        if matches!(self.1, Fault::ListsByTheEarlierMoment) {
            page.now = page.now - std::time::Duration::from_millis(1);
        }
        self.0.list(page).await
    }

    async fn end_subject(
        &self,
        subject: Arc<str>,
        end: End,
        except: Option<SessionId>,
    ) -> Result<Vec<SessionId>, Error> {
        let except = except.filter(|_| !matches!(self.1, Fault::EndsAllButNone));
        self.0.end_subject(subject, end, except).await
    }

    async fn sweep(&self, before: Timestamp, limit: usize) -> Result<Swept, Error> {
        let ahead = if matches!(self.1, Fault::SweepsAnHourAhead) { 3600 } else { 0 };
        self.0.sweep(before + std::time::Duration::from_secs(ahead), limit).await
    }
}

#[tokio::test]
async fn s8_the_suite_catches_the_mistakes_that_stores_make() {
    for (fault, caught_by) in [
        (Fault::RoundsToSeconds, "s8_a_record_comes_back_exactly"),
        (Fault::TellsGoneAsApplied, "s4_no_change_reaches_a_session_that_has_ended"),
        (Fault::OverwritesTheRevision, "s3_a_condition_on_the_revision_that_does_not_hold_writes_nothing"),
        (Fault::IgnoresTheCap, "s9_a_refusing_cap_holds_under_parallel_logins"),
        (Fault::TakesNothingOver, "l3_the_new_session_takes_over_the_data_and_the_old_one_is_superseded"),
        (Fault::KeepsNoTombstone, "e3_an_end_leaves_a_tombstone_without_data"),
        (Fault::ListsByTheEarlierMoment, "s2_a_list_has_the_live_sessions_of_a_subject_oldest_first"),
        (Fault::EndsAllButNone, "s10_ending_a_subject_leaves_none_but_the_one_excepted"),
        (Fault::SweepsAnHourAhead, "s2_a_sweep_removes_what_was_over_before_and_nothing_else"),
        (Fault::LosesTheGrace, "c6_the_old_cookie_works_within_the_grace_and_not_after"),
    ] {
        let store = Arc::new(Faulty(MemoryStore::new(), fault));
        let check = conformance::checks().into_iter().find(|check| check.name() == caught_by).unwrap();
        let passed = tokio::spawn(async move { check.run(&store).await }).await;
        let panic = passed.expect_err(caught_by).into_panic();
        let told = panic.downcast_ref::<String>().map_or("", String::as_str);
        assert!(told.contains(caught_by), "{fault:?}: {told}");
    }
}
