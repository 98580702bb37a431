//! A connection to one server, which reconnects.
//!
//! This replaces the driver's connection manager. That keeps a connection to a server that has
//! become a replica, and stops reconnecting after a failure that is not the network's. Here the
//! next call replaces a failed connection.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use redis::{
    AsyncConnectionConfig, Client, Cmd, RedisError, Value,
    aio::{ConnectionLike, ConnectionManager, MultiplexedConnection},
    cluster_async::ClusterConnection,
};
use tokio::{sync::Mutex, task::JoinHandle, time::timeout};

/// Shorter than the timeout of a call, so that there is time for another attempt.
const CONNECT: Duration = Duration::from_secs(1);

/// One server.
pub(super) struct Link {
    /// `None` while there is no working connection.
    live: ArcSwapOption<Attached>,
    /// How to make new connections; not for a connection of the application.
    client: Option<Client>,
    connect_within: Duration,
    /// Held while connecting, with the last failure.
    connecting: Mutex<Option<RedisError>>,
    /// How often connecting has failed in a row.
    failures: AtomicU64,
}

/// A connection, and the runtime that drives it.
pub(super) struct Attached {
    live: Live,
    is_given_up: AtomicBool,
    /// A task that never ends by itself: it is finished once its runtime is gone, and then so is
    /// the connection. Tests use one store in several runtimes, one after the other.
    runtime: JoinHandle<()>,
}

#[derive(Clone)]
pub(super) enum Live {
    One(MultiplexedConnection),
    Managed(ConnectionManager),
    Cluster(ClusterConnection),
}

impl Link {
    /// A link to the server of this client, not connected yet.
    pub(super) fn to(client: Client, timeout: Duration) -> Self {
        Self {
            client: Some(client),
            connect_within: CONNECT.min(timeout),
            ..Self::new(ArcSwapOption::empty())
        }
    }

    pub(super) fn handed_in(live: Live) -> Self {
        Self::new(ArcSwapOption::from_pointee(Attached::to_this_runtime(live)))
    }

    fn new(live: ArcSwapOption<Attached>) -> Self {
        Self {
            live,
            client: None,
            connect_within: CONNECT,
            connecting: Mutex::default(),
            failures: AtomicU64::new(0),
        }
    }

    pub(super) const fn can_reconnect(&self) -> bool {
        self.client.is_some()
    }

    /// The connection; connects if necessary.
    pub(super) async fn live(&self) -> Result<Arc<Attached>, RedisError> {
        match (self.live.load_full(), &self.client) {
            (Some(live), None) => Ok(live),
            (Some(live), _) if live.is_usable() => Ok(live),
            // Boxed: it is seldom, and would make each call's future large.
            (_, Some(client)) => Box::pin(self.replace(client)).await,
            (None, None) => Err(io::Error::from(io::ErrorKind::NotConnected).into()),
        }
    }

    /// One caller connects; the others wait and share the result.
    async fn replace(&self, client: &Client) -> Result<Arc<Attached>, RedisError> {
        let failures = self.failures.load(Ordering::Acquire);
        let mut last_failure = self.connecting.lock().await;
        if let Some(live) = self.live.load_full().filter(|live| live.is_usable()) {
            return Ok(live);
        }
        let has_failed = self.failures.load(Ordering::Acquire) != failures;
        if let Some(error) = last_failure.as_ref().filter(|_| has_failed) {
            return Err(error.clone());
        }
        match self.connect(client).await {
            Ok(live) => {
                let live = Arc::new(Attached::to_this_runtime(Live::One(live)));
                self.live.store(Some(Arc::clone(&live)));
                Ok(live)
            }
            Err(error) => {
                *last_failure = Some(error.clone());
                self.failures.fetch_add(1, Ordering::Release);
                Err(error)
            }
        }
    }

    async fn connect(&self, client: &Client) -> Result<MultiplexedConnection, RedisError> {
        // The call has its own timeout. With a short queue, callers would wait for each other.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(4096);
        let connect = client.get_multiplexed_async_connection_with_config(&config);
        let late = || Err(io::Error::from(io::ErrorKind::TimedOut).into());
        timeout(self.connect_within, connect).await.unwrap_or_else(|_| late())
    }
}

impl Attached {
    fn to_this_runtime(live: Live) -> Self {
        Self { live, is_given_up: AtomicBool::new(false), runtime: tokio::spawn(std::future::pending()) }
    }

    fn is_usable(&self) -> bool {
        !self.is_given_up.load(Ordering::Relaxed) && !self.runtime.is_finished()
    }

    /// Makes the next call reconnect. Calls in flight may still be answered.
    pub(super) fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Relaxed);
    }

    pub(super) async fn send(&self, command: &Cmd) -> Result<Value, RedisError> {
        match self.live.clone() {
            Live::One(mut connection) => connection.send_packed_command(command).await,
            Live::Managed(mut connection) => connection.send_packed_command(command).await,
            Live::Cluster(mut connection) => connection.req_packed_command(command).await,
        }
    }

    /// A command for a node that is importing the slot (`ASKING`).
    pub(super) async fn send_asking(&self, command: &Cmd) -> Result<Value, RedisError> {
        let Live::One(mut connection) = self.live.clone() else { return self.send(command).await };
        let mut pipeline = redis::pipe();
        pipeline.cmd("ASKING").add_command(command.clone());
        let answers = connection.send_packed_commands(&pipeline, 1, 1).await?;
        Ok(answers.into_iter().next().unwrap_or(Value::Nil))
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.runtime.abort();
    }
}
