//! The Redis store against real servers, single and as a cluster: the contract, several nodes,
//! round trips, bounded work, and servers that are full, fail, change their role or lack a
//! permission.

mod bounded;
mod faults;
mod killed;
mod options;
mod round_trips;
mod shared;

use tower_tenure::{
    SessionStore,
    store::{CreateOutcome, Creation, RedisOptions, RedisStore, SettingsStore},
    testing::conformance,
};

use crate::common::{
    servers::{Kind, Server},
    store::{REALM, all, login, second, sid},
};

/// The kinds with one server, and with three.
const KINDS: [Kind; 3] = [Kind::Redis, Kind::Valkey, Kind::Cluster];

async fn node(server: &Server) -> RedisStore {
    RedisStore::connect(&server.url()).await.unwrap()
}

/// Starts the servers of these kinds that are installed.
fn servers<const N: usize>(kinds: [Kind; N], test: &str) -> impl Iterator<Item = Server> {
    kinds.into_iter().filter_map(move |kind| Server::start(kind, &format!("{test} on {kind:?}")))
}

async fn create(store: &RedisStore, creation: Creation) {
    let outcome = store.create(creation).await.unwrap();
    assert!(matches!(outcome, CreateOutcome::Created { .. }), "{outcome:?}");
}

async fn conforms(kind: Kind) {
    let Some(server) = Server::start(kind, &format!("conformance on {kind:?}")) else { return };
    let store = node(&server).await;
    conformance::check(store.clone()).await;
    conformance::check_settings(&store, &node(&server).await).await;

    // A place or a tombstone expires even without a sweep. Shared keys stay.
    for port in server.ports() {
        for key in server.ask_at(port, &["--no-raw", "KEYS", "*"]).lines() {
            let key = key.split_once(") ").map_or(key, |(_, key)| key);
            let key = key.trim_matches('"').replace("\\\\", "\\").replace("\\\"", "\"");
            if !key.contains('\\') {
                let time_to_live: i64 = server.ask_at(port, &["PTTL", &key]).parse().unwrap();
                assert_eq!(time_to_live > 0, key.contains('{'), "{key} lives for {time_to_live} ms");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s8_the_redis_store_passes_the_conformance_suite_and_every_place_has_a_time_to_live() {
    conforms(Kind::Redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s8_it_passes_on_valkey() {
    conforms(Kind::Valkey).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s8_it_passes_on_a_cluster() {
    conforms(Kind::Cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s8_it_passes_over_a_connection_that_was_handed_in() {
    let Some(server) = Server::start(Kind::Redis, "a connection that is handed in") else { return };
    let client = redis::Client::open(server.url()).unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    conformance::check(RedisStore::with_connection(connection).await.unwrap()).await;
    let manager = client.get_connection_manager().await.unwrap();
    let manager = RedisStore::with_connection(manager).await.unwrap();
    conformance::check_settings(&manager, &manager.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s8_it_passes_over_a_cluster_connection_that_was_handed_in() {
    let Some(server) = Server::start(Kind::Cluster, "a cluster connection that is handed in") else { return };
    let url = format!("redis://127.0.0.1:{}", server.port());
    let client = redis::cluster::ClusterClient::new(vec![url]).unwrap();
    let connection = client.get_async_connection().await.unwrap();
    conformance::check(RedisStore::with_connection(connection).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_prefixes_share_nothing() {
    let Some(server) = Server::start(Kind::Redis, "prefixes") else { return };
    let store = node(&server).await;
    let other =
        RedisOptions::new(&server.url()).unwrap().with_prefix("other").unwrap().connect().await.unwrap();
    create(&store, login(1, second(0))).await;
    assert!(other.save_settings(REALM, "{}".into(), None).await.unwrap());
    assert_eq!(other.load(sid(1)).await.unwrap(), None);
    assert_eq!(other.list(all()).await.unwrap(), []);
    assert_eq!(store.load_settings(REALM).await.unwrap(), None);
    assert!(store.place_key() != other.place_key());
    assert!(node(&server).await.place_key() == store.place_key());
}
