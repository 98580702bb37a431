//! Sessions bound to the device of their browser (SPEC B), with a software device.

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use http_body_util::BodyExt;
use tower::ServiceExt;
use tower_tenure::{
    DeviceBinding, MemoryStore, PublicUrl, SessionLayer, SharedPolicy,
    browser::Endpoints,
    management::{Management, Scopes, StaticTokens},
};

use super::{BOUND_COOKIE, GRACE, site};
use crate::common::{
    Browser, MINUTE, SECOND, Site, SoftwareDevice, TICK,
    bound::{Bound, challenge_of, log_in, parameter, post, refresh, register, routes, site_over, text},
    policy,
};

#[tokio::test]
async fn b2_b4_b5_a_device_registers_and_refreshes_with_both_algorithms() {
    for device in [SoftwareDevice::es256(), SoftwareDevice::rs256()] {
        let site = site();
        let bound = Bound::new(&site, device).await;
        for _ in 0..4 {
            site.clock.advance(BOUND_COOKIE);
            assert_eq!(bound.browser.get("/me").await.reason().as_deref(), Some("unproven"));
            let reply = bound.refresh().await;
            assert_eq!((reply.status, reply.body.as_str()), (StatusCode::OK, ""));
            assert_eq!(bound.browser.get("/me").await.body, "alice");
            // The idle deadline is 15 minutes away.
            site.clock.advance(4 * MINUTE);
            assert_eq!(bound.browser.get("/me").await.body, "alice");
        }
    }
}

#[tokio::test]
async fn b4_the_answer_has_the_instructions_and_the_bound_cookie_with_exactly_their_attributes() {
    let site = site();
    let browser = site.browser();
    let challenge = log_in(&browser, "alice").await;
    let reply = register(&browser, &SoftwareDevice::es256().register(&challenge)).await;
    assert_eq!(text(&reply.headers, "cache-control"), Some("no-store"));
    let json: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(json["refresh_url"], "/session/refresh");
    assert_eq!(json["scope"]["include_site"], false);
    let credential = &json["credentials"][0];
    assert_eq!(
        (credential["type"].as_str(), credential["name"].as_str()),
        (Some("cookie"), Some("__Host-id-bound"))
    );
    let lines = reply.set_cookies();
    assert_eq!(lines.len(), 1);
    let attributes = credential["attributes"].as_str().unwrap();
    let (_, rest) = lines[0].split_once("; ").unwrap();
    assert!(rest.starts_with(&format!("{attributes}; Expires=")), "{rest} and {attributes}");
    assert!(rest.ends_with("; Max-Age=595"), "{rest}");
}

#[tokio::test]
async fn b6_without_the_bound_cookie_a_bound_session_counts_as_absent_and_its_cookie_is_kept() {
    let site = site();
    let bound = Bound::new(&site, SoftwareDevice::es256()).await;
    let thief = bound.without_bound_cookie();
    site.clock.advance(GRACE - TICK);
    assert_eq!(thief.get("/me").await.status, StatusCode::OK, "in flight while the cookie was set");
    site.clock.advance(TICK);
    let reply = thief.get("/me").await;
    assert_eq!((reply.status, reply.reason().as_deref()), (StatusCode::UNAUTHORIZED, Some("unproven")));
    assert!(reply.set_cookies().is_empty(), "{:?}", reply.set_cookies());
    let status: serde_json::Value = serde_json::from_str(&thief.get("/session/status").await.body).unwrap();
    assert_eq!((status["live"].as_bool(), status["reason"].as_str()), (Some(false), Some("unproven")));

    // Nothing is written, and no anonymous session takes its place.
    let reply = thief.put("/data/k", "x").await;
    assert!(reply.set_cookies().is_empty(), "{:?}", reply.set_cookies());
    assert_eq!(site.live(None).await, 1);
    // A logout ends nothing.
    let reply = thief.post("/logout").await;
    assert!(reply.set_cookies().is_empty(), "{:?}", reply.set_cookies());
    assert_eq!(bound.browser.get("/me").await.body, "alice");
    // A login starts another session beside it.
    assert_eq!(thief.post("/login/bob").await.status, StatusCode::OK);
    assert_eq!(thief.get("/me").await.body, "bob");
    assert_eq!(bound.browser.get("/me").await.body, "alice");
}

#[tokio::test]
async fn b1_observing_refuses_nothing_but_a_route_may_require_the_device() {
    let site = site_over(MemoryStore::new(), DeviceBinding::observe());
    let plain = site.log_in("carol").await;
    assert_eq!(plain.get("/me").await.body, "carol");
    let reply = plain.get("/bound").await;
    assert_eq!((reply.status, reply.reason().as_deref()), (StatusCode::UNAUTHORIZED, Some("unproven")));

    let bound = Bound::new(&site, SoftwareDevice::es256()).await;
    assert_eq!(bound.browser.get("/bound").await.body, "bound");
    site.clock.advance(GRACE);
    let thief = bound.without_bound_cookie();
    assert_eq!(thief.get("/me").await.body, "alice");
    assert_eq!(thief.get("/bound").await.reason().as_deref(), Some("unproven"));
}

