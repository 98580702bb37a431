//! Policies, interactions and the clock in a running server (SPEC L5, L8, L9, L10, L11).

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    body::Body,
    extract::Request,
    http::{Method, StatusCode},
    routing::{any, get, post},
};
use tower_tenure::{
    Clock, Error, LivePolicy, MemoryStore, Policy, Session, SessionLayer, Sessions, Timestamp,
    browser::Endpoints,
    events::Operation::{Create, Load, Update},
    policy::{Activity, Limits},
    testing::{ManualClock, Probe},
};

use crate::common::{Browser, MINUTE, Reply, SECOND, Site, TICK, policy_of, usual_routes};

const IDLE: Duration = Duration::from_secs(600);
const ABSOLUTE: Duration = Duration::from_secs(3600);

fn usual() -> Policy {
    policy_of(IDLE, ABSOLUTE)
}

fn site_under(live: &LivePolicy) -> Site {
    Site::with(|layer| layer.with_policy(live.clone()))
}

async fn passive(browser: &Browser) -> Reply {
    browser.get_with("/me", "session-activity", "passive").await
}

// L11: the policy is replaced, and chosen per request

#[tokio::test]
async fn l11_a_swapped_policy_is_that_of_the_next_request() {
    let live = LivePolicy::new(usual());
    let site = site_under(&live);
    let before = site.log_in("alice").await;
    live.swap(policy_of(2 * IDLE, ABSOLUTE));
    let after = site.log_in("alice").await;
    site.clock.advance(IDLE);
    assert_eq!(before.get("/me").await.reason().as_deref(), Some("idle"), "raised after its login");
    assert_eq!(after.get("/me").await.status, StatusCode::OK);
}

#[tokio::test]
async fn l11_a_request_keeps_the_policy_that_it_arrived_under() {
    let live = LivePolicy::new(usual());
    let knob = live.clone();
    let swap = post(async move |session: Session| {
        knob.swap(policy_of(MINUTE, ABSOLUTE));
        session
            .login("alice")
            .await
            .map(|_| session.info().unwrap().deadline().since(session.now()).as_secs().to_string())
    });
    let layer = SessionLayer::new(MemoryStore::new()).with_policy(live);
    let site = Site::over(layer, usual_routes().route("/swap", swap), |layer| layer);
    let browser = site.browser();
    assert_eq!(browser.post("/swap").await.body, IDLE.as_secs().to_string());
    site.clock.advance(MINUTE - TICK);
    assert_eq!(passive(&browser).await.status, StatusCode::OK);
    site.clock.advance(TICK);
    assert_eq!(
        browser.get("/me").await.reason().as_deref(),
        Some("idle"),
        "the next request is under the new one"
    );
}

#[tokio::test]
async fn l11_each_tenant_has_its_own_policy() {
    let site = Site::with(|layer| {
        layer.with_policy_by(|head| match head.header("host") {
            Some("bank.example") => policy_of(MINUTE, ABSOLUTE),
            _ => usual(),
        })
    });
    let ask = async |browser: &Browser, method: Method, path: &str, host: &str| {
        let request = Request::builder().method(method).uri(path).header("host", host);
        browser.request(request.body(Body::empty()).unwrap()).await
    };
    let (bank, blog) = (site.browser(), site.browser());
    ask(&bank, Method::POST, "/login/alice", "bank.example").await;
    ask(&blog, Method::POST, "/login/alice", "blog.example").await;
    site.clock.advance(MINUTE);
    let reply = ask(&bank, Method::GET, "/me", "bank.example").await;
    assert_eq!(reply.reason().as_deref(), Some("idle"));
    assert_eq!(ask(&blog, Method::GET, "/me", "blog.example").await.status, StatusCode::OK);
}

// L5: raising changes nothing, lowering takes effect at the next request

#[tokio::test]
async fn l5_raising_the_policy_changes_no_live_session() {
    let live = LivePolicy::new(usual());
    let site = site_under(&live);
    let browser = site.log_in("alice").await;
    live.swap(policy_of(10 * IDLE, 10 * ABSOLUTE));
    for _ in 0..6 {
        site.clock.advance(ABSOLUTE / 6 - TICK);
        assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    }
    site.clock.advance(6 * TICK);
    assert_eq!(browser.get("/me").await.reason().as_deref(), Some("absolute"));
}

