//! Inputs that were once handled wrongly, each with the right answer.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Path,
    http::{HeaderName, HeaderValue, Method, Request, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tower_tenure::{
    EndReason, Error, Key, MemoryStore, Session, SessionLayer,
    events::{Event, EventKind, Operation},
    policy::{Cap, Overflow},
    testing::{ManualClock, Probe},
};

use crate::common::{Browser, Door, IDLE, MINUTE, SECOND, Site, policy, stores, usual_routes};

/// Handlers that write, or only read, after they have waited at a door.
fn slow_routes(door: &Door) -> Router {
    let (writing, looking) = (door.clone(), door.clone());
    let write = async move |session: Session| {
        writing.pass().await;
        session.insert(&Key::new("late"), &1)
    };
    let look = async move || looking.pass().await;
    usual_routes().route("/slow-write", post(write)).route("/slow-look", get(look))
}

/// C1. Interleaving: a slow request with a dead cookie is in its handler while the same browser
/// logs in.
#[tokio::test]
async fn c4_the_slow_answer_to_a_dead_cookie_leaves_the_cookie_of_a_login_alone() {
    for store in stores() {
        let door = Door::new();
        let site =
            Site::over(SessionLayer::new(store), slow_routes(&door), |layer| layer.with_policy(policy()));
        for (method, path) in [(Method::GET, "/slow-look"), (Method::POST, "/slow-write")] {
            let browser = site.log_in("alice").await;
            site.clock.advance(IDLE);
            let slow = browser.copy().spawn(method, path);
            door.arrived().await;
            assert_eq!(browser.post("/login/alice").await.status, StatusCode::OK);
            door.open();
            assert_eq!(slow.await.unwrap().set_cookies(), [""; 0], "{path}");
            assert_eq!(browser.get("/me").await.status, StatusCode::OK);
            assert_eq!(site.live(Some("alice")).await, 1);
            assert_eq!(site.live(None).await, 1, "no session is left behind for what was written");
            // Without a login in between, the dead cookie is removed or replaced by that of an
            // anonymous session.
            browser.post("/logout").await;
        }
    }
}

/// A double click on a login page to which an expired session redirected.
#[tokio::test]
async fn s9_of_two_logins_with_the_same_dead_cookie_one_session_is_left() {
    for store in stores() {
        let site = Site::over(SessionLayer::new(store), usual_routes(), |layer| layer.with_policy(policy()));
        let browser = site.log_in("alice").await;
        site.clock.advance(IDLE);
        let other = browser.copy();
        assert_eq!(browser.post("/login/alice").await.status, StatusCode::OK);
        assert_eq!(other.post("/login/alice").await.status, StatusCode::OK);
        assert_eq!(site.live(Some("alice")).await, 1);
        assert_eq!(other.get("/me").await.status, StatusCode::OK);
        // A login does not end the session of another user.
        other.post("/logout").await;
        let browser = site.log_in("bob").await;
        site.clock.advance(IDLE);
        let other = browser.copy();
        browser.post("/login/bob").await;
        other.post("/login/carol").await;
        assert_eq!(browser.get("/me").await.body, "bob");
        assert_eq!(other.get("/me").await.body, "carol");
    }
}

/// C2 and C3: the answers of a timeout layer and of a gRPC service after the handler has failed.
#[tokio::test]
async fn h3_a_timeout_and_a_failed_grpc_call_drop_writes_and_logins() {
    async fn act(session: Session, Path(answer): Path<String>) -> Result<Response, Error> {
        session.login("alice").await?.accepted()?;
        session.insert(&Key::new("written"), &1)?;
        let mut response = ().into_response();
        match answer.as_str() {
            "grpc-0" | "grpc-5" => {
                let status = HeaderValue::from_str(&answer[5..]).unwrap();
                response.headers_mut().insert("grpc-status", status);
            }
            status => *response.status_mut() = status.parse().unwrap(),
        }
        Ok(response)
    }
    let routes = usual_routes().route("/act/{answer}", post(act));
    let teapot = |status: StatusCode, _: &_| status == StatusCode::IM_A_TEAPOT;
    for store in stores() {
        let site = Site::over(SessionLayer::new(store), routes.clone(), |layer| layer.with_failure(teapot));
        for (answer, is_kept) in [
            ("200", true),
            ("404", true),
            ("grpc-0", true),
            ("408", false),
            ("500", false),
            ("503", false),
            ("grpc-5", false),
            ("418", false),
        ] {
            let browser = site.browser();
            let reply = browser.post(&format!("/act/{answer}")).await;
            assert_eq!(reply.set_cookies().len(), usize::from(is_kept), "{answer}");
            let status = browser.get("/me").await.status;
            assert_eq!(status == StatusCode::OK, is_kept, "{answer}");
        }
    }
}

/// C4: an update after a login that the cap refused returns the refusal.
#[tokio::test]
async fn s9_an_update_after_a_refused_login_is_refused_and_not_ended() {
    async fn act(session: Session) -> Result<(), Error> {
        session.login("alice").await?.accepted()?;
        session.update(&Key::<u64>::new("count"), |count| count.unwrap_or(0) + 1).await.map(drop)
    }
    let cap = Cap::new(1.try_into().unwrap(), Overflow::Refuse);
    let routes = usual_routes().route("/act", post(act));
    let site = Site::over(SessionLayer::new(MemoryStore::new()), routes, |layer| {
        layer.with_policy(policy().with_cap(Some(cap)))
    });
    let first = site.log_in("alice").await;
    assert_eq!(first.get("/me").await.status, StatusCode::OK);
    assert_eq!(site.browser().post("/act").await.status, StatusCode::FORBIDDEN);
}

fn unknown_token(letter: char) -> String {
    format!("__Host-id={}", letter.to_string().repeat(64))
}

/// C5: unknown tokens before the valid one.
#[tokio::test]
async fn c5_many_unknown_tokens_before_the_good_one_remove_no_cookie() {
    let site = Site::new();
    let browser = site.log_in("alice").await;
    let good = browser.cookie_header().unwrap();
    for unknown in 0..6 {
        let mut cookies: Vec<_> = ('A'..).take(unknown).map(unknown_token).collect();
        cookies.push(good.clone());
        let request = Request::get("/me").header(header::COOKIE, cookies.join("; "));
        let reply = site.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(reply.status == StatusCode::OK, unknown < 3, "{unknown}");
        assert_eq!(reply.set_cookies(), [""; 0], "{unknown}");
    }
    // If the only three cookies are all unknown, they are removed.
    let cookies: Vec<_> = ('A'..).take(3).map(unknown_token).collect();
    let request = Request::get("/me").header(header::COOKIE, cookies.join("; "));
    assert!(site.send(request.body(Body::empty()).unwrap()).await.removes_cookie());
}

/// A site whose observer records the events of sessions.
fn observed(set: impl FnOnce(SessionLayer) -> SessionLayer) -> (Site, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::<Mutex<Vec<_>>>::default();
    let log = Arc::clone(&seen);
    let rotate_now = post(async |session: Session| session.rotate_now());
    let both = post(async |session: Session, Path(now_first): Path<bool>| {
        if now_first {
            session.rotate_now()?;
        }
        session.rotate()?;
        if now_first { Ok(()) } else { session.rotate_now() }
    });
    let site = Site::over(
        SessionLayer::new(MemoryStore::new()),
        usual_routes().route("/rotate-now", rotate_now).route("/rotate-twice/{now_first}", both),
        |layer| {
            set(layer.with_policy(policy()).with_observer_fn(move |event: &Event<'_>| {
                let name = match event.kind {
                    EventKind::Ended(reason) => format!("ended {reason}"),
                    kind => kind.as_str().to_owned(),
                };
                log.lock().unwrap().push(name);
            }))
        },
    );
    (site, seen)
}