#[tokio::test]
async fn b7_a_rotation_keeps_the_binding_and_a_login_makes_a_new_one() {
    let site = site();
    let bound = Bound::new(&site, SoftwareDevice::es256()).await;
    assert_eq!(bound.browser.post("/rotate").await.status, StatusCode::OK);
    site.clock.advance(BOUND_COOKIE);
    assert_eq!(bound.refresh().await.status, StatusCode::OK);
    assert_eq!(bound.browser.get("/me").await.body, "alice");

    let challenge = log_in(&bound.browser, "alice").await;
    site.clock.advance(MINUTE);
    assert_eq!(bound.browser.get("/me").await.body, "alice", "not bound, so nothing is asked for");
    let reply = refresh(&bound.browser, &bound.sid, None).await;
    assert_eq!((reply.status, reply.body.as_str()), (StatusCode::OK, r#"{"continue": false}"#));
    let other = SoftwareDevice::es256();
    assert_eq!(register(&bound.browser, &other.register(&challenge)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn b4_the_first_device_wins_for_the_sessions_life() {
    let site = site();
    let browser = site.browser();
    let challenge = log_in(&browser, "alice").await;
    let (first, second) = (SoftwareDevice::es256(), SoftwareDevice::es256());
    assert_eq!(register(&browser, &first.register(&challenge)).await.status, StatusCode::OK);
    assert_eq!(register(&browser, &second.register(&challenge)).await.status, StatusCode::FORBIDDEN);
    let again = register(&browser, &first.register(&challenge)).await;
    assert_eq!(again.status, StatusCode::OK, "its answer may have been lost");
}

#[tokio::test]
async fn b5_the_refresh_of_a_session_that_is_over_says_so() {
    let site = site();
    let bound = Bound::new(&site, SoftwareDevice::es256()).await;
    let proof = bound.device.refresh(&bound.challenge().await);
    let cookies = bound.browser.cookie_header();
    let reply = bound.browser.post("/logout").await;
    let removed = reply.set_cookies();
    assert!(removed.iter().any(|line| line.starts_with("__Host-id-bound=;")), "{removed:?}");
    bound.browser.set_cookies(cookies.as_deref());
    let reply = refresh(&bound.browser, &bound.sid, Some(&proof)).await;
    assert_eq!((reply.status, reply.body.as_str()), (StatusCode::OK, r#"{"continue": false}"#));
    assert!(
        !reply
            .set_cookies()
            .iter()
            .any(|line| line.starts_with("__Host-id-bound=") && !line.contains("Max-Age=0"))
    );
    let stranger = site.browser();
    let reply = refresh(&stranger, &bound.sid, Some(&proof)).await;
    assert_eq!((reply.status, reply.body.as_str()), (StatusCode::OK, r#"{"continue": false}"#));
}

#[tokio::test]
async fn b5_a_refresh_does_not_extend_the_session() {
    let site = site();
    let bound = Bound::new(&site, SoftwareDevice::es256()).await;
    for _ in 0..3 {
        site.clock.advance(5 * MINUTE - SECOND);
        assert_eq!(bound.refresh().await.status, StatusCode::OK);
    }
    site.clock.advance(3 * SECOND);
    assert_eq!(bound.browser.get("/me").await.reason().as_deref(), Some("idle"));
}

#[tokio::test]
async fn b3_a_proof_may_come_again_while_its_challenge_is_good_and_not_after() {
    let site = site();
    let bound = Bound::new(&site, SoftwareDevice::es256()).await;
    let proof = bound.device.refresh(&bound.challenge().await);
    let junk = refresh(&bound.browser, &bound.sid, Some("junk")).await;
    assert_eq!(junk.status, StatusCode::BAD_REQUEST);
    for _ in 0..2 {
        assert_eq!(refresh(&bound.browser, &bound.sid, Some(&proof)).await.status, StatusCode::OK);
    }
    site.clock.advance(5 * MINUTE - TICK);
    assert_eq!(refresh(&bound.browser, &bound.sid, Some(&proof)).await.status, StatusCode::OK);
    site.clock.advance(TICK);
    let fresh = challenge_of(&refresh(&bound.browser, &bound.sid, Some(&proof)).await);
    let proof = bound.device.refresh(&fresh);
    assert_eq!(refresh(&bound.browser, &bound.sid, Some(&proof)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn b1_the_endpoints_are_there_only_with_a_binding() {
    let site = Site::with(|layer| layer.with_endpoints(Endpoints::at("/session").unwrap()));
    let browser = site.log_in("alice").await;
    assert_eq!(register(&browser, "x").await.status, StatusCode::NOT_FOUND);
    assert_eq!(refresh(&browser, "x", None).await.status, StatusCode::NOT_FOUND);
    let site = super::site();
    let reply = site.browser().get("/session/bind").await;
    assert_eq!(
        (reply.status, text(&reply.headers, header::ALLOW.as_str())),
        (StatusCode::METHOD_NOT_ALLOWED, Some("POST"))
    );
}

/// P1: the list shows which sessions are bound. A request with a copied cookie sees and ends none.
#[tokio::test]
async fn b7_own_sessions_say_who_is_bound_and_a_copied_cookie_reaches_none() {
    let site = site();
    let bound = Bound::new(&site, SoftwareDevice::es256()).await;
    let other = site.log_in("alice").await;
    let ask = async |browser: &Browser, method: &str| {
        let request = Request::builder().method(method).uri("/session/sessions");
        let request = request.header("sec-fetch-site", "same-origin").body(Body::empty()).unwrap();
        browser.request(request).await
    };
    let list: serde_json::Value = serde_json::from_str(&ask(&bound.browser, "GET").await.body).unwrap();
    let sessions = list["sessions"].as_array().unwrap();
    let facts = sessions.iter().map(|one| (one["current"].as_bool(), one["bound"].as_bool()));
    let mut facts: Vec<_> = facts.collect();
    facts.sort_unstable();
    assert_eq!(facts, [(Some(false), Some(false)), (Some(true), Some(true))]);

    site.clock.advance(GRACE);
    let thief = bound.without_bound_cookie();
    for method in ["GET", "DELETE"] {
        let reply = ask(&thief, method).await;
        let denied = (StatusCode::UNAUTHORIZED, Some("unproven"));
        assert_eq!((reply.status, reply.reason().as_deref()), denied, "{method}");
    }
    assert_eq!(other.get("/me").await.status, StatusCode::OK);
}

/// E8: the browser sends its proofs to the public paths.
#[tokio::test]
async fn e8_behind_a_proxy_the_paths_of_the_protocol_have_its_prefix() {
    let public = PublicUrl::new("https://app.example/shop").unwrap();
    let endpoints = Endpoints::at("/session").unwrap().with_device_binding(DeviceBinding::observe());
    let endpoints = endpoints.with_public_url(&public);
    let site =
        Site::over(SessionLayer::new(MemoryStore::new()), routes(), |layer| layer.with_endpoints(endpoints));
    let browser = site.browser();
    let reply = browser.post("/login/alice").await;
    let offer = text(&reply.headers, "secure-session-registration").expect("a login offers a binding");
    assert_eq!(parameter(offer, "path"), "/shop/session/bind");
    let proof = SoftwareDevice::es256().register(&parameter(offer, "challenge"));
    let reply = register(&browser, &proof).await;
    let json: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(json["refresh_url"], "/shop/session/refresh");
}

/// E8: the proxy rewrites `Host`, so `Origin` is compared with the public address.
#[tokio::test]
async fn e8_behind_a_proxy_that_rewrites_the_host_a_browser_can_bind_its_session() {
    let public = PublicUrl::new("https://app.example").unwrap();
    let endpoints = Endpoints::at("/session").unwrap().with_device_binding(DeviceBinding::observe());
    let endpoints = endpoints.with_public_url(&public);
    let site =
        Site::over(SessionLayer::new(MemoryStore::new()), routes(), |layer| layer.with_endpoints(endpoints));
    let browser = site.browser();
    let proof = SoftwareDevice::es256().register(&log_in(&browser, "alice").await);
    let register = async |origin: &str| {
        let headers = [("secure-session-response", &*proof), ("host", "10.0.0.7:3000"), ("origin", origin)];
        post(&browser, "/session/bind", &headers).await.status
    };
    assert_eq!(register("https://elsewhere.example").await, StatusCode::FORBIDDEN);
    assert_eq!(register("https://10.0.0.7:3000").await, StatusCode::FORBIDDEN);
    assert_eq!(register("https://app.example").await, StatusCode::OK);
}

#[tokio::test]
async fn b7_the_management_api_says_who_is_bound() {
    const TOKEN: &str = "a-token-of-the-test";
    let site = site();
    let bound = Bound::new(&site, SoftwareDevice::es256()).await;
    site.log_in("alice").await;
    let settings = SharedPolicy::open(MemoryStore::new(), policy()).await.unwrap();
    let tokens = StaticTokens::new().with(TOKEN, Scopes::all()).unwrap();
    let api = Management::new(site.sessions.clone(), settings, tokens);
    let request =
        Request::get("/api/v2/users/alice/sessions").header("authorization", format!("Bearer {TOKEN}"));
    let response = api.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let listed = response.into_body().collect().await.unwrap().to_bytes();
    let listed: serde_json::Value = serde_json::from_slice(&listed).unwrap();
    let sessions = listed["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2, "{listed}");
    for one in sessions {
        assert_eq!(one["device"]["bound"], one["id"] == *bound.sid, "{listed}");
    }
}