#[tokio::test]
async fn l5_a_lowering_binds_at_the_next_request_before_it_is_judged_also_a_passive_one() {
    for is_passive in [false, true] {
        let live = LivePolicy::new(usual());
        let site = site_under(&live);
        let browser = site.log_in("alice").await;
        site.clock.advance(5 * MINUTE);
        live.swap(policy_of(5 * MINUTE, ABSOLUTE));
        let reply = if is_passive { passive(&browser).await } else { browser.get("/me").await };
        assert_eq!(reply.reason().as_deref(), Some("idle"), "passive: {is_passive}");
    }
    let live = LivePolicy::new(usual());
    let site = site_under(&live);
    let browser = site.log_in("alice").await;
    site.clock.advance(9 * MINUTE);
    live.swap(policy_of(IDLE, 9 * MINUTE));
    assert_eq!(browser.get("/me").await.reason().as_deref(), Some("absolute"));
}

#[tokio::test]
async fn l5_a_lowering_is_remembered_when_the_policy_is_raised_again() {
    for is_passive in [false, true] {
        let live = LivePolicy::new(usual());
        let site = site_under(&live);
        let browser = site.log_in("alice").await;
        live.swap(policy_of(5 * MINUTE, ABSOLUTE));
        let reply = if is_passive { passive(&browser).await } else { browser.get("/me").await };
        assert_eq!(reply.status, StatusCode::OK);
        live.swap(policy_of(10 * IDLE, ABSOLUTE));
        site.clock.advance(5 * MINUTE);
        assert_eq!(browser.get("/me").await.reason().as_deref(), Some("idle"), "passive: {is_passive}");
    }
}

#[tokio::test]
async fn l5_a_lowering_that_was_taken_back_before_the_next_request_never_bound() {
    let live = LivePolicy::new(usual());
    let site = site_under(&live);
    let browser = site.log_in("alice").await;
    live.swap(policy_of(MINUTE, MINUTE));
    site.clock.advance(5 * MINUTE);
    live.swap(usual());
    assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    site.clock.advance(IDLE - TICK);
    assert_eq!(browser.get("/me").await.status, StatusCode::OK);
}

#[tokio::test]
async fn l4_l5_lowered_limits_bind_as_a_lowered_policy_does() {
    let live = LivePolicy::new(usual());
    let site = site_under(&live);
    let browser = site.log_in("alice").await;
    live.swap(usual().with_limits(Limits::new(5 * MINUTE, ABSOLUTE).unwrap()));
    assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    site.clock.advance(5 * MINUTE);
    assert_eq!(browser.get("/me").await.reason().as_deref(), Some("idle"));
}

#[tokio::test]
async fn l5_a_lowering_that_binds_costs_a_remote_store_one_write_once() {
    let live = LivePolicy::new(usual().with_granularity(IDLE));
    let store = Probe::remote(MemoryStore::new());
    let layer = SessionLayer::new(store.clone()).with_policy(live.clone());
    let site = Site::over(layer, usual_routes(), |layer| layer);
    let browser = site.log_in("alice").await;
    live.swap(policy_of(5 * MINUTE, ABSOLUTE).with_granularity(IDLE));
    store.take_calls();
    passive(&browser).await;
    passive(&browser).await;
    assert_eq!(store.take_calls(), [Load, Update, Load]);
}

#[tokio::test]
async fn l5_a_lowering_is_remembered_of_a_request_that_was_given_up() {
    let live = LivePolicy::new(usual());
    let layer = SessionLayer::new(Probe::remote(MemoryStore::new())).with_policy(live.clone());
    let hang = get(async || std::future::pending::<()>().await);
    let site = Site::over(layer, usual_routes().route("/hang", hang), |layer| layer);
    let browser = site.log_in("alice").await;
    live.swap(policy_of(9 * MINUTE, ABSOLUTE));
    tokio::select! {
        biased;
        _ = browser.get("/hang") => unreachable!("it never answers"),
        () = std::future::ready(()) => {}
    }
    live.swap(usual());
    site.clock.advance(9 * MINUTE);
    assert_eq!(browser.get("/me").await.reason().as_deref(), Some("idle"));
}

// L8: what counts as an interaction