/// C6: after a change of privileges the old secret is invalid at once.
#[tokio::test]
async fn h6_rotate_now_leaves_the_old_secret_no_grace() {
    let (site, seen) = observed(|layer| layer);
    let browser = site.log_in("alice").await;
    let old = browser.copy();
    browser.post("/rotate-now").await;
    let reply = old.get("/me").await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert!(reply.set_cookies().is_empty(), "the browser has the new cookie by now");
    assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    assert!(seen.lock().unwrap().contains(&"secret_reused".to_owned()));
    // Within the grace the same request is not an event.
    let (site, seen) = observed(|layer| layer);
    let browser = site.log_in("alice").await;
    let old = browser.copy();
    browser.post("/rotate").await;
    assert_eq!(old.get("/me").await.status, StatusCode::OK);
    assert!(!seen.lock().unwrap().contains(&"secret_reused".to_owned()));
}

#[tokio::test]
async fn h6_of_two_rotations_in_one_request_the_stricter_one_counts() {
    for order in ["true", "false"] {
        let (site, _) = observed(|layer| layer);
        let browser = site.log_in("alice").await;
        let old = browser.copy();
        browser.post(&format!("/rotate-twice/{order}")).await;
        assert_eq!(old.get("/me").await.status, StatusCode::UNAUTHORIZED, "{order}");
        assert_eq!(browser.get("/me").await.status, StatusCode::OK, "{order}");
    }
}

