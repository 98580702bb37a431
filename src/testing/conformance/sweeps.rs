//! What a sweep finds and removes (O2, S2, E3).
//!
//! These checks sweep, so their sessions are in the 1970s; see `sweeping.rs`. Their names contain
//! `sweep` or `swept`, so that they can be skipped when two suites run on one store.

use std::sync::Arc;

use super::{
    bench::{Bench, sids},
    material::{
        IDLE, MINUTE, RETENTION, SECOND, TICK, User, cap, end, end_idle, lowering, mark, seen_under, touch,
        visitor, write,
    },
    sweeping::long_ago,
};
use crate::{
    SessionId, SessionStore,
    policy::Overflow,
    record::{Change, EndOutcome, EndReason, Record, TimingChange, UpdateOutcome},
    store::Creation,
};

fn sorted(mut sids: Vec<SessionId>) -> Vec<SessionId> {
    sids.sort_unstable();
    sids
}

/// Finds whole records from exactly their current deadline on, and no tombstones.
pub(super) async fn o2_a_sweep_finds_what_is_over_and_nothing_else<S: SessionStore>(bench: Bench<S>) {
    let bench = long_ago(bench).await;
    let owner = bench.user();
    let open = async |seconds: u32| bench.open(owner.session(bench.start + SECOND * seconds)).await;
    let (ended, idle, later, used) = (open(0).await, open(1).await, open(2).await, open(3).await);
    let guest = bench.open(visitor(&bench.realm, bench.start + 4 * SECOND)).await;
    bench.end(ended.sid, end(EndReason::SignedOut, bench.start + MINUTE)).await;
    bench.update(used.sid, touch(bench.start + IDLE)).await;

    let at = bench.start + IDLE;
    bench.same("a sweep before any deadline", bench.found(at + SECOND - TICK).await, vec![]);
    let due = bench.due(Some(&bench.realm), at + SECOND).await;
    bench.same_records("a sweep at the first deadline", &due, [&idle]);
    bench.same("what was found is found again", bench.found(at + SECOND).await, vec![idle.sid]);
    let end_it = bench.sweep_all(at + SECOND, 100).await;
    bench.same("what a sweep ended", end_it, vec![(idle.sid, EndReason::Idle)]);
    bench.same("a sweep after that", bench.found(at + SECOND).await, vec![]);
    bench.same_record("a session that is live a second longer", &bench.find(later.sid).await, &later);

    let mut both = bench.sweep_all(at + 10 * SECOND, 100).await;
    both.sort_unstable_by_key(|(sid, _)| *sid);
    let wanted = sorted(vec![later.sid, guest.sid]).into_iter().map(|sid| (sid, EndReason::Idle)).collect();
    bench.same("what a later sweep ended", both, wanted);
    bench.same("the session that was used", bench.listed(&owner).await, vec![used.sid]);
    let last = bench.sweep_all(at + IDLE, 100).await;
    bench.same("a sweep at the deadline that was moved", last, vec![(used.sid, EndReason::Idle)]);
    bench.same("the sessions of the user", bench.listed(&owner).await, vec![]);
}

/// The deadline can move closer: when an interaction replaces a longer one-off idle lifetime, and
/// by a lowering.
pub(super) async fn o2_a_sweep_finds_what_is_over_sooner_than_it_was_going_to_be<S: SessionStore>(
    bench: Bench<S>,
) {
    let bench = long_ago(bench).await;
    let owner = bench.user();
    let mut record = owner.session(bench.start);
    record.timing.one_off_idle = Some((IDLE * 2).into());
    let waited_for = bench.open(record).await;
    let lowered = bench.open(owner.session(bench.start)).await;
    let at = bench.start + MINUTE;
    bench.update(waited_for.sid, touch(at)).await;
    let lowering = Some(lowering(MINUTE, 2 * MINUTE, MINUTE));
    let timing = TimingChange { lowering, ..touch(at).timing };
    bench.update(lowered.sid, Change { timing, ..touch(at) }).await;
    let only = |record: &Record, reason| vec![(record.sid, reason)];
    let swept = bench.sweep_all(at + MINUTE - TICK, 10).await;
    bench.same("a sweep before the lowered deadline", swept, vec![]);
    let swept = bench.sweep_all(at + MINUTE, 10).await;
    bench.same("a sweep at it", swept, only(&lowered, EndReason::Absolute));
    let swept = bench.sweep_all(at + IDLE - TICK, 10).await;
    bench.same("a sweep before the remembered idle lifetime is over", swept, vec![]);
    let swept = bench.sweep_all(at + IDLE, 10).await;
    bench.same("a sweep after it", swept, only(&waited_for, EndReason::Idle));
}

