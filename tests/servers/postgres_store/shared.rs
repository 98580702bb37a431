//! Guarantees of a store that several nodes share, tested with two handles to one server.

use std::time::Duration;

use futures_util::future::join_all;
use tower_tenure::{
    SessionStore,
    store::{CreateOutcome, PostgresStore, SettingsStore},
    testing::conformance,
};

use super::material::{User, capped, node, own_pool, start};
use crate::common::{
    nodes,
    servers::Server,
    store::{replacing, second},
};

#[tokio::test(flavor = "multi_thread")]
async fn s7_settings_are_seen_by_another_node_which_is_woken() {
    let Some(server) = start("settings in PostgreSQL") else { return };
    let (here, there) = (node(&server).await, node(&server).await);
    conformance::check_settings(&here, &there).await;
    nodes::are_woken_by_new_settings(&here, &there).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s7_each_realm_has_settings_of_its_own() {
    let Some(server) = start("settings of realms in PostgreSQL") else { return };
    let store = node(&server).await;
    assert!(store.save_settings("a", "1".into(), None).await.unwrap());
    assert!(!store.save_settings("a", "2".into(), None).await.unwrap());
    assert!(!store.save_settings("b", "2".into(), Some(1)).await.unwrap(), "there is none");
    assert!(store.save_settings("b", "3".into(), None).await.unwrap());
    assert!(store.save_settings("a", "4".into(), Some(1)).await.unwrap());
    let stored = store.load_settings("a").await.unwrap().unwrap();
    assert_eq!((stored.version, &*stored.text), (2, "4"));
    let stored = store.load_settings("b").await.unwrap().unwrap();
    assert_eq!((stored.version, &*stored.text), (1, "3"));
}

/// A12. Interleaving: a login waits for another login's lock and then counts sessions. At a default
/// level above read committed it would count an old snapshot.
#[tokio::test(flavor = "multi_thread")]
async fn s9_a_cap_holds_under_parallel_logins_on_two_nodes_at_every_isolation_level() {
    let Some(server) = start("caps in PostgreSQL") else { return };
    for (round, level) in (0..).zip(["read committed", "repeatable read", "serializable"]) {
        server.ask(&[&format!("ALTER DATABASE postgres SET default_transaction_isolation = '{level}'")]);
        let handed_in = PostgresStore::with_pool(own_pool(&server), "tower_tenure").await.unwrap();
        let nodes = [node(&server).await, handed_in];
        for cap in 1..4 {
            let user = User::of(&nodes[0], &format!("user {round} {cap}"));
            let logins = (0..24_u32).map(|number| {
                let node = nodes[number as usize % 2].clone();
                let creation = capped(user.login(number, second(number)), cap);
                tokio::spawn(async move { node.create(creation).await.unwrap() })
            });
            let mut created = 0;
            for outcome in join_all(logins.collect::<Vec<_>>()).await {
                match outcome.unwrap() {
                    CreateOutcome::Created { .. } => created += 1,
                    CreateOutcome::Full { count, sessions } => {
                        assert_eq!((count, sessions.len()), (cap as usize, cap as usize));
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(created, cap, "{level}");
            assert_eq!(nodes[0].list(user.page(100)).await.unwrap().len(), cap as usize);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s9_of_many_logins_that_replace_each_other_one_is_left() {
    let Some(server) = start("logins that replace each other in PostgreSQL") else { return };
    let nodes = [node(&server).await, node(&server).await];
    let alice = User::of(&nodes[0], "alice");
    nodes[0].create(alice.login(0, second(0))).await.unwrap();
    let logins = (1..40_u32).map(|number| {
        let node = nodes[number as usize % 2].clone();
        let (alice, mut old) = (alice.clone(), number - 1);
        tokio::spawn(async move {
            loop {
                let creation = capped(replacing(alice.login(number, second(number)), alice.sid(old)), 1);
                match node.create(creation).await.unwrap() {
                    CreateOutcome::Created { .. } => return,
                    CreateOutcome::Full { sessions, .. } => {
                        let sid = sessions[0].sid;
                        old = u32::from_be_bytes(std::array::from_fn(|at| sid.as_bytes()[12 + at]));
                    }
                    other => panic!("{other:?}"),
                }
            }
        })
    });
    for login in join_all(logins.collect::<Vec<_>>()).await {
        login.unwrap();
    }
    assert_eq!(nodes[0].list(alice.page(100)).await.unwrap().len(), 1);
}

/// Interleaving: a revocation's mark commits while logins are in flight. Every login is either
/// refused or covered.
#[tokio::test(flavor = "multi_thread")]
async fn s10_revoking_a_subject_on_one_node_misses_no_login_on_another() {
    let Some(server) = start("revocations in PostgreSQL") else { return };
    let (here, there) = (node(&server).await, node(&server).await);
    let alice = User::of(&here, "alice");
    for round in 0..20_u32 {
        let arrival = second(round * 10);
        let logins = (0..10).map(|number| {
            let (there, creation) = (there.clone(), alice.login(round * 100 + number, arrival));
            tokio::spawn(async move { there.create(creation).await.unwrap() })
        });
        let logins: Vec<_> = logins.collect();
        here.revoke(alice.revocation(arrival)).await.unwrap();
        for login in join_all(logins).await {
            let outcome = login.unwrap();
            assert!(matches!(outcome, CreateOutcome::Created { .. } | CreateOutcome::SignedOutEverywhere));
        }
        for number in 0..10 {
            let record = there.load(alice.sid(round * 100 + number)).await.unwrap();
            assert!(record.is_none_or(|record| record.revoked_at.is_some()), "live after the revocation");
        }
        let after =
            here.create(alice.login(round * 100 + 50, arrival + Duration::from_millis(1))).await.unwrap();
        assert!(matches!(after, CreateOutcome::Created { .. }));
        assert!(there.load(alice.sid(round * 100 + 50)).await.unwrap().unwrap().revoked_at.is_none());
    }
}

/// S6: after an outage the server is used again without a restart of the application.
pub(crate) async fn outlive_its_server(store: &PostgresStore, server: &mut Server) {
    let key = store.place_key();
    nodes::outlive_their_server(store, server).await;
    assert_eq!(store.place_key(), key, "subjects keep their places");
    assert_eq!(node(server).await.place_key(), key);
}
