//! Regression tests for what a review found after all other tests had passed. Each says what it
//! guards.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    body::Body,
    http::{Request, StatusCode},
    routing::{get, post},
};
use tower_tenure::{
    Clock, EndReason, Error, Key, Lifetimes, MemoryStore, Mode, Outcome, Policy, Session, SessionLayer,
    events::{Event, EventKind, Operation},
    testing::{ManualClock, Probe},
};

use crate::common::{Door, Site, usual_routes};

const KEY: Key<u8> = Key::new("key");

/// Guards: the 503 after a failed commit dropped the Set-Cookie of an earlier, successful save.
#[tokio::test]
async fn s6_a_503_after_a_saved_rotation_or_login_still_hands_out_the_token() {
    let store = Probe::remote(MemoryStore::new());
    let failing = store.clone();
    let saved_then_lost = async move |session: &Session| {
        assert_eq!(session.save().await?, Outcome::Done);
        session.insert(&KEY, &1)?;
        failing.fail(Operation::Update, 1);
        Ok::<_, Error>(())
    };
    let (rotate, login) = (saved_then_lost.clone(), saved_then_lost);
    let routes = usual_routes()
        .route(
            "/saved-rotation",
            post(async move |session: Session| {
                session.rotate()?;
                rotate(&session).await
            }),
        )
        .route(
            "/saved-login",
            post(async move |session: Session| {
                session.login("alice").await?.accepted()?;
                login(&session).await
            }),
        );
    let site = Site::over(SessionLayer::new(store), routes, |layer| layer);
    for path in ["/saved-rotation", "/saved-login"] {
        let browser = site.browser();
        browser.post("/login/alice").await;
        assert_eq!(browser.post(path).await.status, StatusCode::SERVICE_UNAVAILABLE);
        site.clock.advance(Policy::DEFAULT_ROTATION_GRACE);
        assert_eq!(browser.get("/me").await.status, StatusCode::OK, "{path}");
    }
}

/// Guards: a request with the old secret was in flight when the grace ended, and its response
/// removed the new cookie.
#[tokio::test]
async fn c6_a_request_that_crossed_a_rotation_does_not_remove_the_new_cookie() {
    for grace in [Duration::ZERO, Policy::DEFAULT_ROTATION_GRACE] {
        let policy = Policy::default().with_rotation_grace(grace);
        let site = Site::with(|layer| layer.with_policy(policy));
        let browser = site.browser();
        browser.post("/login/alice").await;
        let (tab, thief) = (browser.copy(), browser.copy());
        browser.post("/rotate").await;

        site.clock.advance(grace);
        let late = tab.get("/me").await;
        assert_eq!((late.status, late.set_cookies()), (StatusCode::UNAUTHORIZED, vec![]), "{grace:?}");
        assert_eq!(browser.get("/me").await.status, StatusCode::OK);

        site.clock.advance(Duration::from_secs(10));
        assert!(thief.get("/me").await.removes_cookie(), "long after, it is a dead cookie");
    }
}

/// Guards: an interaction that was recorded before the handler ran lost its user agent.
#[tokio::test]
async fn a1_the_last_user_agent_is_kept_also_of_who_comes_back_late() {
    let clock = ManualClock::default();
    let layer = SessionLayer::new(MemoryStore::new()).with_clock(clock.clone());
    let layer = layer.with_policy(Policy::owasp_high_value());
    let sessions = layer.sessions();
    let site = Site::over(layer, usual_routes(), |layer| layer.with_clock(clock.clone()));
    let browser = site.browser();
    let request = |path: &str, agent| {
        Request::builder().uri(path).header("user-agent", agent).body(Body::empty()).unwrap()
    };
    let mut login = request("/login/alice", "first");
    *login.method_mut() = http::Method::POST;
    browser.request(login).await;

    clock.advance(Duration::from_secs(200)); // of 300
    assert_eq!(browser.request(request("/me", "second")).await.status, StatusCode::OK);
    let facts = &sessions.list(Some("alice"), None, 1).await.unwrap().sessions[0].facts;
    assert_eq!(facts.device.initial_user_agent.as_deref(), Some("first"));
    assert_eq!(facts.device.last.user_agent.as_deref(), Some("second"));
}

