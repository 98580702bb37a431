//! Work that waits for its user (L13).

use std::time::Duration;

use super::{
    bench::{Bench, keys},
    ends::end_both,
    material::{
        IDLE, MINUTE, RETENTION, SECOND, User, end, end_resumable, holding, superseded, touch, visitor,
    },
};
use crate::{
    SessionStore, Timestamp,
    record::{EndOutcome, EndReason, Record, UpdateOutcome},
    store::{Creation, handed_over},
};

const RESUME: Duration = Duration::from_secs(3 * 3600);

/// A session that was idle for too long, ended a minute later, whose data waits.
async fn waiting<S: SessionStore>(bench: &Bench<S>, user: &User) -> Record {
    let mut record = bench.open(holding(user.session(bench.start), "work", "1")).await;
    let request = end_resumable(over(bench), RESUME);
    let outcome = end_both(bench, "an end by a deadline whose data waits", &request, &mut record).await;
    bench.ended("the end of a session whose data waits", &outcome, EndReason::Idle);
    bench.expect(handed_over(&outcome).is_none(), "an end that no login made handed over data");
    let until = record.ended.and_then(|tombstone| tombstone.work_until);
    bench.same("until when data waits", until, Some(bench.start + IDLE + RESUME));
    record
}

fn over<S>(bench: &Bench<S>) -> Timestamp {
    bench.start + IDLE + MINUTE
}

/// Ends what has ended, by a login at that moment, and says whether it got the data.
async fn takes<S: SessionStore>(bench: &Bench<S>, old: &mut Record, user: &User, at: Timestamp) -> bool {
    let request = superseded(at, user.replacement(user.session(at).sid));
    let outcome = end_both(bench, "a login that asks for work", &request, old).await;
    bench.expect(matches!(outcome, EndOutcome::AlreadyEnded { .. }), "a session that has ended ended again");
    handed_over(&outcome).is_some()
}

/// It stays in the tombstone, which is neither live nor listed, and which no change reaches; a
/// login of the same user takes it, and then it is gone.
pub(super) async fn l13_work_waits_in_the_tombstone_and_is_taken_once<S: SessionStore>(bench: Bench<S>) {
    let user = bench.user();
    let mut old = waiting(&bench, &user).await;
    bench.same("the sessions of a user whose work waits", bench.listed(&user).await, vec![]);
    let touched = bench.update(old.sid, touch(over(&bench))).await;
    bench.same("an interaction in a session whose work waits", touched, UpdateOutcome::Gone(old.ended));

    let at = over(&bench) + MINUTE;
    bench.expect(takes(&bench, &mut old, &user, at).await, "a login did not get the work that waits for it");
    bench.expect(bench.find(old.sid).await.data.is_empty(), "work that was taken is still there");
    bench.expect(!takes(&bench, &mut old, &user, at).await, "work was taken twice");

    // In the step that creates the session: the same.
    let old = waiting(&bench, &user).await;
    let record = user.session(at);
    let ends = vec![(old.sid, superseded(at, user.replacement(record.sid)))];
    let (created, _) = bench.replace(Creation { ends, ..Creation::new(record) }).await;
    bench.same("the keys of a login that took work", keys(&created), vec!["work".into()]);
    let successor =
        bench.find(old.sid).await.ended.and_then(|tombstone| tombstone.successor).map(|next| next.sid);
    bench.same("the successor of a session whose work was taken", successor, Some(created.sid));
}

/// Until exactly the moment that the tombstone says.
pub(super) async fn l13_work_is_for_its_user_and_its_time_only<S: SessionStore>(bench: Bench<S>) {
    let user = bench.user();
    let mut old = waiting(&bench, &user).await;
    let until = bench.start + IDLE + RESUME;
    let stranger = bench.user();
    let late = takes(&bench, &mut old, &user, until).await;
    bench.expect(!late, "work was taken at the end of its time");
    let theirs = takes(&bench, &mut old, &stranger, over(&bench)).await;
    bench.expect(!theirs, "work was given to another user");
    let last = takes(&bench, &mut old, &user, until - SECOND).await;
    bench.expect(last, "work was not kept to the end of its time, or an attempt that failed took it");
}

