//! The contract of stores, and the stores that implement it.
//!
//! [`SessionStore`] is the contract. [`MemoryStore`] is the store to start with; the [`guide`]
//! helps to choose another. [`AnyStore`] is a type-erased store, for choosing one at run time, by a
//! [URL](StoreUrl) for example. The conformance suite in [`testing`](crate::testing) checks a
//! custom store; `examples/custom_store.rs` is one in about 60 lines.

mod any;
mod creation;
#[cfg(all(any(test, fuzzing), any(feature = "sqlite", feature = "postgres", feature = "redis")))]
pub(crate) mod fuzzing;
#[doc = include_str!("guide.md")]
pub mod guide {}
mod info;
mod marks;
mod memory;
mod near;
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
mod url;

use std::{sync::Arc, time::Duration};

use crate::{
    Error, Timestamp,
    record::{Change, EndOutcome, EndRequest, Record, SessionId, Tag, UpdateOutcome},
};

#[cfg(feature = "postgres")]
pub use self::postgres::{PostgresOptions, PostgresPool, PostgresSslMode, PostgresStore};
#[cfg(feature = "redis")]
pub use self::redis::{RedisConnection, RedisOptions, RedisStore};
#[cfg(feature = "sqlite")]
pub use self::sqlite::{SqliteOptions, SqliteStore};
pub(crate) use self::{any::Answer, creation::handed_over, settings::DynSettings};
pub use self::{
    any::AnyStore,
    creation::{CreateOutcome, Creation, CreationPlan},
    info::StoreInfo,
    memory::MemoryStore,
    near::NearCache,
    place::PlaceKey,
    settings::{SettingsStore, StoredSettings},
    url::StoreUrl,
};

/// How long to wait before each further attempt at what a failed call left undone: a server that
/// hangs may recover late.
pub(crate) const RETRY_DELAYS: [Duration; 6] = [
    Duration::from_millis(50),
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(8),
    Duration::from_secs(30),
    Duration::from_secs(60),
];

/// Keeps sessions.
///
/// Absence is a value; an `Err` means that the backend failed and the outcome is unknown.
///
/// A store makes no decisions. A change is plain data with a pure function that applies it, and
/// [`policy`](crate::policy) computes the deadlines. A store reads no clock to judge a session:
/// time is an argument, and timestamps come back exactly.
///
/// # What a store must promise
///
/// 1. **Atomic calls.** Each call takes effect as a whole or not at all, also when its future is
///    dropped halfway. A store must not retry a write whose answer was lost, unless it can detect
///    that the first attempt took effect.
/// 2. **No resurrection.** A tombstone never becomes a live record again, and no `update` changes
///    one.
/// 3. **Reasons stay known.** A tombstone stays readable until its `forget_at`.
/// 4. **Revocation is complete.** Once [`revoke`](SessionStore::revoke) of a subject has returned,
///    the next `load` of every session stored before shows it as revoked. A login that arrived
///    before is not stored. The cost does not grow with the number of sessions.
/// 5. **Caps hold** under parallel logins: count and creation are one step.
/// 6. **Bounded work.** No call looks at more records than its limit allows, whatever else the
///    store contains.
///
/// # Placement
///
/// All sessions of a subject have the same [`tag`](SessionId::tag). Every call touches the records
/// of one tag only, except [`list`](SessionStore::list) of everybody and
/// [`sweep`](SessionStore::sweep). So a store may distribute records by tag over locks, slots or
/// shards.
///
/// # Marks
///
/// A [`SubjectMark`](crate::record::SubjectMark) records the revocation of all sessions of a
/// subject. A store keeps one per revoked subject and realm, at least until the sessions that it
/// covers are removed. It passes the mark to [`Record::see_mark`] for each record that it reads or
/// changes.
///
/// # Example
///
/// See [`MemoryStore`] for its use and `examples/custom_store.rs` for an implementation.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a session store",
    note = "if it is a `Result`, add `?` to what made it; if it is an `Option` or a reference, take what is in it"
)]
pub trait SessionStore: Send + Sync + 'static {
    /// Whether the store is in this process: its futures are ready at the first poll, a write costs
    /// no more than a read, and no other node shares it.
    ///
    /// The middleware calls such a store without boxing its futures and without a timeout, and
    /// records every interaction.
    const IN_PROCESS: bool = false;

    /// Ends the sessions of [`Creation::ends`], and stores a new session if it fits under its cap,
    /// in one step.
    fn create(&self, creation: Creation) -> impl Future<Output = Result<CreateOutcome, Error>> + Send;

    /// The record with this id, tombstones and expired sessions included; `None` when there is
    /// none.
    ///
    /// In a box, because a record is large: each function on its way to the handler would copy it.
    fn load(&self, sid: SessionId) -> impl Future<Output = Result<Option<Box<Record>>, Error>> + Send;

    /// A copy of the record that was loaded less than a second ago, if one is at hand; see
    /// [`NearCache`]. The default keeps none.
    ///
    /// The middleware asks the store all the same, unless the copy shows a live session and that
    /// the request has its current cookie.
    fn recent(&self, sid: SessionId) -> Option<Box<Record>> {
        let _ = sid;
        None
    }

    /// Applies a change to an existing record, as [`Change::apply`] does.
    ///
    /// `seen` is the record as the caller knows it, perhaps outdated. A store that compares and
    /// sets can start from it instead of reading first. Stores in this process get `None`.
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

    /// Revokes all sessions of a subject, or of a whole realm, at once; see [`Revocation`].
    fn revoke(&self, revocation: Revocation) -> impl Future<Output = Result<(), Error>> + Send;

    /// The last moment at which everybody in this realm was signed out.
    fn not_before(&self, realm: &str) -> impl Future<Output = Result<Option<Timestamp>, Error>> + Send;

    /// The sessions of one realm that have not ended, oldest first: by creation, then id.
    ///
    /// At most `page.limit`, and fewer only if there are no more. The caller judges whether they
    /// are over.
    fn list(&self, page: Page) -> impl Future<Output = Result<Vec<Record>, Error>> + Send;

    /// Removes old tombstones, and finds sessions that may be over: at most `limit` of each.
    fn sweep(&self, sweep: Sweep) -> impl Future<Output = Result<Swept, Error>> + Send;

    /// Postpones sessions that [`sweep`](SessionStore::sweep) found and that are live: it need not
    /// find them again before the given moment. A store without such an index does nothing.
    fn reschedule(
        &self,
        sessions: Vec<(SessionId, Timestamp)>,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        drop(sessions);
        std::future::ready(Ok(()))
    }

    /// Ends several sessions, each as [`end`](SessionStore::end) does, but not in one step. A store
    /// may override it to batch them.
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

    /// The time of the clock that all nodes share, usually the server's; `None` without one.
    ///
    /// Nodes compare their own clocks with it, so that a node with a wrong clock does no harm. No
    /// deadline is judged by it.
    fn time(&self) -> impl Future<Output = Result<Option<Timestamp>, Error>> + Send {
        std::future::ready(Ok(None))
    }

    /// The key for computing tags: the same on every node that shares the store.
    fn place_key(&self) -> PlaceKey {
        PlaceKey::of_this_process()
    }

    /// What the store is and where, for events and metrics.
    fn info(&self) -> StoreInfo {
        StoreInfo::new("custom")
    }
}

