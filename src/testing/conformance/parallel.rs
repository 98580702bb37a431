//! No lost updates, no resurrection (S3, S4, L9).

use super::{
    bench::Bench,
    material::{MINUTE, SECOND, edits, end, json, rotation, secret, touch, visitor, write},
};
use crate::{
    SessionStore,
    record::{Change, Edits, EndReason, Json, UpdateOutcome},
};

/// A hundred requests, each of which writes its own key.
pub(super) async fn s3_parallel_writes_to_different_keys_all_survive<S: SessionStore>(bench: Bench<S>) {
    let record = bench.open(bench.user().session(bench.start)).await;
    let keys: Vec<_> = (0..100).map(|number| format!("key {number}")).collect();
    let writes = keys.iter().map(|key| bench.update(record.sid, write(bench.start, key, key)));
    for updated in bench.together(writes).await {
        let applied = matches!(updated, UpdateOutcome::Applied(_));
        bench.expect(applied, "a write to a live session was not applied");
    }
    let found = bench.find(record.sid).await;
    let lost: Vec<_> = keys.iter().filter(|key| found.data.get(key) != Some(json(key))).collect();
    bench.same("the keys that were lost of 100 written in parallel", lost, vec![]);
    bench.same("the revision after 100 parallel writes", found.revision, 100);
}

/// Two keys per request: both are always of the same request, and a removal removes both.
pub(super) async fn s3_of_parallel_writes_to_one_key_one_wins<S: SessionStore>(bench: Bench<S>) {
    let record = bench.open(visitor(&bench.realm, bench.start)).await;
    let writes = (0..20).map(|number: u32| {
        let mut edits = Edits::default();
        edits.set("a", json(&number.to_string()));
        edits.set("b", json(&number.to_string()));
        bench.update(record.sid, Change { edits, ..Change::at(bench.start) })
    });
    bench.together(writes).await;
    let found = bench.find(record.sid).await;
    bench.expect(found.data.get("a").is_some(), "of parallel writes to one key none is there");
    bench.same("two keys that were always written together", found.data.get("a"), found.data.get("b"));

    bench.update(record.sid, write(bench.start, "a", "last")).await;
    bench.same("the last of two writes", bench.find(record.sid).await.data.get("a"), Some(json("last")));
}

/// Twenty requests count to twenty.
pub(super) async fn s3_compare_and_set_loses_no_increment<S: SessionStore>(bench: Bench<S>) {
    let record = bench.open(visitor(&bench.realm, bench.start)).await;
    let bench = &bench;
    let increments = (0..20).map(|_| async move {
        loop {
            let known = bench.find(record.sid).await;
            let count: u32 = known.data.get("n").map_or(0, |count| count.decode().unwrap_or(0));
            let mut edits = Edits::default();
            edits.set("n", Json::encode(&(count + 1)).expect("a number is JSON"));
            let change = Change { edits, if_revision: Some(known.revision), ..Change::at(bench.start) };
            match bench.update_seen(record.sid, change, Some(known)).await {
                UpdateOutcome::Applied(_) => break,
                UpdateOutcome::Conflict => {}
                other => bench.fail(format_args!("an update of a live session said {other:?}")),
            }
        }
    });
    bench.together(increments).await;
    let found = bench.find(record.sid).await;
    let count = found.data.get("n").and_then(|count| count.decode().ok());
    bench.same("a counter that was raised 20 times in parallel", count, Some(20));
    bench.same("the revision of a counter that was raised 20 times", found.revision, 20);
}

/// Beside writes, none of which is lost.
pub(super) async fn l9_of_parallel_interactions_the_latest_counts<S: SessionStore>(bench: Bench<S>) {
    let record = bench.open(visitor(&bench.realm, bench.start)).await;
    let changes = (0..40).map(|number: u32| {
        let at = bench.start + SECOND * ((number * 7) % 40);
        if number.is_multiple_of(4) { write(at, &number.to_string(), "x") } else { touch(at) }
    });
    bench.together(changes.map(|change| bench.update(record.sid, change))).await;
    let found = bench.find(record.sid).await;
    let last = found.timing.last_interaction_at;
    bench.same("the last of parallel interactions", last, bench.start + 39 * SECOND);
    bench.same("the writes among parallel interactions", found.data.len(), 10);
}

/// Writes, touches and rotations beside a logout: afterwards the session has ended, without data,
/// and stays so.
pub(super) async fn s4_no_parallel_change_outlives_the_end<S: SessionStore>(bench: Bench<S>) {
    for round in 0..10 {
        let user = bench.user();
        let record = bench.open(user.session(bench.start)).await;
        let at = bench.start + MINUTE;
        let (bench, record) = (&bench, &record);
        let requests = (0..12).map(|number: u32| async move {
            let change = match number % 3 {
                _ if number == round => {
                    let ended = bench.end(record.sid, end(EndReason::SignedOut, at)).await;
                    bench.ended("ending a live session", &ended, EndReason::SignedOut);
                    return;
                }
                0 => write(at, &number.to_string(), "x"),
                1 => touch(at),
                _ => {
                    let rotation = rotation(record.secret, secret(), at + MINUTE);
                    Change { rotation, edits: edits(&number.to_string(), "x"), ..Change::at(at) }
                }
            };
            match bench.update(record.sid, change).await {
                UpdateOutcome::Applied(_) => {}
                UpdateOutcome::Gone(Some(tombstone)) if tombstone.reason == EndReason::SignedOut => {}
                other => bench.fail(format_args!("an update beside a logout said {other:?}")),
            }
        });
        bench.together(requests).await;
        let found = bench.find(record.sid).await;
        let ended = found.ended.map(|tombstone| (tombstone.reason, tombstone.at));
        let wanted = Some((EndReason::SignedOut, at));
        bench.same("a session that was ended beside other requests", ended, wanted);
        bench.same("the data of a session that has ended", found.data.len(), 0);
        bench.same("the secret in grace of a session that has ended", found.previous_secret, None);
        bench.same("the sessions of its subject", bench.listed(&user).await, vec![]);
    }
}
