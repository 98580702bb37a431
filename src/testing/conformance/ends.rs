//! Tombstones (SPEC S2, S4, E3).

use std::time::Duration;

use super::bench::{ABSOLUTE, Bench, IDLE, MINUTE, SECOND, plain, secret, session, subject, touch, write};
use crate::{
    SessionStore,
    record::{
        Change, End, EndReason, Ended, Ending, LastSeen, Lifetimes, Lowering, Metadata, Rotation, Updated,
    },
    store::Creation,
};

/// The tombstone is the record as `Record::end` leaves it: readable, with its reason, facts and secret.
pub(super) async fn e3_an_end_leaves_a_tombstone_without_data<S: SessionStore>(bench: Bench<S>) {
    for reason in [EndReason::SignedOut, EndReason::Revoked, EndReason::Evicted, EndReason::Superseded] {
        let record = session(Some(&subject()), bench.start);
        let edits = write(bench.start, "a", "1").edits;
        let (mut model, _) = bench.open(Creation { edits, ..plain(record) }).await;
        let rotation = Some(Rotation { from: model.secret, to: secret(), grace: MINUTE });
        let change = Change { rotation, ..Change::at(bench.start) };
        change.apply(&mut model);
        bench.update(model.sid, change).await;

        let end = End::new(reason, bench.start + SECOND);
        bench.same("ending a live session", bench.end(model.sid, end).await, model.end(&end));
        bench.same_record("a tombstone", &bench.find(model.sid).await, &model);
        bench.expect(bench.find(model.sid).await.data.is_empty(), "a session that has ended still has data");
    }
}

/// Whoever comes later is told the first reason, and its moment stays too.
pub(super) async fn e3_the_first_reason_stands<S: SessionStore>(bench: Bench<S>) {
    let user = subject();
    let (record, _) = bench.open(plain(session(Some(&user), bench.start))).await;
    bench.end(record.sid, End::new(EndReason::SignedOut, bench.start)).await;
    let tombstone = bench.find(record.sid).await;
    for at in [bench.start, bench.start + SECOND, bench.start + ABSOLUTE, bench.start - SECOND] {
        let again = End::new(EndReason::Revoked, at);
        let wanted = Ending::Already(EndReason::SignedOut);
        bench.same("ending a session twice", bench.end(record.sid, again).await, wanted);
        let ended = bench.end_subject(&user, again, None).await;
        bench.same("what ending a subject ended when all had ended", ended, vec![]);
        bench.same_record("a session that was ended twice", &bench.find(record.sid).await, &tombstone);
    }
}

/// A session found past its deadline ended there, for that reason, whatever the order says.
pub(super) async fn l2_an_end_past_the_deadline_is_the_deadlines<S: SessionStore>(bench: Bench<S>) {
    let lifetimes = |idle, absolute| Lifetimes::from_minutes(idle, absolute);
    for (lifetimes, reason, deadline) in [
        (lifetimes(15, 480), EndReason::Idle, IDLE),
        (lifetimes(480, 15), EndReason::Absolute, IDLE),
        (lifetimes(15, 15), EndReason::Absolute, IDLE),
    ] {
        for late in [Duration::ZERO, MINUTE] {
            let mut record = session(None, bench.start);
            record.timing.lifetimes = lifetimes;
            let (record, _) = bench.open(plain(record)).await;
            let end = End::new(EndReason::SignedOut, bench.start + deadline + late);
            bench.same(
                "ending a session past its deadline",
                bench.end(record.sid, end).await,
                Ending::Done(reason),
            );
            let wanted = Ended { reason, at: bench.start + deadline };
            bench.same(
                "a session that was past its deadline",
                bench.find(record.sid).await.ended,
                Some(wanted),
            );
        }
    }
}

/// A session found idle is not ended over a request that was quicker to record that it is in use.
pub(super) async fn s2_an_end_on_condition_spares_a_session_that_was_used_since<S: SessionStore>(
    bench: Bench<S>,
) {
    let (record, _) = bench.open(plain(session(None, bench.start))).await;
    bench.update(record.sid, touch(bench.start + MINUTE)).await;
    let known = bench.find(record.sid).await;
    let end = |seen| End { if_idle_since: Some(seen), ..End::new(EndReason::Idle, bench.start + 2 * MINUTE) };
    let ending = bench.end(record.sid, end(bench.start)).await;
    bench.same("ending a session that was used since", ending, Ending::StillInUse);
    bench.same_record("a session that was still in use", &bench.find(record.sid).await, &known);

    let ending = bench.end(record.sid, end(bench.start + MINUTE)).await;
    bench.same("ending a session that was not used since", ending, Ending::Done(EndReason::Idle));
    let ending = bench.end(record.sid, end(bench.start)).await;
    bench.same("ending on condition what has ended", ending, Ending::Already(EndReason::Idle));
}

/// Every kind of change is told that the session is gone, and why, and changes nothing.
pub(super) async fn s4_no_change_reaches_a_session_that_has_ended<S: SessionStore>(bench: Bench<S>) {
    let user = subject();
    let (record, _) = bench.open(plain(session(Some(&user), bench.start))).await;
    bench.end(record.sid, End::new(EndReason::Revoked, bench.start)).await;
    let tombstone = bench.find(record.sid).await;
    let at = bench.start + SECOND;
    let change = || Change::at(at);
    let lower = Lifetimes::from_minutes(1, 1);
    let mut lowered = change();
    lowered.timing.lowering = Some(Lowering { lifetimes: lower, one_off_idle: MINUTE });
    let late = [
        change(),
        write(at, "a", "1"),
        touch(at),
        lowered,
        Change { rotation: Some(Rotation { from: record.secret, to: secret(), grace: MINUTE }), ..change() },
        Change { last_seen: Some(LastSeen::default()), ..touch(at) },
        Change { metadata: Some(Metadata::default()), ..change() },
        Change { if_revision: Some(record.revision), ..write(at, "a", "1") },
        Change { if_revision: Some(record.revision + 1), ..write(at, "a", "1") },
    ];
    for change in late {
        let updated = bench.update(record.sid, change.clone()).await;
        let wanted = Updated::Gone(Some(EndReason::Revoked));
        bench.same(&format!("{change:?} of a session that has ended"), updated, wanted);
        bench.same_record("a tombstone that was updated", &bench.find(record.sid).await, &tombstone);
    }
    bench.same("the live sessions of its subject", bench.live(&user, at).await, vec![]);
}
