//! Every lifetime of device binding, with the manual clock (SPEC B3, B4, B5, B6).

use std::time::Duration;

use axum::http::StatusCode;
use tower_tenure::{DeviceBinding, MemoryStore, Mode, Policy, testing::ManualClock};

use super::{BOUND_COOKIE, GRACE, site};
use crate::common::{
    HOUR, MINUTE, SECOND, Site, SoftwareDevice, TICK,
    bound::{Bound, challenge_of, log_in, refresh, register, site_with},
    policy_of,
};

const CHALLENGE: Duration = Duration::from_secs(300);

#[tokio::test]
async fn b3_the_offer_of_a_login_is_good_for_five_minutes() {
    for device in super::hostile::devices() {
        let site = site();
        let [early, late] = [site.browser(), site.browser()];
        let [first, second] = [log_in(&early, "alice").await, log_in(&late, "bob").await];
        site.clock.advance(CHALLENGE - TICK);
        assert_eq!(register(&early, &device.register(&first)).await.status, StatusCode::OK);
        site.clock.advance(TICK);
        let reply = register(&late, &device.register(&second)).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN);
        assert_eq!(late.get("/me").await.body, "bob", "not bound, and served as before");
        // The first answer was lost, and the same proof is sent again too late.
        let reply = register(&early, &device.register(&first)).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN);
    }
}

#[tokio::test]
async fn b3_of_two_challenges_the_one_before_the_last_is_good_too() {
    let site = site();
    let bound = Bound::new(&site, SoftwareDevice::es256()).await;
    let before = bound.challenge().await;
    site.clock.advance(MINUTE);
    let last = bound.challenge().await;
    assert_ne!(before, last);
    for challenge in [&last, &before, &last] {
        let reply = refresh(&bound.browser, &bound.sid, Some(&bound.device.refresh(challenge))).await;
        assert_eq!(reply.status, StatusCode::OK);
    }
}

/// Two nodes with differing clocks over a store without a clock, so there is nothing to compare
/// with.
fn nodes(ahead: Duration) -> [Site; 2] {
    let store = MemoryStore::new();
    let nodes = [0, 1].map(|_| site_with(store.clone(), DeviceBinding::enforce(), lasting(), |layer| layer));
    nodes[1].clock.advance(ahead);
    nodes
}

fn lasting() -> Policy {
    policy_of(HOUR, 2 * HOUR).with_default_mode(Mode::NonPersistent)
}

#[tokio::test]
async fn b3_clocks_of_nodes_may_be_apart_by_thirty_seconds() {
    for (ahead, works) in [(2 * SECOND, true), (30 * SECOND, true), (30 * SECOND + TICK, false)] {
        let [here, ahead_node] = nodes(ahead);
        let bound = Bound::new(&here, SoftwareDevice::es256()).await;
        let there = bound.browser.at(&ahead_node);
        // A challenge from the node that is ahead lies in the future here.
        let challenge = challenge_of(&refresh(&there, &bound.sid, None).await);
        let reply = refresh(&bound.browser, &bound.sid, Some(&bound.device.refresh(&challenge))).await;
        assert_eq!(reply.status == StatusCode::OK, works, "{ahead:?}");
        assert_eq!(reply.status == StatusCode::FORBIDDEN, !works, "{ahead:?}");
        // In the other direction it is only older.
        let challenge = bound.challenge().await;
        let reply = refresh(&there, &bound.sid, Some(&bound.device.refresh(&challenge))).await;
        assert_eq!(reply.status, StatusCode::OK, "{ahead:?}");
        // The same holds for the offer of a login.
        let challenge = log_in(&there, "bob").await;
        let reply = register(&there.at(&here), &SoftwareDevice::es256().register(&challenge)).await;
        assert_eq!(reply.status == StatusCode::OK, works, "{ahead:?}");
    }
}

/// If the store has a clock, challenges carry the store's time.
#[tokio::test]
async fn s12_b3_b6_with_a_clock_of_the_store_nodes_may_be_further_apart() {
    for apart in [2 * SECOND, 29 * SECOND] {
        let store = tower_tenure::testing::Probe::remote(MemoryStore::new());
        let clock = ManualClock::default();
        store.keep_time(clock.clone());
        let nodes = [0, 1].map(|_| {
            site_with(store.clone(), DeviceBinding::enforce(), lasting(), |layer| {
                layer.with_clock(Wall(clock.clone(), Duration::ZERO))
            })
        });
        let ahead = site_with(store.clone(), DeviceBinding::enforce(), lasting(), |layer| {
            layer.with_clock(Wall(clock.clone(), apart))
        });
        let bound = Bound::new(&nodes[0], SoftwareDevice::es256()).await;
        let there = bound.browser.at(&ahead);
        for _ in 0..3 {
            clock.advance(BOUND_COOKIE - TICK);
            assert_eq!(there.get("/me").await.body, "alice", "{apart:?}");
            assert_eq!(bound.browser.get("/me").await.body, "alice");
            clock.advance(TICK);
            assert_eq!(there.get("/me").await.reason().as_deref(), Some("unproven"), "{apart:?}");
            let challenge = challenge_of(&refresh(&there, &bound.sid, None).await);
            let reply = refresh(&bound.browser, &bound.sid, Some(&bound.device.refresh(&challenge))).await;
            assert_eq!(reply.status, StatusCode::OK, "{apart:?}");
            there.set_cookies(bound.browser.cookie_header().as_deref());
        }
    }
}

