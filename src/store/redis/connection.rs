//! Whom to ask, and what becomes of a command that fails.

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

/// The time budget of a call, unless another is chosen.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);

/// A connection whose other end has vanished without a word is given up after this.
const VANISHED: Duration = Duration::from_secs(10);

/// How often a command is tried, with pauses that grow up to this much: within the time budget, as connections die, slots of a
/// cluster move and masters change.
const ATTEMPTS: u32 = 12;
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// How often on a single server that says it is not the one: as it is, on a new connection, and once more if that was old.
const ATTEMPTS_ELSEWHERE: u32 = 3;

/// A connection that an application hands in. Implemented for `MultiplexedConnection`, `ConnectionManager` and
/// `ClusterConnection` of `redis` 1, and for nothing else.
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

/// Whom to ask, and how long to wait for the answer.
#[expect(missing_debug_implementations, reason = "private; a client's may show a password")]
pub struct Connection {
    servers: Servers,
    is_cluster: bool,
    timeout: Duration,
}

enum Servers {
    /// A single server, or whatever was handed in.
    One(Link),
    Cluster(Cluster),
}

/// What a server answered.
pub(super) struct Answer {
    pub(super) value: Value,
    /// Whether the command was sent before and no answer came: it may have been carried out then.
    pub(super) is_repeated: bool,
}

/// What a failure means for the command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is refused.
    Refused,
    /// It was not sent.
    NotConnected,
    /// It was not carried out here, but may be elsewhere, or soon.
    Elsewhere,
    /// Not known: no answer came.
    Unknown,
}

impl Connection {
    /// Connects to one server, and fails when it can not.
    pub(super) async fn to_server(client: Client, timeout: Duration) -> Result<Self, RedisError> {
        let link = Link::to(client, timeout);
        link.live().await?;
        Ok(Self { servers: Servers::One(link), is_cluster: false, timeout })
    }

    /// The same to a cluster of which these nodes are known.
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

    /// The answer to a command, within the time budget.
    ///
    /// A command whose answer was lost is sent again. All of ours may be: they read, compare before they write, or write the
    /// same once more; who must know it sees [`Answer::is_repeated`].
    pub(super) async fn ask(&self, command: &Cmd) -> Result<Answer, RedisError> {
        let mut used = None;
        let Ok(answer) = timeout(self.timeout, self.ask_until(command, &mut used)).await else {
            // Perhaps only late, but perhaps the other end has vanished.
            if let Some(live) = used {
                live.give_up();
            }
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        };
        answer
    }

    /// Sends a command whose answer is of no interest, and does not wait for it.
    pub(super) async fn post(&self, mut command: Cmd) {
        command.set_no_response(true);
        let _ = self.ask(&command).await;
    }

    async fn ask_until(&self, command: &Cmd, used: &mut Option<Arc<Attached>>) -> Result<Answer, RedisError> {
        let mut is_repeated = false;
        let mut redirect = None;
        for attempt in 1.. {
            let (answer, slots) = match &self.servers {
                Servers::One(link) => (send(link, false, command, used).await, None),
                Servers::Cluster(cluster) => {
                    let slots = cluster.slots().await?;
                    let (link, is_asking) = redirect.take().unwrap_or_else(|| (slots.node(command), false));
                    (send(&link, is_asking, command, used).await, Some((cluster, slots)))
                }
            };
            let (fate, error) = match answer {
                Ok(value) => return Ok(Answer { value, is_repeated }),
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
                    // While no node answers there is nothing better than what was known.
                    let _ = cluster.refresh(Some(&slots)).await;
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

/// The answer of one server. A connection that failed, or leads to the wrong server, is not used again.
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
        // A digest that the server does not know is no failure of the call.
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

/// What a failure means for the command, and whether the connection is of no more use.
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

/// A client for one server; `None` when it is no URL of one.
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
