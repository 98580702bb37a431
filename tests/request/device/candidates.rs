//! Several cookies of one name, and what an unproven request of a bound session must not do (SPEC
//! B6, C5).

use axum::http::StatusCode;
use tower_tenure::{DeviceBinding, MemoryStore};

use super::{BOUND_COOKIE, GRACE, site};
use crate::common::{
    Browser, MINUTE, SECOND, Site, SoftwareDevice, TICK,
    bound::{Bound, challenge_of, refresh, register, site_over, site_with},
    policy,
};

/// The pair of the session cookie.
fn session_cookie(browser: &Browser) -> String {
    let cookies = browser.cookie_header().unwrap();
    cookies.split("; ").find(|pair| pair.starts_with("__Host-id=")).unwrap().to_owned()
}

/// Cookies of a session of alice that is no longer proven, and of a session of bob.
async fn unproven_and_proven(site: &Site) -> (Bound, String, Browser) {
    let bound = Bound::new(site, SoftwareDevice::es256()).await;
    let stolen = session_cookie(&bound.browser);
    let bob = site.log_in("bob").await;
    site.clock.advance(GRACE);
    (bound, stolen, bob)
}

#[tokio::test]
async fn c5_b6_a_proven_session_after_an_unproven_one_is_found_and_only_it_ends() {
    for order in [false, true] {
        let site = site();
        let (bound, stolen, bob) = unproven_and_proven(&site).await;
        let own = session_cookie(&bob);
        let both = if order { format!("{stolen}; {own}") } else { format!("{own}; {stolen}") };
        let tab = site.browser();
        tab.set_cookies(Some(&both));
        assert_eq!(tab.get("/me").await.body, "bob", "{both}");
        tab.set_cookies(Some(&both));
        assert_eq!(tab.post("/logout").await.status, StatusCode::OK);
        assert_eq!(bob.get("/me").await.reason().as_deref(), Some("signed_out"));
        assert_eq!(bound.browser.get("/me").await.body, "alice", "the unproven one stays: {both}");
    }
}

#[tokio::test]
async fn b6_a_login_beside_an_unproven_session_ends_nothing_of_it() {
    for order in [false, true] {
        let site = site();
        let (bound, stolen, bob) = unproven_and_proven(&site).await;
        let own = session_cookie(&bob);
        let both = if order { format!("{stolen}; {own}") } else { format!("{own}; {stolen}") };
        let tab = site.browser();
        tab.set_cookies(Some(&both));
        assert_eq!(tab.post("/login/bob").await.status, StatusCode::OK);
        assert_eq!(bob.get("/me").await.reason().as_deref(), Some("superseded"));
        assert_eq!(bound.browser.get("/me").await.body, "alice", "{both}");
    }
}

/// In *observe* mode, and with the bound cookie, a logout ends all sessions that the request
/// proved.
#[tokio::test]
async fn c5_a_logout_ends_every_session_that_counts() {
    let site = site_over(MemoryStore::new(), DeviceBinding::observe());
    let (bound, stolen, bob) = unproven_and_proven(&site).await;
    let tab = site.browser();
    tab.set_cookies(Some(&format!("{}; {stolen}", session_cookie(&bob))));
    tab.post("/logout").await;
    assert_eq!(bound.browser.get("/me").await.reason().as_deref(), Some("signed_out"));

    let site = super::site();
    let (bound, _, bob) = unproven_and_proven(&site).await;
    let tab = site.browser();
    tab.set_cookies(Some(&format!("{}; {}", session_cookie(&bob), bound.browser.cookie_header().unwrap())));
    tab.post("/logout").await;
    assert_eq!(bound.browser.get("/me").await.reason().as_deref(), Some("signed_out"));
}

