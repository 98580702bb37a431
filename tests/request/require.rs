//! Routes that need a session (SPEC E1 to E4, C8): what each client learns, and stricter rules that
//! never weaken the policy.

use std::{num::NonZeroU32, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::Path,
    http::{Method, Request, StatusCode, Uri, header},
    routing::{any, get, post},
};
use tower_tenure::{
    LoginPage, MemoryStore, Outcome, Policy, PublicUrl, RequireSession, Session, SessionLayer, SessionStore,
    is_same_origin_path,
    policy::{Cap, Overflow},
    store::AnyStore,
    testing::Probe,
};
use url::Url;

use crate::common::{ABSOLUTE, Browser, IDLE, Reply, SECOND, Site, TICK, policy, usual_routes};

fn guarded(path: &str, guard: RequireSession) -> Router {
    Router::new().route(path, any(async || "let through")).layer(guard)
}

/// The usual routes, and some behind stricter rules.
fn layer_and_routes(store: impl SessionStore) -> (SessionLayer, Router) {
    let routes = usual_routes()
        .merge(guarded("/recent", RequireSession::new().with_authentication_within(5 * SECOND)))
        .merge(guarded("/strict", RequireSession::new().with_idle_lifetime(60 * SECOND)))
        .merge(guarded("/lax", RequireSession::new().with_idle_lifetime(10 * IDLE)))
        .merge(guarded("/any", RequireSession::new().with_anonymous()))
        .merge(guarded(
            "/page/{*rest}",
            RequireSession::new().with_login_page(LoginPage::from_static("/login")),
        ));
    (SessionLayer::new(store), routes)
}

fn site() -> Site {
    site_with(policy())
}

fn site_with(policy: Policy) -> Site {
    let (layer, routes) = layer_and_routes(MemoryStore::new());
    Site::over(layer, routes, |layer| layer.with_policy(policy))
}

fn navigation(method: Method, uri: impl TryInto<Uri, Error: Into<axum::http::Error>>) -> Request<Body> {
    let request = Request::builder().method(method).uri(uri).header("sec-fetch-mode", "navigate");
    request.body(Body::empty()).unwrap()
}

fn location(reply: &Reply) -> &str {
    reply.headers[header::LOCATION].to_str().unwrap()
}

// E1

/// Checks everything that E1 requires of a refusal.
#[track_caller]
fn assert_refused(reply: &Reply, reason: &str) {
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{reason}");
    assert_eq!(reply.headers[header::CONTENT_TYPE], "application/problem+json");
    assert_eq!(
        reply.headers[header::WWW_AUTHENTICATE],
        "Cookie realm=\"session\", cookie-name=\"__Host-id\""
    );
    assert_eq!(reply.headers[header::CACHE_CONTROL], "no-store");
    assert_eq!(reply.headers[header::VARY], "cookie");
    let problem: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    // RFC 9457, section 3.1: an absent `type` means about:blank, `status` equals the response's,
    // and texts are strings.
    let problem = problem.as_object().unwrap();
    let members: Vec<_> = problem.keys().map(String::as_str).collect();
    assert_eq!(members, ["detail", "reason", "status", "title"]);
    assert_eq!(problem["status"], 401);
    assert_eq!(problem["reason"], reason);
    assert!(!problem["title"].as_str().unwrap().is_empty());
    assert!(problem["detail"].as_str().unwrap().ends_with('.'));
}

#[tokio::test]
async fn e1_none_is_for_who_never_had_a_session_or_holds_something_we_do_not_know() {
    let site = site();
    let browser = site.browser();
    assert_refused(&browser.get("/me").await, "none");
    for cookie in ["__Host-id=junk".to_owned(), format!("__Host-id={}", "A".repeat(64))] {
        browser.set_cookies(Some(&cookie));
        assert_refused(&browser.get("/me").await, "none");
    }
}

