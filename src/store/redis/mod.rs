//! The store in Redis or Valkey, or a cluster of either (feature `redis`).
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`RedisStore`], and each operation as a call of a script |
//! | `options.rs` | [`RedisOptions`]: URLs, and what goes with them |
//! | `scripts/`, `scripts.rs` | what is said to the server; `common.lua` begins with the keys |
//! | `answer.rs` | records as hashes, and what the scripts answer |
//! | `cluster.rs` | a login whose keys are spread over several nodes (S9) |
//! | `connection.rs` | connections, and how they come back |
//! | `listen.rs` | what other nodes tell of the settings |
//!
//! A session and the sets that name it are in one partition: all of its keys share a hash tag, so one script changes them in
//! one step. A single server has one partition.

mod answer;
mod cluster;
mod connection;
mod listen;
mod options;
mod scripts;

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::future::try_join_all;
use redis::{Client, Value};
use tokio::sync::{Mutex, Notify};

use self::{
    connection::Connection,
    scripts::{Call, Script, Scripts},
};
pub use self::{connection::RedisConnection, options::RedisOptions};
use super::{Created, Creation, KeptSettings, Page, SessionStore, SettingsStore, Swept, facts};
use crate::{
    Error, Timestamp,
    policy::Overflow,
    record::{Change, Data, End, Ending, Record, SessionId, Updated},
};

/// Keeps sessions in Redis 6.2 or later, in Valkey, or in a cluster of either. See the
/// [guide](crate::store::guide#redis-and-valkey).
///
/// Cheap to clone; clones share the connection.
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
    prefix: String,
    partitions: usize,
    /// The partition that the next sweep begins with.
    sweep_from: AtomicUsize,
    /// Held while a login of an id in this stripe is spread over a cluster.
    logins: Vec<Mutex<()>>,
    /// For a connection that listens; one that was handed in does not tell how to make another.
    clients: Vec<Client>,
    changed: OnceLock<Arc<Notify>>,
}

/// Into how many partitions a cluster's sessions are spread. Another number would look for them in the wrong places.
const CLUSTER_PARTITIONS: usize = 64;

/// How many sessions one call of a sweep looks at in a partition: the server does nothing else meanwhile.
const MOST_LOOKS: usize = 200;

