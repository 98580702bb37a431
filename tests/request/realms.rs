//! Isolation of two layers, or two tenants, on one store (C9, C10).

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header},
    routing::{get, post},
};
use tower::{Layer, ServiceExt};
use tower_tenure::{
    Lifetimes, LivePolicy, MemoryStore, Policy, RequireSession, Session, SessionLayer, SharedPolicy,
    cookie::SessionCookie,
    policy::{Cap, Overflow, PolicySettings},
    testing::ManualClock,
};

use crate::common::{Reply, Site, usual_routes};

fn admin_cookie() -> SessionCookie {
    SessionCookie::builder("__Host-admin").build().unwrap()
}

async fn send(service: &Router, method: &str, path: &str, cookie: Option<&str>, host: &str) -> Reply {
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, host);
    if let Some(cookie) = cookie {
        request = request.header(header::COOKIE, cookie);
    }
    let request = request.body(Body::empty()).unwrap();
    Reply::read(service.clone().oneshot(request).await.unwrap()).await
}

fn cookie_of(reply: &Reply) -> String {
    reply.set_cookies()[0].split(';').next().unwrap().to_owned()
}

/// FINDINGS B1: the admin area accepted the value of an ordinary cookie under its own cookie name.
#[tokio::test]
async fn b1_a_token_of_one_layer_is_nothing_in_another_on_the_same_store() {
    let store = MemoryStore::new();
    let site = Site::over(SessionLayer::new(store.clone()), usual_routes(), |layer| layer);
    let admin =
        Site::over(SessionLayer::new(store), usual_routes(), |layer| layer.with_cookie(admin_cookie()));
    let browser = site.browser();
    browser.post("/login/alice").await;
    let stolen = browser.cookie_header().unwrap().replace("__Host-id", "__Host-admin");
    let intruder = admin.browser();
    intruder.set_cookies(Some(&stolen));
    let reply = intruder.get("/me").await;
    assert_eq!((reply.status, reply.reason().as_deref()), (StatusCode::UNAUTHORIZED, Some("none")));
    assert_eq!(browser.get("/me").await.status, StatusCode::OK, "and nothing happened to the session");
}

/// FINDINGS B1, in general: caps, lists and revocations apply to one layer, even if user names are
/// equal.
#[tokio::test]
async fn b1_caps_lists_and_revocations_of_one_layer_are_nothing_in_another() {
    let store = MemoryStore::new();
    let one = Policy::default().with_cap(Some(Cap::new(1.try_into().unwrap(), Overflow::Refuse)));
    let (mut ours, mut theirs) = (None, None);
    let site = Site::over(SessionLayer::new(store.clone()), usual_routes(), |layer| {
        let layer = layer.with_policy(one);
        ours = Some(layer.sessions());
        layer
    });
    let admin = Site::over(SessionLayer::new(store), usual_routes(), |layer| {
        let layer = layer.with_policy(one).with_realm("administrators");
        theirs = Some(layer.sessions());
        layer
    });
    let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
    let (here, there) = (site.browser(), admin.browser());
    assert_eq!(here.post("/login/alice").await.status, StatusCode::OK);
    assert_eq!(
        there.post("/login/alice").await.status,
        StatusCode::OK,
        "the cap of the other does not count"
    );
    let list = theirs.list(None, None, 10).await.unwrap().sessions;
    assert_eq!((list.len(), ours.list(None, None, 10).await.unwrap().sessions.len()), (1, 1));
    assert_eq!((ours.realm(), theirs.realm()), ("__Host-id".into(), "administrators".into()));
    assert!(ours.load(list[0].sid).await.unwrap().is_none());
    assert!(!ours.revoke(list[0].sid).await.unwrap(), "a session of another realm is unknown");
    ours.revoke_all("alice", None).await.unwrap();
    ours.revoke_everybody().await.unwrap();
    assert_eq!(there.get("/me").await.status, StatusCode::OK);
    assert_eq!(here.get("/me").await.reason().as_deref(), Some("revoked"));
}

/// Tenants by host, each with its own realm and policy.
fn tenants(clock: &ManualClock, store: &MemoryStore, short: &LivePolicy) -> (SessionLayer, Router) {
    let tenant = |host: Option<&str>| if host == Some("bank.example") { "bank" } else { "blog" };
    let host = |headers: &axum::http::HeaderMap| headers.get(header::HOST)?.to_str().ok().map(str::to_owned);
    let short = short.clone();
    let layer = SessionLayer::new(store.clone())
        .with_clock(clock.clone())
        .with_realm_by(move |head| Arc::from(tenant(host(head.headers).as_deref())))
        .with_policy_by(move |head| match tenant(host(head.headers).as_deref()) {
            "bank" => short.load(),
            _ => Policy::default(),
        });
    let service = Router::new().fallback_service(layer.layer(usual_routes()));
    (layer, service)
}

