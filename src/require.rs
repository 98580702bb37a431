//! Letting only live sessions through.

use std::{
    borrow::Cow,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::{
    EndReason, Error, ErrorKind, RequestHead, Session, body::ResponseBody, problem::Problem, record::Timing,
    session::Skipped,
};

/// A layer that lets only logged-in users through (SPEC E1, E2). Goes inside a [`SessionLayer`](crate::SessionLayer).
///
/// Everybody else gets 401 with `application/problem+json` (RFC 9457), whose `reason` is `none`, an
/// [end reason](EndReason), or `step_up`. With a login page, browser navigations are redirected there, with the path and
/// query they wanted in `return_to`.
///
/// CORS preflights pass, as they carry no cookies: a CORS layer belongs outside, and a handler inside should not answer
/// `OPTIONS` with anything that is not for everybody.
///
/// # Example
///
/// ```
/// use axum::{Router, routing::get};
/// use tower_tenure::{MemoryStore, RequireSession, SessionLayer};
///
/// # fn app() -> Result<Router, tower_tenure::Error> {
/// let app = Router::new()
///     .route("/account", get(async || "yours"))
///     .layer(RequireSession::new().with_login_page("/login")?)
///     .layer(SessionLayer::new(MemoryStore::new()));
/// # Ok(app)
/// # }
/// # app().unwrap();
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct RequireSession {
    login_page: Option<Cow<'static, str>>,
    rules: Rules,
}

#[derive(Clone, Copy, Debug, Default)]
struct Rules {
    anonymous: bool,
    authenticated_within: Option<Duration>,
    idle: Option<Duration>,
}

/// Why a request is not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Denial {
    NoSession,
    Over(EndReason),
    StepUp,
}

impl Denial {
    const fn as_str(self) -> &'static str {
        match self {
            Self::NoSession => "none",
            Self::Over(reason) => reason.as_str(),
            Self::StepUp => "step_up",
        }
    }

    const fn detail(self) -> &'static str {
        match self {
            Self::NoSession => "There is no session. Please log in.",
            Self::Over(EndReason::Idle) => {
                "The session ended after a time without activity. Please log in again."
            }
            Self::Over(EndReason::Absolute) => {
                "The session reached its maximum lifetime. Please log in again."
            }
            Self::Over(EndReason::SignedOut) => "You have signed out.",
            Self::Over(EndReason::Revoked) => "The session was revoked. Please log in again.",
            Self::Over(EndReason::Evicted) => {
                "The session ended because you logged in on too many other devices."
            }
            Self::Over(EndReason::Superseded) => "The session was replaced by a newer login in this browser.",
            Self::StepUp => "This needs a more recent login. Please log in again.",
        }
    }
}

impl RequireSession {
    /// Requires a logged-in user.
    pub fn new() -> Self {
        Self::default()
    }

    /// Redirects browser navigations to this page instead: a path, or an absolute `http(s)` URL.
    ///
    /// # Errors
    ///
    /// When it is neither.
    pub fn with_login_page(mut self, page: impl Into<Cow<'static, str>>) -> Result<Self, Error> {
        let page = page.into();
        let absolute = page.starts_with("https://") || page.starts_with("http://");
        if !(is_same_origin_path(&page) || absolute)
            || HeaderValue::try_from(&*page).is_err()
            || page.contains('#')
        {
            let message =
                "a login page is a path such as /login, or an absolute http(s) URL, without a fragment";
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        self.login_page = Some(page);
        Ok(self)
    }

    /// Requires a login younger than this, else 401 `step_up` (E2).
    pub const fn with_authentication_within(mut self, age: Duration) -> Self {
        self.rules.authenticated_within = Some(age);
        self
    }

    /// A shorter idle lifetime for the routes inside (E2): for them a session that was ever idle for this long since its
    /// login is over (401 `idle`), also after activity elsewhere, until its user logs in again. Never loosens. Recorded
    /// interactions are as far apart as the policy's [granularity](crate::Policy::with_granularity), so take it longer.
    pub const fn with_idle_lifetime(mut self, idle: Duration) -> Self {
        self.rules.idle = Some(idle);
        self
    }

    /// Lets sessions without a user through as well.
    pub const fn with_anonymous(mut self) -> Self {
        self.rules.anonymous = true;
        self
    }

    fn check(&self, head: RequestHead<'_>) -> Option<Response<Bytes>> {
        if head.is_cors_preflight() {
            return None;
        }
        if let (None, Some(skipped)) = (head.extensions.get::<Session>(), head.extensions.get::<Skipped>()) {
            return Some(denied(Denial::NoSession, &skipped.cookie));
        }
        let Some(session) = head.extensions.get::<Session>() else {
            let detail = "RequireSession found no session in the request: put a SessionLayer outside it";
            tracing::error!(name: "session.misconfigured", target: "tower_tenure", "{detail}");
            let problem = Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "Misconfigured session layers");
            return Some(problem.with_detail(detail).into_response());
        };
        let denial = self.rules.deny(session)?;
        Some(match &self.login_page {
            Some(page) if is_navigation(head) => redirect(page, session, head.method),
            _ => denied(denial, session.cookie_name()),
        })
    }
}

