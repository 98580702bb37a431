//! Tombstones (S2, S4, E3).

use std::{sync::Arc, time::Duration};

use super::{
    bench::Bench,
    material::{
        ABSOLUTE, IDLE, MINUTE, SECOND, end, holding, lifetimes, lowering, rotation, secret, superseded,
        touch, visitor, write,
    },
};
use crate::{
    SessionStore,
    record::{Change, EndOptions, EndOutcome, EndReason, EndRequest, Record, Replacement, UpdateOutcome},
};

/// Ends a session in the store and in the model, and compares.
pub(super) async fn end_both<S: SessionStore>(
    bench: &Bench<S>,
    what: &str,
    request: &EndRequest,
    model: &mut Record,
) -> EndOutcome {
    let wanted = model.end(request);
    let outcome = bench.end(model.sid, request.clone()).await;
    bench.same(&format!("the answer to {what}"), &outcome, &wanted);
    bench.same_record(&format!("after {what}"), &bench.find(model.sid).await, model);
    outcome
}

/// The tombstone equals the result of `Record::end`: with its reason, facts and secret.
pub(super) async fn e3_an_end_leaves_a_tombstone_without_data<S: SessionStore>(bench: Bench<S>) {
    for reason in [EndReason::SignedOut, EndReason::Revoked, EndReason::Evicted, EndReason::Superseded] {
        let mut model = bench.open(holding(bench.user().session(bench.start), "a", "1")).await;
        let rotation = rotation(model.secret, secret(), bench.start + MINUTE);
        let change = Change { rotation, ..Change::at(bench.start) };
        change.apply(&mut model);
        bench.update(model.sid, change).await;

        end_both(&bench, "ending a live session", &end(reason, bench.start + SECOND), &mut model).await;
        bench.expect(bench.find(model.sid).await.data.is_empty(), "a session that has ended still has data");
    }
}

/// A later call returns the first reason and moment.
pub(super) async fn e3_the_first_reason_stands<S: SessionStore>(bench: Bench<S>) {
    let mut model = bench.open(bench.user().session(bench.start)).await;
    end_both(&bench, "an end", &end(EndReason::SignedOut, bench.start), &mut model).await;
    let tombstone = model.clone();
    for at in [bench.start, bench.start + SECOND, bench.start + ABSOLUTE, bench.start - SECOND] {
        let again = end_both(&bench, "a second end", &end(EndReason::Revoked, at), &mut model).await;
        bench.expect(matches!(again, EndOutcome::AlreadyEnded { .. }), "a session ended twice");
        bench.same_record("a session that was ended twice", &model, &tombstone);
    }
}

/// A session past its deadline ends at that deadline, whatever the request says.
pub(super) async fn l2_an_end_past_the_deadline_is_the_deadlines<S: SessionStore>(bench: Bench<S>) {
    for (lifetimes, reason) in [
        (lifetimes(IDLE, ABSOLUTE), EndReason::Idle),
        (lifetimes(ABSOLUTE, IDLE), EndReason::Absolute),
        (lifetimes(IDLE, IDLE), EndReason::Absolute),
    ] {
        for late in [Duration::ZERO, MINUTE] {
            let mut record = visitor(&bench.realm, bench.start);
            record.timing.lifetimes = lifetimes;
            let mut model = bench.open(record).await;
            let request = end(EndReason::SignedOut, bench.start + IDLE + late);
            let ended = end_both(&bench, "an end past the deadline", &request, &mut model).await;
            bench.ended("ending a session past its deadline", &ended, reason);
            let at = model.ended.map(|tombstone| tombstone.at);
            bench.same("when it ended", at, Some(bench.start + IDLE));
        }
    }
}

/// A session that seems idle is not ended if a request has recorded an interaction meanwhile.
pub(super) async fn s2_an_end_on_condition_spares_a_session_that_was_used_since<S: SessionStore>(
    bench: Bench<S>,
) {
    let mut model = bench.open(visitor(&bench.realm, bench.start)).await;
    let touch = touch(bench.start + MINUTE);
    touch.apply(&mut model);
    bench.update(model.sid, touch).await;
    let request = |seen| {
        let mut request = end(EndReason::Idle, bench.start + 2 * MINUTE);
        request.options.if_idle_since = Some(seen);
        request
    };
    let spared = request(bench.start);
    let outcome = end_both(&bench, "ending a session that was used since", &spared, &mut model).await;
    bench.same("ending a session that was used since", outcome, EndOutcome::Spared);
    let ended = request(bench.start + MINUTE);
    let outcome = end_both(&bench, "ending a session that was not used since", &ended, &mut model).await;
    bench.ended("ending a session that was not used since", &outcome, EndReason::Idle);
    end_both(&bench, "ending on condition what has ended", &request(bench.start), &mut model).await;
}

