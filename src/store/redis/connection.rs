//! Sends commands, and handles their failures.

use std::{io, sync::Arc, time::Duration};

use redis::{
    Client, Cmd, ErrorKind, IntoConnectionInfo, RedisError, ServerErrorKind, Value,
    aio::{ConnectionManager, MultiplexedConnection},
    cluster_async::ClusterConnection,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use tokio::time::{sleep, timeout};

use super::{
    cluster::{Addresses, Cluster},
    link::{Attached, Link, Live},
};

/// The timeout of a call unless configured.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);

/// A connection whose server has vanished is closed after this.
const VANISHED: Duration = Duration::from_secs(10);

/// How often a command is attempted within the timeout, with pauses that grow up to this:
/// connections fail, slots move and masters change.
const ATTEMPTS: u32 = 12;
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// How often a command is attempted on a single server that refuses writes: on the current
/// connection, on a new one, and once more.
const ATTEMPTS_ELSEWHERE: u32 = 3;

/// A connection of the application. Implemented for `MultiplexedConnection`, `ConnectionManager`
/// and `ClusterConnection` of `redis` 1 only.
pub trait RedisConnection: sealed::Sealed {}

impl RedisConnection for MultiplexedConnection {}
impl RedisConnection for ConnectionManager {}
impl RedisConnection for ClusterConnection {}

pub(super) mod sealed {
    use super::{ClusterConnection, Connection, ConnectionManager, Live, MultiplexedConnection};

    pub trait Sealed: Send + Sync + 'static {
        #[doc(hidden)]
        fn into_connection(self) -> Connection;
    }

    impl Sealed for MultiplexedConnection {
        fn into_connection(self) -> Connection {
            Connection::handed_in(Live::One(self))
        }
    }

    impl Sealed for ConnectionManager {
        fn into_connection(self) -> Connection {
            Connection::handed_in(Live::Managed(self))
        }
    }

    impl Sealed for ClusterConnection {
        fn into_connection(self) -> Connection {
            Connection::handed_in(Live::Cluster(self))
        }
    }
}

/// Where to send commands, and the timeout.
#[expect(missing_debug_implementations, reason = "private; a client's may show a password")]
pub struct Connection {
    servers: Servers,
    is_cluster: bool,
    timeout: Duration,
}

enum Servers {
    /// A single server, or a connection of the application.
    One(Link),
    Cluster(Cluster),
}

/// A reply of a server.
pub(super) struct ServerReply {
    pub(super) value: Value,
    /// Whether the command was sent before without a reply, so it may have run twice.
    pub(super) is_repeated: bool,
}

/// What a failure means for the command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The server refused it.
    Refused,
    /// It was not sent.
    NotConnected,
    /// It did not run here, but may run on another node or later.
    Elsewhere,
    /// Unknown: no reply arrived.
    Unknown,
}

impl Connection {
    /// Connects to one server, and fails when it cannot.
    pub(super) async fn to_server(client: Client, timeout: Duration) -> Result<Self, RedisError> {
        let link = Link::to(client, timeout);
        link.live().await?;
        Ok(Self { servers: Servers::One(link), is_cluster: false, timeout })
    }

    /// The same for a cluster, through these nodes.
    pub(super) async fn to_cluster(addresses: Addresses, nodes: Vec<String>) -> Result<Self, RedisError> {
        let timeout = addresses.timeout;
        let cluster = Cluster::connect(addresses, nodes).await?;
        Ok(Self { servers: Servers::Cluster(cluster), is_cluster: true, timeout })
    }

    fn handed_in(live: Live) -> Self {
        let is_cluster = matches!(live, Live::Cluster(_));
        Self { servers: Servers::One(Link::handed_in(live)), is_cluster, timeout: TIMEOUT }
    }

    pub(super) const fn is_cluster(&self) -> bool {
        self.is_cluster
    }

    /// Sends a command, and returns the reply within the timeout.
    ///
    /// A command whose reply was lost is sent again. That is safe for all commands of this store:
    /// they read, compare before they write, or write the same value again. A caller that must know
    /// checks [`ServerReply::is_repeated`].
    pub(super) async fn ask(&self, command: &Cmd) -> Result<ServerReply, RedisError> {
        let mut used = None;
        let Ok(answer) = timeout(self.timeout, self.ask_until(command, &mut used)).await else {
            // It may only be late, but the server may also have vanished.
            if let Some(live) = used {
                live.give_up();
            }
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        };
        answer
    }

