//! The sides: bare commands, and the routes inside each layer.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body};
use http::{HeaderValue, Method, StatusCode, header};
use redis_pool::RedisPool;
use tower::Service;
use tower_sessions_redis_store::{
    RedisStore as FredStore,
    fred::{clients::Pool, prelude::*},
};
use tower_tenure::{
    SystemClock,
    store::{PostgresStore, RedisStore},
};
use tower_tenure_peers::{
    application::benchmarked,
    libraries::{axum_session, tenure, tower_sessions_0_14},
};

use crate::{
    SESSIONS,
    load::sessions::user_agent,
    sides::{Ask, Request, postgres, redis, value},
};

pub(crate) const IDLE: Duration = Duration::from_secs(24 * 3600);

/// A side, and the number of the side with the bare command by the same client.
pub(crate) struct Named {
    pub(crate) name: &'static str,
    pub(crate) side: Side,
    pub(crate) bare: Option<usize>,
}

/// Clones share everything.
#[derive(Clone)]
pub(crate) enum Side {
    Redis(redis::Bare),
    Fred(Pool, Arc<AtomicU64>),
    Postgres(postgres::Bare),
    Sqlx(crate::sqlx::Bare),
    Routed(Arc<Routed>),
}

/// The routes inside a layer, and the logged-in browsers.
pub(crate) struct Routed {
    router: Router,
    browsers: RwLock<Vec<HeaderValue>>,
    user_agents: Vec<HeaderValue>,
}

pub(crate) async fn over_redis(url: &str) -> Vec<Named> {
    let fred = Pool::new(Config::from_url(url).expect("a URL"), None, None, None, 6).expect("a pool");
    let _ = fred.connect();
    fred.wait_for_connect().await.expect("it connects");
    let store = RedisStore::connect(url).await.expect("it connects");
    let ours = tenure::layered(store, IDLE, SystemClock, benchmarked::<tenure::Session>());
    let of_tower_sessions = |always| {
        let routes = benchmarked::<tower_sessions_0_14::Session>();
        routed(tower_sessions_0_14::layered(FredStore::new(fred.clone()), IDLE, always, routes))
    };
    let pool = RedisPool::from(::redis::Client::open(url).expect("a URL"));
    let pool = axum_session_redispool::SessionRedisPool::from(pool);
    let routes = benchmarked::<axum_session::Session<axum_session_redispool::SessionRedisPool>>();
    let uncached = axum_session::layered(Some(pool), IDLE, false, routes).await;
    vec![
        Named { name: "bare, redis-rs", side: Side::Redis(redis::Bare::connect(url).await), bare: None },
        Named { name: "tower-tenure", side: routed(ours), bare: Some(0) },
        Named { name: "axum_session 0.22, without its cache", side: routed(uncached), bare: Some(0) },
        Named { name: "bare, fred", side: Side::Fred(fred.clone(), Arc::default()), bare: None },
        Named { name: "tower-sessions 0.14", side: of_tower_sessions(false), bare: Some(3) },
        Named { name: "tower-sessions 0.14, always_save", side: of_tower_sessions(true), bare: Some(3) },
    ]
}

pub(crate) async fn over_postgres(url: &str) -> Vec<Named> {
    let bare = postgres::Bare::connect(url).await;
    let store = PostgresStore::connect(url).await.expect("it connects");
    let ours = tenure::layered(store, IDLE, SystemClock, benchmarked::<tenure::Session>());
    let mut sides = vec![
        Named { name: "bare, tokio-postgres", side: Side::Postgres(bare), bare: None },
        Named { name: "tower-tenure", side: routed(ours), bare: Some(0) },
    ];
    sides.extend(crate::sqlx::sides(url, sides.len()).await);
    sides
}

pub(crate) fn routed(router: Router) -> Side {
    let header = |number| HeaderValue::try_from(user_agent(number)).expect("a header");
    let user_agents = (0..100).map(header).collect();
    // As `axum::serve` does. Without this, each request would wrap its handler in the layer again.
    Side::Routed(Arc::new(Routed { router: router.with_state(()), browsers: RwLock::default(), user_agents }))
}

impl Ask for Side {
    async fn ask(self, request: Request, number: u64) {
        match self {
            Self::Redis(bare) => bare.ask(request, number).await,
            Self::Postgres(bare) => bare.ask(request, number).await,
            Self::Fred(pool, next) => ask_fred(pool, &next, request, number).await,
            Self::Sqlx(bare) => bare.ask(request, number).await,
            Self::Routed(routed) => routed.ask(request, number).await,
        }
    }
}

/// The key that a bare login adds, and the key that other requests visit.
pub(crate) fn key(next: &AtomicU64, request: Request, number: u64) -> u64 {
    match request {
        Request::Login => next.fetch_add(1, Ordering::Relaxed),
        _ => number.wrapping_mul(7919) % SESSIONS,
    }
}

async fn ask_fred(pool: Pool, next: &AtomicU64, request: Request, number: u64) {
    let number = key(next, request, number);
    let key = format!("fred:{number:010}");
    if request != Request::Login {
        let stored: Vec<u8> = pool.get(&key).await.expect("it gets");
        assert_eq!(stored.len(), 250);
    }
    if request != Request::Read {
        let value = value(number);
        let _: () = pool.set(&key, value.as_slice(), None, None, false).await.expect("it sets");
    }
}

impl Routed {
    async fn ask(&self, request: Request, number: u64) {
        let (method, path) = match request {
            Request::Read => (Method::GET, "/read"),
            Request::Write => (Method::POST, "/write"),
            Request::Login => (Method::POST, "/login"),
        };
        let mut asked = http::Request::builder().method(method).uri(path);
        let mut browser = 0;
        if request != Request::Login {
            let browsers = self.browsers.read().unwrap_or_else(PoisonError::into_inner);
            // A stride that visits the sessions in a scattered order.
            browser = number.wrapping_mul(7919) as usize % browsers.len();
            asked = asked.header(header::COOKIE, browsers[browser].clone());
        }
        asked = asked.header(header::USER_AGENT, self.user_agents[browser % self.user_agents.len()].clone());
        let asked = asked.body(Body::empty()).expect("a request");
        let Ok(response) = self.router.clone().call(asked).await;
        assert_eq!(response.status(), StatusCode::OK);
        if request == Request::Login {
            let values = response.headers().get_all(header::SET_COOKIE).into_iter();
            let pairs: Vec<_> = values.filter_map(|value| value.to_str().ok()?.split(';').next()).collect();
            assert!(!pairs.is_empty(), "a login sets a cookie");
            let cookie = HeaderValue::try_from(pairs.join("; ")).expect("a cookie");
            self.browsers.write().unwrap_or_else(PoisonError::into_inner).push(cookie);
        }
    }
}
