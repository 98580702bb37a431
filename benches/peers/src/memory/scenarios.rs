//! The scenarios: a stack and a kind of request.

#[path = "../../../scenarios/browser.rs"]
mod browser;
#[path = "../../../scenarios/clockwork.rs"]
mod clockwork;
#[path = "../../../scenarios/floor.rs"]
mod floor;
#[path = "serve.rs"]
mod serve;
#[path = "../../../scenarios/serve.rs"]
#[expect(dead_code, reason = "the benchmark of the crate polls by hand")]
mod service;

use std::{sync::LazyLock, time::Duration};

use axum::{Router, body::Body};
use http::{Method, Request, header, response::Parts};
use tokio::runtime::{Builder, Runtime};
use tower_tenure::MemoryStore;
use tower_tenure_peers::{
    application::{bare, benchmarked},
    libraries::{axess, axum_session, tenure, tower_sessions, tower_sessions_0_14},
};

use self::{
    clockwork::Clockwork,
    floor::FloorLayer,
    serve::{Noop, Serve, erased},
};

/// The layer around the routes, always added by `Router::layer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stack {
    /// Nothing.
    Bare,
    /// A layer that does nothing, the baseline of all comparisons.
    Noop,
    /// The minimal cost of a session layer.
    Floor,
    Tenure,
    /// Its idle timeout counts only writes.
    TowerSessions,
    /// Each request writes the session, so that its idle timeout counts reads.
    TowerSessionsAlways,
    /// The same in version 0.14, over moka.
    Moka,
    MokaAlways,
    AxumSession,
    Axess,
}

/// A day.
const IDLE: Duration = Duration::from_secs(24 * 3600);

/// Runs all requests, and the tasks that a layer spawns for a request.
pub(crate) static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_all().build().expect("a runtime"));

impl Stack {
    pub(crate) const ALL: [Self; 10] = [
        Self::Bare,
        Self::Noop,
        Self::Floor,
        Self::Tenure,
        Self::TowerSessions,
        Self::TowerSessionsAlways,
        Self::Moka,
        Self::MokaAlways,
        Self::AxumSession,
        Self::Axess,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare axum",
            Self::Noop => "no-op layer",
            Self::Floor => "hand-written floor",
            Self::Tenure => "tower-tenure",
            Self::TowerSessions => "tower-sessions 0.15",
            Self::TowerSessionsAlways => "tower-sessions 0.15, always_save",
            Self::Moka => "tower-sessions 0.14, moka",
            Self::MokaAlways => "tower-sessions 0.14, moka, always_save",
            Self::AxumSession => "axum_session 0.22",
            Self::Axess => "axess 0.14",
        }
    }

    /// The floor has no data, no rotation, and no handler for anonymous requests.
    pub(crate) const fn serves(self, visit: Visit) -> bool {
        let is_beyond = matches!(visit, Visit::Write | Visit::WriteScattered | Visit::Rotate | Visit::Forged);
        !(matches!(self, Self::Floor) && is_beyond)
    }

    fn router(self, clockwork: &Clockwork) -> Router {
        match self {
            Self::Bare => bare(),
            Self::Noop => bare().layer(tower::layer::layer_fn(Noop)),
            Self::Floor => floor::routes().layer(FloorLayer::new(clockwork.clone())),
            Self::Tenure => {
                tenure::layered(MemoryStore::new(), IDLE, clockwork.clone(), benchmarked::<tenure::Session>())
            }
            Self::TowerSessions | Self::TowerSessionsAlways => {
                let always = self == Self::TowerSessionsAlways;
                let routes = benchmarked::<tower_sessions::Session>();
                tower_sessions::layered(tower_sessions::memory(), IDLE, always, routes)
            }
            Self::Moka | Self::MokaAlways => {
                let routes = benchmarked::<tower_sessions_0_14::Session>();
                let always = self == Self::MokaAlways;
                tower_sessions_0_14::layered(tower_sessions_0_14::moka(), IDLE, always, routes)
            }
            Self::AxumSession => RUNTIME.block_on(axum_session::layered(
                None::<axum_session::SessionNullPool>,
                IDLE,
                true,
                benchmarked::<axum_session::Session<axum_session::SessionNullPool>>(),
            )),
            Self::Axess => axess::layered(axess::memory(), IDLE, benchmarked::<axess::Session>()),
        }
    }
}

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visit {
    /// A stranger.
    NoCookie,
    /// A live session, always the same one. The handler does not use it.
    Untouched,
    /// The same, and the handler reads the user.
    Read,
    /// The same, with another session each time.
    ReadScattered,
    /// The handler writes one value.
    Write,
    WriteScattered,
    /// The session gets a new id or secret.
    Rotate,
    /// A stranger who logs in.
    Login,
    /// A well-formed cookie that this server did not issue. The handler reads the user.
    Forged,
}

