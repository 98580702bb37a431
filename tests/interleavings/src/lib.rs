//! Small models of the memory store's races. A scheduler chooses every step of every thread (SPEC
//! S4, S9, S10, L14).
//!
//! ```text
//! RUSTFLAGS="--cfg shuttle" cargo test --manifest-path tests/interleavings/Cargo.toml --target-dir target/shuttle
//! ```
//!
//! Each model runs with many random schedules. `TENURE_SEARCH=100` runs a hundred times as many.
//! Deadlocks are found, too: shuttle fails if no thread can continue. On a failure it prints a
//! schedule that `shuttle::replay` repeats.
#![cfg(all(shuttle, test))]

#[path = "../../common/search.rs"]
mod search;
#[path = "../../common/store.rs"]
mod store;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use shuttle::{
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
};
use tower_tenure::{
    EndReason, MemoryStore, SessionId, SessionStore, Timestamp,
    policy::Overflow,
    record::{Change, EndOutcome, EndRequest, Record, Tag, UpdateOutcome},
    store::{CreateOutcome, Creation, Page, Sweep},
};

use self::store::{
    Admitted, REALM, all, cap, end, ended, log_in, login, login_of, now_or_never, reason, replacing,
    revocation, second, sid, sid_at, touch, write,
};

/// Clones share the sessions.
#[derive(Clone, Default)]
struct Store(MemoryStore);

impl Store {
    fn create(&self, creation: Creation) -> CreateOutcome {
        now_or_never(self.0.create(creation))
    }

    /// Creates a session, which must succeed.
    #[track_caller]
    fn open(&self, creation: Creation) -> (Record, Vec<EndOutcome>) {
        match self.create(creation) {
            CreateOutcome::Created { record, ended } => (*record, ended),
            other => panic!("not created: {other:?}"),
        }
    }

    fn log_in(&self, number: u32, most: u32, overflow: Overflow) -> Admitted {
        let creation = login(number, second(number));
        log_in(creation, cap(most, overflow), second(number), |creation| self.create(creation))
    }

    fn find(&self, sid: SessionId) -> Option<Box<Record>> {
        now_or_never(self.0.load(sid))
    }

    #[track_caller]
    fn load(&self, sid: SessionId) -> Box<Record> {
        self.find(sid).expect("the record should be there")
    }

    fn update(&self, sid: SessionId, change: Change) -> UpdateOutcome {
        now_or_never(self.0.update(sid, change, None))
    }

    fn is_applied(&self, sid: SessionId, change: Change) -> bool {
        matches!(self.update(sid, change), UpdateOutcome::Applied(_))
    }

    fn end(&self, sid: SessionId, request: EndRequest) -> EndOutcome {
        now_or_never(self.0.end(sid, request, None))
    }

    fn revoke(&self, at: Timestamp, except: Option<SessionId>) {
        now_or_never(self.0.revoke(revocation(at, except)));
    }

    /// The subject's sessions that have not ended.
    fn listed(&self) -> BTreeSet<SessionId> {
        now_or_never(self.0.list(all())).into_iter().map(|record| record.sid).collect()
    }

    /// The subject's live sessions.
    fn live(&self, now: Timestamp) -> BTreeSet<SessionId> {
        let listed = now_or_never(self.0.list(all())).into_iter();
        listed.filter(|record| record.is_live(now)).map(|record| record.sid).collect()
    }

    fn everybody(&self) -> Vec<SessionId> {
        let page = Page { realm: REALM.into(), subject: None, after: None, limit: usize::MAX };
        now_or_never(self.0.list(page)).into_iter().map(|record| record.sid).collect()
    }

