//! The data of a session that timed out is kept for its user's next login (L13).

use std::time::Duration;

use axum::http::StatusCode;
use tower_tenure::{MemoryStore, Mode, Policy, SessionLayer, store::AnyStore};

use crate::common::{Browser, SECOND, Site, policy_of, stores, usual_routes};

const IDLE: Duration = Duration::from_secs(100);
const ABSOLUTE: Duration = Duration::from_secs(1000);
const RESUME: Duration = Duration::from_secs(600);

fn policy() -> Policy {
    policy_of(IDLE, ABSOLUTE).with_resume_for(RESUME)
}

fn site(store: impl Into<AnyStore>, policy: Policy) -> Site {
    Site::over(SessionLayer::new(store), usual_routes(), |layer| layer.with_policy(policy))
}

/// A browser in which alice has stored data, and whose session has expired since.
async fn timed_out(site: &Site) -> Browser {
    let browser = site.browser();
    assert_eq!(browser.post("/login/alice").await.status, StatusCode::OK);
    assert_eq!(browser.post("/add/draft").await.body, "1");
    site.clock.advance(IDLE);
    browser
}

#[tokio::test]
async fn l13_work_waits_unread_and_the_same_user_takes_it_over_once() {
    for seen_first in [true, false] {
        for swept in [true, false] {
            for store in stores() {
                let site = site(store, policy());
                let browser = timed_out(&site).await;
                if swept {
                    while !site.sessions.sweep(100).await.unwrap().finished {}
                }
                let before = browser.copy();
                if seen_first {
                    let reply = browser.get("/me").await;
                    assert_eq!(reply.reason().as_deref(), Some("idle"));
                    assert!(reply.set_cookies().is_empty(), "C4: no removal while work waits");
                    assert_eq!(browser.get("/data/draft").await.status, StatusCode::NOT_FOUND, "unreadable");
                }
                site.clock.advance(SECOND);
                assert_eq!(browser.post("/login/alice").await.status, StatusCode::OK);
                assert_eq!(browser.post("/add/draft").await.body, "2", "{seen_first} {swept}");
                // It is taken over only once.
                assert_eq!(before.post("/login/alice").await.status, StatusCode::OK);
                let drafts = before.post("/add/draft").await.body;
                // By the double-click rule the browser's second login replaces the first and takes
                // its data.
                assert_eq!(drafts, "3", "{seen_first} {swept}");
            }
        }
    }
}

#[tokio::test]
async fn l13_off_by_default_and_then_the_cookie_is_removed() {
    for store in stores() {
        let site = site(store, policy().with_resume_for(Duration::ZERO));
        let browser = timed_out(&site).await;
        assert!(browser.get("/me").await.removes_cookie());
        assert_eq!(browser.post("/login/alice").await.status, StatusCode::OK);
        assert_eq!(browser.post("/add/draft").await.body, "1");
    }
}

#[tokio::test]
async fn l13_nothing_is_taken_over_by_another_user_another_browser_or_after_its_time() {
    for store in stores() {
        let site = site(store, policy());
        let browser = timed_out(&site).await;
        let bob = browser.copy();
        assert_eq!(bob.post("/login/bob").await.status, StatusCode::OK);
        assert_eq!(bob.post("/add/draft").await.body, "1", "another user");
        let elsewhere = site.browser();
        assert_eq!(elsewhere.post("/login/alice").await.status, StatusCode::OK);
        assert_eq!(elsewhere.post("/add/draft").await.body, "1", "another browser");
        site.clock.advance(RESUME);
        let late = browser.copy();
        assert!(late.copy().get("/me").await.removes_cookie(), "C4: nothing waits any more");
        assert_eq!(late.post("/login/alice").await.status, StatusCode::OK);
        assert_eq!(late.post("/add/draft").await.body, "1", "after its time");
    }
}

#[tokio::test]
async fn l13_nothing_waits_of_a_session_that_was_signed_out_or_revoked() {
    for store in stores() {
        let site = site(store, policy());
        let browser = site.browser();
        let log_in = async || {
            assert_eq!(browser.post("/login/alice").await.status, StatusCode::OK);
            assert_eq!(browser.post("/add/draft").await.body, "1");
            browser.copy()
        };
        let tab = log_in().await;
        browser.post("/logout").await;
        assert_eq!(tab.post("/login/alice").await.status, StatusCode::OK);
        assert_eq!(tab.get("/data/draft").await.status, StatusCode::NOT_FOUND, "signed out");

        browser.set_cookies(None);
        let tab = log_in().await;
        site.clock.advance(SECOND);
        site.sessions.revoke_all("alice", None).await.unwrap();
        site.clock.advance(SECOND);
        assert_eq!(tab.post("/login/alice").await.status, StatusCode::OK);
        assert_eq!(tab.get("/data/draft").await.status, StatusCode::NOT_FOUND, "revoked");

        // The session timed out first, and then all the user's sessions were revoked.
        for everybody in [false, true] {
            browser.set_cookies(None);
            let tab = log_in().await;
            site.clock.advance(IDLE);
            assert_eq!(tab.get("/me").await.reason().as_deref(), Some("idle"));
            if everybody {
                site.sessions.revoke_everybody().await.unwrap();
            } else {
                site.sessions.revoke_all("alice", None).await.unwrap();
            }
            site.clock.advance(SECOND);
            assert_eq!(tab.post("/login/alice").await.status, StatusCode::OK);
            assert_eq!(tab.get("/data/draft").await.status, StatusCode::NOT_FOUND, "everybody: {everybody}");
        }
    }
}

#[tokio::test]
async fn l13_c2_a_persistent_cookie_lives_longer_than_its_session_by_the_time_that_work_waits() {
    let site = site(MemoryStore::new(), policy().with_default_mode(Mode::Persistent));
    let browser = site.browser();
    let reply = browser.post("/login/alice").await;
    let cookie = reply.set_cookies()[0].to_owned();
    assert!(cookie.contains(&format!("Max-Age={}", (IDLE + RESUME).as_secs())), "{cookie}");
    // An anonymous session has no user who could log in again, so its data is not kept.
    let visitor = site.browser();
    assert_eq!(visitor.post("/add/draft").await.body, "1");
    site.clock.advance(IDLE);
    assert!(visitor.get("/").await.removes_cookie());
}
