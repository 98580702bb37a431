//! The SQLite store: the contract, several processes on one file, durability, and a file that is
//! not its own.

use std::{fs, path::Path, sync::Arc, time::Duration};

use futures_util::future::join_all;
use rusqlite::Connection;
use tower_tenure::{
    EndReason, ErrorKind, SessionStore,
    record::{EndOutcome, Json, Tag, UpdateOutcome},
    store::{CreateOutcome, Creation, Page, SqliteOptions, SqliteStore, Sweep},
    testing::conformance,
};

use crate::common::{
    nodes,
    store::{REALM, SUBJECT, TAG, all, end, login, login_of, revocation, second, sid, sid_at, touch, write},
};
use crate::folder::Folder;

#[tokio::test(flavor = "multi_thread")]
async fn s8_the_sqlite_store_passes_the_conformance_suite() {
    let folder = Folder::new();
    conformance::check(folder.open().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s8_it_passes_beside_another_process_that_writes_to_the_same_file() {
    let folder = Folder::new();
    let (store, other) = (Arc::new(folder.open().await), folder.open().await);
    let busy = tokio::spawn(async move {
        other.create(login(1, second(0))).await.unwrap();
        for number in 0.. {
            other.update(sid(1), write("key", second(number)), None).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    for check in conformance::checks() {
        // A sweep of the suite would find the other process's session, whose times are in the past.
        check.run(&store).await;
    }
    assert!(!busy.is_finished(), "it wrote all the time");
    busy.abort();
}

#[tokio::test]
async fn s7_settings_are_seen_by_another_process_which_is_woken() {
    let folder = Folder::new();
    let (here, there) = (folder.open().await, folder.open().await);
    conformance::check_settings(&here, &there).await;
    nodes::are_woken_by_new_settings(&here, &there).await;
}

#[tokio::test]
async fn s7_what_was_acknowledged_is_there_after_opening_again() {
    let folder = Folder::new();
    let store = folder.open().await;
    for number in 1..=3 {
        store.create(login(number, second(0))).await.unwrap();
    }
    store.update(sid(1), write("key", second(1)), None).await.unwrap();
    store.end(sid(2), end(EndReason::SignedOut, second(2)), None).await.unwrap();
    store.revoke(revocation(second(3), Some(sid(1)))).await.unwrap();
    let before = loaded(&store).await;
    // As after a SIGKILL: no connection was closed, and the log is not yet checkpointed into the
    // file.
    let again = folder.open().await;
    assert_eq!(loaded(&again).await, before);
    assert!(before[0].data.get("key").is_some() && before[0].revoked_at.is_none());
    assert!(before[1].ended.is_some() && before[2].revoked_at.is_some());
    let early = again.create(login(4, second(3))).await.unwrap();
    assert_eq!(early, CreateOutcome::SignedOutEverywhere);
    assert!(again.place_key() == store.place_key());
}

async fn loaded(store: &SqliteStore) -> Vec<tower_tenure::record::Record> {
    let records = join_all((1..=3).map(|number| store.load(sid(number)))).await;
    records.into_iter().map(|record| *record.unwrap().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn s9_a_cap_holds_under_parallel_logins_of_two_processes() {
    let folder = Folder::new();
    nodes::hold_a_cap(&[folder.open().await, folder.open().await]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_a_revocation_on_one_process_misses_no_login_on_another() {
    let folder = Folder::new();
    nodes::revoke_a_subject(&folder.open().await, &folder.open().await).await;
}

/// More sessions than the cap allows, and more than one answer can list.
#[tokio::test(flavor = "multi_thread")]
async fn s9_more_sessions_than_can_be_named_are_counted() {
    const MANY: u32 = 4100;
    let folder = Folder::new();
    let store = folder.open().await;
    join_all((0..MANY).map(|number| store.create(login(number, second(number))))).await;
    let full = |ends| Creation { cap: 4000.try_into().ok(), ends, ..login(MANY, second(MANY)) };
    let Ok(CreateOutcome::Full { count, sessions }) = store.create(full(Vec::new())).await else { panic!() };
    assert_eq!((count, sessions.len()), (4100, CreateOutcome::MAX_CANDIDATES));
    let ends = |count| {
        sessions[..count].iter().map(|old| (old.sid, end(EndReason::Evicted, second(MANY)))).collect()
    };
    let short = store.create(full(ends(100))).await.unwrap();
    assert!(matches!(short, CreateOutcome::Full { count: 4100, .. }), "none of the ends took place");
    let fits = store.create(full(ends(101))).await.unwrap();
    assert!(matches!(fits, CreateOutcome::Created { .. }));
    assert_eq!(store.list(all()).await.unwrap().len(), 4000);
}

/// Starts with an empty log. Otherwise SQLite would reuse the log from its beginning before it
/// grows.
async fn empty_log(folder: &Folder) {
    drop(folder.open().await);
    assert_eq!(log_frames(folder), 0);
}

/// The number of pages in the log, which measures how much was written.
fn log_frames(folder: &Folder) -> u64 {
    fs::metadata(folder.file().with_extension("db-wal")).unwrap().len() / 4096
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_share_transactions() {
    const CALLS: u32 = 200;
    let folder = Folder::new();
    let store = folder.open().await;
    store.create(login(1, second(0))).await.unwrap();
    let before = log_frames(&folder);
    for number in 0..CALLS {
        store.update(sid(1), touch(second(number + 1)), None).await.unwrap();
    }
    let one_by_one = log_frames(&folder) - before;
    assert!(one_by_one >= u64::from(CALLS), "{one_by_one}");

    let folder = Folder::new();
    let store = folder.open().await;
    store.create(login(1, second(0))).await.unwrap();
    let before = log_frames(&folder);
    let touches = (0..CALLS).map(|number| store.update(sid(1), touch(second(number + 1)), None));
    join_all(touches.collect::<Vec<_>>()).await;
    let together = log_frames(&folder) - before;
    assert!(together * 3 < one_by_one, "{together} frames where one by one wrote {one_by_one}");
}

/// An interaction writes the page of its record, but no index. A revocation writes a mark, but no
/// session.
#[tokio::test(flavor = "multi_thread")]
async fn s14_l9_what_a_call_writes_does_not_grow_with_what_is_there() {
    const CALLS: u64 = 20;
    let folder = Folder::new();
    let store = folder.open().await;
    join_all((0..2000).map(|number| store.create(login(number, second(number))))).await;
    empty_log(&folder).await;
    for number in 0..20 {
        store.update(sid(number), touch(second(3000)), None).await.unwrap();
    }
    let touched = log_frames(&folder);
    assert!((1..=CALLS).contains(&touched), "{touched} pages for {CALLS} interactions");
    for number in 0..20 {
        store.revoke(revocation(second(4000 + number), None)).await.unwrap();
    }
    // The first page contains the length of the file, and changes once.
    let revoked = log_frames(&folder) - touched;
    assert!(
        (CALLS..=3 * CALLS + 1).contains(&revoked),
        "{revoked} pages for {CALLS} revocations of 2000 sessions"
    );
    assert!(store.load(sid(7)).await.unwrap().unwrap().revoked_at.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_undoes_nothing_of_those_beside_it() {
    let folder = Folder::new();
    let store = folder.open().await;
    for number in [1, 2] {
        store.create(login(number, second(0))).await.unwrap();
    }
    break_record(&folder, 1);
    let updates =
        (0..40).map(|number| store.update(sid(1 + number % 2), write(&number.to_string(), second(1)), None));
    for (number, updated) in join_all(updates).await.into_iter().enumerate() {
        match updated {
            Ok(UpdateOutcome::Applied(_)) => assert_eq!(number % 2, 1),
            other => {
                let message = format!("{:?} {}", other, other.as_ref().unwrap_err());
                assert!(number.is_multiple_of(2) && !message.contains("secret"), "{message}");
            }
        }
    }
    assert_eq!(store.load(sid(2)).await.unwrap().unwrap().data.len(), 20);
}

/// Overwrites a record with bytes that no version of this crate reads.
fn break_record(folder: &Folder, number: u32) {
    let plain = Connection::open(folder.file()).unwrap();
    let update = "UPDATE sessions SET record = CAST('nonsense secret' AS BLOB) WHERE sid = ?1";
    assert_eq!(plain.execute(update, [sid(number).as_bytes()]).unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_read_does_not_stop_the_sweep_of_others() {
    let folder = Folder::new();
    let store = folder.open().await;
    for number in [1, 2] {
        store.create(login(number, second(0))).await.unwrap();
    }
    break_record(&folder, 1);
    let now = second(5 * 24 * 3600);
    for realm in [Some(REALM.into()), None] {
        let swept = store.sweep(Sweep { realm, now, limit: 1 }).await.unwrap();
        let found: Vec<_> = swept.found.iter().map(|record| record.sid).collect();
        if found == [sid(2)] {
            return;
        }
    }
    panic!("the sweep does not come to the other session");
}

#[tokio::test(flavor = "multi_thread")]
async fn s6_while_another_process_holds_the_file_writes_fail_in_time_reads_go_on_and_nothing_is_lost() {
    let folder = Folder::new();
    let store = folder.open().await;
    store.create(login(1, second(0))).await.unwrap();
    let other = Connection::open(folder.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let budget = Duration::from_secs(2);
    let blocked = tokio::spawn({
        let store = store.clone();
        async move { tokio::time::timeout(budget, store.update(sid(1), write("lost", second(1)), None)).await }
    });
    let loaded = tokio::time::timeout(Duration::from_millis(500), store.load(sid(1))).await;
    assert!(loaded.expect("a read does not wait for a write").unwrap().is_some());
    assert!(blocked.await.unwrap().expect("it fails by itself, in time").is_err());
    let given_up =
        tokio::time::timeout(Duration::from_millis(10), store.update(sid(1), write("no", second(1)), None));
    assert!(given_up.await.is_err());
    other.execute_batch("ROLLBACK").unwrap();

    store.update(sid(1), write("kept", second(2)), None).await.unwrap();
    let data = store.load(sid(1)).await.unwrap().unwrap().data;
    assert_eq!(data.get("kept").as_ref().map(Json::as_str), Some("1"));
    assert!(data.get("lost").is_none());
    assert!(data.get("no").is_none(), "what its caller gave up while it waited does not take place later");
}

#[tokio::test(flavor = "multi_thread")]
async fn s6_processes_that_write_without_a_pause_leave_room_for_each_other() {
    let folder = Folder::new();
    let stores = [folder.open().await, folder.open().await, folder.open().await];
    let writers = stores.iter().zip([0, 1000, 2000]).map(async |(store, base)| {
        for number in base..base + 150 {
            store.create(login(number, second(0))).await.unwrap();
            // This truncates the log, too.
            store.update(sid(number), write("key", second(1)), None).await.unwrap();
            let outcome = store.end(sid(number), end(EndReason::SignedOut, second(2)), None).await.unwrap();
            assert!(matches!(outcome, EndOutcome::Ended(_)), "{outcome:?}");
        }
    });
    join_all(writers).await;
}

/// Subjects whose tags collide, and cursors that name a session of another subject.
#[tokio::test(flavor = "multi_thread")]
async fn s11_a_page_begins_after_any_cursor() {
    let folder = Folder::new();
    let store = folder.open().await;
    for number in 1..=3 {
        store.create(login(number, second(number))).await.unwrap();
        store.create(login_of("alina", TAG, 10 + number, second(number))).await.unwrap();
    }
    let page = async |after| {
        let listed = store.list(Page { after, limit: 10, ..all() }).await.unwrap();
        assert!(listed.iter().all(|record| record.subject.as_deref() == Some(SUBJECT)));
        listed.iter().map(|record| record.sid).collect::<Vec<_>>()
    };
    let [low, high] = [[0; 6], [255; 6]].map(|tag| sid_at(Tag::from_bytes(tag), 1));
    assert_eq!(page(None).await, [sid(1), sid(2), sid(3)]);
    assert_eq!(page(Some((second(2), low))).await, [sid(2), sid(3)]);
    assert_eq!(page(Some((second(2), high))).await, [sid(3)]);
    assert_eq!(page(Some((second(2), sid(1)))).await, [sid(2), sid(3)]);
    assert_eq!(page(Some((second(2), sid(2)))).await, [sid(3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_many_ends_are_one_transaction_and_their_outcomes_are_in_order() {
    let folder = Folder::new();
    let store = folder.open().await;
    join_all((0..100).map(|number| store.create(login(number, second(0))))).await;
    empty_log(&folder).await;
    let requests = (0..101).map(|number| (sid(100 - number), end(EndReason::Revoked, second(1)))).collect();
    let outcomes = store.end_many(requests).await.unwrap();
    assert!((1..100).contains(&log_frames(&folder)), "they share pages");
    assert_eq!(outcomes[0], EndOutcome::Unknown);
    assert!(outcomes[1..].iter().all(|outcome| matches!(outcome, EndOutcome::Ended(_))));
}

#[tokio::test]
async fn what_cannot_be_opened_is_refused_with_the_remedy() {
    let folder = Folder::new();
    let refused = async |path: &Path| SqliteStore::open(path).await.unwrap_err();

    let foreign = folder.path().join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let error = refused(&foreign).await;
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("a separate file"), "{error}");

    folder.open().await;
    for (version, remedy) in [(999, "use a newer build"), (1, "delete the file")] {
        let stamp = format!("PRAGMA user_version = {version}");
        Connection::open(folder.file()).unwrap().execute_batch(&stamp).unwrap();
        let error = refused(&folder.file()).await;
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains(remedy), "{error}");
    }

    let nonsense = folder.path().join("nonsense.db");
    fs::write(&nonsense, "this is no database, and long enough to be looked at".repeat(100)).unwrap();
    for path in [nonsense, folder.path().join("no/such/folder.db"), folder.path().to_owned()] {
        let error = refused(&path).await;
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s11_many_processes_may_open_a_new_file_at_once_and_agree_on_places() {
    let folder = Folder::new();
    let opening = (0..8).map(|_| SqliteOptions::new(folder.file()).with_readers(1).open());
    let opened: Vec<_> = join_all(opening).await.into_iter().map(Result::unwrap).collect();
    assert!(opened.iter().all(|store| store.place_key() == opened[0].place_key()));
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let store = folder.open().await;
    store.create(login(1, second(0))).await.unwrap();
    for file in fs::read_dir(folder.path()).unwrap() {
        let mode = file.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
    }
    assert_eq!(format!("{store:?}"), format!("SqliteStore {{ path: {:?}, .. }}", folder.file()));
}

#[tokio::test]
async fn l9_an_interaction_leaves_indexes_and_what_the_sweep_looks_for_alone() {
    let folder = Folder::new();
    let store = folder.open().await;
    store.create(login(1, second(0))).await.unwrap();
    let plain = Connection::open(folder.file()).unwrap();
    let indexed = "SELECT DISTINCT i.name FROM sqlite_schema s, pragma_index_info(s.name) i \
        WHERE s.tbl_name = 'sessions' AND s.type = 'index'";
    let mut columns = plain.prepare(indexed).unwrap();
    let columns = columns.query_map([], |row| row.get::<_, String>(0)).unwrap().map(Result::unwrap);
    assert!(!columns.collect::<Vec<_>>().contains(&"record".to_owned()));

    let due = || plain.query_row("SELECT due_at FROM sessions", [], |row| row.get::<_, i64>(0)).unwrap();
    let before = due();
    store.update(sid(1), touch(second(60)), None).await.unwrap();
    assert_eq!(due(), before, "a deadline that moved later is left for the sweep to find out");
    let deadline = store.load(sid(1)).await.unwrap().unwrap().timing.deadline();
    assert!(deadline.as_unix_millis() > before);
    store.reschedule(vec![(sid(1), deadline)]).await.unwrap();
    assert_eq!(due(), deadline.as_unix_millis());
}

/// Cargo allows only one library that links SQLite in a build, and sqlx pins another version of it
/// than the newest `rusqlite`.
#[test]
fn d9_rusqlite_is_a_range_without_features_that_older_versions_do_not_have() {
    let manifest = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    let line = manifest.lines().find(|line| line.starts_with("rusqlite = ")).unwrap();
    assert!(line.contains("\">=0.32, <0.44\"") && line.contains("features = [\"bundled\"]"), "{line}");
}
