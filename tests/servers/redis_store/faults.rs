//! Servers that fail, change their role, are full, or lack a permission (S6, D1, D2, D3, D5).

use std::{
    error::Error as _,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tower_tenure::{
    EndReason, Error, SessionStore,
    record::EndOutcome,
    store::{CreateOutcome, RedisOptions, RedisStore, Revocation, SettingsStore, Sweep},
};

use super::{KINDS, create, node, servers};
use crate::common::{
    servers::{Kind, Server, until},
    store::{REALM, all, end, login, revocation, second, sid, touch, write},
};

async fn in_time<T>(call: impl Future<Output = Result<T, Error>>) -> Option<T> {
    timeout(Duration::from_secs(3), call).await.expect("each call has a time budget").ok()
}

async fn works_again(store: &RedisStore, number: u32) {
    for _ in 0..40 {
        let known = in_time(store.create(login(number, second(0)))).await;
        if known.is_some() && in_time(store.load(sid(number))).await.flatten().is_some() {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("it does not work again");
}

#[tokio::test(flavor = "multi_thread")]
async fn s6_a_server_that_was_away_is_used_again_without_a_restart_of_ours() {
    for mut server in servers(KINDS, "outages") {
        let store = node(&server).await;
        create(&store, login(1, second(0))).await;

        server.freeze();
        let calls = (0..20).map(|_| in_time(store.load(sid(1))));
        assert!(join_all(calls).await.iter().all(Option::is_none));
        server.thaw();
        works_again(&store, 2).await;

        server.kill();
        assert!(in_time(store.load(sid(1))).await.is_none());
        server.restart();
        works_again(&store, 3).await;
        assert!(store.load(sid(1)).await.unwrap().is_some());

        server.replace();
        works_again(&store, 4).await;
        assert_eq!(store.load(sid(1)).await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s6_a_call_has_a_time_budget_also_while_it_connects_again() {
    let Some(mut server) = Server::start(Kind::Redis, "a server that lets in and says nothing") else {
        return;
    };
    let options = RedisOptions::new(&server.url()).unwrap().with_timeout(Duration::from_millis(300));
    let store = options.connect().await.unwrap();
    server.kill();
    let _mute = std::net::TcpListener::bind(("127.0.0.1", server.port())).unwrap();
    for _ in 0..3 {
        // This holds even if many calls wait for the same new connection.
        let calls = join_all((0..20).map(|_| store.load(sid(1))));
        let answers = timeout(Duration::from_secs(1), calls).await.expect("within the budget and a bit");
        assert!(answers.into_iter().all(|answer| answer.unwrap_err().is_store_failure()));
    }
}

/// Forwards each new connection to the current server, as a DNS name or a service address does.
/// Existing connections stay.
async fn address_of(target: Arc<AtomicU16>) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let target = target.load(Ordering::Relaxed);
            tokio::spawn(async move {
                let mut server = TcpStream::connect(("127.0.0.1", target)).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn d1_after_a_failover_the_first_write_finds_the_new_master() {
    for kind in [Kind::Redis, Kind::Valkey] {
        let servers = [(); 2].map(|()| Server::start(kind, &format!("failover on {kind:?}")));
        let [Some(old), Some(new)] = servers else { continue };
        let [old_port, new_port] = [&old, &new].map(|server| server.port().to_string());
        let target = Arc::new(AtomicU16::new(old.port()));
        let address = address_of(Arc::clone(&target)).await;
        let store = RedisStore::connect(&format!("redis://127.0.0.1:{address}")).await.unwrap();
        create(&store, login(1, second(0))).await;

        new.ask(&["REPLICAOF", "127.0.0.1", &old_port]);
        until("it has a copy", || new.ask(&["INFO", "replication"]).contains("master_link_status:up"));
        until("with the session", || new.ask(&["DBSIZE"]) == old.ask(&["DBSIZE"]));
        new.ask(&["REPLICAOF", "NO", "ONE"]);
        old.ask(&["REPLICAOF", "127.0.0.1", &new_port]);
        target.store(new.port(), Ordering::Relaxed);

        let updated = store.update(sid(1), write("a", second(1)), None).await.unwrap();
        assert!(matches!(updated, tower_tenure::record::UpdateOutcome::Applied(_)), "{updated:?}");
        create(&store, login(2, second(1))).await;
        assert!(new.ask(&["INFO", "commandstats"]).contains("cmdstat_evalsha"), "it was written there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d1_while_only_a_replica_answers_writes_fail_and_reads_work() {
    for kind in [Kind::Redis, Kind::Valkey] {
        let servers = [(); 2].map(|()| Server::start(kind, "a replica alone"));
        let [Some(server), Some(master)] = servers else { continue };
        let store = node(&server).await;
        create(&store, login(1, second(0))).await;
        server.ask(&["CONFIG", "SET", "repl-diskless-sync-delay", "0"]);
        master.ask(&["REPLICAOF", "127.0.0.1", &server.port().to_string()]);
        until("it has a copy", || master.ask(&["INFO", "replication"]).contains("master_link_status:up"));
        master.ask(&["REPLICAOF", "NO", "ONE"]);
        server.ask(&["REPLICAOF", "127.0.0.1", &master.port().to_string()]);
        let error = store.update(sid(1), write("a", second(1)), None).await.unwrap_err();
        assert!(error.source().unwrap().to_string().contains("READONLY"), "{error:?}");
        assert!(store.load(sid(1)).await.unwrap().is_some());
        server.ask(&["REPLICAOF", "NO", "ONE"]);
        store.update(sid(1), write("a", second(1)), None).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_on_a_full_server_whatever_ends_sessions_works() {
    for server in servers(KINDS, "full servers") {
        let store = node(&server).await;
        for number in 0..20 {
            create(&store, login(number, second(number))).await;
        }
        store.update(sid(5), touch(second(600)), None).await.unwrap();
        for port in server.ports() {
            server.ask_at(port, &["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
            server.ask_at(port, &["CONFIG", "SET", "maxmemory", "1"]);
        }
        let error = store.create(login(100, second(30))).await.unwrap_err();
        assert!(error.source().unwrap().to_string().contains("OOM"), "{error:?}");
        assert!(store.update(sid(1), write("a", second(30)), None).await.is_err());

        // Ends sessions without data, one after another.
        for number in 0..5 {
            let outcome = store.end(sid(number), end(EndReason::SignedOut, second(31)), None).await.unwrap();
            assert!(matches!(outcome, EndOutcome::Ended(_)), "{outcome:?}");
            let tombstone = store.load(sid(number)).await.unwrap().unwrap();
            assert_eq!(tombstone.ended.unwrap().reason, EndReason::SignedOut);
        }
        let realm = Revocation { subject: None, ..revocation(second(32), None) };
        store.revoke(realm).await.unwrap();
        assert_eq!(store.not_before(REALM).await.unwrap(), Some(second(32)));

        // A sweep ends the expired sessions, and reschedules the live ones.
        let now = second(24 * 3600 + 10);
        let swept = store.sweep(Sweep { realm: None, now, limit: 100 }).await.unwrap();
        let found: Vec<_> = swept.found.iter().map(|record| record.sid).collect();
        assert_eq!(found, (5..=10).map(sid).collect::<Vec<_>>());
        let requests = found[1..].iter().map(|sid| (*sid, end(EndReason::Idle, now)));
        store.end_many(requests.collect()).await.unwrap();
        store.reschedule(vec![(sid(5), second(24 * 3600 + 500))]).await.unwrap();
        let swept = store.sweep(Sweep { realm: None, now, limit: 100 }).await.unwrap();
        assert!(swept.found.is_empty() && swept.finished, "{swept:?}");

        store.revoke(revocation(second(40), None)).await.unwrap();
        assert!(store.list(all()).await.unwrap().iter().all(|record| record.revoked_at.is_some()));
        let outcome = store.update(sid(15), touch(second(41)), None).await.unwrap();
        assert!(matches!(outcome, tower_tenure::record::UpdateOutcome::Gone(Some(_))), "{outcome:?}");
        // A login that replaces a session frees more memory than it needs, but Redis cannot know
        // that before it runs the script.
        for port in server.ports() {
            server.ask_at(port, &["CONFIG", "SET", "maxmemory", "0"]);
        }
        create(&store, login(101, second(50))).await;
    }
}

fn limited(server: &Server, rights: &[&str]) -> String {
    for port in server.ports() {
        let rule = [&["ACL", "SETUSER", "app", "reset", "on", ">hunter2"], rights].concat();
        assert_eq!(server.ask_at(port, &rule), "OK");
    }
    server.url().replace("://", "://app:hunter2@")
}

#[tokio::test(flavor = "multi_thread")]
async fn d3_without_the_right_to_publish_settings_are_stored_all_the_same() {
    for server in servers(KINDS, "rights to publish") {
        for rights in [["~tenure*", "+@all", "resetchannels"], ["~tenure*", "+@all", "-publish"]] {
            for port in server.ports() {
                server.ask_at(port, &["FLUSHALL"]);
            }
            let store = RedisStore::connect(&limited(&server, &rights)).await.unwrap();
            assert!(store.save_settings(REALM, "{}".into(), None).await.unwrap());
            assert!(store.save_settings(REALM, "[]".into(), Some(1)).await.unwrap());
            let stored = store.load_settings(REALM).await.unwrap().unwrap();
            assert_eq!((stored.version, &*stored.text), (2, "[]"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d3_a_missing_right_is_named_and_nothing_is_stored() {
    for server in servers([Kind::Redis, Kind::Valkey], "missing rights") {
        drop(node(&server).await);
        for (rights, named) in [
            (["~tenure*", "+@all", "-hset"], "hset"),
            (["~tenure*", "+@all", "-evalsha"], "evalsha"),
            (["~tenure:*", "+@all", "+get"], "key"),
        ] {
            let url = limited(&server, &rights);
            let error = match RedisStore::connect(&url).await {
                Ok(store) => store.create(login(1, second(0))).await.unwrap_err(),
                Err(error) => error,
            };
            let said = error.source().unwrap().to_string();
            assert!(said.to_lowercase().contains(named), "{rights:?}: {said}");
            assert_eq!(node(&server).await.load(sid(1)).await.unwrap(), None);
        }
    }
}

/// Both runtimes of this test use this store.
static STORE: OnceLock<RedisStore> = OnceLock::new();

#[test]
fn d5_a_static_store_works_in_each_new_runtime_at_the_first_call() {
    for kind in KINDS {
        let Some(server) = Server::start(kind, &format!("several runtimes on {kind:?}")) else { continue };
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let store = runtime().block_on(node(&server));
        if kind == Kind::Redis {
            let _ = STORE.set(store.clone());
        }
        for number in 0..10 {
            runtime().block_on(async {
                create(&store, login(number, second(0))).await;
                assert!(store.load(sid(number)).await.unwrap().is_some());
            });
        }
        // And concurrently.
        std::thread::scope(|scope| {
            for number in 20..30 {
                let store = STORE.get().filter(|_| kind == Kind::Redis).unwrap_or(&store);
                scope.spawn(move || {
                    runtime().block_on(async {
                        let outcome = store.create(login(number, second(0))).await.unwrap();
                        assert!(matches!(outcome, CreateOutcome::Created { .. }), "{outcome:?}");
                    });
                });
            }
        });
    }
}

/// On a cluster the indexes are on other nodes than the session. Without an entry no sweep finds
/// the session, and its end would be no event.
#[tokio::test(flavor = "multi_thread")]
async fn o2_a_session_gets_into_the_indexes_of_a_cluster_although_their_node_failed_at_its_creation() {
    for server in servers([Kind::Cluster], "late entries") {
        let store = node(&server).await;
        let on_all = |arguments: &[&str]| {
            server.ports().into_iter().map(|port| server.ask_at(port, arguments)).collect::<Vec<_>>()
        };
        let (all_key, due_key) = (format!("tenure:all:{REALM}"), format!("tenure:due:{REALM}"));
        // The node that has the index refuses the entry: a text is no sorted set.
        for key in [&all_key, &due_key] {
            assert!(on_all(&["SET", key, "in the way"]).iter().any(|answer| answer == "OK"));
        }
        create(&store, login(1, second(0))).await;
        for key in [&all_key, &due_key] {
            on_all(&["DEL", key]);
        }
        let found = async || {
            let listed = store.list(all()).await.unwrap().len();
            let sweep = Sweep { realm: None, now: second(1_000_000_000), limit: 10 };
            (listed, store.sweep(sweep).await.unwrap().found.len())
        };
        let mut seen = (0, 0);
        for _ in 0..100 {
            seen = found().await;
            if seen == (1, 1) {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(seen, (1, 1), "listed, and found by a sweep");

        // The answer to the first attempt was lost before the session was entered.
        for key in [&all_key, &due_key] {
            on_all(&["DEL", key]);
        }
        assert!(matches!(store.create(login(1, second(0))).await.unwrap(), CreateOutcome::Exists));
        assert_eq!(found().await, (1, 1), "the second attempt enters it");
    }
}
