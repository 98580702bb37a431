//! Realms and tags separate sessions (C10, S11).

use std::sync::Arc;

use super::{
    bench::{Bench, sids},
    material::{MINUTE, SECOND, User, cap, end, holding, mark, seen_under, superseded},
};
use crate::{
    SessionStore,
    policy::Overflow,
    record::{EndOutcome, EndReason, Record},
    store::{CreateOutcome, Creation, Page, Revocation},
};

/// Sessions of users that differ in realm or name are counted, listed and revoked separately.
async fn are_strangers<S: SessionStore>(bench: &Bench<S>, one: &User, other: &User) {
    let mut known = [Vec::new(), Vec::new()];
    for seconds in 0..3 {
        for (user, known) in [one, other].into_iter().zip(&mut known) {
            let record = user.session(bench.start + SECOND * seconds);
            known.push(bench.open(holding(record, "a", "1")).await);
        }
    }
    for (user, known) in [one, other].into_iter().zip(&known) {
        bench.same_records("the list of a user", &bench.list(user.page()).await, known);
        let full =
            Creation { cap: 3_u32.try_into().ok(), ..Creation::new(user.session(bench.start + MINUTE)) };
        let CreateOutcome::Full { count, mut sessions, .. } = bench.create(full).await else {
            bench.fail("a fourth session of a user was stored under a cap of 3");
        };
        sessions.sort_by_key(|record| record.timing.created_at);
        bench.same("how many sessions of a user count", count, 3);
        bench.same_records("the sessions that count", &sessions, known);
    }
    let at = bench.start + MINUTE;
    let login = bench.login(Creation::new(one.session(at)), cap(3, Overflow::Evict), at).await;
    bench.same("what a login evicted", login.evicted(), vec![known[0][0].sid]);
    known[0].remove(0);
    known[0].extend(login.record);
    bench.same_records("the list of the other", &bench.list(other.page()).await, &known[1]);

    // The excepted session is another user's: it has no effect, and only its owner's revocation
    // covers it.
    let revocation = Revocation { except: Some(known[1][0].sid), ..one.revocation(at) };
    bench.revoke(revocation.clone()).await;
    let mark = mark(&[revocation]);
    let covered: Vec<_> = known[0].iter().map(|record| seen_under(&mark, record)).collect();
    bench.same_records("the sessions of who was signed out", &bench.list(one.page()).await, &covered);
    bench.same_records("the sessions of the other", &bench.list(other.page()).await, &known[1]);
    let late = Record { admitted_at: at, ..other.session(at) };
    known[1].push(bench.open(late).await);
    let late = bench.create(Creation::new(Record { admitted_at: at, ..one.session(at) })).await;
    bench.same("a late login of who was signed out", late, CreateOutcome::SignedOutEverywhere);

    let request = || superseded(at, one.replacement(one.session(at).sid));
    let mut spared = request();
    if let Some(new) = &mut spared.options.replaced_by {
        new.same_subject_only = true;
    }
    if one.name != other.name {
        let outcome = bench.end(known[1][0].sid, spared).await;
        bench.same("the end of another's session", outcome, EndOutcome::Spared);
    }
    let mut foreign = end(EndReason::Revoked, at);
    foreign.options.if_realm = Some(Arc::clone(&one.realm));
    if one.realm != other.realm {
        let outcome = bench.end(known[1][0].sid, foreign).await;
        bench.same("the end of another realm's session", outcome, EndOutcome::Unknown);
    }
    bench.same_records("the sessions of the other at last", &bench.list(other.page()).await, &known[1]);
}

/// The same name in two realms: two users.
pub(super) async fn c10_a_subject_is_another_in_another_realm<S: SessionStore>(bench: Bench<S>) {
    let user = bench.user();
    let realm = format!("another {}", bench.realm);
    let namesake = bench.user_of(&realm, &user.name);
    bench.expect(namesake.tag != user.tag, "users of two realms have the same tag");
    are_strangers(&bench, &user, &namesake).await;
    // Also if they share a tag by chance.
    let user = bench.user();
    are_strangers(&bench, &user, &User { realm: realm.into(), ..user.clone() }).await;
    // And if realm and name differ only in where one ends and the other begins.
    let user = bench.user();
    let (realm, name) = (format!("{}a", user.realm), format!("b{}", user.name));
    let shifted = (user.realm.to_string(), format!("ab{}", user.name));
    let [user, shifted] = [(realm, name), shifted].map(|(realm, name)| User {
        realm: realm.into(),
        name: name.into(),
        tag: user.tag,
    });
    are_strangers(&bench, &user, &shifted).await;
}

/// Two subjects that share a tag by chance are compared whole: also when one's name is the
/// beginning of the other's, or differs in case only.
pub(super) async fn s11_subjects_that_share_a_tag_are_compared_whole<S: SessionStore>(bench: Bench<S>) {
    for number in 0..4 {
        let user = bench.user();
        let name = match number {
            0 => format!("{}!", user.name),
            1 => user.name.to_uppercase(),
            2 => format!("{} ", user.name),
            _ => format!("{}\0", user.name),
        };
        let other = User { name: name.into(), ..user.clone() };
        are_strangers(&bench, &user, &other).await;
    }
}

/// All sessions of a realm, and none of another with a similar name.
pub(super) async fn c10_a_list_of_a_realm_is_its_own<S: SessionStore>(bench: Bench<S>) {
    let realms = [
        bench.realm.to_string(),
        format!("{} ", bench.realm),
        bench.realm.to_uppercase(),
        bench.realm[..bench.realm.len() - 1].to_owned(),
    ];
    let mut known = Vec::new();
    for realm in &realms {
        let user = bench.user_of(realm, "alice");
        let guest = super::material::visitor(&user.realm, bench.start + SECOND);
        known
            .push((user.clone(), vec![bench.open(user.session(bench.start)).await, bench.open(guest).await]));
    }
    for (user, known) in &known {
        let page = Page { subject: None, ..user.page() };
        bench.same_records("the list of a realm", &bench.list(page).await, known);
        bench.same("the list of a user of it", bench.listed(user).await, sids(&known[..1]));
    }
}
