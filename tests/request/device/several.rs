//! Bound sessions with two layers, with tenants, with guards and in the logs (SPEC C8, C9, C10, E1,
//! E4, O1, O3).

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header},
    routing::{get, post},
};
use tower_tenure::{
    DeviceBinding, LoginPage, MemoryStore, RequireSession, Session, SessionLayer,
    browser::Endpoints,
    cookie::SessionCookie,
    events::{Event, EventKind},
    testing::ManualClock,
};

use super::{BOUND_COOKIE, GRACE, site};
use crate::common::{
    Browser, HOUR, MINUTE, Site, SoftwareDevice,
    bound::{Bound, parameter, post as send, refresh, site_over, site_with, text},
    policy_of,
};

fn binding_at(path: &str) -> Endpoints {
    Endpoints::at(path).unwrap().with_device_binding(DeviceBinding::enforce())
}

/// C9: each of two layers binds its own session, even if one response logs both in.
#[tokio::test]
async fn c9_b2_two_layers_bind_a_session_each() {
    let (store, clock) = (MemoryStore::new(), ManualClock::default());
    let both = post(async |session: Session| {
        session.login("root").await.unwrap().accepted().unwrap();
        let outer = session.named("__Host-id").unwrap();
        outer.login("alice").await.unwrap().accepted().unwrap();
    });
    let who = get(async |session: Session| {
        let outer = session.named("__Host-id").and_then(|outer| outer.subject());
        format!("{:?} {:?}", session.subject().as_deref(), outer.as_deref())
    });
    let admin = SessionLayer::new(store.clone())
        .with_cookie(SessionCookie::builder("__Host-admin").build().unwrap())
        .with_clock(clock.clone())
        .with_endpoints(binding_at("/admin/session"));
    let routes = Router::new().route("/both", both).route("/who", who).layer(admin);
    let site = Site::over(SessionLayer::new(store), routes, |layer| {
        layer.with_clock(clock.clone()).with_endpoints(binding_at("/session"))
    });
    let browser = site.browser();
    let reply = browser.post("/both").await;
    let offers: Vec<_> = reply.headers.get_all("secure-session-registration").iter().collect();
    assert_eq!(offers.len(), 2, "{offers:?}");
    let mut sessions = Vec::new();
    for offer in offers.iter().map(|offer| offer.to_str().unwrap()) {
        let (path, challenge) = (parameter(offer, "path"), parameter(offer, "challenge"));
        let device = SoftwareDevice::es256();
        // A challenge of one layer is invalid at the other.
        let other = if path == "/session/bind" { "/admin/session/bind" } else { "/session/bind" };
        let proof = device.register(&challenge);
        let reply = send(&browser, other, &[("secure-session-response", &proof)]).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN);
        let reply = send(&browser, &path, &[("secure-session-response", &proof)]).await;
        assert_eq!(reply.status, StatusCode::OK, "{path} {}", reply.body);
        let json: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
        sessions.push((
            json["session_identifier"].as_str().unwrap().to_owned(),
            json["refresh_url"].as_str().unwrap().to_owned(),
            device,
        ));
    }
    assert_eq!(browser.get("/who").await.body, r#"Some("root") Some("alice")"#);
    clock.advance(BOUND_COOKIE);
    assert_eq!(browser.get("/who").await.body, "None None");
    let mut expected = vec![r#"None Some("alice")"#, r#"Some("root") Some("alice")"#];
    if sessions[0].1.starts_with("/admin") {
        expected[0] = r#"Some("root") None"#;
    }
    for ((sid, url, device), expected) in sessions.iter().zip(expected) {
        let reply = send(&browser, url, &[("sec-secure-session-id", sid)]).await;
        let proof = device.refresh(&crate::common::bound::challenge_of(&reply));
        let headers = [("sec-secure-session-id", &**sid), ("secure-session-response", &proof)];
        assert_eq!(send(&browser, url, &headers).await.status, StatusCode::OK);
        assert_eq!(browser.get("/who").await.body, expected);
    }
}

/// C10: the cookies of one tenant are invalid at another tenant.
#[tokio::test]
async fn c10_b3_tenants_share_neither_challenges_nor_bound_cookies() {
    let tenants = |layer: SessionLayer| {
        layer.with_realm_by(|head| {
            head.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("-").into()
        })
    };
    let site = site_with(MemoryStore::new(), DeviceBinding::enforce(), policy_of(HOUR, HOUR), tenants);
    let at = async |browser: &Browser, host: &str, path: &str, headers: &[(&str, &str)]| {
        send(browser, path, &[headers, &[("host", host)]].concat()).await
    };
    let [one, two] = [site.browser(), site.browser()];
    let mut challenges = Vec::new();
    for (browser, host) in [(&one, "one"), (&two, "two")] {
        let reply = at(browser, host, "/login/alice", &[]).await;
        challenges.push(parameter(text(&reply.headers, "secure-session-registration").unwrap(), "challenge"));
    }
    let device = SoftwareDevice::es256();
    let proofs: Vec<_> = challenges.iter().map(|challenge| device.register(challenge)).collect();
    let status = async |browser: &Browser, host: &str, proof: &str| {
        at(browser, host, "/session/bind", &[("secure-session-response", proof)]).await.status
    };
    assert_eq!(status(&one, "one", &proofs[1]).await, StatusCode::FORBIDDEN);
    let cookies = one.cookie_header();
    assert_eq!(status(&one, "two", &proofs[0]).await, StatusCode::UNAUTHORIZED, "no session there");
    one.set_cookies(cookies.as_deref());
    assert_eq!(status(&one, "one", &proofs[0]).await, StatusCode::OK);
    assert_eq!(status(&two, "two", &proofs[1]).await, StatusCode::OK);
    site.clock.advance(GRACE);
    // The session cookie of one tenant with the bound cookie of the other.
    let pair =
        |browser: &Browser, n: usize| browser.cookie_header().unwrap().split("; ").nth(n).unwrap().to_owned();
    let mixed = site.browser();
    mixed.set_cookies(Some(&format!("{}; {}", pair(&one, 0), pair(&two, 1))));
    assert_eq!(mixed.get_with("/me", "host", "one").await.reason().as_deref(), Some("unproven"));
    assert_eq!(one.get_with("/me", "host", "one").await.body, "alice");
}

/// E1, E4: an end comes before all other reasons. Then comes the reason that the browser can
/// resolve without its user.
#[tokio::test]
async fn e1_e4_b6_unproven_comes_before_step_up_and_redirects_say_so() {
    let routes = |routes: Router| {
        let guard = RequireSession::new().with_authentication_within(MINUTE).with_device_binding();
        let page = RequireSession::new().with_login_page(LoginPage::from_static("/sign-in"));
        let routes = routes.route("/pay", get(async || "paid").layer(guard));
        routes.route("/page", get(async || "page").layer(page))
    };
    for binding in [DeviceBinding::observe(), DeviceBinding::enforce()] {
        let site = crate::common::bound::site_routed(MemoryStore::new(), binding, routes);
        let bound = Bound::new(&site, SoftwareDevice::es256()).await;
        assert_eq!(bound.browser.get("/pay").await.body, "paid");
        site.clock.advance(2 * MINUTE);
        let reason = async |browser: &Browser| browser.get("/pay").await.reason().unwrap();
        assert_eq!(reason(&bound.browser).await, "step_up");
        let thief = bound.without_bound_cookie();
        assert_eq!(reason(&thief).await, "unproven");
        let reply = thief.get("/pay").await;
        assert_eq!(text(&reply.headers, "vary"), Some("cookie"));
        assert_eq!(text(&reply.headers, "content-type"), Some("application/problem+json"));
        assert!(reply.headers.contains_key(header::WWW_AUTHENTICATE));
    }
    let site = crate::common::bound::site_routed(MemoryStore::new(), DeviceBinding::enforce(), routes);
    let bound = Bound::new(&site, SoftwareDevice::es256()).await;
    site.clock.advance(BOUND_COOKIE);
    let reply = bound.browser.get_with("/page?x=1", "sec-fetch-mode", "navigate").await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER);
    assert_eq!(text(&reply.headers, "location"), Some("/sign-in?return_to=/page%3Fx%3D1&reason=unproven"));
    assert_eq!(reply.set_cookies(), [""; 0]);
    // The session ended meanwhile, so the reason is the end.
    site.sessions.revoke_all("alice", None).await.unwrap();
    assert_eq!(bound.browser.get("/me").await.reason().as_deref(), Some("revoked"));
}

