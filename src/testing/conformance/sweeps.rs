//! What a sweep removes, and what not (SPEC S2).

use std::time::Duration;

use super::bench::{Bench, IDLE, MINUTE, SECOND, cap, plain, session, subject, touch};
use crate::{
    SessionStore, Timestamp,
    policy::Overflow,
    record::{Change, End, EndReason, Lifetimes, Lowering, TimingChange},
    store::Creation,
};

/// In the seventies, where nobody else's sessions are, with what an earlier run left swept away.
pub(super) async fn long_ago<S: SessionStore>(mut bench: Bench<S>) -> Bench<S> {
    bench.start = Timestamp::from_unix_millis(bench.start.as_unix_millis() / 16 + 1_000_000);
    bench.sweep(bench.start, 1000).await;
    bench
}

/// Tombstones by their end, others by the deadline that they have now; live ones never.
pub(super) async fn s2_a_sweep_removes_what_was_over_before_and_nothing_else<S: SessionStore>(
    bench: Bench<S>,
) {
    let bench = long_ago(bench).await;
    let owner = subject();
    let open =
        async |seconds: u32| bench.open(plain(session(Some(&owner), bench.start + SECOND * seconds))).await.0;
    let (ended, idle, later, used) = (open(0).await, open(1).await, open(2).await, open(3).await);
    let at = bench.start + IDLE;
    bench.end(ended.sid, End::new(EndReason::SignedOut, bench.start + MINUTE)).await;
    bench.update(used.sid, touch(at)).await;
    let millisecond = Duration::from_millis(1);

    bench.same("a sweep up to the end", bench.sweep(bench.start + MINUTE, 10).await, 0);
    bench.same("a sweep past the end", bench.sweep(bench.start + MINUTE + millisecond, 10).await, 1);
    bench.same("a tombstone that was swept", bench.load(ended.sid).await, None);
    bench.same("a sweep up to the first deadline", bench.sweep(at + SECOND, 10).await, 0);
    bench.same("a sweep past it", bench.sweep(at + SECOND + millisecond, 10).await, 1);
    bench.same("an expired session that was swept", bench.load(idle.sid).await, None);
    bench.same("a session that is live a second longer", bench.find(later.sid).await, later.clone());
    bench.same("a sweep past the next deadline", bench.sweep(at + 4 * SECOND, 10).await, 1);
    bench.same("the session that was used", bench.live(&owner, at + 4 * SECOND).await, vec![used.sid]);
    bench.same("a sweep past the deadline that was moved", bench.sweep(at + IDLE + SECOND, 10).await, 1);
    bench.same("the subject after all were swept", bench.live(&owner, at).await, vec![]);
}

/// A one-off idle lifetime was longer than the remembered one: the interaction that uses it up brings the deadline forward, and
/// so does a lowering.
pub(super) async fn s2_a_sweep_finds_what_is_over_sooner_than_it_was_going_to_be<S: SessionStore>(
    bench: Bench<S>,
) {
    let bench = long_ago(bench).await;
    let owner = subject();
    let mut record = session(Some(&owner), bench.start);
    record.timing.one_off_idle = Some(IDLE * 2);
    let waited_for = bench.open(plain(record)).await.0;
    let lowered = bench.open(plain(session(Some(&owner), bench.start))).await.0;
    let at = bench.start + MINUTE;
    bench.update(waited_for.sid, touch(at)).await;
    let lifetimes = Lifetimes::of(MINUTE, MINUTE * 2);
    let lowering = Some(Lowering { lifetimes, one_off_idle: MINUTE });
    bench
        .update(lowered.sid, Change { timing: TimingChange { lowering, ..touch(at).timing }, ..touch(at) })
        .await;
    bench.same("a sweep up to the lowered deadline", bench.sweep(at + MINUTE, 10).await, 0);
    bench.same("a sweep past it", bench.sweep(at + MINUTE + SECOND, 10).await, 1);
    bench.same("a sweep past the remembered idle lifetime", bench.sweep(at + IDLE + SECOND, 10).await, 1);
    bench.same("the subject after all were swept", bench.live(&owner, at).await, vec![]);
}

/// In batches, and says when it is done.
pub(super) async fn s2_a_sweep_keeps_to_its_limit_and_comes_to_an_end<S: SessionStore>(bench: Bench<S>) {
    let bench = long_ago(bench).await;
    for number in 0..25 {
        let subject = (number % 3 > 0).then(subject);
        bench.open(plain(session(subject.as_ref(), bench.start))).await;
    }
    let before = bench.start + IDLE + SECOND;
    bench.same("a sweep of 25 sessions in batches of 10", bench.sweep(before, 10).await, 25);
    bench.same("a sweep after it", bench.sweep(before, 10).await, 0);
}

/// What was swept neither counts nor is named again, and what comes after is found.
pub(super) async fn s10_a_swept_subject_can_log_in_again<S: SessionStore>(bench: Bench<S>) {
    let bench = long_ago(bench).await;
    let user = subject();
    for number in 0..3 {
        bench.open(plain(session(Some(&user), bench.start + SECOND * number))).await;
    }
    let at = bench.start + IDLE + SECOND; // between the deadlines of the first and the third
    bench.sweep(at, 10).await;
    let third = bench.live(&user, at).await;
    bench.same("the live sessions of a subject that was swept", third.len(), 1);
    let login = Creation { cap: cap(1, Overflow::Evict), ..plain(session(Some(&user), at)) };
    let (record, evicted) = bench.open(login).await;
    bench.same("what a login evicted after a sweep", evicted, third);

    bench.sweep(at + SECOND, 10).await;
    let end = End::new(EndReason::Revoked, at + SECOND);
    bench.same("the live sessions after another", bench.live(&user, at + SECOND).await, vec![record.sid]);
    bench.same("what ending the subject ended", bench.end_subject(&user, end, None).await, vec![record.sid]);
}
