//! Where sessions are kept: the contract, and the backends that fulfil it.
//!
//! [`SessionStore`] is the contract. [`MemoryStore`] is the backend to start with. [`AnyStore`] is a store whose type is
//! forgotten, for choosing one at run time. The conformance suite in [`testing`](crate::testing) tells whether a backend
//! keeps its promises; `examples/custom_store.rs` shows one in about 60 lines.

mod any;
mod creation;
#[doc = include_str!("guide.md")]
pub mod guide {}
mod marks;
mod memory;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
mod packed;
mod place;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
mod settings;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::sync::Arc;

use crate::{
    Error, Timestamp,
    record::{Change, EndOutcome, EndRequest, Record, SessionId, Tag, UpdateOutcome},
};

#[cfg(feature = "postgres")]
pub use self::postgres::{PostgresOptions, PostgresPool, PostgresStore};
#[cfg(feature = "redis")]
pub use self::redis::{RedisConnection, RedisOptions, RedisStore};
#[cfg(feature = "sqlite")]
pub use self::sqlite::{SqliteOptions, SqliteStore};
pub(crate) use self::{any::Answer, creation::handed_over};
pub use self::{
    any::AnyStore,
    creation::{CreateOutcome, Creation, CreationPlan},
    memory::MemoryStore,
    place::PlaceKey,
    settings::{SettingsStore, StoredSettings},
};

/// Keeps sessions.
///
/// Absence is a value; an `Err` means that the backend failed and nothing is known. A store decides nothing: what a request
/// changes comes as plain data with a pure function that applies it, and deadlines are computed by
/// [`policy`](crate::policy). A store never reads a clock to judge: time comes in as an argument, and timestamps come back
/// exactly.
///
/// # What a store must promise
///
/// 1. **Atomic calls.** Each call takes place whole or not at all, also when its future is dropped halfway. A store must not
///    repeat a write by itself whose answer was lost, unless it can tell that the first try took place.
/// 2. **No resurrection.** A tombstone never becomes a live record again, and no `update` changes one (S4).
/// 3. **Reasons stay known.** A tombstone stays readable until its `forget_at` (E3).
/// 4. **Revocation is complete.** Once [`revoke`](SessionStore::revoke) of a subject has returned, every session that was
///    stored before is over in the next `load`, and a login that arrived before is not stored (L14). Its cost does not grow
///    with the number of sessions.
/// 5. **Caps hold** under parallel logins: the count and the creation are one step (S9).
/// 6. **Bounded work.** No call looks at more records than its limit says, whatever else the store holds (S14).
///
/// # Place
///
/// All sessions of a subject have the same [`tag`](SessionId::tag), and every call but [`list`](SessionStore::list) of
/// everybody and [`sweep`](SessionStore::sweep) touches the records of one tag only. So a store may spread them by tag over
/// locks, slots or shards.
///
/// # Marks
///
/// [`SubjectMark`](crate::record::SubjectMark) says which sessions of a subject were revoked at once. A store keeps one for each
/// subject and realm that was ever revoked, at least until the sessions are removed that it covers, and passes it to
/// [`Record::see_mark`] for each record that it reads or changes.
///
/// # Example
///
/// See [`MemoryStore`] for its use and `examples/custom_store.rs` for an implementation.
pub trait SessionStore: Send + Sync + 'static {
    /// Whether the store lives in this process: its futures are ready at the first poll, a write costs no more than a
    /// read, and no other node shares it. Such a store is called without boxing its futures, without a time budget, and
    /// every interaction is recorded exactly (L9).
    const IN_PROCESS: bool = false;

    /// Stores a new session, if it fits under its cap, after ending those that end first. One step.
    fn create(&self, creation: Creation) -> impl Future<Output = Result<CreateOutcome, Error>> + Send;

    /// The record under this id, tombstones and expired ones included; `None` when there is none.
    fn load(&self, sid: SessionId) -> impl Future<Output = Result<Option<Record>, Error>> + Send;

    /// Applies a change to an existing record, as [`Change::apply`] does.
    ///
    /// `seen` is the record as the caller knows it, perhaps out of date: a store that compares and sets starts from it in place
    /// of reading once more. Stores in this process get none.
    fn update(
        &self,
        sid: SessionId,
        change: Change,
        seen: Option<Box<Record>>,
    ) -> impl Future<Output = Result<UpdateOutcome, Error>> + Send;

    /// Ends a session, as [`Record::end`] does. `seen` as in [`update`](SessionStore::update).
    fn end(
        &self,
        sid: SessionId,
        request: EndRequest,
        seen: Option<Box<Record>>,
    ) -> impl Future<Output = Result<EndOutcome, Error>> + Send;

    /// Ends all sessions of a subject, or of a whole realm, at once (L14): see [`Revocation`].
    fn revoke(&self, revocation: Revocation) -> impl Future<Output = Result<(), Error>> + Send;

    /// The latest moment at which everybody in this realm was signed out.
    fn not_before(&self, realm: &str) -> impl Future<Output = Result<Option<Timestamp>, Error>> + Send;

    /// The sessions of one realm that have not ended, oldest first (by creation, then id), so that paging is stable: at most
    /// `page.limit`, and fewer only when there are no more. Whether they are over is for the caller to judge.
    fn list(&self, page: Page) -> impl Future<Output = Result<Vec<Record>, Error>> + Send;

    /// Removes tombstones that may be forgotten, and finds sessions that may be over: a batch of at most `limit` of each.
    fn sweep(&self, sweep: Sweep) -> impl Future<Output = Result<Swept, Error>> + Send;

    /// These sessions were found by [`sweep`](SessionStore::sweep) and are live: they need not be found again before the given
    /// moment. A store that keeps no such index does nothing.
    fn reschedule(
        &self,
        sessions: Vec<(SessionId, Timestamp)>,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        drop(sessions);
        std::future::ready(Ok(()))
    }

    /// Ends several sessions, each as [`end`](SessionStore::end) does; not as one step. A store overrides it where several at
    /// once are cheaper.
    fn end_many(
        &self,
        requests: Vec<(SessionId, EndRequest)>,
    ) -> impl Future<Output = Result<Vec<EndOutcome>, Error>> + Send {
        async move {
            let mut outcomes = Vec::with_capacity(requests.len());
            for (sid, request) in requests {
                outcomes.push(self.end(sid, request, None).await?);
            }
            Ok(outcomes)
        }
    }

    /// The time by the clock that all nodes of the store share; `None` when it has none of its own.
    ///
    /// Nothing is judged by it. Nodes compare their own clocks with it, so that one whose clock is wrong does no harm (S12).
    fn time(&self) -> impl Future<Output = Result<Option<Timestamp>, Error>> + Send {
        std::future::ready(Ok(None))
    }

    /// The key under which tags are computed: the same on every node that shares the store.
    fn place_key(&self) -> PlaceKey {
        PlaceKey::of_this_process()
    }
}

