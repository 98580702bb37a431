//! The PostgreSQL store against a real server: the contract, several nodes, one statement per operation, HOT updates, and
//! servers that go away.

#[path = "common/store.rs"]
#[expect(dead_code, reason = "shared")]
mod common;
#[path = "common/nodes.rs"]
mod nodes;
#[path = "common/servers.rs"]
mod servers;

use std::{sync::Arc, time::Duration};

use common::{SUBJECT, all, capped, login, replacing, second, sid, touch, write};
use servers::{Kind, Server};
use tower_tenure::{
    EndReason, ErrorKind, SessionStore,
    policy::Overflow,
    record::End,
    store::{Created, PostgresOptions, PostgresStore, SettingsStore},
    testing::conformance,
};

async fn node(server: &Server) -> PostgresStore {
    PostgresStore::connect(&server.url()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn s8_the_postgres_store_passes_the_conformance_suite() {
    let Some(server) = Server::start(Kind::Postgres, "conformance on PostgreSQL") else { return };
    conformance::check(node(&server).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s8_it_passes_over_a_pool_that_was_handed_in_and_in_another_schema() {
    let Some(server) = Server::start(Kind::Postgres, "a pool that is handed in") else { return };
    let manager = deadpool_postgres::Manager::new(server.url().parse().unwrap(), tokio_postgres::NoTls);
    let pool = deadpool_postgres::Pool::builder(manager).max_size(4).build().unwrap();
    let store = PostgresStore::with_pool(pool, "other").await.unwrap();
    let (beside, there) = (node(&server).await, store.clone());
    conformance::check(store).await;
    conformance::check_settings(&there, &there.clone()).await;
    assert_eq!(beside.load_settings().await.unwrap(), None, "schemas share nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn s7_settings_are_seen_by_another_node_which_is_woken() {
    let Some(server) = Server::start(Kind::Postgres, "settings in PostgreSQL") else { return };
    let (here, there) = (node(&server).await, node(&server).await);
    conformance::check_settings(&here, &there).await;
    nodes::are_woken_by_new_settings(&here, &there).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s7_many_nodes_may_make_the_schema_at_once_and_a_newer_one_is_refused() {
    let Some(server) = Server::start(Kind::Postgres, "the schema in PostgreSQL") else { return };
    let opening = (0..8).map(|_| tokio::spawn(PostgresOptions::new(&server.url()).unwrap().connect()));
    for opened in futures_util::future::join_all(opening).await {
        opened.unwrap().unwrap();
    }
    assert_eq!(server.ask(&["SELECT version FROM tower_tenure.schema_version"]), "1");
    server.ask(&["UPDATE tower_tenure.schema_version SET version = 99"]);
    let error = PostgresStore::connect(&server.url()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("use a newer build"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s9_a_cap_holds_under_parallel_logins_on_two_nodes() {
    let Some(server) = Server::start(Kind::Postgres, "caps in PostgreSQL") else { return };
    nodes::hold_a_cap(&[node(&server).await, node(&server).await]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_ending_a_subject_on_one_node_misses_no_login_on_another() {
    let Some(server) = Server::start(Kind::Postgres, "ending a subject in PostgreSQL") else { return };
    nodes::end_a_subject(&node(&server).await, &node(&server).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s9_logins_that_replace_each_others_sessions_get_out_of_a_deadlock() {
    let Some(server) = Server::start(Kind::Postgres, "deadlocks in PostgreSQL") else { return };
    let store = node(&server).await;
    let of = |user: &str, number, at| {
        let mut creation = capped(login(number, second(at)), 1, Overflow::Evict);
        creation.record.subject = Some(user.into());
        creation
    };
    for round in (0..200_u32).step_by(4) {
        store.create(of("a", round, round)).await.unwrap();
        store.create(of("b", round + 1, round)).await.unwrap();
        // Each takes the place of the other's session, and evicts its own.
        let one = replacing(of("a", round + 2, round + 1), sid(round + 1));
        let other = replacing(of("b", round + 3, round + 1), sid(round));
        let (one, other) = tokio::join!(store.create(one), store.create(other));
        assert!(matches!((one.unwrap(), other.unwrap()), (Created::Done { .. }, Created::Done { .. })));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s5_every_operation_is_one_statement() {
    let flags = ["-c", "shared_preload_libraries=pg_stat_statements"];
    let Some(server) = Server::start_with(Kind::Postgres, "statements in PostgreSQL", &flags) else { return };
    server.ask(&["CREATE EXTENSION pg_stat_statements"]);
    let store = PostgresOptions::new(&server.url()).unwrap().with_pool_size(1).connect().await.unwrap();
    let count = || -> u32 {
        // Those that a client sent, as opposed to those within functions.
        let sql = "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE toplevel AND query NOT LIKE '%pg_stat%'";
        server.ask(&[sql]).parse().unwrap()
    };
    let end = End::new(EndReason::SignedOut, second(1));
    for round in [10, 20] {
        let before = count();
        store.create(login(round, second(0))).await.unwrap();
        assert_eq!(count() - before, 1, "create");
        let cap = capped(replacing(login(round + 1, second(0)), sid(round)), 1, Overflow::Evict);
        store.create(cap).await.unwrap();
        assert_eq!(count() - before, 2, "create that replaces under a cap");
        store.load(sid(round + 1)).await.unwrap();
        assert_eq!(count() - before, 3, "load");
        store.update(sid(round + 1), write("a", second(1))).await.unwrap();
        store.update(sid(round + 1), touch(second(2))).await.unwrap();
        store.update(sid(round), touch(second(2))).await.unwrap();
        assert_eq!(count() - before, 6, "update, also of what is gone");
        store.list(all(second(1))).await.unwrap();
        assert_eq!(count() - before, 7, "list");
        store.end(sid(round + 1), end).await.unwrap();
        store.end_subject(SUBJECT.into(), end, None).await.unwrap();
        store.sweep(second(0), 100).await.unwrap();
        assert_eq!(count() - before, 10, "end, end_subject, sweep");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn l9_an_interaction_is_a_hot_update() {
    let Some(server) = Server::start(Kind::Postgres, "HOT updates in PostgreSQL") else { return };
    let store = node(&server).await;
    for number in 0..500 {
        store.create(login(number, second(0))).await.unwrap();
    }
    server.ask(&["VACUUM tower_tenure.sessions"]);
    for round in 1..4 {
        for number in 0..500 {
            store.update(sid(number), touch(second(round))).await.unwrap();
        }
    }
    drop(store); // the counts of a connection are told when it closes
    let hot = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'sessions'";
    let mut said = String::new();
    servers::until("the server has counted", || {
        said = server.ask(&[hot]);
        said.starts_with("1500|")
    });
    let (_, hot) = said.split_once('|').unwrap();
    assert!(hot.parse::<u32>().unwrap() >= 1350, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s6_a_server_that_was_away_is_used_again_without_a_restart_of_ours() {
    let Some(mut server) = Server::start(Kind::Postgres, "outages of PostgreSQL") else { return };
    nodes::outlive_their_server(&node(&server).await, &mut server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_a_call_that_was_given_up_keeps_nobody_waiting() {
    let Some(server) = Server::start(Kind::Postgres, "calls given up on PostgreSQL") else { return };
    let store = PostgresOptions::new(&server.url()).unwrap().with_pool_size(2).connect().await.unwrap();
    store.create(login(1, second(0))).await.unwrap();
    let (client, connection) = tokio_postgres::connect(&server.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("BEGIN; SELECT 1 FROM tower_tenure.sessions FOR UPDATE").await.unwrap();
    let updates = (0..2)
        .map(|_| tokio::time::timeout(Duration::from_millis(200), store.update(sid(1), touch(second(1)))));
    assert!(futures_util::future::join_all(updates).await.iter().all(Result::is_err));
    let loaded = tokio::time::timeout(Duration::from_secs(1), store.load(sid(1))).await;
    assert!(loaded.expect("the pool has room").unwrap().is_some());
    client.batch_execute("ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn what_is_no_database_is_refused_without_its_password() {
    for url in [
        "",
        "postgres://",
        "mysql://me:hunter2@db/x",
        "postgres://me:hunter2@host:port/x",
        "postgres://me:hunter2@host/x?nonsense=1",
        "host=db password=hunter2",
    ] {
        let error = PostgresOptions::new(url).unwrap_err();
        assert!(
            error.kind() == ErrorKind::Configuration && !error.to_string().contains("hunter2"),
            "{error}"
        );
    }
    let options = PostgresOptions::new("postgres://me:hunter2@127.0.0.1:1/x").unwrap();
    assert!(!format!("{options:?}").contains("hunter2"));
    for name in ["", "Upper", "1st", "pg_x", "a-b", "a\"b", &"x".repeat(49)] {
        assert!(options.clone().with_schema(name).is_err(), "{name}");
    }
    let error = options.connect().await.unwrap_err();
    assert!(error.is_store_failure() && !format!("{error:?}").contains("hunter2"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn h5_what_the_server_says_of_a_failure_quotes_no_data() {
    let Some(server) = Server::start(Kind::Postgres, "failures of PostgreSQL") else { return };
    let store = Arc::new(node(&server).await);
    store.create(login(1, second(0))).await.unwrap();
    server.ask(&["ALTER TABLE tower_tenure.sessions ADD CHECK (revision < 1)"]);
    let mut change = write("key", second(1));
    change.edits.set("key", tower_tenure::record::Json::from_text("\"hunter2\""));
    let error = store.update(sid(1), change).await.unwrap_err();
    let said = format!("{error} {error:?}");
    assert!(said.contains("23514") && !said.contains("hunter2"), "{said}");
}
