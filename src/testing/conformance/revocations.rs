//! "Sign out everywhere" and "sign everybody out" (L14, S10).

use std::{sync::Arc, time::Duration};

use super::{
    bench::{Bench, sids},
    ends::end_both,
    material::{
        ABSOLUTE, IDLE, MINUTE, SECOND, TICK, User, edits, end, holding, mark, rotation, secret, seen_under,
        touch, visitor, write,
    },
};
use crate::{
    SessionId, SessionStore, Timestamp,
    record::{Change, EndReason, Record, UpdateOutcome},
    store::{CreateOutcome, Creation, Revocation},
};

/// Three sessions of this user.
async fn three<S: SessionStore>(bench: &Bench<S>, user: &User) -> Vec<Record> {
    let mut opened = Vec::new();
    for seconds in 0..3 {
        opened.push(bench.open(holding(user.session(bench.start + SECOND * seconds), "a", "1")).await);
    }
    opened
}

/// Which of these sessions a revocation covers, as every call sees it.
pub(super) async fn covered<S: SessionStore>(
    bench: &Bench<S>,
    user: &User,
    known: &[Record],
) -> Vec<SessionId> {
    let listed = bench.list(user.page()).await;
    let mut covered = Vec::new();
    for known in known {
        let found = bench.find(known.sid).await;
        let listed = listed.iter().find(|record| record.sid == known.sid);
        let listed = listed.and_then(|record| record.revoked_at);
        bench.same("when a listed session was revoked", listed, found.revoked_at);
        covered.extend(found.revoked_at.map(|_| known.sid));
    }
    covered
}

/// All but one are revoked: the next `load` shows it, whatever the timing, and no write reaches
/// them. The end is then written with that reason and moment.
pub(super) async fn l14_a_revocation_ends_every_stored_session_but_one<S: SessionStore>(bench: Bench<S>) {
    let user = bench.user();
    let known = three(&bench, &user).await;
    let at = bench.start + MINUTE;
    let revocation = Revocation { except: Some(known[1].sid), ..user.revocation(at) };
    bench.revoke(revocation.clone()).await;
    let mark = mark(&[revocation]);

    for (index, known) in known.iter().enumerate() {
        let mut model = seen_under(&mark, known);
        bench.same_record("a session after a revocation", &bench.find(known.sid).await, &model);
        let reason = bench.find(known.sid).await.end_reason_at(at);
        bench.same("why it is over", reason, (index != 1).then_some(EndReason::Revoked));
        let changes = [
            Change::at(at),
            touch(at + SECOND),
            write(at, "b", "1"),
            Change { rotation: rotation(known.secret, secret(), at + MINUTE), ..Change::at(at) },
            Change { if_revision: Some(known.revision + 7), ..touch(at) },
        ];
        for change in changes {
            // Also with a record from before the revocation.
            for seen in [None, Some(known.clone()), Some(bench.find(known.sid).await)] {
                let wanted = change.apply(&mut model);
                let updated = bench.update_seen(known.sid, change.clone(), seen).await;
                bench.same(&format!("{change:?} after a revocation"), updated, wanted);
            }
        }
        bench.same_record("a session that was written to after it", &bench.find(known.sid).await, &model);
        if index != 1 {
            let request = end(EndReason::SignedOut, at + MINUTE);
            let ended = end_both(&bench, "the end of a session that was revoked", &request, &mut model).await;
            bench.ended("the end of a session that was revoked", &ended, EndReason::Revoked);
            bench.same("its moment", model.ended.map(|tombstone| tombstone.at), Some(at));
        }
    }
    bench.same("the sessions of the user", bench.live(&user, at).await, vec![known[1].sid]);
    bench.same("the sessions that have not ended", bench.listed(&user).await, vec![known[1].sid]);
}

/// The id of a session that is not one of the subject's stored sessions.
pub(super) async fn l14_a_foreign_exception_protects_nothing<S: SessionStore>(bench: Bench<S>) {
    let other = bench.user();
    let theirs = bench.open(other.session(bench.start)).await;
    let guest = bench.open(visitor(&bench.realm, bench.start)).await;
    let user = bench.user();
    let unknown = user.session(bench.start).sid;
    for except in [theirs.sid, guest.sid, unknown] {
        let user = bench.user();
        let known = three(&bench, &user).await;
        let at = bench.start + MINUTE;
        bench.revoke(Revocation { except: Some(except), ..user.revocation(at) }).await;
        bench.same("what a revocation covers", covered(&bench, &user, &known).await, sids(&known));
    }
    bench.same_record("a session of another user", &bench.find(theirs.sid).await, &theirs);
    bench.same_record("an anonymous session", &bench.find(guest.sid).await, &guest);
}

