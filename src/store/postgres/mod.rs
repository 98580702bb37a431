//! The store in PostgreSQL (feature `postgres`).
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`PostgresStore`], [`PostgresOptions`] |
//! | `schema.sql`, `schema.rs` | tables and functions, and their version |
//! | `statements.rs` | what is said to the server: one statement for each operation |
//! | `row.rs`, `key.rs` | records as rows, and back |
//! | `connection.rs`, `tls.rs` | the pool |
//! | `listen.rs` | what other nodes tell of the settings |
//!
//! Caps and the end of a subject's sessions are exact because both hold an advisory lock of the subject to the end of their
//! transaction (SPEC S9, S10). All else is one row at a time, which the server locks by itself.

mod connection;
mod key;
mod listen;
mod row;
mod schema;
mod statements;
#[cfg(feature = "rustls")]
mod tls;

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::sync::Notify;
use tokio_postgres::{Config, Row, error::SqlState, types::ToSql};

pub use self::connection::PostgresPool;
use self::{connection::Connections, schema::Schema, statements::Statements};
use super::{Created, Creation, KeptSettings, Page, SessionStore, SettingsStore, Swept, facts};
use crate::{
    Error, ErrorKind, Timestamp,
    policy::Overflow,
    record::{Change, End, Ending, Record, SessionId, Updated},
};

/// Keeps sessions in PostgreSQL 13 or later. See the [guide](crate::store::guide#postgresql).
///
/// Cheap to clone; clones share the pool. What is missing of tables and functions is made when it connects.
///
/// # Example
///
/// ```no_run
/// use tower_tenure::{SessionLayer, store::PostgresStore};
///
/// # async fn main_of_yours() -> Result<(), tower_tenure::Error> {
/// let store = PostgresStore::connect("postgres://app@db.example/app").await?;
/// let layer = SessionLayer::new(store);
/// tokio::spawn(layer.sessions().sweep_every(std::time::Duration::from_secs(60)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PostgresStore(Arc<Inner>);

struct Inner {
    connections: Connections,
    statements: Statements,
    /// For a connection that listens; a pool that was handed in does not tell how to make one.
    config: Option<Config>,
    changed: OnceLock<Arc<Notify>>,
}

/// How a [`PostgresStore`] connects.
#[derive(Clone)]
#[must_use]
pub struct PostgresOptions {
    config: Config,
    schema: Schema,
    pool_size: usize,
}

/// How many sessions one call of a sweep looks at.
const MOST_LOOKS: usize = 1000;

/// How often a statement is asked again that saw a session as it was before another ended it.
const TRIES: usize = 8;

impl PostgresOptions {
    /// The server and database of a URL, `postgres://user:password@host:port/database`, with the parameters that libpq has for
    /// it; `sslmode=require` needs the feature `rustls`, and trusts the system's certificates.
    ///
    /// # Errors
    ///
    /// When it is none. The message does not repeat it: it may hold a password.
    pub fn new(url: &str) -> Result<Self, Error> {
        let refuse = || {
            let message = "not a URL of a PostgreSQL database; write it like postgres://user:password@host:5432/database";
            Error::new(ErrorKind::Configuration, message)
        };
        let is_url = url.starts_with("postgres://") || url.starts_with("postgresql://");
        let mut config: Config = url.parse().map_err(|_| refuse())?;
        if !is_url || config.get_hosts().is_empty() {
            return Err(refuse());
        }
        #[cfg(not(feature = "rustls"))]
        if config.get_ssl_mode() == tokio_postgres::config::SslMode::Require {
            return Err(connection::no_tls());
        }
        if config.get_application_name().is_none() {
            config.application_name("tower-tenure");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_millis(1500));
        }
        // A server that has vanished without a word is given up after this.
        config.keepalives_idle(Duration::from_secs(10)).tcp_user_timeout(Duration::from_secs(10));
        Ok(Self { config, schema: Schema::named(Schema::DEFAULT)?, pool_size: 16 })
    }

    /// The schema for tables and functions: `tower_tenure` unless set. It is made if it is not there.
    ///
    /// # Errors
    ///
    /// When it is not 1 to 48 lower-case letters, digits and `_`.
    pub fn with_schema(mut self, name: &str) -> Result<Self, Error> {
        self.schema = Schema::named(name)?;
        Ok(self)
    }

    /// The most connections at a time: 16 unless set, at least one. One more listens for changes of the settings.
    pub fn with_pool_size(mut self, size: usize) -> Self {
        self.pool_size = size.max(1);
        self
    }

    /// Connects, and makes what is missing.
    ///
    /// # Errors
    ///
    /// When the server can not be reached, does not let us in, or has the schema of a newer version of this crate.
    pub async fn connect(self) -> Result<PostgresStore, Error> {
        let pool = connection::pool(&self.config, self.pool_size)?;
        PostgresStore::over(Connections { pool, schema: self.schema }, Some(self.config)).await
    }
}

