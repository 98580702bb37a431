//! Records come back exactly, and changes do what `Change::apply` does (S2, S8).

use std::{net::IpAddr, sync::Arc, time::Duration};

use super::{
    bench::Bench,
    hostile,
    material::{
        ABSOLUTE, IDLE, MINUTE, SECOND, TICK, device, edits, end, holding, lifetimes, lowering, random,
        rotation, secret, sid, superseded, touch, visitor, write,
    },
};
use crate::{
    SessionStore,
    record::{
        Binding, Change, Edits, EndOutcome, EndReason, LastSeen, Metadata, Mode, PreviousSecret, Record,
        TimingChange, UpdateOutcome,
    },
    store::{CreateOutcome, Creation, CreationPlan, Page},
};

/// Every field of a record comes back unchanged from `create`, `load` and `list`, for users with
/// strange names and for an anonymous visitor.
pub(super) async fn s8_a_record_comes_back_exactly<S: SessionStore>(bench: Bench<S>) {
    let at = bench.start + TICK;
    let mut full = bench.user().session(at);
    full.timing.mode = Mode::Persistent;
    full.timing.authenticated_at = Some(at + 2 * TICK);
    full.timing.last_interaction_at = at + 4 * TICK;
    full.timing.longest_gap = (6 * TICK).into();
    full.timing.lifetimes = lifetimes(IDLE + 3 * TICK, ABSOLUTE + 5 * TICK);
    full.timing.policy_at_creation = lifetimes(11 * MINUTE, 13 * MINUTE);
    full.timing.policy_stamp = u64::MAX - 3;
    full.timing.one_off_idle = Some((MINUTE + 7 * TICK).into());
    full.previous_secret = Some(PreviousSecret { hash: secret(), until: at + 8 * TICK });
    full.updated_at = at + 9 * TICK;
    full.admitted_at = at + 10 * TICK;
    full.confirmed = true;
    full.revision = u64::MAX / 2;
    full.facts = Arc::new(hostile::facts(at));
    let named = |name: &str| bench.user_of(&bench.realm, name).session(at);
    let unusual = format!("\0 {} \u{feff}", sid());
    let longest = format!("{}{}", "ü".repeat(240), sid());

    for record in [full, visitor(&bench.realm, at), named(&unusual), named(&longest)] {
        let creation = Creation { edits: hostile::edits(), ..Creation::new(holding(record, "before", "1")) };
        let plan = creation.clone().plan(None, vec![], 0);
        let CreationPlan::Store { record: wanted, .. } = plan else { bench.fail("the model") };
        let (created, ended) = bench.replace(creation).await;
        bench.same("what a creation that ends nothing ended", ended, vec![]);
        bench.same_record("the answer to `create`", &created, &wanted);
        bench.same_record("a record that was created and loaded", &bench.find(wanted.sid).await, &wanted);
        let subject = wanted.subject.clone().map(|name| (wanted.sid.tag(), name));
        let page = Page { realm: Arc::clone(&bench.realm), subject, after: None, limit: super::bench::MANY };
        let listed = bench.list(page).await.into_iter().find(|record| record.sid == wanted.sid);
        let listed = listed.unwrap_or_else(|| bench.fail("a live session is not in the list of its subject"));
        bench.same_record("a record that was created and listed", &listed, &wanted);
        bench.end(wanted.sid, end(EndReason::SignedOut, at)).await; // 100 kB less
    }
}

/// Applies a change in the store and to the model, and compares.
pub(super) async fn change_both<S: SessionStore>(
    bench: &Bench<S>,
    what: &str,
    change: Change,
    model: &mut Record,
) {
    let wanted = change.apply(model);
    let found = bench.update(model.sid, change).await;
    bench.same(&format!("the answer to {what}"), found, wanted);
    bench.same_record(&format!("after {what}"), &bench.find(model.sid).await, model);
}

