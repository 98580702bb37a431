//! Writes: compare-and-set, atomic, and never applied twice.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use tower_tenure::{
    EndReason, SessionStore,
    record::{Change, EndOutcome, Lifetimes, Lowering, TimingChange, UpdateOutcome},
    store::{CreateOutcome, Sweep},
};

use super::material::{DAY, User, admin, node, own_pool, small_pool, start};
use crate::common::{
    proxy::{Proxy, Weather},
    servers,
    store::{REALM, end, second, touch, write},
};

/// More concurrent writers than attempts per write. All succeed.
#[tokio::test(flavor = "multi_thread")]
async fn s3_a_hundred_writers_of_one_session_all_succeed() {
    let Some(server) = start("many writers in PostgreSQL") else { return };
    drop(node(&server).await);
    server.ask(&["ALTER DATABASE postgres SET default_transaction_isolation = 'serializable'"]);
    let handed_in = tower_tenure::store::PostgresStore::with_pool(own_pool(&server), "tower_tenure");
    for (name, store) in [("ours", node(&server).await), ("handed in", handed_in.await.unwrap())] {
        let user = User::of(&store, name);
        let created = store.create(user.login(1, second(0))).await.unwrap();
        let CreateOutcome::Created { record: seen, .. } = created else { panic!("{created:?}") };
        let writers = (0..100).map(|number| {
            let (store, sid) = (store.clone(), user.sid(1));
            let seen = (number % 2 == 0).then(|| seen.clone());
            tokio::spawn(async move { store.update(sid, write(&number.to_string(), second(1)), seen).await })
        });
        for written in join_all(writers.collect::<Vec<_>>()).await {
            assert!(matches!(written.unwrap().unwrap(), UpdateOutcome::Applied(_)));
        }
        let record = store.load(user.sid(1)).await.unwrap().unwrap();
        assert_eq!((record.data.len(), record.revision), (100, 100));
    }
}

/// A11: a write whose answer was lost is reported as failed, and never retried.
#[tokio::test(flavor = "multi_thread")]
async fn s3_no_write_takes_place_twice_while_connections_are_cut() {
    let Some(server) = start("cut connections to PostgreSQL") else { return };
    let proxy = Arc::new(Proxy::before(server.port()));
    let store = small_pool(&server.url_at(proxy.port), 8).await;
    let user = User::of(&store, "alice");
    for number in 0..4 {
        store.create(user.login(number, second(0))).await.unwrap();
    }
    let done = Arc::new(AtomicBool::new(false));
    let weather = tokio::spawn({
        let (proxy, done) = (Arc::clone(&proxy), Arc::clone(&done));
        async move {
            while !done.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(15)).await;
                proxy.set(Weather::Refusing);
                proxy.set(Weather::Fair);
            }
        }
    });
    let writers = (0..8_u32).map(|writer| {
        let (store, sid) = (store.clone(), user.sid(writer % 4));
        tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            let mut failed = 0;
            for number in 0..400 {
                let key = format!("{writer}.{number}");
                match store.update(sid, write(&key, second(1)), None).await {
                    Ok(UpdateOutcome::Applied(_)) => acknowledged.push(key),
                    Ok(other) => panic!("{other:?}"),
                    Err(_) => failed += 1,
                }
            }
            (writer, acknowledged, failed)
        })
    });
    let written = join_all(writers.collect::<Vec<_>>()).await;
    done.store(true, Ordering::Relaxed);
    weather.await.unwrap();
    let mut failures = 0;
    for written in written {
        let (writer, acknowledged, failed) = written.unwrap();
        let record = loop {
            // The pool may still hold connections that were cut.
            if let Ok(record) = store.load(user.sid(writer % 4)).await {
                break record.unwrap();
            }
        };
        assert_eq!(record.revision, record.data.len() as u64, "one of them took place twice");
        assert!(
            acknowledged.iter().all(|key| record.data.get(key).is_some()),
            "an acknowledged write is lost"
        );
        failures += failed;
    }
    assert!(failures > 0, "no connection was cut at the right moment");
}

