//! The SQLite store: the contract, several processes on one file, durability, and what it does when the file is not its own.

#[path = "common/store.rs"]
#[expect(dead_code, reason = "shared")]
mod common;
#[path = "common/nodes.rs"]
mod nodes;
#[path = "common/servers.rs"]
mod servers;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use common::{login, second, sid, touch, write};
use rusqlite::Connection;
use tower_tenure::{
    EndReason, ErrorKind, SessionStore,
    record::{End, Json, Updated},
    store::{SqliteOptions, SqliteStore},
    testing::conformance,
};

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tenure-sqlite-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("sessions.db")
    }

    async fn open(&self) -> SqliteStore {
        SqliteStore::open(self.file()).await.unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

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
            other.update(sid(1), write("key", second(number))).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    for check in conformance::checks() {
        check.run(&store).await;
    }
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
    store.create(login(1, second(0))).await.unwrap();
    store.create(login(2, second(0))).await.unwrap();
    store.update(sid(1), write("key", second(1))).await.unwrap();
    store.end(sid(2), End::new(EndReason::SignedOut, second(2))).await.unwrap();
    let before = (store.load(sid(1)).await.unwrap(), store.load(sid(2)).await.unwrap());
    // As after a SIGKILL: nothing was closed, and the log not yet taken into the file.
    let again = folder.open().await;
    assert_eq!((again.load(sid(1)).await.unwrap(), again.load(sid(2)).await.unwrap()), before);
    assert!(before.0.unwrap().data.get("key").is_some() && before.1.unwrap().ended.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn s9_a_cap_holds_under_parallel_logins_of_two_processes() {
    let folder = Folder::new();
    nodes::hold_a_cap(&[folder.open().await, folder.open().await]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_ending_a_subject_on_one_process_misses_no_login_on_another() {
    let folder = Folder::new();
    nodes::end_a_subject(&folder.open().await, &folder.open().await).await;
}

/// The pages of the log that was written, as a measure of how many transactions there were: each writes one at least.
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
        store.update(sid(1), touch(second(number))).await.unwrap();
    }
    let one_by_one = log_frames(&folder) - before;
    assert!(one_by_one >= u64::from(CALLS), "{one_by_one}");

    let folder = Folder::new();
    let store = folder.open().await;
    store.create(login(1, second(0))).await.unwrap();
    let before = log_frames(&folder);
    let touches = (0..CALLS).map(|number| store.update(sid(1), touch(second(number)))).collect::<Vec<_>>();
    futures_util::future::join_all(touches).await;
    let together = log_frames(&folder) - before;
    assert!(together * 3 < one_by_one, "{together} frames where one by one wrote {one_by_one}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_undoes_nothing_of_those_beside_it() {
    let folder = Folder::new();
    let store = folder.open().await;
    for number in [1, 2] {
        store.create(login(number, second(0))).await.unwrap();
    }
    let other = Connection::open(folder.file()).unwrap();
    other
        .execute("UPDATE sessions SET facts = 'nonsense secret' WHERE sid = ?1", [sid(1).as_bytes()])
        .unwrap();
    let updates =
        (0..40).map(|number| store.update(sid(1 + number % 2), write(&number.to_string(), second(1))));
    for (number, updated) in futures_util::future::join_all(updates).await.into_iter().enumerate() {
        match updated {
            Ok(Updated::Applied(_)) => assert_eq!(number % 2, 1),
            other => {
                let said = format!("{:?} {}", other, other.as_ref().unwrap_err());
                assert!(number.is_multiple_of(2) && !said.contains("secret"), "{said}");
            }
        }
    }
    assert_eq!(store.load(sid(2)).await.unwrap().unwrap().data.len(), 20);
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
        async move { tokio::time::timeout(budget, store.update(sid(1), write("lost", second(1)))).await }
    });
    let loaded = tokio::time::timeout(Duration::from_millis(500), store.load(sid(1))).await;
    assert!(loaded.expect("a read does not wait for a write").unwrap().is_some());
    assert!(blocked.await.unwrap().expect("it fails by itself, in time").is_err());
    let given_up =
        tokio::time::timeout(Duration::from_millis(10), store.update(sid(1), write("no", second(1))));
    assert!(given_up.await.is_err());
    other.execute_batch("ROLLBACK").unwrap();

    store.update(sid(1), write("kept", second(2))).await.unwrap();
    let data = store.load(sid(1)).await.unwrap().unwrap().data;
    assert_eq!(data.get("kept").map(Json::as_str), Some("1"));
    assert!(data.get("lost").is_none());
}

#[tokio::test]
async fn what_can_not_be_opened_is_refused_with_the_mend() {
    let folder = Folder::new();
    let said = async |path: &Path| SqliteStore::open(path).await.unwrap_err();

    let foreign = folder.0.join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let error = said(&foreign).await;
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("a file of their own"), "{error}");

    folder.open().await;
    Connection::open(folder.file()).unwrap().execute_batch("PRAGMA user_version = 999").unwrap();
    let error = said(&folder.file()).await;
    assert!(error.to_string().contains("use a newer build"), "{error}");

    let nonsense = folder.0.join("nonsense.db");
    fs::write(&nonsense, "this is no database, and long enough to be looked at".repeat(100)).unwrap();
    for path in [nonsense, folder.0.join("no/such/folder.db"), folder.0.clone()] {
        let error = said(&path).await;
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_processes_may_open_a_new_file_at_once() {
    let folder = Folder::new();
    let opening = (0..8).map(|_| SqliteOptions::new(folder.file()).with_readers(1).open());
    for opened in futures_util::future::join_all(opening).await {
        opened.unwrap();
    }
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let store = folder.open().await;
    store.create(login(1, second(0))).await.unwrap();
    for file in fs::read_dir(&folder.0).unwrap() {
        let mode = file.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
    }
    assert_eq!(format!("{store:?}"), format!("SqliteStore {{ path: {:?}, .. }}", folder.file()));
}

#[tokio::test]
async fn l9_an_interaction_leaves_indexes_and_data_alone() {
    let folder = Folder::new();
    folder.open().await;
    let plain = Connection::open(folder.file()).unwrap();
    let indexed = "SELECT DISTINCT i.name FROM sqlite_schema s, pragma_index_info(s.name) i WHERE s.type = 'index' AND s.sql IS NOT NULL";
    let columns: Vec<String> = plain
        .prepare(indexed)
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for moved in ["last_interaction_at", "longest_gap", "one_off_idle", "updated_at", "deadline"] {
        assert!(!columns.iter().any(|column| column == moved), "{moved} is in {columns:?}");
    }
}
