//! Small models of the memory store's races, with every step of every thread chosen by a scheduler (SPEC S4, S9, S10).
//!
//! ```text
//! RUSTFLAGS="--cfg shuttle" cargo test --features testing --test interleavings
//! ```
//!
//! Each model is played with many random schedules, `TENURE_SEARCH=100` plays a hundred times as many. A deadlock is found
//! too: shuttle fails when no thread can go on. On a failure it prints a schedule that `shuttle::replay` plays again.
#![cfg(shuttle)]

#[path = "common/search.rs"]
mod search;
#[path = "common/store.rs"]
mod store;

use std::{collections::BTreeSet, sync::Arc};

use shuttle::{
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
};
use tower_tenure::{
    EndReason, MemoryStore, SessionId, SessionStore, Timestamp,
    policy::Overflow,
    record::{Change, End, Ending, Record, Updated},
    store::{Created, Creation},
};

use self::store::{SUBJECT, all, capped, login, now_or_never, reason, replacing, second, sid, touch, write};

/// Clones share the sessions.
#[derive(Clone, Default)]
struct Store(MemoryStore);

impl Store {
    fn create(&self, creation: Creation) -> Created {
        now_or_never(self.0.create(creation))
    }

    fn find(&self, sid: SessionId) -> Option<Record> {
        now_or_never(self.0.load(sid))
    }

    #[track_caller]
    fn load(&self, sid: SessionId) -> Record {
        self.find(sid).expect("the record should be there")
    }

    fn update(&self, sid: SessionId, change: Change) -> Updated {
        now_or_never(self.0.update(sid, change))
    }

    fn is_applied(&self, sid: SessionId, change: Change) -> bool {
        matches!(self.update(sid, change), Updated::Applied(_))
    }

    fn end(&self, sid: SessionId, end: End) -> Ending {
        now_or_never(self.0.end(sid, end))
    }

    fn end_subject(&self, end: End) -> Vec<SessionId> {
        now_or_never(self.0.end_subject(SUBJECT.into(), end, None))
    }

    fn live(&self, now: Timestamp) -> BTreeSet<SessionId> {
        now_or_never(self.0.list(all(now))).into_iter().map(|record| record.sid).collect()
    }

    fn sweep(&self, before: Timestamp) -> usize {
        // Twice to the end: the first time it may set out from where an earlier batch stopped.
        let mut removed = 0;
        for _ in 0..2 {
            loop {
                let swept = now_or_never(self.0.sweep(before, usize::MAX));
                removed += swept.removed;
                if swept.finished {
                    break;
                }
            }
        }
        removed
    }
}

/// Plays a model with many schedules, each with a new store.
fn model(play: impl Fn(Store) + Send + Sync + 'static) {
    shuttle::check_random(move || play(Store::default()), search::cases(3000) as usize);
}

/// Begins a thread with a store of the same sessions.
fn go<T: Send + 'static>(
    store: &Store,
    work: impl FnOnce(Store) -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let store = store.clone();
    thread::spawn(move || work(store))
}

fn signed_out(at: Timestamp) -> End {
    End::new(EndReason::SignedOut, at)
}

#[test]
fn s4_an_end_among_touches_and_writes_is_final() {
    model(|store| {
        store.create(login(0, second(0)));
        let touches = [3, 9].map(|at| {
            go(&store, move |store| store.is_applied(sid(0), touch(second(at))).then(|| second(at)))
        });
        let writer = go(&store, |store| store.update(sid(0), write("key", second(5))));
        let end = go(&store, |store| {
            let ending = store.end(sid(0), signed_out(second(6)));
            (ending, store.load(sid(0)))
        });

        let acknowledged = touches.map(|touch| touch.join().unwrap()).into_iter().flatten().max();
        let _ = writer.join().unwrap();
        let (ending, tombstone) = end.join().unwrap();
        assert_eq!(ending, Ending::Done(EndReason::SignedOut));
        assert!(tombstone.data.is_empty() && tombstone.ended.is_some());
        assert_eq!(tombstone.timing.last_interaction_at, acknowledged.unwrap_or(second(0)));
        assert_eq!(store.load(sid(0)), tombstone, "something changed it after its end");
    });
}