/// Whether requests of this kind keep a session alive.
async fn extends(site: &Site, visit: impl AsyncFn(&Browser) -> Reply) -> bool {
    let browser = site.log_in("alice").await;
    site.clock.advance(IDLE - TICK);
    assert_eq!(visit(&browser).await.status, StatusCode::OK);
    site.clock.advance(TICK);
    browser.get("/me").await.status == StatusCode::OK
}

#[tokio::test]
async fn l8_every_request_is_an_interaction_but_prefetches_and_what_a_page_marks() {
    let site = Site::with(|layer| layer.with_policy(usual()));
    assert!(extends(&site, async |browser| browser.get("/me").await).await);
    assert!(extends(&site, async |browser| browser.get("/").await).await, "also one that does not look");
    for (name, value, counts) in [
        ("session-activity", "passive", false),
        ("session-activity", "PASSIVE", false),
        ("session-activity", "active", true),
        ("sec-purpose", "prefetch", false),
        ("sec-purpose", "prefetch;prerender", false),
        ("sec-purpose", "Prefetch; prerender", false),
        ("sec-purpose", "prefetching", true),
        ("sec-purpose", "other, Prefetch;x=y ,more", false),
        ("x-sec-purpose", "prefetch", false),
        ("purpose", "prefetch", false),
        ("x-purpose", "PREVIEW", false),
        ("x-purpose", "prefetch", false),
        ("x-moz", "prefetch", false),
        ("x-moz", "microsummary", true),
        ("hx-preloaded", "true", false),
        ("hx-preloaded", "false", true),
        ("hx-request", "true", true),
        ("sec-fetch-dest", "image", false),
        ("sec-fetch-dest", "style", false),
        ("sec-fetch-dest", "script", false),
        ("sec-fetch-dest", "font", false),
        ("sec-fetch-dest", "audio", false),
        ("sec-fetch-dest", "video", false),
        ("sec-fetch-dest", "track", false),
        ("sec-fetch-dest", "manifest", false),
        ("sec-fetch-dest", "serviceworker", false),
        ("sec-fetch-dest", "document", true),
        ("sec-fetch-dest", "empty", true),
        ("sec-fetch-dest", "iframe", true),
        ("sec-fetch-dest", "frame", true),
        ("sec-fetch-dest", "embed", true),
        ("sec-fetch-dest", "object", true),
        ("sec-fetch-dest", "websocket", true),
        ("sec-fetch-dest", "something-new", true),
        ("sec-fetch-mode", "no-cors", true),
        ("x-requested-with", "XMLHttpRequest", true),
    ] {
        let visit = async |browser: &Browser| browser.get_with("/me", name, value).await;
        assert_eq!(extends(&site, visit).await, counts, "{name}: {value}");
    }
}

#[tokio::test]
async fn l8_a_passive_request_is_enforced_and_may_write() {
    let site = Site::with(|layer| layer.with_policy(usual()));
    let browser = site.log_in("alice").await;
    let write = Request::put("/data/a").header("session-activity", "passive").body(Body::from("1")).unwrap();
    site.clock.advance(IDLE - TICK);
    assert_eq!(browser.request(write).await.set_cookies(), [""; 0], "no deadline has moved");
    site.clock.advance(TICK);
    let reply = passive(&browser).await;
    assert_eq!(reply.reason().as_deref(), Some("idle"));
    assert!(reply.removes_cookie());
}

#[tokio::test]
async fn l8_a_classifier_names_what_is_passive_or_what_is_not() {
    let but = Site::with(|layer| {
        layer.with_policy(usual()).with_activity(|head| match head.uri.path() {
            "/" => Activity::Passive,
            _ => Activity::Interaction,
        })
    });
    assert!(extends(&but, async |browser| browser.get("/me").await).await);
    assert!(!extends(&but, async |browser| browser.get("/").await).await);

    let only = Site::with(|layer| {
        layer.with_policy(usual()).with_activity(|head| match head.uri.path() {
            "/" => Activity::Interaction,
            _ => Activity::Passive,
        })
    });
    assert!(!extends(&only, async |browser| browser.get("/me").await).await);
    assert!(extends(&only, async |browser| browser.get("/").await).await);
    let prefetch = async |browser: &Browser| {
        browser
            .request(Request::get("/").header("sec-purpose", "prefetch").body(Body::empty()).unwrap())
            .await
    };
    assert!(!extends(&only, prefetch).await, "a prefetch is passive, whatever the classifier says");
}

