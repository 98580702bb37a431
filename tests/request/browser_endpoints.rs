//! The endpoints that a page calls: status, extend and logout (SPEC T1), and which requests may
//! change something.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    http::{HeaderName, HeaderValue, Method, Request, StatusCode, header},
    middleware::{self, Next},
};
use tower_tenure::{
    Clock, MemoryStore, Mode, Policy, PublicUrl, RequestHead, SessionLayer, SessionStore,
    browser::{Endpoints, Scheme, is_same_origin},
    events::Operation,
    policy::Activity,
    store::{AnyStore, Page},
    testing::{ManualClock, Probe},
};

use crate::common::{self, ABSOLUTE, Browser, IDLE, Reply, SECOND, Site, TICK, policy_of, usual_routes};

fn policy(mode: Mode) -> Policy {
    common::policy().with_default_mode(mode).with_granularity(Duration::ZERO)
}

fn endpoints() -> Endpoints {
    Endpoints::at("/session").unwrap()
}

fn site_over(store: impl SessionStore, set: impl FnOnce(SessionLayer) -> SessionLayer) -> Site {
    Site::over(SessionLayer::new(store), usual_routes(), |layer| {
        set(layer.with_endpoints(endpoints()).with_policy(policy(Mode::NonPersistent)))
    })
}

fn site() -> Site {
    site_over(MemoryStore::new(), |layer| layer)
}

async fn post(browser: &Browser, path: &str) -> Reply {
    browser.request(request(Method::POST, path, &[("sec-fetch-site", "same-origin")])).await
}

fn request(method: Method, path: &str, headers: &[(&'static str, &str)]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    for (name, value) in headers {
        let (name, value) = (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        request.headers_mut().append(name, value);
    }
    request
}

fn json(reply: &Reply) -> serde_json::Value {
    serde_json::from_str(&reply.body).unwrap()
}

async fn is_live(browser: &Browser) -> bool {
    json(&browser.get("/session/status").await)["live"].as_bool().unwrap()
}

// Status

#[tokio::test]
async fn t1_status_says_everything_a_page_warns_by() {
    let site = site_over(MemoryStore::new(), |layer| layer.with_policy(policy(Mode::Persistent)));
    let browser = site.browser();
    browser.post("/login/alice").await;
    site.clock.advance(Duration::from_millis(60_500));
    let reply = browser.get("/session/status").await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.headers[header::CONTENT_TYPE], "application/json");
    assert_eq!(reply.headers[header::CACHE_CONTROL], "no-store");
    let expected = serde_json::json!({
        "live": true,
        "authenticated": true,
        "mode": "persistent",
        "now": "2026-01-01T00:01:00.500Z",
        "idle_expires_at": "2026-01-01T00:15:00.000Z",
        "expires_at": "2026-01-01T01:00:00.000Z",
        "seconds_left": 839.5,
        "idle_lifetime": 900.0,
    });
    assert_eq!(json(&reply), expected);
    assert_eq!(browser.send(Method::HEAD, "/session/status").await.status, StatusCode::OK);
}

#[tokio::test]
async fn t1_status_counts_down_to_the_nearer_deadline() {
    let policy = policy_of(IDLE, 600 * SECOND);
    let site = site_over(MemoryStore::new(), |layer| layer.with_policy(policy));
    let browser = site.browser();
    browser.post("/login/alice").await;
    site.clock.advance(SECOND);
    assert_eq!(json(&browser.get("/session/status").await)["seconds_left"], 599.0);
}

#[tokio::test]
async fn t1_status_without_a_session_says_so_with_the_reason_and_creates_nothing() {
    let store = MemoryStore::new();
    let site = site_over(store.clone(), |layer| layer);
    let browser = site.browser();
    let reply = browser.get("/session/status").await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.headers[header::CACHE_CONTROL], "no-store");
    let expected = serde_json::json!({ "live": false, "reason": "none", "now": "2026-01-01T00:00:00.000Z" });
    assert_eq!(json(&reply), expected);
    assert_eq!(reply.set_cookies(), [""; 0]);
    browser.set_cookies(Some(&format!("__Host-id={}", "A".repeat(64))));
    assert_eq!(json(&browser.get("/session/status").await)["reason"], "none");
    assert!(store.is_empty());

    browser.post("/login/alice").await;
    site.clock.advance(IDLE);
    let reply = browser.get("/session/status").await;
    assert_eq!(
        (json(&reply)["live"].as_bool(), json(&reply)["reason"].as_str()),
        (Some(false), Some("idle"))
    );
    assert!(reply.removes_cookie());
}

