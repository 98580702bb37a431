//! A warning in the log when a login cannot last: a `Secure` cookie over plain http (FINDINGS E14).

use axum::{body::Body, http::Request};
use tower_tenure::{MemoryStore, SessionLayer, cookie::SessionCookie};

use super::events::logged;
use crate::common::{Site, usual_routes};

/// The number of warnings for two logins at this origin.
fn warnings(origin: &'static str, set: fn(SessionLayer) -> SessionLayer) -> usize {
    let lines = logged(async move {
        let site = Site::over(SessionLayer::new(MemoryStore::new()), usual_routes(), set);
        for user in ["alice", "bob"] {
            let host = origin.split_once("://").unwrap().1;
            let request =
                Request::post(format!("/login/{user}")).header("host", host).header("origin", origin);
            site.send(request.body(Body::empty()).unwrap()).await;
        }
    });
    lines.iter().filter(|line| line.contains("session.cookie_lost")).count()
}

#[test]
fn e14_one_warning_for_a_secure_cookie_over_plain_http() {
    assert_eq!(warnings("http://nas.lan:8080", |layer| layer), 1, "not one for each login");
    assert_eq!(warnings("https://nas.lan", |layer| layer), 0);
    assert_eq!(warnings("http://localhost:3000", |layer| layer), 0);
    let insecure = |layer: SessionLayer| layer.with_cookie(SessionCookie::insecure_for_http_development());
    assert_eq!(warnings("http://nas.lan:8080", insecure), 0, "that cookie comes back");
}

#[test]
fn e14_the_warning_names_the_cookie_and_the_host_and_no_token() {
    let lines = logged(async {
        let site = Site::new();
        let request =
            Request::post("/login/alice").header("host", "nas.lan").header("origin", "http://nas.lan");
        let reply = site.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(reply.set_cookies().len(), 1);
    });
    let line = lines.iter().find(|line| line.contains("session.cookie_lost")).unwrap();
    assert!(line.contains("WARN") && line.contains("__Host-id") && line.contains("nas.lan"), "{line}");
    assert!(!line.contains("__Host-id="), "{line}");
}
