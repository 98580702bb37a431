//! Caps on the sessions of a subject (S9).

use super::{
    bench::{Bench, sids},
    material::{
        ABSOLUTE, IDLE, MINUTE, SECOND, User, cap, edits, end, end_idle, holding, mark, seen_under,
        superseded, touch, visitor, write,
    },
};
use crate::{
    SessionId, SessionStore,
    policy::{Cap, Overflow},
    record::{EndReason, Record},
    store::{CreateOutcome, Creation},
};

/// This many sessions of a user, created a second apart.
async fn sessions<S: SessionStore>(bench: &Bench<S>, user: &User, count: u32) -> Vec<Record> {
    let mut opened = Vec::new();
    for number in 0..count {
        opened.push(bench.open(user.session(bench.start + SECOND * number)).await);
    }
    opened
}

/// A login a minute after the start.
async fn login<S: SessionStore>(bench: &Bench<S>, user: &User, cap: Cap) -> super::logins::Login {
    let at = bench.start + MINUTE;
    bench.login(Creation::new(user.session(at)), cap, at).await
}

/// A creation under a cap, without the middleware's decisions.
fn creation(record: Record, cap: Cap) -> Creation {
    Creation { cap: Some(cap.most()), ..Creation::new(record) }
}

/// The cap counts the new session, and admits what fits.
pub(super) async fn s9_a_full_cap_names_the_sessions_and_changes_nothing<S: SessionStore>(bench: Bench<S>) {
    let user = bench.user();
    let mut known = sessions(&bench, &user, 2).await;
    let cap = cap(3, Overflow::Refuse);
    let at = bench.start + MINUTE;
    bench.update(known[0].sid, write(at, "a", "1")).await;
    known[0] = bench.find(known[0].sid).await;
    let third = creation(user.session(bench.start + 2 * SECOND), cap);
    known.push(bench.replace(third).await.0);

    let fourth = creation(user.session(at), cap);
    let sid = fourth.record.sid;
    let CreateOutcome::Full { count, mut sessions } = bench.create(fourth).await else {
        bench.fail("a fourth session was stored under a cap of three");
    };
    sessions.sort_by_key(|record| record.timing.created_at);
    bench.same("how many sessions count under a full cap", count, 3);
    bench.same_records("the sessions that a full cap names", &sessions, &known);
    bench.same("a session that did not fit", bench.load(sid).await, None);
    for known in &known {
        bench.same_record("a session beside one that did not fit", &bench.find(known.sid).await, known);
    }
    let refused = login(&bench, &user, cap).await;
    bench.expect(refused.record.is_none() && refused.ended.is_empty(), "a cap that refuses let a login in");
    bench.same("the sessions under a cap of 3", bench.listed(&user).await, sids(&known));
}

/// Evicts by the last interaction, not by age. The tombstone has the reason, and the data is gone.
pub(super) async fn s9_a_cap_evicts_the_least_recently_active<S: SessionStore>(bench: Bench<S>) {
    let user = bench.user();
    let known = sessions(&bench, &user, 3).await;
    bench.update(known[1].sid, write(bench.start + SECOND, "a", "1")).await; // a write is no interaction
    for (index, seconds) in [(0, 30), (2, 20)] {
        bench.update(known[index].sid, touch(bench.start + SECOND * seconds)).await;
    }
    for (victim, what) in [(1, "the first eviction"), (2, "the second eviction")] {
        let login = login(&bench, &user, cap(3, Overflow::Evict)).await;
        bench.same(what, login.evicted(), vec![known[victim].sid]);
        let found = bench.find(known[victim].sid).await;
        let ended = found.ended.map(|tombstone| (tombstone.reason, tombstone.at));
        let wanted = Some((EndReason::Evicted, bench.start + MINUTE));
        bench.same("the end of an evicted session", ended, wanted);
        bench.expect(found.data.is_empty(), "a session that was evicted still has data");
    }
    bench.same("the sessions under a cap of 3", bench.listed(&user).await.len(), 3);
}

/// Evicts down to the new cap, in the order of activity.
pub(super) async fn s9_a_lowered_cap_evicts_several<S: SessionStore>(bench: Bench<S>) {
    let user = bench.user();
    let known = sessions(&bench, &user, 5).await;
    let login = login(&bench, &user, cap(2, Overflow::Evict)).await;
    bench.same("what a cap lowered to 2 evicted", login.evicted(), sids(&known[..4]));
    let new = login.record.map(|record| record.sid);
    let wanted: Vec<_> = [Some(known[4].sid), new].into_iter().flatten().collect();
    bench.same("the sessions under a cap lowered to 2", bench.listed(&user).await, wanted);
}

