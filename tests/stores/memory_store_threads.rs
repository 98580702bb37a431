//! The memory store under real threads, which a barrier starts at once (SPEC S3, S4, S9, S10, L9,
//! L13, L14).
//!
//! Each test runs many rounds, because one round has one interleaving. `TENURE_SEARCH=100` runs a
//! hundred times as many. `memory_store_sweeps.rs` does the same with sweeps. `tests/interleavings`
//! has smaller models of the same races, with every step chosen by a scheduler.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    time::Duration,
};

use tower_tenure::{
    EndReason, SessionId, SessionStore, Timestamp,
    policy::Overflow,
    record::{Change, EndOutcome, Record, Tag, UpdateOutcome},
    store::{CreateOutcome, Creation, Page},
};

use crate::{
    common::store::{
        REALM, all, cap, end, ended, log_in, login, now_or_never, reason, replacing, revocation, second, sid,
        sid_at, touch, write,
    },
    threads::{Store, at_once, rounds},
};

impl Store {
    #[track_caller]
    fn load(&self, sid: SessionId) -> Box<Record> {
        now_or_never(self.0.load(sid)).expect("the record should be there")
    }

    /// The subject's live sessions.
    fn live(&self, now: Timestamp) -> BTreeSet<SessionId> {
        let listed = now_or_never(self.0.list(all())).into_iter();
        listed.filter(|record| record.is_live(now)).map(|record| record.sid).collect()
    }
}

#[test]
fn s9_an_evicting_cap_holds_under_parallel_logins_at_every_moment() {
    const LOGINS: u32 = 16;
    rounds(100, |store| {
        let done = AtomicU32::new(0);
        let evicted = at_once(LOGINS + 1, |number| {
            if number == LOGINS {
                while done.load(SeqCst) < LOGINS {
                    assert!(store.listed().len() <= 3, "an observer saw more than the cap");
                }
                return Vec::new();
            }
            let creation = login(number, second(number));
            let login = log_in(creation, cap(3, Overflow::Evict), second(50), |it| store.create(it));
            done.fetch_add(1, SeqCst);
            assert!(login.record.is_some());
            login.ended
        });
        let reported: Vec<_> = evicted.into_iter().flatten().collect();
        let ended: BTreeSet<_> = (0..LOGINS)
            .map(sid)
            .filter(|&sid| reason(&store.load(sid)) == Some(EndReason::Evicted))
            .collect();
        assert_eq!(store.live(second(50)).len(), 3);
        assert_eq!(store.listed().len(), 3);
        assert_eq!(ended.len(), 13);
        let sids: BTreeSet<_> = reported.iter().map(|(sid, _)| *sid).collect();
        assert_eq!((reported.len(), sids), (13, ended), "each reported once");
    });
}

#[test]
fn s9_a_refusing_cap_lets_in_exactly_as_many_as_fit() {
    rounds(100, |store| {
        let logins = at_once(16, |number| {
            let creation = Creation { cap: Some(3.try_into().unwrap()), ..login(number, second(number)) };
            store.create(creation)
        });
        let let_in: BTreeSet<_> = (0..)
            .zip(&logins)
            .filter(|(_, created)| matches!(created, CreateOutcome::Created { .. }))
            .map(|(number, _)| sid(number))
            .collect();
        assert_eq!(let_in.len(), 3);
        assert_eq!(store.listed(), let_in);
        assert_eq!(store.0.len(), 3, "a refused login leaves nothing");
    });
}

#[test]
fn s9_only_what_the_cap_ended_is_reported_as_evicted() {
    rounds(300, |store| {
        store.create(login(0, second(0)));
        let reported = at_once(2, |number| {
            if number == 0 {
                store.end(sid(0), end(EndReason::SignedOut, second(1)));
                return Vec::new();
            }
            log_in(login(1, second(1)), cap(1, Overflow::Evict), second(1), |it| store.create(it)).ended
        });
        let evicted = reason(&store.load(sid(0))) == Some(EndReason::Evicted);
        assert_eq!(reported[1].contains(&(sid(0), EndReason::Evicted)), evicted);
        assert_eq!(store.listed(), BTreeSet::from([sid(1)]));
    });
}

