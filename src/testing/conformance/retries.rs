//! Repeated calls after a lost answer, and callers that know an older state (S3, O2).

use super::{
    bench::Bench,
    ends::end_both,
    material::{MINUTE, SECOND, call, edits, end, holding, json, superseded, touch, write},
};
use crate::{
    SessionStore,
    record::{Change, EndOutcome, EndReason, EndRequest},
    store::{CreateOutcome, Creation},
};

/// Exactly one caller reports the end of a session, also when its first answer was lost.
pub(super) async fn s3_the_same_end_again_answers_the_same_and_another_call_does_not<S: SessionStore>(
    bench: Bench<S>,
) {
    let at = bench.start + MINUTE;
    let mut model = bench.open(holding(bench.user().session(bench.start), "a", "1")).await;
    let live = model.clone();
    let first = end(EndReason::SignedOut, at);
    let outcome = end_both(&bench, "an end", &first, &mut model).await;
    for seen in [None, Some(live), Some(model.clone())] {
        let again = bench.end_seen(model.sid, first.clone(), seen.clone()).await;
        bench.same("the same end again", &again, &outcome);
        let other = EndRequest { call: call(), ..first.clone() };
        let other = bench.end_seen(model.sid, other, seen).await;
        let already = matches!(&other, EndOutcome::AlreadyEnded { tombstone, work: None }
            if tombstone.call == first.call && tombstone.reason == EndReason::SignedOut);
        bench.expect(already, "another call to end a session that has ended is not answered so");
    }
    let again = bench.end_many(vec![(model.sid, first.clone())]).await;
    bench.same("the same end again, among many", again, vec![outcome]);
    bench.same_record("a session that was ended again", &bench.find(model.sid).await, &model);
}

/// Of parallel calls to end one session, exactly one ends it.
pub(super) async fn o2_of_parallel_ends_exactly_one_ends_the_session<S: SessionStore>(bench: Bench<S>) {
    for _ in 0..5 {
        let record = bench.open(bench.user().session(bench.start)).await;
        let ends = (0..8).map(|number: u32| {
            let reasons = [EndReason::SignedOut, EndReason::Revoked];
            bench.end(record.sid, end(reasons[usize::from(number > 3)], bench.start + SECOND * number))
        });
        let outcomes = bench.together(ends).await;
        let ended = outcomes.iter().filter(|outcome| matches!(outcome, EndOutcome::Ended(_))).count();
        bench.same("how many of 8 parallel ends ended the session", ended, 1);
    }
}

/// A repeated creation takes effect once, with its ends.
pub(super) async fn s3_the_same_creation_again_does_nothing_more<S: SessionStore>(bench: Bench<S>) {
    let user = bench.user();
    let old = bench.open(holding(user.session(bench.start), "cart", "1")).await;
    let at = bench.start + MINUTE;
    let record = user.session(at);
    let replaced = (old.sid, superseded(at, user.replacement(record.sid)));
    let creation =
        Creation { ends: vec![replaced.clone()], edits: edits("new", "1"), ..Creation::new(record) };
    let (created, _) = bench.replace(creation.clone()).await;
    let tombstone = bench.find(old.sid).await;
    bench.update(created.sid, write(at, "later", "1")).await;
    let known = bench.find(created.sid).await;
    for _ in 0..2 {
        let again = bench.create(creation.clone()).await;
        bench.same("the same creation again", again, CreateOutcome::Exists);
        bench.same_record("a session that was created again", &bench.find(created.sid).await, &known);
        bench.same_record("the session that it replaced", &bench.find(old.sid).await, &tombstone);
    }
    // The end belongs to the creation: repeated alone, it counts as the same call.
    let (sid, request) = replaced;
    let again = bench.end(sid, request).await;
    bench.ended("the end of a creation, again", &again, EndReason::Superseded);
}

/// Nothing is lost, whatever record the caller passes: none, an old one, the current one.
pub(super) async fn s3_a_write_of_who_knows_an_older_record_loses_nothing<S: SessionStore>(bench: Bench<S>) {
    let created = bench.open(bench.user().session(bench.start)).await;
    let mut model = created.clone();
    let mut states = vec![None, Some(created)];
    for number in 0..12_u32 {
        let at = bench.start + SECOND * number;
        let seen = states[(number as usize * 5) % states.len()].clone();
        let mut change = write(at, &format!("key {number}"), "x");
        change.edits.set("last", json(&number.to_string()));
        change.timing.interaction_at = Some(at);
        let wanted = change.apply(&mut model);
        let updated = bench.update_seen(model.sid, change, seen).await;
        bench.same("the answer to a write of who knows an older record", updated, wanted);
        let found = bench.find(model.sid).await;
        bench.same_record("after a write of who knows an older record", &found, &model);
        states.push(Some(found));
    }
    // A condition is judged by the stored record, not by the caller's.
    for seen in states {
        let known = seen.as_ref().map_or(0, |record| record.revision);
        let change = Change { if_revision: Some(known), ..write(bench.start, "n", &known.to_string()) };
        let wanted = change.apply(&mut model);
        let updated = bench.update_seen(model.sid, change, seen).await;
        bench.same("a condition of who knows an older record", updated, wanted);
        bench.same_record("after that", &bench.find(model.sid).await, &model);
    }
}

/// The tombstone is made from the stored record: with its last interaction, and its data.
pub(super) async fn s3_an_end_of_who_knows_an_older_record_ends_what_is_there<S: SessionStore>(
    bench: Bench<S>,
) {
    let user = bench.user();
    for which in 0..3 {
        let created = bench.open(user.session(bench.start)).await;
        let mut model = created.clone();
        let at = bench.start + MINUTE;
        for change in [touch(at), write(at, "cart", "1")] {
            change.apply(&mut model);
            bench.update(model.sid, change).await;
        }
        let seen = [None, Some(created.clone()), Some(bench.find(model.sid).await)][which].clone();
        let mut spared = end(EndReason::Idle, at);
        spared.options.if_idle_since = Some(bench.start);
        let outcome = bench.end_seen(model.sid, spared, seen.clone()).await;
        bench.same("an end over an interaction that the caller does not know", outcome, EndOutcome::Spared);

        let request = superseded(at, user.replacement(created.sid));
        let wanted = model.end(&request);
        let outcome = bench.end_seen(model.sid, request, seen).await;
        bench.same("the answer to an end of who knows an older record", outcome, wanted);
        bench.same_record("the tombstone", &bench.find(model.sid).await, &model);
    }
}
