//! The middleware over the store (L2, L3, L13, L14, C2, C6, C10, S4, S9, E1, O2).

use std::time::Duration;

use super::{
    bench::Bench,
    material::{ABSOLUTE, IDLE, MINUTE, SECOND, TICK, cap},
    site::{Reply, Site},
};
use crate::{SessionStore, policy::Overflow, testing::records};

/// Live until a millisecond before, however often the user comes; `idle`, and rid of the cookie,
/// from then on.
pub(super) async fn l2_a_session_is_over_exactly_at_its_idle_deadline<S: SessionStore>(bench: Bench<S>) {
    let site = Site::new(&bench, |policy| policy);
    let mut browser = site.browser();
    bench.welcome("right after the login", &browser.visit("/login").await);
    for _ in 0..3 {
        site.clock.advance(IDLE.saturating_sub(TICK));
        bench.welcome("a millisecond before the idle deadline", &browser.visit("/").await);
    }
    site.clock.advance(IDLE);
    let mut other_tab = browser.clone();
    bench.turned_away("at the idle deadline", &browser.visit("/").await, "idle");
    bench.turned_away("when another tab comes", &other_tab.visit("/").await, "idle");
}

/// However active its user is.
pub(super) async fn l2_no_interaction_moves_the_absolute_deadline<S: SessionStore>(bench: Bench<S>) {
    let site = Site::new(&bench, |policy| policy);
    let mut browser = site.browser();
    browser.visit("/login").await;
    for path in ["/", "/write", "/rotate"].iter().cycle().take(47) {
        site.clock.advance(ABSOLUTE / 48);
        bench.welcome("before the absolute deadline", &browser.visit(path).await);
    }
    site.clock.advance((ABSOLUTE / 48).saturating_sub(TICK));
    bench.welcome("a millisecond before the absolute deadline", &browser.visit("/").await);
    site.clock.advance(TICK);
    bench.turned_away("at the absolute deadline", &browser.visit("/").await, "absolute");
}

/// What was in the basket is still there, under another cookie.
pub(super) async fn l3_a_login_keeps_what_an_anonymous_visitor_left<S: SessionStore>(bench: Bench<S>) {
    let site = Site::new(&bench, |policy| policy);
    let mut browser = site.browser();
    browser.visit("/write").await;
    let mut earlier = browser.clone();
    browser.visit("/login").await;
    let reply = browser.visit("/").await;
    bench.welcome("after a login from an anonymous session", &reply);
    bench.same("the value from before the login", reply.value.as_deref(), Some("written"));
    let reply = earlier.visit("/").await;
    bench.same("the reason for the cookie from before", reply.reason.as_deref(), Some("superseded"));
    bench.same("the value under the cookie from before", reply.value, None);
}

/// Also for a copy of the cookie, and also when a write comes with it.
pub(super) async fn s4_a_logged_out_cookie_is_dead_and_says_why<S: SessionStore>(bench: Bench<S>) {
    let site = Site::new(&bench, |policy| policy);
    let mut browser = site.browser();
    browser.visit("/login").await;
    browser.visit("/write").await;
    let mut copy = browser.clone();
    let reply = browser.visit("/logout").await;
    bench.expect(reply.removes_cookie(), "a logout does not remove the cookie");
    let reply = copy.clone().visit("/").await;
    bench.turned_away("after the logout", &reply, "signed_out");
    bench.same("the value after the logout", reply.value, None);
    bench.expect(!copy.visit("/write").await.is_user, "a write brought back a session that was logged out");
}