/// FINDINGS B2: the cookie of one tenant's alice was served as alice at another.
#[tokio::test]
async fn b2_tenants_that_share_a_store_share_no_sessions() {
    let (clock, store) = (ManualClock::default(), MemoryStore::new());
    let minute = Lifetimes::from_minutes(1, 60);
    let short = LivePolicy::new(Policy::both(minute));
    let (layer, service) = tenants(&clock, &store, &short);
    let bank = cookie_of(&send(&service, "POST", "/login/alice", None, "bank.example").await);
    let blog = cookie_of(&send(&service, "POST", "/login/alice", None, "blog.example").await);
    let me = async |cookie: &str, host: &str| send(&service, "GET", "/me", Some(cookie), host).await;
    assert_eq!(me(&bank, "bank.example").await.body, "alice");
    assert_eq!(me(&bank, "blog.example").await.reason().as_deref(), Some("none"));
    assert_eq!(me(&blog, "bank.example").await.reason().as_deref(), Some("none"));

    let bank_sessions = layer.sessions_of("bank");
    assert_eq!(bank_sessions.list(Some("alice"), None, 10).await.unwrap().sessions.len(), 1);
    bank_sessions.revoke_all("alice", None).await.unwrap();
    assert_eq!(me(&bank, "bank.example").await.reason().as_deref(), Some("revoked"));
    assert_eq!(me(&blog, "blog.example").await.body, "alice");

    // Lists and sweeps of a tenant use the policy of its requests.
    clock.advance(Duration::from_secs(1));
    let bank = cookie_of(&send(&service, "POST", "/login/alice", None, "bank.example").await);
    clock.advance(Duration::from_secs(59));
    assert_eq!(me(&bank, "bank.example").await.body, "alice");
    let second = Lifetimes::new(Duration::from_secs(1), Duration::from_secs(1)).unwrap();
    short.swap(Policy::both(second));
    drop(send(&service, "GET", "/", None, "bank.example").await);
    assert_eq!(bank_sessions.list(Some("alice"), None, 10).await.unwrap().sessions.len(), 0);
    assert_eq!(layer.sessions_of("blog").list(Some("alice"), None, 10).await.unwrap().sessions.len(), 1);
}

/// FINDINGS B3: on a path that the inner layer skips, its handlers got the outer layer's session.
#[tokio::test]
async fn b3_where_the_inner_layer_skips_there_is_no_session_of_the_outer_one() {
    let who = get(async |session: Option<Session>| match session {
        Some(session) => format!("{}", session.subject().unwrap_or_default()),
        None => "no session".to_owned(),
    });
    let admin_area = Router::new()
        .route("/admin/public/secret", get(async || "secret"))
        .route_layer(RequireSession::new())
        .route("/admin/public/who", who)
        .layer(
            SessionLayer::new(MemoryStore::new())
                .with_cookie(admin_cookie())
                .with_skip(|head| head.uri.path().starts_with("/admin/public")),
        );
    let site = Router::new()
        .route("/login/{user}", post(async |session: Session| session.login("alice").await.map(|_| ())))
        .merge(admin_area)
        .layer(SessionLayer::new(MemoryStore::new()));
    let cookie = cookie_of(&send(&site, "POST", "/login/alice", None, "x.example").await);
    let reply = send(&site, "GET", "/admin/public/secret", Some(&cookie), "x.example").await;
    assert_eq!((reply.status, reply.reason().as_deref()), (StatusCode::UNAUTHORIZED, Some("none")));
    let reply = send(&site, "GET", "/admin/public/who", Some(&cookie), "x.example").await;
    assert_eq!(reply.body, "no session");
}

/// C10: one document of settings per realm.
#[tokio::test]
async fn c10_each_realm_has_settings_of_its_own_in_one_store() {
    let store = MemoryStore::new();
    let open = async |realm: &str| {
        let seed: PolicySettings = Policy::default().into();
        SharedPolicy::open_in_realm(store.clone(), realm, Policy::default(), seed).await.unwrap()
    };
    let (bank, blog) = (open("bank").await, open("blog").await);
    let minute = Lifetimes::from_minutes(1, 60);
    let change = |settings: &mut PolicySettings| {
        settings.persistent = minute;
        Ok(())
    };
    bank.change(change).await.unwrap();
    blog.refresh().await.unwrap();
    assert_eq!(bank.settings().persistent, minute);
    assert_eq!(blog.settings().persistent, Policy::default().configured(tower_tenure::Mode::Persistent));
    assert_eq!(open("bank").await.settings().persistent, minute, "it is kept");
}

/// FINDINGS A17 across nodes: a node that starts later knows that the policy was raised and lowered
/// again.
#[tokio::test]
async fn a17_a_node_that_starts_later_knows_that_the_policy_was_lowered() {
    let store = MemoryStore::new();
    let open = async || SharedPolicy::open(store.clone(), Policy::default()).await.unwrap();
    let first = open().await;
    let set = async |minutes: u32| {
        let change = move |settings: &mut PolicySettings| {
            settings.persistent = Lifetimes::from_minutes(minutes, 10_000);
            Ok(())
        };
        first.change(change).await.unwrap();
    };
    set(10).await;
    let login = post(async |session: Session| {
        session.login("alice").with_idle_lifetime(Duration::from_secs(1800)).await.map(|_| ())
    });
    let routes = || usual_routes().route("/log-in", login.clone());
    let site =
        Site::over(SessionLayer::new(store.clone()), routes(), |layer| layer.with_policy(first.live()));
    let browser = site.browser();
    assert_eq!(browser.post("/log-in").await.status, StatusCode::OK);
    set(20).await;
    set(10).await;
    let later = open().await;
    let other =
        Site::over(SessionLayer::new(store.clone()), routes(), |layer| layer.with_policy(later.live()));
    other.clock.advance(Duration::from_secs(600));
    let tab = other.browser();
    tab.set_cookies(browser.cookie_header().as_deref());
    assert_eq!(tab.get("/me").await.reason().as_deref(), Some("idle"));
}