/// Without what may be secret.
impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("hosts", &self.config.get_hosts())
            .field("schema", &self.schema)
            .field("pool_size", &self.pool_size)
            .finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// Connects to the database of this URL.
    ///
    /// # Errors
    ///
    /// As [`PostgresOptions::new`] and [`PostgresOptions::connect`].
    pub async fn connect(url: &str) -> Result<Self, Error> {
        PostgresOptions::new(url)?.connect().await
    }

    /// Uses a pool of the application's, with its own TLS and limits, and makes what is missing in this schema. Changes of
    /// the settings by other nodes are then seen by asking every second, not by listening.
    ///
    /// # Errors
    ///
    /// As [`PostgresOptions::with_schema`] and [`PostgresOptions::connect`].
    pub async fn with_pool(pool: impl PostgresPool, schema: &str) -> Result<Self, Error> {
        let connections = Connections { pool: pool.into_pool(), schema: Schema::named(schema)? };
        Self::over(connections, None).await
    }

    async fn over(connections: Connections, config: Option<Config>) -> Result<Self, Error> {
        connections.prepare_schema().await?;
        let statements = Statements::new(&connections.schema.quoted(), &connections.schema.channel());
        Ok(Self(Arc::new(Inner { connections, statements, config, changed: OnceLock::new() })))
    }

    async fn query(&self, statement: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        Ok(self.0.connections.query(statement, params).await?)
    }

    async fn query_one(&self, statement: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Row, Error> {
        self.query(statement, params).await?.pop().ok_or_else(row::unreadable)
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("schema", &self.0.connections.schema).finish_non_exhaustive()
    }
}

impl SessionStore for PostgresStore {
    async fn create(&self, creation: Creation) -> Result<Created, Error> {
        let Creation { record, edits, replaces, cap } = creation;
        let (timing, previous) = (&record.timing, record.previous_secret.as_ref());
        let [facts, last_seen, metadata] = facts::write(&record.facts)?;
        let (set, removed) = row::edits(&edits)?;
        let millis = |at: Timestamp| at.as_unix_millis();
        let params: [&(dyn ToSql + Sync); 30] = [
            &record.sid.as_bytes().as_slice(),
            &record.secret.as_bytes().as_slice(),
            &previous.map(|previous| previous.hash.as_bytes().as_slice()),
            &previous.map(|previous| millis(previous.until)),
            &timing.mode.as_str(),
            &millis(timing.created_at),
            &timing.authenticated_at.map(millis),
            &millis(timing.last_interaction_at),
            &row::millis(timing.longest_gap),
            &row::millis(timing.lifetimes.idle()),
            &row::millis(timing.lifetimes.absolute()),
            &row::millis(timing.bound.idle()),
            &row::millis(timing.bound.absolute()),
            &timing.one_off_idle.map(row::millis),
            &millis(record.updated_at),
            &record.subject.as_deref(),
            &i64::try_from(record.revision).unwrap_or(i64::MAX),
            &set,
            &removed,
            &facts,
            &last_seen,
            &metadata,
            &millis(record.over_at()),
            &replaces.as_ref().map(|order| order.sid.as_bytes().as_slice()),
            &replaces.map(|order| order.end.reason.as_str()),
            &replaces.map(|order| millis(order.end.at)),
            &replaces.and_then(|order| order.end.if_idle_since).map(millis),
            &replaces.is_some_and(|order| order.keep_data),
            &cap.map(|cap| i64::from(cap.most().get())),
            &cap.is_some_and(|cap| cap.overflow() == Overflow::Evict),
        ];
        let created = match self.0.connections.query(&self.0.statements.create, &params).await {
            // Another creation of the same id came between.
            Err(failed) if failed.state == Some(SqlState::UNIQUE_VIOLATION) => return Ok(Created::Exists),
            created => created?.pop().ok_or_else(row::unreadable)?,
        };
        let text = |column| created.try_get::<_, Option<&str>>(column).map_err(|_| row::unreadable());
        match text(0)? {
            Some("exists") => Ok(Created::Exists),
            Some("refused") => Ok(Created::Refused),
            _ => {
                let data = row::data(text(1)?.unwrap_or_default())?;
                let replaced = replaces.is_some().then(|| ending(text(2)?, text(3)?)).transpose()?;
                let replaced = replaced.filter(|ending| *ending != Ending::Unknown);
                let evicted = sids(&created, 4)?;
                Ok(Created::Done { record: Record { data, ..record }, replaced, evicted })
            }
        }
    }