/// Guards: a logout ended the session while a login was in its handler, and the login emitted that
/// end again, as superseded.
#[tokio::test]
async fn o1_an_end_is_emitted_once_even_if_a_login_was_in_flight() {
    let door = Door::new();
    let inside = door.clone();
    let slow_login = post(async move |session: Session| {
        inside.pass().await;
        session.login("alice").await?.accepted()
    });
    let ends: Arc<Mutex<Vec<EndReason>>> = Arc::default();
    let seen = Arc::clone(&ends);
    let site = Site::over(
        SessionLayer::new(MemoryStore::new()),
        usual_routes().route("/slow-login", slow_login),
        |layer| {
            layer.with_observer_fn(move |event: &Event<'_>| {
                if let EventKind::Ended(reason) = event.kind {
                    seen.lock().unwrap().push(reason);
                }
            })
        },
    );
    let browser = site.browser();
    browser.post("/login/alice").await;
    let tab = browser.copy();
    let login = tokio::spawn(async move { tab.post("/slow-login").await });
    door.arrived().await;
    browser.post("/logout").await;
    door.open();
    assert_eq!(login.await.unwrap().status, StatusCode::OK);
    assert_eq!(*ends.lock().unwrap(), [EndReason::SignedOut]);
}

/// Guards: the first request that found a session expired saw another end time than the next one.
#[tokio::test]
async fn e3_the_time_of_an_end_is_the_deadline_for_every_request() {
    let past = get(async |session: Session| format!("{:?}", session.past().map(|past| past.ended_at)));
    let site =
        Site::over(SessionLayer::new(MemoryStore::new()), usual_routes().route("/past", past), |layer| layer);
    let browser = site.browser();
    browser.post("/login/alice").await;
    let deadline = site.clock.now() + Policy::default().effective(Mode::Persistent).idle();
    let tab = browser.copy();
    site.clock.advance(Duration::from_secs(100 * 3600));
    assert_eq!(browser.get("/past").await.body, format!("{:?}", Some(deadline)));
    site.clock.advance(Duration::from_secs(60));
    assert_eq!(tab.get("/past").await.body, format!("{:?}", Some(deadline)));
}

/// Guards: the sweep, one batch every 250 ms, fell behind when sessions were created faster.
#[tokio::test]
async fn a_memory_store_does_not_grow_however_fast_short_sessions_come() {
    let store = MemoryStore::new();
    let minute = Lifetimes::from_minutes(1, 1);
    let site = Site::over(SessionLayer::new(store.clone()), usual_routes(), |layer| {
        layer.with_policy(Policy::both(minute)).with_end_reason_retention(Duration::from_secs(300))
    });
    let visit = || Request::put("/data/x").body(Body::from("1")).unwrap();
    for _ in 0..5_000 {
        site.send(visit()).await;
    }
    site.clock.advance(Duration::from_secs(60 + 300 + 1));
    // Each request of a burst sweeps a part, although no time passes. The first round ends the
    // sessions, the second removes them.
    for round in 1..=2 {
        for _ in 0..100 {
            site.send(visit()).await;
        }
        assert!(round == 1 || store.len() == 200, "{} are left", store.len());
        site.clock.advance(Duration::from_secs(121));
    }
}

/// Guards: the store knew only the last replaced secret, and none once a login had ended the
/// session. So a request in flight during two such changes removed the newest cookie.
#[tokio::test]
async fn c4_a_request_that_crossed_several_new_cookies_removes_none() {
    for second in ["/rotate", "/login/alice"] {
        let site = Site::new();
        let browser = site.browser();
        browser.post("/login/alice").await;
        let tab = browser.copy();
        browser.post("/rotate").await;
        browser.post(second).await;
        assert_eq!(tab.get("/me").await.set_cookies(), [""; 0], "{second}");
        assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    }
}

/// Guards: beside a cookie from before the last rotation, a logout removed neither cookie.
#[tokio::test]
async fn c4_a_logout_removes_the_cookie_also_beside_an_old_copy_of_it() {
    let policy = Policy::default().with_rotation_grace(Duration::ZERO);
    let site = Site::with(|layer| layer.with_policy(policy));
    let browser = site.browser();
    browser.post("/login/alice").await;
    let old = browser.cookie_header().unwrap();
    browser.post("/rotate").await;
    let both = format!("{old}; {}", browser.cookie_header().unwrap());
    browser.set_cookies(Some(&both));
    assert!(browser.post("/logout").await.removes_cookie());
}

/// Guards: a login replaced the session while a logout was in its handler, and the logout removed
/// the login's cookie.
#[tokio::test]
async fn c4_a_logout_that_a_login_overtook_leaves_the_new_cookie() {
    let door = Door::new();
    let inside = door.clone();
    let slow_logout = post(async move |session: Session| {
        inside.pass().await;
        session.logout()
    });
    let routes = usual_routes().route("/slow-logout", slow_logout);
    let site = Site::over(SessionLayer::new(MemoryStore::new()), routes, |layer| layer);
    let browser = site.browser();
    browser.post("/login/alice").await;
    let tab = browser.copy();
    let logout = tokio::spawn(async move { tab.post("/slow-logout").await });
    door.arrived().await;
    browser.post("/login/alice").await;
    door.open();
    assert_eq!(logout.await.unwrap().set_cookies(), [""; 0]);
    assert_eq!(browser.get("/me").await.status, StatusCode::OK);
}

