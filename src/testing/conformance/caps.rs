//! At most so many live sessions of a subject (SPEC S9).

use std::sync::Arc;

use super::bench::{
    ABSOLUTE, Bench, IDLE, MINUTE, SECOND, cap, plain, replaces, session, subject, touch, write,
};
use crate::{
    SessionId, SessionStore,
    policy::Overflow,
    record::{End, EndReason, Ended, Record},
    store::{Created, Creation},
};

/// So many sessions of a subject, created a second apart.
async fn sessions<S: SessionStore>(bench: &Bench<S>, subject: &Arc<str>, count: u32) -> Vec<Record> {
    let mut opened = Vec::new();
    for number in 0..count {
        let record = session(Some(subject), bench.start + SECOND * number);
        opened.push(bench.open(plain(record)).await.0);
    }
    opened
}

/// A login a minute after the start.
fn login<S>(bench: &Bench<S>, subject: &Arc<str>, most: u32, overflow: Overflow) -> Creation {
    Creation { cap: cap(most, overflow), ..plain(session(Some(subject), bench.start + MINUTE)) }
}

/// And it lets in who fits.
pub(super) async fn s9_a_cap_refuses_and_changes_nothing<S: SessionStore>(bench: Bench<S>) {
    let user = subject();
    let known = sessions(&bench, &user, 2).await;
    bench.open(login(&bench, &user, 3, Overflow::Refuse)).await;
    let guest = bench.open(plain(session(None, bench.start))).await.0;
    let mut refused = login(&bench, &user, 3, Overflow::Refuse);
    refused.replaces = Some(replaces(guest.sid, End::new(EndReason::Superseded, bench.start), true));
    let sid = refused.record.sid;
    bench.same("a login over the cap", bench.create(refused).await, Created::Refused);
    bench.same("a session that was refused", bench.load(sid).await, None);
    for known in known.iter().chain([&guest]) {
        bench.same_record("a session beside one that was refused", &bench.find(known.sid).await, known);
    }
    bench.same("the live sessions under a cap of 3", bench.live(&user, bench.start + MINUTE).await.len(), 3);
}

/// By the last interaction, not by age; its user is told, and its data is gone.
pub(super) async fn s9_a_cap_evicts_the_least_recently_active<S: SessionStore>(bench: Bench<S>) {
    let user = subject();
    let known = sessions(&bench, &user, 3).await;
    bench.update(known[1].sid, write(bench.start + SECOND, "a", "1")).await; // a write is no interaction
    for (index, seconds) in [(0, 30), (2, 20)] {
        bench.update(known[index].sid, touch(bench.start + SECOND * seconds)).await;
    }
    for (victim, what) in [(1, "the first eviction"), (2, "the second eviction")] {
        let (_, evicted) = bench.open(login(&bench, &user, 3, Overflow::Evict)).await;
        bench.same(what, evicted, vec![known[victim].sid]);
        let found = bench.find(known[victim].sid).await;
        let wanted = Ended { reason: EndReason::Evicted, at: bench.start + MINUTE };
        bench.same("the end of an evicted session", found.ended, Some(wanted));
        bench.expect(found.data.is_empty(), "a session that was evicted still has data");
    }
    bench.same("the live sessions under a cap of 3", bench.live(&user, bench.start + MINUTE).await.len(), 3);
}

/// Down to the new cap, in the order of their activity.
pub(super) async fn s9_a_lowered_cap_evicts_several<S: SessionStore>(bench: Bench<S>) {
    let user = subject();
    let known = sessions(&bench, &user, 5).await;
    let (record, mut evicted) = bench.open(login(&bench, &user, 2, Overflow::Evict)).await;
    let mut wanted: Vec<_> = known[..4].iter().map(|known| known.sid).collect();
    evicted.sort_unstable();
    wanted.sort_unstable();
    bench.same("what a cap lowered to 2 evicted", evicted, wanted);
    let live = bench.live(&user, bench.start + MINUTE).await;
    bench.same("the live sessions under a cap lowered to 2", live, vec![known[4].sid, record.sid]);
}

