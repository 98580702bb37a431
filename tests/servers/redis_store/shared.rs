//! Several nodes on one store: settings, caps, revocations, the schema (S7, S9, S10).

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};
use tower_tenure::{
    SessionStore,
    policy::Overflow,
    store::{CreateOutcome, RedisStore, SettingsStore},
};

use super::{KINDS, create, node, servers};
use crate::common::{
    servers::{Kind, Server},
    store::{REALM, all, cap, end, log_in, login, revocation, second, sid, write},
};

#[tokio::test(flavor = "multi_thread")]
async fn s7_settings_are_seen_by_another_node_which_is_woken() {
    for server in servers(KINDS, "settings") {
        let (here, there) = (node(&server).await, node(&server).await);
        for _ in 0..3 {
            let waiting = tokio::spawn({
                let there = there.clone();
                async move { there.settings_changed().await }
            });
            let subscribed = || {
                let ports = server.ports().into_iter();
                let count = |port| server.ask_at(port, &["PUBSUB", "NUMSUB", "tenure:settings"]);
                ports.map(count).any(|answer| answer.lines().last() == Some("1"))
            };
            crate::common::servers::until("it listens", subscribed);
            let version = here.load_settings(REALM).await.unwrap().map(|stored| stored.version);
            assert!(here.save_settings(REALM, "{}".into(), version).await.unwrap());
            timeout(Duration::from_secs(1), waiting).await.expect("woken within a second").unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s9_a_cap_holds_under_parallel_logins_on_two_nodes() {
    for server in servers(KINDS, "caps") {
        let nodes = [node(&server).await, node(&server).await];
        for (base, overflow) in [(0, Overflow::Refuse), (100, Overflow::Evict)] {
            nodes[0].revoke(revocation(second(base), None)).await.unwrap();
            for record in nodes[0].list(all()).await.unwrap() {
                nodes[0]
                    .end(record.sid, end(tower_tenure::EndReason::Revoked, second(base)), None)
                    .await
                    .unwrap();
            }
            let logins = (base + 1..base + 41).map(|number| {
                let node = nodes[number as usize % 2].clone();
                tokio::task::spawn_blocking(move || {
                    let runtime = tokio::runtime::Handle::current();
                    let create = |creation| runtime.block_on(node.create(creation)).unwrap();
                    log_in(login(number, second(number)), cap(3, overflow), second(number), create)
                })
            });
            let mut admitted = 0;
            for login in logins.collect::<Vec<_>>() {
                admitted += usize::from(login.await.unwrap().record.is_some());
            }
            assert_eq!(admitted, if overflow == Overflow::Refuse { 3 } else { 40 });
            assert_eq!(nodes[0].list(all()).await.unwrap().len(), 3);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_revoking_a_subject_on_one_node_misses_no_login_on_another() {
    for server in servers(KINDS, "revocations") {
        let (here, there) = (node(&server).await, node(&server).await);
        for round in 0..10_u32 {
            let logins = (0..10).map(|number| {
                let there = there.clone();
                tokio::spawn(async move {
                    there.create(login(round * 100 + number, second(round))).await.unwrap()
                })
            });
            let logins: Vec<_> = logins.collect();
            here.revoke(revocation(second(round), None)).await.unwrap();
            join_all(logins).await;
            // Interleaving: the logins arrived before the revocation but may be stored after it.
            // Each is covered or was not stored.
            let listed = there.list(all()).await.unwrap();
            assert!(listed.iter().all(|record| record.revoked_at.is_some()));
            assert!(matches!(
                there.create(login(round * 100 + 50, second(round))).await.unwrap(),
                CreateOutcome::SignedOutEverywhere
            ));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_under_eviction_and_flushes_no_session_outlives_a_revocation() {
    let flags = ["--maxmemory", "3mb", "--maxmemory-policy", "allkeys-random"];
    let Some(server) = Server::start_with(Kind::Redis, "eviction in Redis", &flags) else { return };
    let (here, there) = (node(&server).await, node(&server).await);
    let mut lived = 0;
    for round in 0..6_u32 {
        let logins = (0..200_u32).map(|number| {
            let (there, number) = (there.clone(), round * 1000 + number);
            tokio::spawn(async move {
                let mut creation = login(number, second(round * 10 + 1));
                creation.edits.set("ballast", tower_tenure::record::Json::from_text("x".repeat(2000)));
                // The server refuses it while it is full.
                matches!(there.create(creation).await, Ok(CreateOutcome::Created { .. }))
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
            lived += usize::from(here.load(*sid).await.unwrap().is_some());
        }
        here.revoke(revocation(second(round * 10 + 2), None)).await.unwrap();
        for sid in created {
            let found = there.load(sid).await.unwrap();
            let is_over = found.is_none_or(|found| found.ended.is_some() || found.revoked_at.is_some());
            assert!(is_over, "a session that was missed");
        }
    }
    assert!(lived > 50, "{lived} lived: nothing was tried");
}

#[tokio::test(flavor = "multi_thread")]
async fn s4_writes_in_flight_bring_nothing_back_after_a_flush() {
    for server in servers([Kind::Redis, Kind::Cluster], "FLUSHALL") {
        let store = node(&server).await;
        for number in 0..50 {
            create(&store, login(number, second(0))).await;
        }
        let writers = (0..50).map(|number| {
            let store = store.clone();
            tokio::spawn(async move {
                for round in 1..20 {
                    let seen = store.load(sid(number)).await.unwrap();
                    store.update(sid(number), write("key", second(round)), seen).await.unwrap();
                }
            })
        });
        let writers: Vec<_> = writers.collect();
        sleep(Duration::from_millis(5)).await; // until some are in flight
        for port in server.ports() {
            server.ask_at(port, &["FLUSHALL"]);
        }
        join_all(writers).await;
        for port in server.ports() {
            assert_eq!(server.ask_at(port, &["KEYS", "*"]), "");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s11_a_place_key_that_was_lost_is_put_back_by_a_node_that_has_it() {
    for server in servers(KINDS, "the place key") {
        let here = node(&server).await;
        let key = here.place_key();
        for port in server.ports() {
            server.ask_at(port, &["DEL", "tenure:meta"]);
        }
        assert!(here.time().await.unwrap().is_some());
        assert!(node(&server).await.place_key() == key);
        for port in server.ports() {
            server.ask_at(port, &["FLUSHALL"]);
        }
        let other = node(&server).await;
        assert!(other.place_key() != key);
        here.time().await.unwrap();
        assert!(other.place_key() == here.place_key(), "the first of a new store is taken by all");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s7_a_store_of_another_schema_is_refused() {
    for server in servers([Kind::Redis, Kind::Cluster], "schemas") {
        let connect = async || RedisStore::connect(&server.url()).await.map(drop);
        connect().await.unwrap();
        for (schema, expected) in [("1", "delete the keys"), ("3", "update this node")] {
            for port in server.ports() {
                server.ask_at(port, &["HSET", "tenure:meta", "schema", schema]);
            }
            let said = connect().await.unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
        }
        for port in server.ports() {
            server.ask_at(port, &["DEL", "tenure:meta"]);
            server.ask_at(port, &["ZADD", "tenure{7}:all", "1", "x"]);
        }
        let said = connect().await.unwrap_err().to_string();
        assert!(said.contains("schema 1") && said.contains("another prefix"), "{said}");
    }
}