/// A revoked session cannot be excepted later, and a session can be excepted repeatedly.
pub(super) async fn l14_what_is_covered_cannot_be_excepted_later<S: SessionStore>(bench: Bench<S>) {
    let user = bench.user();
    let known = three(&bench, &user).await;
    let [first, second, third] = [1, 2, 3].map(|minutes| bench.start + minutes * MINUTE);
    let but = |at, except| Revocation { except, ..user.revocation(at) };
    bench.revoke(but(first, Some(known[0].sid))).await;
    bench.revoke(but(second, Some(known[0].sid))).await;
    let others = sids(&known[1..]);
    bench.same("what two revocations cover", covered(&bench, &user, &known).await, others);
    bench.revoke(but(second, Some(known[1].sid))).await;
    bench.same("what they cover of all", covered(&bench, &user, &known).await, sids(&known));
    bench.revoke(but(third, Some(known[0].sid))).await;
    bench.same("what a later one leaves", covered(&bench, &user, &known).await, sids(&known));

    let later = bench.open(user.session(third + SECOND)).await;
    bench.same("what covers a later one", covered(&bench, &user, std::slice::from_ref(&later)).await, vec![]);
    bench.revoke(but(third + MINUTE, Some(later.sid))).await;
    bench.revoke(but(third + MINUTE, Some(later.sid))).await;
    bench.same("the sessions that stay", bench.live(&user, third + MINUTE).await, vec![later.sid]);
    bench.revoke(but(third + MINUTE, None)).await;
    bench.same("the sessions that stay at last", bench.live(&user, third + MINUTE).await, vec![]);
}

/// A login that was in flight: its request arrived at or before the moment, and it is stored after
/// it.
pub(super) async fn l14_a_login_that_arrived_before_is_not_stored_and_a_later_one_is<S: SessionStore>(
    bench: Bench<S>,
) {
    let user = bench.user();
    let at = bench.start + MINUTE;
    bench.revoke(user.revocation(at)).await;
    bench.revoke(user.revocation(at - 30 * SECOND)).await; // of a node that is slow: nothing moves back
    let logins =
        [(at - MINUTE, false), (at - TICK, false), (at, false), (at + TICK, true), (at + MINUTE, true)];
    let mut stored = Vec::new();
    for (admitted_at, fits) in logins {
        // The record's creation is by the clock of the node, which may differ.
        for created_at in [at - MINUTE, at + MINUTE] {
            let record = Record { admitted_at, ..user.session(created_at) };
            let sid = record.sid;
            let creation = Creation { cap: 1000_u32.try_into().ok(), ..Creation::new(record) };
            match bench.create(creation).await {
                CreateOutcome::Created { record, .. } if fits => stored.push(*record),
                CreateOutcome::SignedOutEverywhere if !fits => {
                    bench.same("a login that came too late", bench.load(sid).await, None);
                }
                other => bench.fail(format_args!(
                    "a login that was admitted {:?} after a revocation was answered {other:?}",
                    admitted_at.since(at)
                )),
            }
        }
    }
    bench.same("what the revocation covers of later ones", covered(&bench, &user, &stored).await, vec![]);
    bench.same("the sessions of the user", bench.listed(&user).await.len(), stored.len());
}

/// A login that came too late has no effect, and neither have its ends.
pub(super) async fn l14_a_login_that_is_not_stored_changes_nothing<S: SessionStore>(bench: Bench<S>) {
    let user = bench.user();
    let at = bench.start + MINUTE;
    let mut known = bench.open(holding(user.session(bench.start), "cart", "1")).await;
    let revocation = Revocation { except: Some(known.sid), ..user.revocation(at) };
    bench.revoke(revocation.clone()).await;
    known.see_mark(&mark(&[revocation]));
    let record = user.session(at);
    let replaced = (known.sid, super::material::superseded(at, user.replacement(record.sid)));
    for (cap, max_data) in [(None, usize::MAX), (1_u32.try_into().ok(), usize::MAX), (None, 0)] {
        let ends = vec![replaced.clone()];
        let creation =
            Creation { ends, cap, max_data, edits: edits("b", "1"), ..Creation::new(record.clone()) };
        let outcome = bench.create(creation).await;
        bench.same("a login that came too late", outcome, CreateOutcome::SignedOutEverywhere);
        bench.same_record("the session that it replaces", &bench.find(known.sid).await, &known);
        bench.same("its own session", bench.load(record.sid).await, None);
    }
}

