//! Round trips to the store per request (SPEC S5), counted by a proxy before the server, and a
//! touch that is lost there.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    http::{Method, Request, StatusCode},
};
use tower_tenure::{
    Mode, SessionLayer,
    store::{PostgresOptions, RedisStore},
};

use crate::common::{
    Browser, Site, TOUCH_IS_DUE, policy_of,
    proxy::{Proxy, Weather},
    servers::{Kind, Server},
    usual_routes,
};

const IDLE: Duration = Duration::from_secs(3600);

/// A site on a real server, without background work.
struct Place {
    site: Site,
    proxy: Proxy,
    server: Server,
}

impl Place {
    async fn new(kind: Kind) -> Option<Self> {
        let server = Server::start(kind, &format!("round trips to {kind:?}"))?;
        let proxy = Proxy::before(server.port());
        let url = server.url_at(proxy.port);
        let policy = policy_of(IDLE, IDLE * 24).with_default_mode(Mode::NonPersistent);
        let routes: Router = usual_routes();
        let site = if kind == Kind::Postgres {
            // One connection, so that all statements are prepared after the first use.
            let options = PostgresOptions::new(&url).unwrap().with_pool_size(1);
            let layer = SessionLayer::new(options.connect().await.unwrap());
            Site::over(layer, routes, |layer| layer.with_policy(policy))
        } else {
            let layer = SessionLayer::new(RedisStore::connect(&url).await.unwrap());
            Site::over(layer, routes, |layer| layer.with_policy(policy))
        };
        let place = Self { site, proxy, server };
        for _ in 0..2 {
            place.every_request().await;
        }
        Some(place)
    }

    /// Advances the clock until a touch is due, and loads `not_before`, as on a server that has run
    /// for a while. With the wall clock a background task refreshes it.
    async fn wait_until_a_touch_is_due(&self) {
        self.site.clock.advance(TOUCH_IS_DUE);
        let unknown = format!("__Host-id={}", "A".repeat(64));
        let request = Request::get("/").header("cookie", unknown).body(Body::empty()).unwrap();
        self.site.send(request).await;
    }

    async fn every_request(&self) {
        let alice = self.site.log_in("alice").await;
        for path in ["/me", "/rotate", "/logout"] {
            let method = if path == "/me" { Method::GET } else { Method::POST };
            self.wait_until_a_touch_is_due().await;
            assert!(alice.send(method, path).await.status.is_success(), "{path}");
        }
        let browser = self.site.browser();
        browser.send(Method::PUT, "/data/x").await;
        browser.send(Method::PUT, "/data/x").await;
        browser.post("/login/alice").await;
        browser.post("/login/alice").await;
        browser.post("/login/bob").await;
    }

    async fn turns(&self, browser: &Browser, method: Method, path: &str) -> u32 {
        self.proxy.take_turns();
        let reply = browser.send(method, path).await;
        assert!(reply.status.is_success(), "{path} {}", reply.status);
        self.proxy.take_turns()
    }
}

async fn s5(kind: Kind) {
    let Some(place) = Place::new(kind).await else { return };
    let stranger = place.site.browser();
    assert_eq!(place.turns(&stranger, Method::GET, "/").await, 0, "no cookie");
    let malformed = Request::get("/").header("cookie", "__Host-id=abc").body(Body::empty()).unwrap();
    place.site.send(malformed).await;
    assert_eq!(place.proxy.take_turns(), 0, "malformed");
    assert_eq!(place.turns(&stranger, Method::POST, "/login/alice").await, 1, "login without a session");

    let alice = place.site.log_in("alice").await;
    assert_eq!(place.turns(&alice, Method::GET, "/me").await, 1, "read");
    place.wait_until_a_touch_is_due().await;
    assert_eq!(place.turns(&alice, Method::GET, "/me").await, 2, "read with a touch that is due");
    assert_eq!(place.turns(&alice, Method::GET, "/me").await, 1, "and with one that is not");
    assert_eq!(place.turns(&alice, Method::PUT, "/data/x").await, 2, "write");
    assert_eq!(place.turns(&alice, Method::POST, "/rotate").await, 2, "rotate");
    assert_eq!(
        place.turns(&alice, Method::POST, "/login/alice").await,
        3,
        "login over a session of the same user"
    );
    // Another user's sessions are stored elsewhere, so the earlier session needs its own call to
    // end.
    assert_eq!(place.turns(&alice, Method::POST, "/login/bob").await, 3, "login over a session of another");
    assert_eq!(place.turns(&alice, Method::POST, "/logout").await, 2, "logout");

    let anonymous = place.site.browser();
    assert_eq!(place.turns(&anonymous, Method::PUT, "/data/x").await, 1, "the first write");
    assert!(place.turns(&anonymous, Method::POST, "/login/alice").await <= 3, "login from anonymous");
}

/// The touch fails, the response stands, and the user stays signed in.
async fn s6_a_touch_gets_lost(kind: Kind) {
    let Some(place) = Place::new(kind).await else { return };
    let alice = place.site.log_in("alice").await;
    place.wait_until_a_touch_is_due().await;
    place.proxy.set(Weather::Answering(1)); // the load's
    assert_eq!(alice.get("/me").await.status, StatusCode::OK);
    place.proxy.set(Weather::Fair);
    let mut again = alice.get("/me").await;
    for _ in 0..20 {
        if again.status == StatusCode::OK {
            break;
        }
        assert_eq!(again.status, StatusCode::SERVICE_UNAVAILABLE);
        tokio::time::sleep(Duration::from_millis(100)).await;
        again = alice.get("/me").await;
    }
    assert_eq!(again.status, StatusCode::OK);

    place.proxy.set(Weather::Answering(1));
    let write = alice.send(Method::PUT, "/data/x").await;
    assert_eq!(write.status, StatusCode::SERVICE_UNAVAILABLE, "data is not lost in silence");
    drop(place.server);
}

#[tokio::test(flavor = "multi_thread")]
async fn s5_round_trips_to_redis() {
    s5(Kind::Redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s5_round_trips_to_valkey() {
    s5(Kind::Valkey).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s5_round_trips_to_postgres() {
    s5(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s6_a_touch_that_redis_does_not_answer_is_let_go_and_a_write_is_not() {
    s6_a_touch_gets_lost(Kind::Redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s6_a_touch_that_postgres_does_not_answer_is_let_go_and_a_write_is_not() {
    s6_a_touch_gets_lost(Kind::Postgres).await;
}
