//! The other stores, each with two handles, as in two processes. They run in real time, so a seed
//! gives the same requests, but not always in the same order.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use tower_tenure::{
    Error, SessionStore,
    store::{PostgresStore, RedisStore, SqliteStore},
};

use super::{
    check::check,
    clients::Plan,
    faults::Faults,
    run::{Pace, run},
};
use crate::common::{
    backends::Backend,
    proxy::Proxy,
    search::cases,
    servers::{Kind, Server},
};

/// The number of calls of a run. Several runs share a store, each in its own realm.
const CALLS: usize = 500;

/// The faults of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Trouble {
    None,
    /// Calls fail or lose their answers, or nodes are killed.
    OfNodes,
    /// The server itself has faults.
    OfServer,
}

fn plan(seed: u64, trouble: Trouble) -> Plan {
    // Only the store and handlers take time.
    let plan = Plan { pauses: 2, ..Plan::of(seed, CALLS) };
    match trouble {
        Trouble::None => plan,
        Trouble::OfNodes if seed.is_multiple_of(2) => plan.with_faults(),
        Trouble::OfNodes => plan.with_kills(),
        Trouble::OfServer => Plan { bad_server: true, ..plan },
    }
}

async fn judge<S: SessionStore>(
    stores: [Arc<S>; 2],
    runs: u32,
    trouble: Trouble,
    is_calm: Option<&AtomicBool>,
) {
    let (mut calls, mut unavailable) = (0, 0);
    // Another realm for each kind of faults.
    let mut base = DefaultHasher::new();
    trouble.hash(&mut base);
    let base = base.finish() >> 16;
    for seed in 0..u64::from(runs) {
        let plan = plan(base / 2 * 2 + seed, trouble);
        let history = run(stores.clone(), &plan, Pace::Real(is_calm)).await;
        calls += history.calls.len();
        let lost = |call: &&super::record::Call| call.answer.outcome == super::record::Outcome::Unavailable;
        unavailable += history.calls.iter().filter(lost).count();
        check(&history).unwrap_or_else(|broken| panic!("{trouble:?}, seed {seed}: {plan:?}\n{broken}"));
    }
    println!("{trouble:?}: {calls} calls, {unavailable} of them not answered by the store");
}

#[tokio::main(flavor = "current_thread")]
async fn keeps_the_rules(url: &str, runs: u32, trouble: Trouble, is_calm: Option<&AtomicBool>) {
    if let Some(file) = url.strip_prefix("sqlite:") {
        let open = || SqliteStore::open(file);
        judge([Arc::new(open().await.unwrap()), Arc::new(open().await.unwrap())], runs, trouble, is_calm)
            .await;
    } else if url.starts_with("postgres:") {
        let connect = async || PostgresStore::connect(url).await;
        judge([insist(connect).await, insist(connect).await], runs, trouble, is_calm).await;
    } else {
        let connect = async || RedisStore::connect(url).await;
        judge([insist(connect).await, insist(connect).await], runs, trouble, is_calm).await;
    }
}

/// Connects to a server that may just have failed.
async fn insist<S>(connect: impl AsyncFn() -> Result<S, Error>) -> Arc<S> {
    for _ in 0..200 {
        if let Ok(store) = connect().await {
            return Arc::new(store);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Arc::new(connect().await.expect("a server that is up most of the time"))
}

fn on_server(kind: Kind) {
    let Some(server) = Server::start(kind, &format!("histories on {kind:?}")) else { return };
    keeps_the_rules(&server.url(), cases(2), Trouble::None, None);
    keeps_the_rules(&server.url(), cases(2), Trouble::OfNodes, None);
}

fn on_failing_server(kind: Kind) {
    // Acknowledged writes must be on disk before the server is killed. By default Redis may be two
    // seconds late.
    let flags: &[&str] = if kind == Kind::Postgres { &[] } else { &["--appendfsync", "always"] };
    let test = format!("histories on {kind:?} with faults");
    let Some(server) = Server::start_with(kind, &test, flags) else { return };
    // A cluster announces its own addresses, so no proxy is possible.
    let proxy = (kind != Kind::Cluster).then(|| Arc::new(Proxy::before(server.port())));
    let url = proxy.as_ref().map_or_else(|| server.url(), |proxy| server.url_at(proxy.port));
    let faults = Faults::begin(server, proxy, 1);
    keeps_the_rules(&url, cases(1), Trouble::OfServer, Some(&*faults.is_calm));
    let (_, count) = faults.stop();
    println!("{kind:?}: {count} faults");
}

#[test]
fn two_nodes_over_sqlite_keep_the_rules() {
    let backend = Backend::sqlite("histories");
    keeps_the_rules(&backend.url(), cases(2), Trouble::None, None);
    keeps_the_rules(&backend.url(), cases(2), Trouble::OfNodes, None);
}

macro_rules! on_each_server {
    ($($kind:ident: $healthy:ident, $failing:ident;)*) => {$(
        #[test]
        fn $healthy() {
            on_server(Kind::$kind);
        }

        #[test]
        fn $failing() {
            on_failing_server(Kind::$kind);
        }
    )*};
}

on_each_server! {
    Redis: two_nodes_over_redis_keep_the_rules, over_a_redis_that_fails_they_keep_them;
    Valkey: two_nodes_over_valkey_keep_the_rules, over_a_valkey_that_fails_they_keep_them;
    Cluster: two_nodes_over_a_cluster_keep_the_rules, over_a_cluster_that_fails_they_keep_them;
    Postgres: two_nodes_over_postgres_keep_the_rules, over_a_postgres_that_fails_they_keep_them;
}
