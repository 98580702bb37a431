//! Other requests that the two endpoints refuse (SPEC B3, B4, B5, B8).

use axum::http::StatusCode;
use serde_json::Value;
use tower_tenure::{DeviceBinding, MemoryStore};

use super::{
    hostile::{assert_refused, devices, send},
    site,
};
use crate::common::{
    SoftwareDevice,
    bound::{Bound, challenge_of, log_in, post, refresh, register, site_over, text},
};

/// A challenge has one purpose, even within its session, and a bound cookie is not a challenge.
#[tokio::test]
async fn b3_b8_a_challenge_serves_one_purpose() {
    for device in devices() {
        let site = site();
        let browser = site.browser();
        let offered = log_in(&browser, "alice").await;
        assert_eq!(register(&browser, &device.register(&offered)).await.status, StatusCode::OK);
        let status: Value =
            serde_json::from_str(&register(&browser, &device.register(&offered)).await.body).unwrap();
        let sid = status["session_identifier"].as_str().unwrap().to_owned();
        let asked = challenge_of(&refresh(&browser, &sid, None).await);
        let cookies = browser.cookie_header().unwrap();
        let bound_cookie =
            cookies.split("; ").find_map(|pair| pair.strip_prefix("__Host-id-bound=")).unwrap();

        for challenge in [&*offered, bound_cookie] {
            let reply = refresh(&browser, &sid, Some(&device.refresh(challenge))).await;
            assert_refused(&reply, challenge);
        }
        for challenge in [&*asked, bound_cookie] {
            assert_refused(&register(&browser, &device.register(challenge)).await, challenge);
        }
        assert_eq!(refresh(&browser, &sid, Some(&device.refresh(&asked))).await.status, StatusCode::OK);
        // A challenge in place of the bound cookie proves nothing.
        site.clock.advance(super::GRACE);
        let thief = browser.copy();
        let [session, _] = [0, 1].map(|n| cookies.split("; ").nth(n).unwrap());
        for value in [&*offered, &*asked] {
            thief.set_cookies(Some(&format!("{session}; __Host-id-bound={value}")));
            assert_eq!(thief.get("/me").await.reason().as_deref(), Some("unproven"));
        }
    }
}

#[tokio::test]
async fn b8_two_proofs_two_ids_and_ids_that_are_none_are_refused() {
    for device in devices() {
        let site = site();
        let bound = Bound::new(&site, device).await;
        let (challenge, sid) = (bound.challenge().await, &*bound.sid);
        let proof = bound.device.refresh(&challenge);
        let id = ("sec-secure-session-id", sid);
        let browser = &bound.browser;
        let reply = send(browser, "/session/refresh", &[id], &[proof.as_bytes(); 2]).await;
        assert_refused(&reply, "two proofs");
        let reply = send(browser, "/session/refresh", &[id, id], &[proof.as_bytes()]).await;
        assert_refused(&reply, "two ids");
        let long = "a".repeat(9000);
        for junk in ["", "\"", "junk", &sid[1..], &long, "(a b)", "\"a\\b\""] {
            let reply =
                send(browser, "/session/refresh", &[("sec-secure-session-id", junk)], &[proof.as_bytes()])
                    .await;
            assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{junk}");
            assert_refused(&reply, junk);
        }
        assert_refused(&send(browser, "/session/refresh", &[], &[proof.as_bytes()]).await, "no id");
        let quoted = format!("\"{sid}\"");
        for (id, proof) in [(sid, proof.clone()), (&*quoted, format!("\"{proof}\""))] {
            let reply = refresh(browser, id, Some(&proof)).await;
            assert_eq!(reply.status, StatusCode::OK, "quoted, as the draft has it, and bare");
        }
    }
}

#[tokio::test]
async fn b4_b5_requests_of_other_sites_and_other_methods_are_refused() {
    let site = site();
    let bound = Bound::new(&site, SoftwareDevice::es256()).await;
    let proof = bound.device.refresh(&bound.challenge().await);
    for path in ["/session/bind", "/session/refresh"] {
        for foreign in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", "x"),
            ("origin", "https://evil.example"),
            ("origin", "null"),
        ] {
            let headers = [
                foreign,
                ("host", "app.example"),
                ("sec-secure-session-id", &bound.sid),
                ("secure-session-response", &proof),
            ];
            let reply = post(&bound.browser, path, &headers).await;
            assert_eq!(reply.status, StatusCode::FORBIDDEN, "{path} {foreign:?}");
            assert!(reply.headers.get("secure-session-challenge").is_none(), "{path} {foreign:?}");
            assert_refused(&reply, path);
        }
        for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH"] {
            let reply = bound.browser.send(method.parse().unwrap(), path).await;
            assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            assert_eq!(text(&reply.headers, "allow"), Some("POST"), "{method} {path}");
        }
    }
    let headers = [
        ("origin", "https://app.example"),
        ("host", "app.example"),
        ("sec-secure-session-id", &*bound.sid),
        ("secure-session-response", &*proof),
    ];
    assert_eq!(post(&bound.browser, "/session/refresh", &headers).await.status, StatusCode::OK);
}

/// Without a session there is nothing to bind, whatever is sent, in both modes.
#[tokio::test]
async fn b4_who_has_no_session_binds_nothing() {
    for binding in [DeviceBinding::observe(), DeviceBinding::enforce()] {
        let site = site_over(MemoryStore::new(), binding);
        let (browser, device) = (site.browser(), SoftwareDevice::es256());
        let reply = register(&browser, &device.register(&"A".repeat(54))).await;
        assert_eq!((reply.status, reply.reason().as_deref()), (StatusCode::UNAUTHORIZED, Some("none")));
        // An anonymous session is not bound either.
        browser.put("/data/cart", "tea").await;
        let reply = register(&browser, &device.register(&"A".repeat(54))).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
        assert_eq!(browser.get("/data/cart").await.body, "tea");
    }
}
