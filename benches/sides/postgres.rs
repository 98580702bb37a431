//! Bare statements to PostgreSQL, prepared, over a pool as large as the store's.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use tokio_postgres::NoTls;

use super::{Ask, Cpu, Request, on_cpu, value};
use crate::{SESSIONS, servers::Server};

/// The same as the store's, unless another is chosen.
const CONNECTIONS: usize = 16;

const SELECT: &str = "SELECT record FROM bare WHERE key = $1";
const UPDATE: &str = "UPDATE bare SET record = $2 WHERE key = $1";
const INSERT: &str = "INSERT INTO bare (key, record) VALUES ($1, $2)";

#[derive(Clone)]
pub(crate) struct Bare {
    pool: Pool,
    next: Arc<AtomicU64>,
}

impl Bare {
    pub(crate) async fn connect(url: &str) -> Self {
        let settings = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(url.parse().expect("a URL"), NoTls, settings);
        let pool = Pool::builder(manager).max_size(CONNECTIONS).build().expect("a pool");
        let table = "CREATE TABLE bare (key bytea PRIMARY KEY, record bytea NOT NULL) WITH (fillfactor = 85)";
        pool.get().await.expect("it connects").batch_execute(table).await.expect("a table");
        Self { pool, next: Arc::default() }
    }
}

/// As long as a session's id.
fn key(number: u64) -> Vec<u8> {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    [mixed.to_be_bytes(), number.to_be_bytes()].concat()
}

impl Ask for Bare {
    async fn ask(self, request: Request, number: u64) {
        let client = self.pool.get().await.expect("a connection");
        if request == Request::Login {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let insert = client.prepare_cached(INSERT).await.expect("a statement");
            client.execute(&insert, &[&key(number), &value(number)]).await.expect("it inserts");
            return;
        }
        let key = key(number.wrapping_mul(7919) % SESSIONS);
        let select = client.prepare_cached(SELECT).await.expect("a statement");
        let row = client.query_one(&select, &[&key]).await.expect("it selects");
        assert_eq!(row.get::<_, &[u8]>(0).len(), 250);
        if request == Request::Write {
            let update = client.prepare_cached(UPDATE).await.expect("a statement");
            client.execute(&update, &[&key, &value(number)]).await.expect("it updates");
        }
    }
}

/// Reads the CPU time of the server's processes.
pub(crate) struct Meter<'a>(&'a Server);

impl<'a> Meter<'a> {
    pub(crate) const fn new(server: &'a Server) -> Self {
        Self(server)
    }
}

impl Cpu for Meter<'_> {
    /// Only the processes that serve a connection. Background processes serve both sides.
    async fn server(&self) -> f64 {
        let backends = "select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()";
        let backends = self.0.ask(&[backends]);
        backends.lines().filter_map(|pid| pid.parse().ok()).map(on_cpu).sum()
    }

    async fn commands(&self) -> Vec<(String, f64)> {
        Vec::new()
    }
}
