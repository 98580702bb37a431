//! Connections: the pool, TLS, and what becomes of one whose call was given up.

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime};
use tokio_postgres::{Client, Config, Row, config::SslMode, error::SqlState, types::ToSql};

use super::schema::Schema;
use crate::{Error, ErrorKind};

/// Shorter than the time budget of a call: a server that does not answer must not use it up alone.
const CONNECT: Duration = Duration::from_millis(1500);

/// How often a statement is tried anew that the server gave up for another's sake.
const TRIES: usize = 4;

/// A pool that an application hands in. Implemented for `Pool` of `deadpool-postgres` 0.14, and for nothing else; a later
/// version of it gets an implementation beside this one.
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

/// A pool of our own.
pub(super) fn pool(config: &Config, size: usize) -> Result<Pool, Error> {
    let settings = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = if config.get_ssl_mode() == SslMode::Require {
        over_tls(config, settings)?
    } else {
        Manager::from_config(config.clone(), tokio_postgres::NoTls, settings)
    };
    let pool = Pool::builder(manager)
        .max_size(size)
        .runtime(Runtime::Tokio1)
        .create_timeout(Some(CONNECT))
        .recycle_timeout(Some(CONNECT))
        .build();
    pool.map_err(|error| Error::new(ErrorKind::Configuration, error.to_string()))
}

#[cfg(feature = "rustls")]
fn over_tls(config: &Config, settings: ManagerConfig) -> Result<Manager, Error> {
    Ok(Manager::from_config(config.clone(), super::tls::connector()?, settings))
}

#[cfg(not(feature = "rustls"))]
fn over_tls(_: &Config, _: ManagerConfig) -> Result<Manager, Error> {
    Err(no_tls())
}

#[cfg(not(feature = "rustls"))]
pub(super) fn no_tls() -> Error {
    let message = "`sslmode=require` needs the feature `rustls`; enable it, or hand in a pool that has TLS of another kind";
    Error::new(ErrorKind::Configuration, message)
}

/// A pool whose connections are thrown away when a call is given up halfway, and which makes the schema where it is missing.
#[derive(Clone)]
pub(super) struct Connections {
    pub(super) pool: Pool,
    pub(super) schema: Schema,
}

impl Connections {
    /// Runs one statement, prepared once on each connection.
    pub(super) async fn query(
        &self,
        statement: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Failed> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.query_once(statement, params).await {
                Err(Failed { state: Some(state), .. }) if is_passing(&state) && tries < TRIES => {}
                // The server was replaced by an empty one.
                Err(Failed { state: Some(state), .. }) if is_missing(&state) && tries < TRIES => {
                    self.prepare_schema().await?;
                }
                answer => return answer,
            }
        }
    }

    /// Makes the tables where they are missing.
    pub(super) async fn prepare_schema(&self) -> Result<(), Error> {
        let mut lease = self.lease().await?;
        self.schema.prepare(lease.client()).await?;
        lease.give_back();
        Ok(())
    }

    async fn query_once(&self, statement: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Failed> {
        let lease = self.lease().await?;
        let object = lease.0.as_ref().ok_or_else(|| Error::store("a connection is missing"))?;
        let answer = async {
            let statement = object.prepare_cached(statement).await?;
            object.query(&statement, params).await
        };
        let answer = answer.await;
        lease.give_back();
        answer.map_err(Failed::from)
    }

    async fn lease(&self) -> Result<Lease, Error> {
        let object = self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => Failed::from(error).error,
            other => Error::store(other.to_string()),
        });
        object.map(|object| Lease(Some(object)))
    }
}

/// A connection on loan. One that is not given back, because its call was dropped halfway, leaves the pool: the server may still
/// be busy with it, and the next call would wait for that.
struct Lease(Option<Object>);

impl Lease {
    fn client(&mut self) -> &mut Client {
        self.0.as_mut().expect("a lease has its connection until it is given back")
    }

    fn give_back(mut self) {
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

/// A statement that failed, with what the server calls it.
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

/// Of what the server says, the state and the message are kept: details and context may quote session data (H5).
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

/// Given up by the server so that others can go on: deadlock, serialization.
fn is_passing(state: &SqlState) -> bool {
    [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE].contains(state)
}

fn is_missing(state: &SqlState) -> bool {
    [SqlState::UNDEFINED_TABLE, SqlState::UNDEFINED_FUNCTION, SqlState::INVALID_SCHEMA_NAME].contains(state)
}
