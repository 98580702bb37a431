//! The store in PostgreSQL (feature `postgres`).
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`PostgresStore`] |
//! | `options.rs` | [`PostgresOptions`] |
//! | `write.rs` | changes and ends: compare-and-set of a record |
//! | `create.rs` | new sessions, under their cap |
//! | `revoke.rs` | "sign out everywhere" |
//! | `sweep.rs` | what is due |
//! | `shared.rs` | settings |
//! | `schema.sql`, `schema.rs` | the tables and their version |
//! | `statements.rs` | what is sent to the server |
//! | `row.rs` | records and marks as rows, and back |
//! | `connection.rs`, `tls.rs` | the pool |
//! | `listen.rs` | waits for other nodes to change the settings |
//!
//! The server moves bytes. Each record has a random version. A write starts from the record as it was read, applies the change
//! in Rust, and takes place if the version is still the same; if not, the same statement returns what is there now. Two
//! things are more than one row: a login counts the subject's sessions, for which it holds an advisory lock of their tag; and a
//! subject's mark stands in a row of the same tag, which each load and each write looks at.

mod connection;
mod create;
mod listen;
mod options;
mod revoke;
mod row;
mod schema;
mod shared;
mod statements;
mod sweep;
#[cfg(feature = "rustls")]
mod tls;
mod write;

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use tokio::sync::Notify;
use tokio_postgres::{Config, Row, types::ToSql};

use self::{connection::Connections, row::Sid, schema::Schema, statements::Statements};
pub use self::{connection::PostgresPool, options::PostgresOptions};
use super::{CreateOutcome, Creation, Page, PlaceKey, Revocation, SessionStore, Sweep, Swept};
use crate::{
    Error, Timestamp,
    record::{Change, EndOutcome, EndRequest, Record, SessionId, UpdateOutcome},
};

/// Keeps sessions in PostgreSQL 13 or later. See the [guide](crate::store::guide#postgresql).
///
/// Cheap to clone; clones share the pool. Tables and functions that are missing are made when it connects.
///
/// # Example
///
/// ```no_run
/// use tower_tenure::{SessionLayer, store::PostgresStore};
///
/// # async fn your_main() -> Result<(), tower_tenure::Error> {
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
    /// For a connection that listens. A pool that was handed in does not say how to make one.
    config: Option<Config>,
    changed: OnceLock<Arc<Notify>>,
}

/// How often a write is tried again because another came first.
const MAX_ATTEMPTS: usize = 64;

/// How many sessions one statement looks at.
const BATCH: usize = 1000;

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
    /// the settings by other nodes are then seen by asking every second, not by listening. A login takes two round trips
    /// more where the connections have another isolation level than `read committed`.
    ///
    /// # Errors
    ///
    /// As [`PostgresOptions::with_schema`] and [`PostgresOptions::connect`].
    pub async fn with_pool(pool: impl PostgresPool, schema: &str) -> Result<Self, Error> {
        Self::over(Connections::new(pool.into_pool(), Schema::named(schema)?), None).await
    }

    async fn over(connections: Connections, config: Option<Config>) -> Result<Self, Error> {
        connections.prepare_schema().await?;
        let statements = Statements::new(&connections.schema.quoted(), &connections.schema.channel());
        Ok(Self(Arc::new(Inner { connections, statements, config, changed: OnceLock::new() })))
    }

    async fn query(&self, statement: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        Ok(self.0.connections.query(statement, params).await?)
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("schema", &self.0.connections.schema).finish_non_exhaustive()
    }
}

impl SessionStore for PostgresStore {
    async fn create(&self, creation: Creation) -> Result<CreateOutcome, Error> {
        self.store(creation).await
    }

    async fn load(&self, sid: SessionId) -> Result<Option<Record>, Error> {
        let rows = self.query(&self.0.statements.load, &[&row::tag(sid.tag()), &Sid::from(sid)]).await?;
        row::read_load(sid, &rows)
    }

    async fn update(
        &self,
        sid: SessionId,
        change: Change,
        seen: Option<Box<Record>>,
    ) -> Result<UpdateOutcome, Error> {
        let updated = self.change(sid, seen, |record| change.apply(record)).await?;
        Ok(updated.unwrap_or(UpdateOutcome::Gone(None)))
    }

    async fn end(
        &self,
        sid: SessionId,
        request: EndRequest,
        seen: Option<Box<Record>>,
    ) -> Result<EndOutcome, Error> {
        let ended = self.change(sid, seen, |record| record.end(&request)).await?;
        Ok(ended.unwrap_or(EndOutcome::Unknown))
    }

    async fn end_many(&self, requests: Vec<(SessionId, EndRequest)>) -> Result<Vec<EndOutcome>, Error> {
        let mut outcomes = Vec::with_capacity(requests.len());
        for batch in requests.chunks(BATCH) {
            outcomes.extend(self.end_batch(batch).await?);
        }
        Ok(outcomes)
    }

    async fn revoke(&self, revocation: Revocation) -> Result<(), Error> {
        match &revocation.subject {
            Some((tag, subject)) => self.revoke_subject(*tag, subject, &revocation).await,
            None => self.revoke_realm(&revocation.realm, revocation.at).await,
        }
    }

    async fn not_before(&self, realm: &str) -> Result<Option<Timestamp>, Error> {
        let rows = self.query(&self.0.statements.not_before, &[&realm.as_bytes()]).await?;
        rows.first().map(|row| row::get(row, 0).map(Timestamp::from_unix_millis)).transpose()
    }

    async fn list(&self, page: Page) -> Result<Vec<Record>, Error> {
        self.page(page).await
    }

    async fn sweep(&self, sweep: Sweep) -> Result<Swept, Error> {
        self.sweep_batch(&sweep).await
    }

    async fn reschedule(&self, sessions: Vec<(SessionId, Timestamp)>) -> Result<(), Error> {
        for batch in sessions.chunks(BATCH) {
            self.reschedule_batch(batch).await?;
        }
        Ok(())
    }

    async fn time(&self) -> Result<Option<Timestamp>, Error> {
        let rows = self.query(&self.0.statements.time, &[]).await?;
        rows.first().map(|row| row::get(row, 0).map(Timestamp::from_unix_millis)).transpose()
    }

    fn place_key(&self) -> PlaceKey {
        self.0.connections.place_key()
    }
}
