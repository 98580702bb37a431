//! The store for Redis, Valkey, or a cluster of either (feature `redis`).
//!
//! All sessions of a tag are fields of one hash, its place; one more field has the marks of its
//! subjects. A load is one `HMGET`. A write names the version that it replaces; the server only
//! compares and sets.

// | file | holds |
// |---|---|
// | `mod.rs` | `RedisStore`, and each operation in a line |
// | `options.rs` | `RedisOptions`: URLs, and what goes with them |
// | `place.rs` | what happens in one place: load, update, end, revoke, a subject's list |
// | `create.rs` | a new session, what ends first, and the cap (S9) |
// | `everyone.rs` | lists and sweeps of all sessions, and the indexes that they read |
// | `settings.rs` | settings that all nodes share |
// | `schema.rs` | the version of the schema, migrations, the key of the place tags, the server's clock |
// | `keys.rs`, `value.rs`, `marks.rs`, `squeeze.rs` | the names of the keys, and what they hold, in few bytes |
// | `script.rs`, `scripts/`, `reply.rs` | what is run on the server (`place.lua` begins with the keys), and what it answers |
// | `connection.rs`, `link.rs`, `cluster.rs`, `error.rs` | whom to ask; a server, the nodes of a cluster, how connections come back; failures |

mod cluster;
mod connection;
mod create;
mod error;
mod everyone;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
mod keys;
mod link;
mod marks;
mod options;
mod place;
mod reply;
mod schema;
mod script;
mod settings;
mod squeeze;
mod value;

use std::{
    fmt,
    sync::{Arc, Weak},
};

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use redis::Client;
use tokio::{
    sync::{Mutex, MutexGuard, Notify},
    time::sleep,
};

use self::{
    connection::Connection,
    keys::Keys,
    script::{Script, ScriptCall, Scripts},
};
pub use self::{connection::RedisConnection, options::RedisOptions};
use super::{
    CreateOutcome, Creation, Page, PlaceKey, RETRY_DELAYS, Revocation, SessionStore, StoreInfo, Sweep, Swept,
};
use crate::{
    Error, Timestamp,
    record::{Change, EndOutcome, EndRequest, Record, SessionId, Tag, UpdateOutcome},
};

/// Keeps sessions in Redis 6.2 or later, in Valkey, or in a cluster of either. See the
/// [guide](crate::store::guide#redis-and-valkey).
///
/// Cheap to clone; clones share the connection. It reconnects by itself, in the runtime of the
/// call.
///
/// # Example
///
/// ```no_run
/// use tower_tenure::{SessionLayer, store::RedisStore};
///
/// # async fn main_of_yours() -> Result<(), tower_tenure::Error> {
/// let store = RedisStore::connect("redis://cache.example").await?;
/// let layer = SessionLayer::new(store);
/// tokio::spawn(layer.sessions().sweep_every(std::time::Duration::from_secs(60)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RedisStore(Arc<Inner>);

struct Inner {
    connection: Connection,
    scripts: Scripts,
    keys: Keys,
    place_key: ArcSwap<PlaceKey>,
    /// Held by writers of the same place after they conflicted.
    turns: Vec<Mutex<()>>,
    /// For the connection that listens; empty with a connection of the application.
    clients: Vec<Client>,
    listening: Mutex<Weak<Notify>>,
}

/// The number of locks for writers that wait for each other.
const TURNS: usize = 64;

/// How many sessions are ended concurrently.
const ENDS_AT_ONCE: usize = 64;

/// The prefix of all keys unless configured.
const PREFIX: &str = "tenure";

impl RedisStore {
    /// Connects to the server or cluster of this URL.
    ///
    /// # Errors
    ///
    /// As [`RedisOptions::new`] and [`RedisOptions::connect`].
    pub async fn connect(url: &str) -> Result<Self, Error> {
        RedisOptions::new(url)?.connect().await
    }

    /// Uses a connection of the application, with its own TLS and reconnecting; keys begin with
    /// `tenure`.
    ///
    /// Settings are then polled every second, instead of by a subscription.
    ///
    /// After a failover, a `MultiplexedConnection` or `ConnectionManager` keeps its server, also if
    /// that has become a read-only replica. Prefer [`RedisStore::connect`] where that can happen.
    ///
    /// # Errors
    ///
    /// When the server does not answer, or has sessions of an incompatible version of this crate.
    pub async fn with_connection(connection: impl RedisConnection) -> Result<Self, Error> {
        Self::over(connection.into_connection(), PREFIX.to_owned(), Vec::new()).await
    }

    async fn over(connection: Connection, prefix: String, clients: Vec<Client>) -> Result<Self, Error> {
        let store = Self(Arc::new(Inner {
            connection,
            scripts: Scripts::new(),
            keys: Keys::new(prefix),
            place_key: ArcSwap::from_pointee(PlaceKey::random()),
            turns: (0..TURNS).map(|_| Mutex::default()).collect(),
            clients,
            listening: Mutex::default(),
        }));
        store.open().await?;
        Ok(store)
    }

    fn is_cluster(&self) -> bool {
        self.0.connection.is_cluster()
    }

