//! The pool, and what happens to a connection whose call failed or was dropped.

use std::{
    pin::pin,
    sync::{PoisonError, RwLock},
    time::Duration,
};

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime,
};
use futures_util::TryStreamExt;
use tokio_postgres::{IsolationLevel, Row, RowStream, error::SqlState, types::ToSql};

use super::{
    dial::Dial,
    schema::{MIGRATIONS, Schema},
};
use crate::{Error, ErrorKind, store::PlaceKey};

/// Shorter than the timeout of a call, so that one unresponsive server does not use all of it.
const CONNECT: Duration = Duration::from_millis(1500);

/// How often a statement is attempted that the server rolled back.
const MAX_ATTEMPTS: usize = 8;

/// Settings of each connection of the store's own pool. At another isolation level, a statement
/// would not see what another node wrote while it waited for a lock. Every statement finds its rows
/// by an index, and a plan made while the table was small must not scan it later.
const BEGIN: &str = "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED;
    SELECT set_config(name, 'off', false) FROM pg_settings
    WHERE name IN ('enable_hashjoin', 'enable_mergejoin', 'enable_seqscan', 'jit')";

/// A pool of the application. Implemented for `Pool` of `deadpool-postgres` 0.14 only; a later
/// version will get its own implementation.
pub trait PostgresPool: sealed::Sealed {}

impl PostgresPool for Pool {}

pub(super) mod sealed {
    pub trait Sealed: Send + Sync + 'static {
        #[doc(hidden)]
        fn into_pool(self) -> deadpool_postgres::Pool;
    }

    impl Sealed for deadpool_postgres::Pool {
        fn into_pool(self) -> deadpool_postgres::Pool {
            self
        }
    }
}

/// A pool of the store.
pub(super) fn pool(dial: Dial, size: usize) -> Result<Pool, Error> {
    let settings = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_connect(dial.config().clone(), dial, settings);
    let pool = Pool::builder(manager)
        .max_size(size)
        .runtime(Runtime::Tokio1)
        .create_timeout(Some(CONNECT))
        .recycle_timeout(Some(CONNECT))
        .post_create(Hook::async_fn(|client, _| {
            Box::pin(async move { client.batch_execute(BEGIN).await.map_err(HookError::Backend) })
        }))
        .build();
    pool.map_err(|error| Error::new(ErrorKind::Configuration, error.to_string()))
}

/// A pool that drops a connection when its call fails or is dropped halfway, and creates a missing
/// schema.
pub(super) struct Connections {
    pool: Pool,
    pub(super) schema: Schema,
    place_key: RwLock<PlaceKey>,
}

impl Connections {
    pub(super) fn new(pool: Pool, schema: Schema) -> Self {
        Self { pool, schema, place_key: RwLock::new(PlaceKey::random()) }
    }

    /// Runs one statement, prepared once per connection. Retries only if the server reports that it
    /// rolled it back.
    pub(super) async fn query(
        &self,
        statement: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Answer, Failed> {
        let mut attempts = 1;
        let mut in_transaction = false;
        loop {
            let answer = self.query_once(statement, params, in_transaction).await;
            let state = match &answer {
                Err(Failed { state: Some(state), .. }) if attempts < MAX_ATTEMPTS => state,
                _ => return answer,
            };
            attempts += 1;
            match Passing::of(state) {
                // The server was replaced by an empty one.
                Some(Passing::NoSchema) => self.prepare_schema().await?,
                // The server became a standby. The address may lead to another server now.
                Some(Passing::ReadOnly) => drop(self.pool.retain(|_, _| false)),
                // In a transaction of the right level it waits for others where it would fail
                // otherwise.
                Some(Passing::RolledBack | Passing::Isolation) => in_transaction = true,
                None => return answer,
            }
        }
    }

    /// Creates missing tables, and reads the key of tags.
    pub(super) async fn prepare_schema(&self) -> Result<(), Error> {
        let mut lease = self.lease().await?;
        let key = self.schema.prepare(lease.client(), &MIGRATIONS, self.place_key()).await?;
        *self.place_key.write().unwrap_or_else(PoisonError::into_inner) = key;
        lease.give_back();
        Ok(())
    }

    pub(super) fn place_key(&self) -> PlaceKey {
        *self.place_key.read().unwrap_or_else(PoisonError::into_inner)
    }

    async fn query_once(
        &self,
        statement: &str,
        params: &[&(dyn ToSql + Sync)],
        in_transaction: bool,
    ) -> Result<Answer, Failed> {
        let mut lease = self.lease().await?;
        let answer = if in_transaction {
            lease.query_in_transaction(statement, params).await
        } else {
            lease.query(statement, params).await
        };
        let answer = answer.map_err(Failed::from);
        // After any other failure the connection may be unusable.
        let state = answer.as_ref().err().map(|failed| failed.state.as_ref());
        if state.is_none_or(|state| state.is_some_and(leaves_the_connection)) {
            lease.give_back();
        }
        answer
    }

    pub(super) async fn lease(&self) -> Result<Lease, Failed> {
        let object = self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => {
                Failed::from(error)
            }
            other => Error::store(other.to_string()).into(),
        });
        object.map(|object| Lease(Some(object)))
    }
}