/// A session that was signed out or revoked leaves nothing, nor does an anonymous one, nor an empty
/// one.
pub(super) async fn l13_no_work_waits_but_that_of_a_session_that_was_over_by_time<S: SessionStore>(
    bench: Bench<S>,
) {
    let user = bench.user();
    for reason in [EndReason::SignedOut, EndReason::Revoked, EndReason::Evicted] {
        let mut record = bench.open(holding(user.session(bench.start), "work", "1")).await;
        let mut request = end(reason, bench.start + MINUTE);
        request.options.resume_for = RESUME.into();
        end_both(&bench, "an end of a live session", &request, &mut record).await;
        let left = bench.find(record.sid).await;
        bench.expect(left.data.is_empty(), "a session that did not end by time kept its data");
        let took = takes(&bench, &mut record, &user, bench.start + 2 * MINUTE).await;
        bench.expect(!took, "work was taken from a session that did not end by time");
    }
    let mut record = bench.open(holding(visitor(&bench.realm, bench.start), "work", "1")).await;
    let request = end_resumable(over(&bench), RESUME);
    end_both(&bench, "the end of an anonymous session", &request, &mut record).await;
    bench.expect(
        bench.find(record.sid).await.data.is_empty(),
        "an anonymous session that ended kept its data",
    );
    let mut record = bench.open(user.session(bench.start)).await;
    end_both(&bench, "the end of a session without data", &request, &mut record).await;
    bench.same("until when no data waits", record.ended.and_then(|ended| ended.work_until), None);
}

/// "Sign out everywhere" covers work that waits, and work of a session that ended by it; not that
/// of a session that came later.
pub(super) async fn l13_no_work_outlives_a_revocation_that_covers_it<S: SessionStore>(bench: Bench<S>) {
    let user = bench.user();
    let mut old = waiting(&bench, &user).await;
    let revoked_at = over(&bench) + SECOND;
    let revocation = user.revocation(revoked_at);
    bench.revoke(revocation.clone()).await;
    let mark = super::material::mark(&[revocation]);
    old.see_mark(&mark);
    let took = takes(&bench, &mut old, &user, over(&bench) + MINUTE).await;
    bench.expect(!took, "work was taken after a revocation that covers it");
    let record = user.session(over(&bench) + MINUTE);
    let ends = vec![(old.sid, superseded(record.admitted_at, user.replacement(record.sid)))];
    let (created, _) = bench.replace(Creation { ends, ..Creation::new(record) }).await;
    bench.same("the keys of a login after a revocation", keys(&created), vec![]);

    let mut later = bench.open(holding(user.session(revoked_at + MINUTE), "work", "1")).await;
    let over = revoked_at + MINUTE + IDLE;
    end_both(&bench, "an end by a deadline", &end_resumable(over, RESUME), &mut later).await;
    let took = takes(&bench, &mut later, &user, over + MINUTE).await;
    bench.expect(took, "a revocation took the work of a session that came later");
}

/// The tombstone stays for as long as its work waits, if that is longer.
pub(super) async fn l13_work_that_waits_survives_a_sweep<S: SessionStore>(bench: Bench<S>) {
    let bench = super::sweeping::long_ago(bench).await;
    let user = bench.user();
    let old = waiting(&bench, &user).await;
    let until = bench.start + IDLE + RESUME;
    bench.same("when it may be forgotten", old.ended.map(|tombstone| tombstone.forget_at), Some(until));
    for at in [over(&bench), over(&bench) + RETENTION, until - SECOND] {
        bench.sweep_all(at, 10).await;
        bench.same_record("a tombstone whose work waits", &bench.find(old.sid).await, &old);
    }
    bench.sweep_all(until, 10).await;
    bench.same("a tombstone whose work was not taken in time", bench.load(old.sid).await, None);
}

/// Parallel logins of one user, from one browser: one of them gets it.
pub(super) async fn l13_of_parallel_logins_one_takes_the_work<S: SessionStore>(bench: Bench<S>) {
    for _ in 0..5 {
        let user = bench.user();
        let old = waiting(&bench, &user).await;
        let at = over(&bench) + MINUTE;
        let logins = (0..6).map(|_| {
            let record = user.session(at);
            let ends = vec![(old.sid, superseded(at, user.replacement(record.sid)))];
            bench.replace(Creation { ends, ..Creation::new(record) })
        });
        let logins = bench.together(logins).await;
        let took = logins.iter().filter(|(record, _)| !record.data.is_empty()).count();
        bench.same("how many of 6 parallel logins got the work", took, 1);
    }
}
