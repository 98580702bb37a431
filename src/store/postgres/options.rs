//! Options of a PostgreSQL store.

use std::{fmt, time::Duration};

use tokio_postgres::{Config, config::TargetSessionAttrs};

#[cfg(feature = "rustls")]
use super::ssl::Roots;
use super::{
    PostgresStore,
    connection::{self, Connections},
    dial::Dial,
    schema::Schema,
    ssl::{PostgresSslMode, Ssl},
};
use crate::{Error, ErrorKind};

/// Options of a [`PostgresStore`].
#[derive(Clone)]
#[must_use]
pub struct PostgresOptions {
    config: Config,
    ssl: Ssl,
    schema: Schema,
    pool_size: usize,
}

impl PostgresOptions {
    /// The server and database of a URL, `postgres://user:password@host:port/database`, with
    /// libpq's parameters.
    ///
    /// Of several hosts, the one that accepts writes is used, whatever `target_session_attrs` says.
    ///
    /// # TLS
    ///
    /// `sslmode` and `sslrootcert` mean what they mean for libpq; see [`PostgresSslMode`]. TLS
    /// needs the feature `rustls`.
    ///
    /// - `sslmode` is `disable`, `allow`, `prefer` (the default), `require`, `verify-ca` or
    ///   `verify-full`. Over a network that others use, take `verify-full`.
    /// - `sslrootcert` is a file with the trusted root certificates in PEM, or `system` for those
    ///   of the operating system, which implies `verify-full`. Where a certificate must be checked
    ///   and no file is named, the system's are trusted.
    /// - `sslnegotiation` and `channel_binding` are supported; client certificates, revocation
    ///   lists and Kerberos are not.
    ///
    /// The server's name must be in `subjectAltName` of its certificate. A self-signed certificate
    /// can be its own root if it says `CA:FALSE`.
    ///
    /// # Errors
    ///
    /// When it is not such a URL, or has a parameter that is not supported. The message does not
    /// repeat it, since it may contain a password.
    pub fn new(url: &str) -> Result<Self, Error> {
        let refuse = || {
            let message = "not a URL of a PostgreSQL database; write it like postgres://user:password@host:5432/database";
            Error::new(ErrorKind::Configuration, message)
        };
        if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
            return Err(refuse());
        }
        let (ssl, url) = Ssl::take_from(url)?;
        #[cfg(not(feature = "rustls"))]
        ssl.check()?;
        let mut config: Config = url.parse().map_err(|_| refuse())?;
        if config.get_hosts().is_empty() {
            return Err(refuse());
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
        Ok(Self { config, ssl, schema: Schema::named(Schema::DEFAULT)?, pool_size: 16 })
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

    /// Whether connections are encrypted, and what is checked of the server. It replaces `sslmode`
    /// of the URL.
    pub const fn with_ssl_mode(mut self, mode: PostgresSslMode) -> Self {
        self.ssl.mode = mode;
        self
    }

    /// Trusts these root certificates in PEM instead of the system's, for an authority of your own.
    /// They replace `sslrootcert` of the URL.
    ///
    /// # Errors
    ///
    /// When it is not one or more certificates in PEM.
    #[cfg(feature = "rustls")]
    pub fn with_root_certificate_pem(mut self, certificates: &[u8]) -> Result<Self, Error> {
        super::tls::parse(certificates)?;
        self.ssl.roots = Roots::Pem(certificates.to_vec());
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
    /// When the server cannot be reached, when its certificate is not trusted, or when it refuses
    /// the login. When the database is not in UTF-8. When the schema has a version that cannot be
    /// migrated.
    pub async fn connect(self) -> Result<PostgresStore, Error> {
        let dial = Dial::new(self.config, &self.ssl)?;
        let pool = connection::pool(dial.clone(), self.pool_size)?;
        PostgresStore::over(Connections::new(pool, self.schema), Some(dial)).await
    }
}

/// Omits what may be secret.
impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("hosts", &self.config.get_hosts())
            .field("ssl_mode", &self.ssl.mode)
            .field("schema", &self.schema)
            .field("pool_size", &self.pool_size)
            .finish_non_exhaustive()
    }
}
