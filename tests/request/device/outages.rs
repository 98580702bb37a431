//! The store fails at each step: 503, nothing is lost, and a retry succeeds (SPEC B5, S6).

use axum::http::StatusCode;
use tower_tenure::{
    DeviceBinding, MemoryStore,
    events::Operation::{Load, Update},
    testing::Probe,
};

use super::{BOUND_COOKIE, GRACE};
use crate::common::{
    Reply, SoftwareDevice,
    bound::{Bound, challenge_of, log_in, refresh, register, site_over},
};

fn assert_away(reply: &Reply) {
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{}", reply.body);
    assert_eq!(reply.set_cookies(), [""; 0]);
    assert!(reply.headers.get("secure-session-challenge").is_none());
    assert!(!reply.body.contains("continue"), "{}", reply.body);
}

#[tokio::test]
async fn b4_s6_a_registration_that_the_store_does_not_answer_can_be_sent_again() {
    for device in super::hostile::devices() {
        let store = Probe::remote(MemoryStore::new());
        let site = site_over(store.clone(), DeviceBinding::enforce());
        let browser = site.browser();
        let proof = device.register(&log_in(&browser, "alice").await);
        store.fail(Load, 1);
        assert_away(&register(&browser, &proof).await);
        store.fail(Update, 1);
        assert_away(&register(&browser, &proof).await);
        assert_eq!(browser.get("/bound").await.status, StatusCode::UNAUTHORIZED);
        // It took effect, but the answer was lost.
        store.lose_answers(Update, 1);
        assert_away(&register(&browser, &proof).await);
        assert_eq!(register(&browser, &proof).await.status, StatusCode::OK);
        assert_eq!(browser.get("/bound").await.body, "bound");
        site.clock.advance(BOUND_COOKIE);
        assert_eq!(browser.get("/me").await.reason().as_deref(), Some("unproven"));
    }
}

#[tokio::test]
async fn b5_s6_a_refresh_that_the_store_does_not_answer_can_be_sent_again() {
    for device in super::hostile::devices() {
        let store = Probe::remote(MemoryStore::new());
        let site = site_over(store.clone(), DeviceBinding::enforce());
        let bound = Bound::new(&site, device).await;
        site.clock.advance(BOUND_COOKIE);
        store.fail(Load, 1);
        assert_away(&refresh(&bound.browser, &bound.sid, None).await);
        let challenge = challenge_of(&refresh(&bound.browser, &bound.sid, None).await);
        let proof = bound.device.refresh(&challenge);
        store.fail(Load, 2);
        assert_away(&refresh(&bound.browser, &bound.sid, Some(&proof)).await);
        assert_away(&bound.browser.get("/me").await);
        assert_eq!(refresh(&bound.browser, &bound.sid, Some(&proof)).await.status, StatusCode::OK);
        assert_eq!(bound.browser.get("/me").await.body, "alice");
    }
}

/// A node whose clock disagrees with the store's cannot decide that a session is over. So it makes
/// no browser discard its key.
#[tokio::test]
async fn s12_b5_a_node_with_a_wrong_clock_makes_no_browser_forget_its_key() {
    let store = Probe::remote(MemoryStore::new());
    let clock = tower_tenure::testing::ManualClock::default();
    store.keep_time(clock.clone());
    let node = |ahead| {
        let clock = super::lifetimes::Wall(clock.clone(), ahead);
        crate::common::bound::site_with(
            store.clone(),
            DeviceBinding::enforce(),
            crate::common::policy(),
            |layer| layer.with_clock(clock),
        )
    };
    let (right, wrong) = (node(std::time::Duration::ZERO), node(8 * crate::common::DAY));
    let bound = Bound::new(&right, SoftwareDevice::es256()).await;
    clock.advance(GRACE);
    let reply = refresh(&bound.browser.at(&wrong), &bound.sid, None).await;
    assert_eq!(
        (reply.status, reply.set_cookies().len()),
        (StatusCode::TOO_MANY_REQUESTS, 0),
        "{}",
        reply.body
    );
    assert_eq!(bound.refresh().await.status, StatusCode::OK);
}