/// The sessions to revoke at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Revoke sessions of this realm.
    pub realm: Arc<str>,
    /// Revoke sessions of this subject, given by tag and name: its
    /// [`SubjectMark`](crate::record::SubjectMark) becomes
    /// [`revoked`](crate::record::SubjectMark::revoked). `None` is everybody: the result of
    /// [`SessionStore::not_before`] moves forward to `at`, never back.
    pub subject: Option<(Tag, Arc<str>)>,
    /// The moment, by the clock that all nodes share.
    pub at: Timestamp,
    /// The session that stays, if any; for a subject only.
    pub except: Option<SessionId>,
    /// When a store may drop the mark: no session that it covers lives longer, and no login is in
    /// flight for so long.
    pub keep_until: Timestamp,
}

/// The sessions to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Only those of this realm.
    pub realm: Arc<str>,
    /// Only those of this subject.
    pub subject: Option<(Tag, Arc<str>)>,
    /// Only those after this one, in the order of creation and id.
    pub after: Option<(Timestamp, SessionId)>,
    /// The maximum number of sessions.
    pub limit: usize,
}

/// The arguments of a sweep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// Find sessions of this realm only; `None` is every realm. Tombstones of every realm are
    /// removed.
    pub realm: Option<Arc<str>>,
    /// Sweep what is due at this moment.
    pub now: Timestamp,
    /// The maximum number of sessions to find, and of tombstones to remove.
    pub limit: usize,
}

/// The result of one batch of a sweep.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Swept {
    /// Sessions that have not ended and may be over: their deadline has passed as far as the store
    /// knows, or a mark covers them. The caller judges each, and ends or reschedules it.
    pub found: Vec<Record>,
    /// How many tombstones were removed.
    pub removed: usize,
    /// Whether the sweep has completed a pass over all sessions. What became due meanwhile is left
    /// to the next pass.
    pub finished: bool,
}

/// A shared store is a store.
impl<S: SessionStore> SessionStore for Arc<S> {
    const IN_PROCESS: bool = S::IN_PROCESS;

    fn create(&self, creation: Creation) -> impl Future<Output = Result<CreateOutcome, Error>> + Send {
        (**self).create(creation)
    }

    fn load(&self, sid: SessionId) -> impl Future<Output = Result<Option<Box<Record>>, Error>> + Send {
        (**self).load(sid)
    }

    fn recent(&self, sid: SessionId) -> Option<Box<Record>> {
        (**self).recent(sid)
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

    fn info(&self) -> StoreInfo {
        (**self).info()
    }
}
