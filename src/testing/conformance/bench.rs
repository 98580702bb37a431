//! The calls to the tested store, and the expectations of a check.

use std::{
    collections::HashMap,
    error::Error as _,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::material::{User, random, sid};
use crate::{
    Error, SessionId, SessionStore, Timestamp,
    record::{Change, EndOutcome, EndReason, EndRequest, Record, UpdateOutcome},
    store::{CreateOutcome, Creation, Page, Revocation, Sweep, Swept},
};

/// 1980 to 2000: before the sessions of any application, and after the times that these sweeps
/// reach.
const ERA: Timestamp = Timestamp::from_unix_millis(315_532_800_000);
const YEAR_MILLIS: u64 = 365 * 24 * 3600 * 1000;

/// More sessions than any check creates.
pub(super) const MANY: usize = 1000;

/// The tested store, for one check.
pub(super) struct Bench<S> {
    pub(super) store: Arc<S>,
    check: &'static str,
    /// The start of the check, a random moment.
    pub(super) start: Timestamp,
    /// The realm of the check: no other session is in it.
    pub(super) realm: Arc<str>,
    /// Each record as it was seen first and last, to pass to `update` and `end`.
    seen: Mutex<HashMap<SessionId, [Record; 2]>>,
    turn: AtomicUsize,
}

/// The calls to the store. A failure of the store fails the check.
impl<S: SessionStore> Bench<S> {
    pub(super) fn new(store: Arc<S>, check: &'static str) -> Self {
        let offset = u64::from_le_bytes(random()) % (20 * YEAR_MILLIS);
        Self {
            store,
            check,
            start: ERA + Duration::from_millis(offset),
            realm: format!("o'hara's \"%_\\ realm 🦀 {}", sid()).into(),
            seen: Mutex::default(),
            turn: AtomicUsize::new(0),
        }
    }

    /// A user without sessions, whose name has characters that break a careless query.
    pub(super) fn user(&self) -> User {
        self.user_of(&self.realm, &format!("o'hara \"%_\\ 🦀|{}", sid()))
    }

    /// A user of any realm, with the tag that the store's key gives it.
    pub(super) fn user_of(&self, realm: &str, name: &str) -> User {
        User { realm: realm.into(), name: name.into(), tag: self.store.place_key().tag(realm, name) }
    }

    pub(super) async fn create(&self, creation: Creation) -> CreateOutcome {
        self.answer("create", self.store.create(creation).await)
    }

    /// Creates a session that must succeed: returns the record, and the outcomes of its ends.
    pub(super) async fn replace(&self, creation: Creation) -> (Record, Vec<EndOutcome>) {
        match self.create(creation).await {
            CreateOutcome::Created { record, ended } => {
                self.see(&record);
                (*record, ended)
            }
            other => self.fail(format_args!(
                "the store did not create a session that nothing stands against, but answered {other:?}"
            )),
        }
    }

    /// Creates a session without ends, which must succeed.
    pub(super) async fn open(&self, record: Record) -> Record {
        let (record, ended) = self.replace(Creation::new(record)).await;
        self.same("what a creation that ends nothing ended", ended, vec![]);
        record
    }

    pub(super) async fn load(&self, sid: SessionId) -> Option<Record> {
        let found = self.answer("load", self.store.load(sid).await);
        if let Some(record) = &found {
            self.see(record);
        }
        found.map(|found| *found)
    }

    /// The record of a session that must exist.
    pub(super) async fn find(&self, sid: SessionId) -> Record {
        self.load(sid).await.unwrap_or_else(|| self.fail("a record that is there is not found by `load`"))
    }

    /// Passes what a node may know of the record: in turn nothing, an old record, and the latest
    /// one.
    pub(super) async fn update(&self, sid: SessionId, change: Change) -> UpdateOutcome {
        self.update_seen(sid, change, self.known(sid)).await
    }

    pub(super) async fn update_seen(
        &self,
        sid: SessionId,
        change: Change,
        seen: Option<Record>,
    ) -> UpdateOutcome {
        let seen = seen.filter(|_| !S::IN_PROCESS).map(Box::new);
        self.answer("update", self.store.update(sid, change, seen).await)
    }

    /// Passes what a node may know of the record, as [`Bench::update`] does.
    pub(super) async fn end(&self, sid: SessionId, request: EndRequest) -> EndOutcome {
        self.end_seen(sid, request, self.known(sid)).await
    }

    pub(super) async fn end_seen(
        &self,
        sid: SessionId,
        request: EndRequest,
        seen: Option<Record>,
    ) -> EndOutcome {
        let seen = seen.filter(|_| !S::IN_PROCESS).map(Box::new);
        self.answer("end", self.store.end(sid, request, seen).await)
    }

    pub(super) async fn end_many(&self, requests: Vec<(SessionId, EndRequest)>) -> Vec<EndOutcome> {
        let count = requests.len();
        let outcomes = self.answer("end_many", self.store.end_many(requests).await);
        self.same("how many outcomes `end_many` has", outcomes.len(), count);
        outcomes
    }

    pub(super) async fn revoke(&self, revocation: Revocation) {
        self.answer("revoke", self.store.revoke(revocation).await);
    }

    pub(super) async fn not_before(&self, realm: &str) -> Option<Timestamp> {
        self.answer("not_before", self.store.not_before(realm).await)
    }

    pub(super) async fn list(&self, page: Page) -> Vec<Record> {
        let limit = page.limit;
        let listed = self.answer("list", self.store.list(page).await);
        self.expect(listed.len() <= limit, "a page has more sessions than its limit");
        self.see_all(&listed);
        listed
    }

    /// The sessions of a user that have not ended, as the store lists them.
    pub(super) async fn listed(&self, user: &User) -> Vec<SessionId> {
        sids(&self.list(user.page()).await)
    }

    /// The listed sessions that are live at this moment.
    pub(super) async fn live(&self, user: &User, now: Timestamp) -> Vec<SessionId> {
        let listed = self.list(user.page()).await;
        listed.iter().filter(|record| record.is_live(now)).map(|record| record.sid).collect()
    }

    pub(super) async fn sweep(&self, realm: Option<&Arc<str>>, now: Timestamp, limit: usize) -> Swept {
        let sweep = Sweep { realm: realm.cloned(), now, limit };
        let swept = self.answer("sweep", self.store.sweep(sweep).await);
        self.expect(swept.found.len() <= limit, "a sweep found more sessions than its limit");
        self.expect(swept.removed <= limit, "a sweep removed more tombstones than its limit");
        let tombstone = swept.found.iter().any(|record| record.ended.is_some());
        self.expect(!tombstone, "a sweep found a session that has ended");
        self.see_all(&swept.found);
        swept
    }

    pub(super) async fn reschedule(&self, sessions: Vec<(SessionId, Timestamp)>) {
        self.answer("reschedule", self.store.reschedule(sessions).await);
    }

    fn see_all(&self, records: &[Record]) {
        for record in records {
            self.see(record);
        }
    }

    fn see(&self, record: &Record) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.entry(record.sid).or_insert_with(|| [record.clone(), record.clone()])[1] = record.clone();
    }

    fn known(&self, sid: SessionId) -> Option<Record> {
        let which = (self.turn.fetch_add(1, Ordering::Relaxed) % 3).checked_sub(1)?;
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&sid).map(|known| known[which].clone())
    }

    pub(super) fn answer<T>(&self, call: &str, answer: Result<T, Error>) -> T {
        answer.unwrap_or_else(|error| match error.source() {
            Some(source) => self.fail(format_args!("`{call}` failed: {error}: {source}")),
            None => self.fail(format_args!("`{call}` failed: {error}")),
        })
    }
}

