//! Settings that all nodes share (SPEC S7, M2, L5): stored, applied by every node, never lost.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use tower_tenure::{
    Error, ErrorKind, Lifetimes, MemoryStore, Mode, Policy, SharedPolicy,
    policy::{Cap, Limits, Overflow, PolicySettings},
    store::{SettingsStore, StoredSettings},
};

/// A settings store that can fail, hang, or be replaced by an empty one.
#[derive(Clone, Default)]
struct Keeper {
    store: Arc<Mutex<MemoryStore>>,
    away: Arc<AtomicBool>,
    hangs: Arc<AtomicBool>,
    looks: Arc<AtomicU32>,
}

impl Keeper {
    async fn reach(&self) -> Result<MemoryStore, Error> {
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if self.away.load(Ordering::Relaxed) {
            return Err(Error::store("away"));
        }
        Ok(self.store.lock().unwrap().clone())
    }

    fn replace(&self) {
        *self.store.lock().unwrap() = MemoryStore::new();
    }
}

impl SettingsStore for Keeper {
    async fn load_settings(&self, realm: &str) -> Result<Option<StoredSettings>, Error> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.reach().await?.load_settings(realm).await
    }

    async fn save_settings(&self, realm: &str, text: Arc<str>, after: Option<u64>) -> Result<bool, Error> {
        self.reach().await?.save_settings(realm, text, after).await
    }
}

fn minutes(idle: u32, absolute: u32) -> Lifetimes {
    Lifetimes::from_minutes(idle, absolute)
}

fn configured(idle: u32) -> Policy {
    Policy::new(minutes(idle, 100), minutes(idle, 100)).with_limits(Limits::SELF_SERVICE)
}

async fn node(keeper: &Keeper, idle: u32) -> SharedPolicy {
    let shared = SharedPolicy::open(keeper.clone(), configured(idle)).await.unwrap();
    tokio::spawn(shared.clone().follow());
    shared
}

async fn set(shared: &SharedPolicy, idle: u32) -> Result<Policy, Error> {
    let change = |settings: &mut PolicySettings| {
        settings.persistent = minutes(idle, 100);
        Ok(())
    };
    shared.change(change).await
}

fn idle(shared: &SharedPolicy) -> u64 {
    shared.live().load().configured(Mode::Persistent).idle().as_secs() / 60
}

#[tokio::test(start_paused = true)]
async fn s7_an_empty_store_starts_from_what_the_first_node_is_configured_with_and_then_the_store_wins() {
    let keeper = Keeper::default();
    let first = node(&keeper, 5).await;
    let second = node(&keeper, 7).await;
    assert_eq!((idle(&first), idle(&second)), (5, 5));
    assert_eq!(second.live().load().limits(), Limits::SELF_SERVICE, "limits are the node's own");

    set(&second, 9).await.unwrap();
    let after_a_restart = node(&keeper, 11).await;
    assert_eq!(idle(&after_a_restart), 9);
}

#[tokio::test(start_paused = true)]
async fn m2_a_change_is_in_force_here_at_once_and_on_every_node_within_two_seconds() {
    let keeper = Keeper::default();
    let (first, second) = (node(&keeper, 5).await, node(&keeper, 5).await);
    for wanted in [3, 8, 2] {
        assert_eq!(set(&first, wanted).await.unwrap(), first.live().load());
        assert_eq!(idle(&first), u64::from(wanted));
        tokio::time::sleep(Duration::from_millis(1900)).await;
        assert_eq!(idle(&second), u64::from(wanted));
    }
}

#[tokio::test]
async fn m2_of_two_nodes_that_change_different_settings_neither_is_undone() {
    let keeper = Keeper::default();
    let nodes = [node(&keeper, 5).await, node(&keeper, 5).await];
    for round in 1..50 {
        let (first, second) = (nodes[0].clone(), nodes[1].clone());
        let one = tokio::spawn(async move {
            first
                .change(|settings| {
                    settings.persistent = minutes(round, 1000);
                    Ok(())
                })
                .await
        });
        let other = tokio::spawn(async move {
            second
                .change(|settings| {
                    settings.non_persistent = minutes(round, 2000);
                    Ok(())
                })
                .await
        });
        one.await.unwrap().unwrap();
        other.await.unwrap().unwrap();
        for node in &nodes {
            node.refresh().await.unwrap();
            assert_eq!(node.settings().persistent, minutes(round, 1000));
            assert_eq!(node.settings().non_persistent, minutes(round, 2000));
        }
    }
}

#[tokio::test]
async fn m2_a_change_that_is_refused_changes_nothing() {
    let keeper = Keeper::default();
    let shared = SharedPolicy::open(keeper.clone(), configured(5)).await.unwrap();
    let before = keeper.load_settings("__Host-id").await.unwrap();
    let refused = shared
        .change(|settings| {
            settings.persistent = minutes(1, 1);
            Err(Error::new(ErrorKind::InvalidInput, "no"))
        })
        .await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!((idle(&shared), keeper.load_settings("__Host-id").await.unwrap()), (5, before));
}