/// A handler's writes are dropped. `save` and `update` return the error.
#[tokio::test]
async fn b6_what_an_unproven_request_writes_is_not_stored() {
    for site in [
        site(),
        site_over(tower_tenure::testing::Probe::remote(MemoryStore::new()), DeviceBinding::enforce()),
    ] {
        let bound = Bound::new(&site, SoftwareDevice::es256()).await;
        bound.browser.put("/data/k", "theirs").await;
        site.clock.advance(BOUND_COOKIE);
        let thief = bound.without_bound_cookie();
        for reply in [
            thief.put("/data/k", "mine").await,
            thief.post("/add/n").await,
            thief.post("/rotate").await,
            thief.post("/fail").await,
            thief.get("/data/k").await,
            thief.post("/session/extend").await,
            thief.post("/session/logout").await,
        ] {
            assert_eq!(reply.set_cookies(), [""; 0]);
            assert_ne!(reply.body, "theirs");
        }
        assert_eq!(site.live(None).await, 1);
        assert_eq!(bound.refresh().await.status, StatusCode::OK);
        assert_eq!(bound.browser.get("/data/k").await.body, "theirs");
        assert_eq!(bound.browser.get("/data/n").await.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn b6_a_session_that_is_over_by_time_is_over_also_for_who_cannot_prove_it() {
    let site = site();
    let bound = Bound::new(&site, SoftwareDevice::es256()).await;
    let thief = bound.without_bound_cookie();
    site.clock.advance(15 * MINUTE - TICK);
    assert_eq!(thief.get("/me").await.reason().as_deref(), Some("unproven"), "which extends nothing");
    site.clock.advance(TICK);
    let reply = thief.get("/me").await;
    assert_eq!(reply.reason().as_deref(), Some("idle"));
    assert!(reply.removes_cookie(), "{:?}", reply.set_cookies());
    let reply = bound.browser.get("/me").await;
    assert_eq!(reply.reason().as_deref(), Some("idle"));
    let removed = reply.set_cookies();
    assert!(removed.iter().all(|line| line.contains("Max-Age=0")) && !removed.is_empty(), "{removed:?}");
}

/// L13: when a session has expired, its bound cookie has expired as well, so its user can no longer
/// prove the device. The login of the same user takes over only that user's own data.
#[tokio::test]
async fn l13_b6_work_waits_for_the_user_and_not_for_a_thief_of_a_live_session() {
    let policy = policy().with_resume_for(15 * MINUTE);
    let site = site_with(MemoryStore::new(), DeviceBinding::enforce(), policy, |layer| layer);
    let bound = Bound::new(&site, SoftwareDevice::es256()).await;
    bound.browser.put("/data/draft", "x").await;
    site.clock.advance(BOUND_COOKIE);
    // While the session is live, an unproven request takes nothing over.
    let thief = bound.without_bound_cookie();
    assert_eq!(thief.post("/login/alice").await.status, StatusCode::OK);
    assert_eq!(thief.get("/data/draft").await.status, StatusCode::NOT_FOUND);
    // After its end another user takes nothing over either, but its own user does.
    site.clock.advance(5 * MINUTE);
    let [stranger, user] = [0, 1].map(|_| bound.without_bound_cookie());
    assert_eq!(stranger.post("/login/mallory").await.status, StatusCode::OK);
    assert_eq!(stranger.get("/data/draft").await.status, StatusCode::NOT_FOUND);
    assert_eq!(user.post("/login/alice").await.status, StatusCode::OK);
    assert_eq!(user.get("/data/draft").await.body, "x");
}

/// The session that the browser names is refreshed, whatever the position of its cookie. No other
/// cookie is removed.
#[tokio::test]
async fn b5_a_refresh_is_about_the_session_that_it_names() {
    let site = site();
    let bound = Bound::new(&site, SoftwareDevice::es256()).await;
    let bob = site.log_in("bob").await;
    let both = format!("{}; {}", session_cookie(&bob), bound.browser.cookie_header().unwrap());
    let tab = bound.browser.copy();
    tab.set_cookies(Some(&both));
    let challenge = challenge_of(&refresh(&tab, &bound.sid, None).await);
    tab.set_cookies(Some(&both));
    let reply = refresh(&tab, &bound.sid, Some(&bound.device.refresh(&challenge))).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    assert_eq!(reply.set_cookies().len(), 1);

    // A late refresh of a session that a login has replaced. The old session is over, the new one
    // is not.
    bound.browser.post("/login/alice").await;
    let reply = refresh(&bound.browser, &bound.sid, None).await;
    assert_eq!((reply.status, &*reply.body), (StatusCode::OK, r#"{"continue": false}"#));
    assert_eq!(reply.set_cookies(), [""; 0]);
    assert_eq!(bound.browser.get("/me").await.body, "alice");
}

/// A browser that receives `{"continue": false}` discards its key, which locks the user out for the
/// rest of the session. So that answer is sent only if the session is certainly over.
#[tokio::test]
async fn b5_a_refresh_in_flight_while_the_secret_is_replaced_forgets_nothing() {
    let router = |routes: axum::Router| {
        let now = axum::routing::post(async |session: tower_tenure::Session| session.rotate_now());
        routes.route("/rotate-now", now)
    };
    let site = crate::common::bound::site_routed(MemoryStore::new(), DeviceBinding::enforce(), router);
    let bound = Bound::new(&site, SoftwareDevice::es256()).await;
    let challenge = bound.challenge().await;
    let in_flight = bound.browser.copy();
    bound.browser.post("/rotate-now").await;
    for proof in [None, Some(bound.device.refresh(&challenge))] {
        let reply = refresh(&in_flight, &bound.sid, proof.as_deref()).await;
        assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS, "{}", reply.body);
        assert_eq!(reply.set_cookies(), [""; 0]);
    }
    let reply = refresh(&bound.browser, &bound.sid, Some(&bound.device.refresh(&challenge))).await;
    assert_eq!(reply.status, StatusCode::OK);
    // Long after, the old secret is unknown.
    site.clock.advance(MINUTE);
    let reply = refresh(&in_flight, &bound.sid, None).await;
    assert_eq!((reply.status, &*reply.body), (StatusCode::OK, r#"{"continue": false}"#));
}

#[tokio::test]
async fn c6_b5_a_refresh_with_the_old_secret_in_its_grace_goes_through() {
    let site = site();
    let bound = Bound::new(&site, SoftwareDevice::es256()).await;
    let in_flight = bound.browser.copy();
    bound.browser.post("/rotate").await;
    let challenge = challenge_of(&refresh(&in_flight, &bound.sid, None).await);
    let reply = refresh(&in_flight, &bound.sid, Some(&bound.device.refresh(&challenge))).await;
    assert_eq!(reply.status, StatusCode::OK);
    // A registration needs the latest secret, because the holder of an older cookie may be a thief.
    let browser = site.browser();
    let challenge = crate::common::bound::log_in(&browser, "carol").await;
    let old = browser.copy();
    browser.post("/rotate").await;
    let device = SoftwareDevice::es256();
    assert_eq!(register(&old, &device.register(&challenge)).await.status, StatusCode::FORBIDDEN);
    assert_eq!(register(&browser, &device.register(&challenge)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn b6_junk_and_old_bound_cookies_beside_the_valid_one_lock_no_user_out() {
    let site = site();
    let bound = Bound::new(&site, SoftwareDevice::es256()).await;
    let old = bound.browser.cookie_header().unwrap();
    let old = old.split("; ").find(|pair| pair.starts_with("__Host-id-bound=")).unwrap().to_owned();
    site.clock.advance(BOUND_COOKIE - SECOND);
    assert_eq!(bound.refresh().await.status, StatusCode::OK);
    site.clock.advance(SECOND);
    let good = bound.browser.cookie_header().unwrap();
    let junk = ["__Host-id-bound=", "__Host-id-bound=x", "__Host-id-bound=\"\"", &*old];
    for junk in [junk.join("; "), junk[..3].repeat(5).join("; ")] {
        let tab = site.browser();
        tab.set_cookies(Some(&format!("{junk}; {good}")));
        assert_eq!(tab.get("/me").await.body, "alice", "{junk}");
    }
    let tab = site.browser();
    tab.set_cookies(Some(&format!("{}; {old}", session_cookie(&bound.browser))));
    assert_eq!(tab.get("/me").await.reason().as_deref(), Some("unproven"));
}