/// L14. Interleaving: a request reads a session, then a revocation commits, then the request
/// writes. The version that the write compares covers both the record and its subject's mark.
#[tokio::test(flavor = "multi_thread")]
async fn s4_a_write_from_what_was_seen_before_a_revocation_does_not_take_place() {
    let Some(server) = start("revoked sessions in PostgreSQL") else { return };
    let store = node(&server).await;
    let user = User::of(&store, "alice");
    store.create(user.login(1, second(0))).await.unwrap();
    store.create(user.login(2, second(0))).await.unwrap();
    let seen = store.load(user.sid(1)).await.unwrap().unwrap();
    let spared = store.load(user.sid(2)).await.unwrap().unwrap();
    let mut revocation = user.revocation(second(1));
    revocation.except = Some(user.sid(2));
    store.revoke(revocation).await.unwrap();
    let outcome = store.update(user.sid(1), write("a", second(2)), Some(seen.clone())).await.unwrap();
    assert!(
        matches!(outcome, UpdateOutcome::Gone(Some(tombstone)) if tombstone.reason == EndReason::Revoked)
    );
    let outcome = store.update(user.sid(2), write("a", second(2)), Some(spared)).await.unwrap();
    assert!(matches!(outcome, UpdateOutcome::Applied(_)), "the excepted one");
    let outcome = store.end(user.sid(1), end(EndReason::SignedOut, second(3)), Some(seen)).await.unwrap();
    assert!(matches!(outcome, EndOutcome::Ended(session) if session.reason == EndReason::Revoked));
    let record = store.load(user.sid(1)).await.unwrap().unwrap();
    assert!(record.data.is_empty() && record.ended.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn o2_a_batch_of_ends_answers_as_single_ends_do() {
    let Some(server) = start("batches of ends in PostgreSQL") else { return };
    let store = node(&server).await;
    let user = User::of(&store, "alice");
    for number in 0..5 {
        store.create(user.login(number, second(0))).await.unwrap();
    }
    store.end(user.sid(1), end(EndReason::SignedOut, second(1)), None).await.unwrap();
    store.update(user.sid(2), touch(second(50)), None).await.unwrap();
    let mut requests: Vec<_> =
        (0..7).map(|number| (user.sid(number), end(EndReason::Revoked, second(60)))).collect();
    for (_, request) in &mut requests {
        request.options.if_idle_since = Some(second(10));
    }
    // The same session again, by another call.
    requests.push((user.sid(3), end(EndReason::Evicted, second(61))));
    let outcomes = store.end_many(requests.clone()).await.unwrap();
    let names: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            EndOutcome::Ended(_) => "ended",
            EndOutcome::AlreadyEnded { .. } => "already",
            EndOutcome::Spared => "spared",
            EndOutcome::Unknown => "unknown",
        })
        .collect();
    assert_eq!(names, ["ended", "already", "spared", "ended", "ended", "unknown", "unknown", "already"]);
    assert_eq!(store.end_many(requests).await.unwrap()[0], outcomes[0], "the same call answers the same");
    assert_eq!(store.list(user.page(10)).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn o2_of_parallel_ends_on_two_nodes_one_is_the_first() {
    let Some(server) = start("parallel ends in PostgreSQL") else { return };
    let nodes = [node(&server).await, node(&server).await];
    let user = User::of(&nodes[0], "alice");
    for number in 0..50 {
        nodes[0].create(user.login(number, second(0))).await.unwrap();
    }
    let ends = (0..8_u32).map(|call| {
        let (node, user) = (nodes[call as usize % 2].clone(), user.clone());
        let requests = (0..50).map(|number| (user.sid(number), end(EndReason::Revoked, second(1))));
        let requests = requests.collect();
        tokio::spawn(async move { node.end_many(requests).await.unwrap() })
    });
    let mut ended = 0;
    for outcomes in join_all(ends.collect::<Vec<_>>()).await {
        ended += outcomes.unwrap().iter().filter(|outcome| matches!(outcome, EndOutcome::Ended(_))).count();
    }
    assert_eq!(ended, 50, "each end is reported exactly once");
}

/// A due time for the sweep may be too early, but never too late.
#[tokio::test(flavor = "multi_thread")]
async fn s12_a_session_whose_deadline_came_nearer_is_not_rescheduled_past_it() {
    let Some(server) = start("later looks in PostgreSQL") else { return };
    let store = node(&server).await;
    let user = User::of(&store, "alice");
    store.create(user.login(1, second(0))).await.unwrap();
    store.update(user.sid(1), touch(second(DAY - 1)), None).await.unwrap();
    let found = |now, limit| {
        let sweep = Sweep { realm: Some(REALM.into()), now, limit };
        let store = store.clone();
        async move { store.sweep(sweep).await.unwrap() }
    };
    let swept = found(second(DAY), 10).await;
    assert_eq!(swept.found.len(), 1, "the hint is that of the creation");
    let deadline = swept.found[0].timing.deadline();
    assert_eq!(deadline, second(2 * DAY - 1));
    // Interleaving: after the sweep's read and before its reschedule, a request applies a lowered
    // policy.
    let short = Lifetimes::from_minutes(10, 24 * 60 + 10);
    let lowering = Lowering { lifetimes: short, one_off_idle: tower_tenure::record::Millis::new(600_000) };
    let timing = TimingChange { interaction_at: Some(second(DAY)), lowering: Some(lowering) };
    store.update(user.sid(1), Change { timing, ..Change::at(second(DAY)) }, None).await.unwrap();
    store.reschedule(vec![(user.sid(1), deadline)]).await.unwrap();
    assert_eq!(found(second(DAY + 599), 10).await.found, []);
    assert_eq!(found(second(DAY + 600), 10).await.found.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn l9_an_interaction_is_a_hot_update() {
    let Some(server) = start("HOT updates in PostgreSQL") else { return };
    let store = node(&server).await;
    let user = User::of(&store, "alice");
    for number in 0..500 {
        store.create(user.login(number, second(0))).await.unwrap();
    }
    server.ask(&["VACUUM tower_tenure.sessions"]);
    for round in 1..4 {
        for number in 0..500 {
            store.update(user.sid(number), touch(second(round)), None).await.unwrap();
        }
    }
    drop(store); // the counts of a connection are sent when it closes
    let hot = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'sessions'";
    let mut counts = String::new();
    servers::until("the server has counted", || {
        counts = server.ask(&[hot]);
        counts.starts_with("1500|")
    });
    let (_, hot) = counts.split_once('|').unwrap();
    assert!(hot.parse::<u32>().unwrap() >= 1350, "{counts}");
}

/// The application's pool keeps the isolation level that the application chose.
#[tokio::test(flavor = "multi_thread")]
async fn a12_a_pool_that_was_handed_in_keeps_its_isolation_level() {
    let Some(server) = start("isolation levels in PostgreSQL") else { return };
    server.ask(&["ALTER DATABASE postgres SET default_transaction_isolation = 'repeatable read'"]);
    let pool = own_pool(&server);
    let store = tower_tenure::store::PostgresStore::with_pool(pool.clone(), "tower_tenure").await.unwrap();
    let user = User::of(&store, "alice");
    store.create(user.login(1, second(0))).await.unwrap();
    let client = pool.get().await.unwrap();
    let level: String = client.query_one("SHOW transaction_isolation", &[]).await.unwrap().get(0);
    assert_eq!(level, "repeatable read");
    drop(admin(&server).await);
}