/// A borrowed connection. If it is not returned, because its call failed or was dropped halfway, it
/// leaves the pool: the server may still be busy with that call, and the next call would wait for
/// it.
pub(super) struct Lease(Option<Object>);

impl Lease {
    pub(super) fn client(&mut self) -> &mut deadpool_postgres::ClientWrapper {
        self.0.as_mut().expect("a lease has its connection until it is given back")
    }

    async fn query(
        &mut self,
        statement: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Answer, tokio_postgres::Error> {
        let client = self.client();
        let statement = client.prepare_cached(statement).await?;
        Answer::of(client.query_raw(&statement, params.iter().copied()).await?).await
    }

    async fn query_in_transaction(
        &mut self,
        statement: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Answer, tokio_postgres::Error> {
        let transaction = self.client().build_transaction().isolation_level(IsolationLevel::ReadCommitted);
        let transaction = transaction.start().await?;
        let statement = transaction.prepare_cached(statement).await?;
        let answer = Answer::of(transaction.query_raw(&statement, params.iter().copied()).await?).await?;
        transaction.commit().await?;
        Ok(answer)
    }

    pub(super) fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}

/// What a statement returned.
pub(super) struct Answer {
    pub(super) rows: Vec<Row>,
    /// How many rows it returned or wrote.
    pub(super) affected: u64,
}

impl Answer {
    async fn of(stream: RowStream) -> Result<Self, tokio_postgres::Error> {
        let mut stream = pin!(stream);
        let mut rows = Vec::new();
        while let Some(row) = stream.try_next().await? {
            rows.push(row);
        }
        Ok(Self { rows, affected: stream.rows_affected().unwrap_or_default() })
    }
}

/// A failed statement, with the server's error code.
pub(super) struct Failed {
    pub(super) error: Error,
    pub(super) state: Option<SqlState>,
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, state: None }
    }
}

/// Keeps the state and the message of the server. Its detail and context may quote session data
/// (H5).
impl From<tokio_postgres::Error> for Failed {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(server) => Self {
                error: Error::store(format!(
                    "{} {}: {}",
                    server.severity(),
                    server.code().code(),
                    server.message()
                )),
                state: Some(server.code().clone()),
            },
            None => Self { error: Error::store(error), state: None },
        }
    }
}

/// Why the server rolled back, in which case a retry is safe.
enum Passing {
    /// A conflict with another transaction.
    RolledBack,
    NoSchema,
    ReadOnly,
    /// The function that stores a session needs another isolation level.
    Isolation,
}

impl Passing {
    fn of(state: &SqlState) -> Option<Self> {
        Some(match state.code() {
            "40001" | "40P01" => Self::RolledBack,
            "42P01" | "42883" | "3F000" => Self::NoSchema,
            "25006" => Self::ReadOnly,
            "TT001" => Self::Isolation,
            _ => return None,
        })
    }
}

/// Failures of a statement that leave its connection usable.
fn leaves_the_connection(state: &SqlState) -> bool {
    *state == SqlState::UNIQUE_VIOLATION || !matches!(Passing::of(state), None | Some(Passing::ReadOnly))
}
