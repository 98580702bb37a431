//! Sweeps of the memory store, alone and concurrent with all other calls under real threads (SPEC
//! O2, S10).

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU32, Ordering::SeqCst},
    time::Duration,
};

use tower_tenure::{
    EndReason, SessionId, SessionStore, Timestamp,
    policy::Overflow,
    record::{Record, Tag},
    store::{Creation, Page, Sweep},
};

use crate::common::HOUR;
use crate::{
    common::store::{
        REALM, cap, end, ended, log_in, login, login_of, now_or_never, second, sid, sid_at, touch,
    },
    threads::{Store, at_once, rounds},
};

impl Store {
    /// All users' sessions that have not ended, in the order of the list.
    fn everybody(&self) -> Vec<SessionId> {
        let page = Page { realm: REALM.into(), subject: None, after: None, limit: usize::MAX };
        now_or_never(self.0.list(page)).into_iter().map(|record| record.sid).collect()
    }

    /// One batch of a sweep. Returns what it ended, how many tombstones it removed, and whether it
    /// was the last.
    fn sweep_batch(&self, now: Timestamp, limit: usize) -> (Vec<SessionId>, usize, bool) {
        let swept = now_or_never(self.0.sweep(Sweep { realm: Some(REALM.into()), now, limit }));
        assert!(swept.found.len() <= limit && swept.removed <= limit);
        let over = |record: &Record| {
            let mut request = end(EndReason::Idle, now);
            request.options.if_idle_since = Some(record.timing.last_interaction_at);
            ended(&self.end(record.sid, request)).map(|_| record.sid)
        };
        (swept.found.iter().filter_map(over).collect(), swept.removed, swept.finished)
    }

    /// Sweeps to the end twice, because the first pass may begin where an earlier batch stopped.
    fn sweep(&self, now: Timestamp, limit: usize) -> (Vec<SessionId>, usize) {
        let (mut all_ended, mut all_removed) = (Vec::new(), 0);
        for _ in 0..2 {
            loop {
                let (ended, removed, finished) = self.sweep_batch(now, limit);
                all_ended.extend(ended);
                all_removed += removed;
                if finished {
                    break;
                }
            }
        }
        (all_ended, all_removed)
    }
}

/// The age at which a sweep removes a tombstone.
const FORGOTTEN: Duration = Duration::from_millis(3_600_001);

/// Six subjects, each in its own shard.
fn of_many(number: u32, at: Timestamp) -> Creation {
    let (subject, tag) = many(number);
    login_of(&subject, tag, number, at)
}

fn many(number: u32) -> (String, Tag) {
    let subject = number % 6;
    (format!("user {subject}"), Tag::from_bytes([b'm', b'a', b'n', b'y', 0, u8::try_from(subject).unwrap()]))
}

fn sid_of_many(number: u32) -> SessionId {
    sid_at(many(number).1, number)
}

#[test]
fn o2_a_sweep_ends_what_is_over_and_later_removes_it_and_leaves_what_is_live() {
    let store = Store::default();
    let day = 24 * 3600;
    for number in 0..600 {
        store.create(of_many(number, second(number)));
    }
    (0..200).for_each(|number| {
        store.end(sid_of_many(number), end(EndReason::SignedOut, second(600)));
    });
    let (ended, removed) = store.sweep(second(600) + HOUR, 7);
    assert_eq!((ended.len(), removed), (0, 0), "tombstones are kept for an hour");
    let (ended, removed) = store.sweep(second(600) + FORGOTTEN, 7);
    assert_eq!((ended.len(), removed), (0, 200));
    assert_eq!(store.0.len(), 400);
    let in_order: Vec<_> = (200..600).map(sid_of_many).collect();
    assert_eq!(store.everybody(), in_order);

    // Exactly half of them are expired at this second.
    let (ended, removed) = store.sweep(second(day + 399), 7);
    assert_eq!(removed, 0);
    assert_eq!(ended.len(), 200);
    assert_eq!(ended.into_iter().collect::<BTreeSet<_>>(), (200..400).map(sid_of_many).collect());
    assert_eq!(store.everybody(), &in_order[200..]);
    assert_eq!(store.0.len(), 400, "their tombstones are there");
    let (ended, removed) = store.sweep(second(day + 399) + FORGOTTEN, usize::MAX);
    assert_eq!((ended.len(), removed), (200, 200));
    let (ended, removed) = store.sweep(second(day + 399) + 2 * FORGOTTEN, usize::MAX);
    assert_eq!((ended.len(), removed), (0, 200));
    assert!(store.0.is_empty());
    assert_eq!(store.everybody(), []);

    // If the index had kept entries of swept sessions, these would be listed twice.
    (0..600).for_each(|number| {
        store.create(of_many(number, second(1000 + number)));
    });
    assert_eq!(store.everybody().len(), 600);
}