#[tokio::test(start_paused = true)]
async fn s6_while_the_store_is_away_the_policy_stays_and_afterwards_it_is_followed_again() {
    let keeper = Keeper::default();
    let (first, second) = (node(&keeper, 5).await, node(&keeper, 5).await);
    for switch in [&keeper.away, &keeper.hangs] {
        set(&first, 6).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        switch.store(true, Ordering::Relaxed);
        assert!(set(&first, 7).await.unwrap_err().is_store_failure());
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!((idle(&first), idle(&second)), (6, 6));
        switch.store(false, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(3)).await;
        set(&first, 8).await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(idle(&second), 8);
    }
}

#[tokio::test(start_paused = true)]
async fn s7_a_store_that_was_replaced_by_an_empty_one_gets_the_settings_again() {
    let keeper = Keeper::default();
    let (first, second) = (node(&keeper, 5).await, node(&keeper, 5).await);
    set(&first, 6).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    keeper.replace();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((idle(&first), idle(&second)), (6, 6));
    assert_eq!(keeper.load_settings("__Host-id").await.unwrap().unwrap().version, 1);
    set(&second, 4).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(idle(&first), 4);
}

#[tokio::test(start_paused = true)]
async fn s7_settings_that_cannot_be_read_are_refused_at_the_start_and_ignored_later() {
    let keeper = Keeper::default();
    let shared = node(&keeper, 5).await;
    for nonsense in ["", "[]", "{\"persistent\":{\"idle\":0,\"absolute\":1}}"] {
        let version = keeper.load_settings("__Host-id").await.unwrap().unwrap().version;
        assert!(keeper.save_settings("__Host-id", nonsense.into(), Some(version)).await.unwrap());
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(idle(&shared), 5);
        let refused = SharedPolicy::open(keeper.clone(), configured(5)).await.unwrap_err();
        assert!(refused.to_string().contains("settings in the store cannot be read"), "{refused}");
    }
}

#[tokio::test]
async fn s7_what_a_newer_version_keeps_beside_is_carried_along() {
    let keeper = Keeper::default();
    let shared = SharedPolicy::open(keeper.clone(), configured(5)).await.unwrap();
    let kept = keeper.load_settings("__Host-id").await.unwrap().unwrap();
    let text = kept.text.replacen('{', "{\"allowed\":[\"x\",{\"y\":1}],", 1);
    assert!(keeper.save_settings("__Host-id", text.into(), Some(kept.version)).await.unwrap());
    shared.refresh().await.unwrap();
    set(&shared, 9).await.unwrap();
    let kept = keeper.load_settings("__Host-id").await.unwrap().unwrap().text;
    assert!(kept.contains("\"allowed\":[\"x\",{\"y\":1}]"), "{kept}");
}

#[tokio::test(start_paused = true)]
async fn m2_following_asks_the_store_about_once_a_second() {
    let keeper = Keeper::default();
    let _node = node(&keeper, 5).await;
    keeper.looks.store(0, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let looks = keeper.looks.load(Ordering::Relaxed);
    assert!((50..=60).contains(&looks), "{looks}");
}

/// A node's flags count until the setting is changed in the store, even if it is changed to none.
#[tokio::test]
async fn s9_r1_the_cap_and_the_logout_urls_are_a_nodes_own_until_they_are_set() {
    let store = MemoryStore::new();
    let cap = |most: u32| Some(Cap::new(most.try_into().unwrap(), Overflow::Refuse));
    let node = async |most: u32, url: &str| {
        let policy = Policy::default().with_cap(cap(most));
        let seed = PolicySettings { allowed_logout_urls: vec![url.to_owned()], ..policy.into() };
        SharedPolicy::open_with_seed(store.clone(), policy, seed).await.unwrap()
    };
    let has = |node: &SharedPolicy| (node.live().load().cap(), node.settings().allowed_logout_urls);
    let (one, two) = (node(1, "https://one.example/").await, node(2, "https://two.example/").await);
    let idle = |settings: &mut PolicySettings| {
        settings.persistent = Lifetimes::from_minutes(5, 10);
        Ok(())
    };
    one.change(idle).await.unwrap();
    two.refresh().await.unwrap();
    assert_eq!(has(&one), (cap(1), vec!["https://one.example/".to_owned()]));
    assert_eq!(has(&two), (cap(2), vec!["https://two.example/".to_owned()]));

    let cap_off = |settings: &mut PolicySettings| {
        settings.cap = None;
        Ok(())
    };
    one.change(cap_off).await.unwrap();
    let urls_off = |settings: &mut PolicySettings| {
        settings.allowed_logout_urls.clear();
        Ok(())
    };
    two.refresh().await.unwrap();
    assert_eq!(has(&two), (None, vec!["https://two.example/".to_owned()]));
    two.change(urls_off).await.unwrap();
    one.refresh().await.unwrap();
    for settled in [&one, &two, &node(3, "https://three.example/").await] {
        assert_eq!(has(settled), (None, vec![]));
        assert_eq!(settled.settings().persistent, Lifetimes::from_minutes(5, 10));
    }
}
