//! Removed data is erased from all files of a SQLite store soon after (D12).

use std::{collections::HashMap, fs, time::Duration};

use futures_util::future::join_all;
use rusqlite::Connection;
use tower_tenure::{
    EndReason, SessionStore, Timestamp,
    record::{Change, Edits, EndOutcome, Json, UpdateOutcome},
    store::{CreateOutcome, Creation, SqliteStore, Sweep},
};

use crate::common::store::{REALM, end, login, replacing, second, sid};
use crate::folder::Folder;

/// A unique value.
fn marker(number: u32) -> String {
    format!("the secret of {number:06}, as it is")
}

fn put(key: &str, value: &str) -> Edits {
    let mut edits = Edits::default();
    edits.set(key.to_owned(), Json::encode(value).unwrap());
    edits
}

fn holding(number: u32, value: &str) -> Creation {
    Creation { edits: put("note", value), ..login(number, second(0)) }
}

async fn change(store: &SqliteStore, number: u32, edits: Edits) {
    let change = Change { edits, ..Change::at(second(1)) };
    let outcome = store.update(sid(number), change, None).await.unwrap();
    assert!(matches!(outcome, UpdateOutcome::Applied(_)), "{outcome:?}");
}

async fn log_out(store: &SqliteStore, number: u32) {
    let outcome = store.end(sid(number), end(EndReason::SignedOut, second(2)), None).await.unwrap();
    assert!(matches!(outcome, EndOutcome::Ended(_)), "{outcome:?}");
}

/// All bytes on disk. The log may disappear meanwhile, because the last connection that closes
/// removes it.
fn files(folder: &Folder) -> Vec<u8> {
    let files = fs::read_dir(folder.path()).unwrap();
    files.flat_map(|file| fs::read(file.unwrap().path()).unwrap_or_default()).collect()
}

fn count(bytes: &[u8], text: &str) -> usize {
    memchr::memmem::find_iter(bytes, text.as_bytes()).count()
}

fn is_there(folder: &Folder, text: &str) -> bool {
    count(&files(folder), text) > 0
}