#[tokio::test]
async fn e1_idle_absolute_signed_out_revoked_evicted_and_superseded_are_distinct_reasons() {
    let (layer, routes) = layer_and_routes(MemoryStore::new());
    let clock = tower_tenure::testing::ManualClock::default();
    let cap = Cap::new(NonZeroU32::MIN, Overflow::Evict);
    let layer = layer.with_clock(clock.clone()).with_policy(policy().with_cap(Some(cap)));
    let sessions = layer.sessions();
    let mut site = Site::over(layer, routes, |layer| layer.with_clock(clock.clone()));
    site.clock = clock;
    // One subject for each reason, so that the cap affects only the evicted one.
    let log_in = async |user: &str| {
        let browser = site.browser();
        assert_eq!(browser.post(&format!("/login/{user}")).await.status, StatusCode::OK);
        browser
    };

    let idle = log_in("idle").await;
    site.clock.advance(IDLE);
    assert_refused(&idle.get("/me").await, "idle");

    let absolute = log_in("absolute").await;
    for _ in 0..7 {
        site.clock.advance(ABSOLUTE / 8);
        assert_eq!(absolute.get("/me").await.status, StatusCode::OK);
    }
    site.clock.advance(ABSOLUTE / 8);
    assert_refused(&absolute.get("/me").await, "absolute");

    let signed_out = log_in("leaver").await;
    let witness = signed_out.copy();
    signed_out.post("/logout").await;
    assert_refused(&witness.get("/me").await, "signed_out");

    let revoked = log_in("suspect").await;
    sessions.revoke_all("suspect", None).await.unwrap();
    assert_refused(&revoked.get("/me").await, "revoked");

    let evicted = log_in("wanderer").await;
    let newer = log_in("wanderer").await;
    assert_refused(&evicted.get("/me").await, "evicted");
    assert_eq!(newer.get("/me").await.body, "wanderer");

    let superseding = log_in("twice").await;
    let superseded = superseding.copy();
    superseding.post("/login/twice").await;
    assert_refused(&superseded.get("/me").await, "superseded");
    assert_eq!(superseding.get("/me").await.body, "twice");

    site.clock.advance(5 * SECOND);
    assert_refused(&superseding.get("/recent").await, "step_up");
}

#[tokio::test]
async fn e1_an_anonymous_session_is_none_unless_it_is_asked_for() {
    let site = site();
    let browser = site.browser();
    assert_refused(&browser.get("/any").await, "none");
    browser.put("/data/cart", "x").await;
    assert_refused(&browser.get("/me").await, "none");
    assert_refused(&browser.get("/recent").await, "none");
    assert_eq!(browser.get("/any").await.status, StatusCode::OK);
    assert_eq!(browser.get("/data/cart").await.body, "x", "it is not ended by that");
}

#[tokio::test]
async fn e1_a_refused_request_does_not_reach_the_handler() {
    let store = MemoryStore::new();
    let guard = RequireSession::new();
    let routes = usual_routes().route_layer(guard);
    let site = Site::over(SessionLayer::new(store.clone()), routes, |layer| layer);
    for reply in [site.browser().put("/data/x", "x").await, site.browser().post("/login/alice").await] {
        assert_refused(&reply, "none");
    }
    assert!(store.is_empty());
}

#[tokio::test]
async fn e1_preflights_pass_and_other_options_do_not() {
    let site = site();
    let options = |headers: &[(&'static str, &'static str)]| {
        let mut request = Request::options("/strict").body(Body::empty()).unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        request
    };
    let origin = ("origin", "https://other.example");
    let asks = ("access-control-request-method", "PUT");
    assert_eq!(site.send(options(&[origin, asks])).await.body, "let through");
    for headers in [&[][..], &[origin], &[asks]] {
        assert_refused(&site.send(options(headers)).await, "none");
    }
    let mut get = options(&[origin, asks]);
    *get.method_mut() = Method::GET;
    assert_refused(&site.send(get).await, "none");
}

#[tokio::test]
async fn e1_a_guard_outside_of_any_layer_says_what_is_wrong() {
    use tower::ServiceExt;
    let request = Request::get("/x").body(Body::empty()).unwrap();
    let reply = Reply::read(guarded("/x", RequireSession::new()).oneshot(request).await.unwrap()).await;
    assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR, "closed, not open");
    assert!(reply.body.contains("put a SessionLayer outside it"));
}

#[tokio::test]
async fn e1_a_navigation_is_redirected_with_the_path_and_query_it_wanted() {
    let site = site();
    for (wanted, return_to) in [
        ("/page/a", "/page/a"),
        ("/page/a?tab=1&x=y%20z", "/page/a%3Ftab%3D1%26x%3Dy%2520z"),
        ("/page/%C3%A4?q=%26return_to=/evil", "/page/%25C3%25A4%3Fq%3D%2526return_to%3D/evil"),
        ("/page/a?b#", "/page/a%3Fb"),
        ("/page/a+b", "/page/a%2Bb"),
    ] {
        let reply = site.browser().request(navigation(Method::GET, wanted)).await;
        assert_eq!(reply.status, StatusCode::SEE_OTHER, "{wanted}");
        assert_eq!(location(&reply), format!("/login?return_to={return_to}&reason=none"));
        assert_eq!(reply.headers[header::CACHE_CONTROL], "no-store");
        // A server decodes the original path.
        let url = Url::parse("https://app.example").unwrap().join(location(&reply)).unwrap();
        let query: Vec<_> = url.query_pairs().collect();
        let return_to = ("return_to".into(), wanted.trim_end_matches('#').into());
        assert_eq!(query, [return_to, ("reason".into(), "none".into())]);
    }
}