/// Works in batches, reports when it is done, and finds each session once.
pub(super) async fn o2_a_sweep_keeps_to_its_limit_and_comes_to_an_end<S: SessionStore>(bench: Bench<S>) {
    let bench = long_ago(bench).await;
    let mut opened = Vec::new();
    let users = [bench.user(), bench.user()];
    for number in 0..25 {
        let record = match number % 3 {
            0 => visitor(&bench.realm, bench.start),
            other => users[other - 1].session(bench.start),
        };
        opened.push(bench.open(record).await.sid);
    }
    let now = bench.start + IDLE + SECOND;
    let ended = bench.sweep_all(now, 10).await;
    let ended: Vec<_> = ended.into_iter().map(|(sid, _)| sid).collect();
    bench.same("what a sweep in batches of 10 ended", sorted(ended), sorted(opened.clone()));
    bench.same("a sweep after it", bench.found(now).await, vec![]);

    // And removes their tombstones, in batches again.
    bench.sweep_all(now + RETENTION, 10).await;
    for sid in opened {
        bench.same("a tombstone that was swept", bench.load(sid).await, None);
    }
}

/// Finds revoked sessions soon, in batches, and not only at their deadline, so that each end is
/// reported. The excepted session stays.
pub(super) async fn o2_a_sweep_finds_what_a_revocation_covers<S: SessionStore>(bench: Bench<S>) {
    let bench = long_ago(bench).await;
    let user = bench.user();
    let mut known = Vec::new();
    for seconds in 0..25 {
        known.push(bench.open(user.session(bench.start + SECOND * seconds)).await);
    }
    let at = bench.start + MINUTE;
    bench.end(known[3].sid, end(EndReason::SignedOut, at)).await;
    bench.same("a sweep before the revocation", bench.found(at).await, vec![]);
    let mut revocation = user.revocation(at);
    revocation.except = Some(known[7].sid);
    bench.revoke(revocation.clone()).await;
    let later = bench.open(user.session(at + SECOND)).await;

    let now = at + MINUTE;
    let mark = mark(&[revocation]);
    let covered = known.iter().enumerate().filter(|(index, _)| ![3, 7].contains(index));
    let mut covered: Vec<_> = covered.map(|(_, known)| seen_under(&mark, known)).collect();
    covered.sort_unstable_by_key(|record| record.sid);
    bench.same_records("what a sweep finds", &bench.due(Some(&bench.realm), now).await, &covered);
    let mut ended = bench.sweep_all(now, 10).await;
    ended.sort_unstable_by_key(|(sid, _)| *sid);
    let wanted = covered.iter().map(|covered| (covered.sid, EndReason::Revoked)).collect();
    bench.same("what a sweep ended after a revocation", ended, wanted);
    bench.same("a sweep after it", bench.found(now).await, vec![]);
    bench.same("the sessions that stay", bench.listed(&user).await, vec![known[7].sid, later.sid]);

    // A second one, with the first's sessions gone.
    let again = bench.start + 3 * MINUTE;
    bench.revoke(user.revocation(again)).await;
    let ended = bench.sweep_all(again, 10).await;
    bench.same("how many another revocation ended", ended.len(), 2);
}

/// A node that stopped between finding and ending: the next one finds them.
pub(super) async fn o2_what_was_found_and_not_ended_is_found_by_the_next_sweep<S: SessionStore>(
    bench: Bench<S>,
) {
    let bench = long_ago(bench).await;
    let user = bench.user();
    let over = bench.open(user.session(bench.start)).await;
    let now = bench.start + IDLE;
    let revoked = bench.open(user.session(now)).await;
    bench.revoke(user.revocation(now)).await;
    let wanted = sorted(vec![over.sid, revoked.sid]);
    for _ in 0..3 {
        bench.same("a sweep whose findings were not ended", bench.found(now).await, wanted.clone());
    }
    bench.end(over.sid, end(EndReason::SignedOut, now)).await;
    bench.same("a sweep after one was ended otherwise", bench.found(now).await, vec![revoked.sid]);
}

