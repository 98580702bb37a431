//! The PostgreSQL store (feature `postgres`).
//!
//! The server only stores bytes. Each record has a random version. A write applies the change in
//! Rust and succeeds if the version is unchanged; if not, it starts over from the current record.
//! Two things involve more than one row. A login counts the subject's sessions, under an advisory
//! lock of their tag. And a subject's mark is a row with the same tag, which each load and each
//! write reads.

// | file | holds |
// |---|---|
// | `mod.rs` | `PostgresStore` |
// | `options.rs` | `PostgresOptions` |
// | `write.rs` | changes and ends: compare-and-set of a record |
// | `create.rs` | new sessions, under their cap |
// | `revoke.rs` | "sign out everywhere" |
// | `sweep.rs` | what is due |
// | `shared.rs` | settings |
// | `schema.sql`, `schema.rs` | the tables and their version |
// | `statements.rs` | what is sent to the server |
// | `row.rs` | records and marks as rows, and back |
// | `connection.rs` | the pool |
// | `dial.rs`, `ssl.rs`, `tls.rs` | new connections, and whether they are encrypted |
// | `listen.rs` | waits for other nodes to change the settings |

mod connection;
mod create;
mod dial;
mod listen;
mod options;
mod revoke;
mod row;
mod schema;
mod shared;
mod ssl;
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
use tokio_postgres::{Row, types::ToSql};

use self::{connection::Connections, dial::Dial, row::Sid, schema::Schema, statements::Statements};
pub use self::{connection::PostgresPool, options::PostgresOptions, ssl::PostgresSslMode};
use super::{CreateOutcome, Creation, Page, PlaceKey, Revocation, SessionStore, StoreInfo, Sweep, Swept};
use crate::{
    Error, Timestamp,
    record::{Change, EndOutcome, EndRequest, Record, SessionId, UpdateOutcome},
};

/// Keeps sessions in PostgreSQL 13 or later. See the [guide](crate::store::guide#postgresql).
///
/// Cheap to clone; clones share the pool. It creates missing tables and functions when it connects.
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
    /// For the connection that listens; `None` with a pool of the application.
    dial: Option<Dial>,
    changed: OnceLock<Arc<Notify>>,
}

/// How often a write is retried when another write came first.
const MAX_ATTEMPTS: usize = 64;

/// The maximum number of sessions that one statement reads.
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

    /// Uses a pool of the application, with its own TLS and limits, and creates what is missing in
    /// this schema.
    ///
    /// Settings are then polled every second, instead of by `LISTEN`. If the isolation level of the
    /// connections is not `read committed`, a login takes two more round trips.
    ///
    /// # Errors
    ///
    /// As [`PostgresOptions::with_schema`] and [`PostgresOptions::connect`].
    pub async fn with_pool(pool: impl PostgresPool, schema: &str) -> Result<Self, Error> {
        Self::over(Connections::new(pool.into_pool(), Schema::named(schema)?), None).await
    }

    async fn over(connections: Connections, dial: Option<Dial>) -> Result<Self, Error> {
        connections.prepare_schema().await?;
        let statements = Statements::new(&connections.schema.quoted(), &connections.schema.channel());
        Ok(Self(Arc::new(Inner { connections, statements, dial, changed: OnceLock::new() })))
    }

    async fn query(&self, statement: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        Ok(self.0.connections.query(statement, params).await?.rows)
    }

    /// Whether a statement wrote anything.
    async fn execute(&self, statement: &str, params: &[&(dyn ToSql + Sync)]) -> Result<bool, Error> {
        Ok(self.0.connections.query(statement, params).await?.affected > 0)
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

    async fn load(&self, sid: SessionId) -> Result<Option<Box<Record>>, Error> {
        let rows = self.query(&self.0.statements.load, &[&row::tag(sid.tag()), &Sid::from(sid)]).await?;
        Ok(row::read_load(sid, &rows)?.map(Box::new))
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

    fn info(&self) -> StoreInfo {
        let address = self.0.dial.as_ref().map_or("a pool of the application".into(), Dial::address);
        StoreInfo::new("postgres").with_address(address)
    }
}