    /// Sweeps to the end, and ends what it finds. Returns what it ended, and how many tombstones it
    /// removed.
    fn sweep(&self, now: Timestamp) -> (Vec<SessionId>, usize) {
        // Twice to the end, because the first pass may begin where an earlier batch stopped.
        let (mut over, mut removed) = (Vec::new(), 0);
        for _ in 0..2 {
            loop {
                let sweep = Sweep { realm: None, now, limit: usize::MAX };
                let swept = now_or_never(self.0.sweep(sweep));
                removed += swept.removed;
                for record in swept.found {
                    let mut request = end(EndReason::Idle, now);
                    request.options.if_idle_since = Some(record.timing.last_interaction_at);
                    over.extend(ended(&self.end(record.sid, request)).map(|_| record.sid));
                }
                if swept.finished {
                    break;
                }
            }
        }
        (over, removed)
    }
}

/// Runs a model with many schedules, each with a new store.
fn model(play: impl Fn(Store) + Send + Sync + 'static) {
    shuttle::check_random(move || play(Store::default()), search::cases(3000) as usize);
}

/// Spawns a thread with a clone of the store.
fn go<T: Send + 'static>(
    store: &Store,
    work: impl FnOnce(Store) -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let store = store.clone();
    thread::spawn(move || work(store))
}

fn signed_out(at: Timestamp) -> EndRequest {
    end(EndReason::SignedOut, at)
}

/// A second subject in the other shard.
fn other(number: u32, at: Timestamp) -> Creation {
    login_of("bob", OTHER, number, at)
}

const OTHER: Tag = Tag::from_bytes(*b"bobbob");

const DAY: Duration = Duration::from_secs(24 * 3600);

#[test]
fn s4_an_end_among_touches_and_writes_is_final() {
    model(|store| {
        store.open(login(0, second(0)));
        let touches = [3, 9].map(|at| {
            go(&store, move |store| store.is_applied(sid(0), touch(second(at))).then(|| second(at)))
        });
        let writer = go(&store, |store| store.update(sid(0), write("key", second(5))));
        let ending = go(&store, |store| {
            let outcome = store.end(sid(0), signed_out(second(6)));
            (outcome, store.load(sid(0)))
        });

        let acknowledged = touches.map(|touch| touch.join().unwrap()).into_iter().flatten().max();
        let _ = writer.join().unwrap();
        let (outcome, tombstone) = ending.join().unwrap();
        assert_eq!(ended(&outcome), Some(EndReason::SignedOut));
        assert!(tombstone.data.is_empty() && tombstone.ended.is_some());
        assert_eq!(tombstone.timing.last_interaction_at, acknowledged.unwrap_or(second(0)));
        assert_eq!(store.load(sid(0)), tombstone, "something changed it after its end");
    });
}

