//! A store that fails, loses its answers or does not answer (SPEC S6). The layer never fails open
//! and never signs a user out.

use std::{
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode, header},
    routing::post,
};
use tower_tenure::{
    Error, ErrorKind, Key, MemoryStore, Mode, Session, SessionLayer, SessionStore,
    browser::Endpoints,
    events::Operation::{self, Create, End, Load, Update},
    testing::Probe,
};

use crate::common::{
    Browser, Reply, Site, TOUCH_IS_DUE, background_tasks, logs::FailedCalls, policy_of, usual_routes,
};

const IDLE: Duration = Duration::from_secs(3600);
const KEY: Key<String> = Key::new("key");
const MORE: Key<String> = Key::new("more");

struct Place<const IN_PROCESS: bool> {
    site: Site,
    store: Probe<MemoryStore, IN_PROCESS>,
    failed: FailedCalls,
    reached: Arc<Mutex<usize>>,
}

fn remote() -> Place<false> {
    Place::over(Probe::remote(MemoryStore::new()), |layer| layer)
}

fn in_process() -> Place<true> {
    Place::over(Probe::in_process(MemoryStore::new()), |layer| layer)
}

impl<const IN_PROCESS: bool> Place<IN_PROCESS>
where
    Probe<MemoryStore, IN_PROCESS>: SessionStore,
{
    fn over(store: Probe<MemoryStore, IN_PROCESS>, set: impl FnOnce(SessionLayer) -> SessionLayer) -> Self {
        let policy = policy_of(IDLE, IDLE * 24).with_default_mode(Mode::Persistent);
        let reached = Arc::new(Mutex::new(0));
        let counter = Arc::clone(&reached);
        let count = move |request: Request<Body>| {
            *counter.lock().unwrap() += 1;
            request
        };
        let routes = usual_routes()
            .route("/save-again", post(save_again))
            .layer(tower::util::MapRequestLayer::new(count));
        let site = Site::over(SessionLayer::new(store.clone()), routes, |layer| {
            set(layer.with_policy(policy).with_endpoints(Endpoints::at("/session").unwrap()))
        });
        Self { site, store, failed: FailedCalls::collect(), reached }
    }

    async fn alice(&self) -> Browser {
        let browser = self.site.log_in("alice").await;
        assert_eq!(browser.send(Method::PUT, "/data/old").await.status, StatusCode::OK);
        self.take_failed_calls();
        self.take_reached();
        browser
    }

    fn take_failed_calls(&self) -> Vec<(Operation, ErrorKind)> {
        let operation = |line: &str| {
            let name = line.split_once(" operation=").unwrap().1.split(' ').next().unwrap().to_owned();
            [Load, Update, Create, End].into_iter().find(|known| known.as_str() == name).unwrap()
        };
        let kind = |line: &str| {
            let is_late = line.contains("error=the session store did not answer");
            if is_late { ErrorKind::Timeout } else { ErrorKind::Store }
        };
        self.failed.take().iter().map(|line| (operation(line), kind(line))).collect()
    }

    /// How often the services inside the layer were called.
    fn take_reached(&self) -> usize {
        std::mem::take(&mut self.reached.lock().unwrap())
    }
}

/// Saves until it succeeds, as the documentation of `save` allows, then continues.
async fn save_again(session: Session, headers: HeaderMap) -> Result<StatusCode, Error> {
    if let Some(user) = headers.get("x-login") {
        drop(session.login(user.to_str().unwrap()).await?);
    }
    if headers.contains_key("x-rotate") {
        session.rotate()?;
    }
    session.insert(&KEY, &"first".to_owned())?;
    assert!(session.save().await.unwrap_err().is_store_failure());
    session.insert(&MORE, &"second".to_owned())?;
    drop(session.save().await?);
    Ok(StatusCode::OK)
}

fn is_unavailable(reply: &Reply) {
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(reply.headers[header::CONTENT_TYPE], "application/problem+json");
    assert!(reply.headers.contains_key(header::RETRY_AFTER));
    assert_eq!(reply.headers[header::CACHE_CONTROL], "no-store");
    assert!(reply.set_cookies().is_empty(), "{:?}", reply.set_cookies());
    let problem: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(problem["status"], 503);
    assert_eq!(reply.reason(), None, "a 503 does not say that a session is over");
}

fn extend() -> Request<Body> {
    Request::post("/session/extend").header("sec-fetch-site", "same-origin").body(Body::empty()).unwrap()
}

/// Runs a test over a store that reports itself as remote, and over one that reports itself as
/// in-process.
macro_rules! over_both {
    (async |$place:ident| $body:block) => {{
        {
            let $place = remote();
            $body
        }
        {
            let $place = in_process();
            $body
        }
    }};
}

