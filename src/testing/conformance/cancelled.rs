//! Calls that are dropped halfway, as when a browser closes its connection, are atomic (S2).

use std::{future::poll_fn, pin::pin, task::Poll};

use super::{
    bench::{Bench, sids},
    material::{MINUTE, edits, end, holding, json, rotation, secret, superseded, touch},
};
use crate::{
    SessionStore,
    record::{Change, EndReason, UpdateOutcome},
    store::{CreateOutcome, Creation, CreationPlan},
};

/// How often a call is polled before it is dropped.
const POLLS: std::ops::Range<usize> = 1..8;

/// Polls a future at most this many times, and then drops it. Returns whether it was done.
async fn give_up_after<T>(polls: usize, future: impl Future<Output = T>) -> bool {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|cx| {
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if left == 0 => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Data, interaction and secret change together.
pub(super) async fn s2_a_change_given_up_halfway_is_whole_or_nothing<S: SessionStore>(bench: Bench<S>) {
    for polls in POLLS {
        let before = bench.open(bench.user().session(bench.start)).await;
        let at = bench.start + MINUTE;
        let mut both = edits("a", "1");
        both.set("b", json("1"));
        let rotation = rotation(before.secret, secret(), at + MINUTE);
        let change = Change { edits: both, rotation, ..touch(at) };
        let mut after = before.clone();
        change.apply(&mut after);

        let done = give_up_after(polls, bench.update(before.sid, change)).await;
        let found = bench.find(before.sid).await;
        if done || found.updated_at != before.updated_at {
            bench.same_record("a session with a change that was given up halfway", &found, &after);
        } else {
            bench.same_record("a session with a change that was given up", &found, &before);
        }
    }
}

/// A session has either ended or has its data. The repeated call reports that it ended it.
pub(super) async fn s2_an_end_given_up_halfway_is_whole_or_nothing<S: SessionStore>(bench: Bench<S>) {
    for polls in POLLS {
        let before = bench.open(holding(bench.user().session(bench.start), "a", "1")).await;
        let request = end(EndReason::SignedOut, bench.start + MINUTE);
        let mut after = before.clone();
        bench.ended("the model", &after.end(&request), EndReason::SignedOut);

        let done = give_up_after(polls, bench.end(before.sid, request.clone())).await;
        let found = bench.find(before.sid).await;
        if done || found.ended.is_some() {
            bench.same_record("a session with an end that was given up halfway", &found, &after);
        } else {
            bench.same_record("a session with an end that was given up", &found, &before);
        }
        let again = bench.end(before.sid, request).await;
        bench.ended("the same end again", &again, EndReason::SignedOut);
        bench.same_record("a session that was ended again", &bench.find(before.sid).await, &after);
    }
}

/// The new session and its ends take effect together: the second attempt finds all or nothing.
pub(super) async fn s2_a_creation_given_up_halfway_is_whole_or_nothing<S: SessionStore>(bench: Bench<S>) {
    for polls in POLLS {
        let user = bench.user();
        let at = bench.start + MINUTE;
        let mut evicted = bench.open(user.session(bench.start)).await;
        let mut old = bench.open(holding(user.session(bench.start), "old", "1")).await;
        let record = user.session(at);
        let ends = vec![
            (evicted.sid, end(EndReason::Evicted, at)),
            (old.sid, superseded(at, user.replacement(record.sid))),
        ];
        let creation =
            Creation { edits: edits("new", "1"), ends, cap: 1_u32.try_into().ok(), ..Creation::new(record) };
        let plan = creation.clone().plan(None, vec![Some(evicted.clone()), Some(old.clone())], 2);
        let CreationPlan::Store { record: wanted, .. } = plan else { bench.fail("the model") };
        evicted.end(&creation.ends[0].1);
        old.end(&creation.ends[1].1);

        let done = give_up_after(polls, bench.create(creation.clone())).await;
        // A dropped call may still take effect between two reads.
        let stored = bench.load(wanted.sid).await.is_some();
        let old_ended = bench.find(old.sid).await.ended.is_some();
        let stored_since = bench.load(wanted.sid).await.is_some();
        bench.expect(old_ended || !stored, "a session was stored before the one that it replaces ended");
        bench
            .expect(stored_since || !old_ended, "a session ended before the one that replaces it was stored");
        let again = bench.create(creation).await;
        if done || stored_since {
            bench.same("the second try of a creation that was done", again, CreateOutcome::Exists);
        }
        let found = bench.find(wanted.sid).await;
        bench.same_record("a session whose creation was given up halfway", &found, &wanted);
        bench.same_record("the session that it replaced", &bench.find(old.sid).await, &old);
        bench.same_record("the session that it evicted", &bench.find(evicted.sid).await, &evicted);
        bench.same("the sessions of its user", bench.listed(&user).await, vec![wanted.sid]);
    }
}

/// All of the subject's sessions are revoked or none, and no session stays logged in afterwards.
pub(super) async fn s10_a_revocation_can_be_given_up_and_tried_again<S: SessionStore>(bench: Bench<S>) {
    for polls in POLLS {
        let user = bench.user();
        let mut known = Vec::new();
        for _ in 0..4 {
            known.push(bench.open(holding(user.session(bench.start), "a", "1")).await);
        }
        known.sort_unstable_by_key(|record| record.sid);
        let at = bench.start + MINUTE;
        let done = give_up_after(polls, bench.revoke(user.revocation(at))).await;
        // One call, since a dropped call may still take effect after it.
        let listed = bench.list(user.page()).await;
        bench.same("the sessions that have not ended", sids(&listed), sids(&known));
        let covered = listed.iter().filter(|record| record.revoked_at.is_some()).count();
        let all = covered == known.len();
        bench.expect(all || covered == 0, "a revocation that was given up covers some of the sessions");
        bench.expect(all || !done, "a revocation that was done covers nothing");
        bench.revoke(user.revocation(at)).await;
        bench.same("the live sessions after another try", bench.live(&user, at).await, vec![]);
        for known in &known {
            let updated = bench.update(known.sid, touch(at)).await;
            bench.expect(
                matches!(updated, UpdateOutcome::Gone(_)),
                "a session stays in use over a revocation",
            );
        }
    }
}