/// One by its id, or all of a user but one; on the node that was asked and on another.
pub(super) async fn e1_a_revocation_is_seen_by_the_very_next_request<S: SessionStore>(bench: Bench<S>) {
    let site = Site::new(&bench, |policy| policy);
    let other_node = site.another_node(&bench);
    let mut browsers = [site.browser(), site.browser(), site.browser()];
    for browser in &mut browsers {
        bench.welcome("right after the login", &browser.visit("/login").await);
        site.clock.advance(SECOND);
    }
    let listed = bench.answer("list", site.sessions.list(Some(&*site.user), None, 10).await).sessions;
    bench.same("the sessions listed", listed.len(), 3);
    let revoked = bench.answer("revoke", other_node.sessions.revoke(listed[0].sid).await);
    bench.expect(revoked, "a live session could not be revoked");
    bench.turned_away("after a revocation", &browsers[0].visit("/").await, "revoked");
    bench.welcome("after the revocation of another session", &browsers[1].visit("/").await);

    let except = Some(listed[2].sid);
    bench.answer("revoke", other_node.sessions.revoke_all(&site.user, except).await);
    for node in [&site, &other_node] {
        let reply = browsers[1].at(node).visit("/").await;
        bench.turned_away("after all were revoked", &reply, "revoked");
        bench.welcome("when it was excepted", &browsers[2].at(node).visit("/").await);
    }
    let left = bench.answer("list", site.sessions.list(Some(&*site.user), None, 10).await).sessions;
    let left: Vec<_> = left.iter().map(|session| session.sid).collect();
    bench.same("the sessions that are left", left, vec![listed[2].sid]);
}

/// And what comes later works: another login of the same user, and the session of another user.
pub(super) async fn l14_signing_out_everywhere_ends_what_was_there_and_nothing_else<S: SessionStore>(
    bench: Bench<S>,
) {
    let site = Site::new(&bench, |policy| policy);
    let (mut user, mut guest, mut other) = (site.browser(), site.browser(), site.browser());
    bench.welcome("right after the login", &user.visit("/login").await);
    guest.visit("/write").await;
    other.visit("/login-other").await;
    other.visit("/write").await;
    site.clock.advance(SECOND);
    bench.answer("revoke", site.sessions.revoke_all(&site.user, None).await);
    let mut copy = user.clone();
    bench.turned_away("after signing out everywhere", &user.visit("/").await, "revoked");
    bench.expect(!copy.visit("/write").await.is_user, "a write goes through after signing out everywhere");
    for (browser, what) in [(&mut guest, "an anonymous visitor"), (&mut other, "another user")] {
        let value = browser.visit("/").await.value;
        bench.same(&format!("the value of {what}"), value.as_deref(), Some("written"));
    }
    site.clock.advance(SECOND);
    bench.welcome("after another login", &user.visit("/login").await);
    bench.welcome("after that", &user.visit("/").await);
}

/// On the node that was asked at once. Anonymous sessions stay, and later logins work.
pub(super) async fn l14_signing_everybody_out_leaves_visitors_and_later_logins<S: SessionStore>(
    bench: Bench<S>,
) {
    let site = Site::new(&bench, |policy| policy);
    let realm = format!("another {}", bench.realm).into();
    let elsewhere = site.in_realm(&bench, &realm);
    let (mut user, mut guest, mut there) = (site.browser(), site.browser(), elsewhere.browser());
    bench.welcome("right after the login", &user.visit("/login").await);
    bench.welcome("right after the login in another realm", &there.visit("/login").await);
    guest.visit("/write").await;
    site.clock.advance(SECOND);
    bench.answer("revoke", site.sessions.revoke_everybody().await);
    bench.turned_away("after everybody was signed out", &user.visit("/").await, "revoked");
    let value = guest.visit("/").await.value;
    bench.same("the value of an anonymous visitor", value.as_deref(), Some("written"));
    bench.welcome("after everybody in another realm was signed out", &there.visit("/").await);
    site.clock.advance(SECOND);
    bench.welcome("after another login", &user.visit("/login").await);
    bench.welcome("after that", &user.visit("/").await);
}