#[tokio::test]
async fn e1_what_was_posted_is_not_returned_to() {
    let site = site();
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        let reply = site.browser().request(navigation(method, "/page/a?x=1")).await;
        assert_eq!((reply.status, location(&reply)), (StatusCode::SEE_OTHER, "/login?reason=none"));
    }
    let head = site.browser().request(navigation(Method::HEAD, "/page/a")).await;
    assert_eq!(location(&head), "/login?return_to=/page/a&reason=none");
}

#[tokio::test]
async fn e1_what_is_no_navigation_gets_a_problem_also_with_a_login_page() {
    let site = site();
    let request = |name: &'static str, value: &'static str| {
        Request::get("/page/a").header(name, value).body(Body::empty()).unwrap()
    };
    for (name, value) in [
        ("sec-fetch-mode", "cors"),
        ("sec-fetch-mode", "same-origin"),
        ("accept", "application/json"),
        ("accept", "*/*"),
        ("x", "y"),
    ] {
        assert_refused(&site.send(request(name, value)).await, "none");
    }
    let mut script = request("accept", "text/html,*/*");
    script.headers_mut().insert("sec-fetch-mode", "cors".parse().unwrap());
    assert_refused(&site.send(script).await, "none");
    let old_browser = site.send(request("accept", "text/html,application/xhtml+xml,*/*;q=0.8")).await;
    assert_eq!(old_browser.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn e1_a_redirect_also_takes_the_dead_cookie_away() {
    let site = site();
    let browser = site.browser();
    browser.post("/login/alice").await;
    site.clock.advance(IDLE);
    let reply = browser.request(navigation(Method::GET, "/page/a")).await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER);
    assert!(reply.removes_cookie());
}

/// Guards against a login page that cannot show the reason: the redirect removes the cookie from
/// which the page could have read it.
#[tokio::test]
async fn e1_the_redirect_says_why_to_any_method() {
    let (layer, routes) = layer_and_routes(MemoryStore::new());
    let clock = tower_tenure::testing::ManualClock::default();
    let cap = Cap::new(NonZeroU32::MIN, Overflow::Evict);
    let step_up = RequireSession::new().with_authentication_within(5 * SECOND);
    let routes = routes.merge(guarded("/sudo", step_up.with_login_page(LoginPage::from_static("/login"))));
    let layer = layer.with_clock(clock.clone()).with_policy(policy().with_cap(Some(cap)));
    let sessions = layer.sessions();
    let mut site = Site::over(layer, routes, |layer| layer.with_clock(clock.clone()));
    site.clock = clock;
    let log_in = async |user: &str| {
        let browser = site.browser();
        browser.post(&format!("/login/{user}")).await;
        browser
    };
    let assert_sent = async |browser: &Browser, path: &str, reason: &str| {
        let page = browser.copy().request(navigation(Method::GET, path)).await;
        let return_to = path.replace('?', "%3F");
        assert_eq!(location(&page), format!("/login?return_to={return_to}&reason={reason}"));
        let form = browser.copy().request(navigation(Method::POST, path)).await;
        assert_eq!(
            (form.status, location(&form)),
            (StatusCode::SEE_OTHER, &*format!("/login?reason={reason}"))
        );
    };
    assert_sent(&site.browser(), "/page/a", "none").await;

    let signed_out = log_in("leaver").await;
    signed_out.copy().post("/logout").await;
    assert_sent(&signed_out, "/page/a", "signed_out").await;

    let revoked = log_in("suspect").await;
    sessions.revoke_all("suspect", None).await.unwrap();
    assert_sent(&revoked, "/page/a", "revoked").await;

    let evicted = log_in("wanderer").await;
    log_in("wanderer").await;
    assert_sent(&evicted, "/page/a", "evicted").await;

    let superseded = log_in("twice").await;
    superseded.copy().post("/login/twice").await;
    assert_sent(&superseded, "/page/a", "superseded").await;

    let live = log_in("live").await;
    site.clock.advance(5 * SECOND);
    assert_sent(&live, "/sudo", "step_up").await;

    site.clock.advance(IDLE);
    assert_sent(&live, "/page/a", "idle").await;

    let absolute = log_in("absolute").await;
    for _ in 0..8 {
        assert_eq!(absolute.get("/me").await.status, StatusCode::OK);
        site.clock.advance(ABSOLUTE / 8);
    }
    assert_sent(&absolute, "/page/a", "absolute").await;
}

/// Guards against an endless redirect of a login page that is inside the guard.
#[tokio::test]
async fn e1_the_login_page_itself_is_neither_redirected_to_nor_denied() {
    let guard = RequireSession::new().with_login_page(LoginPage::from_static("/login"));
    let routes = Router::new()
        .route("/login", any(async || "who are you?"))
        .fallback(any(async || "let through"))
        .layer(guard.clone());
    let site = Site::over(SessionLayer::new(MemoryStore::new()), routes, |layer| layer);
    let sent = site.browser().request(navigation(Method::GET, "/account")).await;
    let login = site.browser().request(navigation(Method::GET, location(&sent))).await;
    assert_eq!((login.status, &*login.body), (StatusCode::OK, "who are you?"));
    assert_eq!(site.browser().post("/login").await.body, "who are you?", "its form");
    assert_refused(&site.browser().get("/login/x").await, "none");

    // The same holds if the session layer skips its login page.
    let routes = Router::new().route("/login", any(async || "who are you?")).layer(guard);
    let inner = SessionLayer::new(MemoryStore::new())
        .with_cookie(tower_tenure::cookie::SessionCookie::builder("__Host-inner").build().unwrap())
        .with_skip(|head| head.uri.path() == "/login");
    let site = Site::over(SessionLayer::new(MemoryStore::new()), routes.layer(inner), |layer| layer);
    let login = site.browser().request(navigation(Method::GET, "/login?reason=none")).await;
    assert_eq!(login.body, "who are you?");
}

#[tokio::test]
async fn e1_a_prefix_that_a_proxy_took_is_put_back() {
    let public = PublicUrl::new("https://app.example/shop").unwrap();
    let guard_with = |page: &'static str| {
        RequireSession::new().with_public_url(&public).with_login_page(LoginPage::from_static(page))
    };
    for (guard, expected) in [
        (guard_with("/shop/login"), "/shop/login?return_to=/shop/a%3Fb&reason=none"),
        (guard_with("/login"), "/login?return_to=/shop/a%3Fb&reason=none"),
        (guard_with("https://id.example/"), "https://id.example/?return_to=/shop/a%3Fb&reason=none"),
    ] {
        let routes = Router::new().fallback(any(async || "let through")).layer(guard);
        let site = Site::over(SessionLayer::new(MemoryStore::new()), routes, |layer| layer);
        let reply = site.browser().request(navigation(Method::GET, "/a?b")).await;
        assert_eq!(location(&reply), expected);
        let login = site.browser().request(navigation(Method::GET, "/login")).await;
        let passes = expected.starts_with("/shop/login");
        assert_eq!(login.status == StatusCode::OK, passes, "{expected}");
    }
    for prefix in ["//shop", "/shop//", "/sh op", "/shop?x", "/shop#x", "/\\shop", "/käse"] {
        assert!(PublicUrl::new(&format!("https://app.example{prefix}")).is_err(), "{prefix:?}");
    }
}