    /// A script call in a place; on a single server with the keys of the indexes.
    fn about<'a>(&self, script: &'a Script, tag: Tag, more: &[String]) -> ScriptCall<'a> {
        let place = self.0.keys.place(tag);
        let mut keys = Vec::with_capacity(1 + more.len());
        keys.push(place.as_slice());
        keys.extend(more.iter().map(String::as_bytes));
        script.call(&keys)
    }

    /// The indexes that a script updates in the same step; none on a cluster, where they are in
    /// other slots.
    fn index_keys(&self, realm: &str) -> Vec<String> {
        let keys = &self.0.keys;
        if self.is_cluster() {
            return Vec::new();
        }
        vec![keys.all(realm), keys.due(realm), keys.tombstones(), keys.realms()]
    }

    /// Takes the lock for writers of the place in this process.
    async fn turn(&self, tag: Tag) -> MutexGuard<'_, ()> {
        let stripe = usize::from(tag.as_bytes()[0]) % self.0.turns.len();
        self.0.turns[stripe].lock().await
    }

    fn place_key_now(&self) -> PlaceKey {
        **self.0.place_key.load()
    }

    fn set_place_key(&self, key: PlaceKey) {
        if self.place_key_now() != key {
            self.0.place_key.store(Arc::new(key));
        }
    }

    async fn create_and_enter(&self, creation: Creation) -> Result<CreateOutcome, Error> {
        let outcome = self.create_record(&creation).await?;
        let record = match &outcome {
            CreateOutcome::Created { record, .. } => record,
            // An earlier attempt stored it, and its answer was lost: it may be in no index yet.
            CreateOutcome::Exists => &creation.record,
            _ => return Ok(outcome),
        };
        if self.enter_in_cluster(record).await.is_err() {
            let (store, record) = (self.clone(), record.clone());
            tokio::spawn(async move { store.enter_later(&record).await });
        }
        Ok(outcome)
    }

    /// Adds a session to indexes whose node did not answer. Without an entry no sweep finds the
    /// session, so its end would be no event. The login does not wait for it. If the session has
    /// ended since, a reader drops the entry.
    async fn enter_later(&self, record: &Record) {
        for delay in RETRY_DELAYS {
            sleep(delay).await;
            match self.enter_in_cluster(record).await {
                Ok(()) => return,
                Err(error) => tracing::debug!(sid = %record.sid, %error, "an index has no session yet"),
            }
        }
        tracing::warn!(sid = %record.sid, "a session could not be added to the index, so lists of all sessions omit it");
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").finish_non_exhaustive()
    }
}

impl SessionStore for RedisStore {
    async fn create(&self, creation: Creation) -> Result<CreateOutcome, Error> {
        if !self.is_cluster() {
            return self.create_record(&creation).await;
        }
        // Spawned, so that it completes when the caller is dropped: the session must get into the
        // indexes.
        let store = self.clone();
        let task = tokio::spawn(async move { store.create_and_enter(creation).await });
        task.await.map_err(Error::store)?
    }

    async fn load(&self, sid: SessionId) -> Result<Option<Box<Record>>, Error> {
        Ok(self.read(sid).await?.map(Box::new))
    }

    async fn update(
        &self,
        sid: SessionId,
        change: Change,
        seen: Option<Box<Record>>,
    ) -> Result<UpdateOutcome, Error> {
        self.update_record(sid, &change, seen).await
    }

    async fn end(
        &self,
        sid: SessionId,
        request: EndRequest,
        seen: Option<Box<Record>>,
    ) -> Result<EndOutcome, Error> {
        self.end_record(sid, &request, seen).await
    }

    async fn revoke(&self, revocation: Revocation) -> Result<(), Error> {
        if let Some((tag, subject)) = &revocation.subject {
            return self.revoke_subject(&revocation, *tag, subject).await;
        }
        let key = self.0.keys.not_before();
        let call = self.0.scripts.forward.call(&[key.as_bytes()]).arg(&*revocation.realm);
        call.arg(revocation.at.as_unix_millis()).run(&self.0.connection).await.map(drop)
    }

    async fn not_before(&self, realm: &str) -> Result<Option<Timestamp>, Error> {
        let mut command = redis::cmd("HGET");
        let moment = self.ask(command.arg(self.0.keys.not_before()).arg(realm)).await?;
        if moment == redis::Value::Nil {
            return Ok(None);
        }
        reply::number(&moment).map(Timestamp::from_unix_millis).map(Some)
    }

    async fn list(&self, page: Page) -> Result<Vec<Record>, Error> {
        match &page.subject {
            Some((tag, subject)) => self.list_subject(&page, *tag, subject).await,
            None => self.list_realm(&page).await,
        }
    }

    async fn sweep(&self, sweep: Sweep) -> Result<Swept, Error> {
        self.sweep_realms(&sweep).await
    }

    async fn reschedule(&self, sessions: Vec<(SessionId, Timestamp)>) -> Result<(), Error> {
        self.move_due(&sessions).await
    }

    async fn end_many(&self, requests: Vec<(SessionId, EndRequest)>) -> Result<Vec<EndOutcome>, Error> {
        let mut outcomes = Vec::with_capacity(requests.len());
        for some in requests.chunks(ENDS_AT_ONCE) {
            let ends = some.iter().map(|(sid, request)| self.end_record(*sid, request, None));
            // Await all, so that every end is reported.
            for outcome in join_all(ends).await {
                outcomes.push(outcome?);
            }
        }
        Ok(outcomes)
    }

    async fn time(&self) -> Result<Option<Timestamp>, Error> {
        self.server_time().await.map(Some)
    }

    fn place_key(&self) -> PlaceKey {
        self.place_key_now()
    }

    fn info(&self) -> StoreInfo {
        let address = match &*self.0.clients {
            [] => "a connection of the application".to_owned(),
            clients => options::nodes(clients).join(","),
        };
        StoreInfo::new("redis").with_address(address)
    }
}