#[tokio::test]
async fn s6_a_load_that_fails_is_a_503_before_any_handler_and_the_cookie_stays() {
    over_both!(async |place| {
        let browser = place.alice().await;
        for (method, path) in [
            (Method::GET, "/"),
            (Method::GET, "/me"),
            (Method::PUT, "/data/x"),
            (Method::POST, "/login/bob"),
            (Method::POST, "/logout"),
            (Method::GET, "/session/status"),
        ] {
            for lost in [false, true] {
                if lost {
                    place.store.lose_answers(Load, 1);
                } else {
                    place.store.fail(Load, 1);
                }
                place.store.take_calls();
                is_unavailable(&browser.send(method.clone(), path).await);
                assert_eq!(place.store.take_calls(), [Load], "{path}");
                assert_eq!(place.take_failed_calls(), [(Load, ErrorKind::Store)], "{path}");
                assert_eq!(place.take_reached(), 0, "{path}");
            }
        }
        place.store.fail(Load, 1);
        is_unavailable(&browser.request(extend()).await);
        assert_eq!(browser.get("/me").await.body, "alice");
        assert_eq!((place.site.live(Some("alice")).await, place.site.live(Some("bob")).await), (1, 0));
    });
}

/// The load of one of two cookies fails. It may be the valid one, so the request must not count as
/// logged out.
#[tokio::test]
async fn s6_c5_a_load_that_fails_beside_a_forged_cookie_is_a_503_too() {
    let place = remote();
    let browser = place.alice().await;
    let forged = format!("__Host-id={}", "A".repeat(64));
    browser.set_cookies(Some(&format!("{}; {forged}", browser.cookie_header().unwrap())));
    place.store.fail(Load, 1);
    is_unavailable(&browser.get("/me").await);
    assert_eq!(browser.get("/me").await.status, StatusCode::OK);
}

#[tokio::test]
async fn s6_data_that_cannot_be_stored_is_a_503_without_a_cookie() {
    over_both!(async |place| {
        let browser = place.alice().await;
        place.site.clock.advance(TOUCH_IS_DUE);
        place.store.fail(Update, 2); // the interaction on arrival, and the data
        is_unavailable(&browser.send(Method::PUT, "/data/x").await);
        assert_eq!(place.take_failed_calls(), [(Update, ErrorKind::Store); 2]);
        assert_eq!(browser.get("/data/x").await.status, StatusCode::NOT_FOUND);
        assert_eq!(browser.send(Method::PUT, "/data/x").await.status, StatusCode::OK);

        place.store.lose_answers(Update, 1);
        is_unavailable(&browser.send(Method::DELETE, "/data/x").await);
        assert_eq!(browser.send(Method::DELETE, "/data/x").await.status, StatusCode::OK);
        assert_eq!(browser.get("/data/x").await.status, StatusCode::NOT_FOUND);

        // An atomic update returns the error to its handler, which answers.
        place.store.fail(Update, 1);
        let reply = browser.post("/add/x").await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(reply.set_cookies().is_empty());
        assert_eq!(browser.post("/add/x").await.body, "1");

        // An anonymous visitor's first write.
        let stranger = place.site.browser();
        place.store.fail(Create, 1);
        is_unavailable(&stranger.send(Method::PUT, "/data/x").await);
        assert_eq!(stranger.cookie_header(), None);
    });
}

#[tokio::test]
async fn s6_a_mere_touch_that_cannot_be_recorded_is_counted_and_the_response_stands() {
    over_both!(async |place| {
        let browser = place.alice().await;
        // A touch is recorded on arrival, far from the deadline and near it. It is not retried
        // after the handler.
        for wait in [TOUCH_IS_DUE, IDLE * 3 / 4] {
            place.site.clock.advance(wait);
            place.store.fail(Update, 2);
            let reply = browser.get("/me").await;
            assert_eq!((reply.status, &*reply.body), (StatusCode::OK, "alice"));
            assert!(reply.set_cookies().is_empty(), "{:?}", reply.set_cookies());
            assert_eq!(place.take_failed_calls(), [(Update, ErrorKind::Store)]);
            place.store.fail(Update, 0);
            // The next touch is recorded, and the browser gets the new expiry.
            assert_eq!(browser.get("/me").await.set_cookies().len(), 1);
        }
    });
}

