//! How long the mark of "sign out everywhere" is kept (L14).

use super::{
    bench::{Bench, sids},
    material::{ABSOLUTE, MINUTE, SECOND, TICK, end, touch},
    revocations::covered,
    sweeping::long_ago,
};
use crate::{
    SessionStore,
    record::{EndReason, Record, UpdateOutcome},
    store::{CreateOutcome, Creation, Revocation},
};

/// As long as the revocation asks, also after all of the subject's sessions are swept.
pub(super) async fn l14_a_mark_survives_a_sweep_while_it_is_needed<S: SessionStore>(bench: Bench<S>) {
    let bench = long_ago(bench).await;
    let (user, without_sessions) = (bench.user(), bench.user());
    let known = bench.open(user.session(bench.start)).await;
    let at = bench.start + MINUTE;
    let revocation = Revocation { keep_until: at + 30 * MINUTE, ..user.revocation(at) };
    bench.revoke(revocation.clone()).await;
    bench.revoke(Revocation { keep_until: at + 30 * MINUTE, ..without_sessions.revocation(at) }).await;
    let mut request = end(EndReason::Revoked, at);
    request.retention = SECOND.into();
    let ended = bench.end(known.sid, request).await;
    bench.ended("the end of a session that was revoked", &ended, EndReason::Revoked);
    for minutes in [0, 1, 20, 29] {
        bench.sweep_all(at + MINUTE * minutes + SECOND, 10).await;
        for user in [&user, &without_sessions] {
            let login = Record { admitted_at: at, ..user.session(at + MINUTE * minutes) };
            let outcome = bench.create(Creation::new(login)).await;
            bench.same("a login that came too late", outcome, CreateOutcome::SignedOutEverywhere);
        }
    }
    bench.same("a tombstone that was swept", bench.load(known.sid).await, None);
}

/// A later revocation may need the mark for longer or shorter than an earlier one: it stays for
/// both.
pub(super) async fn l14_a_mark_survives_a_sweep_for_the_longest_of_its_revocations<S: SessionStore>(
    bench: Bench<S>,
) {
    let bench = long_ago(bench).await;
    for minutes in [[5, 40], [40, 5]] {
        let user = bench.user();
        let at = bench.start + MINUTE;
        for (number, minutes) in (0..).zip(minutes) {
            let at = at + SECOND * number;
            bench.revoke(Revocation { keep_until: at + MINUTE * minutes, ..user.revocation(at) }).await;
        }
        bench.sweep_all(at + 20 * MINUTE, 10).await;
        let login = Record { admitted_at: at, ..user.session(at + 20 * MINUTE) };
        let outcome = bench.create(Creation::new(login)).await;
        bench.same("a login that came too late", outcome, CreateOutcome::SignedOutEverywhere);
    }
}

/// After the mark is dropped, the next revocation must still cover sessions that were stored after
/// it.
pub(super) async fn l14_a_revocation_reaches_what_is_older_than_a_swept_mark<S: SessionStore>(
    bench: Bench<S>,
) {
    let bench = long_ago(bench).await;
    let user = bench.user();
    let at = bench.start + MINUTE;
    let keep_until = at + MINUTE;
    bench.revoke(Revocation { keep_until, ..user.revocation(at) }).await;
    bench.revoke(Revocation { keep_until, ..user.revocation(at + TICK) }).await;
    let stored_since = bench.open(user.session(at + SECOND)).await;
    bench.sweep_all(keep_until + MINUTE, 10).await;
    bench.sweep_all(keep_until + 2 * MINUTE, 10).await;
    let later = bench.open(user.session(keep_until + MINUTE)).await;
    let found = bench.find(stored_since.sid).await;
    bench.same("when a session was revoked that came later", found.revoked_at, None);

    let again = keep_until + 3 * MINUTE;
    bench.revoke(Revocation { keep_until: again + ABSOLUTE, ..user.revocation(again) }).await;
    let known = [stored_since, later];
    bench.same("what another revocation covers", covered(&bench, &user, &known).await, sids(&known));
    for known in &known {
        let updated = bench.update(known.sid, touch(again)).await;
        let gone = matches!(updated, UpdateOutcome::Gone(_));
        bench.expect(gone, "an interaction reached a session that was revoked");
    }
    let newest = bench.open(user.session(again + SECOND)).await;
    bench.same("the sessions that stay", bench.live(&user, again + SECOND).await, vec![newest.sid]);
}