/// Neither its cookie, nor its cap, list and revocation; and it is none the worse for having been
/// tried there.
pub(super) async fn c10_a_cookie_of_one_realm_is_nothing_in_another<S: SessionStore>(bench: Bench<S>) {
    let here = Site::new(&bench, |policy| policy.with_cap(Some(cap(1, Overflow::Evict))));
    let realm = format!("another {}", bench.realm).into();
    let there = here.in_realm(&bench, &realm);
    let (mut browser, mut theirs) = (here.browser(), there.browser());
    bench.welcome("right after the login", &browser.visit("/login").await);
    browser.visit("/write").await;
    for path in ["/", "/write", "/rotate", "/logout"] {
        let reply = browser.at(&there).visit(path).await;
        bench.expect(!reply.is_user, "a cookie of one realm logs its user in in another");
        bench.same("the reason for a cookie of another realm", reply.reason, None);
    }
    bench.welcome("after its cookie was tried in another realm", &browser.visit("/").await);
    bench.welcome("right after the login in the other realm", &theirs.visit("/login").await);
    let listed = bench.answer("list", here.sessions.list(Some(&*here.user), None, 10).await).sessions;
    bench.same("the sessions of the one realm", listed.len(), 1);
    let all = bench.answer("list", records(&there.sessions, None, 10).await);
    bench.expect(all.iter().all(|record| record.realm == realm), "a list of a realm has those of another");
    let revoked = bench.answer("revoke", there.sessions.revoke(listed[0].sid).await);
    bench.expect(!revoked, "a session was revoked through another realm");
    bench.answer("revoke", there.sessions.revoke_all(&here.user, None).await);
    bench.turned_away("after signing out everywhere", &theirs.visit("/").await, "revoked");
    let reply = browser.visit("/").await;
    bench.welcome("after that was done in another realm", &reply);
    bench.same("its value", reply.value.as_deref(), Some("written"));
}

/// No request reads it before, and only a login of the same user gets it.
pub(super) async fn l13_work_waits_unseen_until_its_user_logs_in<S: SessionStore>(bench: Bench<S>) {
    let site = Site::new(&bench, |policy| policy.with_resume_for(2 * IDLE));
    for (path, wanted) in [("/login", Some("written")), ("/login-other", None)] {
        let mut browser = site.browser();
        browser.visit("/login").await;
        browser.visit("/write").await;
        site.clock.advance(IDLE + MINUTE);
        let reply = browser.visit("/").await;
        bench.same("the reason when work waits", reply.reason.as_deref(), Some("idle"));
        bench.same("the value of a session that is over", reply.value.as_deref(), None);
        bench.expect(!reply.is_user, "the user is still logged in at the idle deadline");
        bench.expect(!reply.removes_cookie(), "the cookie is removed while work waits");
        browser.visit(path).await;
        let reply = browser.visit("/").await;
        bench.same(&format!("the work after {path}"), reply.value.as_deref(), wanted);
    }
    let mut browser = site.browser();
    browser.visit("/login").await;
    browser.visit("/write").await;
    site.clock.advance(IDLE + 2 * IDLE);
    browser.visit("/login").await;
    bench.same("the work after its time", browser.visit("/").await.value.as_deref(), None);
}

/// Also when its holder never returns. The reason stays known to the cookie.
pub(super) async fn o2_a_sweep_ends_what_is_over_by_the_live_policy<S: SessionStore>(bench: Bench<S>) {
    let bench = super::sweeping::long_ago(bench).await;
    let site = Site::new(&bench, |policy| policy);
    let (mut gone, mut stays) = (site.browser(), site.browser());
    gone.visit("/login").await;
    site.clock.advance(MINUTE);
    stays.visit("/login").await;
    site.clock.advance(IDLE.saturating_sub(MINUTE));
    let mut ended = 0;
    for _ in 0..1000 {
        let swept = bench.answer("sweep", site.sessions.sweep(10).await);
        ended += swept.ended;
        if swept.finished {
            break;
        }
    }
    bench.same("how many a sweep ended", ended, 1);
    bench.turned_away("after a sweep", &gone.visit("/").await, "idle");
    bench.welcome("when it was live at the sweep", &stays.visit("/").await);
}

/// The one that was least recently active, for whom a third made no room.
pub(super) async fn s9_the_evicted_user_learns_why<S: SessionStore>(bench: Bench<S>) {
    let site = Site::new(&bench, |policy| policy.with_cap(Some(cap(2, Overflow::Evict))));
    let (mut first, mut second, mut third) = (site.browser(), site.browser(), site.browser());
    for browser in [&mut first, &mut second] {
        browser.visit("/login").await;
        site.clock.advance(SECOND);
    }
    bench.welcome("under the cap", &first.visit("/").await);
    site.clock.advance(SECOND);
    bench.welcome("over the cap", &third.visit("/login").await);
    bench.turned_away("after a third login", &second.visit("/").await, "evicted");
    bench.welcome("when it was not the least recently active", &first.visit("/").await);
}