/// S14: a batch continues within one user's sessions, where the previous batch stopped.
#[test]
fn s14_a_sweep_looks_at_no_session_of_a_user_twice() {
    let (store, over) = (Store::default(), second(24 * 3600 + 900));
    for number in 0..900 {
        store.create(login(number, second(number)));
    }
    let mut found = Vec::new();
    loop {
        let swept = now_or_never(store.0.sweep(Sweep { realm: None, now: over, limit: 10 }));
        assert!(swept.found.len() <= 10);
        found.extend(swept.found.into_iter().map(|record| record.sid));
        if swept.finished {
            break;
        }
    }
    assert_eq!(found.len(), 900);
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), (0..900).map(sid).collect());
}

#[test]
fn s10_a_sweep_parallel_to_everything_else_loses_nothing_that_is_live_and_ends_each_other_once() {
    const SESSIONS: u32 = 60;
    // Of each thread's sessions a third is logged out, a third expires, and a third stays in use.
    let (day, later) = (24 * HOUR, second(2 * 24 * 3600));
    let in_use = |number: u32| number % 3 == 2;
    rounds(40, |store| {
        let working = AtomicU32::new(4);
        let done = at_once(6, |thread| {
            let mut reported = Vec::new();
            if thread >= 4 {
                while working.load(SeqCst) > 0 {
                    reported.extend(store.sweep_batch(later, 5).0);
                    store.everybody();
                }
                return reported;
            }
            for number in thread * SESSIONS..(thread + 1) * SESSIONS {
                let sid = sid_of_many(number);
                if in_use(number) {
                    // Live at `later` from its creation on.
                    store.create(of_many(number, later - day / 2));
                    assert!(store.is_applied(sid, touch(later)));
                } else {
                    store.create(of_many(number, second(number)));
                    // Interleaving: a sweep may end the session before this update.
                    store.update(sid, touch(second(number + 1)));
                    if number % 3 == 0 {
                        let outcome = store.end(sid, end(EndReason::SignedOut, second(number + 1)));
                        reported.extend(ended(&outcome).map(|_| sid));
                    }
                }
            }
            working.fetch_sub(1, SeqCst);
            reported
        });
        let mut reported = done.concat();
        reported.extend(store.sweep(later, 1000).0);
        store.sweep(later + FORGOTTEN, 1000);
        let stay: BTreeSet<_> = (0..4 * SESSIONS).filter(|&number| in_use(number)).map(sid_of_many).collect();
        let over: BTreeSet<_> =
            (0..4 * SESSIONS).filter(|&number| !in_use(number)).map(sid_of_many).collect();
        assert_eq!(reported.len(), over.len(), "each end is reported once");
        assert_eq!(reported.into_iter().collect::<BTreeSet<_>>(), over);
        assert_eq!(store.everybody().into_iter().collect::<BTreeSet<_>>(), stay);
        assert_eq!(store.0.len(), stay.len());
    });
}

#[test]
fn o2_what_a_revocation_covers_is_ended_once_among_sweeps_and_logins() {
    rounds(60, |store| {
        (0..20).for_each(|number| {
            store.create(login(number, second(0)));
        });
        store.revoke(second(1), None);
        let ended = at_once(4, |thread| {
            if thread == 0 {
                let creation = login(100, second(2));
                return log_in(creation, cap(5, Overflow::Evict), second(2), |it| store.create(it)).ended;
            }
            let mut reported = Vec::new();
            for _ in 0..10 {
                let (ended, ..) = store.sweep_batch(second(2), 3);
                reported.extend(ended.into_iter().map(|sid| (sid, EndReason::Revoked)));
            }
            reported
        });
        let mut reported = ended.concat();
        reported.extend(store.sweep(second(2), 100).0.into_iter().map(|sid| (sid, EndReason::Revoked)));
        assert!(reported.iter().all(|(_, why)| *why == EndReason::Revoked));
        assert_eq!(reported.len(), 20, "each end is reported once");
        let sids: BTreeSet<_> = reported.into_iter().map(|(sid, _)| sid).collect();
        assert_eq!(sids, (0..20).map(sid).collect());
        assert_eq!(store.listed(), BTreeSet::from([sid(100)]));
    });
}
