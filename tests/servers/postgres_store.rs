//! The PostgreSQL store against a real server: the contract, the schema, statements, and outages.

mod large;
mod material;
mod shared;
mod tls;
mod writes;

use std::time::Duration;

use material::{User, admin, capped, everybody, node, own_pool, small_pool, start};
use tower_tenure::{
    EndReason, ErrorKind, SessionStore, Timestamp,
    record::UpdateOutcome,
    store::{CreateOutcome, PostgresOptions, PostgresStore, SettingsStore, Sweep},
    testing::conformance,
};

use crate::common::{
    servers::{Kind, Server},
    store::{REALM, end, replacing, second, touch, write},
};

#[tokio::test(flavor = "multi_thread")]
async fn s8_the_postgres_store_passes_the_conformance_suite() {
    let Some(server) = start("conformance on PostgreSQL") else { return };
    conformance::check(node(&server).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s8_it_passes_over_a_pool_that_was_handed_in_and_in_another_schema() {
    let Some(server) = start("a pool that is handed in") else { return };
    let store = PostgresStore::with_pool(own_pool(&server), "other").await.unwrap();
    let (beside, there) = (node(&server).await, store.clone());
    conformance::check(store).await;
    conformance::check_settings(&there, &there.clone()).await;
    assert_eq!(beside.load_settings(REALM).await.unwrap(), None, "schemas share nothing");
}

/// Every statement of a request has the tag among its arguments, so the server reads only one
/// partition.
#[tokio::test(flavor = "multi_thread")]
async fn s11_it_passes_on_a_table_that_is_partitioned_by_the_tag() {
    let Some(server) = start("partitions in PostgreSQL") else { return };
    drop(node(&server).await);
    let partition = |number: u32| {
        format!(
            "CREATE TABLE tower_tenure.sessions_{number} PARTITION OF tower_tenure.sessions \
            FOR VALUES WITH (MODULUS 8, REMAINDER {number}) WITH (fillfactor = 85)"
        )
    };
    let partitions = (0..8).map(partition).collect::<Vec<_>>().join(";");
    server.ask(&[&format!(
        "ALTER TABLE tower_tenure.sessions RENAME TO plain;
        CREATE TABLE tower_tenure.sessions (LIKE tower_tenure.plain INCLUDING ALL) PARTITION BY HASH (tag);
        DROP TABLE tower_tenure.plain; {partitions}"
    )]);
    let store = node(&server).await;
    conformance::check(store.clone()).await;
    let alice = User::of(&store, "alice");
    store.create(alice.login(1, second(0))).await.unwrap();
    let plan = server.ask(&[
        "SET plan_cache_mode = force_generic_plan",
        "PREPARE l (bigint, uuid) AS SELECT state, version, record FROM tower_tenure.sessions \
            WHERE tag = $1 AND sid IN ($2, '6d61726b-7320-6f66-2074-686520746167')",
        "EXPLAIN (ANALYZE, COSTS OFF) EXECUTE l (1, '6d61726b-7320-6f66-2074-686520746167')",
    ]);
    assert!(plan.contains("Subplans Removed: 7") && plan.contains("Index Scan"), "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s7_many_nodes_may_make_the_schema_at_once_and_a_newer_one_is_refused() {
    let Some(server) = start("the schema in PostgreSQL") else { return };
    let opening = (0..8).map(|_| tokio::spawn(PostgresOptions::new(&server.url()).unwrap().connect()));
    let mut keys = Vec::new();
    for opened in futures_util::future::join_all(opening).await {
        keys.push(opened.unwrap().unwrap().place_key());
    }
    assert!(keys.iter().all(|key| *key == keys[0]), "one key for all nodes");
    assert_eq!(server.ask(&["SELECT version FROM tower_tenure.schema_version"]), "2");
    server.ask(&["UPDATE tower_tenure.schema_version SET version = 99"]);
    let error = PostgresStore::connect(&server.url()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("use a newer build"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s7_the_schema_of_the_first_edition_is_refused_with_what_to_do() {
    let Some(server) = start("version 1 in PostgreSQL") else { return };
    server.ask(&[
        "CREATE SCHEMA tower_tenure; CREATE TABLE tower_tenure.schema_version (version integer NOT NULL);
        INSERT INTO tower_tenure.schema_version VALUES (1); CREATE TABLE tower_tenure.sessions (sid bytea)",
    ]);
    let error = PostgresStore::connect(&server.url()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("DROP SCHEMA tower_tenure CASCADE"), "{error}");
    let beside = PostgresOptions::new(&server.url()).unwrap().with_schema("second").unwrap();
    beside.connect().await.unwrap();
    server.ask(&["DROP SCHEMA tower_tenure CASCADE"]);
    node(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d6_a_database_that_cannot_hold_every_name_is_refused() {
    let Some(server) = start("LATIN1 in PostgreSQL") else { return };
    for encoding in ["LATIN1", "SQL_ASCII"] {
        server.ask(&[&format!(
            "CREATE DATABASE {encoding} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        )]);
        let url =
            server.url().rsplit_once('/').map(|(server, _)| format!("{server}/{}", encoding.to_lowercase()));
        let error = PostgresStore::connect(&url.unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        assert!(error.to_string().contains(encoding) && error.to_string().contains("UTF8"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d8_a_nul_in_a_name_is_a_character_like_any_other() {
    let Some(server) = start("NUL in PostgreSQL") else { return };
    let store = node(&server).await;
    let user = User::of(&store, "a\0b");
    assert_eq!(store.list(user.page(10)).await.unwrap(), []);
    store.revoke(user.revocation(second(0))).await.unwrap();
    store.create(user.login(1, second(1))).await.unwrap();
    assert_eq!(store.list(user.page(10)).await.unwrap().len(), 1);
    let realm = "te\0nant";
    let mut page = everybody(10);
    page.realm = realm.into();
    assert_eq!(store.list(page).await.unwrap(), []);
    assert_eq!(store.not_before(realm).await.unwrap(), None);
    assert!(store.save_settings(realm, "{\0}".into(), None).await.unwrap());
    assert_eq!(&*store.load_settings(realm).await.unwrap().unwrap().text, "{\0}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s5_every_operation_of_a_request_is_one_statement() {
    let flags = ["-c", "shared_preload_libraries=pg_stat_statements"];
    let Some(server) = Server::start_with(Kind::Postgres, "statements in PostgreSQL", &flags) else { return };
    server.ask(&["CREATE EXTENSION pg_stat_statements"]);
    let store = small_pool(&server.url(), 1).await;
    let count = || -> u32 {
        // Statements that a client sent, not those within functions.
        let sql = "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE toplevel AND query NOT LIKE '%pg_stat%'";
        server.ask(&[sql]).parse().unwrap()
    };
    let alice = User::of(&store, "alice");
    let (bob, carol) = (User::of(&store, "bob"), User::of(&store, "carol"));
    for round in [10, 20] {
        let mut before = count();
        let mut is = |statements: u32, what: &str| {
            let now = count();
            assert_eq!(now - before, statements, "{what}");
            before = now;
        };
        let created = store.create(capped(alice.login(round, second(0)), 100)).await.unwrap();
        is(1, "create under a cap");
        let CreateOutcome::Created { record, .. } = created else { panic!("{created:?}") };
        store.update(record.sid, write("a", second(1)), Some(record)).await.unwrap();
        is(1, "an update of a session just created");
        let loaded = store.load(alice.sid(round)).await.unwrap().unwrap();
        is(1, "load");
        store.update(loaded.sid, touch(second(2)), Some(loaded.clone())).await.unwrap();
        is(1, "update");
        store.update(loaded.sid, touch(second(3)), Some(loaded.clone())).await.unwrap();
        // A write returns only whether it took effect, which saves the server a third of the usual
        // write's cost. After a conflict come a load and a second write.
        is(3, "update of what was written since");
        store
            .create(capped(replacing(alice.login(round + 1, second(4)), loaded.sid), 1 + round))
            .await
            .unwrap();
        is(2, "create that replaces");
        let full = store.create(capped(alice.login(round + 2, second(4)), 1)).await.unwrap();
        assert!(matches!(full, CreateOutcome::Full { .. }));
        is(1, "create that finds no room");
        store.update(loaded.sid, touch(second(5)), Some(loaded)).await.unwrap();
        is(2, "update of what has ended since");
        let loaded = store.load(alice.sid(round + 1)).await.unwrap().unwrap();
        is(1, "load");
        store.end(loaded.sid, end(EndReason::SignedOut, second(6)), Some(loaded)).await.unwrap();
        is(1, "end");
        store.list(alice.page(10)).await.unwrap();
        is(1, "list");
        let user = if round == 10 { &bob } else { &carol };
        store.create(user.login(1, second(0))).await.unwrap();
        is(1, "create");
        store.revoke(user.revocation(second(7))).await.unwrap();
        is(2, "revoke");
        store.create(user.login(2, second(8))).await.unwrap();
        is(2, "create after a revocation");
        let many = (1..3).map(|number| (user.sid(number), end(EndReason::Revoked, second(9)))).collect();
        store.end_many(many).await.unwrap();
        is(2, "end_many");
        store.reschedule(vec![(user.sid(1), second(10)), (user.sid(2), second(10))]).await.unwrap();
        is(2, "reschedule");
        store.time().await.unwrap();
        store.not_before(REALM).await.unwrap();
        is(2, "time and not_before");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s12_the_time_is_the_servers() {
    let Some(server) = start("the time in PostgreSQL") else { return };
    let store = node(&server).await;
    let ask = || {
        let text = server.ask(&["SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"]);
        Timestamp::from_unix_millis(text.parse().unwrap())
    };
    let (before, time, after) = (ask(), store.time().await.unwrap().unwrap(), ask());
    assert!(before <= time && time <= after, "{before} {time} {after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s6_a_server_that_was_away_is_used_again_without_a_restart_of_ours() {
    let Some(mut server) = start("outages of PostgreSQL") else { return };
    let store = node(&server).await;
    shared::outlive_its_server(&store, &mut server).await;
}

/// After a failover old connections lead to a server that is read-only, while the address leads to
/// one that accepts writes.
#[tokio::test(flavor = "multi_thread")]
async fn d1_connections_to_a_read_only_server_are_not_used_again() {
    let Some(server) = start("a read-only PostgreSQL") else { return };
    drop(node(&server).await);
    server.ask(&["ALTER ROLE postgres SET default_transaction_read_only = on"]);
    let store = PostgresStore::with_pool(own_pool(&server), "tower_tenure").await.unwrap();
    let alice = User::of(&store, "alice");
    let loads = (0..8).map(|number| store.load(alice.sid(number)));
    assert!(
        futures_util::future::join_all(loads).await.iter().all(Result::is_ok),
        "all connections are made"
    );
    let error = store.create(alice.login(1, second(0))).await.unwrap_err();
    assert!(format!("{error:?}").contains("25006"), "{error:?}");
    server.ask(&[
        "SET default_transaction_read_only = off",
        "ALTER ROLE postgres RESET default_transaction_read_only",
    ]);
    let loads = (0..8).map(|number| store.load(alice.sid(number)));
    futures_util::future::join_all(loads).await;
    store.create(alice.login(1, second(0))).await.unwrap();
    assert!(store.load(alice.sid(1)).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn d1_a_server_that_takes_no_writes_is_passed_over() {
    let Some(server) = start("a standby of PostgreSQL") else { return };
    let store = node(&server).await;
    let alice = User::of(&store, "alice");
    server.ask(&["ALTER ROLE postgres SET default_transaction_read_only = on"]);
    server.ask(&[
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tower-tenure'",
    ]);
    // A standby may be stale, and might return a session that was revoked since.
    assert!(store.load(alice.sid(1)).await.is_err());
    server.ask(&[
        "SET default_transaction_read_only = off",
        "ALTER ROLE postgres RESET default_transaction_read_only",
    ]);
    let mut created = store.create(alice.login(1, second(0))).await;
    for _ in 0..20 {
        if created.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        created = store.create(alice.login(1, second(0))).await;
    }
    created.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_a_call_that_was_given_up_keeps_no_other_waiting() {
    let Some(server) = start("calls given up on PostgreSQL") else { return };
    let store = small_pool(&server.url(), 2).await;
    let alice = User::of(&store, "alice");
    store.create(alice.login(1, second(0))).await.unwrap();
    let client = admin(&server).await;
    client.batch_execute("BEGIN; SELECT 1 FROM tower_tenure.sessions FOR UPDATE").await.unwrap();
    let updates = (0..2).map(|_| {
        tokio::time::timeout(Duration::from_millis(200), store.update(alice.sid(1), touch(second(1)), None))
    });
    assert!(futures_util::future::join_all(updates).await.iter().all(Result::is_err));
    let loaded = tokio::time::timeout(Duration::from_secs(1), store.load(alice.sid(1))).await;
    assert!(loaded.expect("the pool has room").unwrap().is_some());
    client.batch_execute("ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn a_url_that_names_no_database_is_refused_without_its_password() {
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
    let Some(server) = start("failures of PostgreSQL") else { return };
    let store = node(&server).await;
    let alice = User::of(&store, "alice");
    store.create(alice.login(1, second(0))).await.unwrap();
    server.ask(&["ALTER TABLE tower_tenure.sessions ADD CHECK (length(record) < 100) NOT VALID"]);
    let mut change = write("key", second(1));
    change.edits.set("key", tower_tenure::record::Json::from_text(format!("\"hunter2{}\"", "-".repeat(100))));
    let error = store.update(alice.sid(1), change, None).await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("23514") && !shown.contains("hunter2"), "{shown}");
    let bytes: String =
        "hunter2".bytes().flat_map(|byte| format!("{byte:02x}").into_bytes()).map(char::from).collect();
    assert!(!shown.contains(&bytes), "{shown}");
}

/// A migration or an operator may leave rows that this version cannot read.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_in_another_format_is_an_error_and_no_absence() {
    let Some(server) = start("rows in another format in PostgreSQL") else { return };
    let store = node(&server).await;
    let alice = User::of(&store, "alice");
    store.create(alice.login(1, second(0))).await.unwrap();
    server.ask(&["UPDATE tower_tenure.sessions SET record = '\\x0102'"]);
    assert_eq!(store.load(alice.sid(1)).await.unwrap_err().kind(), ErrorKind::Store);
    assert!(store.update(alice.sid(1), touch(second(1)), None).await.is_err());
    assert!(!matches!(
        store.update(alice.sid(2), touch(second(1)), None).await,
        Err(_) | Ok(UpdateOutcome::Applied(_))
    ));
    let sweep = Sweep { realm: None, now: second(0), limit: 10 };
    assert!(store.sweep(sweep).await.unwrap().finished);
}