/// What begins all keys, unless another is chosen.
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

    /// Uses a connection of the application's, with its own TLS and timeouts; keys begin with `tenure`. Changes of the
    /// settings by other nodes are then seen by asking every second, not by listening.
    pub fn with_connection(connection: impl RedisConnection) -> Self {
        Self::over(connection.into_connection(), PREFIX.to_owned(), Vec::new())
    }

    fn over(connection: Connection, prefix: String, clients: Vec<Client>) -> Self {
        let partitions = if connection.is_cluster() { CLUSTER_PARTITIONS } else { 1 };
        Self(Arc::new(Inner {
            connection,
            scripts: Scripts::new(),
            prefix,
            partitions,
            sweep_from: AtomicUsize::new(0),
            logins: (0..CLUSTER_PARTITIONS).map(|_| Mutex::default()).collect(),
            clients,
            changed: OnceLock::new(),
        }))
    }

    fn partition(&self, sid: SessionId) -> usize {
        usize::from(sid.as_bytes()[0]) % self.0.partitions
    }

    /// A call about a session, in its partition.
    fn about<'a>(&self, sid: SessionId, script: &'a Script) -> Call<'a> {
        self.within(self.partition(sid), script)
    }

    fn within<'a>(&self, partition: usize, script: &'a Script) -> Call<'a> {
        Call::new(script, &format!("{}{{{partition}}}", self.0.prefix))
    }

    async fn run(&self, call: Call<'_>) -> Result<Value, Error> {
        call.run(&self.0.connection).await
    }

    /// The same call in every partition, at the same time.
    async fn everywhere<'a>(&'a self, call: impl Fn(usize) -> Call<'a>) -> Result<Vec<Value>, Error> {
        let calls: Vec<_> = (0..self.0.partitions).map(|partition| self.run(call(partition))).collect();
        try_join_all(calls).await
    }

    /// Adds a session; what it replaces and the others of its subject are in the same partition.
    async fn create_here(&self, creation: Creation) -> Result<Created, Error> {
        let Creation { record, edits, replaces, cap } = creation;
        let [facts, last_seen, metadata] = facts::write(&record.facts)?;
        let end = replaces.map(|order| order.end);
        let call = self
            .about(record.sid, &self.0.scripts.create)
            .arg(answer::digits(record.sid))
            .arg(answer::timing(&record))
            .arg(record.secret.as_bytes())
            .arg(answer::previous(record.previous_secret.as_ref()))
            .arg(i32::from(record.subject.is_some()))
            .optional(record.subject.as_deref())
            .arg(facts)
            .arg(last_seen)
            .arg(metadata)
            .optional(replaces.map(|order| answer::digits(order.sid)))
            .optional(end.map(|end| end.reason.as_str()))
            .optional(end.map(|end| end.at.as_unix_millis()))
            .optional(end.and_then(|end| end.if_idle_since).map(Timestamp::as_unix_millis))
            .arg(i32::from(replaces.is_some_and(|order| order.keep_data)))
            .optional(cap.map(|cap| cap.most().get()))
            .arg(i32::from(cap.is_some_and(|cap| cap.overflow() == Overflow::Evict)))
            .edits(&edits);
        let mut created = answer::array(self.run(call).await?)?;
        match (answer::bytes(created.remove(0))?.as_slice(), created) {
            (b"exists", _) => Ok(Created::Exists),
            (b"refused", _) => Ok(Created::Refused),
            (_, done) => {
                let [outcome, reason, evicted, data] = done.try_into().map_err(|_| answer::unreadable())?;
                let replaced =
                    Some(answer::ending(outcome, reason)?).filter(|ending| *ending != Ending::Unknown);
                let record = Record { data: answer::data(data)?, ..record };
                Ok(Created::Done { record, replaced, evicted: answer::sids(evicted)? })
            }
        }
    }

    /// Ends a session, and gives the data that it had if that is asked for. With a mark, a session that is not there ends when it
    /// comes, if it comes soon.
    async fn finish(
        &self,
        sid: SessionId,
        end: &End,
        gives: bool,
        marks: bool,
    ) -> Result<(Ending, Data), Error> {
        let call = self
            .about(sid, &self.0.scripts.end)
            .arg(answer::digits(sid))
            .arg(end.reason.as_str())
            .arg(end.at.as_unix_millis())
            .optional(end.if_idle_since.map(Timestamp::as_unix_millis))
            .arg(i32::from(gives))
            .arg(i32::from(marks));
        let [outcome, reason, data] = answer::several(self.run(call).await?)?;
        Ok((answer::ending(outcome, reason)?, answer::data(data)?))
    }

    fn settings_key(&self) -> String {
        format!("{}{{settings}}", self.0.prefix)
    }

    fn channel(&self) -> String {
        format!("{}:settings", self.0.prefix)
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("prefix", &self.0.prefix)
            .field("partitions", &self.0.partitions)
            .finish_non_exhaustive()
    }
}

impl SessionStore for RedisStore {
    async fn create(&self, creation: Creation) -> Result<Created, Error> {
        let is_capped = creation.cap.is_some() && creation.record.subject.is_some();
        let here = self.partition(creation.record.sid);
        let is_elsewhere = creation.replaced_sid().is_some_and(|sid| self.partition(sid) != here);
        if self.0.partitions > 1 && (is_capped || is_elsewhere) {
            self.create_spread(creation).await
        } else {
            self.create_here(creation).await
        }
    }

    async fn load(&self, sid: SessionId) -> Result<Option<Record>, Error> {
        let call = self.about(sid, &self.0.scripts.load).arg(answer::digits(sid));
        answer::record(sid, self.run(call).await?)
    }

    async fn update(&self, sid: SessionId, change: Change) -> Result<Updated, Error> {
        let lowering = change.timing.lowering;
        let rotation = change.rotation.as_ref();
        let call = self
            .about(sid, &self.0.scripts.update)
            .arg(answer::digits(sid))
            .arg(change.at.as_unix_millis())
            .optional(change.timing.interaction_at.map(Timestamp::as_unix_millis))
            .optional(lowering.map(|lowering| answer::millis(lowering.lifetimes.idle())))
            .optional(lowering.map(|lowering| answer::millis(lowering.lifetimes.absolute())))
            .optional(lowering.map(|lowering| answer::millis(lowering.one_off_idle)))
            .optional(change.last_seen.as_ref().map(facts::last_seen).transpose()?)
            .optional(change.metadata.as_ref().map(facts::metadata).transpose()?)
            .optional(rotation.map(|rotation| rotation.from.as_bytes().as_slice()))
            .optional(rotation.map(|rotation| rotation.to.as_bytes().as_slice()))
            .optional(rotation.map(|rotation| (change.at + rotation.grace).as_unix_millis()))
            .optional(change.if_revision)
            .edits(&change.edits);
        answer::updated(self.run(call).await?, rotation.map(|rotation| &rotation.to))
    }

