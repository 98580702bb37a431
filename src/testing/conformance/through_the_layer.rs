//! The middleware over the store, with a clock that is turned by hand (SPEC L2, L3, C2, C6, S4, S9, E1).

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use tower::{Layer, Service};

use super::bench::{ABSOLUTE, Bench, IDLE, MINUTE, SECOND, cap, subject};
use crate::{
    Error, Key, Lifetimes, Outcome, Policy, Session, SessionLayer, SessionService, SessionStore, Sessions,
    policy::Overflow, testing::ManualClock,
};

const VALUE: Key<String> = Key::new("value");
const TICK: Duration = Duration::from_millis(1);

/// A site over the store, for one user.
struct Site {
    service: SessionService<Handler>,
    sessions: Sessions,
    clock: ManualClock,
    user: Arc<str>,
}

impl Site {
    /// Every interaction is recorded, so that the deadlines are exact over any store.
    fn new<S: SessionStore>(bench: &Bench<S>, set: impl FnOnce(Policy) -> Policy) -> Self {
        let clock = ManualClock::new(bench.start);
        let user = subject();
        let lifetimes = Lifetimes::new(IDLE, ABSOLUTE).unwrap_or_else(|error| bench.fail(error));
        let policy = set(Policy::new(lifetimes, lifetimes).with_granularity(Duration::ZERO));
        let layer = SessionLayer::new(Arc::clone(&bench.store))
            .with_policy(policy)
            .with_clock(clock.clone())
            .with_store_budget(MINUTE);
        let service = layer.layer(Handler { user: Arc::clone(&user) });
        Self { service, sessions: layer.sessions(), clock, user }
    }

    const fn browser(&self) -> Browser<'_> {
        Browser { site: self, cookie: None }
    }
}

/// Sends the last cookie that it got.
#[derive(Clone)]
struct Browser<'a> {
    site: &'a Site,
    cookie: Option<String>,
}

impl Browser<'_> {
    async fn visit(&mut self, path: &'static str) -> Reply {
        let mut request = Request::new(());
        *request.uri_mut() = http::Uri::from_static(path);
        let cookie = self.cookie.as_deref().and_then(|cookie| HeaderValue::from_str(cookie).ok());
        request.headers_mut().extend(cookie.map(|cookie| (header::COOKIE, cookie)));

        let mut service = self.site.service.clone();
        let Ok(()) = poll_fn(|cx| service.poll_ready(cx)).await;
        let Ok(response) = service.call(request).await;
        let text =
            |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let set_cookie = text("set-cookie");
        if let Some(line) = &set_cookie {
            self.cookie = line.split(';').next().filter(|_| !line.contains("Max-Age=0")).map(str::to_owned);
        }
        Reply {
            status: response.status(),
            is_user: text("is-user").is_some(),
            value: text("value"),
            reason: text("reason"),
            set_cookie,
        }
    }
}

struct Reply {
    status: StatusCode,
    /// Whether the user was logged in when the handler was done.
    is_user: bool,
    value: Option<String>,
    reason: Option<String>,
    set_cookie: Option<String>,
}

impl Reply {
    fn removes_cookie(&self) -> bool {
        self.set_cookie.as_ref().is_some_and(|line| line.contains("Max-Age=0"))
    }
}

impl<S: SessionStore> Bench<S> {
    fn welcome(&self, what: &str, reply: &Reply) {
        self.same(&format!("the status {what}"), reply.status, StatusCode::OK);
        self.expect(reply.is_user, &format!("the user is logged out {what}"));
    }

    fn turned_away(&self, what: &str, reply: &Reply, reason: &str) {
        self.same(&format!("the status {what}"), reply.status, StatusCode::OK);
        self.expect(!reply.is_user, &format!("the user is still logged in {what}"));
        self.same(&format!("the reason told {what}"), reply.reason.as_deref(), Some(reason));
        self.expect(reply.removes_cookie(), &format!("the cookie is not removed {what}"));
    }
}

/// `/login`, `/logout`, `/rotate`, `/write`; tells in headers what it sees.
#[derive(Clone)]
struct Handler {
    user: Arc<str>,
}

impl Service<Request<()>> for Handler {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let user = Arc::clone(&self.user);
        Box::pin(async move {
            let mut response = Response::new(String::new());
            let session = request.extensions().get::<Session>();
            let served = match session {
                Some(session) => serve(session, request.uri().path(), user, response.headers_mut()).await,
                None => unreachable!("the layer puts a session into every request"),
            };
            if served.is_err() {
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            }
            Ok(response)
        })
    }
}