/// A store that implements a change itself agrees with `Change::apply`.
pub(super) async fn s2_every_change_does_what_apply_does<S: SessionStore>(bench: Bench<S>) {
    let at = |seconds: u32| bench.start + SECOND * seconds + TICK;
    let mut record = bench.user().session(bench.start);
    record.timing.one_off_idle = Some((2 * MINUTE).into());
    record.facts = Arc::new(hostile::facts(bench.start));
    record.binding = Some(Arc::new(Binding::new(random())));
    let mut model = bench.open(record).await;

    let change = |at| Change::at(at);
    change_both(&bench, "a change of nothing", change(at(0)), &mut model).await;
    change_both(&bench, "a write", write(at(1), "a", "1"), &mut model).await;
    change_both(&bench, "an interaction after a one-off idle lifetime", touch(at(60)), &mut model).await;
    change_both(&bench, "an interaction", touch(at(90)), &mut model).await;
    change_both(&bench, "an interaction that comes late", touch(at(30)), &mut model).await;
    change_both(&bench, "a write over a value", write(at(91), "a", "2"), &mut model).await;
    change_both(&bench, "a write that comes late", write(at(2), "b", "1"), &mut model).await;

    let mut many = hostile::edits();
    many.remove("a");
    many.remove("never set");
    let all_at_once = Change { edits: many, ..change(at(92)) };
    change_both(&bench, "many writes and removals at once", all_at_once, &mut model).await;
    let mut none = Edits::default();
    hostile::edits().iter().for_each(|(key, _)| none.remove(key.to_owned()));
    change_both(&bench, "the removal of all of them", Change { edits: none, ..change(at(93)) }, &mut model)
        .await;

    let lowering = Some(lowering(14 * MINUTE, 9999 * MINUTE, MINUTE));
    let timing = TimingChange { interaction_at: None, lowering };
    change_both(&bench, "a lowered policy", Change { timing, ..change(at(94)) }, &mut model).await;

    let last_seen = LastSeen { ip: Some(IpAddr::from([198, 51, 100, 7])), user_agent: None };
    let moved = Change { last_seen: Some(Box::new(last_seen)), ..touch(at(95)) };
    change_both(&bench, "an interaction from another address", moved, &mut model).await;
    let slow = Change { last_seen: Some(Box::default()), ..touch(at(50)) };
    change_both(&bench, "an interaction from elsewhere that comes late", slow, &mut model).await;
    let mut metadata = Metadata::default();
    metadata.set("only", "'🦀'").expect("it fits");
    let noted = Change { metadata: Some(Box::new(metadata)), ..change(at(96)) };
    change_both(&bench, "new metadata", noted, &mut model).await;
    let confirmed = Change { confirms: true, ..change(at(96)) };
    change_both(&bench, "the return of the cookie", confirmed, &mut model).await;

    let all = Change {
        at: at(97),
        timing: TimingChange { interaction_at: Some(at(97)), lowering },
        edits: edits("c", "1"),
        rotation: rotation(model.secret, secret(), at(107) + TICK),
        last_seen: Some(Box::new(LastSeen { ip: None, user_agent: Some("other".into()) })),
        metadata: Some(Box::default()),
        confirms: true,
        bind_to: Some(device(1, at(97))),
        if_revision: Some(model.revision),
        max_data: 1000,
    };
    change_both(&bench, "all kinds of changes at once", all, &mut model).await;
}

/// Absence is a value: `None`, `Gone(None)`, `Unknown`, and a creation that replaces nothing.
pub(super) async fn s2_an_unknown_id_is_a_value_and_not_an_error<S: SessionStore>(bench: Bench<S>) {
    let user = bench.user();
    let unknown = user.session(bench.start).sid;
    let request = || end(EndReason::SignedOut, bench.start);
    bench.same("loading an unknown id", bench.load(unknown).await, None);
    for change in [write(bench.start, "a", "1"), touch(bench.start), Change::at(bench.start)] {
        let updated = bench.update(unknown, change).await;
        bench.same("updating an unknown id", updated, UpdateOutcome::Gone(None));
    }
    bench.same("ending an unknown id", bench.end(unknown, request()).await, EndOutcome::Unknown);
    let many = bench.end_many(vec![(unknown, request()), (sid(), request())]).await;
    bench.same("ending several unknown ids", many, vec![EndOutcome::Unknown; 2]);
    bench.same("ending none", bench.end_many(vec![]).await, vec![]);
    bench.reschedule(vec![(unknown, bench.start)]).await;
    bench.reschedule(vec![]).await;
    bench.same("listing an unknown subject", bench.listed(&user).await, vec![]);
    let page = Page { subject: None, ..user.page() };
    bench.same("listing an unknown realm", bench.list(page).await, vec![]);
    bench.same("the moment of an unknown realm", bench.not_before(&bench.realm).await, None);
    bench.revoke(user.revocation(bench.start)).await;
    bench.same("loading an id that was only updated and ended", bench.load(unknown).await, None);

    let record = user.session(bench.start + SECOND);
    let replaced = superseded(bench.start + SECOND, user.replacement(record.sid));
    let ends = vec![(unknown, replaced)];
    let (_, ended) = bench.replace(Creation { ends, ..Creation::new(record) }).await;
    bench.same("the end of an unknown id that goes first", ended, vec![EndOutcome::Unknown]);
    bench.same("loading an unknown id that a creation replaced", bench.load(unknown).await, None);
}

