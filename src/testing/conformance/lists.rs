//! Lists of a subject and of a realm (S2, S14).

use std::sync::Arc;

use super::{
    bench::{Bench, MANY, sids},
    material::{IDLE, MINUTE, SECOND, User, end, holding, mark, seen_under, touch, visitor},
};
use crate::{
    SessionId, SessionStore, Timestamp,
    record::{EndReason, Record, Tag},
    store::Page,
};

/// Seven sessions in the order of the list, three of them created at the same moment.
pub(super) async fn seven<S: SessionStore>(bench: &Bench<S>, user: Option<&User>) -> Vec<Record> {
    let mut opened = Vec::new();
    for seconds in [3, 1, 4, 1, 5, 9, 1] {
        let at = bench.start + SECOND * seconds;
        let record = user.map_or_else(|| visitor(&bench.realm, at), |user| user.session(at));
        opened.push(bench.open(holding(record, "a", "1")).await);
    }
    opened.sort_by_key(place);
    opened
}

fn place(record: &Record) -> (Timestamp, SessionId) {
    (record.timing.created_at, record.sid)
}

/// Whole records, by creation, then id. A list has no tombstones. It has sessions past a deadline
/// and revoked ones until they have ended: the caller judges them.
pub(super) async fn s2_a_list_has_the_sessions_of_a_subject_oldest_first<S: SessionStore>(bench: Bench<S>) {
    let (user, other) = (bench.user(), bench.user());
    let mut known = seven(&bench, Some(&user)).await;
    seven(&bench, Some(&other)).await;
    bench.same_records("the list of a subject", &bench.list(user.page()).await, &known);
    let limited = bench.list(Page { limit: 2, ..user.page() }).await;
    bench.same_records("the list of a subject, two at most", &limited, &known[..2]);
    let none = bench.list(Page { limit: 0, ..user.page() }).await;
    bench.same("the list of a subject, none at most", none, vec![]);

    bench.update(known[0].sid, touch(bench.start + MINUTE)).await;
    known[0] = bench.find(known[0].sid).await;
    bench.end(known[3].sid, end(EndReason::SignedOut, bench.start + MINUTE)).await;
    known.remove(3);
    bench.same_records("the list after one has ended", &bench.list(user.page()).await, &known);
    // The session created at 4 s has just expired, and the one at 5 s has not.
    let now = bench.start + IDLE + 4 * SECOND;
    let live = vec![known[0].sid, known[4].sid, known[5].sid];
    bench.same("those that are live", bench.live(&user, now).await, live);

    let revocation = crate::store::Revocation { except: Some(known[5].sid), ..user.revocation(now) };
    bench.revoke(revocation.clone()).await;
    let mark = mark(&[revocation]);
    let known: Vec<_> = known.iter().map(|known| seen_under(&mark, known)).collect();
    bench.same_records("the list after a revocation", &bench.list(user.page()).await, &known);
}

/// Sessions of every subject and anonymous ones, each once, in order.
pub(super) async fn s2_a_list_of_a_realm_pages_through_every_session<S: SessionStore>(bench: Bench<S>) {
    let users = [bench.user(), bench.user()];
    let mut known = seven(&bench, Some(&users[0])).await;
    known.extend(seven(&bench, Some(&users[1])).await);
    known.extend(seven(&bench, None).await);
    bench.end(known.swap_remove(5).sid, end(EndReason::SignedOut, bench.start)).await;
    known.sort_by_key(place);

    for limit in [1, 3, 7, MANY] {
        let found = bench.pages(None, limit).await;
        bench.same_records(&format!("a list of a realm in pages of {limit}"), &found, &known);
    }
    // By the moment of creation, not by the text or the bytes of an id.
    let from = Some((bench.start + 3 * SECOND, SessionId::from_bytes([0xff; SessionId::BYTES])));
    let page = Page { realm: Arc::clone(&bench.realm), subject: None, after: from, limit: MANY };
    let later = known.iter().filter(|known| known.timing.created_at > bench.start + 3 * SECOND);
    bench.same_records("a list from a moment on", &bench.list(page).await, later);
}

