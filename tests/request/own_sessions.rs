//! A user's own sessions: the endpoints (SPEC P1) and the methods of the handle (P2).

use axum::{
    Json, Router,
    body::Body,
    extract::Path,
    http::{HeaderName, HeaderValue, Method, Request, StatusCode, header},
    routing::{get, post},
};
use serde_json::{Value, json};
use tower_tenure::{
    Error, Key, LivePolicy, MemoryStore, Policy, Session, SessionId, SessionLayer, SessionSummary,
    browser::Endpoints,
    events::Operation::{self, Create, End, EndMany, List, Load, Revoke, Update},
    policy::{Cap, Overflow},
    store::AnyStore,
    testing::Probe,
};

use crate::common::{
    Browser, DAY, HOUR, MINUTE, Reply, SECOND, Site, TICK, TOUCH_IS_DUE, policy_of, stores, usual_routes,
};

const FIREFOX: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0";
const PHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
     Version/18.0 Mobile/15E148 Safari/604.1";

fn policy() -> Policy {
    policy_of(12 * HOUR, 7 * DAY)
}

fn routes() -> Router {
    usual_routes()
        .route("/others", get(async |session: Session| session.others().await.map(Json)))
        .route("/own", get(async |session: Session| session.own().await.map(Json)))
        .route("/sign-out-one/{sid}", post(sign_out_one))
        .route("/sign-out-others", post(async |session: Session| session.sign_out_others().await))
        .route("/sign-out-everywhere", post(async |session: Session| session.sign_out_everywhere().await))
        .route("/sign-out-everywhere-and-fail", post(sign_out_everywhere_and_fail))
        .route("/sign-out-others-and-fail", post(sign_out_others_and_fail))
        .route("/log-in-alone/{user}", post(log_in_alone))
        .route("/password-changed", post(password_changed))
        .route("/log-in-and-list/{user}", post(log_in_and_list))
}

async fn sign_out_one(session: Session, Path(sid): Path<SessionId>) -> Result<String, Error> {
    Ok(session.sign_out_one(sid).await?.to_string())
}

async fn sign_out_everywhere_and_fail(session: Session) -> Result<StatusCode, Error> {
    session.sign_out_everywhere().await?;
    Ok(StatusCode::INTERNAL_SERVER_ERROR)
}

async fn sign_out_others_and_fail(session: Session) -> Result<StatusCode, Error> {
    session.insert(&Key::new("half"), &"done".to_owned())?;
    session.sign_out_others().await?;
    Ok(StatusCode::INTERNAL_SERVER_ERROR)
}

async fn log_in_alone(session: Session, Path(user): Path<String>) -> Result<(), Error> {
    session.login(user).await?.accepted()?;
    session.sign_out_others().await
}

async fn log_in_and_list(
    session: Session,
    Path(user): Path<String>,
) -> Result<Json<Vec<SessionSummary>>, Error> {
    session.login(user).await?.accepted()?;
    session.own().await.map(Json)
}

async fn password_changed(session: Session) -> Result<(), Error> {
    session.sign_out_others().await?;
    session.rotate_now()
}

fn site_with(store: impl Into<AnyStore>, set: impl FnOnce(SessionLayer) -> SessionLayer) -> Site {
    Site::over(SessionLayer::new(store), routes(), |layer| {
        set(layer.with_policy(policy()).with_endpoints(Endpoints::at("/session").unwrap()))
    })
}

fn site(store: impl Into<AnyStore>) -> Site {
    site_with(store, |layer| layer)
}