#[test]
fn l9_touches_and_writes_in_any_order_leave_the_latest_interaction_and_every_key() {
    model(|store| {
        store.open(login(0, second(0)));
        let mut changes = [2, 7, 4].map(|at| touch(second(at)));
        changes[2].edits = write("with an interaction", second(4)).edits;
        let threads: Vec<_> = changes
            .into_iter()
            .chain([write("alone", second(1))])
            .map(|change| {
                go(&store, |store| {
                    let UpdateOutcome::Applied(first) = store.update(sid(0), change) else {
                        panic!("not applied")
                    };
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
        // The true gaps are 2, 2 and 3 seconds. The order of the updates can only make a gap longer
        // (E2).
        assert!((3..=7).contains(&(record.timing.longest_gap.as_u64() / 1000)));
    });
}

#[test]
fn s4_an_idle_end_and_a_quicker_interaction_never_both_win() {
    model(|store| {
        store.open(login(0, second(0)));
        let mut request = end(EndReason::Idle, second(9));
        request.options.if_idle_since = Some(second(0));
        let ending = go(&store, move |store| store.end(sid(0), request));
        let touch = go(&store, |store| store.update(sid(0), touch(second(1))));
        match (ending.join().unwrap(), touch.join().unwrap()) {
            (EndOutcome::Ended(session), UpdateOutcome::Gone(Some(tombstone))) => {
                assert_eq!((session.reason, tombstone.reason), (EndReason::Idle, EndReason::Idle));
                assert_eq!(reason(&store.load(sid(0))), Some(EndReason::Idle));
            }
            (EndOutcome::Spared, UpdateOutcome::Applied(_)) => {
                assert_eq!(reason(&store.load(sid(0))), None);
            }
            both => panic!("{both:?}"),
        }
    });
}

#[test]
fn s4_a_sweep_never_takes_a_session_whose_interaction_was_acknowledged() {
    model(|store| {
        store.open(login(0, second(0)));
        let after_a_day = second(1) + DAY;
        let touch = go(&store, |store| store.is_applied(sid(0), touch(second(10))));
        let sweep = go(&store, move |store| store.sweep(after_a_day));
        let (extended, (over, removed)) = (touch.join().unwrap(), sweep.join().unwrap());
        assert_eq!((over.len(), removed), (usize::from(!extended), 0));
        assert_eq!(store.load(sid(0)).ended.is_none(), extended);
        assert_eq!(store.live(after_a_day).contains(&sid(0)), extended);
    });
}

#[test]
fn s4_a_login_carries_over_exactly_the_writes_that_were_acknowledged() {
    model(move |store| {
        store.open(login(0, second(0)));
        let writers = ["one", "two"].map(|key| {
            go(&store, move |store| store.is_applied(sid(0), write(key, second(1))).then_some(key))
        });
        let touch = go(&store, move |store| store.update(sid(0), touch(second(1))));
        let created = go(&store, move |store| store.open(replacing(login(1, second(2)), sid(0))));

        let acknowledged: BTreeSet<_> =
            writers.into_iter().filter_map(|writer| writer.join().unwrap()).collect();
        let _ = touch.join().unwrap();
        let (record, _) = created.join().unwrap();
        assert_eq!(record.data.iter().map(|(key, _)| key).collect::<BTreeSet<_>>(), acknowledged);
        assert_eq!(*store.load(sid(1)), record);
        assert_eq!(reason(&store.load(sid(0))), Some(EndReason::Superseded));
        assert!(store.load(sid(0)).data.is_empty());
    });
}

#[test]
fn s4_an_anonymous_session_hands_over_exactly_the_writes_that_were_acknowledged() {
    model(move |store| {
        let guest = sid_at(OTHER, 5);
        let mut creation = login(0, second(0));
        creation.record = Record { sid: guest, subject: None, ..*creation.record }.into();
        store.open(creation);
        let writers = ["one", "two"].map(|key| {
            go(&store, move |store| store.is_applied(guest, write(key, second(1))).then_some(key))
        });
        let heir = go(&store, move |store| {
            let (_, request) = replacing(login(1, second(2)), guest).ends.remove(0);
            let EndOutcome::Ended(session) = store.end(guest, request) else { panic!("not ended") };
            session.data.unwrap_or_default()
        });
        let acknowledged: BTreeSet<_> =
            writers.into_iter().filter_map(|writer| writer.join().unwrap()).collect();
        let data = heir.join().unwrap();
        assert_eq!(data.iter().map(|(key, _)| key).collect::<BTreeSet<_>>(), acknowledged);
    });
}

#[test]
fn s4_a_logout_parallel_to_a_login_in_its_place_gives_the_data_away_or_drops_it() {
    model(|store| {
        store.open(login(0, second(0)));
        store.update(sid(0), write("cart", second(0)));
        let ending = go(&store, |store| store.end(sid(0), signed_out(second(1))));
        let created = go(&store, |store| store.open(replacing(login(1, second(1)), sid(0))));
        let (record, _) = created.join().unwrap();
        match ending.join().unwrap() {
            EndOutcome::Ended(_) => assert!(record.data.is_empty(), "data of a session that was logged out"),
            EndOutcome::AlreadyEnded { tombstone, work: None } => {
                assert_eq!(tombstone.reason, EndReason::Superseded);
                assert_eq!(tombstone.successor.map(|next| next.sid), Some(sid(1)));
                assert_eq!(record.data.len(), 1);
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn s9_of_two_logins_in_the_place_of_one_session_each_knows_where_the_data_is() {
    model(|store| {
        store.open(login(0, second(0)));
        store.update(sid(0), write("cart", second(0)));
        let logins = [1, 2]
            .map(|number| go(&store, move |store| store.open(replacing(login(number, second(1)), sid(0)))));
        let [one, other] = logins.map(|login| login.join().unwrap());
        let (heir, late) = if one.0.data.len() == 1 { (one, other) } else { (other, one) };
        assert_eq!((heir.0.data.len(), late.0.data.len()), (1, 0));
        let [EndOutcome::AlreadyEnded { tombstone, work: None }] = &late.1[..] else { panic!("{late:?}") };
        assert_eq!(tombstone.successor.map(|next| next.sid), Some(heir.0.sid));
    });
}

#[test]
fn logins_in_each_others_shards_do_not_wait_for_each_other_forever() {
    model(|store| {
        store.open(login(0, second(0)));
        store.open(other(1, second(0)));
        let here = go(&store, |store| {
            store.open(replacing(login(2, second(1)), sid(0)));
            store.end(sid_at(OTHER, 1), signed_out(second(1)))
        });
        let there = go(&store, |store| {
            store.open(other(3, second(1)));
            store.end(sid(0), signed_out(second(1)))
        });
        let sweep = go(&store, |store| store.sweep(second(2)));
        let listed = go(&store, |store| store.everybody());
        for thread in [here, there] {
            let _ = thread.join().unwrap();
        }
        assert_eq!(sweep.join().unwrap(), (Vec::new(), 0));
        let _ = listed.join().unwrap();
        for new in [sid(2), sid_at(OTHER, 3)] {
            assert!(store.load(new).is_live(second(2)));
        }
    });
}

#[test]
fn s9_an_evicting_cap_holds_among_logins_a_logout_and_an_observer() {
    model(|store| {
        store.open(login(0, second(0)));
        store.open(login(1, second(1)));
        let logins = [2, 3].map(|number| go(&store, move |store| store.log_in(number, 2, Overflow::Evict)));
        let logout = go(&store, |store| store.end(sid(0), signed_out(second(5))));
        let touch = go(&store, |store| store.update(sid(0), touch(second(4))));
        let observer = go(&store, |store| {
            assert!(store.listed().len() <= 2, "an observer saw more than the cap");
        });

        let logins = logins.map(|login| login.join().unwrap());
        let outcome = logout.join().unwrap();
        let _ = touch.join().unwrap();
        observer.join().unwrap();
        let reported: Vec<_> = logins.iter().flat_map(|login| &login.ended).map(|(sid, _)| *sid).collect();
        let with_reason = |why| {
            (0..4).map(sid).filter(|&sid| reason(&store.load(sid)) == Some(why)).collect::<BTreeSet<_>>()
        };
        let evicted = with_reason(EndReason::Evicted);
        assert_eq!(reported.len(), evicted.len(), "each reported once");
        assert_eq!(reported.into_iter().collect::<BTreeSet<_>>(), evicted);
        let was_signed_out = with_reason(EndReason::SignedOut).contains(&sid(0));
        assert_eq!(was_signed_out, ended(&outcome).is_some());
        assert!(store.listed().len() <= 2);
        assert!(store.load(sid(2)).is_live(second(5)) || store.load(sid(3)).is_live(second(5)));
    });
}

#[test]
fn s9_a_refusing_cap_lets_in_exactly_as_many_as_fit() {
    model(|store| {
        let logins = [0, 1, 2].map(|number| {
            go(&store, move |store| store.log_in(number, 1, Overflow::Refuse).record.map(|record| record.sid))
        });
        let let_in: BTreeSet<_> = logins.into_iter().filter_map(|login| login.join().unwrap()).collect();
        assert_eq!(let_in.len(), 1);
        assert_eq!(store.listed(), let_in);
    });
}

/// Interleaving: a login reads the session as expired while a slow request, which arrived in time,
/// records its interaction. Either the session is live and counts, or it has ended for good.
#[test]
fn s9_a_login_that_finds_a_session_over_and_a_slow_interaction_never_both_win() {
    model(|store| {
        let mut creation = login(0, second(0));
        creation.record.confirmed = true; // its cookie has come back, so it counts for longer than a minute
        store.open(creation);
        let at = second(0) + DAY;
        let slow = go(&store, |store| store.is_applied(sid(0), touch(second(30))));
        let login = go(&store, move |store| {
            let creation = login(1, at);
            log_in(creation, cap(1, Overflow::Refuse), at, |creation| store.create(creation))
        });
        let (extended, admitted) = (slow.join().unwrap(), login.join().unwrap());
        assert_eq!(admitted.record.is_none(), extended, "one session, or the other");
        let stays = if extended { sid(0) } else { sid(1) };
        assert_eq!(store.listed(), BTreeSet::from([stays]));
    });
}

#[test]
fn s10_a_revocation_among_logins_misses_none_that_was_there_before() {
    model(|store| {
        store.open(login(0, second(0)));
        let (begun, finished) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        // The second login arrived before the revocation.
        let logins = [(1, None, 9), (2, Some(0), 3), (3, None, 9)].map(|(number, old, arrived)| {
            let (begun, finished) = (Arc::clone(&begun), Arc::clone(&finished));
            go(&store, move |store| {
                let after = finished.load(SeqCst);
                let creation = login(number, second(arrived));
                let created = store.create(match old {
                    Some(old) => replacing(creation, sid(old)),
                    None => creation,
                });
                let stored = matches!(created, CreateOutcome::Created { .. });
                assert!(stored || created == CreateOutcome::SignedOutEverywhere);
                (sid(number), !begun.load(SeqCst), after, arrived > 5, stored)
            })
        });
        let revocation = go(&store, move |store| {
            begun.store(true, SeqCst);
            store.revoke(second(5), None);
            finished.store(true, SeqCst);
            // From here on no earlier session is usable.
            !store.is_applied(sid(0), touch(second(6)))
        });
        let touch = go(&store, |store| store.update(sid(1), touch(second(4))));

        let seen = logins.map(|login| login.join().unwrap());
        assert!(revocation.join().unwrap(), "an interaction was acknowledged after the revocation");
        let _ = touch.join().unwrap();
        let live = store.live(second(9));
        for (sid, before, after, is_later, stored) in seen {
            assert!(!(before && live.contains(&sid)), "it was there before, and is live");
            assert!(is_later || !live.contains(&sid), "it had arrived before, and is live");
            assert!(!after || stored == is_later, "stored after it, or not, against its arrival");
            assert!(!(after && is_later) || live.contains(&sid), "it came later, and is over");
            let found = store.find(sid);
            assert_eq!(found.is_some(), stored);
            let is_live = found.is_some_and(|record| record.is_live(second(9)));
            assert_eq!(is_live, live.contains(&sid), "load and list agree");
        }
        assert!(!store.load(sid(0)).is_live(second(9)));
    });
}

#[test]
fn s10_no_interaction_is_acknowledged_after_a_revocation() {
    model(|store| {
        store.open(login(0, second(0)));
        let revoked = Arc::new(AtomicBool::new(false));
        let touches = [2, 3].map(|at| {
            let revoked = Arc::clone(&revoked);
            go(&store, move |store| {
                let was_revoked = revoked.load(SeqCst);
                assert!(!(store.is_applied(sid(0), touch(second(at))) && was_revoked));
            })
        });
        let revocation = go(&store, move |store| {
            store.revoke(second(5), None);
            revoked.store(true, SeqCst);
        });
        touches.into_iter().for_each(|touch| touch.join().unwrap());
        revocation.join().unwrap();
        let reason = store.load(sid(0)).end_reason_at(second(5));
        assert_eq!(reason, Some(EndReason::Revoked));
    });
}

/// Interleaving: two sweeps and a logout end the same covered sessions. Each end is reported once.
#[test]
fn o2_what_a_revocation_covers_is_ended_once() {
    model(|store| {
        store.open(login(0, second(0)));
        store.open(login(1, second(0)));
        store.revoke(second(5), None);
        let sweeps = [(); 2].map(|()| go(&store, |store| store.sweep(second(6)).0));
        let logout = go(&store, |store| {
            ended(&store.end(sid(0), signed_out(second(6)))).map(|why| {
                assert_eq!(why, EndReason::Revoked);
                sid(0)
            })
        });
        let mut reported: Vec<_> = sweeps.map(|sweep| sweep.join().unwrap()).concat();
        reported.extend(logout.join().unwrap());
        reported.sort_unstable();
        assert_eq!(reported, [sid(0), sid(1)]);
        assert_eq!(store.listed(), BTreeSet::new());
    });
}

#[test]
fn l13_of_parallel_logins_one_takes_the_work() {
    model(|store| {
        store.open(login(0, second(0)));
        store.update(sid(0), write("work", second(0)));
        let mut request = end(EndReason::Idle, second(0) + DAY);
        request.options.resume_for = DAY.into();
        store.end(sid(0), request);
        let at = second(60) + DAY;
        let logins =
            [1, 2].map(|number| go(&store, move |store| store.open(replacing(login(number, at), sid(0))).0));
        let got = logins.map(|login| login.join().unwrap().data.len());
        assert_eq!(got.iter().sum::<usize>(), 1, "{got:?}");
        assert!(store.load(sid(0)).data.is_empty());
    });
}

#[test]
fn s10_a_sweep_among_logins_and_ends_leaves_an_index_of_exactly_what_is_there() {
    model(|store| {
        let later = second(5) + DAY;
        store.open(login(0, second(0)));
        store.open(login(1, second(20)));
        // A session that is expired when it is created.
        let stillborn = go(&store, |store| store.open(other(2, second(1))));
        let fresh = go(&store, move |store| store.open(replacing(login(3, later), sid(1))));
        let sweeps = [(); 2].map(|()| go(&store, move |store| store.sweep(later)));
        let logout = go(&store, |store| ended(&store.end(sid(0), signed_out(second(1)))));

        let _ = (stillborn.join().unwrap(), fresh.join().unwrap());
        let swept = sweeps.map(|sweep| sweep.join().unwrap());
        let signed_out = logout.join().unwrap().is_some();

        let mut over = swept.iter().flat_map(|(over, _)| over.clone()).collect::<Vec<_>>();
        over.extend(store.sweep(later).0);
        over.sort_unstable();
        let mut wanted = vec![sid_at(OTHER, 2)];
        wanted.extend((!signed_out).then(|| sid(0)));
        wanted.sort_unstable();
        assert_eq!(over, wanted, "each is ended once");
        assert_eq!(store.everybody(), [sid(3)]);
        assert_eq!(reason(&store.load(sid(1))), Some(EndReason::Superseded), "kept to say why");

        // Each tombstone is removed exactly once.
        let before: usize = swept.iter().map(|(_, removed)| removed).sum();
        let hour = Duration::from_millis(3_600_001);
        assert_eq!(before + store.sweep(later + hour).1, 3);
        // If the index had kept entries of swept sessions, these would be listed twice.
        store.open(login(0, later + hour));
        store.open(other(2, later + hour));
        assert_eq!(store.everybody().len(), 3);
    });
}