fn observed(binding: DeviceBinding) -> (Site, Arc<Mutex<Vec<String>>>) {
    let events = Arc::<Mutex<Vec<String>>>::default();
    let observer = {
        let events = Arc::clone(&events);
        move |event: &Event<'_>| {
            let line = match event.kind {
                EventKind::Unproven { refused } => format!("unproven {refused}"),
                EventKind::ProofRefused { reason } => format!("proof_refused {reason}"),
                EventKind::RefreshSkipped { reason } => format!("refresh_skipped {reason}"),
                _ => return,
            };
            events.lock().unwrap().push(line);
        }
    };
    let site = site_with(MemoryStore::new(), binding, policy_of(HOUR, HOUR), |layer| {
        layer.with_observer_fn(observer)
    });
    (site, events)
}

#[tokio::test]
async fn b1_o1_skipped_refreshes_and_unproven_requests_are_events_in_both_modes() {
    for (binding, refused) in [(DeviceBinding::observe(), false), (DeviceBinding::enforce(), true)] {
        let (site, events) = observed(binding);
        let bound = Bound::new(&site, SoftwareDevice::es256()).await;
        bound.browser.get("/me").await;
        assert_eq!(*events.lock().unwrap(), [""; 0]);
        site.clock.advance(BOUND_COOKIE);
        // One line for each member, as a proxy may send a list (RFC 9651, section 3.1).
        let request = Request::get("/me")
            .header("secure-session-skipped", "server_error;session_identifier=\"another\"")
            .header("secure-session-skipped", format!("unreachable;session_identifier=\"{}\"", bound.sid));
        bound.browser.request(request.body(Body::empty()).unwrap()).await;
        let events = std::mem::take(&mut *events.lock().unwrap());
        assert_eq!(events, [format!("unproven {refused}"), "refresh_skipped unreachable".to_owned()]);
    }
}