/// Guards: a logout while a save was creating the login's session was lost when the save completed.
#[tokio::test]
async fn h2_a_logout_during_the_save_of_a_login_ends_that_session() {
    for logged_in_before in [false, true] {
        let store = Probe::remote(MemoryStore::new());
        let holding = store.clone();
        let both = post(async move |session: Session| {
            session.login("alice").await?.accepted()?;
            let gate = holding.hold(Operation::Create);
            let clone = session.clone();
            let saving = tokio::spawn(async move { clone.save().await });
            gate.arrived().await;
            session.logout()?;
            gate.open();
            assert_eq!(saving.await.unwrap()?, Outcome::Done);
            Ok::<_, Error>(())
        });
        let routes = usual_routes().route("/both", both);
        let site = Site::over(SessionLayer::new(store), routes, |layer| layer);
        let browser = site.browser();
        if logged_in_before {
            browser.post("/login/bob").await;
        }
        assert_eq!(browser.post("/both").await.status, StatusCode::OK);
        assert_eq!(browser.get("/me").await.status, StatusCode::UNAUTHORIZED, "{logged_in_before}");
    }
}

/// Guards: a 503 still set every pending cookie. If only the answer to a logout was lost, the
/// browser got a new expiry for an ended session.
#[tokio::test]
async fn s4_a_logout_whose_answer_was_lost_refreshes_no_cookie() {
    let store = Probe::remote(MemoryStore::new());
    let hour = Lifetimes::from_minutes(60, 600);
    let site = Site::over(SessionLayer::new(store.clone()), usual_routes(), |layer| {
        layer.with_policy(Policy::both(hour))
    });
    let browser = site.browser();
    browser.post("/login/alice").await;
    site.clock.advance(Duration::from_secs(45 * 60)); // so that the interaction is recorded ahead
    store.lose_answers(Operation::End, 1);
    let reply = browser.post("/logout").await;
    assert_eq!((reply.status, reply.set_cookies()), (StatusCode::SERVICE_UNAVAILABLE, vec![]));
}

/// Guards: a login that was stored by the first attempt, and found by the second, was missing from
/// audit logs.
#[tokio::test]
async fn o1_a_login_whose_answer_was_lost_is_emitted_once() {
    let store = Probe::remote(MemoryStore::new());
    let lossy = store.clone();
    let login = post(async move |session: Session| {
        session.login("alice").await?.accepted()?;
        lossy.lose_answers(Operation::Create, 1);
        assert!(session.save().await.is_err());
        Ok::<_, Error>(())
    });
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let observed = Arc::clone(&seen);
    let routes = usual_routes().route("/lossy-login", login);
    let site = Site::over(SessionLayer::new(store), routes, |layer| {
        layer.with_observer_fn(move |event: &Event<'_>| {
            observed.lock().unwrap().push(event.kind.as_str().to_owned());
        })
    });
    let browser = site.browser();
    assert_eq!(browser.post("/lossy-login").await.status, StatusCode::OK);
    assert_eq!(browser.get("/me").await.body, "alice");
    assert_eq!(*seen.lock().unwrap(), ["store_failed", "created", "authenticated"]);
}

/// Guards: after the clock had stepped back, no sweep was due until it reached its old time again.
#[tokio::test]
async fn a_clock_that_steps_back_does_not_stop_the_sweeps() {
    let store = MemoryStore::new();
    let minute = Lifetimes::from_minutes(1, 1);
    let site = Site::over(SessionLayer::new(store.clone()), usual_routes(), |layer| {
        layer.with_policy(Policy::both(minute))
    });
    let visit = || Request::put("/data/x").body(Body::from("1")).unwrap();
    site.send(visit()).await;
    site.clock.step_back(Duration::from_secs(365 * 24 * 3600));
    for _ in 0..100 {
        site.send(visit()).await;
    }
    site.clock.advance(Duration::from_secs(24 * 3600));
    for _ in 0..4 {
        site.send(visit()).await;
        site.clock.advance(Duration::from_secs(121));
    }
    // The first session, created a year ahead, is live. Of the others only the last two rounds are
    // left: one that has just expired, and a tombstone.
    assert!(store.len() <= 5, "{} are left", store.len());
}