/// The documented time is a quarter of a second. The rest is a margin for a busy machine.
async fn is_soon_gone(folder: &Folder, texts: &[String]) {
    for _ in 0..250 {
        let bytes = files(folder);
        if texts.iter().all(|text| count(&bytes, text) == 0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it is still there after five seconds");
}

#[tokio::test(flavor = "multi_thread")]
async fn d12_a_logout_alone_is_answered_once_its_data_is_in_no_file() {
    let folder = Folder::new();
    let store = folder.open().await;
    for number in 0..50 {
        store.create(holding(number, &marker(number))).await.unwrap();
        change(&store, number, put("more", "a value that makes it larger than it was at first")).await;
        assert!(is_there(&folder, &marker(number)));
        log_out(&store, number).await;
        assert!(!is_there(&folder, &marker(number)), "of logout {number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d12_logouts_among_other_calls_are_erased_soon() {
    let folder = Folder::new();
    let store = folder.open().await;
    join_all((0..200).map(async |number| store.create(holding(number, &marker(number))).await.unwrap()))
        .await;
    join_all((0..100).map(async |number| {
        log_out(&store, number).await;
        store.load(sid(100 + number)).await.unwrap();
    }))
    .await;
    is_soon_gone(&folder, &(0..100).map(marker).collect::<Vec<_>>()).await;
    let bytes = files(&folder);
    assert!((100..200).all(|number| count(&bytes, &marker(number)) == 1), "others' data is there, once");
}

#[tokio::test(flavor = "multi_thread")]
async fn d12_values_that_were_replaced_or_removed_are_erased_soon() {
    let folder = Folder::new();
    let store = folder.open().await;
    store.create(holding(1, &marker(1))).await.unwrap();
    change(&store, 1, put("other", &marker(2))).await;
    change(&store, 1, put("note", "short")).await;
    is_soon_gone(&folder, &[marker(1)]).await;
    let mut removed = Edits::default();
    removed.remove("other");
    change(&store, 1, removed).await;
    is_soon_gone(&folder, &[marker(2)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d12_data_of_any_size_is_erased() {
    let folder = Folder::new();
    let store = folder.open().await;
    for (number, size) in (0..).zip([10, 500, 1500, 3000, 4000, 9000, 70_000, 1_000_000]) {
        let value = format!("{}{}{}", marker(number), "x".repeat(size), marker(number + 100));
        store.create(holding(number, "small")).await.unwrap();
        change(&store, number, put("note", &value)).await;
        assert!(store.load(sid(number)).await.unwrap().unwrap().data.bytes() > size);
        log_out(&store, number).await;
        for marker in [marker(number), marker(number + 100)] {
            assert!(!is_there(&folder, &marker), "of {size} bytes");
        }
    }
    let size = fs::metadata(folder.file()).unwrap().len();
    // Another pass reuses the space of the first, once its tombstones are removed.
    sweep(&store, second(10_000)).await;
    for number in 200..208 {
        let value = "y".repeat([10, 500, 1500, 3000, 4000, 9000, 70_000, 1_000_000][number as usize - 200]);
        store.create(holding(number, "small")).await.unwrap();
        change(&store, number, put("note", &value)).await;
    }
    drop(store);
    drop(folder.open().await);
    let again = fs::metadata(folder.file()).unwrap().len();
    assert!(again <= size + 65_536, "{size} bytes became {again}");
}

/// Removes tombstones and ends expired sessions, as a node does.
async fn sweep(store: &SqliteStore, now: Timestamp) {
    loop {
        let swept = store.sweep(Sweep { realm: Some(REALM.into()), now, limit: 100 }).await.unwrap();
        let requests = swept.found.iter().map(|record| (record.sid, end(EndReason::Idle, now))).collect();
        store.end_many(requests).await.unwrap();
        if swept.finished {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d12_what_a_sweep_ends_is_erased_soon() {
    let folder = Folder::new();
    let store = folder.open().await;
    join_all((0..30).map(async |number| store.create(holding(number, &marker(number))).await.unwrap())).await;
    sweep(&store, second(10 * 24 * 3600)).await;
    is_soon_gone(&folder, &(0..30).map(marker).collect::<Vec<_>>()).await;
    assert!(store.load(sid(7)).await.unwrap().unwrap().ended.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn d12_l13_work_that_was_taken_or_forgotten_is_erased_soon() {
    let folder = Folder::new();
    let store = folder.open().await;
    let over = second(10 * 24 * 3600);
    for number in [1, 2] {
        store.create(holding(number, &marker(number))).await.unwrap();
        let mut request = end(EndReason::Idle, over);
        request.options.resume_for = Duration::from_secs(30 * 24 * 3600).into();
        store.end(sid(number), request, None).await.unwrap();
    }
    let new = Creation { cap: None, ..login(3, over) };
    let created = store.create(replacing(new, sid(1))).await.unwrap();
    assert!(
        matches!(&created, CreateOutcome::Created { record, .. } if !record.data.is_empty()),
        "{created:?}"
    );
    store.end(sid(3), end(EndReason::SignedOut, over), None).await.unwrap();
    is_soon_gone(&folder, &[marker(1)]).await;
    assert!(is_there(&folder, &marker(2)), "it waits");
    sweep(&store, second(50 * 24 * 3600)).await;
    is_soon_gone(&folder, &[marker(2)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d12_what_was_dropped_before_a_crash_is_erased_when_the_file_is_opened() {
    let folder = Folder::new();
    let store = folder.open().await;
    store.create(holding(1, &marker(1))).await.unwrap();
    // A reader in another process keeps the log from being truncated, until the crash.
    let reader = Connection::open(folder.file()).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM sessions").unwrap();
    log_out(&store, 1).await;
    assert!(is_there(&folder, &marker(1)), "it cannot be erased yet");
    let crashed = Folder::new();
    for end in ["", "-wal"] {
        let name = format!("sessions.db{end}");
        fs::copy(folder.path().join(&name), crashed.path().join(&name)).unwrap();
    }
    assert!(is_there(&crashed, &marker(1)));
    let store = crashed.open().await;
    assert!(!is_there(&crashed, &marker(1)));
    assert!(store.load(sid(1)).await.unwrap().unwrap().ended.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn d12_another_process_that_reads_delays_the_erasure_but_no_answer() {
    let folder = Folder::new();
    let store = folder.open().await;
    store.create(holding(1, &marker(1))).await.unwrap();
    let reader = Connection::open(folder.file()).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM sessions").unwrap();
    let answered = tokio::time::timeout(Duration::from_secs(1), log_out(&store, 1)).await;
    answered.expect("a logout does not wait for the readers of other processes");
    assert!(is_there(&folder, &marker(1)), "the other process still reads the log");
    reader.execute_batch("COMMIT").unwrap();
    is_soon_gone(&folder, &[marker(1)]).await;
}

/// The values on disk, with how often each occurs.
fn values(folder: &Folder) -> HashMap<String, u32> {
    let bytes = files(folder);
    let mut found = HashMap::new();
    for at in memchr::memmem::find_iter(&bytes, "the secret of ") {
        let value = bytes[at..].iter().take_while(|byte| !b"x\"".contains(byte)).copied().collect();
        *found.entry(String::from_utf8(value).unwrap()).or_insert(0) += 1;
    }
    found
}

/// Guards: `SQLite` may leave copies when it moves rows between pages, so the store never lets it
/// move rows.
#[tokio::test(flavor = "multi_thread")]
async fn d12_whatever_happens_to_sessions_each_value_is_in_the_file_once_or_not_at_all() {
    const SESSIONS: u32 = 600;
    let folder = Folder::new();
    let store = folder.open().await;
    let mut random = 1_u64;
    let mut next = move |below: u32| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(random >> 33).unwrap() % below
    };
    let (mut live, mut gone) = (HashMap::new(), 0);
    let mut number = 0;
    for round in 0..40 {
        let mut calls = Vec::new();
        while live.len() < SESSIONS as usize {
            number += 1;
            live.insert(number, marker(number));
            let value = marker(number) + &"x".repeat(next(900) as usize);
            calls.push((number, Some(value), true));
        }
        for known in live.keys().copied().collect::<Vec<_>>() {
            match next(4) {
                0 => {
                    gone += u32::from(live.remove(&known).is_some());
                    calls.push((known, None, false));
                }
                1 => {
                    let value = format!("{}#{round}", marker(known));
                    gone += u32::from(live.insert(known, value.clone()).is_some());
                    calls.push((known, Some(value + &"x".repeat(next(3000) as usize)), false));
                }
                _ => {}
            }
        }
        // New sessions come first.
        let (new, old): (Vec<_>, Vec<_>) = calls.into_iter().partition(|(.., is_new)| *is_new);
        for calls in [new, old] {
            join_all(calls.into_iter().map(async |(number, value, is_new)| match value {
                Some(value) if is_new => drop(store.create(holding(number, &value)).await.unwrap()),
                Some(value) => change(&store, number, put("note", &value)).await,
                None => log_out(&store, number).await,
            }))
            .await;
        }
        if round % 5 == 4 {
            sweep(&store, second(10_000)).await;
        }
    }
    drop(store);
    drop(folder.open().await);
    assert!(gone > 10_000, "{gone}");
    let expected: HashMap<_, _> = live.into_values().map(|value| (value, 1)).collect();
    // Connections close in the background, and the last one removes the log.
    for _ in 0..250 {
        if values(&folder) == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(values(&folder), expected);
}