    async fn load(&self, sid: SessionId) -> Result<Option<Record>, Error> {
        let rows = self.query(&self.0.statements.load, &[&sid.as_bytes().as_slice()]).await?;
        rows.first().map(row::read).transpose()
    }

    async fn update(&self, sid: SessionId, change: Change) -> Result<Updated, Error> {
        let (set, removed) = row::edits(&change.edits)?;
        let lowering = change.timing.lowering;
        let last_seen = change.last_seen.as_ref().map(facts::last_seen).transpose()?;
        let metadata = change.metadata.as_ref().map(facts::metadata).transpose()?;
        let rotation = change.rotation.as_ref();
        let params: [&(dyn ToSql + Sync); 15] = [
            &sid.as_bytes().as_slice(),
            &change.timing.interaction_at.map(Timestamp::as_unix_millis),
            &lowering.map(|lowering| row::millis(lowering.lifetimes.idle())),
            &lowering.map(|lowering| row::millis(lowering.lifetimes.absolute())),
            &lowering.map(|lowering| row::millis(lowering.one_off_idle)),
            &change.at.as_unix_millis(),
            &removed,
            &set,
            &i64::from(!change.edits.is_empty()),
            &last_seen,
            &metadata,
            &rotation.map(|rotation| rotation.from.as_bytes().as_slice()),
            &rotation.map(|rotation| rotation.to.as_bytes().as_slice()),
            &rotation.map(|rotation| (change.at + rotation.grace).as_unix_millis()),
            &change.if_revision.map(|revision| i64::try_from(revision).unwrap_or(i64::MAX)),
        ];
        for _ in 0..TRIES {
            let rows = self.query(&self.0.statements.update, &params).await?;
            let Some(row) = rows.first() else { return Ok(Updated::Gone(None)) };
            let mut answer = row::read_answer(row)?;
            if answer.is_applied {
                answer.applied.rotated =
                    rotation.is_some_and(|rotation| rotation.to.matches(&answer.applied.secret));
                return Ok(Updated::Applied(answer.applied));
            }
            if let Some(reason) = answer.end_reason {
                return Ok(Updated::Gone(Some(reason.parse()?)));
            }
            if change.if_revision.is_some_and(|revision| revision != answer.applied.revision) {
                return Ok(Updated::Conflict);
            }
            // Another ended or changed it after this statement began: the next one sees that.
        }
        Err(Error::store("a session changes faster than it could be changed here"))
    }

    async fn end(&self, sid: SessionId, end: End) -> Result<Ending, Error> {
        let params: [&(dyn ToSql + Sync); 4] = [
            &sid.as_bytes().as_slice(),
            &end.reason.as_str(),
            &end.at.as_unix_millis(),
            &end.if_idle_since.map(Timestamp::as_unix_millis),
        ];
        let row = self.query_one(&self.0.statements.end, &params).await?;
        let text = |column| row.try_get::<_, Option<&str>>(column).map_err(|_| row::unreadable());
        ending(text(0)?, text(1)?)
    }