impl Visit {
    pub(crate) const ALL: [Self; 9] = [
        Self::NoCookie,
        Self::Untouched,
        Self::Read,
        Self::ReadScattered,
        Self::Write,
        Self::WriteScattered,
        Self::Rotate,
        Self::Login,
        Self::Forged,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::NoCookie => "no cookie",
            Self::Untouched => "untouched",
            Self::Read => "read",
            Self::ReadScattered => "read, scattered",
            Self::Write => "write",
            Self::WriteScattered => "write, scattered",
            Self::Rotate => "rotate",
            Self::Login => "login",
            Self::Forged => "forged",
        }
    }

    pub(crate) const fn is_scattered(self) -> bool {
        matches!(self, Self::ReadScattered | Self::WriteScattered)
    }

    /// Whether a cookie is valid for one request only: after a rotation it is old, and a library
    /// may adopt a forged one.
    const fn is_once(self) -> bool {
        matches!(self, Self::Rotate | Self::Forged)
    }

    /// The number of requests in one measurement.
    pub(crate) const fn batch(self) -> usize {
        if self.is_once() { 200 } else { 1000 }
    }

    const fn route(self) -> (Method, &'static str) {
        match self {
            Self::NoCookie | Self::Untouched => (Method::GET, "/plain"),
            Self::Read | Self::ReadScattered | Self::Forged => (Method::GET, "/read"),
            Self::Write | Self::WriteScattered => (Method::POST, "/write"),
            Self::Rotate => (Method::POST, "/rotate"),
            Self::Login => (Method::POST, "/login"),
        }
    }
}

/// A stack and a kind of request, warmed up.
pub(crate) struct Scenario {
    visit: Visit,
    router: Router,
    serve: Serve,
    /// The cookies of the browsers.
    cookies: Vec<String>,
    next: usize,
}

impl Scenario {
    /// For at most 1000 requests.
    pub(crate) fn new(stack: Stack, visit: Visit) -> Self {
        Self::with_cookies(stack, visit, if visit.is_once() { 1200 } else { 1 })
    }

    /// For many requests.
    pub(crate) fn for_long(stack: Stack, visit: Visit) -> Self {
        let many = visit.is_once() || visit.is_scattered();
        Self::with_cookies(stack, visit, if many { 10_000 } else { 1 })
    }

    fn with_cookies(stack: Stack, visit: Visit, cookies: usize) -> Self {
        let clockwork = Clockwork::default();
        // As `axum::serve` does. Without this, each request would wrap its handler in the layer
        // again.
        let router = stack.router(&clockwork).with_state(());
        // Forged cookies come from another server with another key and other sessions.
        let issuer =
            if visit == Visit::Forged { stack.router(&clockwork).with_state(()) } else { router.clone() };
        let mut issuer = erased(issuer);
        let issue =
            |_| issued(&issuer(browser::request(Method::POST, "/login", None))).unwrap_or_else(made_up);
        let cookies = match visit {
            Visit::NoCookie | Visit::Login => Vec::new(),
            _ => (0..cookies).map(issue).collect(),
        };
        // So that tower-tenure records an interaction with each request.
        clockwork.step_by(1);
        let mut scenario = Self { visit, serve: erased(router.clone()), router, cookies, next: 0 };
        for _ in 0..100 {
            let request = scenario.request();
            let response = scenario.serve(request);
            assert!(response.status.is_success(), "{}: {}", stack.name(), response.status);
        }
        // tower-tenure sets a cookie again after this second, and not before.
        clockwork.to_next_second();
        let request = scenario.request();
        drop(scenario.serve(request));
        scenario
    }

    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    fn request(&mut self) -> Request<Body> {
        let (method, path) = self.visit.route();
        // A stride that is coprime to the number visits all in an order that no prefetcher
        // predicts.
        self.next += 7919;
        let cookie = self.cookies.get(self.next % self.cookies.len().max(1));
        browser::request(method, path, cookie.map(String::as_str))
    }

    /// Builds this many requests in advance, so that the measurement excludes it.
    pub(crate) fn requests(&mut self, count: usize) -> Vec<Request<Body>> {
        (0..count).map(|_| self.request()).collect()
    }

    /// Serves a request as a server does, up to the last frame of the body.
    #[inline(never)] // a name for callgrind's `--toggle-collect`
    pub(crate) fn serve(&mut self, request: Request<Body>) -> Parts {
        (self.serve)(request)
    }

    /// Builds a request and serves it.
    pub(crate) fn visit(&mut self) -> Parts {
        let request = self.request();
        self.serve(request)
    }
}

/// The cookies that a response sets, in the form that a browser sends.
fn issued(response: &Parts) -> Option<String> {
    let values = response.headers.get_all(header::SET_COOKIE).into_iter();
    let pairs: Vec<_> = values.filter_map(|value| value.to_str().ok()?.split(';').next()).collect();
    (!pairs.is_empty()).then(|| pairs.join("; "))
}

/// For stacks that set no cookie, so that their requests have the same length.
fn made_up() -> String {
    format!("__Host-id={}", "AbCdEfGh".repeat(8))
}
