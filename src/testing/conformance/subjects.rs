//! Listing and ending by subject (SPEC S2, S10).

use std::{sync::Arc, time::Duration};

use super::bench::{Bench, IDLE, MINUTE, SECOND, plain, session, subject, touch, write};
use crate::{
    SessionId, SessionStore, Timestamp,
    record::{End, EndReason, Ended, Record},
    store::{Creation, Page},
};

/// Seven live sessions, three of them of the same moment, in the order of the list.
async fn seven<S: SessionStore>(bench: &Bench<S>, subject: Option<&Arc<str>>) -> Vec<Record> {
    let mut opened = Vec::new();
    for seconds in [3, 1, 4, 1, 5, 9, 1] {
        let record = session(subject, bench.start + SECOND * seconds);
        let edits = write(record.timing.created_at, "a", "1").edits;
        opened.push(bench.open(Creation { edits, ..plain(record) }).await.0);
    }
    opened.sort_by_key(place);
    opened
}

fn place(record: &Record) -> (Timestamp, SessionId) {
    (record.timing.created_at, record.sid)
}

fn sids(records: &[Record]) -> Vec<SessionId> {
    records.iter().map(|record| record.sid).collect()
}

/// By creation, then id; whole records; neither tombstones nor what is past a deadline at that moment.
pub(super) async fn s2_a_list_has_the_live_sessions_of_a_subject_oldest_first<S: SessionStore>(
    bench: Bench<S>,
) {
    let (user, other) = (subject(), subject());
    let known = seven(&bench, Some(&user)).await;
    seven(&bench, Some(&other)).await;
    let page = |now| Page { subject: Some(Arc::clone(&user)), after: None, limit: 100, now };

    let listed = bench.list(page(bench.start + MINUTE)).await;
    bench.same("the list of a subject", sids(&listed), sids(&known));
    for (listed, known) in listed.iter().zip(&known) {
        bench.same_record("a listed session", listed, known);
    }
    let limited = bench.list(Page { limit: 2, ..page(bench.start + MINUTE) }).await;
    bench.same("the list of a subject, two at most", sids(&limited), sids(&known[..2]));

    bench.update(known[0].sid, touch(bench.start + MINUTE)).await;
    bench.end(known[3].sid, End::new(EndReason::SignedOut, bench.start + MINUTE)).await;
    // The idle deadline of the one created at 4 s is over exactly then, and that of the one at 5 s is not.
    let now = bench.start + IDLE + 4 * SECOND;
    let live = vec![known[0].sid, known[5].sid, known[6].sid];
    bench.same("the list once some are over", bench.live(&user, now).await, live.clone());
    let before = now - Duration::from_millis(1);
    bench.same("the list a millisecond before", bench.live(&user, before).await.len(), live.len() + 1);
}

/// Those of every subject and of none, each once, in order.
pub(super) async fn s2_a_list_of_all_pages_through_every_live_session<S: SessionStore>(bench: Bench<S>) {
    let mut known = seven(&bench, Some(&subject())).await;
    known.extend(seven(&bench, Some(&subject())).await);
    known.extend(seven(&bench, None).await);
    bench.end(known.swap_remove(5).sid, End::new(EndReason::SignedOut, bench.start)).await;
    known.sort_by_key(place);

    let end = bench.start + MINUTE;
    for limit in [1, 3, 100] {
        let mut found = Vec::new();
        let mut after = (bench.start, SessionId::from_bytes([0; SessionId::BYTES]));
        // Past the last of ours there may be those of others.
        while after.0 < end && found.len() <= known.len() {
            let page = bench.list(Page { subject: None, after: Some(after), limit, now: end }).await;
            bench.expect(page.len() <= limit, "a page has more sessions than its limit");
            let Some(last) = page.last() else { break };
            after = place(last);
            found.extend(page.into_iter().filter(|record| record.timing.created_at < end));
        }
        bench.same(&format!("a list of all in pages of {limit}"), sids(&found), sids(&known));
    }
    let first = Page { subject: None, after: None, limit: 1000, now: end };
    let listed = bench.list(first).await;
    let in_order = listed.is_sorted_by_key(place);
    bench.expect(in_order, "a list of all is not in the order of creation and id");
}