/// Anonymous sessions, other subjects, and later sessions of the same subject.
pub(super) async fn l14_others_stay<S: SessionStore>(bench: Bench<S>) {
    let (user, other) = (bench.user(), bench.user());
    let at = bench.start + MINUTE;
    let mut guest = visitor(&bench.realm, bench.start);
    guest.sid = guest.sid.with_tag(user.tag); // chance can do this
    let guest = bench.open(guest).await;
    let theirs = bench.open(other.session(bench.start)).await;
    bench.revoke(user.revocation(at)).await;
    let later_guest =
        Record { sid: visitor(&bench.realm, at).sid.with_tag(user.tag), ..visitor(&bench.realm, at) };
    let later_guest = bench.open(later_guest).await;
    let late = bench.open(Record { admitted_at: bench.start, ..other.session(at) }).await;
    let later = bench.open(user.session(at + SECOND)).await;
    for record in [&guest, &theirs, &later_guest, &late, &later] {
        bench.same_record("a session that a revocation leaves alone", &bench.find(record.sid).await, record);
        let updated = bench.update(record.sid, touch(at + SECOND)).await;
        bench.expect(matches!(updated, UpdateOutcome::Applied(_)), "a session that stays cannot be used");
    }
    bench.same("the sessions of another user", bench.listed(&other).await, vec![theirs.sid, late.sid]);
    bench.same("the moment of the whole realm", bench.not_before(&bench.realm).await, None);
}

/// A session used by a node whose clock is days off: neither its interactions nor the moment of the
/// revocation decide whether it is covered.
pub(super) async fn l14_clocks_that_differ_end_no_more_and_no_less<S: SessionStore>(bench: Bench<S>) {
    let days = Duration::from_secs(8 * 24 * 3600);
    for at in [bench.start - days, bench.start + MINUTE, bench.start + days] {
        let user = bench.user();
        let mut before = Vec::new();
        for (created_at, used_at) in [
            (bench.start, bench.start),
            (bench.start + days, bench.start + 2 * days),
            (bench.start - days, at),
        ] {
            let record = bench.open(user.session(created_at)).await;
            bench.update(record.sid, touch(used_at)).await;
            before.push(bench.find(record.sid).await);
        }
        bench.revoke(user.revocation(at)).await;
        before.sort_unstable_by_key(|record| record.sid);
        bench.same("what a revocation covers", covered(&bench, &user, &before).await, sids(&before));
        for record in &before {
            let updated = bench.update(record.sid, touch(bench.start + 3 * days)).await;
            let gone = matches!(updated, UpdateOutcome::Gone(Some(tombstone))
                if tombstone.reason == EndReason::Revoked && tombstone.at == at);
            bench.expect(gone, "an interaction reached a session that was revoked");
        }
        let created_at = bench.start - 2 * days; // by the clock of a node that is behind
        let later = bench.open(Record { admitted_at: at + TICK, ..user.session(created_at) }).await;
        bench.same("what covers a later one", covered(&bench, &user, &[later]).await, vec![]);
    }
}

/// A session that was past its deadline when it was revoked ended at that deadline.
pub(super) async fn l14_a_deadline_before_the_revocation_is_the_end<S: SessionStore>(bench: Bench<S>) {
    for (revoked_after, reason) in
        [(IDLE - SECOND, EndReason::Revoked), (IDLE, EndReason::Idle), (IDLE + SECOND, EndReason::Idle)]
    {
        let user = bench.user();
        let mut record = bench.open(user.session(bench.start)).await;
        let revocation = user.revocation(bench.start + revoked_after);
        bench.revoke(revocation.clone()).await;
        record.revoked_at = Some(revocation.at);
        bench.same_record("a session that was revoked", &bench.find(record.sid).await, &record);
        let mut request = end(EndReason::Evicted, bench.start + 2 * IDLE);
        // A revoked session is over, whatever interaction was recorded since.
        request.options.if_idle_since = Some(bench.start - MINUTE);
        let outcome = end_both(&bench, "the end of a session that was revoked", &request, &mut record).await;
        bench.ended("the end of a session that was revoked after so long", &outcome, reason);
    }
}