#[test]
fn s10_a_revocation_leaves_no_session_that_was_there_before() {
    const LOGINS: u32 = 30;
    rounds(100, |store| {
        let (begun, finished) = (AtomicBool::new(false), AtomicBool::new(false));
        let seen = at_once(5, |number| {
            if number == 4 {
                begun.store(true, SeqCst);
                store.revoke(second(0), None);
                finished.store(true, SeqCst);
                return Vec::new();
            }
            let numbers = number * LOGINS..(number + 1) * LOGINS;
            let create = |number| {
                let after = finished.load(SeqCst);
                // Every second login arrived before the revocation.
                let created = store.create(login(number, second(number % 2)));
                let before = !begun.load(SeqCst);
                (number, before, after, matches!(created, CreateOutcome::Created { .. }))
            };
            numbers.map(create).collect()
        });
        let live = store.live(second(50));
        for (number, before, after, stored) in seen.into_iter().flatten() {
            let (sid, arrived_before) = (sid(number), number % 2 == 0);
            assert!(!(before && live.contains(&sid)), "it was there before, and is live");
            assert!(!(arrived_before && live.contains(&sid)), "it had arrived before, and is live");
            assert!(!after || stored != arrived_before, "stored after it, or not, against its arrival");
            assert!(!after || arrived_before || live.contains(&sid), "it came later, and is over");
            if stored {
                let reason = store.load(sid).end_reason_at(second(50));
                let wanted = (!live.contains(&sid)).then_some(EndReason::Revoked);
                assert_eq!(reason, wanted, "load and list agree");
            }
        }
    });
}

#[test]
fn s10_no_interaction_is_acknowledged_after_a_revocation() {
    rounds(300, |store| {
        store.create(login(0, second(0)));
        let revoked = AtomicBool::new(false);
        at_once(4, |number| {
            if number == 0 {
                store.revoke(second(50), None);
                revoked.store(true, SeqCst);
                return;
            }
            for step in 0..20 {
                let at = second(1 + step * 4 + number);
                let change = if step % 5 == 4 { write("key", at) } else { touch(at) };
                let was_revoked = revoked.load(SeqCst);
                match store.update(sid(0), change) {
                    UpdateOutcome::Applied(_) => assert!(!was_revoked, "acknowledged after the revocation"),
                    UpdateOutcome::Gone(Some(tombstone)) => {
                        assert_eq!((tombstone.reason, tombstone.at), (EndReason::Revoked, second(50)));
                    }
                    other => panic!("{other:?}"),
                }
            }
        });
        assert!(!store.load(sid(0)).is_live(second(50)));
    });
}

#[test]
fn s10_a_revocation_except_one_session_spares_that_one_only() {
    rounds(50, |store| {
        (0..8).for_each(|number| {
            store.create(login(number, second(number)));
        });
        let others: BTreeSet<_> = (1..8).map(sid).collect();
        let reported = at_once(3, |number| {
            if number == 0 {
                store.revoke(second(50), Some(sid(0)));
                return Vec::new();
            }
            let end_it = |sid: &SessionId| {
                ended(&store.end(*sid, end(EndReason::SignedOut, second(60)))).map(|why| (*sid, why))
            };
            others.iter().filter_map(end_it).collect()
        });
        assert_eq!(store.live(second(50)), BTreeSet::from([sid(0)]));
        let reported = reported.concat();
        assert_eq!(reported.len(), 7, "each was ended by one of both, and reported by that one");
        assert_eq!(reported.iter().map(|(sid, _)| *sid).collect::<BTreeSet<_>>(), others);
        for (sid, why) in reported {
            assert!(matches!(why, EndReason::SignedOut | EndReason::Revoked));
            assert_eq!(reason(&store.load(sid)), Some(why));
        }
    });
}

#[test]
fn l14_the_moment_of_a_realm_is_the_latest_whatever_the_order() {
    rounds(50, |store| {
        at_once(8, |number| {
            let mut everybody = revocation(second(1 + (number * 5) % 8), None);
            everybody.subject = None;
            let at = everybody.at;
            now_or_never(store.0.revoke(everybody));
            assert!(now_or_never(store.0.not_before(REALM)) >= Some(at), "it moved back");
        });
        assert_eq!(now_or_never(store.0.not_before(REALM)), Some(second(8)));
        assert_eq!(now_or_never(store.0.not_before("another")), None);
    });
}

