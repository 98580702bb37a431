//! The stores pass the conformance suite (SPEC S8). `broken_stores.rs` shows that broken ones do
//! not.

#[expect(dead_code, reason = "its main shows the store to people")]
#[path = "../../examples/custom_store.rs"]
mod custom_store;

use std::sync::Arc;

use custom_store::FileStore;
use tower_tenure::{
    MemoryStore, SessionStore,
    store::{NearCache, SettingsStore},
    testing::{Probe, conformance},
};

#[tokio::test]
async fn s8_the_memory_store_passes() {
    conformance::check(MemoryStore::new()).await;
}

#[tokio::test]
async fn s7_the_memory_store_keeps_settings() {
    let store = MemoryStore::new();
    conformance::check_settings(&store, &store.clone()).await;
    assert!(store.load_settings("conformance").await.unwrap().is_some());
    conformance::check_settings(&store.clone(), &store).await;
}

#[tokio::test]
async fn s8_the_memory_store_passes_where_it_is_taken_for_a_remote_one() {
    conformance::check(Probe::remote(MemoryStore::new())).await;
}

#[tokio::test]
async fn s8_the_memory_store_passes_with_calls_that_pend_and_cross() {
    let store = Probe::remote(MemoryStore::new());
    store.pause(2);
    conformance::check(store).await;
}

#[tokio::test]
async fn s8_a_store_behind_a_near_cache_passes() {
    let store = Probe::remote(MemoryStore::new());
    store.pause(2);
    conformance::check(NearCache::new(store)).await;
    let store = MemoryStore::new();
    conformance::check_settings(&NearCache::new(store.clone()), &NearCache::new(store)).await;
}

/// Each check has its own file, because every write rewrites the whole file.
#[tokio::test]
async fn s8_the_store_of_the_example_passes() {
    let path = std::env::temp_dir().join(format!("conformance_{}.json", std::process::id()));
    for check in conformance::checks() {
        let store = Arc::new(FileStore::open(&path).unwrap());
        check.run(&store).await;
        // Its file can be read again, and users keep their places.
        let again = FileStore::open(&path).unwrap();
        let is_there = path.exists();
        assert!(!is_there || again.place_key() == store.place_key(), "{}", check.name());
        if is_there {
            std::fs::remove_file(&path).unwrap();
        }
    }
}

#[test]
fn s1_a_store_takes_few_lines() {
    let source = include_str!("../../examples/custom_store.rs");
    let (_, store) = source.split_once("impl SessionStore for FileStore {\n").unwrap();
    let (store, _) = store.split_once("\n}\n").unwrap();
    let lines = store.lines().filter(|line| !line.trim().is_empty()).count();
    assert!(lines <= 75, "{lines}");
}

#[tokio::test]
async fn s8_every_check_runs_alone_and_twice_on_a_store_with_other_data() {
    let store = Arc::new(MemoryStore::new());
    for _ in 0..2 {
        for check in conformance::checks() {
            check.run(&store).await;
        }
    }
    assert!(!store.is_empty(), "the suite leaves others' data alone, so also its own");
}

#[test]
fn s8_every_check_has_a_name_of_its_own_that_begins_with_a_rule() {
    let mut names: Vec<_> =
        conformance::checks::<MemoryStore>().iter().map(conformance::Check::name).collect();
    for name in &names {
        let rule = name.split('_').next().unwrap();
        let (letter, number) = rule.split_at(1);
        assert!("lceshob".contains(letter) && number.parse::<u8>().is_ok(), "{name}");
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}