/// Tombstones, other users and anonymous sessions do not count; sessions past a deadline make room,
/// and end for that reason in the same step.
pub(super) async fn s9_what_is_over_makes_room_and_what_is_not_theirs_does_not_count<S: SessionStore>(
    bench: Bench<S>,
) {
    for overflow in [Overflow::Refuse, Overflow::Evict] {
        let (user, other) = (bench.user(), bench.user());
        let over = sessions(&bench, &user, 3).await;
        bench.end(over[0].sid, end(EndReason::Revoked, bench.start)).await;
        let at = bench.start + IDLE + 2 * SECOND; // the others are past their idle deadlines
        let theirs = bench.open(other.session(at)).await;
        bench.open(visitor(&bench.realm, at)).await;

        let alone = creation(user.session(at), cap(3, overflow));
        let (beside_tombstones, _) = bench.replace(alone).await;
        bench.end(beside_tombstones.sid, end(EndReason::SignedOut, at)).await;
        let login = bench.login(Creation::new(user.session(at)), cap(1, overflow), at).await;
        let new = login.record.as_ref().map(|record| record.sid);
        let mut ended = login.ended.clone();
        ended.sort_unstable_by_key(|(sid, _)| *sid);
        let mut wanted = vec![(over[1].sid, EndReason::Idle), (over[2].sid, EndReason::Idle)];
        wanted.sort_unstable_by_key(|(sid, _)| *sid);
        bench.same("what a login ended when the others were idle for too long", ended, wanted);
        bench.same("the sessions of the user", bench.listed(&user).await, new.into_iter().collect());
        for over in &over[1..] {
            let ended = bench.find(over.sid).await.ended.map(|tombstone| (tombstone.reason, tombstone.at));
            let wanted = Some((EndReason::Idle, over.timing.deadline()));
            bench.same("the end of a session that made room", ended, wanted);
        }
        bench.same("the sessions of another user", bench.listed(&other).await, vec![theirs.sid]);
    }
}

/// A revoked session counts until it has ended, and makes room like an expired one.
pub(super) async fn s9_what_a_revocation_covers_makes_room<S: SessionStore>(bench: Bench<S>) {
    let user = bench.user();
    let covered = sessions(&bench, &user, 2).await;
    let revocation = user.revocation(bench.start + 5 * SECOND);
    bench.revoke(revocation.clone()).await;
    let mark = mark(&[revocation]);
    let at = bench.start + MINUTE;
    let full = creation(user.session(at), cap(2, Overflow::Refuse));
    let CreateOutcome::Full { mut sessions, .. } = bench.create(full).await else {
        bench.fail("a creation under a full cap did not name the sessions that are to be ended");
    };
    sessions.sort_by_key(|record| record.timing.created_at);
    let wanted: Vec<_> = covered.iter().map(|record| seen_under(&mark, record)).collect();
    bench.same_records("the sessions that a full cap names after a revocation", &sessions, &wanted);

    let login = login(&bench, &user, cap(2, Overflow::Refuse)).await;
    let new = login.record.map(|record| record.sid);
    let reasons: Vec<_> = login.ended.into_iter().map(|(_, reason)| reason).collect();
    bench.same("why what a revocation covers ended", reasons, vec![EndReason::Revoked; 2]);
    bench.same("the sessions after a login", bench.listed(&user).await, new.into_iter().collect());
}

/// A user at the cap can log in again in the same browser, with the data of the session that is
/// replaced.
pub(super) async fn s9_the_replaced_session_does_not_count<S: SessionStore>(bench: Bench<S>) {
    for overflow in [Overflow::Refuse, Overflow::Evict] {
        let user = bench.user();
        let known = sessions(&bench, &user, 2).await;
        bench.update(known[0].sid, write(bench.start, "cart", "1")).await;
        let at = bench.start + MINUTE;
        let record = user.session(at);
        let replaced = (known[0].sid, superseded(at, user.replacement(record.sid)));
        let again = Creation { ends: vec![replaced], ..Creation::new(record) };
        let login = bench.login(again, cap(2, overflow), at).await;
        let superseded = vec![(known[0].sid, EndReason::Superseded)];
        bench.same("what a login ended that replaced one at the cap", login.ended, superseded);
        let Some(record) = login.record else {
            bench.fail("a login that replaced one at the cap was refused")
        };
        bench.expect(record.data.get("cart").is_some(), "a login at the cap did not take over the data");
        bench.same("the sessions after it", bench.listed(&user).await, vec![known[1].sid, record.sid]);
    }
}

/// The planned ends do not take effect, and nothing is lost.
pub(super) async fn s9_a_full_cap_ends_nothing<S: SessionStore>(bench: Bench<S>) {
    let user = bench.user();
    sessions(&bench, &user, 3).await;
    bench.open(holding(user.session(bench.start), "cart", "1")).await;
    let known = bench.list(user.page()).await;
    let cart = known.iter().find(|record| !record.data.is_empty()).map(|record| record.sid);
    let at = bench.start + MINUTE;
    let record = user.session(at);
    let sid = record.sid;
    let ends = cart.into_iter().map(|cart| (cart, superseded(at, user.replacement(sid)))).collect();
    let full = Creation { ends, edits: edits("new", "1"), ..creation(record, cap(2, Overflow::Refuse)) };
    let CreateOutcome::Full { count, .. } = bench.create(full).await else {
        bench.fail("a creation was let in over the cap");
    };
    bench.same("how many sessions count, the one to be replaced included", count, 4);
    bench.same_records("the sessions after it", &bench.list(user.page()).await, &known);
    bench.same("a session that did not fit", bench.load(sid).await, None);
}

