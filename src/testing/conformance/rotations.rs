//! New secrets (C6).

use std::time::Duration;

use super::{
    bench::Bench,
    material::{SECOND, rotation, secret},
};
use crate::{
    SessionStore,
    record::{Change, Record, SecretHash, UpdateOutcome},
};

const GRACE: Duration = Duration::from_secs(10);

/// Returns whether the rotation took effect.
async fn rotate<S: SessionStore>(bench: &Bench<S>, record: &Record, to: SecretHash, grace: Duration) -> bool {
    let at = bench.start + SECOND;
    let change = Change { rotation: rotation(record.secret, to, at + grace), ..Change::at(at) };
    match bench.update(record.sid, change).await {
        UpdateOutcome::Applied(applied) => applied.rotated,
        other => bench.fail(format_args!("the rotation of a live session's secret said {other:?}")),
    }
}

/// The new secret is stored, the old one is kept until the grace is over, and a rotation from any
/// other secret does nothing.
pub(super) async fn c6_a_rotation_takes_place_once_and_honours_the_old_secret_for_the_grace<
    S: SessionStore,
>(
    bench: Bench<S>,
) {
    let record = bench.open(bench.user().session(bench.start)).await;
    let new = secret();
    bench.expect(rotate(&bench, &record, new, GRACE).await, "a rotation did not say that it took place");
    let rotated = bench.find(record.sid).await;
    bench.expect(rotated.secret == new, "a rotation did not put the new secret in place");
    let previous = rotated.previous_secret.map(|old| (old.hash == record.secret, old.until));
    bench.same("the secret before a rotation", previous, Some((true, bench.start + SECOND + GRACE)));
    bench.same("the timing after a rotation", rotated.timing, record.timing);

    let late = rotate(&bench, &record, secret(), GRACE).await;
    bench.expect(!late, "a rotation from a secret that is no longer the current one took place");
    bench.same_record("after a rotation that came too late", &bench.find(record.sid).await, &rotated);

    bench.expect(
        rotate(&bench, &rotated, secret(), Duration::ZERO).await,
        "a second rotation did not take place",
    );
    let dead = bench.find(record.sid).await;
    let until = dead.previous_secret.map(|previous| previous.until);
    bench.same("the end of the secret before a rotation without grace", until, Some(bench.start + SECOND));
}

/// Otherwise the browser would keep a secret that is about to become invalid.
pub(super) async fn c6_a_second_try_after_a_lost_answer_succeeds_and_changes_nothing<S: SessionStore>(
    bench: Bench<S>,
) {
    let record = bench.open(bench.user().session(bench.start)).await;
    let new = secret();
    rotate(&bench, &record, new, GRACE).await;
    let rotated = bench.find(record.sid).await;
    let again = rotate(&bench, &record, new, GRACE).await;
    bench.expect(again, "the second try of a rotation did not say that it took place");
    bench.same_record("after the second try of a rotation", &bench.find(record.sid).await, &rotated);
}

/// Exactly one reports success, and its secret is the stored one.
pub(super) async fn c6_of_parallel_rotations_one_wins<S: SessionStore>(bench: Bench<S>) {
    let record = bench.open(bench.user().session(bench.start)).await;
    let new: Vec<_> = (0..8).map(|_| secret()).collect();
    let rotated = bench.together(new.iter().map(|new| rotate(&bench, &record, *new, GRACE))).await;
    let winners: Vec<_> =
        rotated.iter().zip(&new).filter(|(rotated, _)| **rotated).map(|(_, new)| new).collect();
    bench.same("the winners of parallel rotations", winners.len(), 1);
    let found = bench.find(record.sid).await;
    bench.expect(found.secret == *winners[0], "the secret in place is not that of the rotation that won");
    let kept = found.previous_secret.is_some_and(|old| old.hash == record.secret);
    bench.expect(kept, "after parallel rotations the secret in grace is not the one before");
}