async fn serve(session: &Session, path: &str, user: Arc<str>, headers: &mut HeaderMap) -> Result<(), Error> {
    match path {
        "/login" => match session.login(Arc::clone(&user)).await? {
            Outcome::Done => {}
            Outcome::Refused(_) => unreachable!("nothing here refuses a login before it is stored"),
        },
        "/logout" => session.logout()?,
        "/rotate" => session.rotate()?,
        "/write" => session.insert(&VALUE, &"written".to_owned())?,
        _ => {}
    }
    if session.subject().as_ref() == Some(&user) {
        headers.insert("is-user", HeaderValue::from_static("yes"));
    }
    let value = session.get(&VALUE)?.and_then(|value| HeaderValue::try_from(value).ok());
    headers.extend(value.map(|value| (header::HeaderName::from_static("value"), value)));
    let reason = session.end_reason().map(|reason| HeaderValue::from_static(reason.as_str()));
    headers.extend(reason.map(|reason| (header::HeaderName::from_static("reason"), reason)));
    Ok(())
}

/// Live until a millisecond before, whoever keeps coming; told `idle` and rid of the cookie from then on.
pub(super) async fn l2_a_session_is_over_exactly_at_its_idle_deadline<S: SessionStore>(bench: Bench<S>) {
    let site = Site::new(&bench, |policy| policy);
    let mut browser = site.browser();
    bench.welcome("right after the login", &browser.visit("/login").await);
    for _ in 0..3 {
        site.clock.advance(IDLE.saturating_sub(TICK));
        bench.welcome("a millisecond before the idle deadline", &browser.visit("/").await);
    }
    site.clock.advance(IDLE);
    let mut other_tab = browser.clone();
    bench.turned_away("at the idle deadline", &browser.visit("/").await, "idle");
    bench.turned_away("when another tab comes", &other_tab.visit("/").await, "idle");
}

/// However active its user is.
pub(super) async fn l2_no_interaction_moves_the_absolute_deadline<S: SessionStore>(bench: Bench<S>) {
    let site = Site::new(&bench, |policy| policy);
    let mut browser = site.browser();
    browser.visit("/login").await;
    for path in ["/", "/write", "/rotate"].iter().cycle().take(47) {
        site.clock.advance(ABSOLUTE / 48);
        bench.welcome("before the absolute deadline", &browser.visit(path).await);
    }
    site.clock.advance((ABSOLUTE / 48).saturating_sub(TICK));
    bench.welcome("a millisecond before the absolute deadline", &browser.visit("/").await);
    site.clock.advance(TICK);
    bench.turned_away("at the absolute deadline", &browser.visit("/").await, "absolute");
}

/// What was in the basket is still there, under another cookie.
pub(super) async fn l3_a_login_keeps_what_an_anonymous_visitor_left<S: SessionStore>(bench: Bench<S>) {
    let site = Site::new(&bench, |policy| policy);
    let mut browser = site.browser();
    browser.visit("/write").await;
    let mut earlier = browser.clone();
    browser.visit("/login").await;
    let reply = browser.visit("/").await;
    bench.welcome("after a login from an anonymous session", &reply);
    bench.same("the value from before the login", reply.value.as_deref(), Some("written"));
    let reply = earlier.visit("/").await;
    bench.same("what the cookie from before is told", reply.reason.as_deref(), Some("superseded"));
    bench.same("the value under the cookie from before", reply.value, None);
}

/// Also for a copy of the cookie, and also when a write comes with it.
pub(super) async fn s4_a_logged_out_cookie_is_dead_and_told_so<S: SessionStore>(bench: Bench<S>) {
    let site = Site::new(&bench, |policy| policy);
    let mut browser = site.browser();
    browser.visit("/login").await;
    browser.visit("/write").await;
    let mut copy = browser.clone();
    let reply = browser.visit("/logout").await;
    bench.expect(reply.removes_cookie(), "a logout does not remove the cookie");
    let reply = copy.clone().visit("/").await;
    bench.turned_away("after the logout", &reply, "signed_out");
    bench.same("the value after the logout", reply.value, None);
    bench.expect(!copy.visit("/write").await.is_user, "a write brought back a session that was logged out");
}