/// A site over a probed store, with a route that shows whether the request has a session.
fn watched_site(set: impl FnOnce(SessionLayer) -> SessionLayer) -> (Site, Probe<MemoryStore>) {
    let store = Probe::remote(MemoryStore::new());
    let has_session =
        any(async |request: Request| request.extensions().get::<Session>().is_some().to_string());
    let routes = usual_routes().route("/has-session", has_session);
    (Site::over(SessionLayer::new(store.clone()).with_policy(usual()), routes, set), store)
}

#[tokio::test]
async fn l8_a_cors_preflight_is_not_touched() {
    let (site, store) = watched_site(|layer| layer.with_endpoints(Endpoints::at("/session").unwrap()));
    let browser = site.log_in("alice").await;
    let cookie = browser.cookie_header().unwrap();
    let preflight = |path: &str, cookie: &str| {
        let request =
            Request::options(path).header("origin", "https://other.example").header("cookie", cookie);
        request.header("access-control-request-method", "POST").body(Body::empty()).unwrap()
    };
    store.take_calls();
    for cookie in [&*cookie, "__Host-id=malformed"] {
        let reply = site.send(preflight("/has-session", cookie)).await;
        assert_eq!((reply.status, &*reply.body), (StatusCode::OK, "false"));
        assert_eq!(reply.set_cookies(), [""; 0]);
        assert!(!reply.headers.contains_key("vary"));
    }
    assert_eq!(site.send(preflight("/session/status", &cookie)).await.status, StatusCode::NOT_FOUND);
    assert_eq!(store.take_calls(), []);

    for name in ["x-nothing", "origin", "access-control-request-method"] {
        let options = Request::options("/has-session").header("cookie", &cookie).header(name, "POST");
        let reply = site.send(options.body(Body::empty()).unwrap()).await;
        assert_eq!(reply.body, "true", "OPTIONS with {name} only is no preflight");
    }
}

#[tokio::test]
async fn l8_what_skip_names_is_not_touched() {
    let (site, store) = watched_site(|layer| layer.with_skip(|head| head.uri.path() == "/has-session"));
    let browser = site.log_in("alice").await;
    store.take_calls();
    site.clock.advance(IDLE);
    let reply = browser.get("/has-session").await;
    assert_eq!((reply.status, &*reply.body), (StatusCode::OK, "false"));
    assert_eq!(reply.set_cookies(), [""; 0], "not even where the session is over");
    assert_eq!(store.take_calls(), []);
    assert_eq!(browser.get("/me").await.reason().as_deref(), Some("idle"));
}

// L9: interactions are coalesced, and never move backwards

/// A site over a remote store, and the store's calls.
fn remote_site(policy: Policy) -> (Site, Probe<MemoryStore>) {
    let store = Probe::remote(MemoryStore::new());
    let layer = SessionLayer::new(store.clone()).with_policy(policy);
    (Site::over(layer, usual_routes(), |layer| layer), store)
}

async fn last_interaction(sessions: &Sessions) -> Timestamp {
    sessions.list(Some("alice"), None, 1).await.unwrap().sessions[0].last_interaction_at
}

#[tokio::test]
async fn l9_an_interaction_is_written_when_the_recorded_one_is_older_than_the_granularity() {
    let (site, store) = remote_site(usual().with_granularity(30 * SECOND));
    let browser = site.log_in("alice").await;
    assert_eq!(store.take_calls(), [Create]);
    let calls = async |after| {
        site.clock.advance(after);
        assert_eq!(browser.get("/me").await.status, StatusCode::OK);
        store.take_calls()
    };
    assert_eq!(calls(10 * SECOND).await, [Load]);
    assert_eq!(calls(20 * SECOND).await, [Load], "not older than it");
    assert_eq!(calls(TICK).await, [Load, Update]);
    assert_eq!(calls(30 * SECOND).await, [Load]);
    assert_eq!(calls(7 * MINUTE).await, [Load, Update], "near the deadline");
}