/// All of them succeed, and as many as fit stay.
pub(super) async fn s9_parallel_logins_at_the_cap_all_succeed<S: SessionStore>(bench: Bench<S>) {
    const LOGINS: usize = 24;
    let site = Site::new(&bench, |policy| policy.with_cap(Some(cap(2, Overflow::Evict))));
    for _ in 0..3 {
        site.browser().visit("/login").await;
        site.clock.advance(SECOND); // so that these go first
    }
    let logins = (0..LOGINS).map(|_| async {
        let mut browser = site.browser();
        let reply = browser.visit("/login").await;
        (browser, reply)
    });
    let logged_in = bench.together(logins).await;
    for (_, reply) in &logged_in {
        bench.welcome("after one of many parallel logins", reply);
    }
    let listed = bench.answer("list", site.sessions.list(Some(&*site.user), None, 100).await).sessions;
    bench.same("the sessions after parallel logins at the cap", listed.len(), 2);
    let mut live = 0;
    for (mut browser, _) in logged_in {
        let reply = browser.visit("/").await;
        let evicted = reply.reason.as_deref() == Some("evicted");
        bench.expect(reply.is_user || evicted, "a session that was evicted does not say so");
        live += usize::from(reply.is_user);
    }
    bench.same("how many of the browsers are logged in", live, 2);
}

/// By the deadlines that the store gave back, to the second.
pub(super) async fn c2_a_persistent_cookie_is_refreshed_when_the_deadline_moves<S: SessionStore>(
    bench: Bench<S>,
) {
    let site = Site::new(&bench, |policy| policy);
    let mut browser = site.browser();
    let lives = |reply: &Reply| {
        let line = reply.set_cookie.as_ref()?;
        line.split("; ").find_map(|part| part.strip_prefix("Max-Age="))?.parse::<u64>().ok()
    };
    // The cookie goes at the whole second that is not before the deadline, counted from the whole
    // second of the arrival.
    let around = |found: Option<u64>, wanted: Duration| {
        found.is_some_and(|found| found == wanted.as_secs() || found == wanted.as_secs() + 1)
    };
    let login = lives(&browser.visit("/login").await);
    bench.expect(around(login, IDLE), "a persistent cookie does not last until the idle deadline");
    bench.same("the cookie of a request at the same moment", browser.visit("/").await.set_cookie, None);
    site.clock.advance(MINUTE);
    let refreshed = lives(&browser.visit("/").await);
    bench.expect(around(refreshed, IDLE), "a persistent cookie is not refreshed when its deadline moves");
}

/// Requests in flight during a rotation do not get lost, and a stolen old cookie is soon worth
/// nothing.
pub(super) async fn c6_the_old_cookie_works_within_the_grace_and_not_after<S: SessionStore>(bench: Bench<S>) {
    let grace = 10 * SECOND;
    let site = Site::new(&bench, |policy| policy.with_rotation_grace(grace));
    let mut browser = site.browser();
    browser.visit("/login").await;
    let mut in_flight = browser.clone();
    bench.welcome("after a rotation", &browser.visit("/rotate").await);
    bench.expect(browser.cookie != in_flight.cookie, "a rotation issued no new cookie");
    site.clock.advance(grace.saturating_sub(TICK));
    let reply = in_flight.visit("/rotate").await;
    bench.welcome("with the cookie from before a rotation, within the grace", &reply);
    bench.same("the cookie issued to who holds the one in grace", reply.set_cookie, None);
    site.clock.advance(TICK);
    let reply = in_flight.visit("/").await;
    bench.expect(!reply.is_user, "the cookie from before a rotation works after the grace");
    bench.welcome("with the cookie from a rotation", &browser.visit("/").await);
}
