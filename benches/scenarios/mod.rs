//! The scenarios, a stack and a kind of request, which `benches/overhead.rs` and `tests/budget.rs`
//! share. The package in `benches/peers` shares `serve.rs`, `browser.rs`, `clockwork.rs` and
//! `floor.rs`.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Scenario`]: a stack and a kind of request, ready to be served |
//! | `stack.rs` | [`Stack`]: the same routes bare, and inside each of the layers that are compared |
//! | `serve.rs` | how a service is called |
//! | `browser.rs` | what a browser sends |
//! | `clockwork.rs` | a clock that moves by the same step with every request |
//! | `floor.rs` | the least that a session layer can cost, written by hand |
//! | `counted.rs` | a store that counts its look-ups |
//! | `bound.rs` | a session bound to a device, as a browser binds one |

pub(crate) mod bound;
mod browser;
mod clockwork;
pub(crate) mod counted;
mod floor;
mod serve;
mod stack;

use axum::body::Body;
use http::{Method, Request, header, response::Parts};

pub(crate) use self::{clockwork::Clockwork, serve::Serve, stack::Stack};
use crate::scenarios::counted::Counted;

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visit {
    /// A stranger.
    NoCookie,
    /// A well-formed cookie that was never issued.
    Forged,
    /// A malformed cookie under our name.
    Malformed,
    /// A live session, always the same one. The handler does not use it.
    Live,
    /// The same, and the handler reads the user.
    LiveRead,
    /// The same, and the session is bound to its device if the layer binds sessions.
    BoundRead,
    /// A live session, with another one each time.
    Scattered,
    /// The same, and the handler reads the user.
    ScatteredRead,
    /// A live persistent session. The browser has the deadline of the current second.
    Persistent,
    /// The same, but a second later each time, so each response has a `Set-Cookie`.
    PersistentNextSecond,
    /// A live session. The handler writes one value.
    Write,
    /// A stranger who logs in.
    Login,
}

impl Visit {
    pub(crate) const ALL: [Self; 12] = [
        Self::NoCookie,
        Self::Forged,
        Self::Malformed,
        Self::Live,
        Self::LiveRead,
        Self::BoundRead,
        Self::Scattered,
        Self::ScatteredRead,
        Self::Persistent,
        Self::PersistentNextSecond,
        Self::Write,
        Self::Login,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::NoCookie => "no cookie",
            Self::Forged => "forged cookie",
            Self::Malformed => "malformed cookie",
            Self::Live => "live, hot",
            Self::LiveRead => "live, hot, read",
            Self::BoundRead => "bound, hot, read",
            Self::Scattered => "live, scattered",
            Self::ScatteredRead => "live, scattered, read",
            Self::Persistent => "persistent, same second",
            Self::PersistentNextSecond => "persistent, next second",
            Self::Write => "write",
            Self::Login => "login",
        }
    }

    const fn route(self) -> (Method, &'static str) {
        match self {
            Self::LiveRead | Self::BoundRead | Self::ScatteredRead => (Method::GET, "/read"),
            Self::Write => (Method::POST, "/write"),
            Self::Login => (Method::POST, "/login"),
            _ => (Method::GET, "/plain"),
        }
    }

    /// The number of sessions.
    const fn sessions(self) -> usize {
        match self {
            Self::NoCookie | Self::Malformed | Self::Login => 0,
            Self::Scattered | Self::ScatteredRead => 10_000,
            _ => 1,
        }
    }

    /// The clock's step with each request. If possible, it is large enough for each interaction to
    /// be recorded.
    const fn step_millis(self) -> i64 {
        match self {
            Self::PersistentNextSecond => 1000,
            _ => 1,
        }
    }

    /// Whether our layer answers with a `Set-Cookie`. An unexpected one for a live session means
    /// that the session was not found.
    const fn sets_cookie(self) -> bool {
        matches!(self, Self::Forged | Self::Malformed | Self::PersistentNextSecond | Self::Login)
    }

    const fn is_persistent(self) -> bool {
        matches!(self, Self::Persistent | Self::PersistentNextSecond)
    }
}

/// A stack and a kind of request, warmed up.
pub(crate) struct Scenario {
    visit: Visit,
    serve: Serve,
    /// The browsers' cookies, as the text after `__Host-id=`.
    cookies: Vec<String>,
    next: usize,
    clockwork: Clockwork,
    /// Counts the look-ups of [`Stack::Counted`].
    pub(crate) store: Counted,
}

impl Scenario {
    pub(crate) fn new(stack: Stack, visit: Visit) -> Self {
        let (clockwork, store) = (Clockwork::default(), Counted::default());
        let mut serve = stack.service(&clockwork, &store);
        let login = if visit.is_persistent() { "/remember" } else { "/login" };
        let open = |_| issued(&serve(request(Method::POST, login, None))).unwrap_or_else(made_up);
        let mut cookies: Vec<_> = (0..visit.sessions()).map(open).collect();
        match visit {
            Visit::Forged => cookies = vec![made_up()],
            Visit::Malformed => cookies = vec![made_up().split_off(1)],
            Visit::BoundRead => {
                let bound = bound::bind(&bound::SoftwareDevice::es256(), &mut serve);
                cookies = vec![bound.unwrap_or_else(bound::made_up)];
            }
            _ => {}
        }
        clockwork.step_by(visit.step_millis());
        let mut scenario = Self { visit, serve, cookies, next: 0, clockwork, store };
        for _ in 0..100 {
            scenario.visit();
        }
        scenario.start_second();
        let sets_cookie = scenario.visit().headers.contains_key(header::SET_COOKIE);
        assert_eq!(
            sets_cookie,
            stack.is_ours() && visit.sets_cookie(),
            "{}: not what it should be",
            visit.name()
        );
        scenario
    }

    /// Builds the next request.
    pub(crate) fn request(&mut self) -> Request<Body> {
        let (method, path) = self.visit.route();
        // A stride that is coprime to the number visits all in an order that no prefetcher
        // predicts.
        self.next += 7919;
        let cookie = self.cookies.get(self.next % self.cookies.len().max(1));
        request(method, path, cookie.map(String::as_str))
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

    /// Moves the clock to the start of a second whose deadline the browser has. The next 900
    /// requests fall into that second.
    pub(crate) fn start_second(&mut self) {
        self.clockwork.to_next_second();
        self.visit();
    }
}

/// A request of a browser with our cookie.
pub(crate) fn request(method: Method, path: &str, token: Option<&str>) -> Request<Body> {
    let cookie = token.map(|token| format!("__Host-id={token}"));
    browser::request(method, path, cookie.as_deref())
}

/// The token that a response sets.
fn issued(response: &Parts) -> Option<String> {
    let value = response.headers.get(header::SET_COOKIE)?.to_str().ok()?;
    Some(value.strip_prefix("__Host-id=")?.split(';').next()?.to_owned())
}

/// A token that was never issued.
fn made_up() -> String {
    "AbCdEfGh".repeat(8)
}