/// Neither tombstones, nor sessions past a deadline that nobody has ended yet, nor anonymous ones.
pub(super) async fn s9_sessions_that_are_over_and_other_users_do_not_count<S: SessionStore>(bench: Bench<S>) {
    let (user, other) = (subject(), subject());
    let over = sessions(&bench, &user, 3).await;
    bench.end(over[0].sid, End::new(EndReason::Revoked, bench.start)).await;
    let at = bench.start + IDLE + 2 * SECOND; // the others are past their idle deadlines
    bench.open(plain(session(Some(&other), at))).await;
    bench.open(plain(session(None, at))).await;
    let login = |overflow| Creation { cap: cap(1, overflow), ..plain(session(Some(&user), at)) };

    let (first, evicted) = bench.open(login(Overflow::Refuse)).await;
    bench.same("what a login evicted when no other session was live", evicted, vec![]);
    let (_, evicted) = bench.open(login(Overflow::Evict)).await;
    bench.same("what a login evicted when one session was live", evicted, vec![first.sid]);
    bench.same("the live sessions of another user", bench.live(&other, at).await.len(), 1);
}

/// A user at the cap can log in again in the same browser.
pub(super) async fn s9_the_replaced_session_does_not_count<S: SessionStore>(bench: Bench<S>) {
    for overflow in [Overflow::Refuse, Overflow::Evict] {
        let user = subject();
        let known = sessions(&bench, &user, 2).await;
        let mut again = login(&bench, &user, 2, overflow);
        again.replaces =
            Some(replaces(known[0].sid, End::new(EndReason::Superseded, bench.start + MINUTE), true));
        let (record, evicted) = bench.open(again).await;
        bench.same("what a login evicted that replaced one at the cap", evicted, vec![]);
        let live = bench.live(&user, bench.start + MINUTE).await;
        bench.same("the live sessions after it", live, vec![known[1].sid, record.sid]);
    }
}

/// Exactly as many get in as fit.
pub(super) async fn s9_a_refusing_cap_holds_under_parallel_logins<S: SessionStore>(bench: Bench<S>) {
    for _ in 0..5 {
        let user = subject();
        let logins = (0..12).map(|_| bench.create(login(&bench, &user, 3, Overflow::Refuse)));
        let created = bench.together(logins).await;
        let done = created.iter().filter(|created| matches!(created, Created::Done { .. })).count();
        bench.same("how many of 12 parallel logins a cap of 3 let in", done, 3);
        let live = bench.live(&user, bench.start + MINUTE).await.len();
        bench.same("the live sessions after 12 parallel logins under a cap of 3", live, 3);
    }
}

/// All get in, as many as fit stay, and each other is told by exactly one login.
pub(super) async fn s9_an_evicting_cap_holds_under_parallel_logins<S: SessionStore>(bench: Bench<S>) {
    for _ in 0..5 {
        let user = subject();
        let logins = (0..12).map(|_| bench.open(login(&bench, &user, 3, Overflow::Evict)));
        let opened = bench.together(logins).await;
        let mut live = bench.live(&user, bench.start + MINUTE).await;
        bench.same("the live sessions after 12 parallel logins under a cap of 3", live.len(), 3);
        let mut all: Vec<SessionId> = opened.iter().map(|(record, _)| record.sid).collect();
        live.extend(opened.iter().flat_map(|(_, evicted)| evicted));
        live.sort_unstable();
        all.sort_unstable();
        bench.same("the live sessions and those told as evicted", live, all);
        for sid in opened.iter().flat_map(|(_, evicted)| evicted) {
            let reason = bench.find(*sid).await.over(bench.start + ABSOLUTE);
            bench.same("why an evicted session is over", reason, Some(EndReason::Evicted));
        }
    }
}
