//! Calls that are given up halfway, as when a browser closes its connection (SPEC S2): whole or not at all.

use std::{future::poll_fn, pin::pin, task::Poll};

use super::bench::{Bench, MINUTE, cap, json, plain, replaces, secret, session, subject, touch, write};
use crate::{
    SessionStore,
    policy::Overflow,
    record::{Change, End, EndReason, Ending, Rotation},
    store::{Created, Creation},
};

/// How often a call is polled before it is given up.
const POLLS: std::ops::Range<usize> = 1..8;

/// Polls a future so many times, each time that it asks for it, and drops it then. Whether it was done.
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

/// Data, interaction and secret are of one piece.
pub(super) async fn s2_a_change_given_up_halfway_is_whole_or_nothing<S: SessionStore>(bench: Bench<S>) {
    for polls in POLLS {
        let (before, _) = bench.open(plain(session(Some(&subject()), bench.start))).await;
        let at = bench.start + MINUTE;
        let rotation = Rotation { from: before.secret, to: secret(), grace: MINUTE };
        let mut edits = write(at, "a", "1").edits;
        edits.set("b", json("1"));
        let change = Change { edits, rotation: Some(rotation), ..touch(at) };
        let mut after = before.clone();
        change.apply(&mut after);

        let done = give_up_after(polls, bench.update(before.sid, change)).await;
        let found = bench.find(before.sid).await;
        if done || found != before {
            bench.same_record("a session with a change that was given up halfway", &found, &after);
        }
    }
}

/// A session that has ended has no data, and one that has data has not ended.
pub(super) async fn s2_an_end_given_up_halfway_is_whole_or_nothing<S: SessionStore>(bench: Bench<S>) {
    for polls in POLLS {
        let edits = write(bench.start, "a", "1").edits;
        let record = session(Some(&subject()), bench.start);
        let (before, _) = bench.open(Creation { edits, ..plain(record) }).await;
        let end = End::new(EndReason::SignedOut, bench.start + MINUTE);
        let mut after = before.clone();
        bench.same("the model", after.end(&end), Ending::Done(EndReason::SignedOut));

        let done = give_up_after(polls, bench.end(before.sid, end)).await;
        let found = bench.find(before.sid).await;
        if done || found != before {
            bench.same_record("a session with an end that was given up halfway", &found, &after);
        }
    }
}

/// The new session, the end of the replaced one and the evictions come together: the second try finds either nothing
/// done, or all.
pub(super) async fn s2_a_creation_given_up_halfway_is_whole_or_nothing<S: SessionStore>(bench: Bench<S>) {
    for polls in POLLS {
        let user = subject();
        let at = bench.start + MINUTE;
        let evicted = bench.open(plain(session(Some(&user), bench.start))).await.0;
        let edits = write(bench.start, "old", "1").edits;
        let old = bench.open(Creation { edits, ..plain(session(None, bench.start)) }).await.0;
        let creation = Creation {
            edits: write(at, "new", "1").edits,
            replaces: Some(replaces(old.sid, End::new(EndReason::Superseded, at), true)),
            cap: cap(1, Overflow::Evict),
            ..plain(session(Some(&user), at))
        };
        let mut model = old.clone();
        let (wanted, _) = creation.clone().into_record(Some(&mut model));

        let done = give_up_after(polls, bench.create(creation.clone())).await;
        let again = bench.create(creation).await;
        if done {
            bench.same("the second try of a creation that was done", again, Created::Exists);
        }
        bench.same_record(
            "a session whose creation was given up halfway",
            &bench.find(wanted.sid).await,
            &wanted,
        );
        bench.same_record("the session that it replaced", &bench.find(old.sid).await, &model);
        let reason = bench.find(evicted.sid).await.ended.map(|ended| ended.reason);
        bench.same("the end of the session that it evicted", reason, Some(EndReason::Evicted));
        bench.same("the live sessions of its subject", bench.live(&user, at).await, vec![wanted.sid]);
    }
}

/// Nobody stays logged in over it.
pub(super) async fn s10_ending_a_subject_can_be_given_up_and_tried_again<S: SessionStore>(bench: Bench<S>) {
    for polls in POLLS {
        let user = subject();
        for _ in 0..4 {
            let edits = write(bench.start, "a", "1").edits;
            bench.open(Creation { edits, ..plain(session(Some(&user), bench.start)) }).await;
        }
        let known = bench.live(&user, bench.start).await;
        let end = End::new(EndReason::Revoked, bench.start + MINUTE);
        give_up_after(polls, bench.end_subject(&user, end, None)).await;
        for sid in &known {
            let found = bench.find(*sid).await;
            let whole = found.ended.is_some() == found.data.is_empty();
            bench.expect(whole, "a session was ended by halves when ending its subject was given up");
        }
        bench.end_subject(&user, end, None).await;
        bench.same("the live sessions after another try", bench.live(&user, bench.start).await, vec![]);
        for sid in known {
            let reason = bench.find(sid).await.ended.map(|ended| ended.reason);
            bench.same("the end of a session whose subject was ended", reason, Some(EndReason::Revoked));
        }
    }
}
