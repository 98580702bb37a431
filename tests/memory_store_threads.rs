//! The memory store under real threads, all let go at once by a barrier (SPEC S3, S4, S9, S10, L9).
//!
//! Each test plays many rounds, because one round meets one interleaving. `TENURE_SEARCH=100` plays a hundred times as
//! many; `tests/interleavings.rs` has smaller models of the same races, with every step chosen by a scheduler.

#[path = "common/search.rs"]
mod search;
#[path = "common/store.rs"]
mod store;

use std::{
    collections::BTreeSet,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use tower_tenure::{
    EndReason, MemoryStore, SessionId, SessionStore, Timestamp,
    policy::Overflow,
    record::{Change, End, Ending, Record, Updated},
    store::{Created, Creation},
};

use self::store::{SUBJECT, all, capped, login, now_or_never, reason, replacing, second, sid, touch, write};

/// The memory store, called from threads.
#[derive(Default)]
struct Store(MemoryStore);

impl Store {
    fn create(&self, creation: Creation) -> Created {
        now_or_never(self.0.create(creation))
    }

    #[track_caller]
    fn load(&self, sid: SessionId) -> Record {
        now_or_never(self.0.load(sid)).expect("the record should be there")
    }

    fn update(&self, sid: SessionId, change: Change) -> Updated {
        now_or_never(self.0.update(sid, change))
    }

    fn end(&self, sid: SessionId, end: End) -> Ending {
        now_or_never(self.0.end(sid, end))
    }

    fn end_subject(&self, end: End) -> Vec<SessionId> {
        now_or_never(self.0.end_subject(SUBJECT.into(), end, None))
    }

    /// The ids of the subject's live sessions, by the index of subjects.
    fn live(&self, now: Timestamp) -> BTreeSet<SessionId> {
        now_or_never(self.0.list(all(now))).into_iter().map(|record| record.sid).collect()
    }

    fn sweep(&self, before: Timestamp, limit: usize) -> usize {
        // Twice to the end: the first time it may set out from where an earlier batch stopped.
        let mut removed = 0;
        for _ in 0..2 {
            loop {
                let swept = now_or_never(self.0.sweep(before, limit));
                removed += swept.removed;
                if swept.finished {
                    break;
                }
            }
        }
        removed
    }
}

/// Plays a test again and again, each time with a new store.
fn rounds(base: u32, round: impl Fn(&Store)) {
    for _ in 0..search::cases(base) {
        round(&Store::default());
    }
}

/// Runs the same work on so many threads at once, each with its number, and gathers what they return.
fn at_once<T: Send>(threads: u32, work: impl Fn(u32) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(threads as usize);
    let work = |number| {
        barrier.wait();
        work(number)
    };
    thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = (0..threads).map(|number| scope.spawn(move || work(number))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn s9_an_evicting_cap_holds_under_parallel_logins_at_every_moment() {
    const LOGINS: u32 = 16;
    rounds(100, |store| {
        let done = AtomicU32::new(0);
        let evicted = at_once(LOGINS + 1, |number| {
            if number == LOGINS {
                while done.load(SeqCst) < LOGINS {
                    assert!(store.live(second(50)).len() <= 3, "someone saw more than the cap");
                }
                return Vec::new();
            }
            let created = store.create(capped(login(number, second(number)), 3, Overflow::Evict));
            done.fetch_add(1, SeqCst);
            let Created::Done { evicted, .. } = created else { panic!("{created:?}") };
            evicted
        });
        let told: Vec<_> = evicted.into_iter().flatten().collect();
        let ended: BTreeSet<_> = (0..LOGINS)
            .map(sid)
            .filter(|&sid| reason(&store.load(sid)) == Some(EndReason::Evicted))
            .collect();
        assert_eq!(store.live(second(50)).len(), 3);
        assert_eq!(ended.len(), 13);
        assert_eq!((told.len(), told.into_iter().collect::<BTreeSet<_>>()), (13, ended), "each told of once");
    });
}

#[test]
fn s9_a_refusing_cap_lets_in_exactly_as_many_as_fit() {
    rounds(100, |store| {
        let created =
            at_once(16, |number| store.create(capped(login(number, second(number)), 3, Overflow::Refuse)));
        let let_in: BTreeSet<_> = (0..)
            .zip(&created)
            .filter(|(_, created)| matches!(created, Created::Done { .. }))
            .map(|(number, _)| sid(number))
            .collect();
        assert_eq!(let_in.len(), 3);
        assert_eq!(store.live(second(50)), let_in);
        assert_eq!(store.0.len(), 3, "a refused login leaves nothing");
    });
}

#[test]
fn s9_only_what_the_cap_ended_is_told_as_evicted() {
    rounds(300, |store| {
        store.create(login(0, second(0)));
        let told = at_once(2, |number| {
            if number == 0 {
                store.end(sid(0), End::new(EndReason::SignedOut, second(1)));
                return Vec::new();
            }
            let created = store.create(capped(login(1, second(1)), 1, Overflow::Evict));
            let Created::Done { evicted, .. } = created else { panic!("{created:?}") };
            evicted
        });
        let evicted = reason(&store.load(sid(0))) == Some(EndReason::Evicted);
        assert_eq!(told[1].contains(&sid(0)), evicted);
    });
}

#[test]
fn s10_ending_a_subject_leaves_no_session_that_was_there_before() {
    const LOGINS: u32 = 30;
    rounds(100, |store| {
        let (begun, finished) = (AtomicBool::new(false), AtomicBool::new(false));
        let seen = at_once(5, |number| {
            if number == 4 {
                begun.store(true, SeqCst);
                store.end_subject(End::new(EndReason::Revoked, second(50)));
                finished.store(true, SeqCst);
                return Vec::new();
            }
            let numbers = number * LOGINS..(number + 1) * LOGINS;
            let create = |number| {
                let after = finished.load(SeqCst);
                store.create(login(number, second(1)));
                let before = !begun.load(SeqCst);
                (sid(number), before, after)
            };
            numbers.map(create).collect()
        });
        let live = store.live(second(50));
        for (sid, before, after) in seen.into_iter().flatten() {
            assert!(!(before && live.contains(&sid)), "it was there before, and is not ended");
            assert!(!after || live.contains(&sid), "it came later, and is ended");
            let ended = reason(&store.load(sid));
            assert_eq!(
                ended,
                (!live.contains(&sid)).then_some(EndReason::Revoked),
                "the index tells the truth"
            );
        }
    });
}

#[test]
fn s10_ending_a_subject_except_one_session_spares_that_one_only() {
    rounds(50, |store| {
        (0..8).for_each(|number| {
            store.create(login(number, second(number)));
        });
        let others: BTreeSet<_> = (1..8).map(sid).collect();
        let ended = at_once(2, |number| match number {
            0 => {
                let end = End::new(EndReason::Revoked, second(50));
                now_or_never(store.0.end_subject(SUBJECT.into(), end, Some(sid(0))))
            }
            _ => others
                .iter()
                .filter(|&&sid| {
                    store.end(sid, End::new(EndReason::SignedOut, second(50)))
                        == Ending::Done(EndReason::SignedOut)
                })
                .copied()
                .collect(),
        });
        assert_eq!(store.live(second(50)), BTreeSet::from([sid(0)]));
        let told = ended.concat();
        assert_eq!(told.len(), 7, "each was ended by one of both, and told by that one");
        assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), others);
    });
}

#[test]
fn s4_touches_and_writes_never_resurrect_what_has_ended() {
    rounds(300, |store| {
        store.create(login(0, second(0)));
        let ended = AtomicBool::new(false);
        let acknowledged = at_once(6, |number| {
            if number == 0 {
                let end = store.end(sid(0), End::new(EndReason::SignedOut, second(50)));
                assert_eq!(end, Ending::Done(EndReason::SignedOut));
                ended.store(true, SeqCst);
                return second(0);
            }
            let mut last = second(0);
            for step in 0..10 {
                let at = second(1 + step * 6 + number);
                let change = if step % 3 == 2 { write("key", at) } else { touch(at) };
                let (was_ended, moves) = (ended.load(SeqCst), change.timing.interaction_at);
                match store.update(sid(0), change) {
                    Updated::Applied(_) => {
                        assert!(!was_ended, "acknowledged after the end");
                        last = last.max(moves.unwrap_or(last));
                    }
                    gone => assert_eq!(gone, Updated::Gone(Some(EndReason::SignedOut))),
                }
            }
            last
        });
        let tombstone = store.load(sid(0));
        assert_eq!(reason(&tombstone), Some(EndReason::SignedOut));
        assert!(tombstone.data.is_empty(), "a write came through after the end");
        assert_eq!(Some(&tombstone.timing.last_interaction_at), acknowledged.iter().max());
    });
}

#[test]
fn s4_an_idle_end_and_a_quicker_interaction_never_both_win() {
    rounds(300, |store| {
        store.create(login(0, second(0)));
        let end = End { if_idle_since: Some(second(0)), ..End::new(EndReason::Idle, second(9)) };
        let ended = at_once(2, |number| match number {
            0 => store.end(sid(0), end) == Ending::Done(EndReason::Idle),
            _ => store.update(sid(0), touch(second(1))) == Updated::Gone(Some(EndReason::Idle)),
        });
        assert_eq!(ended[0], ended[1], "ended, and the interaction told so; or neither");
        assert_eq!(reason(&store.load(sid(0))).is_some(), ended[0]);
    });
}

#[test]
fn l9_after_64_threads_of_touches_the_last_interaction_is_the_latest() {
    const TOUCHES: u32 = 20;
    rounds(10, |store| {
        store.create(login(0, second(0)));
        at_once(64, |number| {
            let mut known = second(0);
            for step in 0..TOUCHES {
                // In an order that is not that of the arrivals.
                let arrival = second(1 + (number * 37 + step * 19) % (64 * TOUCHES));
                let change = match step % 5 {
                    4 => Change { timing: touch(arrival).timing, ..write(&number.to_string(), arrival) },
                    _ => touch(arrival),
                };
                let Updated::Applied(applied) = store.update(sid(0), change) else { panic!("not applied") };
                assert!(applied.timing.last_interaction_at >= known.max(arrival), "it moved back");
                known = applied.timing.last_interaction_at;
            }
        });
        let latest = (0..64)
            .flat_map(|number| (0..TOUCHES).map(move |step| (number * 37 + step * 19) % (64 * TOUCHES)));
        let record = store.load(sid(0));
        assert_eq!(record.timing.last_interaction_at, second(1 + latest.max().unwrap()));
        assert_eq!(record.data.len(), 64, "no write was lost");
        assert_eq!(record.revision, 64 * u64::from(TOUCHES / 5));
    });
}

#[test]
fn s3_keys_written_at_once_all_survive() {
    rounds(50, |store| {
        store.create(login(0, second(0)));
        at_once(16, |number| store.update(sid(0), write(&number.to_string(), second(1))));
        assert_eq!(store.load(sid(0)).data.len(), 16);
    });
}

#[test]
fn s3_of_compare_and_sets_from_the_same_revision_exactly_one_wins() {
    rounds(100, |store| {
        store.create(login(0, second(0)));
        let change = Change { if_revision: Some(0), ..write("counter", second(1)) };
        let won = at_once(8, |_| matches!(store.update(sid(0), change.clone()), Updated::Applied(_)));
        assert_eq!(won.into_iter().filter(|&won| won).count(), 1);
        assert_eq!(store.load(sid(0)).revision, 1);
    });
}

#[test]
fn s4_a_login_carries_over_exactly_the_writes_that_were_acknowledged() {
    const WRITERS: u32 = 6;
    for (old, new) in [(0, 1), (1, 0), (0, 256)] {
        rounds(100, |store| {
            store.create(login(old, second(0)));
            let acknowledged = at_once(WRITERS + 1, |number| {
                if number == WRITERS {
                    store.create(replacing(login(new, second(1)), sid(old)));
                    return Vec::new();
                }
                let keys = (0..5).map(|step| format!("{number}-{step}"));
                let write = |key: &String| store.update(sid(old), write(key, second(1)));
                keys.filter(|key| matches!(write(key), Updated::Applied(_))).collect()
            });
            let acknowledged: BTreeSet<_> = acknowledged.into_iter().flatten().collect();
            let carried = store.load(sid(new)).data;
            let carried: BTreeSet<_> = carried.iter().map(|(key, _)| key.to_owned()).collect();
            assert_eq!(carried, acknowledged);
            assert_eq!(reason(&store.load(sid(old))), Some(EndReason::Superseded));
            assert_eq!(store.live(second(2)), BTreeSet::from([sid(new)]));
        });
    }
}

#[test]
fn s4_of_two_logins_in_the_place_of_one_session_only_one_gets_its_data() {
    rounds(200, |store| {
        store.create(login(0, second(0)));
        store.update(sid(0), write("cart", second(0)));
        let got = at_once(2, |number| {
            let created = store.create(replacing(login(number + 1, second(1)), sid(0)));
            let Created::Done { record, .. } = created else { panic!("{created:?}") };
            record.data.len()
        });
        assert_eq!(got.iter().sum::<usize>(), 1, "{got:?}");
    });
}

#[test]
fn s2_of_creations_with_the_same_id_exactly_one_wins() {
    rounds(100, |store| {
        let done = at_once(8, |number| {
            let creation =
                Creation { edits: write(&number.to_string(), second(0)).edits, ..login(0, second(0)) };
            matches!(store.create(creation), Created::Done { .. }).then(|| number.to_string())
        });
        let winners: Vec<_> = done.into_iter().flatten().collect();
        assert_eq!(winners.len(), 1);
        assert!(store.load(sid(0)).data.get(&winners[0]).is_some());
    });
}

#[test]
fn a_sweep_takes_what_is_over_and_its_place_in_the_index_and_leaves_what_is_live() {
    let store = Store::default();
    for number in 0..600 {
        store.create(login(number, second(number)));
    }
    (0..200).for_each(|number| {
        store.end(sid(number), End::new(EndReason::SignedOut, second(600)));
    });

    let swept = std::iter::from_fn(|| Some(store.sweep(second(601), 7)).filter(|&removed| removed > 0));
    assert_eq!(swept.sum::<usize>(), 200);
    let live: BTreeSet<_> = (200..600).map(sid).collect();
    assert_eq!(store.live(second(601)), live);
    assert_eq!(store.0.len(), 400);
    assert_eq!(store.end_subject(End::new(EndReason::Revoked, second(601))).len(), 400);

    assert_eq!(store.sweep(second(601), usize::MAX), 0, "what ends at that moment is kept a little longer");
    assert_eq!(store.sweep(second(602), usize::MAX), 400);
    assert_eq!(store.live(second(0)), BTreeSet::new(), "not even those who look into the past find any");
    assert!(store.0.is_empty());

    // Had the index kept the places of what was swept, these would be listed twice.
    (0..600).for_each(|number| {
        store.create(login(number, second(1000 + number)));
    });
    assert_eq!(now_or_never(store.0.list(all(second(1600)))).len(), 600);
}

#[test]
fn s10_a_sweep_parallel_to_everything_else_loses_nothing_that_is_live() {
    const SESSIONS: u32 = 60;
    // Each thread's sessions: a third ends, a third is forgotten and expires, a third stays in use.
    let (day, later) = (Duration::from_secs(24 * 3600), second(2 * 24 * 3600));
    let in_use = |number: u32| number % 3 == 2;
    rounds(40, |store| {
        let working = AtomicU32::new(4);
        at_once(6, |thread| {
            if thread >= 4 {
                while working.load(SeqCst) > 0 {
                    store.sweep(later, 5);
                    store.live(later);
                }
                return;
            }
            for number in thread * SESSIONS..(thread + 1) * SESSIONS {
                if in_use(number) {
                    // Never over at `later`, from the first moment on.
                    store.create(login(number, later - day / 2));
                    let updated = store.update(sid(number), touch(later));
                    assert!(matches!(updated, Updated::Applied(_)), "{updated:?}");
                } else {
                    store.create(login(number, second(number)));
                    // A sweep may be quicker than this: then it is gone, which is as good.
                    store.update(sid(number), touch(second(number + 1)));
                    if number % 3 == 0 {
                        store.end(sid(number), End::new(EndReason::SignedOut, second(number + 1)));
                    }
                }
            }
            working.fetch_sub(1, SeqCst);
        });
        while store.sweep(later, 1000) > 0 {}
        let expected: BTreeSet<_> = (0..4 * SESSIONS).filter(|&number| in_use(number)).map(sid).collect();
        assert_eq!(store.live(later), expected);
        assert_eq!(store.0.len(), expected.len());
        assert_eq!(store.live(second(0)), expected, "the index names nothing that was swept");
    });
}
