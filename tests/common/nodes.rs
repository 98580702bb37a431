//! Guarantees of a store that several nodes share, tested with two handles to one server.

use std::{collections::HashSet, time::Duration};

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};
use tower_tenure::{
    EndReason, Error, Policy, SessionStore,
    policy::{Admission, Cap, Overflow, admit},
    record::EndOutcome,
    store::{CreateOutcome, Creation, SettingsStore, Sweep},
};

use super::{
    servers::Server,
    store::{REALM, all, cap, departure, end, login, revocation, second, sid},
};

/// S7: a waiting node is woken within a second after a change on the other node.
pub(crate) async fn are_woken_by_new_settings<S: SettingsStore + Clone>(here: &S, there: &S) {
    for _ in 0..3 {
        let waiting = tokio::spawn({
            let there = there.clone();
            async move { there.settings_changed().await }
        });
        sleep(Duration::from_millis(300)).await; // until it listens
        let version = here.load_settings(REALM).await.unwrap().map(|stored| stored.version);
        assert!(here.save_settings(REALM, "{}".into(), version).await.unwrap());
        timeout(Duration::from_secs(1), waiting).await.expect("woken within a second").unwrap();
    }
}

/// A login under a cap, as the middleware does it. Returns whether it was admitted.
pub(crate) async fn log_in<S: SessionStore>(node: &S, number: u32, cap: Cap) -> bool {
    let now = second(number);
    let mut creation = Creation { cap: Some(cap.most()), ..login(number, now) };
    loop {
        match node.create(creation.clone()).await.unwrap() {
            CreateOutcome::Created { .. } => return true,
            CreateOutcome::Full { count, sessions } => {
                assert_eq!(count, sessions.len());
                match admit(cap, count, &sessions, &Policy::default(), now) {
                    Admission::Refuse(_) => return false,
                    Admission::Admit(gone) => {
                        creation.ends = gone.into_iter().map(|gone| departure(gone, now)).collect();
                    }
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

/// S9: at most three live sessions under parallel logins on both nodes.
pub(crate) async fn hold_a_cap<S: SessionStore + Clone>(nodes: &[S; 2]) {
    for (base, overflow) in [(1, Overflow::Refuse), (101, Overflow::Evict)] {
        nodes[0].revoke(revocation(second(base - 1), None)).await.unwrap();
        end_what_was_revoked(nodes, base).await;
        let logins = (base..base + 40_u32).map(|number| {
            let node = nodes[number as usize % 2].clone();
            tokio::spawn(async move { log_in(&node, number, cap(3, overflow)).await })
        });
        let mut admitted = 0;
        for login in logins.collect::<Vec<_>>() {
            admitted += usize::from(login.await.unwrap());
        }
        assert_eq!(admitted, if overflow == Overflow::Refuse { 3 } else { 40 });
        assert_eq!(nodes[0].list(all()).await.unwrap().len(), 3);
    }
}

/// Interleaving: two nodes sweep concurrently until no covered session is left. Exactly one of them
/// reports each end. Returns the number of ends.
async fn end_what_was_revoked<S: SessionStore>(nodes: &[S; 2], at: u32) -> usize {
    let mut ended = HashSet::new();
    loop {
        let sweep = || Sweep { realm: Some(REALM.into()), now: second(at), limit: 7 };
        let swept = join_all(nodes.iter().map(|node| async move {
            let swept = node.sweep(sweep()).await.unwrap();
            assert!(swept.found.iter().all(|record| record.revoked_at.is_some()), "only those are over");
            let sids: Vec<_> = swept.found.iter().map(|record| record.sid).collect();
            let requests = sids.iter().map(|sid| (*sid, end(EndReason::Idle, second(at)))).collect();
            let outcomes = node.end_many(requests).await.unwrap();
            let ended = sids.into_iter().zip(outcomes).filter_map(|(sid, outcome)| match outcome {
                EndOutcome::Ended(session) => Some((sid, session.reason)),
                _ => None,
            });
            (swept.finished, ended.collect::<Vec<_>>())
        }))
        .await;
        let mut finished = true;
        for (is_finished, theirs) in swept {
            finished &= is_finished;
            for (sid, reason) in theirs {
                assert_eq!(reason, EndReason::Revoked);
                assert!(ended.insert(sid), "an end is reported once");
            }
        }
        if finished {
            return ended.len();
        }
    }
}

/// S10. Interleaving: logins commit before, during and after a revocation. What was stored before
/// it returned is over and ends once. No login that arrived before it is stored later.
pub(crate) async fn revoke_a_subject<S: SessionStore + Clone>(here: &S, there: &S) {
    for round in 0..10_u32 {
        let at = round * 1000;
        let logins = (0..10).map(|number| {
            let there = there.clone();
            tokio::spawn(async move { there.create(login(at + number, second(at))).await.unwrap() })
        });
        let logins: Vec<_> = logins.collect();
        here.revoke(revocation(second(at + 1), None)).await.unwrap();
        let mut stored = 0;
        for (number, login) in (at..).zip(join_all(logins).await) {
            match login.unwrap() {
                CreateOutcome::Created { .. } => {
                    stored += 1;
                    let record = there.load(sid(number)).await.unwrap().unwrap();
                    assert_eq!(record.end_reason_at(second(at + 1)), Some(EndReason::Revoked));
                }
                CreateOutcome::SignedOutEverywhere => {}
                other => panic!("{other:?}"),
            }
        }
        let after = there.create(login(at + 100, second(at + 2))).await.unwrap();
        assert!(matches!(after, CreateOutcome::Created { .. }), "{after:?}");
        let nodes = [here.clone(), there.clone()];
        assert_eq!(end_what_was_revoked(&nodes, at + 2).await, stored);
        let left = here.list(all()).await.unwrap();
        assert_eq!(left.iter().map(|record| record.sid).collect::<Vec<_>>(), [sid(at + 100)]);
        let outcome = here.end(sid(at + 100), end(EndReason::SignedOut, second(at + 3)), None).await.unwrap();
        assert!(matches!(outcome, EndOutcome::Ended(_)), "{outcome:?}");
    }
}

/// S6: after an outage the server is used again without a restart of the application.
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
