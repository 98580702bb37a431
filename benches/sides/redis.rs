//! Bare commands to Redis over a connection that all callers share, as the store's does.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use redis::{Client, aio::MultiplexedConnection, cmd};

use super::{Ask, Cpu, Request, value};
use crate::{SESSIONS, servers::Server};

#[derive(Clone)]
pub(crate) struct Bare {
    connection: MultiplexedConnection,
    next: Arc<AtomicU64>,
}

impl Bare {
    pub(crate) async fn connect(url: &str) -> Self {
        let client = Client::open(url).expect("a URL");
        let connection = client.get_multiplexed_async_connection().await.expect("it connects");
        Self { connection, next: Arc::default() }
    }
}

/// As long as the name of a place.
fn key(number: u64) -> String {
    format!("bare:{number:010}")
}

impl Ask for Bare {
    async fn ask(mut self, request: Request, number: u64) {
        let connection = &mut self.connection;
        if request == Request::Login {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            return cmd("SET")
                .arg(key(number))
                .arg(value(number))
                .exec_async(connection)
                .await
                .expect("it sets");
        }
        let key = key(number.wrapping_mul(7919) % SESSIONS);
        let stored: Vec<u8> = cmd("GET").arg(&key).query_async(connection).await.expect("it gets");
        assert_eq!(stored.len(), 250);
        if request == Request::Write {
            cmd("SET").arg(&key).arg(value(number)).exec_async(connection).await.expect("it sets");
        }
    }
}

/// Queries the server with its own client.
pub(crate) struct Meter<'a>(&'a Server);

impl<'a> Meter<'a> {
    pub(crate) const fn new(server: &'a Server) -> Self {
        Self(server)
    }
}

impl Cpu for Meter<'_> {
    async fn server(&self) -> f64 {
        let info = self.0.ask(&["INFO", "cpu"]);
        let seconds = |name: &str| -> f64 {
            let line = info.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.trim().parse().expect("Redis says what it has used")
        };
        1e6 * (seconds("used_cpu_user:") + seconds("used_cpu_sys:"))
    }

    async fn commands(&self) -> Vec<(String, f64)> {
        let info = self.0.ask(&["INFO", "commandstats"]);
        let of_line = |line: &str| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((name.to_uppercase(), rest.split(',').next()?.parse().ok()?))
        };
        info.lines().filter_map(of_line).collect()
    }
}