/// Any client can send proofs. As with denied requests, observers get an event only if a session
/// came with the proof.
#[tokio::test]
async fn o3_strangers_cannot_fill_the_logs_of_observers() {
    let (site, events) = observed(DeviceBinding::enforce());
    let device = SoftwareDevice::es256();
    for proof in ["junk", &device.register("x"), &device.refresh("x")] {
        let stranger = site.browser();
        assert!(crate::common::bound::register(&stranger, proof).await.status.is_client_error());
        refresh(&stranger, &tower_tenure::SessionId::from_bytes([7; 16]).to_string(), Some(proof)).await;
    }
    assert_eq!(*events.lock().unwrap(), [""; 0]);
    let bound = Bound::new(&site, device).await;
    refresh(&bound.browser, &bound.sid, Some("junk")).await;
    crate::common::bound::register(&bound.browser, "junk").await;
    assert_eq!(*events.lock().unwrap(), ["proof_refused malformed", "proof_refused malformed"]);
}

/// A browser that does not support the protocol is served as before.
#[tokio::test]
async fn b1_browsers_without_the_protocol_are_served_as_before() {
    for binding in [DeviceBinding::observe(), DeviceBinding::enforce()] {
        let site = site_over(MemoryStore::new(), binding);
        let browser = site.log_in("alice").await;
        for _ in 0..5 {
            site.clock.advance(BOUND_COOKIE);
            assert_eq!(browser.get("/me").await.body, "alice");
            assert_eq!(browser.post("/rotate").await.status, StatusCode::OK);
        }
        let junk = browser.cookie_header().unwrap() + "; __Host-id-bound=x";
        browser.set_cookies(Some(&junk));
        assert_eq!(browser.get("/me").await.body, "alice");
        assert_eq!(refresh(&browser, "x", None).await.status, StatusCode::BAD_REQUEST);
    }
}

/// O3: the log explains every 403 of a refresh.
#[test]
fn o3_a_refused_refresh_is_in_the_log() {
    let lines = crate::events::logged(async {
        let site = site();
        let bound = Bound::new(&site, SoftwareDevice::es256()).await;
        bound.challenge().await;
        refresh(&bound.browser, &bound.sid, Some(&bound.device.refresh("x"))).await;
        refresh(&site.browser(), &bound.sid, Some("junk")).await;
    });
    let expected = [
        "INFO tower_tenure session.created sid",
        "INFO tower_tenure session.authenticated sid",
        "INFO tower_tenure session.bound sid",
        "DEBUG tower_tenure session.denied sid reason=\"proof_needed\" detail=\"The browser has to prove the device of the session.\"",
        "WARN tower_tenure session.proof_refused sid reason=\"challenge\"",
        "DEBUG tower_tenure session.denied reason=\"malformed_proof\" detail=\"the proof is not a signed JWT\"",
    ];
    assert_eq!(lines, expected);
}