/// Another realm, a wrong secret or another subject changes nothing. If the conditions hold, the
/// session ends, and the tombstone keeps the lowering.
pub(super) async fn s2_an_end_keeps_to_its_conditions<S: SessionStore>(bench: Bench<S>) {
    let user = bench.user();
    let mut model = bench.open(user.session(bench.start)).await;
    let known = model.clone();
    let at = bench.start + MINUTE;
    let under = |options| EndRequest { options, ..end(EndReason::SignedOut, at) };
    let other = Replacement { same_subject_only: true, ..bench.user().replacement(known.sid) };
    let conditions = [
        (EndOptions { if_realm: Some("another".into()), ..EndOptions::default() }, EndOutcome::Unknown),
        (EndOptions { if_secret: Some(secret()), ..EndOptions::default() }, EndOutcome::Unknown),
        (EndOptions { replaced_by: Some(other), ..EndOptions::default() }, EndOutcome::Spared),
    ];
    for (options, wanted) in conditions {
        let outcome = end_both(&bench, "an end whose condition fails", &under(options), &mut model).await;
        bench.same("an end whose condition does not hold", outcome, wanted);
        bench.same_record("a session that such an end left alone", &model, &known);
    }
    let all = EndOptions {
        if_realm: Some(Arc::clone(&user.realm)),
        if_secret: Some(known.secret),
        if_idle_since: Some(known.timing.last_interaction_at),
        lowering: Some(lowering(10 * MINUTE, 60 * MINUTE, MINUTE)),
        ..EndOptions::default()
    };
    let outcome = end_both(&bench, "an end whose conditions hold", &under(all), &mut model).await;
    bench.ended("an end whose conditions hold", &outcome, EndReason::SignedOut);
    bench.same("what a tombstone remembers of a lowering", model.timing.lifetimes.idle(), 10 * MINUTE);
}

/// In their order. Unknown or ended sessions do not prevent the other ends.
pub(super) async fn s2_ending_many_does_what_ending_each_does<S: SessionStore>(bench: Bench<S>) {
    let (user, other) = (bench.user(), bench.user());
    let mut models = Vec::new();
    for owner in [&user, &other, &user, &user] {
        models.push(bench.open(holding(owner.session(bench.start), "a", "1")).await);
    }
    models.push(bench.open(visitor(&bench.realm, bench.start)).await);
    let at = bench.start + MINUTE;
    end_both(&bench, "an end", &end(EndReason::SignedOut, at), &mut models[2]).await;
    let touch = touch(at);
    touch.apply(&mut models[3]);
    bench.update(models[3].sid, touch).await;

    let mut requests: Vec<_> = models.iter().map(|model| (model.sid, end(EndReason::Revoked, at))).collect();
    requests[3].1.options.if_idle_since = Some(bench.start);
    requests.insert(1, (user.session(at).sid, end(EndReason::Revoked, at)));
    let mut wanted: Vec<_> =
        models.iter_mut().zip([0, 2, 3, 4, 5]).map(|(model, index)| model.end(&requests[index].1)).collect();
    wanted.insert(1, EndOutcome::Unknown);
    bench.same("the outcomes of several ends", bench.end_many(requests).await, wanted);
    for model in &models {
        bench.same_record("one of several that were ended", &bench.find(model.sid).await, model);
    }
}

/// Every kind of change returns that the session is gone, with the reason, and changes nothing.
pub(super) async fn s4_no_change_reaches_a_session_that_has_ended<S: SessionStore>(bench: Bench<S>) {
    let user = bench.user();
    let record = bench.open(user.session(bench.start)).await;
    bench.end(record.sid, end(EndReason::Revoked, bench.start)).await;
    let tombstone = bench.find(record.sid).await;
    let at = bench.start + SECOND;
    let change = || Change::at(at);
    let mut lowered = change();
    lowered.timing.lowering = Some(lowering(MINUTE, MINUTE, MINUTE));
    let late = [
        change(),
        write(at, "a", "1"),
        touch(at),
        lowered,
        Change { rotation: rotation(record.secret, secret(), at + MINUTE), ..change() },
        Change { last_seen: Some(Box::default()), ..touch(at) },
        Change { metadata: Some(Box::default()), ..change() },
        Change { confirms: true, ..change() },
        Change { if_revision: Some(record.revision), ..write(at, "a", "1") },
        Change { if_revision: Some(record.revision + 1), ..write(at, "a", "1") },
        Change { max_data: 0, ..write(at, "a", "1") },
    ];
    for change in late {
        // Whatever the caller knows: nothing, the live session, the tombstone.
        for seen in [None, Some(record.clone()), Some(tombstone.clone())] {
            let updated = bench.update_seen(record.sid, change.clone(), seen).await;
            let wanted = UpdateOutcome::Gone(tombstone.ended);
            bench.same(&format!("{change:?} of a session that has ended"), updated, wanted);
            bench.same_record("a tombstone that was updated", &bench.find(record.sid).await, &tombstone);
        }
    }
    bench.same("the sessions of its subject", bench.listed(&user).await, vec![]);
    let many = vec![(record.sid, superseded(at, user.replacement(record.sid)))];
    let again = bench.end_many(many).await;
    let gave = matches!(&again[..], [EndOutcome::AlreadyEnded { work: None, .. }]);
    bench.expect(gave, "a session that was revoked gave data to a login");
}