#[tokio::test]
async fn l9_the_granularity_is_a_64th_of_the_idle_lifetime_or_a_minute_and_none_with_zero() {
    for (policy, granularity) in [
        (policy_of(640 * SECOND, ABSOLUTE), 10 * SECOND),
        (policy_of(10 * ABSOLUTE, 10 * ABSOLUTE), MINUTE),
        (usual().with_granularity(Duration::ZERO), Duration::ZERO),
    ] {
        let (site, store) = remote_site(policy);
        let browser = site.log_in("alice").await;
        site.clock.advance(granularity);
        store.take_calls();
        browser.get("/me").await;
        assert_eq!(store.take_calls(), [Load]);
        site.clock.advance(TICK);
        browser.get("/me").await;
        assert_eq!(store.take_calls(), [Load, Update]);
    }
}

#[tokio::test]
async fn l9_coalescing_ends_a_session_early_by_the_granularity_at_most_and_never_late() {
    let granularity = 30 * SECOND;
    let (site, _) = remote_site(usual().with_granularity(granularity));
    let start = site.clock.now();
    let browser = site.log_in("alice").await;
    site.clock.advance(granularity);
    assert_eq!(browser.get("/me").await.set_cookies(), [""; 0], "nothing is recorded, so the cookie stays");
    assert_eq!(last_interaction(&site.sessions).await, start);
    let copy = browser.copy();
    site.clock.set(start + IDLE - TICK);
    assert_eq!(passive(&browser).await.status, StatusCode::OK);
    site.clock.set(start + IDLE);
    assert_eq!(copy.get("/me").await.reason().as_deref(), Some("idle"), "early by exactly the granularity");
}

#[tokio::test]
async fn l6_l9_the_first_interaction_after_a_one_off_idle_deadline_is_never_coalesced() {
    let store = Probe::remote(MemoryStore::new());
    let layer = SessionLayer::new(store.clone()).with_policy(usual().with_granularity(MINUTE));
    let log_in = post(async |session: Session| {
        let deadline = session.now() + 2 * SECOND;
        session.login("alice").with_idle_expires_at(deadline).await.map(|_| ())
    });
    let site = Site::over(layer, usual_routes().route("/log-in", log_in), |layer| layer);
    let browser = site.browser();
    browser.post("/log-in").await;
    store.take_calls();
    site.clock.advance(SECOND);
    browser.get("/me").await;
    browser.get("/me").await;
    assert_eq!(store.take_calls(), [Load, Update, Load]);
    site.clock.advance(IDLE - TICK);
    assert_eq!(browser.get("/me").await.status, StatusCode::OK);
}

#[tokio::test]
async fn l9_a_slow_old_request_does_not_move_the_last_interaction_back() {
    let (site, store) = remote_site(usual());
    let browser = site.log_in("alice").await;
    let slow = browser.copy();
    site.clock.advance(MINUTE);
    let gate = store.hold(Update);
    let slow = tokio::spawn(async move { slow.get("/me").await.status });
    gate.arrived().await;
    site.clock.advance(MINUTE);
    let latest = site.clock.now();
    assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    assert_eq!(last_interaction(&site.sessions).await, latest);
    gate.open();
    assert_eq!(slow.await.unwrap(), StatusCode::OK);
    assert_eq!(last_interaction(&site.sessions).await, latest);
}

#[tokio::test]
async fn l9_the_memory_store_records_every_interaction_whatever_the_granularity() {
    let site = Site::with(|layer| layer.with_policy(usual().with_granularity(5 * MINUTE)));
    let browser = site.log_in("alice").await;
    site.clock.advance(SECOND);
    browser.get("/").await;
    site.clock.advance(IDLE - TICK);
    assert_eq!(browser.get("/me").await.status, StatusCode::OK);
}

#[tokio::test]
async fn l9_what_is_due_is_recorded_on_arrival_and_a_write_goes_by_itself() {
    let (site, store) = remote_site(usual());
    let browser = site.log_in("alice").await;
    site.clock.advance(MINUTE);
    store.take_calls();
    let write = || Request::put("/data/a").body(Body::from("1")).unwrap();
    browser.request(write()).await;
    assert_eq!(store.take_calls(), [Load, Update, Update]);
    assert_eq!(last_interaction(&site.sessions).await, site.clock.now());
    store.take_calls();
    browser.request(write()).await;
    assert_eq!(store.take_calls(), [Load, Update], "nothing is due");
}

// L10: one clock read per request