#[tokio::test]
async fn e8_with_a_public_url_the_redirect_has_its_prefix_and_an_absolute_login_page_is_found() {
    let public = PublicUrl::new("https://app.example/shop").unwrap();
    for page in [public.path("/login"), "https://app.example/shop/login".to_owned()] {
        let guard = RequireSession::new()
            .with_public_url(&public)
            .with_login_page(LoginPage::new(page.clone()).unwrap());
        let routes = Router::new().fallback(any(async || "let through")).layer(guard);
        let site = Site::over(SessionLayer::new(MemoryStore::new()), routes, |layer| layer);
        let reply = site.browser().request(navigation(Method::GET, "/a?b")).await;
        assert_eq!(location(&reply), format!("{page}?return_to=/shop/a%3Fb&reason=none"));
        let login = site.browser().request(navigation(Method::GET, "/login")).await;
        assert_eq!(login.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn e1_a_login_page_with_a_query_or_on_another_host_is_extended_not_broken() {
    for (page, expected) in [
        ("/login?lang=de", "/login?lang=de&return_to=/x&reason=none"),
        ("https://id.example/login", "https://id.example/login?return_to=/x&reason=none"),
    ] {
        let routes = guarded("/x", RequireSession::new().with_login_page(LoginPage::from_static(page)));
        let site = Site::over(SessionLayer::new(MemoryStore::new()), routes, |layer| layer);
        let reply = site.browser().request(navigation(Method::GET, "/x")).await;
        assert_eq!(location(&reply), expected);
    }
    for page in ["", "login", "//id.example", "/\\id.example", "javascript:alert(1)", "/login#x", "/a\nb"] {
        assert!(LoginPage::new(page).is_err(), "{page:?}");
    }
}

#[tokio::test]
async fn e1_a_nested_router_keeps_the_full_path() {
    let guard = RequireSession::new().with_login_page(LoginPage::from_static("/login"));
    let inner = Router::new().route("/deep/{id}", get(async || "let through")).layer(guard);
    let routes = Router::new().nest("/outer", Router::new().nest("/inner", inner));
    let site = Site::over(SessionLayer::new(MemoryStore::new()), routes, |layer| layer);
    let reply = site.browser().request(navigation(Method::GET, "/outer/inner/deep/7?x=1")).await;
    assert_eq!(location(&reply), "/login?return_to=/outer/inner/deep/7%3Fx%3D1&reason=none");
}

/// Follows the redirect and then `return_to`, as a browser and a login page do.
#[track_caller]
fn assert_stays_here(reply: &Reply, wanted: &str) {
    let here = Url::parse("https://app.example/somewhere").unwrap();
    let login = here.join(location(reply)).unwrap();
    assert_eq!((login.origin(), login.path()), (here.origin(), "/login"), "{wanted:?}");
    let mut pairs: Vec<_> = login.query_pairs().collect();
    assert_eq!(pairs.pop(), Some(("reason".into(), "none".into())), "{wanted:?}");
    for (name, value) in pairs {
        assert_eq!(name, "return_to");
        assert!(is_same_origin_path(&value), "a login page would refuse it: {value:?}");
        let back = login.join(&value).unwrap();
        assert_eq!(back.origin(), here.origin(), "{wanted:?} leads to {back}");
    }
}

#[tokio::test]
async fn e1_no_path_makes_the_redirect_leave_this_origin() {
    let guard = RequireSession::new().with_login_page(LoginPage::from_static("/login"));
    let routes = Router::new().fallback(any(async || "let through")).layer(guard);
    let site = Site::over(SessionLayer::new(MemoryStore::new()), routes, |layer| layer);
    let mut seen = 0;
    for wanted in [
        "//evil.com",
        "///evil.com",
        "////evil.com/..",
        "//evil.com/%2f..",
        "//user@evil.com:443/",
        "/\\evil.com",
        "/\\/evil.com",
        "/\\\\evil.com",
        "/x\\..\\..\\\\evil.com",
        "/%09/evil.com",
        "/%5cevil.com",
        "/%0d%0aLocation:%20https://evil.com",
        "/.//evil.com",
        "/..//evil.com",
        "/x/..//evil.com",
        "/%2e%2e//evil.com",
        "/;//evil.com",
        "/@evil.com",
        "/https://evil.com",
        "/?//evil.com",
        "/?https://evil.com#x",
        "http://evil.com/",
        "https://evil.com//evil.com",
        "https://evil.com/\\evil.com",
        "*",
        "/\"><script>",
    ] {
        let Ok(uri) = wanted.parse::<Uri>() else { continue };
        seen += 1;
        let reply = site.browser().request(navigation(Method::GET, uri)).await;
        assert_eq!(reply.status, StatusCode::SEE_OTHER, "{wanted}");
        assert_stays_here(&reply, wanted);
    }
    assert!(seen >= 20, "most of them reach a server");
}

#[test]
fn e1_a_path_of_this_origin_is_distinguished_from_one_that_only_looks_so() {
    let here = Url::parse("https://app.example/login").unwrap();
    for good in ["/", "/a", "/a/b?c=d", "/a//b", "/?//evil.com", "/%09/evil.com", "/ä", "/.//evil.com"] {
        assert!(is_same_origin_path(good), "{good:?}");
        assert_eq!(here.join(good).unwrap().origin(), here.origin(), "{good:?}");
    }
    for bad in [
        "",
        "a",
        "?a",
        "#a",
        "//evil.com",
        "/\\evil.com",
        "\\\\evil.com",
        "\\/evil.com",
        "/\t/evil.com",
        "/\n/evil.com",
        "/\r/evil.com",
        "\t//evil.com",
        " //evil.com",
        " /a",
        "/a b",
        "/\u{0}",
        "/\u{7f}",
        "https://evil.com/",
        "https:/a",
        "javascript:alert(1)",
        "/a\\b",
    ] {
        assert!(!is_same_origin_path(bad), "{bad:?}");
    }
}

// C8

/// Guards against a cache that serves one user's page to another: a response through the guard is
/// private unless it says otherwise.
#[tokio::test]
async fn c8_what_passes_without_a_cache_control_of_its_own_is_private() {
    let own = async || ([(header::CACHE_CONTROL, "private, max-age=60")], "own");
    let routes = Router::new()
        .route("/own", get(own))
        .route("/none", any(async || "none"))
        .route("/missing", get(async || StatusCode::NOT_FOUND))
        .layer(RequireSession::new())
        .merge(usual_routes())
        .route("/outside", get(async || "outside"));
    let site = Site::over(SessionLayer::new(MemoryStore::new()), routes, |layer| layer);
    let browser = site.browser();
    assert_refused(&browser.get("/none").await, "none");
    browser.post("/login/alice").await;
    browser.get("/none").await; // the first one after the login may set the cookie again
    let cache_control = |reply: &Reply| {
        let lines = reply.headers.get_all(header::CACHE_CONTROL).iter();
        lines.map(|line| line.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(cache_control(&browser.get("/none").await), ["private, no-store"]);
    assert_eq!(cache_control(&browser.get("/missing").await), ["private, no-store"]);
    assert_eq!(cache_control(&browser.get("/own").await), ["private, max-age=60"]);
    assert_eq!(cache_control(&browser.get("/outside").await), [""; 0]);
    let preflight = Request::options("/none")
        .header("origin", "https://other.example")
        .header("access-control-request-method", "PUT")
        .body(Body::empty());
    assert_eq!(cache_control(&site.send(preflight.unwrap()).await), [""; 0], "not touched");
}

// E2

#[tokio::test]
async fn e2_step_up_is_asked_exactly_from_the_age_on() {
    let site = site();
    let browser = site.browser();
    browser.post("/login/alice").await;
    assert_eq!(browser.get("/recent").await.status, StatusCode::OK);
    site.clock.advance(5 * SECOND - TICK);
    assert_eq!(browser.get("/recent").await.status, StatusCode::OK);
    site.clock.advance(TICK);
    assert_refused(&browser.get("/recent").await, "step_up");
    assert_eq!(browser.get("/me").await.body, "alice", "elsewhere the session is as good as before");
    browser.post("/rotate").await;
    assert_refused(&browser.get("/recent").await, "step_up");
    browser.post("/login/alice").await;
    assert_eq!(browser.get("/recent").await.status, StatusCode::OK, "a new login heals");
}

#[tokio::test]
async fn e2_a_rule_never_revives_a_session_that_is_over() {
    let site = site();
    let browser = site.browser();
    browser.post("/login/alice").await;
    site.clock.advance(IDLE);
    for path in ["/lax", "/strict", "/recent"] {
        assert_refused(&browser.copy().get(path).await, "idle");
    }
}

#[tokio::test]
async fn e2_a_longer_idle_lifetime_changes_nothing() {
    let site = site();
    let browser = site.browser();
    browser.post("/login/alice").await;
    for _ in 0..3 {
        site.clock.advance(IDLE - TICK);
        assert_eq!(browser.get("/lax").await.status, StatusCode::OK);
    }
    site.clock.advance(IDLE);
    assert_refused(&browser.get("/lax").await, "idle");
}

/// A site over each kind of store. Both record every interaction exactly.
fn sites() -> [Site; 2] {
    let policy = policy().with_granularity(Duration::ZERO);
    let (layer, routes) = layer_and_routes(Probe::remote(MemoryStore::new()));
    [site_with(policy), Site::over(layer, routes, |layer| layer.with_policy(policy))]
}

#[tokio::test]
async fn e2_a_shorter_idle_lifetime_is_over_exactly_at_its_deadline() {
    for site in sites() {
        let browser = site.browser();
        browser.post("/login/alice").await;
        for _ in 0..3 {
            site.clock.advance(60 * SECOND - TICK);
            assert_eq!(browser.get("/strict").await.status, StatusCode::OK);
        }
        site.clock.advance(60 * SECOND);
        assert_refused(&browser.get("/strict").await, "idle");
        assert_eq!(browser.get("/me").await.body, "alice");
    }
}

#[tokio::test]
async fn e2_a_gap_anywhere_since_the_login_counts_whatever_happened_after_it() {
    for site in sites() {
        let browser = site.browser();
        browser.post("/login/alice").await;
        site.clock.advance(10 * SECOND);
        assert_eq!(browser.get("/strict").await.status, StatusCode::OK);
        site.clock.advance(60 * SECOND);
        // Activity on another route moves the last interaction.
        for _ in 0..100 {
            assert_eq!(browser.get("/me").await.status, StatusCode::OK);
            site.clock.advance(SECOND);
        }
        assert_refused(&browser.get("/strict").await, "idle");
        browser.post("/rotate").await;
        assert_refused(&browser.get("/strict").await, "idle");
        browser.post("/login/alice").await;
        assert_eq!(browser.get("/strict").await.status, StatusCode::OK, "a new login heals");
    }
}

#[tokio::test]
async fn e2_background_polls_do_not_fill_a_gap() {
    for site in sites() {
        let browser = site.browser();
        browser.post("/login/alice").await;
        for _ in 0..6 {
            site.clock.advance(10 * SECOND);
            let poll = Request::get("/me").header("session-activity", "passive").body(Body::empty()).unwrap();
            assert_eq!(browser.request(poll).await.status, StatusCode::OK);
        }
        assert_refused(&browser.get("/strict").await, "idle");
    }
}

#[tokio::test]
async fn e2_a_request_that_is_itself_the_end_of_the_gap_is_refused() {
    for site in sites() {
        let browser = site.browser();
        browser.post("/login/alice").await;
        site.clock.advance(60 * SECOND);
        assert_refused(&browser.get("/strict").await, "idle");
        assert_refused(&browser.get("/strict").await, "idle");
    }
}

#[tokio::test]
async fn e2_several_rules_hold_all_at_once() {
    let guard =
        RequireSession::new().with_idle_lifetime(60 * SECOND).with_authentication_within(100 * SECOND);
    let routes = usual_routes().merge(guarded("/both", guard));
    let site = Site::over(SessionLayer::new(MemoryStore::new()), routes, |layer| layer.with_policy(policy()));
    let browser = site.browser();
    browser.post("/login/alice").await;
    site.clock.advance(50 * SECOND);
    assert_eq!(browser.get("/both").await.status, StatusCode::OK);
    site.clock.advance(50 * SECOND);
    assert_refused(&browser.get("/both").await, "step_up");
    browser.post("/login/alice").await;
    site.clock.advance(60 * SECOND);
    assert_refused(&browser.get("/both").await, "idle");
}

#[tokio::test]
async fn e2_a_rule_for_anonymous_sessions_counts_their_gaps_too() {
    let guard = RequireSession::new().with_anonymous().with_idle_lifetime(60 * SECOND);
    let routes = usual_routes().merge(guarded("/cart", guard));
    let site = Site::over(SessionLayer::new(MemoryStore::new()), routes, |layer| layer.with_policy(policy()));
    let browser = site.browser();
    browser.put("/data/cart", "x").await;
    site.clock.advance(60 * SECOND - TICK);
    assert_eq!(browser.get("/cart").await.status, StatusCode::OK);
    site.clock.advance(60 * SECOND);
    assert_refused(&browser.get("/cart").await, "idle");
    // An anonymous session has no authentication time.
    let guard = RequireSession::new().with_anonymous().with_authentication_within(ABSOLUTE);
    let routes = usual_routes().merge(guarded("/sure", guard));
    let site = Site::over(SessionLayer::new(MemoryStore::new()), routes, |layer| layer.with_policy(policy()));
    let browser = site.browser();
    browser.put("/data/cart", "x").await;
    assert_refused(&browser.get("/sure").await, "step_up");
}

// E4

#[tokio::test]
async fn e4_a_route_may_ask_for_an_authentication_method_or_a_young_one() {
    let log_in = async |session: Session, Path(methods): Path<String>| {
        let login = methods.split('+').fold(session.login("alice"), tower_tenure::Login::with_method);
        assert_eq!(login.await.unwrap(), Outcome::Done);
    };
    let any_user = || RequireSession::new();
    let routes = usual_routes()
        .route("/login-by/{methods}", post(log_in))
        .merge(guarded("/mfa", any_user().with_method("mfa")))
        .merge(guarded("/both", any_user().with_method("mfa").with_method("pwd")))
        .merge(guarded("/fresh", any_user().with_method_within("mfa", 60 * SECOND)))
        .merge(guarded("/cart", any_user().with_anonymous().with_method("mfa")));
    for store in [AnyStore::from(MemoryStore::new()), Probe::remote(MemoryStore::new()).into()] {
        let site = Site::over(SessionLayer::new(store), routes.clone(), |layer| layer.with_policy(policy()));
        let browser = site.browser();
        assert_refused(&browser.get("/mfa").await, "none");
        browser.put("/data/cart", "x").await;
        assert_refused(&browser.get("/mfa").await, "none");
        assert_refused(&browser.get("/cart").await, "step_up");
        browser.post("/login-by/pwd").await;
        for path in ["/mfa", "/both", "/fresh", "/cart"] {
            assert_refused(&browser.get(path).await, "step_up");
        }
        assert_eq!(browser.get("/me").await.body, "alice", "elsewhere the session is as good as before");
        browser.post("/login-by/mfa2").await;
        assert_refused(&browser.get("/mfa").await, "step_up");

        browser.post("/login-by/mfa").await;
        assert_eq!(browser.get("/mfa").await.body, "let through");
        assert_eq!(browser.get("/cart").await.body, "let through");
        assert_refused(&browser.get("/both").await, "step_up");
        browser.post("/login-by/pwd+mfa").await;
        site.clock.advance(60 * SECOND - TICK);
        for path in ["/mfa", "/both", "/fresh", "/cart"] {
            assert_eq!(browser.get(path).await.body, "let through", "{path}");
        }
        site.clock.advance(TICK);
        assert_refused(&browser.get("/fresh").await, "step_up");
        assert_eq!(browser.get("/both").await.body, "let through");
        site.clock.advance(IDLE);
        assert_refused(&browser.get("/mfa").await, "idle");
    }
}

// E3

#[tokio::test]
async fn e3_the_reason_is_known_for_five_minutes_and_more_while_sweeps_run() {
    for retention in [Duration::ZERO, 300 * SECOND, 3600 * SECOND] {
        let clock = tower_tenure::testing::ManualClock::default();
        let (layer, routes) = layer_and_routes(MemoryStore::new());
        let layer =
            layer.with_policy(policy()).with_clock(clock.clone()).with_end_reason_retention(retention);
        let sessions = layer.sessions();
        let mut site = Site::over(layer, routes, |layer| layer.with_clock(clock.clone()));
        site.clock = clock;

        let left = site.browser();
        left.post("/login/alice").await;
        let left_witness = left.copy();
        left.post("/logout").await;
        let long = retention.max(300 * SECOND);
        let mut passed = Duration::ZERO;
        while passed < long {
            site.clock.advance(30 * SECOND);
            passed += 30 * SECOND;
            sessions.sweep(1000).await.unwrap();
            site.browser().post("/login/bob").await; // creations sweep too
            assert_refused(&left_witness.copy().get("/me").await, "signed_out");
        }
        site.clock.advance(TICK);
        sessions.sweep(1000).await.unwrap();
        assert_refused(&left_witness.get("/me").await, "none");
    }
}

#[tokio::test]
async fn e3_who_comes_back_after_an_idle_end_sees_the_reason_even_if_no_request_had_seen_it() {
    let clock = tower_tenure::testing::ManualClock::default();
    let (layer, routes) = layer_and_routes(MemoryStore::new());
    let layer = layer.with_policy(policy()).with_clock(clock.clone()).with_end_reason_retention(300 * SECOND);
    let sessions = layer.sessions();
    let mut site = Site::over(layer, routes, |layer| layer.with_clock(clock.clone()));
    site.clock = clock;
    let browser = site.browser();
    browser.post("/login/alice").await;
    site.clock.advance(IDLE + 300 * SECOND);
    sessions.sweep(1000).await.unwrap();
    assert_refused(&browser.copy().get("/me").await, "idle");
    site.clock.advance(TICK);
    sessions.sweep(1000).await.unwrap();
    assert_refused(&browser.copy().get("/me").await, "idle"); // its end was written just now
    site.clock.advance(120 * SECOND);
    sessions.sweep(1000).await.unwrap();
    assert_refused(&browser.get("/me").await, "none");
}