/// A page that begins after a session does not depend on what became of that or of others.
pub(super) async fn s2_pages_are_stable_while_sessions_come_and_go<S: SessionStore>(bench: Bench<S>) {
    for user in [Some(subject()), None] {
        let known = seven(&bench, user.as_ref()).await;
        let now = bench.start + MINUTE;
        let first_of_all = (bench.start, SessionId::from_bytes([0; SessionId::BYTES]));
        let page = |after, limit| Page { subject: user.clone(), after: Some(after), limit, now };
        let first = bench.list(page(first_of_all, 3)).await;
        bench.same("the first page", sids(&first), sids(&known[..3]));

        let (before, _) = bench.open(plain(session(user.as_ref(), bench.start))).await;
        bench.end(known[2].sid, End::new(EndReason::SignedOut, now)).await; // the one to go on after
        bench.update(known[4].sid, touch(now)).await;
        bench.update(known[1].sid, touch(now)).await;
        let second = bench.list(page(place(&known[2]), 3)).await;
        bench.same("the second page", sids(&second), sids(&known[3..6]));

        bench.end(known[6].sid, End::new(EndReason::SignedOut, now)).await;
        let third = bench.list(page(place(&known[5]), 1)).await;
        let ours = third.iter().any(|record| record.timing.created_at < now);
        bench.expect(!ours, "the third page has a session that is over or was on a page before");
        for known in known.iter().chain([&before]) {
            bench.end(known.sid, End::new(EndReason::SignedOut, now)).await; // out of the way of the next round
        }
    }
}

/// It tells which it ended: those that were live. Those past a deadline end too, for that reason; other subjects' do not.
pub(super) async fn s10_ending_a_subject_leaves_none_but_the_one_excepted<S: SessionStore>(bench: Bench<S>) {
    let (user, other) = (subject(), subject());
    let known = seven(&bench, Some(&user)).await;
    let others = seven(&bench, Some(&other)).await;
    let now = bench.start + IDLE + 4 * SECOND; // 1 s, 1 s, 1 s, 3 s and 4 s are idle, 5 s and 9 s are not
    bench.update(known[0].sid, touch(bench.start + MINUTE)).await;
    bench.end(known[5].sid, End::new(EndReason::SignedOut, bench.start + MINUTE)).await;

    let end = End::new(EndReason::Revoked, now);
    let ended = bench.end_subject(&user, end, Some(known[6].sid)).await;
    bench.same("what ending a subject ended", ended, vec![known[0].sid]);
    let reason = |ended: Option<Ended>| ended.map(|ended| ended.reason);
    for (index, wanted) in [
        (0, Some(EndReason::Revoked)),
        (1, Some(EndReason::Idle)),
        (4, Some(EndReason::Idle)),
        (5, Some(EndReason::SignedOut)),
        (6, None),
    ] {
        let found = bench.find(known[index].sid).await;
        bench.same("the end of a session whose subject was ended", reason(found.ended), wanted);
        bench.expect(
            found.data.is_empty() == wanted.is_some(),
            "ending a subject dropped the data of the one excepted, or kept that of another",
        );
    }
    for other in &others {
        bench.same_record("a session of another subject", &bench.find(other.sid).await, other);
    }
    bench.same("the one excepted", bench.live(&user, now).await, vec![known[6].sid]);
    bench.same(
        "what ending the subject again ended",
        bench.end_subject(&user, end, None).await,
        vec![known[6].sid],
    );
    bench.same("the live sessions after it", bench.live(&user, now).await, vec![]);
}

/// A login beside it either came before, and is ended and told, or came later, and is live and listed.
pub(super) async fn s10_ending_a_subject_misses_none_under_parallel_logins<S: SessionStore>(bench: Bench<S>) {
    for round in 0..8 {
        let user = subject();
        let mut before = sids(&seven(&bench, Some(&user)).await);
        let now = bench.start + MINUTE;
        let end = End::new(EndReason::Revoked, now);
        let (bench, user) = (&bench, &user);
        let requests = (0..12).map(|number| async move {
            if number == round {
                (None, bench.end_subject(user, end, None).await)
            } else {
                let (record, _) = bench.open(plain(session(Some(user), now))).await;
                (Some(record.sid), Vec::new())
            }
        });
        let done = bench.together(requests).await;
        let ended: Vec<_> = done.iter().flat_map(|(_, ended)| ended).collect();
        let live = bench.live(user, now).await;
        before.retain(|sid| !ended.contains(&sid));
        bench.same("the sessions from before that ending a subject missed", before, vec![]);
        for sid in done.iter().filter_map(|(sid, _)| *sid) {
            let told = ended.contains(&&sid);
            let is_ended = bench.find(sid).await.ended.is_some();
            bench.same("whether a session is ended whose subject was told to be ended", is_ended, told);
            bench.same("whether it is listed as live", live.contains(&sid), !told);
        }
        bench.end_subject(user, end, None).await;
        bench.same("the live sessions after all were ended", bench.live(user, now).await, vec![]);
    }
}
