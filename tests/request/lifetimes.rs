//! Lifetimes as a browser sees them (SPEC L1 to L3, L9, L10, E3). `tests/rules/lifetimes_grid.rs`
//! tests the arithmetic.

use http::StatusCode;

use crate::common::{ABSOLUTE, IDLE, Site, TICK, policy};

fn site() -> Site {
    Site::with(|layer| layer.with_policy(policy()))
}

#[tokio::test]
async fn l2_l3_a_read_extends_the_idle_deadline_and_the_session_is_over_exactly_at_it() {
    let site = site();
    let browser = site.browser();
    browser.post("/login/alice").await;
    for _ in 0..2 {
        site.clock.advance(IDLE - TICK);
        assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    }
    site.clock.advance(IDLE);
    let reply = browser.get("/me").await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert_eq!(reply.reason().as_deref(), Some("idle"));
    assert!(reply.removes_cookie());
}

#[tokio::test]
async fn l2_l3_no_activity_extends_the_absolute_deadline() {
    let site = site();
    let browser = site.browser();
    browser.post("/login/alice").await;
    for _ in 0..5 {
        site.clock.advance(ABSOLUTE / 6);
        assert_eq!(browser.post("/rotate").await.status, StatusCode::OK);
    }
    site.clock.advance(ABSOLUTE / 6 - TICK);
    assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    site.clock.advance(TICK);
    assert_eq!(browser.get("/me").await.reason().as_deref(), Some("absolute"));
}

#[tokio::test]
async fn l3_a_login_restarts_both_clocks() {
    let site = site();
    let browser = site.browser();
    browser.post("/login/alice").await;
    site.clock.advance(IDLE - TICK);
    browser.post("/login/alice").await;
    for _ in 0..4 {
        site.clock.advance(IDLE - TICK);
        assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn l10_an_end_that_was_reported_stays_when_the_clock_steps_back() {
    let site = site();
    let browser = site.browser();
    browser.post("/login/alice").await;
    let witness = browser.copy();
    site.clock.advance(IDLE);
    assert_eq!(witness.get("/me").await.reason().as_deref(), Some("idle"));
    site.clock.step_back(IDLE / 2);
    assert_eq!(browser.get("/me").await.reason().as_deref(), Some("idle"));
}