#[derive(Clone, Debug)]
struct CountingClock {
    clock: ManualClock,
    reads: Arc<AtomicUsize>,
}

impl Clock for CountingClock {
    fn now(&self) -> Timestamp {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.clock.now()
    }
}

#[tokio::test]
async fn l10_every_request_reads_the_clock_exactly_once() {
    for remote in [false, true] {
        let clock = CountingClock { clock: ManualClock::default(), reads: Arc::default() };
        let layer = if remote {
            SessionLayer::new(Probe::remote(MemoryStore::new()))
        } else {
            SessionLayer::new(MemoryStore::new())
        };
        let site = Site::over(layer, usual_routes(), |layer| {
            let endpoints = Endpoints::at("/session").unwrap();
            layer.with_policy(usual()).with_endpoints(endpoints).with_clock(clock.clone())
        });
        let browser = site.browser();
        let visit = async |method: Method, path: &str| {
            clock.reads.store(0, Ordering::Relaxed);
            let request =
                Request::builder().method(method.clone()).uri(path).header("sec-fetch-site", "same-origin");
            let reply = browser.request(request.body(Body::from("x")).unwrap()).await;
            assert_eq!(clock.reads.load(Ordering::Relaxed), 1, "{method} {path}, remote: {remote}");
            reply.status
        };
        visit(Method::GET, "/").await;
        visit(Method::PUT, "/data/a").await;
        visit(Method::POST, "/login/alice").await;
        for (method, path) in [
            (Method::GET, "/me"),
            (Method::PUT, "/data/a"),
            (Method::POST, "/add/n"),
            (Method::POST, "/rotate"),
            (Method::GET, "/session/status"),
            (Method::POST, "/session/extend"),
            (Method::POST, "/login/alice"),
        ] {
            clock.clock.advance(MINUTE);
            assert_eq!(visit(method, path).await, StatusCode::OK, "{path}");
        }
        assert_eq!(visit(Method::POST, "/fail").await, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(visit(Method::POST, "/logout").await, StatusCode::OK);
        assert_eq!(visit(Method::GET, "/me").await, StatusCode::UNAUTHORIZED);
        visit(Method::POST, "/login/alice").await;
        clock.clock.advance(IDLE);
        assert_eq!(visit(Method::GET, "/me").await, StatusCode::UNAUTHORIZED, "one that is found over");
    }
}

#[tokio::test]
async fn l10_what_was_live_on_arrival_stays_live_and_deadlines_move_from_the_arrival() {
    let clock = ManualClock::default();
    let slow = clock.clone();
    let dawdle = get(async move |session: Session| {
        slow.advance(IDLE - TICK);
        session.insert(&tower_tenure::Key::new("a"), &"1".to_owned())?;
        Ok::<_, Error>(session.subject().unwrap_or_default().to_string())
    });
    let layer = SessionLayer::new(MemoryStore::new()).with_policy(usual());
    let site =
        Site::over(layer, usual_routes().route("/dawdle", dawdle), |layer| layer.with_clock(clock.clone()));
    let browser = site.log_in("alice").await;
    clock.advance(IDLE - TICK);
    let arrival = clock.now();
    let reply = browser.get("/dawdle").await;
    assert_eq!((reply.status, &*reply.body), (StatusCode::OK, "alice"), "past its deadline when it answers");
    assert_eq!(clock.now(), arrival + IDLE - TICK);
    assert_eq!(passive(&browser).await.status, StatusCode::OK);
    clock.advance(TICK);
    assert_eq!(browser.get("/me").await.reason().as_deref(), Some("idle"));
}

#[tokio::test]
async fn l10_a_clock_that_steps_back_lengthens_no_session() {
    let (site, store) = remote_site(usual().with_granularity(Duration::ZERO));
    let browser = site.log_in("alice").await;
    let start = site.clock.now();
    site.clock.advance(5 * MINUTE);
    browser.get("/me").await;
    site.clock.step_back(4 * MINUTE);
    store.take_calls();
    for _ in 0..3 {
        assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    }
    assert_eq!(store.take_calls(), [Load; 3], "nothing is due");
    assert_eq!(last_interaction(&site.sessions).await, start + 5 * MINUTE);
    site.clock.set(start + 5 * MINUTE + IDLE);
    assert_eq!(browser.get("/me").await.reason().as_deref(), Some("idle"));
}