/// One by its id, or all of a user.
pub(super) async fn e1_a_revocation_is_seen_by_the_very_next_request<S: SessionStore>(bench: Bench<S>) {
    let site = Site::new(&bench, |policy| policy);
    let mut browsers = [site.browser(), site.browser(), site.browser()];
    for browser in &mut browsers {
        bench.welcome("right after the login", &browser.visit("/login").await);
        site.clock.advance(SECOND);
    }
    let listed =
        site.sessions.list(Some(&*site.user), None, 10).await.unwrap_or_else(|error| bench.fail(error));
    bench.same("the sessions listed", listed.len(), 3);
    let revoked = site.sessions.revoke(listed[0].sid).await.unwrap_or_else(|error| bench.fail(error));
    bench.expect(revoked, "a live session could not be revoked");
    bench.turned_away("after a revocation", &browsers[0].visit("/").await, "revoked");
    bench.welcome("after the revocation of another session", &browsers[1].visit("/").await);

    let all = site.sessions.revoke_all(&site.user, Some(listed[2].sid)).await;
    bench.same("all that was revoked", all.unwrap_or_else(|error| bench.fail(error)), vec![listed[1].sid]);
    bench.turned_away("after all were revoked", &browsers[1].visit("/").await, "revoked");
    bench.welcome("when it was excepted", &browsers[2].visit("/").await);
}

/// The one that was least recently active, for whom a third made no room.
pub(super) async fn s9_the_evicted_user_is_told<S: SessionStore>(bench: Bench<S>) {
    let site = Site::new(&bench, |policy| policy.with_cap(cap(2, Overflow::Evict)));
    let (mut first, mut second, mut third) = (site.browser(), site.browser(), site.browser());
    for browser in [&mut first, &mut second] {
        browser.visit("/login").await;
        site.clock.advance(SECOND);
    }
    bench.welcome("under the cap", &first.visit("/").await);
    site.clock.advance(SECOND);
    bench.welcome("over the cap", &third.visit("/login").await);
    bench.turned_away("after a third login", &second.visit("/").await, "evicted");
    bench.welcome("when it was not the least recently active", &first.visit("/").await);
}

/// By the deadlines that the store gave back, to the second.
pub(super) async fn c2_a_persistent_cookie_is_refreshed_when_the_deadline_moves<S: SessionStore>(
    bench: Bench<S>,
) {
    let site = Site::new(&bench, |policy| policy);
    let mut browser = site.browser();
    let lives = |reply: &Reply| {
        let line = reply.set_cookie.as_ref()?;
        line.split("; ").find_map(|part| part.strip_prefix("Max-Age="))?.parse::<u64>().ok()
    };
    // The cookie goes at the whole second that is not before the deadline, counted from the whole second of the arrival.
    let around = |found: Option<u64>, wanted: Duration| {
        found.is_some_and(|found| found == wanted.as_secs() || found == wanted.as_secs() + 1)
    };
    let login = lives(&browser.visit("/login").await);
    bench.expect(around(login, IDLE), "a persistent cookie does not last until the idle deadline");
    bench.same("the cookie of a request at the same moment", browser.visit("/").await.set_cookie, None);
    site.clock.advance(MINUTE);
    let refreshed = lives(&browser.visit("/").await);
    bench.expect(around(refreshed, IDLE), "a persistent cookie is not refreshed when its deadline moves");
}

/// Requests in flight during a rotation do not get lost, and a stolen old cookie is soon worth nothing.
pub(super) async fn c6_the_old_cookie_works_within_the_grace_and_not_after<S: SessionStore>(bench: Bench<S>) {
    let grace = 10 * SECOND;
    let site = Site::new(&bench, |policy| policy.with_rotation_grace(grace));
    let mut browser = site.browser();
    browser.visit("/login").await;
    let mut in_flight = browser.clone();
    bench.welcome("after a rotation", &browser.visit("/rotate").await);
    bench.expect(browser.cookie != in_flight.cookie, "a rotation issued no new cookie");
    site.clock.advance(grace.saturating_sub(TICK));
    let reply = in_flight.visit("/rotate").await;
    bench.welcome("with the cookie from before a rotation, within the grace", &reply);
    bench.same("the cookie issued to who holds the one in grace", reply.set_cookie, None);
    site.clock.advance(TICK);
    let reply = in_flight.visit("/").await;
    bench.expect(!reply.is_user, "the cookie from before a rotation works after the grace");
    bench.welcome("with the cookie from a rotation", &browser.visit("/").await);
}