impl Rules {
    fn deny(&self, session: &Session) -> Option<Denial> {
        let none = || Some(session.end_reason().map_or(Denial::NoSession, Denial::Over));
        let Some(timing) = session.timing_on_arrival() else { return none() };
        if timing.authenticated_at.is_none() && !self.anonymous {
            return none();
        }
        let now = session.now();
        let idle_too_long = |timing: &Timing, idle| {
            timing.longest_gap.as_duration().max(now.since(timing.last_interaction_at)) >= idle
        };
        if self.idle.is_some_and(|idle| idle_too_long(&timing, idle)) {
            return Some(Denial::Over(EndReason::Idle));
        }
        let too_old = |age| timing.authenticated_at.is_none_or(|at| now >= at + age);
        self.authenticated_within.is_some_and(too_old).then_some(Denial::StepUp)
    }
}

fn denied(denial: Denial, cookie: &str) -> Response<Bytes> {
    let problem = Problem::new(StatusCode::UNAUTHORIZED, "Login required");
    let mut response = problem.with_detail(denial.detail()).with_reason(denial.as_str()).into_response();
    // RFC 9110 section 11.6.1 asks for a challenge; the scheme is that of draft-broyer-http-cookie-auth.
    if let Ok(challenge) =
        HeaderValue::try_from(format!("Cookie realm=\"session\", cookie-name=\"{cookie}\""))
    {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// The 401 of a request without a live session, for our own endpoints.
#[cfg(feature = "browser")]
pub(crate) fn no_live_session(session: &Session) -> Response<Bytes> {
    let denial = session.end_reason().map_or(Denial::NoSession, Denial::Over);
    denied(denial, session.cookie_name())
}

/// Whether a browser is loading a page (W3C Fetch Metadata), by `Accept` where it does not say.
fn is_navigation(head: RequestHead<'_>) -> bool {
    match head.header("sec-fetch-mode") {
        Some(mode) => mode == "navigate",
        None => head.header("accept").is_some_and(|accept| accept.contains("text/html")),
    }
}

/// All but what RFC 3986 calls unreserved, and the slash.
const QUERY_VALUE: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

fn redirect(page: &str, session: &Session, method: &Method) -> Response<Bytes> {
    let wanted = session.uri().path_and_query().map_or("/", |wanted| wanted.as_str());
    let mut location = page.to_owned();
    // What was posted can not be returned to.
    if matches!(*method, Method::GET | Method::HEAD) && is_same_origin_path(wanted) {
        location.push(if page.contains('?') { '&' } else { '?' });
        location.push_str("return_to=");
        location.extend(utf8_percent_encode(wanted, QUERY_VALUE));
    }
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Whether a `return_to` leads nowhere but to this origin: a path as browsers understand it.
///
/// A login handler has to ask this before it redirects.
///
/// # Example
///
/// ```
/// use tower_tenure::is_same_origin_path;
///
/// assert!(is_same_origin_path("/account?tab=1"));
/// assert!(!is_same_origin_path("//evil.example"));
/// assert!(!is_same_origin_path("/\\evil.example"));
/// assert!(!is_same_origin_path("https://evil.example/"));
/// ```
pub fn is_same_origin_path(path: &str) -> bool {
    // The URL standard drops tabs and newlines and takes a backslash for a slash before it looks for an authority.
    let plain = path.bytes().all(|byte| byte > 0x20 && byte != 0x7f && byte != b'\\');
    plain && path.starts_with('/') && !path.starts_with("//")
}

impl<S> Layer<S> for RequireSession {
    type Service = RequireSessionService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireSessionService { inner, require: self.clone() }
    }
}

/// A service behind [`RequireSession`].
#[derive(Clone, Debug)]
pub struct RequireSessionService<S> {
    inner: S,
    require: RequireSession,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for RequireSessionService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = RequireSessionFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let denied = self.require.check((&request).into());
        RequireSessionFuture {
            state: match denied {
                Some(response) => State::Denied { response: Some(response) },
                None => State::Passed { response: self.inner.call(request) },
            },
        }
    }
}

pin_project! {
    /// The future of a [`RequireSessionService`].
    pub struct RequireSessionFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F> {
        Passed { #[pin] response: F },
        Denied { response: Option<Response<Bytes>> },
    }
}

impl<F, ResBody, E> Future for RequireSessionFuture<F>
where
    F: Future<Output = Result<Response<ResBody>, E>>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match self.project().state.project() {
            StateProjection::Passed { response } => ready!(response.poll(cx)).map(ResponseBody::inner),
            StateProjection::Denied { response } => {
                Ok(ResponseBody::own(response.take().expect("polled after completion")))
            }
        })
    }
}

impl<F> fmt::Debug for RequireSessionFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireSessionFuture").finish_non_exhaustive()
    }
}
