//! Options of a Redis store.

use std::{fmt, time::Duration};

use redis::{Client, Value};

use super::{
    PREFIX, RedisStore,
    cluster::Addresses,
    connection::{Connection, TIMEOUT, client},
    error::not_connected,
};
use crate::{Error, ErrorKind};

/// Options of a [`RedisStore`].
#[derive(Clone)]
#[must_use]
pub struct RedisOptions {
    scheme: &'static str,
    /// `user:password@`, or nothing.
    credentials: String,
    /// One server with its database, or the known nodes of a cluster.
    hosts: Vec<String>,
    is_cluster: bool,
    prefix: String,
    timeout: Duration,
    root: Option<Vec<u8>>,
}

impl RedisOptions {
    /// The server of a URL: `redis://user:password@host:port/database`.
    ///
    /// `rediss` is the same over TLS, which needs the feature `rustls` and trusts the system's
    /// certificates. The server's chain and name are always checked.
    ///
    /// A Unix socket is `unix:///path`, with `?db=0&user=…&pass=…`, all of them optional.
    ///
    /// A cluster is `redis+cluster://user:password@host:port,host:port` or
    /// `rediss+cluster://…`, with one or more nodes; the store discovers the others.
    ///
    /// # Errors
    ///
    /// When it is not such a URL. The message does not repeat it, since it may contain a password.
    pub fn new(url: &str) -> Result<Self, Error> {
        let refuse = |message: &'static str| Error::new(ErrorKind::Configuration, message);
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let (scheme, is_cluster) = match scheme {
            "redis" | "valkey" => ("redis", false),
            "rediss" | "valkeys" => ("rediss", false),
            "unix" | "redis+unix" | "valkey+unix" => ("unix", false),
            "redis+cluster" => ("redis", true),
            "rediss+cluster" => ("rediss", true),
            _ => return Err(refuse(NO_URL)),
        };
        if scheme == "rediss" && cfg!(not(feature = "rustls")) {
            return Err(refuse("`rediss` is Redis over TLS, which needs the feature `rustls`; enable it"));
        }
        // A socket's user and password are in the query, and its path may have an `@`.
        let at = if scheme == "unix" { None } else { rest.rfind('@') };
        let (credentials, hosts) = at.map_or(("", rest), |at| rest.split_at(at + 1));
        if hosts.contains('#') {
            let message = "a Redis URL has no fragment: `#insecure` would accept any server, so give the server's certificate instead, by RedisOptions::with_root_certificate_pem";
            return Err(refuse(message));
        }
        let hosts = if is_cluster { hosts.trim_end_matches('/').split(',').collect() } else { vec![hosts] };
        let options = Self {
            scheme,
            credentials: credentials.to_owned(),
            hosts: hosts.into_iter().map(ToOwned::to_owned).collect(),
            is_cluster,
            prefix: PREFIX.to_owned(),
            timeout: TIMEOUT,
            root: None,
        };
        if options.clients().is_some() { Ok(options) } else { Err(refuse(NO_URL)) }
    }

    /// A client for each host; `None` when one is not an address.
    fn clients(&self) -> Option<Vec<Client>> {
        self.urls().map(|url| client(&url, self.root.as_deref())).collect()
    }

    fn urls(&self) -> impl Iterator<Item = String> {
        self.hosts.iter().map(|host| format!("{}://{}{host}", self.scheme, self.credentials))
    }

    /// The prefix of all keys: `tenure` unless set. Applications that share a server need different
    /// prefixes.
    ///
    /// # Errors
    ///
    /// When it is not 1 to 64 letters, digits, `_`, `-`, `.` or `:`.
    pub fn with_prefix(mut self, prefix: &str) -> Result<Self, Error> {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
        if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(is_good) {
            let message = "a prefix is 1 to 64 letters, digits, `_`, `-`, `.` or `:`";
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        prefix.clone_into(&mut self.prefix);
        Ok(self)
    }

    /// The timeout of a call: 2 seconds unless set. The middleware has its own timeout; the shorter
    /// one applies.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Trusts this certificate in PEM instead of the system's, for a server or an authority of your
    /// own.
    ///
    /// # Errors
    ///
    /// When it is not a certificate in PEM.
    #[cfg(feature = "rustls")]
    pub fn with_root_certificate_pem(mut self, certificate: &[u8]) -> Result<Self, Error> {
        use rustls::pki_types::{CertificateDer, pem::PemObject};
        if CertificateDer::from_pem_slice(certificate).is_err() {
            let message = "not a certificate in PEM; it begins with -----BEGIN CERTIFICATE-----";
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        self.root = Some(certificate.to_vec());
        Ok(self)
    }

    /// Connects.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached, or refuses the login.
    pub async fn connect(self) -> Result<RedisStore, Error> {
        #[cfg(feature = "rustls")]
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // An application that wants another provider has installed it by now. Losing that race
            // is fine.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let clients = self.clients().ok_or_else(|| Error::new(ErrorKind::Configuration, NO_URL))?;
        let connection = if self.is_cluster {
            let Self { scheme, credentials, root, timeout, .. } = self;
            Connection::to_cluster(Addresses { scheme, credentials, root, timeout }, nodes(&clients)).await
        } else {
            Connection::to_server(clients[0].clone(), self.timeout).await
        };
        let connection = connection.map_err(|error| not_connected(&error))?;
        warn_of_evictions(&connection).await;
        RedisStore::over(connection, self.prefix, clients).await
    }
}

/// Omits what may be secret.
impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clients = self.clients().unwrap_or_default();
        f.debug_struct("RedisOptions")
            .field("nodes", &nodes(&clients))
            .field("is_cluster", &self.is_cluster)
            .field("prefix", &self.prefix)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// The addresses of cluster nodes, with a port, as the nodes write them.
pub(super) fn nodes(clients: &[Client]) -> Vec<String> {
    clients.iter().map(|client| client.get_connection_info().addr().to_string()).collect()
}

const NO_URL: &str = "not a URL of a Redis server; write it like redis://user:password@host:6379/0, \
    unix:///path/to/socket?db=0, or redis+cluster://user:password@host:6379,host:6379";

/// Warns, since a server that may evict keys logs users out at random.
async fn warn_of_evictions(connection: &Connection) {
    let answer = connection.ask(redis::cmd("INFO").arg("memory")).await;
    let evicts = answer.is_ok_and(|answer| {
        says(&answer.value, "maxmemory_policy:") && !says(&answer.value, "maxmemory_policy:noeviction")
    });
    if evicts {
        tracing::warn!(
            "the Redis server may evict sessions under memory pressure; set maxmemory-policy to noeviction"
        );
    }
}

fn says(answer: &Value, text: &str) -> bool {
    match answer {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).contains(text),
        Value::VerbatimString { text: said, .. } => said.contains(text),
        Value::Map(answers) => answers.iter().any(|(_, answer)| says(answer, text)),
        _ => false,
    }
}
