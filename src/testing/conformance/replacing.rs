//! A login takes the place of the session in the same browser (SPEC L3, S4).

use super::bench::{Bench, MINUTE, json, plain, replaces, session, subject, write};
use crate::{
    SessionStore,
    record::{End, EndReason, Ended, Ending, Record, Updated},
    store::{Created, Creation},
};

const SUPERSEDED: EndReason = EndReason::Superseded;

/// An anonymous session with a value under `old`.
async fn with_data<S: SessionStore>(bench: &Bench<S>) -> Record {
    let edits = write(bench.start, "old", "1").edits;
    bench.open(Creation { edits, ..plain(session(None, bench.start)) }).await.0
}

/// A login a minute later that replaces it and writes `new`.
fn login<S>(bench: &Bench<S>, old: &Record, keep_data: bool) -> Creation {
    let at = bench.start + MINUTE;
    Creation {
        edits: write(at, "new", "1").edits,
        replaces: Some(replaces(old.sid, End::new(SUPERSEDED, at), keep_data)),
        ..plain(session(Some(&subject()), at))
    }
}

fn keys(record: &Record) -> Vec<String> {
    record.data.iter().map(|(key, _)| key.to_owned()).collect()
}

/// As it is at that moment, with what was written since the login's request loaded it; the login's own edits come on top.
pub(super) async fn l3_the_new_session_takes_over_the_data_and_the_old_one_is_superseded<S: SessionStore>(
    bench: Bench<S>,
) {
    let mut old = with_data(&bench).await;
    let mut creation = login(&bench, &old, true);
    creation.edits.set("written", json("by the login"));
    for change in [write(bench.start, "meanwhile", "1"), write(bench.start, "written", "before")] {
        change.apply(&mut old);
        bench.update(old.sid, change).await;
    }
    let (wanted, _) = creation.clone().into_record(Some(&mut old));
    let (created, _) = bench.open(creation).await;
    bench.same_record("the answer to a login that takes over data", &created, &wanted);
    bench.same_record("a session that took over data", &bench.find(wanted.sid).await, &wanted);
    bench.same("its keys", keys(&created), ["meanwhile", "new", "old", "written"].map(Into::into).to_vec());
    bench.same_record("the session that was replaced", &bench.find(old.sid).await, &old);
    bench.same("its end", old.ended, Some(Ended { reason: SUPERSEDED, at: bench.start + MINUTE }));
}

/// With `keep_data: false` nothing of the old one is in the new one.
pub(super) async fn l3_the_new_session_of_another_user_starts_empty<S: SessionStore>(bench: Bench<S>) {
    let old = with_data(&bench).await;
    let (created, _) = bench.open(login(&bench, &old, false)).await;
    bench.same("the keys of the new session", keys(&bench.find(created.sid).await), vec!["new".into()]);
    let old = bench.find(old.sid).await;
    bench.same("the end of the replaced session", old.ended.map(|ended| ended.reason), Some(SUPERSEDED));
    bench.expect(old.data.is_empty(), "a session that was replaced still has data");
}

/// A login that was in flight while the old session was logged out brings nothing of it back.
pub(super) async fn s4_a_replaced_session_that_has_ended_gives_nothing_and_keeps_its_reason<
    S: SessionStore,
>(
    bench: Bench<S>,
) {
    let old = with_data(&bench).await;
    let creation = login(&bench, &old, true);
    bench.end(old.sid, End::new(EndReason::SignedOut, bench.start)).await;
    let tombstone = bench.find(old.sid).await;
    let Created::Done { record: created, replaced, .. } = bench.create(creation).await else {
        bench.fail("the store refused a login over a session that had ended");
    };
    bench.same(
        "what came of the replaced session's end",
        replaced,
        Some(Ending::Already(EndReason::SignedOut)),
    );
    bench.same("the keys of the new session", keys(&bench.find(created.sid).await), vec!["new".into()]);
    bench.same_record("the session that had ended before", &bench.find(old.sid).await, &tombstone);
}

/// Every write that was applied to the old session is in the new one; every other was told `Gone`.
pub(super) async fn s4_a_write_is_either_taken_over_or_told_that_it_came_too_late<S: SessionStore>(
    bench: Bench<S>,
) {
    for round in 0..8 {
        let old = with_data(&bench).await;
        let creation = login(&bench, &old, true);
        let sid = creation.record.sid;
        let (bench, creation) = (&bench, &creation);
        let requests = (0..16).map(|number| async move {
            if number == round * 2 {
                bench.open(creation.clone()).await;
                return None;
            }
            let key = format!("key {number}");
            match bench.update(old.sid, write(bench.start, &key, "x")).await {
                Updated::Applied(_) => Some((key, true)),
                Updated::Gone(Some(SUPERSEDED)) => Some((key, false)),
                other => bench.fail(format_args!("a write beside a login said {other:?}")),
            }
        });
        let written = bench.together(requests).await;
        let found = bench.find(sid).await;
        for (key, applied) in written.into_iter().flatten() {
            let told = if applied { "applied" } else { "gone" };
            let what = format!("whether the new session has a write to the old one that was told {told}");
            bench.same(&what, found.data.get(&key).is_some(), applied);
        }
        bench.expect(bench.find(old.sid).await.data.is_empty(), "a session that was replaced still has data");
    }
}

/// The other finds the old session ended already.
pub(super) async fn s4_of_two_logins_in_one_browser_one_takes_over_the_data<S: SessionStore>(
    bench: Bench<S>,
) {
    let old = with_data(&bench).await;
    let logins = [login(&bench, &old, true), login(&bench, &old, true)];
    let sids = logins.each_ref().map(|login| login.record.sid);
    bench.together(logins.into_iter().map(|login| bench.open(login))).await;
    let mut heirs = 0;
    for sid in sids {
        heirs += usize::from(bench.find(sid).await.data.get("old").is_some());
    }
    bench.same("how many of two parallel logins took over the data", heirs, 1);
}