/// The expectations of a check.
impl<S> Bench<S> {
    pub(super) fn fail(&self, message: impl fmt::Display) -> ! {
        panic!("the store fails the conformance check `{}`: {message}", self.check)
    }

    pub(super) fn expect(&self, holds: bool, otherwise: &str) {
        if !holds {
            self.fail(otherwise);
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "so that the checks read without ampersands")]
    pub(super) fn same<T: PartialEq + fmt::Debug>(&self, what: &str, found: T, wanted: T) {
        if found != wanted {
            self.fail(format_args!("{what}: the store gave {found:?} where it should be {wanted:?}"));
        }
    }

    /// The end of a session that was live, for this reason.
    pub(super) fn ended(&self, what: &str, outcome: &EndOutcome, reason: EndReason) {
        if !matches!(outcome, EndOutcome::Ended(session) if session.reason == reason) {
            self.fail(format_args!("{what}: the store answered {outcome:?} where it should end as {reason}"));
        }
    }

    /// Compares records field by field, so that the message names the difference; `Debug` hides
    /// secrets and data. Ignores the version.
    pub(super) fn same_record(&self, what: &str, found: &Record, wanted: &Record) {
        let field = |name| format!("{what}, field `{name}`");
        self.same(&field("sid"), found.sid, wanted.sid);
        self.same(&field("realm"), &found.realm, &wanted.realm);
        self.same(&field("secret"), found.secret.as_bytes(), wanted.secret.as_bytes());
        let previous = |record: &Record| record.previous_secret.map(|old| (*old.hash.as_bytes(), old.until));
        self.same(&field("previous_secret"), previous(found), previous(wanted));
        self.same(&field("timing"), found.timing, wanted.timing);
        self.same(&field("updated_at"), found.updated_at, wanted.updated_at);
        self.same(&field("subject"), &found.subject, &wanted.subject);
        self.same(&field("epoch"), found.epoch, wanted.epoch);
        self.same(&field("admitted_at"), found.admitted_at, wanted.admitted_at);
        self.same(&field("confirmed"), found.confirmed, wanted.confirmed);
        self.same(&field("data"), keys(found), keys(wanted));
        for (key, value) in wanted.data.iter() {
            if found.data.get(key).is_none_or(|found| found.as_str() != value) {
                self.fail(format_args!("{what}: the value of the key {key:?} came back as another"));
            }
        }
        self.same(&field("revision"), found.revision, wanted.revision);
        self.same(&field("facts"), &found.facts, &wanted.facts);
        self.same(&field("ended"), found.ended, wanted.ended);
        self.same(&field("revoked_at"), found.revoked_at, wanted.revoked_at);
        let found = Record { version: wanted.version, ..found.clone() };
        self.expect(found == *wanted, "a record differs in a field that the suite does not know");
    }

    /// As [`Bench::same_record`], for each.
    pub(super) fn same_records<'a>(
        &self,
        what: &str,
        found: impl IntoIterator<Item = &'a Record>,
        wanted: impl IntoIterator<Item = &'a Record>,
    ) {
        let (found, wanted): (Vec<_>, Vec<_>) = (found.into_iter().collect(), wanted.into_iter().collect());
        let sids = |records: &[&Record]| records.iter().map(|record| record.sid).collect::<Vec<_>>();
        self.same(what, sids(&found), sids(&wanted));
        for (found, wanted) in found.into_iter().zip(wanted) {
            self.same_record(what, found, wanted);
        }
    }
}

pub(super) fn sids(records: &[Record]) -> Vec<SessionId> {
    records.iter().map(|record| record.sid).collect()
}

pub(super) fn keys(record: &Record) -> Vec<String> {
    record.data.iter().map(|(key, _)| key.to_owned()).collect()
}