    async fn end(&self, sid: SessionId, end: End) -> Result<Ending, Error> {
        Ok(self.finish(sid, &end, false, false).await?.0)
    }

    async fn list(&self, page: Page) -> Result<Vec<Record>, Error> {
        let answers = self.everywhere(|partition| {
            self.within(partition, &self.0.scripts.list)
                .arg(i32::from(page.subject.is_some()))
                .optional(page.subject.as_deref())
                .optional(page.after.map(|(created_at, _)| created_at.as_unix_millis()))
                .optional(page.after.map(|(_, sid)| answer::digits(sid)))
                .arg(page.now.as_unix_millis())
                .arg(page.limit)
        });
        let pages = answers.await?.into_iter().map(answer::records);
        let mut records = pages.collect::<Result<Vec<_>, _>>()?.concat();
        records.sort_unstable_by_key(|record| (record.timing.created_at, record.sid));
        records.truncate(page.limit);
        Ok(records)
    }

    async fn end_subject(
        &self,
        subject: Arc<str>,
        end: End,
        except: Option<SessionId>,
    ) -> Result<Vec<SessionId>, Error> {
        let answers = self.everywhere(|partition| {
            self.within(partition, &self.0.scripts.end_subject)
                .arg(&*subject)
                .arg(end.reason.as_str())
                .arg(end.at.as_unix_millis())
                .optional(end.if_idle_since.map(Timestamp::as_unix_millis))
                .optional(except.map(answer::digits))
        });
        let ended = answers.await?.into_iter().map(answer::sids);
        Ok(ended.collect::<Result<Vec<_>, _>>()?.concat())
    }

    async fn sweep(&self, before: Timestamp, limit: usize) -> Result<Swept, Error> {
        let (limit, partitions) = (limit.max(1), self.0.partitions);
        let (mut removed, mut seen) = (0, 0);
        while seen < partitions {
            let left = limit - removed;
            let together = left.min(partitions - seen);
            if together == 0 {
                return Ok(Swept { removed, finished: false });
            }
            let looks = (left / together).min(MOST_LOOKS);
            let from = self.0.sweep_from.fetch_add(together, Ordering::Relaxed);
            let calls = (from..from + together).map(|number| {
                let call = self.within(number % partitions, &self.0.scripts.sweep);
                self.run(call.arg(before.as_unix_millis()).arg(looks))
            });
            let mut finished = true;
            for answer in try_join_all(calls).await? {
                let [looked, gone] = answer::several(answer)?;
                removed += answer::int(&gone)?;
                finished &= answer::int(&looked)? < looks;
            }
            if !finished {
                return Ok(Swept { removed, finished });
            }
            seen += together;
        }
        Ok(Swept { removed, finished: true })
    }
}

impl SettingsStore for RedisStore {
    async fn load_settings(&self) -> Result<Option<KeptSettings>, Error> {
        let mut command = redis::cmd("HMGET");
        command.arg(self.settings_key()).arg("version").arg("text");
        let kept = self.0.connection.ask(&command).await.map_err(|error| scripts::failed(&error))?;
        let [version, text] = answer::several(kept)?;
        if version == Value::Nil {
            return Ok(None);
        }
        let version = answer::text(answer::bytes(version)?)?.parse().map_err(|_| answer::unreadable())?;
        Ok(Some(KeptSettings { version, text: answer::text(answer::bytes(text)?)?.into() }))
    }

    async fn save_settings(&self, text: Arc<str>, after: Option<u64>) -> Result<bool, Error> {
        let call = Call::new(&self.0.scripts.save_settings, &self.settings_key());
        let saved = self.run(call.arg(&*text).optional(after).arg(self.channel())).await?;
        Ok(answer::int(&saved)? == 1)
    }

    /// By `SUBSCRIBE`, on a connection of its own.
    async fn settings_changed(&self) {
        if self.0.clients.is_empty() {
            return std::future::pending().await;
        }
        let changed = self.0.changed.get_or_init(|| {
            let changed = Arc::new(Notify::new());
            let told = Arc::downgrade(&changed);
            tokio::spawn(listen::listen(self.0.clients.clone(), self.channel(), told));
            changed
        });
        changed.notified().await;
    }
}