/// A node's clock, ahead of a manual one, which the node compares with the store's clock.
#[derive(Clone, Debug)]
pub(super) struct Wall(pub(super) ManualClock, pub(super) Duration);

impl tower_tenure::Clock for Wall {
    fn now(&self) -> tower_tenure::Timestamp {
        self.0.now() + self.1
    }
}

#[tokio::test]
async fn b4_the_bound_cookie_is_valid_for_its_lifetime_and_the_browser_drops_it_first() {
    for (lifetime, max_age) in [
        (Duration::from_secs(1), 1),
        (Duration::from_millis(1500), 1),
        (Duration::from_secs(4), 4),
        (Duration::from_secs(60), 59),
        (Duration::from_secs(600), 595),
        (24 * HOUR, 24 * 3600 - 5),
    ] {
        let binding = DeviceBinding::enforce().with_cookie_lifetime(lifetime).unwrap();
        let site = site_with(MemoryStore::new(), binding, policy_of(50 * HOUR, 100 * HOUR), |layer| layer);
        let bound = Bound::new(&site, SoftwareDevice::es256()).await;
        site.clock.advance(GRACE);
        let reply = bound.refresh().await;
        let lines = reply.set_cookies();
        assert!(lines[0].ends_with(&format!("; Max-Age={max_age}")), "{lines:?}");
        site.clock.advance(lifetime - TICK);
        assert_eq!(bound.browser.get("/me").await.body, "alice", "{lifetime:?}");
        site.clock.advance(TICK);
        assert_eq!(bound.browser.get("/me").await.reason().as_deref(), Some("unproven"), "{lifetime:?}");
    }
    for wrong in [Duration::ZERO, Duration::from_millis(999), 24 * HOUR + TICK] {
        assert!(DeviceBinding::observe().with_cookie_lifetime(wrong).is_err(), "{wrong:?}");
    }
}

/// A session's lifetime follows its policy alone. Refreshes extend nothing, and the cookie's
/// attributes follow the session's mode.
#[tokio::test]
async fn b5_l2_both_deadlines_hold_while_the_device_refreshes() {
    for mode in [Mode::Persistent, Mode::NonPersistent] {
        let policy = policy_of(20 * MINUTE, HOUR).with_default_mode(mode);
        // Idle: the session is refreshed but not used.
        let site = site_with(MemoryStore::new(), DeviceBinding::enforce(), policy, |layer| layer);
        let bound = Bound::new(&site, SoftwareDevice::es256()).await;
        for _ in 0..3 {
            site.clock.advance(5 * MINUTE);
            let reply = bound.refresh().await;
            assert_eq!(reply.status, StatusCode::OK);
            assert_eq!(reply.set_cookies().len(), 1, "only the bound one: {:?}", reply.set_cookies());
        }
        site.clock.advance(5 * MINUTE - TICK);
        let challenge = bound.challenge().await;
        site.clock.advance(TICK);
        let reply = refresh(&bound.browser, &bound.sid, Some(&bound.device.refresh(&challenge))).await;
        assert_eq!((reply.status, &*reply.body), (StatusCode::OK, r#"{"continue": false}"#), "{mode:?}");

        // Absolute: the session is refreshed and used.
        let site = site_with(MemoryStore::new(), DeviceBinding::enforce(), policy, |layer| layer);
        let bound = Bound::new(&site, SoftwareDevice::es256()).await;
        for _ in 0..11 {
            site.clock.advance(5 * MINUTE);
            assert_eq!(bound.refresh().await.status, StatusCode::OK);
            let reply = bound.browser.get("/me").await;
            assert_eq!(reply.body, "alice");
            assert!(reply.set_cookies().iter().all(|line| line.starts_with("__Host-id=")));
        }
        site.clock.advance(5 * MINUTE);
        let reply = refresh(&bound.browser, &bound.sid, None).await;
        assert_eq!(&*reply.body, r#"{"continue": false}"#, "{mode:?}");
        assert_eq!(bound.browser.get("/me").await.reason().as_deref(), Some("absolute"), "{mode:?}");
    }
}