/// Which sessions to revoke at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Sessions of this realm.
    pub realm: Arc<str>,
    /// Of this subject, by its tag and name: its [`SubjectMark`](crate::record::SubjectMark) becomes
    /// [`revoked`](crate::record::SubjectMark::revoked). `None` is everybody, by moving what
    /// [`SessionStore::not_before`] says forward to `at`, never back.
    pub subject: Option<(Tag, Arc<str>)>,
    /// When, by the clock that all nodes share.
    pub at: Timestamp,
    /// Not this one; for a subject only.
    pub except: Option<SessionId>,
    /// Until when the mark is needed: no session that it covers lives longer, and no login is in flight for so long. A store
    /// may drop the mark then.
    pub keep_until: Timestamp,
}

/// Which sessions to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Only those of this realm.
    pub realm: Arc<str>,
    /// Only those of this subject.
    pub subject: Option<(Tag, Arc<str>)>,
    /// Only those after this one, in the order of creation and id.
    pub after: Option<(Timestamp, SessionId)>,
    /// At most so many.
    pub limit: usize,
}

/// What to sweep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// Find sessions of this realm only; `None` is every realm. Tombstones are removed of every realm.
    pub realm: Option<Arc<str>>,
    /// What was due then.
    pub now: Timestamp,
    /// At most so many sessions found, and so many tombstones removed.
    pub limit: usize,
}

/// What a batch of a sweep has done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Swept {
    /// Sessions that have not ended and may be over: their deadline has passed by what was known, or a mark covers them. The
    /// caller judges, and ends or reschedules each.
    pub found: Vec<Record>,
    /// How many tombstones were removed.
    pub removed: usize,
    /// Whether all sessions have been looked at once since this was last so; what became due meanwhile is for the next sweep.
    pub finished: bool,
}

/// A shared store is a store.
impl<S: SessionStore> SessionStore for Arc<S> {
    const IN_PROCESS: bool = S::IN_PROCESS;

    fn create(&self, creation: Creation) -> impl Future<Output = Result<CreateOutcome, Error>> + Send {
        (**self).create(creation)
    }

    fn load(&self, sid: SessionId) -> impl Future<Output = Result<Option<Record>, Error>> + Send {
        (**self).load(sid)
    }

    fn update(
        &self,
        sid: SessionId,
        change: Change,
        seen: Option<Box<Record>>,
    ) -> impl Future<Output = Result<UpdateOutcome, Error>> + Send {
        (**self).update(sid, change, seen)
    }

    fn end(
        &self,
        sid: SessionId,
        request: EndRequest,
        seen: Option<Box<Record>>,
    ) -> impl Future<Output = Result<EndOutcome, Error>> + Send {
        (**self).end(sid, request, seen)
    }

    fn revoke(&self, revocation: Revocation) -> impl Future<Output = Result<(), Error>> + Send {
        (**self).revoke(revocation)
    }

    fn not_before(&self, realm: &str) -> impl Future<Output = Result<Option<Timestamp>, Error>> + Send {
        (**self).not_before(realm)
    }

    fn list(&self, page: Page) -> impl Future<Output = Result<Vec<Record>, Error>> + Send {
        (**self).list(page)
    }

    fn sweep(&self, sweep: Sweep) -> impl Future<Output = Result<Swept, Error>> + Send {
        (**self).sweep(sweep)
    }

    fn reschedule(
        &self,
        sessions: Vec<(SessionId, Timestamp)>,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        (**self).reschedule(sessions)
    }

    fn end_many(
        &self,
        requests: Vec<(SessionId, EndRequest)>,
    ) -> impl Future<Output = Result<Vec<EndOutcome>, Error>> + Send {
        (**self).end_many(requests)
    }

    fn time(&self) -> impl Future<Output = Result<Option<Timestamp>, Error>> + Send {
        (**self).time()
    }

    fn place_key(&self) -> PlaceKey {
        (**self).place_key()
    }
}
