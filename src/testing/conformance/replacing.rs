//! A login replaces the session in the same browser (L3, S4, S9).

use super::{
    bench::{Bench, keys},
    ends::end_both,
    material::{MINUTE, User, edits, end, holding, superseded, touch, visitor, write},
};
use crate::{
    SessionStore,
    record::{EndOutcome, EndReason, EndRequest, Record, Replacement, Successor, Tombstone, UpdateOutcome},
    store::{CreateOutcome, Creation, CreationPlan, handed_over},
};

const SUPERSEDED: EndReason = EndReason::Superseded;

/// A session of this user with a value under `old`.
async fn with_data<S: SessionStore>(bench: &Bench<S>, user: &User) -> Record {
    bench.open(holding(user.session(bench.start), "old", "1")).await
}

/// A login of this user, a minute later, that replaces it and writes `new`.
fn login<S>(bench: &Bench<S>, user: &User, old: &Record) -> Creation {
    let at = bench.start + MINUTE;
    let record = user.session(at);
    let ends = vec![(old.sid, superseded(at, user.replacement(record.sid)))];
    Creation { edits: edits("new", "1"), ends, ..Creation::new(record) }
}

/// The new session gets the current data, including writes since the login's request loaded it, and
/// then the login's own edits. The tombstone names the new session.
pub(super) async fn l3_the_new_session_takes_over_the_data_and_the_old_one_is_superseded<S: SessionStore>(
    bench: Bench<S>,
) {
    let user = bench.user();
    let mut old = with_data(&bench, &user).await;
    let mut creation = login(&bench, &user, &old);
    creation.edits.set("written", super::material::json("by the login"));
    for change in [write(bench.start, "meanwhile", "1"), write(bench.start, "written", "before")] {
        change.apply(&mut old);
        bench.update(old.sid, change).await;
    }
    let CreationPlan::Store { record: wanted, mut ended, outcomes } =
        creation.clone().plan(None, vec![Some(old)], 1)
    else {
        bench.fail("the model")
    };
    let old = ended.remove(0);
    let (created, ended) = bench.replace(creation).await;
    bench.same("what came of the end of a session that is replaced", ended, outcomes);
    bench.same_record("the answer to a login that takes over data", &created, &wanted);
    bench.same_record("a session that took over data", &bench.find(wanted.sid).await, &wanted);
    bench.same("its keys", keys(&created), ["meanwhile", "new", "old", "written"].map(Into::into).to_vec());
    bench.same_record("the session that was replaced", &bench.find(old.sid).await, &old);
    let tombstone = old.ended.map(|ended| (ended.reason, ended.at, ended.successor.map(|next| next.sid)));
    let wanted = Some((SUPERSEDED, bench.start + MINUTE, Some(created.sid)));
    bench.same("its tombstone", tombstone, wanted);
    bench.same("the sessions of the user", bench.listed(&user).await, vec![created.sid]);
}

/// An anonymous session has another tag: it ends first, in a separate step, and hands over its
/// data.
pub(super) async fn l3_an_anonymous_session_hands_over_its_data_as_it_ends<S: SessionStore>(bench: Bench<S>) {
    let user = bench.user();
    let mut old = bench.open(holding(visitor(&bench.realm, bench.start), "old", "1")).await;
    let change = write(bench.start, "meanwhile", "1");
    change.apply(&mut old);
    bench.update(old.sid, change).await;
    let at = bench.start + MINUTE;
    let mut record = user.session(at);
    let request = superseded(at, user.replacement(record.sid));
    let outcome = end_both(&bench, "the end of an anonymous session at a login", &request, &mut old).await;
    let Some(data) = handed_over(&outcome) else {
        bench.fail("an anonymous session did not hand over its data to a login");
    };
    record.data = data.clone();
    let record = bench.open(record).await;
    bench.same("the keys of the new session", keys(&record), ["meanwhile", "old"].map(Into::into).to_vec());
    bench.same_record("the new session", &bench.find(record.sid).await, &record);
    let again = end_both(&bench, "the same end again", &request, &mut old).await;
    bench.expect(handed_over(&again).is_none(), "the data of a session was handed over twice");
}

