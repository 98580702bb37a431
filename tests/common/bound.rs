//! A browser with a device, on a site that binds sessions.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode},
    routing::get,
};
use tower_tenure::{
    DeviceBinding, Policy, RequireSession, Session, SessionLayer, browser::Endpoints, store::AnyStore,
};

use super::{Browser, Reply, Site, SoftwareDevice, policy, usual_routes};

/// The usual routes, and `/bound`, which requires the device.
pub fn routes() -> Router {
    let bound = get(async |_: Session| "bound").layer(RequireSession::new().with_device_binding());
    usual_routes().route("/bound", bound)
}

/// A site over this store that binds sessions, below `/session`.
pub fn site_over(store: impl Into<AnyStore>, binding: DeviceBinding) -> Site {
    site_with(store, binding, policy().with_granularity(Duration::ZERO), |layer| layer)
}

/// The same with more routes.
pub fn site_routed(
    store: impl Into<AnyStore>,
    binding: DeviceBinding,
    add: impl FnOnce(Router) -> Router,
) -> Site {
    let endpoints = Endpoints::at("/session").unwrap().with_device_binding(binding);
    Site::over(SessionLayer::new(store), add(routes()), |layer| {
        layer.with_endpoints(endpoints).with_policy(policy().with_granularity(Duration::ZERO))
    })
}

/// Like [`site_over`], with this policy and these settings.
pub fn site_with(
    store: impl Into<AnyStore>,
    binding: DeviceBinding,
    policy: Policy,
    set: impl FnOnce(SessionLayer) -> SessionLayer,
) -> Site {
    let endpoints = Endpoints::at("/session").unwrap().with_device_binding(binding);
    Site::over(SessionLayer::new(store), routes(), |layer| {
        set(layer.with_endpoints(endpoints).with_policy(policy))
    })
}

/// The text of a parameter in a structured header: `name="text"`.
pub fn parameter(header: &str, name: &str) -> String {
    let (_, rest) = header.split_once(&format!("{name}=\"")).unwrap();
    rest.split('"').next().unwrap().to_owned()
}

pub fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

/// A browser with a device.
pub struct Bound {
    pub browser: Browser,
    pub device: SoftwareDevice,
    pub sid: String,
}

pub async fn log_in(browser: &Browser, user: &str) -> String {
    let reply = browser.post(&format!("/login/{user}")).await;
    let offer = text(&reply.headers, "secure-session-registration").expect("a login offers a binding");
    assert!(offer.starts_with("(ES256 RS256);"), "{offer}");
    assert_eq!(parameter(offer, "path"), "/session/bind");
    parameter(offer, "challenge")
}

pub async fn post(browser: &Browser, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    browser.request(request.body(Body::empty()).unwrap()).await
}

pub async fn register(browser: &Browser, proof: &str) -> Reply {
    post(browser, "/session/bind", &[("secure-session-response", proof)]).await
}

pub async fn refresh(browser: &Browser, sid: &str, proof: Option<&str>) -> Reply {
    let mut headers = vec![("sec-secure-session-id", sid)];
    headers.extend(proof.map(|proof| ("secure-session-response", proof)));
    post(browser, "/session/refresh", &headers).await
}

/// The challenge of a refresh that was refused, quoted.
pub fn challenge_of(reply: &Reply) -> String {
    assert_eq!(reply.status, StatusCode::FORBIDDEN, "{}", reply.body);
    let header = text(&reply.headers, "secure-session-challenge").unwrap();
    header.split('"').nth(1).unwrap().to_owned()
}

impl Bound {
    pub async fn new(site: &Site, device: SoftwareDevice) -> Self {
        let browser = site.browser();
        let challenge = log_in(&browser, "alice").await;
        let reply = register(&browser, &device.register(&challenge)).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
        let json: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
        let sid = json["session_identifier"].as_str().unwrap().to_owned();
        Self { browser, device, sid }
    }

    pub async fn challenge(&self) -> String {
        challenge_of(&refresh(&self.browser, &self.sid, None).await)
    }

    pub async fn refresh(&self) -> Reply {
        let proof = self.device.refresh(&self.challenge().await);
        refresh(&self.browser, &self.sid, Some(&proof)).await
    }

    /// The same browser without its bound cookie, like a thief who has only the session cookie.
    pub fn without_bound_cookie(&self) -> Browser {
        let thief = self.browser.copy();
        let cookies = thief.cookie_header().unwrap();
        let kept: Vec<_> = cookies.split("; ").filter(|pair| !pair.contains("-bound=")).collect();
        thief.set_cookies(Some(&kept.join("; ")));
        thief
    }
}