fn request(method: Method, path: &str, headers: &[(&'static str, &str)]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    for (name, value) in headers {
        let (name, value) = (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        request.headers_mut().append(name, value);
    }
    request
}

/// A same-origin request, as a page of this site sends it.
async fn own(browser: &Browser, method: Method, path: &str) -> Reply {
    browser.request(request(method, path, &[("sec-fetch-site", "same-origin")])).await
}

async fn list(browser: &Browser) -> Vec<Value> {
    let reply = own(browser, Method::GET, "/session/sessions").await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    let body: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(body.as_object().unwrap().len(), 1);
    body["sessions"].as_array().unwrap().clone()
}

async fn end(browser: &Browser, sid: &str) -> Reply {
    own(browser, Method::DELETE, &format!("/session/sessions/{sid}")).await
}

async fn end_others(browser: &Browser) -> Reply {
    own(browser, Method::DELETE, "/session/sessions").await
}

async fn log_in_from(site: &Site, user: &str, user_agent: &str) -> Browser {
    let browser = site.browser();
    let login = request(Method::POST, &format!("/login/{user}"), &[("user-agent", user_agent)]);
    assert_eq!(browser.request(login).await.status, StatusCode::OK);
    browser
}

async fn sid(browser: &Browser) -> String {
    let current = list(browser).await.into_iter().find(|session| session["current"] == true).unwrap();
    current["sid"].as_str().unwrap().to_owned()
}

async fn is_live(browser: &Browser) -> bool {
    browser.get("/me").await.status == StatusCode::OK
}

async fn why_over(browser: &Browser) -> Option<String> {
    let reply = browser.get("/me").await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    reply.reason()
}

fn is_problem(reply: &Reply, status: StatusCode, reason: Option<&str>) {
    assert_eq!((reply.status, reply.reason().as_deref()), (status, reason), "{}", reply.body);
    assert_eq!(reply.headers[header::CONTENT_TYPE], "application/problem+json");
    assert_eq!(reply.headers[header::CACHE_CONTROL], "no-store");
}

// The list

#[tokio::test]
async fn p1_the_list_has_the_users_live_sessions_newest_first_and_nothing_else_of_them() {
    for store in stores() {
        let site = site(store);
        let windows = log_in_from(&site, "alice", FIREFOX).await;
        let bob = log_in_from(&site, "bob", FIREFOX).await;
        site.clock.advance(TOUCH_IS_DUE);
        let phone = log_in_from(&site, "alice", PHONE).await;
        windows.get_with("/me", "user-agent", FIREFOX).await;

        let reply = own(&phone, Method::GET, "/session/sessions").await;
        assert_eq!(reply.headers[header::CONTENT_TYPE], "application/json");
        assert_eq!(reply.headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(reply.set_cookies(), [""; 0]);
        let sids = [sid(&phone).await, sid(&windows).await];
        let expected = |sid: &str, current: bool, device: &str, authenticated_at: &str| {
            json!({
                "sid": sid, "current": current, "device": device, "bound": false,
                "authenticated_at": authenticated_at, "last_interacted_at": "2026-01-01T00:01:01.000Z",
            })
        };
        let expected = [
            expected(&sids[0], true, "Safari on iOS", "2026-01-01T00:01:01.000Z"),
            expected(&sids[1], false, "Firefox on Windows", "2026-01-01T00:00:00.000Z"),
        ];
        assert_eq!(list(&phone).await, expected);
        assert_eq!(list(&bob).await.len(), 1);
        let head = own(&phone, Method::HEAD, "/session/sessions").await;
        assert_eq!(head.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn p1_the_list_extends_nothing() {
    for store in stores() {
        let site = site(store);
        let browser = site.log_in("alice").await;
        site.clock.advance(12 * HOUR - TICK);
        assert_eq!(list(&browser).await[0]["last_interacted_at"], "2026-01-01T00:00:00.000Z");
        site.clock.advance(TICK);
        is_problem(
            &own(&browser, Method::GET, "/session/sessions").await,
            StatusCode::UNAUTHORIZED,
            Some("idle"),
        );
    }
}

/// L5: this holds even if the session made no request since.
#[tokio::test]
async fn p1_what_is_over_is_not_listed() {
    for store in stores() {
        let live = LivePolicy::new(policy());
        let site = site_with(store, |layer| layer.with_policy(live.clone()));
        let browser = site.log_in("alice").await;
        for path in ["/logout", "/login/alice"] {
            let other = site.log_in("alice").await;
            other.post(path).await; // ended, or superseded
        }
        assert_eq!(list(&browser).await.len(), 2, "this one, and the newer of the double login");
        site.clock.advance(2 * HOUR);
        let newest = site.log_in("alice").await;
        assert_eq!(list(&newest).await.len(), 3);
        live.swap(policy_of(HOUR, DAY));
        assert_eq!(list(&newest).await.len(), 1, "the lowering ended the two before");
    }
}

#[tokio::test]
async fn p1_a_long_list_is_read_in_steps_and_the_end_of_all_others_is_one_write() {
    let store = Probe::remote(MemoryStore::new());
    let site = site(store.clone());
    let browser = site.log_in("alice").await;
    store.take_calls();
    assert_eq!(list(&browser).await.len(), 1);
    assert_eq!(store.take_calls(), [Load, List]);

    let mut last = site.browser();
    for _ in 0..301 {
        site.clock.advance(TICK);
        last = site.log_in("alice").await;
    }
    store.take_calls();
    let all = list(&browser).await;
    assert_eq!(store.take_calls(), [Load, List, List, List]);
    assert_eq!((all.len(), &all[301]["current"]), (302, &true.into()), "the oldest comes last");
    assert!(
        all.windows(2).all(|two| two[0]["authenticated_at"].as_str() >= two[1]["authenticated_at"].as_str())
    );

    assert_eq!(end_others(&browser).await.status, StatusCode::NO_CONTENT);
    assert_eq!(store.take_calls(), [Load, Revoke, List, EndMany]);
    assert_eq!(why_over(&last).await.as_deref(), Some("revoked"));
    assert_eq!(list(&browser).await.len(), 1);
}

/// S13: a user without a cap does not slow down others.
#[tokio::test]
async fn p1_a_list_has_at_most_a_thousand_others() {
    let store = Probe::remote(MemoryStore::new());
    let no_cap = policy().with_cap(None);
    let site = site_with(store.clone(), |layer| layer.with_policy(no_cap));
    for _ in 0..1100 {
        site.log_in("alice").await;
    }
    site.clock.advance(TICK);
    let browser = site.log_in("alice").await;
    store.take_calls();
    let all = list(&browser).await;
    assert_eq!((all.len(), &all[0]["current"]), (1001, &true.into()), "this one is always there");
    assert!(store.take_calls().len() <= 10);
}

// Ending one session

#[tokio::test]
async fn p1_one_session_ends_for_its_very_next_request_and_no_other() {
    for store in stores() {
        let site = site(store);
        let (browser, lost, other) =
            (site.log_in("alice").await, site.log_in("alice").await, site.log_in("alice").await);
        let lost_sid = sid(&lost).await;
        let reply = end(&browser, &lost_sid).await;
        assert_eq!((reply.status, &*reply.body), (StatusCode::NO_CONTENT, ""));
        assert!(!reply.removes_cookie());
        assert_eq!(why_over(&lost).await.as_deref(), Some("revoked"));
        assert!(is_live(&browser).await && is_live(&other).await);
        assert_eq!(list(&browser).await.len(), 2);
        is_problem(&end(&browser, &lost_sid).await, StatusCode::NOT_FOUND, None);
    }
}

#[tokio::test]
async fn p1_what_is_not_theirs_is_not_there() {
    for store in stores() {
        let site = site(store.clone());
        let elsewhere = site_with(store, |layer| layer.with_realm("elsewhere"));
        let browser = site.log_in("alice").await;
        let (bob, visitor) = (site.log_in("bob").await, site.browser());
        visitor.put("/data/cart", "a").await;
        let namesake = elsewhere.log_in("alice").await;
        let visitor_sid = site.sessions.list(None, None, 50).await.unwrap().sessions;
        let visitor_sid = visitor_sid.iter().find(|session| session.subject.is_none()).unwrap().sid;
        let expired = site.log_in("alice").await;
        let expired_sid = sid(&expired).await;
        expired.post("/logout").await;
        for wrong in [
            &*sid(&bob).await,
            &sid(&namesake).await,
            &visitor_sid.to_string(),
            &expired_sid,
            "AAAAAAAAAAAAAAAAAAAAAA",
            "short",
            "",
            "a/b",
            "%00",
            &"A".repeat(5000),
        ] {
            is_problem(&end(&browser, wrong).await, StatusCode::NOT_FOUND, None);
        }
        assert!(is_live(&browser).await && is_live(&bob).await && is_live(&namesake).await);
        assert_eq!(visitor.get("/data/cart").await.body, "a");
        assert_eq!(browser.send(Method::DELETE, "/session/sessionsx").await.status, StatusCode::NOT_FOUND);
    }
}

/// Guessing ids costs the store only the load of the request's own session.
#[tokio::test]
async fn p1_the_id_of_another_user_is_known_by_its_tag() {
    let store = Probe::remote(MemoryStore::new());
    let site = site(store.clone());
    let (browser, bob, other) =
        (site.log_in("alice").await, site.log_in("bob").await, site.log_in("alice").await);
    let (bob, other) = (sid(&bob).await, sid(&other).await);
    store.take_calls();
    end(&browser, &bob).await;
    assert_eq!(store.take_calls(), [Load]);
    end(&browser, &other).await;
    assert_eq!(store.take_calls(), [Load, Load, End]);
}

/// Like a logout, except for the reason, which is the same for all ends of this endpoint. It works
/// with an old login, too.
#[tokio::test]
async fn p1_ones_own_session_ends_with_its_cookie() {
    for store in stores() {
        let site = site(store);
        let (browser, other) = (site.log_in("alice").await, site.log_in("alice").await);
        site.clock.advance(HOUR);
        let (own_sid, tab) = (sid(&browser).await, browser.copy());
        let reply = end(&browser, &own_sid).await;
        assert_eq!(reply.status, StatusCode::NO_CONTENT);
        assert!(reply.removes_cookie());
        assert_eq!(browser.cookie_header(), None);
        assert_eq!(why_over(&tab).await.as_deref(), Some("revoked"));
        assert!(is_live(&other).await);
    }
}

/// C5: as with a logout.
#[tokio::test]
async fn p1_every_session_that_the_request_proves_ends_with_ones_own() {
    let site = site(MemoryStore::new());
    let (browser, second) = (site.log_in("alice").await, site.log_in("alice").await);
    let own_sid = sid(&browser).await;
    let both = format!("{}; {}", browser.cookie_header().unwrap(), second.cookie_header().unwrap());
    let headers = [("sec-fetch-site", "same-origin"), ("cookie", &*both)];
    let reply = site.send(request(Method::DELETE, &format!("/session/sessions/{own_sid}"), &headers)).await;
    assert_eq!(reply.status, StatusCode::NO_CONTENT);
    assert!(!is_live(&browser).await && !is_live(&second).await);
}

// Ending all others

#[tokio::test]
async fn p1_all_other_sessions_end_for_their_very_next_request() {
    for store in stores() {
        let site = site(store);
        let (browser, bob) = (site.log_in("alice").await, site.log_in("bob").await);
        let others = [site.log_in("alice").await, site.log_in("alice").await];
        let reply = end_others(&browser).await;
        assert_eq!((reply.status, &*reply.body), (StatusCode::NO_CONTENT, ""));
        for other in &others {
            assert_eq!(why_over(other).await.as_deref(), Some("revoked"));
        }
        assert!(is_live(&browser).await && is_live(&bob).await);
        assert_eq!(end_others(&browser).await.status, StatusCode::NO_CONTENT, "also when there is none");
        site.clock.advance(TICK);
        assert!(is_live(&site.log_in("alice").await).await, "a later login is not covered");
        assert_eq!(list(&browser).await.len(), 2);
    }
}

/// C10.
#[tokio::test]
async fn p1_tenants_with_a_user_of_one_name_do_not_meet() {
    for store in stores() {
        let site = site_with(store, |layer| {
            layer.with_realm_by(|head| head.header("host").unwrap_or_default().into())
        });
        let log_in = async |host: &str| {
            let browser = site.browser();
            browser.request(request(Method::POST, "/login/alice", &[("host", host)])).await;
            browser
        };
        let (a, a2, b) = (log_in("a.test").await, log_in("a.test").await, log_in("b.test").await);
        let ask = async |browser: &Browser, host: &str, method: Method, path: &str| {
            browser.request(request(method, path, &[("host", host), ("sec-fetch-site", "same-origin")])).await
        };
        let body = ask(&b, "b.test", Method::GET, "/session/sessions").await.body;
        let b_sid: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(b_sid["sessions"].as_array().unwrap().len(), 1);
        let path = format!("/session/sessions/{}", b_sid["sessions"][0]["sid"].as_str().unwrap());
        is_problem(&ask(&a, "a.test", Method::DELETE, &path).await, StatusCode::NOT_FOUND, None);
        let reply = ask(&a, "a.test", Method::DELETE, "/session/sessions").await;
        assert_eq!(reply.status, StatusCode::NO_CONTENT);
        let me = async |browser: &Browser, host: &str| {
            browser.request(request(Method::GET, "/me", &[("host", host)])).await.status
        };
        assert_eq!(me(&a, "a.test").await, StatusCode::OK);
        assert_eq!(me(&a2, "a.test").await, StatusCode::UNAUTHORIZED);
        assert_eq!(me(&b, "b.test").await, StatusCode::OK);
    }
}

// Which requests are accepted

#[tokio::test]
async fn p1_ending_others_needs_a_login_younger_than_15_minutes_to_the_millisecond() {
    for store in stores() {
        let site = site(store);
        let (browser, other, third) =
            (site.log_in("alice").await, site.log_in("alice").await, site.log_in("alice").await);
        let (other_sid, third_sid) = (sid(&other).await, sid(&third).await);
        site.clock.advance(15 * MINUTE - TICK);
        assert_eq!(end(&browser, &other_sid).await.status, StatusCode::NO_CONTENT);
        site.clock.advance(TICK);
        for reply in [end(&browser, &third_sid).await, end_others(&browser).await, end(&browser, "x").await] {
            is_problem(&reply, StatusCode::UNAUTHORIZED, Some("step_up"));
            assert!(reply.headers.contains_key(header::WWW_AUTHENTICATE));
            assert!(!reply.removes_cookie());
        }
        assert!(is_live(&third).await);
        assert_eq!(list(&browser).await.len(), 2, "the list needs no new login");
        browser.post("/login/alice").await;
        assert_eq!(end_others(&browser).await.status, StatusCode::NO_CONTENT);
        assert!(!is_live(&third).await);
    }
}

#[tokio::test]
async fn p1_how_young_the_login_must_be_is_a_setting() {
    let endpoints = Endpoints::at("/session").unwrap().with_authentication_within(5 * SECOND);
    let site = site_with(MemoryStore::new(), |layer| layer.with_endpoints(endpoints));
    let browser = site.log_in("alice").await;
    site.clock.advance(5 * SECOND - TICK);
    assert_eq!(end_others(&browser).await.status, StatusCode::NO_CONTENT);
    site.clock.advance(TICK);
    is_problem(&end_others(&browser).await, StatusCode::UNAUTHORIZED, Some("step_up"));
}

#[tokio::test]
async fn p1_who_is_not_signed_in_has_no_sessions() {
    for store in stores() {
        let site = site(store);
        let (stranger, visitor, late) = (site.browser(), site.browser(), site.log_in("alice").await);
        visitor.put("/data/cart", "a").await;
        let late_sid = sid(&late).await;
        late.copy().post("/logout").await;
        for (browser, reason) in [(&stranger, "none"), (&visitor, "none"), (&late, "signed_out")] {
            let sent = browser.cookie_header();
            for (method, path) in [
                (Method::GET, "/session/sessions".to_owned()),
                (Method::DELETE, "/session/sessions".to_owned()),
                (Method::DELETE, format!("/session/sessions/{late_sid}")),
            ] {
                browser.set_cookies(sent.as_deref());
                let reply = own(browser, method, &path).await;
                is_problem(&reply, StatusCode::UNAUTHORIZED, Some(reason));
            }
        }
        assert_eq!(visitor.get("/data/cart").await.body, "a", "an anonymous session stays");
    }
}

#[tokio::test]
async fn p1_only_pages_of_the_same_origin_may_ask_also_for_the_list() {
    let site = site(MemoryStore::new());
    let (browser, other) = (site.log_in("alice").await, site.log_in("alice").await);
    let other_sid = sid(&other).await;
    let paths = [
        (Method::GET, "/session/sessions".to_owned()),
        (Method::HEAD, "/session/sessions".to_owned()),
        (Method::DELETE, "/session/sessions".to_owned()),
        (Method::DELETE, format!("/session/sessions/{other_sid}")),
    ];
    for headers in [
        &[][..],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
        &[("host", "app.test"), ("origin", "null")],
        &[("host", "app.test"), ("origin", "https://evil.test")],
        &[("host", "app.test"), ("origin", "https://app.test"), ("sec-fetch-site", "cross-site")],
    ] {
        for (method, path) in &paths {
            let reply = browser.request(request(method.clone(), path, headers)).await;
            is_problem(&reply, StatusCode::FORBIDDEN, None);
        }
    }
    assert!(is_live(&other).await);
    let ours = [("host", "app.test"), ("origin", "https://app.test")];
    for (method, path) in paths.iter().rev() {
        assert!(browser.request(request(method.clone(), path, &ours)).await.status.is_success(), "{method}");
    }
}

#[tokio::test]
async fn p1_other_methods_are_refused_and_extend_nothing() {
    for store in stores() {
        let site = site(store);
        let browser = site.log_in("alice").await;
        let own_sid = sid(&browser).await;
        site.clock.advance(12 * HOUR - TICK);
        let one = format!("/session/sessions/{own_sid}");
        for (path, allow, wrong) in [
            ("/session/sessions", "GET, HEAD, DELETE", &[Method::POST, Method::PUT, Method::PATCH][..]),
            (&one, "DELETE", &[Method::GET, Method::HEAD, Method::POST]),
            ("/session/sessions/junk", "DELETE", &[Method::GET]),
        ] {
            for method in wrong {
                let reply = own(&browser, method.clone(), path).await;
                is_problem(&reply, StatusCode::METHOD_NOT_ALLOWED, None);
                assert_eq!(reply.headers[header::ALLOW], allow);
            }
        }
        site.clock.advance(TICK);
        assert_eq!(why_over(&browser).await.as_deref(), Some("idle"));
    }
}

// Failures

/// S6: a failure is never reported as success, and the cookie stays.
#[tokio::test]
async fn p1_a_failing_store_is_503_and_ends_nothing() {
    let store = Probe::remote(MemoryStore::new());
    let site = site(store.clone());
    let (browser, other) = (site.log_in("alice").await, site.log_in("alice").await);
    let (own_sid, other_sid) = (sid(&browser).await, sid(&other).await);
    let one = |sid: &str| format!("/session/sessions/{sid}");
    let all = || "/session/sessions".to_owned();
    let cases: [(Operation, Method, String); 7] = [
        (Load, Method::GET, all()),
        (List, Method::GET, all()),
        (Load, Method::DELETE, all()),
        (Revoke, Method::DELETE, all()),
        (Load, Method::DELETE, one(&other_sid)),
        (End, Method::DELETE, one(&other_sid)),
        (End, Method::DELETE, one(&own_sid)),
    ];
    for (operation, method, path) in cases {
        store.fail(operation, 1);
        let reply = own(&browser, method.clone(), &path).await;
        is_problem(&reply, StatusCode::SERVICE_UNAVAILABLE, None);
        assert!(reply.headers.contains_key(header::RETRY_AFTER), "{operation} {method}");
        assert_eq!(reply.set_cookies(), [""; 0], "{operation} {method}");
        assert!(is_live(&browser).await && is_live(&other).await, "{operation} {method}");
    }
    // The user's revocation mark ends all of them. Ending the first ones at once is an extra.
    for operation in [List, EndMany] {
        let another = site.log_in("alice").await;
        store.fail(operation, 1);
        assert_eq!(end_others(&browser).await.status, StatusCode::NO_CONTENT);
        assert_eq!(why_over(&another).await.as_deref(), Some("revoked"), "{operation}");
        site.clock.advance(TICK);
    }
    // A failed touch does not fail the request.
    site.clock.advance(TOUCH_IS_DUE);
    store.fail(Update, 1);
    assert_eq!(end_others(&browser).await.status, StatusCode::NO_CONTENT);
}

// The handle

fn summaries(reply: &Reply) -> Vec<Value> {
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    serde_json::from_str(&reply.body).unwrap()
}

#[tokio::test]
async fn p2_a_handler_gets_summaries_of_the_others_without_their_data() {
    for store in stores() {
        let site = site(store);
        let windows = log_in_from(&site, "alice", FIREFOX).await;
        windows.put("/data/secret", "hunter2").await;
        let (windows_sid, browser) = (sid(&windows).await, site.log_in("alice").await);
        site.log_in("bob").await;
        let reply = browser.get("/others").await;
        assert!(!reply.body.contains("hunter2"));
        let expected = json!({
            "sid": windows_sid, "subject": "alice", "current": false, "mode": "persistent",
            "device": "Firefox on Windows", "bound": false,
            "created_at": "2026-01-01T00:00:00.000Z", "authenticated_at": "2026-01-01T00:00:00.000Z",
            "last_interacted_at": "2026-01-01T00:00:00.000Z",
            "idle_expires_at": "2026-01-01T12:00:00.000Z", "expires_at": "2026-01-08T00:00:00.000Z",
        });
        // The device is that of the last interaction, and the write had no user agent.
        let mut found = summaries(&reply);
        found[0]["device"] = "Firefox on Windows".into();
        assert_eq!(found, [expected]);
        // Includes the current session, as the endpoint does.
        let listed = |sessions: &[Value]| {
            sessions.iter().map(|one| (one["sid"].clone(), one["current"].clone())).collect::<Vec<_>>()
        };
        let own = listed(&summaries(&browser.get("/own").await));
        assert_eq!((own.len(), own), (2, listed(&list(&browser).await)));
    }
}

/// L5: by the live policy.
#[tokio::test]
async fn p2_the_deadlines_of_a_summary_are_those_of_the_live_policy() {
    let live = LivePolicy::new(policy());
    let site = site_with(MemoryStore::new(), |layer| layer.with_policy(live.clone()));
    let (browser, _other) = (site.log_in("alice").await, site.log_in("alice").await);
    live.swap(policy_of(HOUR, DAY));
    let other = &summaries(&browser.get("/others").await)[0];
    assert_eq!(other["idle_expires_at"], "2026-01-01T01:00:00.000Z");
    assert_eq!(other["expires_at"], "2026-01-02T00:00:00.000Z");
}

#[tokio::test]
async fn p2_a_handler_signs_out_one_the_others_or_all() {
    for store in stores() {
        let site = site(store);
        let log_in = async || site.log_in("alice").await;
        let (browser, one, other) = (log_in().await, log_in().await, log_in().await);
        let one_sid = sid(&one).await;
        assert_eq!(browser.post(&format!("/sign-out-one/{one_sid}")).await.body, "true");
        assert_eq!(browser.post(&format!("/sign-out-one/{one_sid}")).await.body, "false");
        assert_eq!(why_over(&one).await.as_deref(), Some("revoked"));
        assert!(is_live(&other).await);
        browser.post("/sign-out-others").await;
        assert_eq!(why_over(&other).await.as_deref(), Some("revoked"));
        assert!(is_live(&browser).await);

        site.clock.advance(TICK);
        let (later, tab) = (log_in().await, browser.copy());
        let reply = browser.post("/sign-out-everywhere").await;
        assert_eq!(reply.status, StatusCode::OK);
        assert!(reply.removes_cookie());
        for ended in [&later, &tab] {
            assert_eq!(why_over(ended).await.as_deref(), Some("revoked"));
        }
    }
}

/// H3: a revocation stands although the handler fails, because it protects the user.
#[tokio::test]
async fn p2_a_sign_out_stands_though_the_handler_fails() {
    for store in stores() {
        let site = site(store);
        let (browser, other) = (site.log_in("alice").await, site.log_in("alice").await);
        let tab = browser.copy();
        let reply = browser.post("/sign-out-everywhere-and-fail").await;
        assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(reply.removes_cookie());
        assert!(!is_live(&tab).await && !is_live(&other).await);
    }
}

#[tokio::test]
async fn p2_the_session_that_a_login_replaces_is_no_other() {
    for store in stores() {
        let site = site(store);
        let (browser, other) = (site.log_in("alice").await, site.log_in("alice").await);
        let other_sid = sid(&other).await;
        site.clock.advance(TICK);
        let found = summaries(&browser.post("/log-in-and-list/alice").await);
        let [new, found_other] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((&new["sid"], &new["current"]), (&json!(sid(&browser).await), &json!(true)));
        assert_eq!((&found_other["sid"], &found_other["current"]), (&json!(other_sid), &json!(false)));
    }
}

/// Interleaving: if the revocation were stored first, it would refuse the login, which arrived
/// before it (L14).
#[tokio::test]
async fn p2_a_login_that_signs_out_the_others_is_stored_first() {
    for store in stores() {
        let site = site(store);
        let (thief, browser) = (site.log_in("alice").await, site.browser());
        assert_eq!(browser.post("/log-in-alone/alice").await.status, StatusCode::OK);
        assert!(is_live(&browser).await && !is_live(&thief).await);

        site.clock.advance(TICK);
        let again = site.log_in("alice").await;
        assert_eq!(again.post("/log-in-alone/alice").await.status, StatusCode::OK);
        assert!(is_live(&again).await && !is_live(&browser).await);
    }
    let one = policy().with_cap(Some(Cap::new(1.try_into().unwrap(), Overflow::Refuse)));
    let site = site_with(MemoryStore::new(), |layer| layer.with_policy(one));
    let (first, second) = (site.log_in("alice").await, site.browser());
    assert!(is_live(&first).await);
    assert_eq!(second.post("/log-in-alone/alice").await.status, StatusCode::FORBIDDEN);
    assert!(is_live(&first).await, "a refused login signs no session out");
}

#[tokio::test]
async fn p2_after_a_password_change_neither_others_nor_a_copy_of_the_cookie_go_on() {
    for store in stores() {
        let site = site(store);
        let (browser, other) = (site.log_in("alice").await, site.log_in("alice").await);
        let copied = browser.copy();
        assert_eq!(browser.post("/password-changed").await.status, StatusCode::OK);
        assert!(is_live(&browser).await && !is_live(&other).await && !is_live(&copied).await);
    }
}

#[tokio::test]
async fn p2_without_a_user_it_is_an_error_and_not_silence() {
    let store = Probe::remote(MemoryStore::new());
    let site = site(store.clone());
    let visitor = site.browser();
    visitor.put("/data/cart", "a").await;
    store.take_calls();
    for path in ["/others", "/own"] {
        assert_eq!(visitor.get(path).await.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    for path in ["/sign-out-others", "/sign-out-everywhere", "/sign-out-one/AAAAAAAAAAAAAAAAAAAAAA"] {
        assert_eq!(visitor.post(path).await.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    assert_eq!(store.take_calls(), [Load; 5]);
    assert_eq!(visitor.get("/data/cart").await.body, "a");
}

/// S5: what each call costs on a remote store.
#[tokio::test]
async fn p2_each_call_asks_the_store_as_rarely_as_it_can() {
    let store = Probe::remote(MemoryStore::new());
    let site = site(store.clone());
    let browser = site.log_in("alice").await;
    for path in ["/sign-out-others", "/log-in-alone/alice", "/sign-out-everywhere"] {
        site.clock.advance(TICK);
        store.take_calls();
        assert_eq!(browser.post(path).await.status, StatusCode::OK);
        let expected: &[Operation] = match path {
            "/sign-out-others" => &[Load, Revoke, List],
            "/log-in-alone/alice" => &[Load, Create, Revoke, List],
            _ => &[Load, Revoke, List, EndMany, End],
        };
        assert_eq!(store.take_calls(), expected, "{path}");
    }
}

#[tokio::test]
async fn p2_a_summary_is_plain_data() {
    const fn is_plain<T: Clone + PartialEq + Send + Sync + serde::Serialize>() {}
    is_plain::<SessionSummary>();
}

#[tokio::test]
async fn p2_h3_signing_others_out_stores_nothing_else_before_the_handler_is_done() {
    let site = site(MemoryStore::new());
    let (here, there) = (site.log_in("alice").await, site.log_in("alice").await);
    let reply = here.post("/sign-out-others-and-fail").await;
    assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(is_live(&here).await && !is_live(&there).await);
    assert_eq!(here.get("/data/half").await.status, StatusCode::NOT_FOUND, "the handler failed");
}