/// A session that was judged over or least active, and was used meanwhile, stays and counts.
pub(super) async fn s9_an_end_that_goes_first_spares_a_session_that_was_used_since<S: SessionStore>(
    bench: Bench<S>,
) {
    let user = bench.user();
    let known = bench.open(user.session(bench.start)).await;
    let at = bench.start + IDLE + MINUTE;
    let judged_over = end_idle(&known, at);
    // A slow request that arrived before the deadline.
    bench.update(known.sid, touch(bench.start + MINUTE * 10)).await;
    let in_use = bench.find(known.sid).await;
    let login = Creation {
        ends: vec![(known.sid, judged_over)],
        ..creation(user.session(at), cap(1, Overflow::Refuse))
    };
    let CreateOutcome::Full { count, sessions } = bench.create(login).await else {
        bench.fail("a session that was used since it was judged over does not count under the cap");
    };
    bench.same("how many sessions count", count, 1);
    bench.same_records("the session that counts", &sessions, [&in_use]);
    bench.same_record("a session that was used since", &bench.find(known.sid).await, &in_use);
}

/// Exactly as many logins succeed as fit.
pub(super) async fn s9_a_refusing_cap_holds_under_parallel_logins<S: SessionStore>(bench: Bench<S>) {
    for _ in 0..5 {
        let user = bench.user();
        let logins = (0..12).map(|_| login(&bench, &user, cap(3, Overflow::Refuse)));
        let logins = bench.together(logins).await;
        let mut let_in: Vec<_> =
            logins.iter().filter_map(|login| login.record.as_ref().map(|record| record.sid)).collect();
        let_in.sort_unstable();
        bench.same("how many of 12 parallel logins a cap of 3 let in", let_in.len(), 3);
        bench.same("the sessions after them", bench.listed(&user).await, let_in);
    }
}

/// All logins succeed, as many sessions as fit stay, and exactly one login ended each of the
/// others.
pub(super) async fn s9_an_evicting_cap_holds_under_parallel_logins<S: SessionStore>(bench: Bench<S>) {
    for _ in 0..5 {
        let user = bench.user();
        let logins = (0..12).map(|_| login(&bench, &user, cap(3, Overflow::Evict)));
        let logins = bench.together(logins).await;
        let mut stay = bench.listed(&user).await;
        bench.same("the sessions after 12 parallel logins under a cap of 3", stay.len(), 3);
        let mut all: Vec<SessionId> =
            logins.iter().filter_map(|login| login.record.as_ref().map(|record| record.sid)).collect();
        stay.extend(logins.iter().flat_map(super::logins::Login::evicted));
        stay.sort_unstable();
        all.sort_unstable();
        bench.same("the sessions that stay and those that were evicted", stay, all);
        for sid in logins.iter().flat_map(super::logins::Login::evicted) {
            let reason = bench.find(sid).await.end_reason_at(bench.start + ABSOLUTE);
            bench.same("why an evicted session is over", reason, Some(EndReason::Evicted));
        }
    }
}

/// Never more sessions than the cap during logins, logouts and replacements, and never an
/// unexplained one.
pub(super) async fn s9_a_cap_holds_among_logouts_and_replacements<S: SessionStore>(bench: Bench<S>) {
    for _ in 0..5 {
        let user = bench.user();
        let known = sessions(&bench, &user, 3).await;
        let (bench, user, known) = (&bench, &user, &known);
        let at = bench.start + MINUTE;
        let requests = (0..9).map(|number: usize| async move {
            match number {
                0 => drop(bench.end(known[0].sid, end(EndReason::SignedOut, at)).await),
                3 | 4 => {
                    let record = user.session(at);
                    let replaced = (known[1].sid, superseded(at, user.replacement(record.sid)));
                    let creation = Creation { ends: vec![replaced], ..Creation::new(record) };
                    bench.login(creation, cap(3, Overflow::Evict), at).await;
                }
                6 => {
                    let most = bench.listed(user).await.len();
                    bench.expect(most <= 3, "a list shows more sessions than the cap");
                }
                _ => drop(login(bench, user, cap(3, Overflow::Evict)).await),
            }
        });
        bench.together(requests).await;
        let listed = bench.listed(user).await;
        bench.expect(!listed.is_empty() && listed.len() <= 3, "the cap of 3 does not hold among logouts");
        for sid in [known[0].sid, known[1].sid] {
            bench.expect(!listed.contains(&sid), "a session that was signed out or replaced is listed");
        }
    }
}