#[tokio::test]
async fn s6_t1_an_extension_that_cannot_be_recorded_is_not_reported_as_success() {
    over_both!(async |place| {
        let browser = place.alice().await;
        for wait in [TOUCH_IS_DUE, IDLE * 3 / 4] {
            place.site.clock.advance(wait);
            let before =
                tower_tenure::testing::records(&place.site.sessions, None, 1).await.unwrap()[0].timing;
            place.store.fail(Update, 2);
            is_unavailable(&browser.request(extend()).await);
            place.store.fail(Update, 0);
            assert_eq!(
                tower_tenure::testing::records(&place.site.sessions, None, 1).await.unwrap()[0].timing,
                before
            );
            assert_eq!(browser.request(extend()).await.status, StatusCode::OK);
            assert!(
                tower_tenure::testing::records(&place.site.sessions, None, 1).await.unwrap()[0]
                    .timing
                    .deadline()
                    > before.deadline()
            );
        }
    });
}

#[tokio::test]
async fn s6_a_logout_that_fails_keeps_the_cookie_and_the_session_and_can_be_tried_again() {
    over_both!(async |place| {
        for path in ["/logout", "/session/logout"] {
            let logout =
                || Request::post(path).header("sec-fetch-site", "same-origin").body(Body::empty()).unwrap();
            let browser = place.alice().await;
            place.store.fail(End, 1);
            is_unavailable(&browser.request(logout()).await);
            assert_eq!(place.take_failed_calls(), [(End, ErrorKind::Store)], "{path}");
            assert_eq!(browser.get("/me").await.body, "alice", "{path}");
            assert!(browser.request(logout()).await.removes_cookie(), "{path}");
            assert_eq!(place.site.live(Some("alice")).await, 0, "{path}");

            // The answer is lost: the browser gets a 503, and its next request shows that the
            // logout took effect.
            let browser = place.alice().await;
            place.store.lose_answers(End, 1);
            is_unavailable(&browser.request(logout()).await);
            let reply = browser.copy().get("/me").await;
            assert_eq!(reply.reason().as_deref(), Some("signed_out"), "{path}");
            assert!(browser.request(logout()).await.removes_cookie(), "{path}");
        }
    });
}

#[tokio::test]
async fn s6_a_login_that_fails_sets_no_cookie_and_leaves_the_earlier_session() {
    over_both!(async |place| {
        let browser = place.alice().await;
        place.store.fail(Create, 1);
        is_unavailable(&browser.post("/login/bob").await);
        assert_eq!(place.take_failed_calls(), [(Create, ErrorKind::Store)]);
        assert_eq!(browser.get("/me").await.body, "alice");
        assert_eq!((place.site.live(Some("alice")).await, place.site.live(Some("bob")).await), (1, 0));
        assert_eq!(browser.post("/login/bob").await.status, StatusCode::OK);
        assert_eq!((place.site.live(Some("alice")).await, place.site.live(Some("bob")).await), (0, 1));

        // The answer is lost: the new session is undone, because its token reached no browser. The
        // old session stays. Never are both live.
        place.store.lose_answers(Create, 1);
        is_unavailable(&browser.post("/login/carol").await);
        background_tasks().await;
        assert_eq!((place.site.live(Some("bob")).await, place.site.live(Some("carol")).await), (1, 0));
        assert_eq!(browser.copy().get("/me").await.body, "bob");
        assert_eq!(browser.post("/login/carol").await.status, StatusCode::OK);
        assert_eq!(browser.get("/me").await.body, "carol");
    });
}

#[tokio::test]
async fn s6_a_rotation_that_fails_leaves_a_token_that_works() {
    over_both!(async |place| {
        let browser = place.alice().await;
        place.store.fail(Update, 1);
        is_unavailable(&browser.post("/rotate").await);
        place.site.clock.advance(Duration::from_secs(20));
        assert_eq!(browser.get("/me").await.status, StatusCode::OK);
        // The answer is lost: the browser's old token is honoured for the grace.
        place.store.lose_answers(Update, 1);
        is_unavailable(&browser.post("/rotate").await);
        assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    });
}

#[tokio::test]
async fn s6_another_try_in_the_handler_after_a_failure_or_a_lost_answer_does_it_once_and_whole() {
    over_both!(async |place| {
        let cases = [
            (None, Update, "x-none", ""),
            (None, Update, "x-rotate", "1"),
            (Some(()), Create, "x-login", "bob"),
        ];
        for (anonymous, operation, name, value) in cases {
            for lost in [false, true] {
                for logged_in in [true, anonymous.is_none()] {
                    let browser = if logged_in { place.alice().await } else { place.site.browser() };
                    let operation = if logged_in { operation } else { Create };
                    if lost {
                        place.store.lose_answers(operation, 1);
                    } else {
                        place.store.fail(operation, 1);
                    }
                    let request =
                        Request::post("/save-again").header(name, value).body(Body::empty()).unwrap();
                    let reply = browser.request(request).await;
                    let case = (operation, name, lost, logged_in);
                    assert_eq!(reply.status, StatusCode::OK, "{case:?}");
                    assert_eq!(browser.get("/data/key").await.body, "first", "{case:?}");
                    assert_eq!(browser.get("/data/more").await.body, "second", "{case:?}");
                    place.site.clock.advance(Duration::from_secs(20));
                    assert_eq!(browser.get("/data/more").await.status, StatusCode::OK, "{case:?}");
                    let live = place.site.sessions.list(None, None, 10).await.unwrap().sessions;
                    assert_eq!(live.len(), 1, "{case:?}");
                    assert!(place.site.sessions.revoke(live[0].sid).await.unwrap());
                }
            }
        }
    });
}

