//! The Redis store against real servers, alone and as a cluster: the contract, several nodes, one call per operation, keys that
//! vanish, and servers that go away.

#[path = "common/store.rs"]
#[expect(dead_code, reason = "shared")]
mod common;
#[path = "common/nodes.rs"]
mod nodes;
#[path = "common/servers.rs"]
mod servers;

use std::process::Command;

use common::{SUBJECT, all, capped, login, replacing, second, sid, touch, write};
use servers::{Kind, Server};
use tower_tenure::{
    EndReason, ErrorKind, SessionStore,
    policy::Overflow,
    record::End,
    store::{Created, RedisOptions, RedisStore, SettingsStore},
    testing::conformance,
};

/// Where one server answers, and where three do.
const KINDS: [Kind; 3] = [Kind::Redis, Kind::Valkey, Kind::Cluster];

async fn node(server: &Server) -> RedisStore {
    RedisStore::connect(&server.url()).await.unwrap()
}

async fn conforms(kind: Kind) {
    let Some(server) = Server::start(kind, &format!("conformance on {kind:?}")) else { return };
    let store = node(&server).await;
    conformance::check(store.clone()).await;
    conformance::check_settings(&store, &node(&server).await).await;

    for port in server.ports() {
        for key in server.ask_at(port, &["KEYS", "*"]).lines() {
            let time_to_live: i64 = server.ask_at(port, &["PTTL", key]).parse().unwrap();
            assert_eq!(time_to_live < 0, key.contains("{settings}"), "{key} lives for {time_to_live} ms");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s8_the_redis_store_passes_the_conformance_suite_and_every_key_has_a_time_to_live() {
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
    conformance::check(RedisStore::with_connection(connection)).await;
    let manager = RedisStore::with_connection(client.get_connection_manager().await.unwrap());
    conformance::check_settings(&manager, &manager.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s7_settings_are_seen_by_another_node_which_is_woken() {
    for kind in KINDS {
        let Some(server) = Server::start(kind, &format!("settings in {kind:?}")) else { continue };
        nodes::are_woken_by_new_settings(&node(&server).await, &node(&server).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s9_a_cap_holds_under_parallel_logins_on_two_nodes() {
    for kind in KINDS {
        let Some(server) = Server::start(kind, &format!("caps in {kind:?}")) else { continue };
        nodes::hold_a_cap(&[node(&server).await, node(&server).await]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_ending_a_subject_on_one_node_misses_no_login_on_another() {
    for kind in KINDS {
        let Some(server) = Server::start(kind, &format!("ending a subject in {kind:?}")) else { continue };
        nodes::end_a_subject(&node(&server).await, &node(&server).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s6_a_server_that_was_away_is_used_again_without_a_restart_of_ours() {
    for kind in KINDS {
        let Some(mut server) = Server::start(kind, &format!("outages of {kind:?}")) else { continue };
        nodes::outlive_their_server(&node(&server).await, &mut server).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s6_a_call_has_a_time_budget_of_our_own_also_while_the_client_connects_again() {
    let Some(mut server) = Server::start(Kind::Redis, "a server that lets in and says nothing") else {
        return;
    };
    let store = node(&server).await;
    server.kill();
    let _mute = std::net::TcpListener::bind(("127.0.0.1", server.port())).unwrap();
    for _ in 0..3 {
        let answer = tokio::time::timeout(std::time::Duration::from_secs(3), store.load(sid(1))).await;
        assert!(answer.expect("within two seconds and a bit").unwrap_err().is_store_failure());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s5_every_operation_is_one_call_also_after_a_script_flush() {
    let Some(server) = Server::start(Kind::Redis, "calls of Redis") else { return };
    let store = node(&server).await;
    let end = End::new(EndReason::SignedOut, second(1));
    let all_operations = async |round: u32| {
        store.create(login(round, second(0))).await.unwrap();
        let cap = capped(replacing(login(round + 1, second(0)), sid(round)), 1, Overflow::Evict);
        store.create(cap).await.unwrap();
        store.load(sid(round + 1)).await.unwrap().unwrap();
        store.update(sid(round + 1), write("a", second(1))).await.unwrap();
        store.update(sid(round + 1), touch(second(2))).await.unwrap();
        store.update(sid(round), touch(second(2))).await.unwrap();
        store.list(all(second(1))).await.unwrap();
        store.end(sid(round + 1), end).await.unwrap();
        store.end_subject(SUBJECT.into(), end, None).await.unwrap();
        store.sweep(second(0), 100).await.unwrap();
    };
    all_operations(10).await;

    server.ask(&["CONFIG", "RESETSTAT"]);
    all_operations(20).await;
    assert_eq!(scripts_run(&server), (10, 0), "one call each, by its digest");

    server.ask(&["SCRIPT", "FLUSH"]);
    server.ask(&["CONFIG", "RESETSTAT"]);
    all_operations(30).await;
    assert_eq!(scripts_run(&server), (10, 7), "seven scripts had to be sent again");
}

/// How many scripts were called by their digest, and how many were sent whole.
fn scripts_run(server: &Server) -> (u32, u32) {
    let stats = server.ask(&["INFO", "commandstats"]);
    let count = |name: &str| {
        let line = stats.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("calls=0,");
        line.trim_start_matches("calls=").split(',').next().unwrap().parse().unwrap()
    };
    (count("cmdstat_evalsha:"), count("cmdstat_eval:"))
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_a_session_whose_indexes_have_vanished_is_gone_rather_than_missed() {
    let Some(server) = Server::start(Kind::Redis, "indexes that vanish") else { return };
    let store = node(&server).await;
    let end = End::new(EndReason::Revoked, second(1));
    for (base, index) in [(0, "tenure{0}:u:alice"), (10, "tenure{0}:all")] {
        let (first, second_one) = (sid(base), sid(base + 1));
        store.create(login(base, second(0))).await.unwrap();
        store.create(login(base + 1, second(0))).await.unwrap();
        assert_eq!(server.ask(&["DEL", index]), "1");
        assert_eq!(store.load(first).await.unwrap(), None, "{index}");
        let updated = store.update(second_one, touch(second(1))).await.unwrap();
        assert_eq!(updated, tower_tenure::record::Updated::Gone(None), "{index}");
        assert_eq!(store.end_subject(SUBJECT.into(), end, None).await.unwrap(), []);
        store.sweep(second(400_000), 100).await.unwrap();
        let left = server.ask(&["KEYS", "tenure{0}:s:*"]);
        assert!(left.lines().count() <= 1, "{left}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_under_eviction_and_flushes_no_session_outlives_the_end_of_its_subject() {
    let flags = ["--maxmemory", "3mb", "--maxmemory-policy", "allkeys-random"];
    let Some(server) = Server::start_with(Kind::Redis, "eviction in Redis", &flags) else { return };
    let (here, there) = (node(&server).await, node(&server).await);
    let (mut lived, mut lost) = (0, 0);
    for round in 0..6_u32 {
        let logins = (0..200_u32).map(|number| {
            let (there, number) = (there.clone(), round * 1000 + number);
            tokio::spawn(async move {
                let mut creation = login(number, second(0));
                creation.edits.set("ballast", tower_tenure::record::Json::from_text("x".repeat(4000)));
                // Refused while the server is full.
                there.create(creation).await.is_ok()
            })
        });
        let logins: Vec<_> = logins.collect();
        if round % 2 == 1 {
            server.ask(&["FLUSHALL"]);
        }
        let mut created = Vec::new();
        for (number, login) in (round * 1000..).zip(logins) {
            if login.await.unwrap() {
                created.push(sid(number));
            }
        }
        for sid in &created {
            match here.load(*sid).await.unwrap() {
                Some(_) => lived += 1,
                None => lost += 1,
            }
        }
        let end = End::new(EndReason::Revoked, second(1));
        here.end_subject(SUBJECT.into(), end, None).await.unwrap();
        for sid in created {
            let found = there.load(sid).await.unwrap();
            assert!(found.is_none_or(|record| record.ended.is_some()), "a session that was missed");
        }
    }
    assert!(lived > 50 && lost > 50, "{lived} lived and {lost} were lost: nothing was tried");
}

#[tokio::test(flavor = "multi_thread")]
async fn s4_writes_in_flight_bring_nothing_back_after_a_flush() {
    for kind in [Kind::Redis, Kind::Cluster] {
        let Some(server) = Server::start(kind, &format!("FLUSHALL on {kind:?}")) else { continue };
        let store = node(&server).await;
        for number in 0..50 {
            store.create(login(number, second(0))).await.unwrap();
        }
        let writers = (0..50).map(|number| {
            let store = store.clone();
            tokio::spawn(async move {
                for round in 1..20 {
                    store.update(sid(number), write("key", second(round))).await.unwrap();
                    store.update(sid(number), touch(second(round))).await.unwrap();
                }
            })
        });
        let writers: Vec<_> = writers.collect();
        for port in server.ports() {
            server.ask_at(port, &["FLUSHALL"]);
        }
        futures_util::future::join_all(writers).await;
        for port in server.ports() {
            assert_eq!(server.ask_at(port, &["KEYS", "*"]), "", "{kind:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s9_a_login_that_crashed_in_the_queue_of_a_cluster_is_forgotten() {
    let Some(server) = Server::start(Kind::Cluster, "crashed logins") else { return };
    let store = node(&server).await;
    assert!(matches!(
        store.create(capped(login(1, second(0)), 1, Overflow::Refuse)).await,
        Ok(Created::Done { .. })
    ));
    let queue = server.ports().into_iter().find_map(|port| {
        let keys = server.ask_at(port, &["KEYS", "tenure:logins:*"]);
        (!keys.is_empty()).then_some((port, keys))
    });
    let (port, queue) = queue.expect("the login has queued up");
    store.end(sid(1), End::new(EndReason::SignedOut, second(1))).await.unwrap();
    // Another node queued up here and never came back.
    let ghost = format!("{}7,{}", "0".repeat(31), second(2).as_unix_millis());
    let queued_up = |seconds_ago: u64| {
        let now: u64 = server.ask_at(port, &["TIME"]).lines().next().unwrap().parse().unwrap();
        server.ask_at(port, &["ZADD", &queue, &((now - seconds_ago) * 1000).to_string(), &ghost]);
    };
    let at = |seconds| capped(login(seconds, second(seconds)), 1, Overflow::Refuse);
    queued_up(5);
    assert_eq!(store.create(at(5)).await.unwrap(), Created::Refused, "it may be on its way");
    queued_up(15);
    assert!(matches!(store.create(at(6)).await.unwrap(), Created::Done { .. }), "it will not come any more");
    assert_eq!(store.create(at(7)).await.unwrap(), Created::Refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_prefixes_share_nothing() {
    let Some(server) = Server::start(Kind::Redis, "prefixes") else { return };
    let store = node(&server).await;
    let other =
        RedisOptions::new(&server.url()).unwrap().with_prefix("other").unwrap().connect().await.unwrap();
    store.create(login(1, second(0))).await.unwrap();
    assert!(other.save_settings("{}".into(), None).await.unwrap());
    assert_eq!(other.load(sid(1)).await.unwrap(), None);
    assert_eq!(other.list(all(second(0))).await.unwrap(), []);
    assert_eq!(store.load_settings().await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn s7_tls_by_rustls_trusts_the_certificate_it_is_given_and_no_other() {
    let dir = std::env::temp_dir().join(format!("tenure-certificate-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| dir.join(name).display().to_string());
    let mut make = Command::new("openssl");
    make.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]);
    make.args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]);
    let output = make.args(["-keyout", &key, "-out", &certificate]).output();
    if output.is_err() {
        assert!(std::env::var_os("TENURE_ALL").is_none(), "openssl is missing, and nothing may be left out");
        eprintln!("left out: TLS (needs openssl)");
        return;
    }
    let port = servers::free_port().to_string();
    let flags = [
        "--tls-port",
        &port,
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-auth-clients",
        "no",
    ];
    let Some(_server) = Server::start_with(Kind::Redis, "TLS", &flags) else { return };
    let url = format!("rediss://127.0.0.1:{port}");
    let pem = std::fs::read(&certificate).unwrap();
    let options = RedisOptions::new(&url).unwrap();
    let store = options.clone().with_root_certificate_pem(&pem).unwrap().connect().await.unwrap();
    store.create(login(1, second(0))).await.unwrap();
    assert!(store.load(sid(1)).await.unwrap().is_some());
    assert!(options.clone().connect().await.unwrap_err().is_store_failure(), "nobody vouches for it");
    assert!(options.with_root_certificate_pem(b"nonsense").is_err());
    std::fs::remove_dir_all(&dir).unwrap();
}

#[tokio::test]
async fn what_is_no_server_is_refused_without_its_password() {
    for url in [
        "",
        "redis://",
        "http://me:hunter2@cache",
        "redis://me:hunter2@cache:port",
        "redis+cluster://me:hunter2@",
        "redis+cluster://me:hunter2@one:6379,two:port",
    ] {
        let error = RedisOptions::new(url).unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(error.kind() == ErrorKind::Configuration && !said.contains("hunter2"), "{url}: {said}");
    }
    for url in ["redis://me:hunter2@127.0.0.1:1/2", "redis+cluster://me:hunter2@127.0.0.1:1,127.0.0.1:2"] {
        let options = RedisOptions::new(url).unwrap();
        assert!(
            !format!("{options:?}").contains("hunter2") && format!("{options:?}").contains("127.0.0.1:1")
        );
        let error = options.connect().await.unwrap_err();
        assert!(error.is_store_failure() && !format!("{error:?}").contains("hunter2"), "{error:?}");
    }
    let options = RedisOptions::new("redis://127.0.0.1").unwrap();
    for prefix in ["", "a b", "{tag}", &"x".repeat(65)] {
        assert!(options.clone().with_prefix(prefix).is_err(), "{prefix}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h5_what_the_server_says_of_a_failure_quotes_no_data() {
    let Some(server) = Server::start(Kind::Redis, "failures of Redis") else { return };
    let store = node(&server).await;
    store.create(login(1, second(0))).await.unwrap();
    let key = server.ask(&["KEYS", "tenure{0}:s:*"]);
    server.ask(&["HSET", &key, "t", "hunter2"]);
    let error = store.load(sid(1)).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    let error = store.update(sid(1), write("hunter2", second(1))).await.unwrap_err();
    assert!(error.is_store_failure() && !format!("{error} {error:?}").contains("hunter2"), "{error:?}");
}