#[tokio::test]
async fn t1_status_distinguishes_an_anonymous_session_from_a_login() {
    let site = site();
    let browser = site.browser();
    browser.request(Request::put("/data/x").body(Body::from("x")).unwrap()).await;
    let status = json(&browser.get("/session/status").await);
    assert_eq!((&status["live"], &status["authenticated"]), (&true.into(), &false.into()));
    assert_eq!(status["mode"], "non-persistent");
}

/// A middleware that yields once before the handler.
async fn dawdle(request: Request<Body>, next: Next) -> axum::response::Response {
    tokio::task::yield_now().await;
    let response = next.run(request).await;
    tokio::task::yield_now().await;
    response
}

#[tokio::test]
async fn t1_polling_the_status_never_keeps_a_session_alive_whatever_stands_in_between() {
    for is_remote in [false, true] {
        let probe = Probe::remote(MemoryStore::new());
        probe.pause(3);
        let clock = ManualClock::default();
        let store = if is_remote { AnyStore::from(probe.clone()) } else { MemoryStore::new().into() };
        let layer = SessionLayer::new(store);
        let layer = layer.with_clock(clock.clone()).with_endpoints(endpoints());
        let layer = layer.with_policy(policy(Mode::Persistent));
        // A middleware inside, and one outside.
        let routes = usual_routes().layer(middleware::from_fn(dawdle));
        let app = routes.layer(layer).layer(middleware::from_fn(dawdle));
        // The site's own layer has a cookie of another name, so it does nothing.
        let other = tower_tenure::cookie::SessionCookie::builder("other").build().unwrap();
        let outer = SessionLayer::new(MemoryStore::new()).with_cookie(other);
        let site = Site::over(outer, app, |layer| layer);
        let browser = site.browser();
        browser.post("/login/alice").await;
        probe.take_calls();
        for left in (1..=90).rev() {
            let status = json(&browser.get("/session/status").await);
            assert_eq!(status["seconds_left"], f64::from(left) * 10.0);
            clock.advance(10 * SECOND - TICK);
            assert!(is_live(&browser).await, "{left}");
            assert_eq!(browser.get("/session/status").await.set_cookies(), [""; 0]);
            clock.advance(TICK);
        }
        assert!(probe.take_calls().iter().all(|call| *call == Operation::Load), "polls write nothing");
        assert!(!is_live(&browser).await);
        assert_eq!(browser.get("/me").await.status, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn t1_the_endpoints_are_not_what_only_resembles_them() {
    let routes = Router::new().fallback(async || StatusCode::IM_A_TEAPOT);
    let layer = SessionLayer::new(MemoryStore::new());
    let without = Site::over(layer.clone(), routes.clone(), |layer| layer);
    let site = Site::over(layer, routes, |layer| layer.with_endpoints(endpoints()));
    for path in [
        "/session",
        "/session/",
        "/session/status/",
        "/session/statuses",
        "/session/STATUS",
        "/Session/status",
        "//session/status",
        "/session//status",
        "/x/session/status",
        "/sessionstatus",
        "/session/%73tatus",
        "/session/other",
    ] {
        assert_eq!(
            site.browser().get(path).await.status,
            StatusCode::IM_A_TEAPOT,
            "{path}: the application's"
        );
    }
    assert_eq!(site.browser().get("/session/status?x=1").await.status, StatusCode::OK);
    let reply = without.browser().get("/session/status").await;
    assert_eq!(reply.status, StatusCode::IM_A_TEAPOT, "not asked for");
}

#[test]
fn t1_a_base_that_is_no_path_is_refused() {
    for base in ["", "/", "session", "/session/", "//session", "/a b", "/a?b", "/a#b", "/\\a", "https://x/a"]
    {
        assert!(Endpoints::at(base).is_err(), "{base:?}");
    }
    assert!(Endpoints::at("/a/b-c_d.e").is_ok());
}

// Extend

#[tokio::test]
async fn t1_extend_is_an_interaction_and_answers_as_status_does() {
    let store = Probe::remote(MemoryStore::new());
    let site = site_over(store, |layer| layer.with_policy(policy(Mode::Persistent)));
    let browser = site.browser();
    browser.post("/login/alice").await;
    for _ in 0..3 {
        site.clock.advance(IDLE - TICK);
        let reply = post(&browser, "/session/extend").await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(json(&reply)["seconds_left"], 900.0);
        assert_eq!(json(&reply)["now"], site.clock.now().to_string());
        assert_eq!(reply.set_cookies().len(), 1, "the persistent cookie moves along");
        assert_eq!(json(&browser.get("/session/status").await)["seconds_left"], 900.0);
    }
}

#[tokio::test]
async fn t1_extend_never_moves_the_absolute_deadline() {
    let site = site();
    let browser = site.browser();
    browser.post("/login/alice").await;
    for _ in 0..5 {
        site.clock.advance(ABSOLUTE / 5 - TICK);
        let status = json(&post(&browser, "/session/extend").await);
        assert_eq!(status["expires_at"], "2026-01-01T01:00:00.000Z");
    }
    site.clock.advance(5 * TICK);
    let reply = post(&browser, "/session/extend").await;
    assert_eq!((reply.status, reply.reason().as_deref()), (StatusCode::UNAUTHORIZED, Some("absolute")));
}

#[tokio::test]
async fn t1_extend_without_a_live_session_is_401_with_the_reason() {
    let store = MemoryStore::new();
    let site = site_over(store.clone(), |layer| layer);
    let browser = site.browser();
    let reply = post(&browser, "/session/extend").await;
    assert_eq!((reply.status, reply.reason().as_deref()), (StatusCode::UNAUTHORIZED, Some("none")));
    assert_eq!(reply.headers[header::CONTENT_TYPE], "application/problem+json");
    assert!(reply.headers.contains_key(header::WWW_AUTHENTICATE));
    assert!(store.is_empty());

    browser.post("/login/alice").await;
    let (idle, left) = (browser.copy(), browser.copy());
    post(&browser, "/session/logout").await;
    let reply = post(&left, "/session/extend").await;
    assert_eq!((reply.status, reply.reason().as_deref()), (StatusCode::UNAUTHORIZED, Some("signed_out")));
    idle.post("/login/alice").await;
    site.clock.advance(IDLE);
    let reply = post(&idle, "/session/extend").await;
    assert_eq!((reply.status, reply.reason().as_deref()), (StatusCode::UNAUTHORIZED, Some("idle")));
    assert!(reply.removes_cookie());
}

#[tokio::test]
async fn t1_extend_extends_also_where_a_classifier_marks_everything_passive() {
    let site = site_over(MemoryStore::new(), |layer| layer.with_activity(|_| Activity::Passive));
    let browser = site.browser();
    browser.post("/login/alice").await;
    site.clock.advance(IDLE - TICK);
    assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    assert_eq!(json(&browser.get("/session/status").await)["seconds_left"], 0.001, "that was passive");
    assert_eq!(json(&post(&browser, "/session/extend").await)["seconds_left"], 900.0);
    site.clock.advance(IDLE - TICK);
    assert_eq!(browser.get("/me").await.status, StatusCode::OK);
}

#[tokio::test]
async fn t1_status_is_passive_also_where_a_classifier_marks_everything_an_interaction() {
    let site = site_over(MemoryStore::new(), |layer| layer.with_activity(|_| Activity::Interaction));
    let browser = site.browser();
    browser.post("/login/alice").await;
    site.clock.advance(IDLE - TICK);
    assert!(is_live(&browser).await);
    site.clock.advance(TICK);
    assert!(!is_live(&browser).await);
}

/// Guards against a page that says "extended" about a session that was not extended.
#[tokio::test]
async fn t1_extend_that_could_not_be_recorded_does_not_say_it_was() {
    let store = Probe::remote(MemoryStore::new());
    let site = site_over(store.clone(), |layer| layer);
    let browser = site.browser();
    browser.post("/login/alice").await;
    for advance in [100 * SECOND, 700 * SECOND] {
        site.clock.advance(advance);
        store.fail(Operation::Update, usize::MAX);
        let reply = post(&browser, "/session/extend").await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(reply.set_cookies(), [""; 0]);
        store.fail(Operation::Update, 0);
    }
    assert_eq!(json(&browser.get("/session/status").await)["seconds_left"], 100.0);
    assert_eq!(json(&post(&browser, "/session/extend").await)["seconds_left"], 900.0);
}

#[tokio::test]
async fn t1_without_the_store_no_answer_says_logged_out() {
    let store = Probe::remote(MemoryStore::new());
    let site = site_over(store.clone(), |layer| layer);
    let browser = site.browser();
    browser.post("/login/alice").await;
    for (operation, method, path) in [
        (Operation::Load, Method::GET, "/session/status"),
        (Operation::Load, Method::POST, "/session/extend"),
        (Operation::Load, Method::POST, "/session/logout"),
        (Operation::End, Method::POST, "/session/logout"),
    ] {
        store.fail(operation, 1);
        let request = request(method, path, &[("sec-fetch-site", "same-origin")]);
        let reply = browser.request(request).await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{operation} {path}");
        assert_eq!(reply.set_cookies(), [""; 0], "{operation} {path}");
        assert_eq!(reply.headers[header::CACHE_CONTROL], "no-store");
    }
    assert_eq!(browser.get("/me").await.body, "alice");
}

// Logout

#[tokio::test]
async fn t1_logout_ends_the_session_and_takes_the_cookie() {
    let site = site();
    let browser = site.browser();
    browser.post("/login/alice").await;
    let tab = browser.copy();
    let reply = post(&browser, "/session/logout").await;
    assert_eq!(reply.status, StatusCode::NO_CONTENT);
    assert!(reply.removes_cookie());
    assert_eq!(json(&tab.get("/session/status").await)["reason"], "signed_out");
    assert_eq!(
        post(&browser, "/session/logout").await.status,
        StatusCode::NO_CONTENT,
        "once more is no error"
    );
}

// Methods

#[tokio::test]
async fn t1_another_method_is_405_with_allow_and_passive() {
    let site = site();
    let same = [("sec-fetch-site", "same-origin")];
    let methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "get"];
    for (path, allow) in [("status", "GET, HEAD"), ("extend", "POST"), ("logout", "POST")] {
        for method in methods {
            if allow.split(", ").any(|allowed| allowed == method) {
                continue;
            }
            let browser = site.browser();
            browser.post("/login/alice").await;
            site.clock.advance(SECOND);
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let reply = browser.request(request(method.clone(), &format!("/session/{path}"), &same)).await;
            assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            assert_eq!(reply.headers[header::ALLOW], allow);
            assert_eq!(reply.set_cookies(), [""; 0]);
            let status = json(&browser.get("/session/status").await);
            assert_eq!(status["seconds_left"], 899.0, "{method} {path} is passive");
        }
    }
}

#[tokio::test]
async fn t1_a_preflight_is_left_to_the_application() {
    let site = site();
    let preflight = [("origin", "https://evil.example"), ("access-control-request-method", "POST")];
    let reply = site.send(request(Method::OPTIONS, "/session/logout", &preflight)).await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    assert!(!reply.headers.contains_key("access-control-allow-origin"));
}

// Cross-site request forgery

/// Headers, and whether such a request may change something at `https://app.example`.
const MATRIX: &[(&[(&str, &str)], bool)] = &[
    // The browser sends `Sec-Fetch-Site`.
    (&[("sec-fetch-site", "same-origin")], true),
    (&[("sec-fetch-site", "none")], true),
    (&[("sec-fetch-site", "same-site")], false),
    (&[("sec-fetch-site", "cross-site")], false),
    (&[("sec-fetch-site", "")], false),
    (&[("sec-fetch-site", "SAME-ORIGIN")], false),
    (&[("sec-fetch-site", "same-origin, cross-site")], false),
    (&[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")], false),
    (&[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "same-origin")], false),
    // Then `Origin` is ignored, whether it matches or not.
    (&[("sec-fetch-site", "cross-site"), ("host", "app.example"), ("origin", "https://app.example")], false),
    (&[("sec-fetch-site", "same-site"), ("host", "app.example"), ("origin", "https://app.example")], false),
    (&[("sec-fetch-site", "same-origin"), ("host", "app.example"), ("origin", "null")], true),
    // An older browser sends only `Origin`, which must match in scheme, host and port.
    (&[("host", "app.example"), ("origin", "https://app.example")], true),
    (&[("host", "APP.example"), ("origin", "https://app.example")], true),
    (&[("host", "app.example:443"), ("origin", "https://app.example")], true),
    (&[("host", "app.example"), ("origin", "https://app.example:443")], true),
    (&[("host", "app.example:8443"), ("origin", "https://app.example:8443")], true),
    (&[("host", "[::1]:8443"), ("origin", "https://[::1]:8443")], true),
    (&[("host", "app.example"), ("origin", "http://app.example")], false),
    (&[("host", "app.example:80"), ("origin", "http://app.example")], false),
    (&[("host", "app.example"), ("origin", "https://app.example:8443")], false),
    (&[("host", "app.example:8443"), ("origin", "https://app.example")], false),
    (&[("host", "app.example"), ("origin", "https://evil.example")], false),
    (&[("host", "app.example"), ("origin", "https://x.app.example")], false),
    (&[("host", "app.example"), ("origin", "https://app.example.evil.example")], false),
    (&[("host", "app.example"), ("origin", "https://app.examplex")], false),
    (&[("host", "app.example"), ("origin", "app.example")], false),
    (&[("host", "app.example"), ("origin", "null")], false),
    (&[("host", "null"), ("origin", "null")], false),
    (&[("host", "app.example"), ("origin", "")], false),
    (&[("host", ""), ("origin", "https://")], false),
    (&[("host", "app.example"), ("origin", "file://")], false),
    (&[("host", "app.example"), ("origin", "data:text/html,x")], false),
    (&[("host", "app.example"), ("origin", "https://app.example"), ("origin", "https://app.example")], false),
    (
        &[("host", "app.example"), ("origin", "https://app.example"), ("origin", "https://evil.example")],
        false,
    ),
    (&[("host", "app.example"), ("origin", "https://app.example https://evil.example")], false),
    (&[("host", "app.example"), ("host", "evil.example"), ("origin", "https://evil.example")], false),
    (&[("host", "evil.example"), ("host", "app.example"), ("origin", "https://evil.example")], false),
    // A duplicate `Sec-Fetch-Site` is refused. A matching `Origin` does not help.
    (
        &[
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-origin"),
            ("host", "app.example"),
            ("origin", "https://app.example"),
        ],
        false,
    ),
    // A host that a URL parser would read as another part of a URL.
    (&[("host", "x@evil.example"), ("origin", "https://evil.example")], false),
    (&[("host", "evil.example/x"), ("origin", "https://evil.example")], false),
    (&[("host", "evil.example?"), ("origin", "https://evil.example")], false),
    (&[("host", "evil.example#"), ("origin", "https://evil.example")], false),
    (&[("host", "evil.example\\x"), ("origin", "https://evil.example")], false),
    // An origin that only a lenient parser accepts.
    (&[("host", "app.example"), ("origin", "https:///app.example")], false),
    (&[("host", "app.example"), ("origin", "app:app.example")], false),
    // No header, or only headers that are not evidence.
    (&[], false),
    (&[("host", "app.example")], false),
    (&[("origin", "https://app.example")], false),
    (&[("host", "app.example"), ("referer", "https://app.example/page")], false),
    (
        &[("host", "app.example"), ("x-forwarded-host", "evil.example"), ("origin", "https://evil.example")],
        false,
    ),
    (&[("host", "app.example"), ("x-requested-with", "XMLHttpRequest")], false),
    (&[("host", "app.example"), ("sec-fetch-mode", "same-origin")], false),
];

#[tokio::test]
async fn t1_a_change_is_refused_unless_it_comes_from_our_own_origin() {
    let site = site();
    for (headers, allowed) in MATRIX {
        for (path, done) in [("/session/extend", StatusCode::OK), ("/session/logout", StatusCode::NO_CONTENT)]
        {
            let browser = site.browser();
            browser.post("/login/alice").await;
            site.clock.advance(SECOND);
            let reply = browser.request(request(Method::POST, path, headers)).await;
            let expected = if *allowed { done } else { StatusCode::FORBIDDEN };
            assert_eq!(reply.status, expected, "{path} {headers:?}");
            if !allowed {
                assert_eq!(reply.headers[header::CONTENT_TYPE], "application/problem+json");
                assert_eq!(reply.set_cookies(), [""; 0]);
                let status = json(&browser.get("/session/status").await);
                assert_eq!(status["seconds_left"], 899.0, "{headers:?}: neither ended nor extended");
            }
        }
    }
}

#[tokio::test]
async fn t1_status_is_for_everybody_and_says_nothing_that_another_site_could_read() {
    let site = site();
    let browser = site.browser();
    browser.post("/login/alice").await;
    let headers = [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")];
    let reply = browser.request(request(Method::GET, "/session/status", &headers)).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(reply.headers.keys().all(|name| !name.as_str().starts_with("access-control-")));
}

#[test]
fn t1_the_scheme_is_the_one_that_browsers_use() {
    let from = |origin: &'static str, host: &'static str, scheme| {
        let request = request(Method::POST, "/", &[("host", host), ("origin", origin)]);
        is_same_origin(RequestHead::from(&request), scheme)
    };
    assert!(from("http://localhost:3000", "localhost:3000", Scheme::Http));
    assert!(from("http://app.example", "app.example:80", Scheme::Http));
    assert!(!from("https://app.example", "app.example", Scheme::Http));
    assert!(!from("http://app.example", "app.example", Scheme::Https));
    assert!(!from("http://localhost:3000", "127.0.0.1:3000", Scheme::Http));
    // In HTTP/2 the host is in the target.
    let h2 = |origin: &'static str| {
        let request = request(Method::POST, "https://app.example/session/extend", &[("origin", origin)]);
        is_same_origin(RequestHead::from(&request), Scheme::Https)
    };
    assert!(h2("https://app.example"));
    assert!(!h2("https://evil.example"));
}

/// Guards: no request for an endpoint reaches the application.
#[tokio::test]
async fn t1_the_application_never_sees_what_is_for_the_endpoints() {
    let routes = Router::new().fallback(async || StatusCode::IM_A_TEAPOT);
    let store = MemoryStore::new();
    let site =
        Site::over(SessionLayer::new(store.clone()), routes, |layer| layer.with_endpoints(endpoints()));
    for path in ["/session/status", "/session/extend", "/session/logout"] {
        for method in [Method::GET, Method::POST, Method::PUT] {
            for from in ["same-origin", "cross-site"] {
                let request = request(method.clone(), path, &[("sec-fetch-site", from)]);
                assert_ne!(site.send(request).await.status, StatusCode::IM_A_TEAPOT, "{method} {path}");
            }
        }
    }
    let page = Page { realm: "__Host-id".into(), subject: None, after: None, limit: 10 };
    assert_eq!(store.list(page).await.unwrap(), []);
}

// Behind a proxy

/// E8: a proxy that forwards `https://app.example/shop/…` to `10.0.0.7:3000/…`.
#[tokio::test]
async fn e8_behind_a_proxy_the_public_address_counts_and_not_the_host() {
    let public = PublicUrl::new("https://app.example/shop").unwrap();
    let endpoints = endpoints().with_public_url(&public);
    assert_eq!(endpoints.public_path("extend"), "/shop/session/extend");
    assert!(endpoints.script_path().starts_with("/shop/session/tenure."));
    let script = endpoints.script_path().replacen("/shop", "", 1);
    let site = site_over(MemoryStore::new(), |layer| layer.with_endpoints(endpoints));
    let browser = site.browser();
    assert_eq!(browser.get(&script).await.status, StatusCode::OK);
    browser.post("/login/alice").await;
    for (origin, expected) in [
        ("https://app.example", StatusCode::OK),
        ("https://app.example:443", StatusCode::OK),
        ("https://App.Example", StatusCode::OK),
        ("http://app.example", StatusCode::FORBIDDEN),
        ("https://app.example:8443", StatusCode::FORBIDDEN),
        ("http://10.0.0.7:3000", StatusCode::FORBIDDEN),
        ("https://10.0.0.7:3000", StatusCode::FORBIDDEN),
        ("https://evil.example", StatusCode::FORBIDDEN),
        ("null", StatusCode::FORBIDDEN),
    ] {
        // The application has not declared these headers as trusted.
        let forged = ("x-forwarded-host", "evil.example");
        let headers = [("host", "10.0.0.7:3000"), ("origin", origin), ("x-forwarded-proto", "http"), forged];
        let reply = browser.request(request(Method::POST, "/session/extend", &headers)).await;
        assert_eq!(reply.status, expected, "{origin}");
    }
    let neither = request(Method::POST, "/session/extend", &[("host", "10.0.0.7:3000")]);
    assert_eq!(browser.request(neither).await.status, StatusCode::FORBIDDEN);
    let cross_site = [("sec-fetch-site", "cross-site"), ("origin", "https://app.example")];
    let reply = browser.request(request(Method::POST, "/session/extend", &cross_site)).await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
}