/// A parallel login is either stored before and covered, or stored after and live. One that arrived
/// before is never live.
pub(super) async fn s10_a_revocation_misses_none_under_parallel_logins<S: SessionStore>(bench: Bench<S>) {
    for round in 0..8 {
        let user = bench.user();
        let before = three(&bench, &user).await;
        let at = bench.start + MINUTE;
        let (bench, user) = (&bench, &user);
        let requests = (0..12_u32).map(|number| async move {
            if number == round {
                bench.revoke(user.revocation(at)).await;
                return None;
            }
            let admitted_at = if number.is_multiple_of(2) { at } else { at + TICK };
            let record = Record { admitted_at, ..user.session(at) };
            match bench.create(Creation::new(record)).await {
                CreateOutcome::Created { record, .. } => Some(*record),
                CreateOutcome::SignedOutEverywhere if admitted_at <= at => None,
                other => bench.fail(format_args!("a login beside a revocation was answered {other:?}")),
            }
        });
        let stored: Vec<_> = bench.together(requests).await.into_iter().flatten().collect();
        bench.same("what was there before", covered(bench, user, &before).await, sids(&before));
        let covered = covered(bench, user, &stored).await;
        for record in &stored {
            let is_covered = covered.contains(&record.sid);
            let arrived_before = record.admitted_at <= at;
            bench.expect(is_covered || !arrived_before, "a login from before a revocation is live after it");
            let updated = bench.update(record.sid, touch(at + SECOND)).await;
            let applied = matches!(updated, UpdateOutcome::Applied(_));
            bench.same("whether a session can be used that is not covered", applied, !is_covered);
        }
        bench.revoke(user.revocation(at + MINUTE)).await;
        let live = bench.live(user, at + MINUTE).await;
        bench.same("the sessions after another revocation", live, vec![]);
    }
}

/// No write that starts after the revocation is acknowledged.
pub(super) async fn s10_no_write_is_acknowledged_after_a_revocation<S: SessionStore>(bench: Bench<S>) {
    for round in 0..6 {
        let user = bench.user();
        let known = bench.open(user.session(bench.start)).await;
        let at = bench.start + MINUTE;
        let (bench, user, known) = (&bench, &user, &known);
        let requests = (0..8_usize).map(|number| async move {
            if number == round {
                bench.revoke(user.revocation(at)).await;
            }
            let updated = bench.update(known.sid, write(at, &number.to_string(), "x")).await;
            matches!(updated, UpdateOutcome::Applied(_))
        });
        let applied = bench.together(requests).await;
        bench.expect(!applied[round], "a write was acknowledged after a revocation had returned");
        let found = bench.find(known.sid).await;
        bench.same("how many writes are there", found.data.len(), applied.iter().filter(|a| **a).count());
        bench.same("when it was revoked", found.revoked_at, Some(at));
    }
}

/// The moment is per realm and never moves back. Exceptions exist for a subject only.
pub(super) async fn l14_the_moment_of_a_realm_moves_forward_only<S: SessionStore>(bench: Bench<S>) {
    let other: Arc<str> = format!("another {}", bench.realm).into();
    let everybody = |realm: &Arc<str>, at: Timestamp| Revocation {
        realm: Arc::clone(realm),
        subject: None,
        at,
        except: None,
        keep_until: at + ABSOLUTE,
    };
    let user = bench.user();
    let known = bench.open(user.session(bench.start)).await;
    bench.same("the moment of a new realm", bench.not_before(&bench.realm).await, None);
    for (minutes, wanted) in [(3, 3), (1, 3), (3, 3), (4, 4), (0, 4)] {
        let at = bench.start + MINUTE * minutes;
        bench.revoke(everybody(&bench.realm, at)).await;
        let wanted = Some(bench.start + MINUTE * wanted);
        bench.same("the moment of a realm", bench.not_before(&bench.realm).await, wanted);
    }
    bench.same("the moment of another realm", bench.not_before(&other).await, None);
    bench.revoke(everybody(&other, bench.start)).await;
    bench.same("the moment of another realm", bench.not_before(&other).await, Some(bench.start));
    let wanted = Some(bench.start + 4 * MINUTE);
    bench.same("the moment of the realm", bench.not_before(&bench.realm).await, wanted);
    // The policy decides what that means for a session: the store does not change records.
    bench.same_record("a session of the realm", &bench.find(known.sid).await, &known);

    let moments: Vec<_> = (0..12_u32).map(|number| bench.start + MINUTE * (10 + (number * 7) % 12)).collect();
    bench.together(moments.iter().map(|at| bench.revoke(everybody(&bench.realm, *at)))).await;
    let latest = moments.iter().max().copied();
    bench.same("the latest of parallel moments", bench.not_before(&bench.realm).await, latest);
}
