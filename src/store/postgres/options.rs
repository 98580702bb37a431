//! Options of a PostgreSQL store.

use std::{fmt, time::Duration};

use tokio_postgres::{Config, config::TargetSessionAttrs};

use super::{
    PostgresStore,
    connection::{self, Connections},
    schema::Schema,
};
use crate::{Error, ErrorKind};

/// Options of a [`PostgresStore`].
#[derive(Clone)]
#[must_use]
pub struct PostgresOptions {
    config: Config,
    schema: Schema,
    pool_size: usize,
}

impl PostgresOptions {
    /// The server and database of a URL, `postgres://user:password@host:port/database`, with
    /// libpq's parameters.
    ///
    /// `sslmode=require` needs the feature `rustls`, and trusts the system's certificates. Of
    /// several hosts, the one that accepts writes is used, whatever `target_session_attrs` says.
    ///
    /// # Errors
    ///
    /// When it is not such a URL. The message does not repeat it, since it may contain a password.
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
        // Of several hosts, use the one that accepts writes; after a failover it is another.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        // A connection whose server has vanished is closed after this.
        config.keepalives_idle(Duration::from_secs(10)).tcp_user_timeout(Duration::from_secs(10));
        Ok(Self { config, schema: Schema::named(Schema::DEFAULT)?, pool_size: 16 })
    }

    /// The schema for tables and functions: `tower_tenure` unless set. A missing schema is created.
    ///
    /// # Errors
    ///
    /// When it is not 1 to 48 lower-case letters, digits and `_`.
    pub fn with_schema(mut self, name: &str) -> Result<Self, Error> {
        self.schema = Schema::named(name)?;
        Ok(self)
    }

    /// The maximum number of connections: 16 unless set, at least 1. One more listens for changed
    /// settings.
    pub fn with_pool_size(mut self, size: usize) -> Self {
        self.pool_size = size.max(1);
        self
    }

    /// Connects, and creates what is missing.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached or refuses the login, when the database is not in UTF-8,
    /// or when the schema has a version that cannot be migrated.
    pub async fn connect(self) -> Result<PostgresStore, Error> {
        let pool = connection::pool(&self.config, self.pool_size)?;
        PostgresStore::over(Connections::new(pool, self.schema), Some(self.config)).await
    }
}

/// Omits what may be secret.
impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("hosts", &self.config.get_hosts())
            .field("schema", &self.schema)
            .field("pool_size", &self.pool_size)
            .finish_non_exhaustive()
    }
}