/// A page that starts after a session does not depend on what happened to that session or others.
pub(super) async fn s2_pages_are_stable_while_sessions_come_and_go<S: SessionStore>(bench: Bench<S>) {
    let user = bench.user();
    for user in [Some(&user), None] {
        let known = seven(&bench, user).await;
        let now = bench.start + MINUTE;
        let subject = user.map(|user| (user.tag, Arc::clone(&user.name)));
        let page =
            |after, limit| Page { realm: Arc::clone(&bench.realm), subject: subject.clone(), after, limit };
        let first = bench.list(page(None, 3)).await;
        bench.same("the first page", sids(&first), sids(&known[..3]));

        let early = user.map_or_else(|| visitor(&bench.realm, bench.start), |user| user.session(bench.start));
        let before = bench.open(early).await;
        let ended = |reason| end(reason, now);
        bench.end(known[2].sid, ended(EndReason::SignedOut)).await; // the one to go on after
        bench.update(known[4].sid, touch(now)).await;
        bench.update(known[1].sid, touch(now)).await;
        let second = bench.list(page(Some(place(&known[2])), 3)).await;
        bench.same("the second page", sids(&second), sids(&known[3..6]));

        bench.end(known[6].sid, ended(EndReason::Revoked)).await;
        let third = bench.list(page(Some(place(&known[5])), 1)).await;
        bench.same("the page after the last session that has not ended", sids(&third), vec![]);
        for known in known.iter().chain([&before]) {
            bench.end(known.sid, ended(EndReason::SignedOut)).await; // out of the way of the next round
        }
    }
}

/// Tombstones in between do not make a page shorter.
pub(super) async fn s14_a_page_is_full_while_there_are_more<S: SessionStore>(bench: Bench<S>) {
    let user = bench.user();
    let mut known = Vec::new();
    for seconds in 0..40 {
        let record = bench.open(user.session(bench.start + SECOND * seconds)).await;
        if seconds % 10 == 9 {
            known.push(record);
        } else {
            bench.end(record.sid, end(EndReason::SignedOut, bench.start + MINUTE)).await;
        }
    }
    for subject in [user.page().subject, None] {
        let page = |after, limit| Page { subject: subject.clone(), after, limit, ..user.page() };
        bench.same_records("a page of 3 among tombstones", &bench.list(page(None, 3)).await, &known[..3]);
        let rest = bench.list(page(Some(place(&known[0])), 3)).await;
        bench.same_records("the page after the first", &rest, &known[1..]);
    }
}

/// Every session that exists all the time is listed, whatever others do, and a page that is not
/// full is the last one.
pub(super) async fn s2_a_list_beside_other_calls_misses_none<S: SessionStore>(bench: Bench<S>) {
    for _ in 0..5 {
        let user = bench.user();
        let known = seven(&bench, Some(&user)).await;
        let at = bench.start + MINUTE;
        let (bench, user, known) = (&bench, &user, &known);
        let misses_none = |listed: Vec<SessionId>| {
            let missed = known.iter().filter(|known| !listed.contains(&known.sid)).count();
            bench.same("how many of the sessions that stay a list misses", missed, 0);
            let mut once = listed.clone();
            once.sort_unstable();
            once.dedup();
            bench.same("how many a list names twice", listed.len() - once.len(), 0);
        };
        let requests = (0..24_usize).map(|number| async move {
            match number % 4 {
                0 => {
                    let guest = bench.open(visitor(&bench.realm, bench.start + 2 * SECOND)).await;
                    let record = bench.open(user.session(bench.start + 2 * SECOND)).await;
                    for sid in [guest.sid, record.sid] {
                        bench.end(sid, end(EndReason::SignedOut, at)).await;
                    }
                }
                1 => drop(bench.update(known[number % 7].sid, touch(at)).await),
                2 => misses_none(bench.listed(user).await),
                _ => {
                    let pages = [(user.page().subject, 2), (None, 2), (None, 3)];
                    for (subject, limit) in pages {
                        misses_none(sids(&bench.pages(subject, limit).await));
                    }
                }
            }
        });
        bench.together(requests).await;
    }
}

impl<S: SessionStore> Bench<S> {
    /// All pages of a subject, or of the whole realm.
    async fn pages(&self, subject: Option<(Tag, Arc<str>)>, limit: usize) -> Vec<Record> {
        let mut found: Vec<Record> = Vec::new();
        loop {
            let after = found.last().map(place);
            let page = Page { realm: Arc::clone(&self.realm), subject: subject.clone(), after, limit };
            let page = self.list(page).await;
            let is_last = page.len() < limit;
            found.extend(page);
            self.expect(found.len() <= MANY, "a list does not come to an end");
            if is_last {
                return found;
            }
        }
    }
}