/// At that moment and no sooner, unless it is written to; and rescheduling changes nothing of a
/// record, and brings nothing back.
pub(super) async fn o2_a_sweep_finds_a_rescheduled_session_at_its_new_moment<S: SessionStore>(
    bench: Bench<S>,
) {
    let bench = long_ago(bench).await;
    let user = bench.user();
    let record = bench.open(user.session(bench.start)).await;
    let tombstone = bench.open(user.session(bench.start)).await;
    bench.update(record.sid, touch(bench.start + 10 * MINUTE)).await;
    let known = bench.find(record.sid).await;
    let deadline = known.timing.deadline();
    let now = bench.start + IDLE;
    bench.end(tombstone.sid, end(EndReason::SignedOut, now)).await;
    let tombstone = bench.find(tombstone.sid).await;
    // It may be found by its first deadline, as it is live then.
    let ended = bench.sweep_all(now, 10).await;
    bench.same("a sweep at a deadline that was moved", ended, vec![]);
    bench
        .reschedule(vec![(known.sid, deadline), (tombstone.sid, deadline), (user.session(now).sid, now)])
        .await;
    bench.same_record("a session that was rescheduled", &bench.find(known.sid).await, &known);
    bench.same_record("a tombstone that was rescheduled", &bench.find(tombstone.sid).await, &tombstone);
    bench.same("a sweep before its moment", bench.found(deadline - TICK).await, vec![]);

    // A lowering after it brings its deadline forward all the same.
    let lowering = Some(lowering(12 * MINUTE, 60 * MINUTE, MINUTE));
    let timing = TimingChange { interaction_at: None, lowering };
    bench.update(known.sid, Change { timing, ..Change::at(now) }).await;
    let lowered = bench.find(known.sid).await.timing.deadline();
    bench.expect(lowered < deadline, "the model");
    bench.same("a sweep before the lowered deadline", bench.found(lowered - TICK).await, vec![]);
    bench.same("a sweep at the lowered deadline", bench.found(lowered).await, vec![known.sid]);
    bench.sweep_all(lowered, 10).await;
    bench.sweep_all(now + RETENTION + MINUTE, 10).await;
    bench.same("a rescheduled tombstone after its time", bench.load(tombstone.sid).await, None);
}

/// A stale answer to a sweep: it was used, or lowered, before the caller rescheduled or ended it.
pub(super) async fn o2_a_sweep_that_comes_late_harms_nothing<S: SessionStore>(bench: Bench<S>) {
    let bench = long_ago(bench).await;
    let user = bench.user();
    let record = bench.open(user.session(bench.start)).await;
    let now = bench.start + IDLE;
    let found = bench.due(Some(&bench.realm), now).await;
    bench.same_records("what a sweep found", &found, [&record]);
    // A slow request that arrived in time records its interaction only now.
    bench.update(record.sid, touch(bench.start + MINUTE)).await;
    let outcomes = bench.end_many(vec![(record.sid, end_idle(&found[0], now))]).await;
    bench.same("the end of what was used since it was found", outcomes, vec![EndOutcome::Spared]);
    bench.same("the session", bench.listed(&user).await, vec![record.sid]);
    let ended = bench.sweep_all(now + MINUTE, 10).await;
    bench.same("what the next sweep ended", ended, vec![(record.sid, EndReason::Idle)]);
}

/// Each until exactly the moment that its request says, whatever the others'; and what was swept is
/// unknown.
pub(super) async fn e3_a_sweep_removes_tombstones_that_may_be_forgotten<S: SessionStore>(bench: Bench<S>) {
    let bench = long_ago(bench).await;
    let user = bench.user();
    let mut tombstones = Vec::new();
    for minutes in [30, 10, 20] {
        let record = bench.open(user.session(bench.start)).await;
        let mut request = end(EndReason::SignedOut, bench.start + MINUTE);
        request.retention = (MINUTE * minutes).into();
        bench.end(record.sid, request).await;
        tombstones.push(bench.find(record.sid).await);
    }
    let guest = bench.open(visitor(&bench.realm, bench.start)).await;
    bench.end(guest.sid, end(EndReason::SignedOut, bench.start + MINUTE)).await;
    tombstones.push(bench.find(guest.sid).await);
    let live = bench.open(user.session(bench.start + IDLE * 4)).await;
    tombstones.sort_by_key(|record| record.ended.map(|tombstone| tombstone.forget_at));
    for index in 0..tombstones.len() {
        let forget_at = tombstones[index].ended.map_or(bench.start, |tombstone| tombstone.forget_at);
        for (now, gone) in [(forget_at - TICK, index), (forget_at, index + 1)] {
            bench.sweep_all(now, 10).await;
            for (number, tombstone) in tombstones.iter().enumerate() {
                let found = bench.load(tombstone.sid).await;
                bench.same("whether a tombstone is there", found.is_some(), number >= gone);
                if let Some(found) = found {
                    bench.same_record("a tombstone", &found, tombstone);
                }
            }
        }
    }
    bench.same_record("a live session", &bench.find(live.sid).await, &live);
    for tombstone in tombstones {
        let updated = bench.update(tombstone.sid, write(bench.start, "a", "1")).await;
        bench.same("a write to a session that was swept", updated, UpdateOutcome::Gone(None));
        let ended = bench.end(tombstone.sid, end(EndReason::SignedOut, bench.start)).await;
        bench.same("the end of a session that was swept", ended, EndOutcome::Unknown);
        let known =
            bench.end_seen(tombstone.sid, end(EndReason::SignedOut, bench.start), Some(tombstone.clone()));
        bench.same("the end by who knows its tombstone", known.await, EndOutcome::Unknown);
        bench.same("a session that was swept", bench.load(tombstone.sid).await, None);
    }
}