#[tokio::test]
async fn h6_a_secret_that_comes_back_after_its_grace_is_an_event_and_ends_the_session_if_asked_to() {
    for ends in [false, true] {
        let (site, seen) = observed(|layer| if ends { layer.with_end_on_secret_reuse() } else { layer });
        let browser = site.log_in("alice").await;
        let old = browser.copy();
        browser.post("/rotate").await;
        // Past the grace, but the request may have been in flight.
        site.clock.advance(11 * SECOND);
        assert_eq!(old.copy().get("/me").await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(browser.get("/me").await.status, StatusCode::OK);
        assert_eq!(seen.lock().unwrap().iter().filter(|name| *name == "secret_reused").count(), 1);
        site.clock.advance(MINUTE);
        assert_eq!(old.get("/me").await.status, StatusCode::UNAUTHORIZED);
        let reply = browser.get("/me").await;
        if ends {
            assert_eq!(reply.reason().as_deref(), Some(EndReason::Revoked.as_str()));
        } else {
            assert_eq!(reply.status, StatusCode::OK);
        }
        let ended = seen.lock().unwrap().contains(&"ended revoked".to_owned());
        assert_eq!(ended, ends);
    }
}

/// C8: caches with their own control headers.
#[tokio::test]
async fn c8_no_cache_keeps_a_response_with_our_cookie() {
    const TARGETED: [&str; 5] = [
        "cdn-cache-control",
        "cloudflare-cdn-cache-control",
        "surrogate-control",
        "edge-control",
        "x-accel-expires",
    ];
    async fn public(session: Session, sets: bool) -> Result<Response, Error> {
        if sets {
            session.login("alice").await?.accepted()?;
        }
        let mut response = ().into_response();
        for name in TARGETED {
            let name = HeaderName::from_static(name);
            response.headers_mut().insert(name, HeaderValue::from_static("public, max-age=60"));
        }
        Ok(response)
    }
    let routes = usual_routes()
        .route("/with", post(async |session: Session| public(session, true).await))
        .route("/without", get(async |session: Session| public(session, false).await));
    let site = Site::over(SessionLayer::new(MemoryStore::new()), routes, |layer| layer);
    let browser = site.browser();
    let without = browser.get("/without").await;
    let with = browser.post("/with").await;
    for name in TARGETED {
        assert!(without.headers.contains_key(name), "{name}");
        assert!(!with.headers.contains_key(name), "{name}");
    }
    assert_eq!(with.headers[header::CACHE_CONTROL], "no-store");
}

/// C12: an audit log that panics.
#[tokio::test]
async fn o1_an_observer_that_panics_affects_no_request() {
    let received = Arc::<Mutex<usize>>::default();
    let count = Arc::clone(&received);
    let site = Site::with(|layer| {
        layer
            .with_observer_fn(|event: &Event<'_>| {
                assert!(!matches!(event.kind, EventKind::Ended(_)), "the disk of the audit log is full");
            })
            .with_observer_fn(move |_: &Event<'_>| *count.lock().unwrap() += 1)
    });
    let browser = site.log_in("alice").await;
    let before = *received.lock().unwrap();
    assert_eq!(browser.post("/logout").await.status, StatusCode::OK);
    assert_eq!(browser.get("/me").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(*received.lock().unwrap(), before + 1, "the later observers receive the end");
}

/// C15: a `Sessions` handle that was created before the layer was complete.
#[tokio::test]
async fn sessions_follow_what_is_set_on_their_layer_later() {
    let (clock, ended) = (ManualClock::default(), Arc::<Mutex<usize>>::default());
    let layer = SessionLayer::new(MemoryStore::new()).with_policy(policy());
    let sessions = layer.sessions();
    let unchanged = layer.clone().sessions();
    let count = Arc::clone(&ended);
    let layer = layer.with_realm("later").with_observer_fn(move |event: &Event<'_>| {
        *count.lock().unwrap() += usize::from(matches!(event.kind, EventKind::Ended(_)));
    });
    let site = Site::over(layer, usual_routes(), |layer| layer.with_clock(clock.clone()));
    assert_eq!((&*sessions.realm(), &*unchanged.realm()), ("later", "__Host-id"));
    let browser = site.browser();
    browser.post("/login/alice").await;
    let sid = site.sessions.list(None, None, 1).await.unwrap().sessions[0].sid;
    assert!(sessions.load(sid).await.unwrap().is_some(), "by the layer's clock it is live");
    assert!(sessions.revoke(sid).await.unwrap());
    assert_eq!(*ended.lock().unwrap(), 1, "the layer's observer receives it");
}

/// H7: a WebSocket with an active user.
#[tokio::test]
async fn h7_a_long_connection_keeps_its_session_alive_and_does_not_revive_it() {
    let kept = Arc::<Mutex<Option<Session>>>::default();
    let keep = Arc::clone(&kept);
    let connect = get(async move |session: Session| *keep.lock().unwrap() = Some(session));
    let store = Probe::remote(MemoryStore::new());
    let routes = usual_routes().route("/connect", connect);
    let site = Site::over(SessionLayer::new(store.clone()), routes, |layer| {
        layer.with_policy(policy().with_granularity(10 * SECOND))
    });
    let browser: Browser = site.log_in("alice").await;
    browser.get("/connect").await;
    let session = kept.lock().unwrap().take().unwrap();
    for _ in 0..3 {
        site.clock.advance(IDLE - 2 * SECOND);
        session.touch().await.unwrap();
        store.take_calls();
        // Within the granularity there is no call to the store.
        site.clock.advance(SECOND);
        session.touch().await.unwrap();
        assert_eq!(store.take_calls(), [] as [Operation; 0]);
    }
    assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    site.clock.advance(IDLE - SECOND);
    store.fail(Operation::Load, 1);
    assert!(session.touch().await.unwrap_err().is_store_failure());
    site.clock.advance(2 * SECOND);
    assert_eq!(session.touch().await.unwrap_err().kind(), tower_tenure::ErrorKind::Ended);
    assert_eq!(browser.get("/me").await.reason().as_deref(), Some("idle"));
    // A session that was ended elsewhere is not revived either.
    let browser = site.log_in("bob").await;
    browser.get("/connect").await;
    let session = kept.lock().unwrap().take().unwrap();
    browser.copy().post("/logout").await;
    site.clock.advance(Duration::from_secs(60));
    assert_eq!(session.touch().await.unwrap_err().kind(), tower_tenure::ErrorKind::Ended);
}

/// A write with a dead cookie re-reads the session. If that load fails, the response is 503, and a
/// retry succeeds.
#[tokio::test]
async fn s6_a_write_after_a_failed_look_at_a_dead_cookie_is_not_lost_in_silence() {
    let door = Door::new();
    let store = Probe::remote(MemoryStore::new());
    let site =
        Site::over(SessionLayer::new(store.clone()), slow_routes(&door), |layer| layer.with_policy(policy()));
    let browser = site.log_in("alice").await;
    site.clock.advance(IDLE);
    let slow = browser.copy().spawn(Method::POST, "/slow-write");
    door.arrived().await;
    store.fail(Operation::Load, 2);
    door.open();
    let reply = slow.await.unwrap();
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(reply.set_cookies(), [""; 0]);
    let slow = browser.spawn(Method::POST, "/slow-write");
    door.arrived().await;
    door.open();
    assert_eq!(slow.await.unwrap().set_cookies().len(), 1);
}

/// C5: a visitor with more cookies than the layer reads can still store data.
#[tokio::test]
async fn c5_a_write_beside_many_unknown_tokens_is_kept() {
    let site = Site::new();
    let cookies: Vec<_> = ('A'..).take(6).map(unknown_token).collect();
    let request = Request::put("/data/cart").header(header::COOKIE, cookies.join("; "));
    let reply = site.send(request.body(Body::from("one")).unwrap()).await;
    assert_eq!((reply.status, reply.set_cookies().len()), (StatusCode::OK, 1));
}

/// C5: a logout ends every session that the request's cookies prove, whatever else its handler
/// does.
#[tokio::test]
async fn c5_a_logout_that_also_writes_ends_the_sessions_of_all_cookies() {
    let act = post(async |session: Session| {
        session.logout()?;
        session.insert(&Key::new("flash"), &"signed out")
    });
    for store in stores() {
        let routes = usual_routes().route("/sign-out", act.clone());
        let site = Site::over(SessionLayer::new(store), routes, |layer| layer.with_policy(policy()));
        let (alice, bob) = (site.log_in("alice").await, site.log_in("bob").await);
        let both = [alice.cookie_header().unwrap(), bob.cookie_header().unwrap()].join("; ");
        let browser = site.browser();
        browser.set_cookies(Some(&both));
        assert_eq!(browser.post("/sign-out").await.status, StatusCode::OK);
        for user in ["alice", "bob"] {
            assert_eq!(site.live(Some(user)).await, 0, "{user}");
        }
    }
}

/// L13 and L14: no request saw the expiry before all users were signed out.
#[tokio::test]
async fn l13_work_of_a_session_that_was_revoked_with_everybody_is_not_taken_over() {
    for store in stores() {
        let site = Site::over(SessionLayer::new(store), usual_routes(), |layer| {
            layer.with_policy(policy().with_resume_for(60 * MINUTE))
        });
        let browser = site.log_in("alice").await;
        browser.put("/data/draft", "private").await;
        site.clock.advance(IDLE + SECOND);
        site.sessions.revoke_everybody().await.unwrap();
        site.clock.advance(SECOND);
        assert_eq!(browser.post("/login/alice").await.status, StatusCode::OK);
        assert_eq!(browser.get("/data/draft").await.status, StatusCode::NOT_FOUND);
    }
}