#[tokio::test]
async fn s6_e1_an_expired_session_is_over_even_if_its_end_cannot_be_recorded() {
    over_both!(async |place| {
        let browser = place.alice().await;
        place.site.clock.advance(IDLE);
        for lost in [false, true] {
            if lost {
                place.store.lose_answers(End, 1);
            } else {
                place.store.fail(End, 1);
            }
            let reply = browser.copy().get("/me").await;
            assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
            assert_eq!(reply.reason().as_deref(), Some("idle"));
            assert_eq!(place.take_failed_calls(), [(End, ErrorKind::Store)]);
        }
    });
}

#[tokio::test]
async fn s6_the_same_holds_when_a_whole_store_is_down() {
    over_both!(async |place| {
        let browser = place.alice().await;
        for operation in [Load, Update, Create, End] {
            place.store.fail(operation, usize::MAX);
        }
        for path in ["/me", "/", "/data/old"] {
            is_unavailable(&browser.get(path).await);
        }
        // A request without a cookie that stores nothing does not need the store.
        assert_eq!(place.site.browser().get("/").await.status, StatusCode::OK);
        assert_eq!(place.site.browser().get("/me").await.status, StatusCode::UNAUTHORIZED);
        for operation in [Load, Update, Create, End] {
            place.store.fail(operation, 0);
        }
        assert_eq!(browser.get("/me").await.body, "alice");
    });
}

/// Checks that the request is answered after exactly this budget. Tokio's paused clock advances
/// only when all tasks are idle.
async fn gives_up_after(budget: Duration, request: impl Future<Output = Reply>) -> Reply {
    const TICK: Duration = Duration::from_millis(1);
    let mut request = pin!(request);
    assert!(tokio::time::timeout(budget.saturating_sub(TICK), &mut request).await.is_err(), "too early");
    tokio::time::timeout(TICK * 2, &mut request).await.expect("too late")
}

#[tokio::test(start_paused = true)]
async fn s6_a_store_that_does_not_answer_is_given_up_after_the_budget() {
    const SECOND: Duration = Duration::from_secs(1);
    for (set, budget) in
        [(None, SECOND * 2), (Some(SECOND / 4), SECOND / 4), (Some(SECOND * 30), SECOND * 30)]
    {
        let place = Place::over(Probe::remote(MemoryStore::new()), |layer| match set {
            Some(budget) => layer.with_store_budget(budget),
            None => layer,
        });
        let browser = place.alice().await;
        for (method, path, operation) in [
            (Method::GET, "/me", Load),
            (Method::PUT, "/data/x", Update),
            (Method::POST, "/rotate", Update),
            (Method::POST, "/logout", End),
            (Method::POST, "/login/bob", Create),
        ] {
            let gate = place.store.hold(operation);
            is_unavailable(&gives_up_after(budget, browser.send(method, path)).await);
            assert_eq!(place.take_failed_calls(), [(operation, ErrorKind::Timeout)], "{path}");
            drop(gate);
            assert_eq!(browser.get("/me").await.body, "alice", "{path}");
        }
        // A mere touch that times out delays the response but does not fail it.
        place.site.clock.advance(TOUCH_IS_DUE);
        let _gate = place.store.hold(Update);
        let reply = gives_up_after(budget, browser.get("/me")).await;
        assert_eq!(reply.status, StatusCode::OK);
        assert!(reply.set_cookies().is_empty());
        assert_eq!(place.take_failed_calls(), [(Update, ErrorKind::Timeout)]);
    }
}

#[tokio::test]
async fn s6_a_store_that_claims_to_be_in_process_and_pends_is_a_503_not_a_panic() {
    let place = in_process();
    let browser = place.alice().await;
    place.store.pause(1);
    is_unavailable(&browser.get("/me").await);
    is_unavailable(&place.site.browser().send(Method::PUT, "/data/x").await);
    is_unavailable(&place.site.browser().post("/login/bob").await);
    place.store.pause(0);
    assert_eq!(browser.get("/me").await.body, "alice");
    let _gate = place.store.hold(Load);
    is_unavailable(&browser.get("/me").await);
    assert_eq!(browser.get("/me").await.body, "alice");
}