    /// Sends a command without waiting for its reply.
    pub(super) async fn post(&self, mut command: Cmd) {
        command.set_no_response(true);
        let _ = self.ask(&command).await;
    }

    async fn ask_until(
        &self,
        command: &Cmd,
        used: &mut Option<Arc<Attached>>,
    ) -> Result<ServerReply, RedisError> {
        let mut is_repeated = false;
        let mut redirect = None;
        for attempt in 1.. {
            let (answer, slots) = match &self.servers {
                Servers::One(link) => (send(link, false, command, used).await, None),
                Servers::Cluster(cluster) => {
                    let slots = Box::pin(cluster.slots()).await?;
                    let (link, is_asking) = redirect.take().unwrap_or_else(|| (slots.node(command), false));
                    (send(&link, is_asking, command, used).await, Some((cluster, slots)))
                }
            };
            let (fate, error) = match answer {
                Ok(value) => return Ok(ServerReply { value, is_repeated }),
                Err(failure) => failure,
            };
            is_repeated |= fate == Fate::Unknown;
            if attempt >= self.most_attempts(fate) {
                return Err(error);
            }
            if let Some((cluster, slots)) = slots {
                redirect =
                    error.redirect_node().and_then(|(node, _)| Some((cluster.link(node)?, is_ask(&error))));
                if !is_ask(&error) {
                    // While no node answers, keep the known slots.
                    let _ = Box::pin(cluster.refresh(Some(&slots))).await;
                }
            }
            if attempt > 1 && redirect.is_none() {
                let pause = Duration::from_millis(2) * 2_u32.saturating_pow(attempt);
                sleep(pause.min(LONGEST_PAUSE)).await;
            }
        }
        unreachable!("the loop returns at its last attempt")
    }

    fn most_attempts(&self, fate: Fate) -> u32 {
        match (fate, &self.servers) {
            (Fate::Refused, _) | (Fate::NotConnected, Servers::One(_)) => 1,
            (_, Servers::Cluster(_)) => ATTEMPTS,
            (Fate::Unknown, Servers::One(link)) if link.can_reconnect() => ATTEMPTS,
            (Fate::Unknown | Fate::Elsewhere, Servers::One(_)) => ATTEMPTS_ELSEWHERE,
        }
    }
}

/// The reply of one server. A connection that failed, or leads to the wrong server, is not used
/// again.
async fn send(
    link: &Link,
    is_asking: bool,
    command: &Cmd,
    used: &mut Option<Arc<Attached>>,
) -> Result<Value, (Fate, RedisError)> {
    let live = link.live().await.map_err(|error| (Fate::NotConnected, error))?;
    let live = used.insert(live);
    let answer = if is_asking { live.send_asking(command).await } else { live.send(command).await };
    let error = match answer {
        // An unknown script digest is not a failure of the call.
        Ok(Value::ServerError(error)) if error.kind() != Some(ServerErrorKind::NoScript) => error.into(),
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let (fate, is_lost) = fate(&error);
    if is_lost {
        live.give_up();
    }
    Err((fate, error))
}

/// What a failure means for the command, and whether the connection is unusable.
fn fate(error: &RedisError) -> (Fate, bool) {
    use ServerErrorKind as Said;
    match error.kind() {
        ErrorKind::Server(Said::Moved | Said::Ask | Said::TryAgain | Said::ClusterDown)
        | ErrorKind::ClusterConnectionNotFound => (Fate::Elsewhere, false),
        // A new connection to the same address may lead to another server.
        ErrorKind::Server(Said::MasterDown | Said::BusyLoading | Said::ReadOnly) => (Fate::Elsewhere, true),
        ErrorKind::Server(_) | ErrorKind::Extension => (Fate::Refused, false),
        _ => (Fate::Unknown, true),
    }
}

fn is_ask(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::Ask)
}

/// A client for one server; `None` for an invalid URL.
pub(super) fn client(url: &str, root: Option<&[u8]>) -> Option<Client> {
    let info = url.into_connection_info().ok()?.set_tcp_settings(tcp_settings());
    match root {
        None => Client::open(info).ok(),
        #[cfg(feature = "rustls")]
        Some(root) => {
            let certificates = redis::TlsCertificates { client_tls: None, root_cert: Some(root.to_vec()) };
            Client::build_with_tls(info, certificates).ok()
        }
        #[cfg(not(feature = "rustls"))]
        Some(_) => None,
    }
}

fn tcp_settings() -> TcpSettings {
    let keepalive = TcpKeepalive::new().with_time(VANISHED / 2).with_interval(VANISHED / 4);
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(VANISHED);
    settings
}