/// Writes of callers that know the live record do not store it again.
pub(super) async fn s4_who_knows_a_swept_session_brings_nothing_back<S: SessionStore>(bench: Bench<S>) {
    let bench = long_ago(bench).await;
    let user = bench.user();
    let live = bench.open(user.session(bench.start)).await;
    bench.end(live.sid, end(EndReason::SignedOut, bench.start)).await;
    bench.sweep_all(bench.start + RETENTION + SECOND, 10).await;
    for change in [touch(bench.start), write(bench.start, "a", "1")] {
        let updated = bench.update_seen(live.sid, change, Some(live.clone())).await;
        bench.same("a change of a session that was swept", updated, UpdateOutcome::Gone(None));
    }
    let ended = bench.end_seen(live.sid, end(EndReason::SignedOut, bench.start), Some(live.clone())).await;
    bench.same("the end of a session that was swept", ended, EndOutcome::Unknown);
    bench.same("a session that was swept", bench.load(live.sid).await, None);
    bench.same("the sessions of the user", bench.listed(&user).await, vec![]);
}

/// What was swept neither counts nor is named again, and what comes after is found.
pub(super) async fn s10_a_swept_subject_can_log_in_again<S: SessionStore>(bench: Bench<S>) {
    let bench = long_ago(bench).await;
    let user = bench.user();
    for number in 0..3 {
        bench.open(user.session(bench.start + SECOND * number)).await;
    }
    let at = bench.start + IDLE + SECOND; // between the deadlines of the second and the third
    bench.same("how many a sweep ended", bench.sweep_all(at, 10).await.len(), 2);
    let third = bench.listed(&user).await;
    bench.same("the sessions of a subject that was swept", third.len(), 1);
    let login = bench.login(Creation::new(user.session(at)), cap(1, Overflow::Evict), at).await;
    bench.same("what a login evicted after a sweep", login.evicted(), third);
    let wanted: Vec<_> = login.record.iter().map(|record| record.sid).collect();

    bench.sweep_all(at + RETENTION, 10).await;
    bench.same("the sessions after all were swept", bench.listed(&user).await, vec![]);
    let ended = wanted.iter().map(|sid| bench.find(*sid));
    for record in ended {
        let reason = record.await.ended.map(|tombstone| tombstone.reason);
        bench.same("the end of the last session", reason, Some(EndReason::Idle));
    }
    let at = at + 2 * RETENTION;
    bench.sweep_all(at, 10).await;
    let record = bench.open(user.session(at)).await;
    bench.same("the sessions after another login", bench.listed(&user).await, vec![record.sid]);
    bench.revoke(user.revocation(at)).await;
    bench.same("the live sessions after a revocation", bench.live(&user, at).await, vec![]);
}

/// A sweep of one realm finds its own sessions only, over time or revoked; one of every realm finds
/// all.
pub(super) async fn c10_a_sweep_of_a_realm_finds_its_own_only<S: SessionStore>(bench: Bench<S>) {
    let bench = long_ago(bench).await;
    let other: Arc<str> = format!("another {}", bench.realm).into();
    let here = bench.user();
    let there = bench.user_of(&other, &here.name);
    let now = bench.start + IDLE + MINUTE;
    let over = async |user: &User| bench.open(user.session(bench.start)).await.sid;
    let revoked = async |user: &User| {
        let sid = bench.open(user.session(bench.start + 5 * MINUTE)).await.sid;
        bench.revoke(user.revocation(bench.start + 6 * MINUTE)).await;
        sid
    };
    let mut ours = vec![over(&here).await, revoked(&here).await];
    let mut theirs = vec![over(&there).await, revoked(&there).await];
    ours.push(bench.open(visitor(&bench.realm, bench.start)).await.sid);
    theirs.push(bench.open(visitor(&other, bench.start)).await.sid);
    for (realm, wanted) in [(&bench.realm, &ours), (&other, &theirs)] {
        let due = bench.due(Some(realm), now).await;
        bench.same("a sweep of a realm", sids(&due), sorted(wanted.clone()));
    }
    let all = sids(&bench.due(None, now).await);
    let missed: Vec<_> = ours.iter().chain(&theirs).filter(|sid| !all.contains(sid)).collect();
    bench.same("what a sweep of every realm missed", missed, vec![]);
    let ended = bench.sweep_to_end(Some(&other), now, 2).await;
    bench.same("how many a sweep of the other realm ended", ended.len(), 3);
    bench.same("a sweep of the one", bench.found(now).await, sorted(ours));
    bench.sweep_all(now, 2).await;
    // Tombstones go, of whatever realm.
    bench.sweep_all(now + RETENTION, 100).await;
    for sid in theirs {
        bench.same("a tombstone of another realm", bench.load(sid).await, None);
    }
}