    async fn list(&self, page: Page) -> Result<Vec<Record>, Error> {
        let (created_at, sid): (_, &[u8]) = match &page.after {
            Some((created_at, sid)) => (created_at.as_unix_millis(), sid.as_bytes()),
            None => (i64::MIN, &[]),
        };
        let now = page.now.as_unix_millis();
        let limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
        let rows = match page.subject.as_deref() {
            None => self.query(&self.0.statements.list, &[&created_at, &sid, &now, &limit]).await?,
            Some(subject) => {
                let params: [&(dyn ToSql + Sync); 5] = [&created_at, &sid, &now, &limit, &subject];
                self.query(&self.0.statements.list_subject, &params).await?
            }
        };
        rows.iter().map(row::read).collect()
    }

    async fn end_subject(
        &self,
        subject: Arc<str>,
        end: End,
        except: Option<SessionId>,
    ) -> Result<Vec<SessionId>, Error> {
        let params: [&(dyn ToSql + Sync); 5] = [
            &&*subject,
            &end.reason.as_str(),
            &end.at.as_unix_millis(),
            &end.if_idle_since.map(Timestamp::as_unix_millis),
            &except.as_ref().map(|sid| sid.as_bytes().as_slice()),
        ];
        let row = self.query_one(&self.0.statements.end_subject, &params).await?;
        sids(&row, 0)
    }

    async fn sweep(&self, before: Timestamp, limit: usize) -> Result<Swept, Error> {
        let limit = i64::try_from(limit.min(MOST_LOOKS)).unwrap_or(i64::MAX);
        let row = self.query_one(&self.0.statements.sweep, &[&before.as_unix_millis(), &limit]).await?;
        let count = |column| row.try_get::<_, i64>(column).map_err(|_| row::unreadable());
        Ok(Swept { removed: usize::try_from(count(1)?).unwrap_or(0), finished: count(0)? < limit })
    }
}

impl SettingsStore for PostgresStore {
    async fn load_settings(&self) -> Result<Option<KeptSettings>, Error> {
        let rows = self.query(&self.0.statements.load_settings, &[]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let version = row.try_get::<_, i64>(0).map_err(|_| row::unreadable())?.unsigned_abs();
        let text = row.try_get::<_, &str>(1).map_err(|_| row::unreadable())?.into();
        Ok(Some(KeptSettings { version, text }))
    }

    async fn save_settings(&self, text: Arc<str>, after: Option<u64>) -> Result<bool, Error> {
        let saved = match after {
            None => self.query(&self.0.statements.begin_settings, &[&&*text]).await?,
            Some(version) => {
                let version = i64::try_from(version).unwrap_or(i64::MAX);
                self.query(&self.0.statements.save_settings, &[&&*text, &version]).await?
            }
        };
        Ok(!saved.is_empty())
    }

    /// By `LISTEN`, on a connection of its own.
    async fn settings_changed(&self) {
        let Some(config) = &self.0.config else { return std::future::pending().await };
        let changed = self.0.changed.get_or_init(|| {
            let changed = Arc::new(Notify::new());
            let channel = self.0.connections.schema.channel();
            tokio::spawn(listen::listen(config.clone(), channel, Arc::downgrade(&changed)));
            changed
        });
        changed.notified().await;
    }
}

/// What `end_session` says.
fn ending(outcome: Option<&str>, reason: Option<&str>) -> Result<Ending, Error> {
    Ok(match (outcome, reason) {
        (Some("done"), Some(reason)) => Ending::Done(reason.parse()?),
        (Some("already"), Some(reason)) => Ending::Already(reason.parse()?),
        (Some("in_use"), _) => Ending::StillInUse,
        _ => Ending::Unknown,
    })
}

fn sids(row: &Row, column: usize) -> Result<Vec<SessionId>, Error> {
    let sids: Vec<Vec<u8>> = row.try_get(column).map_err(|_| row::unreadable())?;
    sids.into_iter().map(|sid| row::fixed(sid).map(SessionId::from_bytes)).collect()
}