/// The second attempt of a creation whose answer was lost returns `Exists`, whatever cap and mark
/// are, live or ended, and changes nothing.
pub(super) async fn s2_create_on_a_known_id_changes_nothing<S: SessionStore>(bench: Bench<S>) {
    let user = bench.user();
    let other = bench.open(user.session(bench.start)).await;
    let known = bench.open(holding(user.session(bench.start), "a", "1")).await;
    let usurper = Record { sid: known.sid, ..user.session(bench.start + MINUTE) };
    let again = Creation {
        edits: edits("a", "2"),
        ends: vec![(other.sid, superseded(bench.start + MINUTE, user.replacement(known.sid)))],
        ..Creation::new(usurper)
    };
    let full = Creation { cap: 1_u32.try_into().ok(), ..again.clone() };
    for (creation, what) in [(&again, "creating a known id"), (&full, "creating it when the cap is full")] {
        bench.same(what, bench.create(creation.clone()).await, CreateOutcome::Exists);
        bench.same_record("a session that was created again", &bench.find(known.sid).await, &known);
        bench.same_record("a session beside it", &bench.find(other.sid).await, &other);
    }
    let theirs = Creation::new(Record { sid: known.sid, ..bench.user().session(bench.start) });
    let theirs = bench.create(theirs).await;
    bench.same("creating a known id for another user", theirs, CreateOutcome::Exists);

    bench.end(known.sid, end(EndReason::SignedOut, bench.start)).await;
    let tombstone = bench.find(known.sid).await;
    let outcome = bench.create(again.clone()).await;
    bench.same("creating the id of a session that has ended", outcome, CreateOutcome::Exists);
    bench.same_record("a tombstone that was created again", &bench.find(known.sid).await, &tombstone);
    bench.revoke(user.revocation(bench.start + 2 * MINUTE)).await;
    let outcome = bench.create(again).await;
    bench.same("creating a known id after a revocation", outcome, CreateOutcome::Exists);
    bench.expect(bench.find(other.sid).await.ended.is_none(), "a creation that was refused ended a session");
}

/// Returns `Conflict`, and changes nothing.
pub(super) async fn s3_a_condition_on_the_revision_that_does_not_hold_writes_nothing<S: SessionStore>(
    bench: Bench<S>,
) {
    let mut model = bench.open(visitor(&bench.realm, bench.start)).await;
    let at = bench.start + SECOND;
    change_both(&bench, "a first write", write(at, "a", "1"), &mut model).await;
    for revision in [0, 2] {
        let mut change = Change { if_revision: Some(revision), ..write(at + SECOND, "a", "2") };
        change.timing.interaction_at = Some(at + SECOND);
        change.rotation = rotation(model.secret, secret(), at + MINUTE);
        change_both(&bench, "a write on the condition of another revision", change, &mut model).await;
    }
    let touched = Change { if_revision: Some(0), ..touch(at + SECOND) };
    change_both(&bench, "an interaction on the condition of another revision", touched, &mut model).await;
    let change = Change { if_revision: Some(1), ..write(at + SECOND, "a", "2") };
    change_both(&bench, "a write on the condition of its revision", change, &mut model).await;
    change_both(&bench, "an interaction, which is no revision", touch(at + MINUTE), &mut model).await;
}

/// A slow, old request does not move the last interaction back, and no touch rewrites data or
/// counts as a revision.
pub(super) async fn l9_an_interaction_moves_forward_only_and_leaves_the_data_alone<S: SessionStore>(
    bench: Bench<S>,
) {
    let creation = Creation { edits: hostile::edits(), ..Creation::new(bench.user().session(bench.start)) };
    let (mut model, _) = bench.replace(creation).await;
    for minutes in [5, 3, 0, 9, 8, 9] {
        let at = bench.start + MINUTE * minutes;
        change_both(&bench, "interactions in and out of order", touch(at), &mut model).await;
    }
    bench.same("the longest gap", Duration::from(model.timing.longest_gap), 5 * MINUTE);
    let early = bench.start - MINUTE;
    change_both(&bench, "an interaction from before the session", touch(early), &mut model).await;
    bench.end(model.sid, end(EndReason::SignedOut, bench.start + 9 * MINUTE)).await; // 100 kB less
}

/// Field by field, in any order: no lowering undoes another.
pub(super) async fn l5_lowerings_are_minima_in_any_order<S: SessionStore>(bench: Bench<S>) {
    let lowerings = [(10, 400, 5), (12, 200, 3), (14, 300, 4)]
        .map(|(idle, absolute, one_off)| lowering(idle * MINUTE, absolute * MINUTE, one_off * MINUTE));
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut record = visitor(&bench.realm, bench.start);
        record.timing.one_off_idle = Some(IDLE.into());
        let mut model = bench.open(record).await;
        for index in order {
            let timing = TimingChange { interaction_at: None, lowering: Some(lowerings[index]) };
            let change = Change { timing, ..Change::at(bench.start) };
            change_both(&bench, "a lowered policy", change, &mut model).await;
        }
        bench.same("three lowered policies", model.timing.lifetimes, lifetimes(10 * MINUTE, 200 * MINUTE));
    }
}
