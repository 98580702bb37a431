//! Where sessions are kept: the contract, and the backends that fulfil it.
//!
//! [`SessionStore`] is the contract. [`MemoryStore`] is the backend to start with. [`AnyStore`] is a store whose type is
//! forgotten, for choosing one at run time. The conformance suite in [`testing`](crate::testing) tells whether a backend
//! keeps its promises; `examples/custom_store.rs` shows one in about 60 lines.

mod any;
mod creation;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod facts;
#[doc = include_str!("guide.md")]
pub mod guide {}
mod memory;
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
    record::{Change, End, Ending, Record, SessionId, Updated},
};

pub(crate) use self::any::Answer;
#[cfg(feature = "postgres")]
pub use self::postgres::{PostgresOptions, PostgresPool, PostgresStore};
#[cfg(feature = "redis")]
pub use self::redis::{RedisConnection, RedisOptions, RedisStore};
#[cfg(feature = "sqlite")]
pub use self::sqlite::{SqliteOptions, SqliteStore};
pub use self::{
    any::AnyStore,
    creation::{Created, Creation, Replaced},
    memory::MemoryStore,
    settings::{KeptSettings, SettingsStore},
};

/// Keeps sessions (SPEC S1, S2).
///
/// Absence is a value; an `Err` means that the backend failed and nothing is known. A store decides nothing: what a
/// request changes comes as plain data with a pure function that applies it, and deadlines are computed by
/// [`policy`](crate::policy). A store never reads a clock: time comes in as an argument, and timestamps come back exactly.
///
/// # What a store must promise
///
/// 1. Each call is atomic: it takes place whole or not at all, also when its future is dropped halfway. Where the keys of a
///    `create` or an `end_subject` can not be changed in one step (a Redis Cluster spreads them), a crash in between may
///    cost the login, and no more: put the session where its subject finds it first, then take the data and leave the
///    tombstone of the one it replaces, then store it, then evict.
/// 2. `update` on a record that has ended, or that is not there, changes nothing and says `Gone` (S4).
/// 3. An ended record stays readable as a tombstone until `sweep` removes it (E3).
/// 4. `list` and `end_subject` miss no live session, also under parallel logins and after a crash (S10).
/// 5. The cap of a [`Creation`] holds under parallel logins (S9).
///
/// # Example
///
/// See [`MemoryStore`] for its use and `examples/custom_store.rs` for an implementation.
pub trait SessionStore: Send + Sync + 'static {
    /// Whether the store lives in this process: its futures are ready at the first poll, a write costs no more than a
    /// read, and no other node shares it. Such a store is called without boxing its futures, without a time budget, and
    /// every interaction is recorded exactly (L9).
    const IN_PROCESS: bool = false;

    /// Adds a session, and ends the one it replaces and those the cap evicts, in one step.
    fn create(&self, creation: Creation) -> impl Future<Output = Result<Created, Error>> + Send;

    /// The record under this id, tombstones and expired ones included; `None` when there is none.
    fn load(&self, sid: SessionId) -> impl Future<Output = Result<Option<Record>, Error>> + Send;

    /// Applies a change to an existing record, as [`Change::apply`] does.
    fn update(&self, sid: SessionId, change: Change) -> impl Future<Output = Result<Updated, Error>> + Send;

    /// Ends a session, as [`Record::end`] does.
    fn end(&self, sid: SessionId, end: End) -> impl Future<Output = Result<Ending, Error>> + Send;

    /// The sessions that are live at `page.now`, oldest first (by creation, then id), so that paging is stable.
    fn list(&self, page: Page) -> impl Future<Output = Result<Vec<Record>, Error>> + Send;

    /// Ends every session of a subject except one, and tells which it ended for this reason (those that were past a
    /// deadline by then end too, untold). A login that comes later is not ended; one that came before is, whatever runs
    /// in parallel.
    fn end_subject(
        &self,
        subject: Arc<str>,
        end: End,
        except: Option<SessionId>,
    ) -> impl Future<Output = Result<Vec<SessionId>, Error>> + Send;

    /// Removes records that were over before this moment: a batch of at most `limit`, or fewer if looking for more would
    /// keep others waiting. Called again until it says that it is finished.
    fn sweep(&self, before: Timestamp, limit: usize) -> impl Future<Output = Result<Swept, Error>> + Send;
}

/// What a batch of a sweep has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swept {
    /// How many records it removed.
    pub removed: usize,
    /// Whether it came to the end; what became due behind it is for the next sweep.
    pub finished: bool,
}

/// Which sessions to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Only those of this subject.
    pub subject: Option<Arc<str>>,
    /// Only those after this one, in the order of creation and id.
    pub after: Option<(Timestamp, SessionId)>,
    /// At most so many.
    pub limit: usize,
    /// Only those that are live then.
    pub now: Timestamp,
}

/// A shared store is a store.
impl<S: SessionStore> SessionStore for Arc<S> {
    const IN_PROCESS: bool = S::IN_PROCESS;

    fn create(&self, creation: Creation) -> impl Future<Output = Result<Created, Error>> + Send {
        (**self).create(creation)
    }

    fn load(&self, sid: SessionId) -> impl Future<Output = Result<Option<Record>, Error>> + Send {
        (**self).load(sid)
    }

    fn update(&self, sid: SessionId, change: Change) -> impl Future<Output = Result<Updated, Error>> + Send {
        (**self).update(sid, change)
    }

    fn end(&self, sid: SessionId, end: End) -> impl Future<Output = Result<Ending, Error>> + Send {
        (**self).end(sid, end)
    }

    fn list(&self, page: Page) -> impl Future<Output = Result<Vec<Record>, Error>> + Send {
        (**self).list(page)
    }

    fn end_subject(
        &self,
        subject: Arc<str>,
        end: End,
        except: Option<SessionId>,
    ) -> impl Future<Output = Result<Vec<SessionId>, Error>> + Send {
        (**self).end_subject(subject, end, except)
    }

    fn sweep(&self, before: Timestamp, limit: usize) -> impl Future<Output = Result<Swept, Error>> + Send {
        (**self).sweep(before, limit)
    }
}