#[test]
fn l9_touches_and_writes_in_any_order_leave_the_latest_interaction_and_every_key() {
    model(|store| {
        store.create(login(0, second(0)));
        let mut changes = [2, 7, 4].map(|at| touch(second(at)));
        changes[2].edits = write("with an interaction", second(4)).edits;
        let threads: Vec<_> = changes
            .into_iter()
            .chain([write("alone", second(1))])
            .map(|change| {
                go(&store, |store| {
                    let Updated::Applied(first) = store.update(sid(0), change) else { panic!("not applied") };
                    let seen = store.load(sid(0)).timing.last_interaction_at;
                    assert!(seen >= first.timing.last_interaction_at, "it moved back");
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }

        let record = store.load(sid(0));
        assert_eq!(record.timing.last_interaction_at, second(7));
        assert_eq!((record.data.len(), record.revision), (2, 2));
        // The true gaps are 2, 2 and 3 seconds; an order can only make one longer (E2).
        assert!((3..=7).contains(&record.timing.longest_gap.as_secs()));
    });
}

#[test]
fn s4_an_idle_end_and_a_quicker_interaction_never_both_win() {
    model(|store| {
        store.create(login(0, second(0)));
        let order = End { if_idle_since: Some(second(0)), ..End::new(EndReason::Idle, second(9)) };
        let end = go(&store, move |store| store.end(sid(0), order));
        let touch = go(&store, |store| store.update(sid(0), touch(second(1))));
        match (end.join().unwrap(), touch.join().unwrap()) {
            (Ending::Done(EndReason::Idle), Updated::Gone(Some(EndReason::Idle))) => {
                assert_eq!(reason(&store.load(sid(0))), Some(EndReason::Idle));
            }
            (Ending::StillInUse, Updated::Applied(_)) => {
                assert_eq!(reason(&store.load(sid(0))), None);
            }
            both => panic!("{both:?}"),
        }
    });
}

#[test]
fn s4_a_sweep_never_takes_a_session_whose_interaction_was_acknowledged() {
    model(|store| {
        store.create(login(0, second(0)));
        let after_a_day = second(24 * 3600 + 1);
        let touch = go(&store, |store| store.is_applied(sid(0), touch(second(10))));
        let sweep = go(&store, move |store| store.sweep(after_a_day));
        let (extended, swept) = (touch.join().unwrap(), sweep.join().unwrap());
        assert_eq!(swept, usize::from(!extended));
        assert_eq!(store.find(sid(0)).is_some(), extended);
        assert_eq!(store.live(after_a_day).contains(&sid(0)), extended);
    });
}

#[test]
fn s4_a_login_carries_over_exactly_the_writes_that_were_acknowledged() {
    // The same shard, and both orders of two.
    for (old, new) in [(0, 2), (0, 1), (1, 0)] {
        model(move |store| {
            store.create(login(old, second(0)));
            let writers = ["one", "two"].map(|key| {
                go(&store, move |store| store.is_applied(sid(old), write(key, second(1))).then_some(key))
            });
            let touch = go(&store, move |store| store.update(sid(old), touch(second(1))));
            let created = go(&store, move |store| store.create(replacing(login(new, second(2)), sid(old))));

            let acknowledged: BTreeSet<_> =
                writers.into_iter().filter_map(|writer| writer.join().unwrap()).collect();
            let _ = touch.join().unwrap();
            let Created::Done { record, .. } = created.join().unwrap() else { panic!("not created") };
            assert_eq!(record.data.iter().map(|(key, _)| key).collect::<BTreeSet<_>>(), acknowledged);
            assert_eq!(store.load(sid(new)), record);
            assert_eq!(reason(&store.load(sid(old))), Some(EndReason::Superseded));
            assert!(store.load(sid(old)).data.is_empty());
        });
    }
}

#[test]
fn s4_a_logout_parallel_to_a_login_in_its_place_gives_the_data_away_or_drops_it() {
    model(|store| {
        store.create(login(0, second(0)));
        store.update(sid(0), write("cart", second(0)));
        let end = go(&store, |store| store.end(sid(0), signed_out(second(1))));
        let created = go(&store, |store| store.create(replacing(login(1, second(1)), sid(0))));
        let Created::Done { record, .. } = created.join().unwrap() else { panic!("not created") };
        match end.join().unwrap() {
            Ending::Done(_) => assert!(record.data.is_empty(), "data of a session that was logged out"),
            ending => {
                assert_eq!(ending, Ending::Already(EndReason::Superseded));
                assert_eq!(record.data.len(), 1);
            }
        }
    });
}

#[test]
fn logins_in_each_others_shards_do_not_wait_for_each_other_for_ever() {
    model(|store| {
        for number in [0, 1] {
            // Anonymous, so that no lock of a subject keeps them apart.
            let mut creation = login(number, second(0));
            creation.record.subject = None;
            store.create(creation);
        }
        let threads = [(2, 1), (3, 0)].map(|(new, old)| {
            go(&store, move |store| {
                let mut creation = replacing(login(new, second(1)), sid(old));
                creation.record.subject = None;
                store.create(creation)
            })
        });
        let sweep = go(&store, |store| store.sweep(second(2)));
        for thread in threads {
            assert!(matches!(thread.join().unwrap(), Created::Done { .. }));
        }
        let _ = sweep.join().unwrap();
        for new in [2, 3] {
            assert!(store.load(sid(new)).is_live(second(2)));
        }
    });
}

#[test]
fn s9_an_evicting_cap_holds_among_logins_a_logout_and_an_observer() {
    model(|store| {
        store.create(login(0, second(0)));
        store.create(login(1, second(1)));
        let logins = [2, 3].map(|number| {
            go(&store, move |store| {
                let creation = capped(login(number, second(number)), 2, Overflow::Evict);
                let Created::Done { evicted, .. } = store.create(creation) else { panic!("not created") };
                evicted
            })
        });
        let logout = go(&store, |store| store.end(sid(0), signed_out(second(5))));
        let touch = go(&store, |store| store.update(sid(0), touch(second(4))));
        let observer = go(&store, |store| {
            assert!(store.live(second(5)).len() <= 2, "someone saw more than the cap");
        });

        let told: Vec<_> = logins.map(|login| login.join().unwrap()).concat();
        let ending = logout.join().unwrap();
        let _ = touch.join().unwrap();
        observer.join().unwrap();
        let with_reason = |why| {
            (0..4).map(sid).filter(|&sid| reason(&store.load(sid)) == Some(why)).collect::<BTreeSet<_>>()
        };
        let evicted = with_reason(EndReason::Evicted);
        assert_eq!(told.len(), evicted.len(), "each told of once");
        assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), evicted);
        assert_eq!(
            with_reason(EndReason::SignedOut).contains(&sid(0)),
            ending == Ending::Done(EndReason::SignedOut)
        );
        assert!(store.live(second(5)).len() <= 2);
        assert!(store.load(sid(2)).is_live(second(5)) || store.load(sid(3)).is_live(second(5)));
    });
}

#[test]
fn s9_a_refusing_cap_lets_in_exactly_as_many_as_fit() {
    model(|store| {
        let logins = [0, 1, 2].map(|number| {
            go(&store, move |store| {
                let created = store.create(capped(login(number, second(number)), 1, Overflow::Refuse));
                matches!(created, Created::Done { .. }).then(|| sid(number))
            })
        });
        let let_in: BTreeSet<_> = logins.into_iter().filter_map(|login| login.join().unwrap()).collect();
        assert_eq!(let_in.len(), 1);
        assert_eq!(store.live(second(5)), let_in);
    });
}

#[test]
fn s10_ending_a_subject_among_logins_misses_none_that_was_there_before() {
    model(|store| {
        store.create(login(0, second(0)));
        let (begun, finished) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let logins = [(1, None), (2, Some(0)), (3, None)].map(|(number, old)| {
            let (begun, finished) = (Arc::clone(&begun), Arc::clone(&finished));
            go(&store, move |store| {
                let after = finished.load(SeqCst);
                let creation = login(number, second(1));
                store.create(match old {
                    Some(old) => replacing(creation, sid(old)),
                    None => creation,
                });
                (sid(number), !begun.load(SeqCst), after)
            })
        });
        let end_all = go(&store, move |store| {
            begun.store(true, SeqCst);
            let ended = store.end_subject(End::new(EndReason::Revoked, second(5)));
            finished.store(true, SeqCst);
            ended
        });
        let touch = go(&store, |store| store.update(sid(1), touch(second(4))));

        let seen = logins.map(|login| login.join().unwrap());
        let ended = end_all.join().unwrap();
        let _ = touch.join().unwrap();
        let live = store.live(second(5));
        for (sid, before, after) in seen {
            assert!(!(before && live.contains(&sid)), "it was there before, and is not ended");
            assert!(!after || live.contains(&sid), "it came later, and is ended");
            assert_eq!(store.load(sid).is_live(second(5)), live.contains(&sid), "the index tells the truth");
            assert_eq!(ended.contains(&sid), !live.contains(&sid), "what it ended is what it tells");
        }
        assert!(!store.load(sid(0)).is_live(second(5)));
    });
}

#[test]
fn s10_a_sweep_among_logins_and_ends_leaves_an_index_of_exactly_what_is_there() {
    model(|store| {
        let later = second(24 * 3600 + 5);
        store.create(login(0, second(0)));
        store.create(login(1, second(20)));
        // Over before it is there: the sweep may meet it between its record and its place in the index.
        let stillborn = go(&store, |store| store.create(login(2, second(1))));
        let fresh = go(&store, move |store| store.create(replacing(login(3, later), sid(1))));
        let sweeps = [(); 2].map(|()| go(&store, move |store| store.sweep(later)));
        let end = go(&store, |store| store.end(sid(0), signed_out(second(1))));

        assert!(matches!(stillborn.join().unwrap(), Created::Done { .. }));
        assert!(matches!(fresh.join().unwrap(), Created::Done { .. }));
        let swept: usize = sweeps.map(|sweep| sweep.join().unwrap()).into_iter().sum();
        let _ = end.join().unwrap();

        assert_eq!(store.live(later), BTreeSet::from([sid(3)]));
        assert_eq!(swept + store.sweep(later), 2, "each is swept once");
        // Had the index kept the places of what was swept, these would be listed twice.
        for number in [0, 2] {
            store.create(login(number, second(25 * 3600)));
        }
        assert_eq!(now_or_never(store.0.list(all(second(25 * 3600)))).len(), 3);
        assert_eq!(reason(&store.load(sid(1))), Some(EndReason::Superseded), "kept to be told");
    });
}