#[test]
fn s4_touches_and_writes_never_resurrect_what_has_ended() {
    rounds(300, |store| {
        store.create(login(0, second(0)));
        let is_ended = AtomicBool::new(false);
        let acknowledged = at_once(6, |number| {
            if number == 0 {
                let outcome = store.end(sid(0), end(EndReason::SignedOut, second(50)));
                assert_eq!(ended(&outcome), Some(EndReason::SignedOut));
                is_ended.store(true, SeqCst);
                return second(0);
            }
            let mut last = second(0);
            for step in 0..10 {
                let at = second(1 + step * 6 + number);
                let change = if step % 3 == 2 { write("key", at) } else { touch(at) };
                let (was_ended, moves) = (is_ended.load(SeqCst), change.timing.interaction_at);
                match store.update(sid(0), change) {
                    UpdateOutcome::Applied(_) => {
                        assert!(!was_ended, "acknowledged after the end");
                        last = last.max(moves.unwrap_or(last));
                    }
                    UpdateOutcome::Gone(Some(tombstone)) => {
                        assert_eq!(tombstone.reason, EndReason::SignedOut);
                    }
                    other => panic!("{other:?}"),
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
        let mut request = end(EndReason::Idle, second(9));
        request.options.if_idle_since = Some(second(0));
        let over = at_once(2, |number| match number {
            0 => ended(&store.end(sid(0), request.clone())) == Some(EndReason::Idle),
            _ => match store.update(sid(0), touch(second(1))) {
                UpdateOutcome::Gone(tombstone) => {
                    assert_eq!(tombstone.map(|tombstone| tombstone.reason), Some(EndReason::Idle));
                    true
                }
                _ => false,
            },
        });
        assert_eq!(over[0], over[1], "ended, and the interaction was answered so; or neither");
        assert_eq!(reason(&store.load(sid(0))).is_some(), over[0]);
    });
}

#[test]
fn o2_of_parallel_ends_exactly_one_ends_the_session_and_each_may_be_repeated() {
    rounds(200, |store| {
        store.create(login(0, second(0)));
        let outcomes = at_once(4, |number| {
            let reasons =
                [EndReason::SignedOut, EndReason::Revoked, EndReason::Evicted, EndReason::Superseded];
            let request = end(reasons[number as usize], second(1));
            let outcome = store.end(sid(0), request.clone());
            assert_eq!(ended(&store.end(sid(0), request)), ended(&outcome), "the same call again");
            ended(&outcome)
        });
        let winners: Vec<_> = outcomes.into_iter().flatten().collect();
        assert_eq!(winners, [reason(&store.load(sid(0))).unwrap()]);
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
                // In an order other than that of the arrivals.
                let arrival = second(1 + (number * 37 + step * 19) % (64 * TOUCHES));
                let change = match step % 5 {
                    4 => Change { timing: touch(arrival).timing, ..write(&number.to_string(), arrival) },
                    _ => touch(arrival),
                };
                let UpdateOutcome::Applied(applied) = store.update(sid(0), change) else {
                    panic!("not applied")
                };
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
        let won = at_once(8, |_| store.is_applied(sid(0), change.clone()));
        assert_eq!(won.into_iter().filter(|&won| won).count(), 1);
        assert_eq!(store.load(sid(0)).revision, 1);
    });
}

/// Runs writers concurrently with `work`. Returns the acknowledged writes, and the result of
/// `work`.
fn beside_writers<T: Send>(
    store: &Store,
    old: SessionId,
    work: impl Fn() -> T + Sync,
) -> (BTreeSet<String>, T) {
    const WRITERS: u32 = 6;
    let done = at_once(WRITERS + 1, |number| {
        if number == WRITERS {
            return (Vec::new(), Some(work()));
        }
        let keys = (0..5).map(|step| format!("{number}-{step}"));
        let write = |key: &String| store.is_applied(old, write(key, second(1)));
        (keys.filter(write).collect(), None)
    });
    let mut answer = None;
    let mut acknowledged = BTreeSet::new();
    for (keys, done) in done {
        acknowledged.extend(keys);
        answer = answer.or(done);
    }
    (acknowledged, answer.unwrap())
}

fn keys(data: &tower_tenure::record::Data) -> BTreeSet<String> {
    data.iter().map(|(key, _)| key.to_owned()).collect()
}

#[test]
fn s4_a_login_carries_over_exactly_the_writes_that_were_acknowledged() {
    rounds(200, |store| {
        store.create(login(0, second(0)));
        let replace = || store.create(replacing(login(1, second(1)), sid(0)));
        let (acknowledged, _) = beside_writers(store, sid(0), replace);
        assert_eq!(keys(&store.load(sid(1)).data), acknowledged);
        assert_eq!(reason(&store.load(sid(0))), Some(EndReason::Superseded));
        assert_eq!(store.listed(), BTreeSet::from([sid(1)]));
    });
}

#[test]
fn s4_an_anonymous_session_hands_over_exactly_the_writes_that_were_acknowledged() {
    rounds(200, |store| {
        let guest = sid_at(Tag::from_bytes(*b"guests"), 7);
        let mut creation = login(0, second(0));
        creation.record = Record { sid: guest, subject: None, ..*creation.record }.into();
        store.create(creation);
        let (_, request) = replacing(login(1, second(1)), guest).ends.remove(0);
        let (acknowledged, outcome) = beside_writers(store, guest, || store.end(guest, request.clone()));
        let EndOutcome::Ended(session) = outcome else { panic!("{outcome:?}") };
        assert_eq!(keys(&session.data.unwrap_or_default()), acknowledged);
        assert!(store.load(guest).data.is_empty());
    });
}

#[test]
fn s4_of_two_logins_in_the_place_of_one_session_only_one_gets_its_data() {
    rounds(200, |store| {
        store.create(login(0, second(0)));
        store.update(sid(0), write("cart", second(0)));
        let got = at_once(2, |number| {
            let created = store.create(replacing(login(number + 1, second(1)), sid(0)));
            let CreateOutcome::Created { record, ended } = created else { panic!("{created:?}") };
            let successor = match &ended[..] {
                [EndOutcome::Ended(_)] => None,
                [EndOutcome::AlreadyEnded { tombstone, .. }] => tombstone.successor.map(|next| next.sid),
                other => panic!("{other:?}"),
            };
            (record.data.len(), successor)
        });
        assert_eq!(got.iter().map(|(len, _)| len).sum::<usize>(), 1, "{got:?}");
        let heir = u32::from(got[1].0 == 1) + 1;
        assert_eq!(got.iter().find_map(|(_, successor)| *successor), Some(sid(heir)));
    });
}

#[test]
fn l13_of_parallel_logins_one_takes_the_work() {
    rounds(200, |store| {
        let day = Duration::from_secs(24 * 3600);
        store.create(login(0, second(0)));
        store.update(sid(0), write("work", second(0)));
        let mut request = end(EndReason::Idle, second(0) + day);
        request.options.resume_for = day.into();
        store.end(sid(0), request);
        assert_eq!(store.load(sid(0)).data.len(), 1);
        let at = second(0) + day + Duration::from_secs(60);
        let got = at_once(4, |number| {
            let created = store.create(replacing(login(number + 1, at), sid(0)));
            let CreateOutcome::Created { record, .. } = created else { panic!("{created:?}") };
            record.data.len()
        });
        assert_eq!(got.iter().sum::<usize>(), 1, "{got:?}");
        assert!(store.load(sid(0)).data.is_empty());
    });
}

#[test]
fn s2_of_creations_with_the_same_id_exactly_one_wins() {
    rounds(100, |store| {
        let done = at_once(8, |number| {
            let creation =
                Creation { edits: write(&number.to_string(), second(0)).edits, ..login(0, second(0)) };
            matches!(store.create(creation), CreateOutcome::Created { .. }).then(|| number.to_string())
        });
        let winners: Vec<_> = done.into_iter().flatten().collect();
        assert_eq!(winners.len(), 1);
        assert!(store.load(sid(0)).data.get(&winners[0]).is_some());
    });
}

/// Interleaving: sessions end while a list reads pages of all users' sessions. A page that is not
/// full is the last one, and no session that stays is missed.
#[test]
fn s14_a_page_is_full_while_there_are_more_also_beside_ends() {
    let guest = |number: u32| {
        sid_at(Tag::from_bytes(number.to_be_bytes().repeat(2)[..6].try_into().unwrap()), number)
    };
    let visit = |number: u32| {
        let creation = login(number, second(number));
        Creation {
            record: Record { sid: guest(number), subject: None, ..*creation.record }.into(),
            ..creation
        }
    };
    rounds(100, |store| {
        for number in 0..40 {
            store.create(visit(number));
        }
        at_once(3, |thread| {
            if thread == 0 {
                for number in (0..40).filter(|number| number % 4 != 3) {
                    store.end(guest(number), end(EndReason::SignedOut, second(50)));
                }
                return;
            }
            let mut after = None;
            let mut seen = BTreeSet::new();
            loop {
                let page = Page { realm: REALM.into(), subject: None, after, limit: 4 };
                let page = now_or_never(store.0.list(page));
                seen.extend(page.iter().map(|record| record.sid));
                after = page.last().map(|last| (last.timing.created_at, last.sid));
                if page.len() < 4 {
                    break;
                }
            }
            let missed = (0..40).filter(|number| number % 4 == 3 && !seen.contains(&guest(*number))).count();
            assert_eq!(missed, 0, "sessions that stay were missed");
        });
    });
}

#[test]
fn s13_a_full_cap_names_a_bounded_number_of_sessions() {
    const MANY: u32 = 5000;
    let store = Store::default();
    for number in 0..MANY {
        store.create(login(number, second(number)));
    }
    let full = Creation { cap: Some(10.try_into().unwrap()), ..login(MANY, second(MANY)) };
    let CreateOutcome::Full { count, sessions } = store.create(full) else { panic!("it was let in") };
    assert_eq!((count, sessions.len()), (MANY as usize, CreateOutcome::MAX_CANDIDATES));
}
