//! What holds for a store that several nodes share, shown on two handles to one server.

#![allow(dead_code, reason = "shared: what is dead differs from crate to crate")]

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};
use tower_tenure::{
    EndReason, Error, SessionStore,
    policy::Overflow,
    record::End,
    store::{Created, SettingsStore},
};

use super::{
    common::{SUBJECT, all, capped, login, second, sid},
    servers::Server,
};

/// S7: one that waits is woken within a second of a change on the other.
pub(crate) async fn are_woken_by_new_settings<S: SettingsStore + Clone>(here: &S, there: &S) {
    for _ in 0..3 {
        let waiting = tokio::spawn({
            let there = there.clone();
            async move { there.settings_changed().await }
        });
        sleep(Duration::from_millis(300)).await; // until it listens
        let version = here.load_settings().await.unwrap().map(|kept| kept.version);
        assert!(here.save_settings("{}".into(), version).await.unwrap());
        timeout(Duration::from_secs(1), waiting).await.expect("woken within a second").unwrap();
    }
}

/// S9: at most three live sessions, whatever comes in parallel.
pub(crate) async fn hold_a_cap<S: SessionStore + Clone>(nodes: &[S; 2]) {
    for (base, overflow) in [(0, Overflow::Refuse), (100, Overflow::Evict)] {
        nodes[0].end_subject(SUBJECT.into(), End::new(EndReason::Revoked, second(0)), None).await.unwrap();
        let logins = (base..base + 40_u32).map(|number| {
            let node = nodes[number as usize % 2].clone();
            tokio::spawn(async move { node.create(capped(login(number, second(number)), 3, overflow)).await })
        });
        let mut admitted = 0;
        for login in logins.collect::<Vec<_>>() {
            admitted += usize::from(matches!(login.await.unwrap().unwrap(), Created::Done { .. }));
        }
        assert_eq!(admitted, if overflow == Overflow::Refuse { 3 } else { 40 });
        assert_eq!(nodes[0].list(all(second(200))).await.unwrap().len(), 3);
    }
}

/// S10: it ends all that came before, tells of those, and of no other.
pub(crate) async fn end_a_subject<S: SessionStore + Clone>(here: &S, there: &S) {
    for round in 0..10_u32 {
        let logins = (0..10).map(|number| {
            let there = there.clone();
            tokio::spawn(async move { there.create(login(round * 100 + number, second(0))).await.unwrap() })
        });
        let logins: Vec<_> = logins.collect();
        let end = End::new(EndReason::Revoked, second(1));
        let mut told = here.end_subject(SUBJECT.into(), end, None).await.unwrap();
        join_all(logins).await;
        let live = here.list(all(second(1))).await.unwrap();
        for number in 0..10 {
            let sid = sid(round * 100 + number);
            let is_live = live.iter().any(|record| record.sid == sid);
            assert_ne!(told.contains(&sid), is_live, "told if and only if ended");
        }
        told.extend(here.end_subject(SUBJECT.into(), end, None).await.unwrap());
        assert_eq!(told.len(), 10);
        assert_eq!(there.list(all(second(1))).await.unwrap(), []);
    }
}

/// S6: a server that was away is used again without a restart of ours.
pub(crate) async fn outlive_their_server<S: SessionStore>(store: &S, server: &mut Server) {
    store.create(login(1, second(0))).await.unwrap();

    server.freeze();
    let calls = (0..20).map(|_| in_time(store.load(sid(1))));
    assert!(join_all(calls).await.iter().all(Option::is_none));
    server.thaw();
    work_again(store, 2).await;

    server.kill();
    assert!(in_time(store.load(sid(1))).await.is_none());
    server.restart();
    work_again(store, 3).await;
    assert!(store.load(sid(1)).await.unwrap().is_some());

    server.replace();
    work_again(store, 4).await;
    assert_eq!(store.load(sid(1)).await.unwrap(), None);
}

async fn in_time<T>(call: impl Future<Output = Result<T, Error>>) -> Option<T> {
    timeout(Duration::from_secs(2), call).await.ok()?.ok()
}

async fn work_again<S: SessionStore>(store: &S, number: u32) {
    for _ in 0..20 {
        let known = in_time(store.create(login(number, second(0)))).await;
        if known.is_some() && in_time(store.load(sid(number))).await.flatten().is_some() {
            return;
        }
        sleep(Duration::from_millis(250)).await;
    }
    panic!("it does not work again");
}
