//! Connections, to one server or to a cluster, and how they come back.

use std::{io, time::Duration};

use arc_swap::ArcSwap;
use redis::{
    Client, Cmd, ErrorKind, IntoConnectionInfo, ProtocolVersion, RedisError, Value,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use tokio::time::timeout;

/// The time budget of a call, unless another is chosen.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);

/// Shorter than the time budget of a call, so that there is time for another try.
const CONNECT: Duration = Duration::from_secs(1);

/// A connection whose other end has vanished without a word is given up after this.
const VANISHED: Duration = Duration::from_secs(10);

/// A connection that an application hands in. Implemented for `MultiplexedConnection`, `ConnectionManager` and `ClusterConnection`
/// of `redis` 1, and for nothing else.
pub trait RedisConnection: sealed::Sealed {}

impl RedisConnection for MultiplexedConnection {}
impl RedisConnection for ConnectionManager {}
impl RedisConnection for ClusterConnection {}

pub(super) mod sealed {
    use super::{ClusterConnection, Connection, ConnectionManager, Kind, MultiplexedConnection, TIMEOUT};

    pub trait Sealed: Send + Sync + 'static {
        #[doc(hidden)]
        fn into_connection(self) -> Connection;
    }

    impl Sealed for MultiplexedConnection {
        fn into_connection(self) -> Connection {
            Connection::new(Kind::One(self), TIMEOUT)
        }
    }

    impl Sealed for ConnectionManager {
        fn into_connection(self) -> Connection {
            Connection::new(Kind::Managed(self), TIMEOUT)
        }
    }

    impl Sealed for ClusterConnection {
        fn into_connection(self) -> Connection {
            Connection::new(Kind::Cluster(self), TIMEOUT)
        }
    }
}

/// Whom to ask, and how long to wait for the answer.
#[expect(missing_debug_implementations, reason = "private; a client's may show a password")]
pub struct Connection {
    kind: Kind,
    timeout: Duration,
}

pub(super) enum Kind {
    One(MultiplexedConnection),
    Managed(ConnectionManager),
    Own(Own),
    Cluster(ClusterConnection),
}

impl Connection {
    pub(super) const fn new(kind: Kind, timeout: Duration) -> Self {
        Self { kind, timeout }
    }

    pub(super) const fn is_cluster(&self) -> bool {
        matches!(self.kind, Kind::Cluster(_))
    }

    /// Clients have timeouts of their own for an answer, but not for all that they do before they ask, such as to connect again.
    pub(super) async fn ask(&self, command: &Cmd) -> Result<Value, RedisError> {
        let answer = async {
            match &self.kind {
                Kind::One(connection) => connection.clone().req_packed_command(command).await,
                Kind::Managed(connection) => connection.clone().req_packed_command(command).await,
                Kind::Own(connection) => connection.ask(command).await,
                Kind::Cluster(connection) => connection.clone().req_packed_command(command).await,
            }
        };
        let late = || Err(io::Error::from(io::ErrorKind::TimedOut).into());
        timeout(self.timeout, answer).await.unwrap_or_else(|_| late()).and_then(Value::extract_error)
    }
}

/// A connection of our own to one server.
pub(super) struct Own {
    manager: ArcSwap<ConnectionManager>,
    client: Client,
    timeout: Duration,
}

impl Own {
    /// Connects, and fails when it can not.
    pub(super) async fn connect(client: Client, timeout: Duration) -> Result<Self, RedisError> {
        let manager = ConnectionManager::new_with_config(client.clone(), settings(timeout)).await?;
        Ok(Self { manager: ArcSwap::from_pointee(manager), client, timeout })
    }

    async fn ask(&self, command: &Cmd) -> Result<Value, RedisError> {
        let manager = self.manager.load_full();
        let answer = ConnectionManager::clone(&manager).req_packed_command(command).await;
        if answer.as_ref().is_err_and(is_beyond_its_manager) {
            let fresh = ConnectionManager::new_lazy_with_config(self.client.clone(), settings(self.timeout))?;
            self.manager.compare_and_swap(&manager, fresh.into());
        }
        answer
    }
}

/// A manager connects again after failures of input and output only, and would repeat any other for ever: a password that was
/// wrong for a while, an answer that was no Redis.
fn is_beyond_its_manager(error: &RedisError) -> bool {
    !matches!(error.kind(), ErrorKind::Io | ErrorKind::Server(_) | ErrorKind::Extension)
}

fn settings(timeout: Duration) -> ConnectionManagerConfig {
    ConnectionManagerConfig::new()
        .set_connection_timeout(Some(CONNECT.min(timeout)))
        .set_response_timeout(Some(timeout))
        .set_number_of_retries(2)
        .set_min_delay(Duration::from_millis(50))
        .set_max_delay(Duration::from_millis(250))
        .set_pipeline_buffer_size(1024)
}

/// A client for one server; `None` when it is no URL of one.
pub(super) fn client(url: &str, root: Option<&[u8]>) -> Option<Client> {
    let info = url.into_connection_info().ok()?;
    // With the third version of the protocol a lost connection is noticed, and made anew, before it is needed.
    let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let info = info.set_redis_settings(redis).set_tcp_settings(patience());
    match root {
        None => Client::open(info).ok(),
        #[cfg(feature = "rustls")]
        Some(root) => Client::build_with_tls(info, certificates(root)).ok(),
        #[cfg(not(feature = "rustls"))]
        Some(_) => None,
    }
}

/// A client for a cluster of which these nodes are known; `None` when one is no URL.
pub(super) fn cluster(urls: &[String], root: Option<&[u8]>, timeout: Duration) -> Option<ClusterClient> {
    let builder = ClusterClient::builder(urls.iter().map(String::as_str))
        .connection_timeout(CONNECT.min(timeout))
        .response_timeout(timeout)
        .retries(4)
        .min_retry_wait(20)
        .max_retry_wait(200)
        .tcp_settings(patience());
    #[cfg(feature = "rustls")]
    let builder = match root {
        Some(root) => builder.certs(certificates(root)),
        None => builder,
    };
    #[cfg(not(feature = "rustls"))]
    let _ = root;
    builder.build().ok()
}

#[cfg(feature = "rustls")]
fn certificates(root: &[u8]) -> redis::TlsCertificates {
    redis::TlsCertificates { client_tls: None, root_cert: Some(root.to_vec()) }
}

fn patience() -> TcpSettings {
    let keepalive = TcpKeepalive::new().with_time(VANISHED / 2).with_interval(VANISHED / 4);
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(VANISHED);
    settings
}