/// The new session gets no data of another subject, and none if the login takes no data.
pub(super) async fn l3_the_new_session_of_another_user_starts_empty<S: SessionStore>(bench: Bench<S>) {
    let user = bench.user();
    let mut old = with_data(&bench, &user).await;
    let mut creation = login(&bench, &user, &old);
    if let Some(new) = &mut creation.ends[0].1.options.replaced_by {
        new.takes_data = false;
    }
    let (created, _) = bench.replace(creation).await;
    bench.same("the keys of the new session", keys(&bench.find(created.sid).await), vec!["new".into()]);
    old = bench.find(old.sid).await;
    bench.same("the end of the replaced session", old.ended.map(|ended| ended.reason), Some(SUPERSEDED));
    bench.expect(old.data.is_empty(), "a session that was replaced still has data");

    let mut theirs = with_data(&bench, &user).await;
    let other = bench.user();
    let request = superseded(bench.start + MINUTE, other.replacement(other.session(bench.start).sid));
    let outcome = end_both(&bench, "the end of another user's session", &request, &mut theirs).await;
    bench.ended("the end of another user's session at a login", &outcome, SUPERSEDED);
    bench.expect(handed_over(&outcome).is_none(), "the data of a user was handed over to another");
    bench.expect(theirs.data.is_empty(), "a session that was replaced still has data");
}

/// A login in flight during a logout of the old session brings back none of its data. The tombstone
/// names the login, and is otherwise as it was.
pub(super) async fn s4_a_replaced_session_that_has_ended_gives_nothing_and_keeps_its_reason<
    S: SessionStore,
>(
    bench: Bench<S>,
) {
    let user = bench.user();
    let old = with_data(&bench, &user).await;
    let creation = login(&bench, &user, &old);
    let arrival = creation.record.timing.created_at;
    bench.end(old.sid, end(EndReason::SignedOut, bench.start)).await;
    let mut tombstone = bench.find(old.sid).await;
    let (created, ended) = bench.replace(creation).await;
    tombstone.ended = tombstone
        .ended
        .map(|ended| Tombstone { successor: Some(Successor { sid: created.sid, at: arrival }), ..ended });
    let already = matches!(&ended[..], [EndOutcome::AlreadyEnded { tombstone: found, work: None }]
        if Some(*found) == tombstone.ended);
    bench.expect(already, "a session that had ended was ended again by a login");
    bench.same("the keys of the new session", keys(&bench.find(created.sid).await), vec!["new".into()]);
    bench.same_record("the session that had ended before", &bench.find(old.sid).await, &tombstone);
    // A later login finds the first one's name there, so that it can take its place.
    let again = login(&bench, &user, &old);
    let (_, ended) = bench.replace(again).await;
    let names_the_first = matches!(&ended[..], [EndOutcome::AlreadyEnded { tombstone: found, .. }]
        if found.successor.map(|next| next.sid) == Some(created.sid));
    bench.expect(names_the_first, "a tombstone forgot the login that followed its session");
}

/// Every write that was applied to the old session is in the new one; every other returned `Gone`.
pub(super) async fn s4_a_write_is_either_taken_over_or_answered_that_it_came_too_late<S: SessionStore>(
    bench: Bench<S>,
) {
    for round in 0..8 {
        let user = bench.user();
        let old = with_data(&bench, &user).await;
        let creation = login(&bench, &user, &old);
        let sid = creation.record.sid;
        let (bench, creation) = (&bench, &creation);
        let requests = (0..16).map(|number| async move {
            if number == round * 2 {
                bench.replace(creation.clone()).await;
                return None;
            }
            let key = format!("key {number}");
            match bench.update(old.sid, write(bench.start, &key, "x")).await {
                UpdateOutcome::Applied(_) => Some((key, true)),
                UpdateOutcome::Gone(Some(tombstone)) if tombstone.reason == SUPERSEDED => Some((key, false)),
                other => bench.fail(format_args!("a write beside a login said {other:?}")),
            }
        });
        let written = bench.together(requests).await;
        let found = bench.find(sid).await;
        for (key, applied) in written.into_iter().flatten() {
            let answered = if applied { "applied" } else { "gone" };
            let what = format!("whether the new session has a write to the old one that was {answered}");
            bench.same(&what, found.data.get(&key).is_some(), applied);
        }
        bench.expect(bench.find(old.sid).await.data.is_empty(), "a session that was replaced still has data");
    }
}

/// The other login finds the old session ended, and its successor.
pub(super) async fn s4_of_two_logins_in_one_browser_one_takes_over_the_data<S: SessionStore>(
    bench: Bench<S>,
) {
    for _ in 0..5 {
        let user = bench.user();
        let old = with_data(&bench, &user).await;
        let logins = [login(&bench, &user, &old), login(&bench, &user, &old)];
        let sids = logins.each_ref().map(|login| login.record.sid);
        let done = bench.together(logins.into_iter().map(|login| bench.replace(login))).await;
        let mut heirs = Vec::new();
        for sid in sids {
            heirs.extend(bench.find(sid).await.data.get("old").map(|_| sid));
        }
        bench.same("how many of two parallel logins took over the data", heirs.len(), 1);
        let ended: Vec<_> = done.iter().flat_map(|(_, ended)| ended).collect();
        let first = ended.iter().filter(|outcome| matches!(outcome, EndOutcome::Ended(_))).count();
        bench.same("how many of two parallel logins ended the session", first, 1);
        let successors = ended.iter().filter_map(|outcome| match outcome {
            EndOutcome::AlreadyEnded { tombstone, .. } => tombstone.successor.map(|next| next.sid),
            _ => None,
        });
        bench.same("the successor that the other login finds", successors.collect(), heirs);
    }
}

/// A double click on "log in": the second login finds the session ended, follows its tombstone to
/// the first login's session, replaces that one, and takes over the data. The same for more clicks.
pub(super) async fn s9_tombstones_lead_from_login_to_login<S: SessionStore>(bench: Bench<S>) {
    let user = bench.user();
    let old = with_data(&bench, &user).await;
    let mut last = old.sid;
    for click in 0..3 {
        let mut creation = login(&bench, &user, &old);
        let mut target = old.sid;
        // As the middleware does: end the session of the cookie; if that has ended, end its
        // successor.
        let data = loop {
            let new = Replacement { same_subject_only: true, ..user.replacement(creation.record.sid) };
            let request: EndRequest = superseded(bench.start + MINUTE, new);
            match bench.end(target, request).await {
                EndOutcome::Ended(session) => break session.data,
                EndOutcome::AlreadyEnded { tombstone, .. } => match tombstone.successor {
                    Some(successor) => target = successor.sid,
                    None => bench.fail("the tombstone of a replaced session names no successor"),
                },
                other => bench.fail(format_args!("the end of a session that was replaced said {other:?}")),
            }
        };
        bench.same("the session at the end of the chain", target, last);
        creation.ends.clear();
        creation.record.data = data.unwrap_or_default();
        last = creation.record.sid;
        let (record, _) = bench.replace(creation).await;
        let wanted = ["new", "old"].map(Into::into).to_vec();
        bench.same(&format!("the keys of the session after click {click}"), keys(&record), wanted);
        bench.same("the sessions of the user", bench.listed(&user).await, vec![last]);
    }
}

/// A conditional end that spares its session, or finds it ended, does not fail the creation.
pub(super) async fn s9_ends_that_go_first_keep_to_their_conditions<S: SessionStore>(bench: Bench<S>) {
    let user = bench.user();
    let at = bench.start + MINUTE;
    let [mut in_use, mut other_realm, mut plain] =
        [with_data(&bench, &user).await, with_data(&bench, &user).await, with_data(&bench, &user).await];
    let change = touch(at);
    change.apply(&mut in_use);
    bench.update(in_use.sid, change).await;

    let mut creation = login(&bench, &user, &plain);
    let (plain_sid, replaced) = creation.ends.remove(0);
    let mut over = end(EndReason::Idle, at);
    over.options.if_idle_since = Some(bench.start);
    let mut foreign = end(EndReason::Evicted, at);
    foreign.options.if_realm = Some("another".into());
    creation.ends =
        vec![(in_use.sid, over.clone()), (other_realm.sid, foreign.clone()), (plain_sid, replaced)];
    let wanted = vec![in_use.end(&over), other_realm.end(&foreign), plain.end(&creation.ends[2].1)];
    let outcome = bench.create(creation).await;
    let CreateOutcome::Created { record, ended } = outcome else {
        bench.fail(format_args!("a creation whose ends were spared was answered {outcome:?}"));
    };
    bench.same("what came of ends on condition", ended, wanted);
    bench.same("the keys of the new session", keys(&record), ["new", "old"].map(Into::into).to_vec());
    for model in [&in_use, &other_realm, &plain] {
        bench.same_record("a session that was to end first", &bench.find(model.sid).await, model);
    }
}
