//! Lets only live sessions through.
//!
//! ```text
//! request ─ preflight? ─ login page? ─ session ─ rules ─ inner service ─ Cache-Control ─ response
//!              │             │            │        │
//!              └─ passes     └─ passes    │        └─ denied: 303 for a navigation, else 401
//!                                         └─ no session layer outside: 500
//! ```

// | file | holds |
// |---|---|
// | `mod.rs` | `RequireSession` and its settings, the refusal |
// | `rules.rs` | what denies a request and why, as pure functions |
// | `public.rs` | the address of the site as browsers see it |
// | `redirect.rs` | the login page, the redirect to it, and the way back |
// | `service.rs` | the tower service and its future |

mod public;
mod redirect;
mod rules;
mod service;

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use self::rules::{Denial, Evidence, RequiredMethod, Rules};
pub use self::{
    public::PublicUrl,
    redirect::{LoginPage, is_same_origin_path},
    service::{RequireSessionFuture, RequireSessionService},
};
use crate::{
    RequestHead, Session, SessionId,
    events::{self, metrics},
    record::DeviceProof,
    session::Skipped,
    web::Problem,
};

/// A layer that lets only logged-in users through. It goes inside a
/// [`SessionLayer`](crate::SessionLayer).
///
/// Everybody else gets 401 with `application/problem+json` (RFC 9457), whose `reason` is `none`, an
/// [end reason](crate::EndReason), or `step_up`.
///
/// With a [login page](Self::with_login_page), browser navigations get a 303 to that page instead.
/// Its query has the `reason`, and in `return_to` the path and query that the browser asked for. A
/// form that was posted cannot be returned to, so its redirect has the `reason` only. A login
/// handler must check `return_to` with [`is_same_origin_path`] before it redirects.
///
/// Each refusal is an [event](crate::events) `session.denied`.
///
/// A response that passes and has no `Cache-Control` of its own gets `private, no-store`.
///
/// CORS preflights pass, as they carry no cookies: a CORS layer belongs outside, and a handler
/// inside should not answer `OPTIONS` with anything that is not for everybody.
///
/// # Example
///
/// ```
/// use axum::{Router, routing::get};
/// use tower_tenure::{LoginPage, MemoryStore, RequireSession, SessionLayer};
///
/// const LOGIN: LoginPage = LoginPage::from_static("/login");
///
/// let app: Router = Router::new()
///     .route("/account", get(async || "yours"))
///     .layer(RequireSession::new().with_login_page(LOGIN))
///     .layer(SessionLayer::new(MemoryStore::new()));
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct RequireSession {
    login_page: Option<LoginPage>,
    public_url: Option<PublicUrl>,
    rules: Rules,
}

/// What becomes of a request.
#[derive(Debug)]
enum Verdict {
    /// A CORS preflight, which is not touched.
    Preflight,
    /// It reaches the inner service.
    Pass,
    /// It gets this response.
    Deny(Response<Bytes>),
}

impl RequireSession {
    /// Requires a logged-in user.
    pub fn new() -> Self {
        Self::default()
    }

    /// Redirects browser navigations to this page instead: by `Sec-Fetch-Mode: navigate`, and where
    /// a client does not send that, by `text/html` in `Accept`. Other requests get a 401.
    ///
    /// Make the page by [`LoginPage::from_static`] or [`LoginPage::new`].
    ///
    /// The login page itself always passes, with any method, so this layer may be around it: a
    /// request with exactly this path. A page with a query also asks for this query, followed by
    /// nothing but what the redirect adds. Only the page passes; what it loads must be outside of
    /// this layer.
    ///
    /// An absolute URL counts as another site, unless it begins with the [public
    /// URL](Self::with_public_url). Without a public URL, give a page of this site as a path.
    /// Otherwise the page would be redirected to itself, because the `Host` header cannot be
    /// trusted to say which site this is.
    ///
    /// A login page inside a nested router needs
    /// [`SessionLayer::with_original_uri`](crate::SessionLayer::with_original_uri), as the paths
    /// are compared whole.
    pub fn with_login_page(mut self, page: LoginPage) -> Self {
        self.login_page = Some(page);
        self
    }

    /// The address of this site as browsers see it, behind a proxy.
    ///
    /// Its path is the prefix that the proxy strips, and is put before the path in `return_to`. It
    /// is not put before a login page: that is given as the browser sees it, with its prefix. A
    /// login page at this origin is one of this site.
    ///
    /// For a prefix that a router strips there is
    /// [`SessionLayer::with_original_uri`](crate::SessionLayer::with_original_uri).
    ///
    /// # Example
    ///
    /// See [`PublicUrl`].
    pub fn with_public_url(mut self, url: &PublicUrl) -> Self {
        self.public_url = Some(url.clone());
        self
    }

    /// Requires a login younger than this, else 401 `step_up`.
    pub const fn with_authentication_within(mut self, age: Duration) -> Self {
        self.rules.authenticated_within = Some(age);
        self
    }

    /// Requires that the login used this authentication method, else 401 `step_up`.
    ///
    /// The name is compared whole with those that were given to
    /// [`Login::with_method`](crate::Login::with_method); RFC 8176 has the usual ones. Of several
    /// calls, all must hold.
    ///
    /// # Example
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_tenure::RequireSession;
    ///
    /// let settings = RequireSession::new().with_method("mfa");
    /// let payment = RequireSession::new().with_method_within("mfa", Duration::from_secs(15 * 60));
    /// ```
    pub fn with_method(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.rules.methods.push(RequiredMethod { name: name.into(), within: None });
        self
    }

    /// As [`with_method`](Self::with_method), and the method must have been used less than this
    /// ago.
    pub fn with_method_within(mut self, name: impl Into<Cow<'static, str>>, age: Duration) -> Self {
        self.rules.methods.push(RequiredMethod { name: name.into(), within: Some(age) });
        self
    }

    /// Requires a session that is bound to a device, and a request that proves it. Otherwise the
    /// answer is 401 with the reason `unproven`, also while the layer only observes. Browsers that
    /// cannot bind a session do not get in.
    #[cfg(feature = "device-binding")]
    pub const fn with_device_binding(mut self) -> Self {
        self.rules.device = true;
        self
    }

    /// A shorter idle lifetime for the routes inside. Once the session was idle for this long at
    /// any time since its login, these routes answer 401 `idle` until its user logs in again.
    /// Activity on other routes afterwards does not change that.
    ///
    /// A longer lifetime than the policy's changes nothing. Recorded interactions are as far apart
    /// as the policy's [granularity](crate::Policy::with_granularity), so the lifetime should be
    /// longer than that.
    pub const fn with_idle_lifetime(mut self, idle: Duration) -> Self {
        self.rules.idle = Some(idle);
        self
    }

    /// Lets sessions without a user through as well.
    pub const fn with_anonymous(mut self) -> Self {
        self.rules.anonymous = true;
        self
    }

    fn check(&self, head: RequestHead<'_>) -> Verdict {
        if head.is_cors_preflight() {
            return Verdict::Preflight;
        }
        let session = head.extensions.get::<Session>();
        // The target before a router took a prefix from it. Where the session layer skipped the
        // request, its view is not known, and this layer's stands in.
        let target = session.map_or(head.uri, Session::uri);
        let prefix = self.public_url.as_ref().and_then(PublicUrl::public_prefix);
        if self
            .login_page
            .as_ref()
            .is_some_and(|page| page.is_target(target, self.public_url.as_ref(), prefix))
        {
            return Verdict::Pass;
        }
        let (denial, cookie) = match (session, head.extensions.get::<Skipped>()) {
            (Some(session), _) => {
                let Some(denial) = self.judge(session) else { return Verdict::Pass };
                report(denial, reason_in_log(denial, session, head), session);
                (denial, session.cookie_name())
            }
            // C9: the session of a layer further out is not the inner one's.
            (None, Some(skipped)) => {
                denied("skipped", None, "The session layer skips this request.");
                (Denial::NoSession, &*skipped.cookie)
            }
            (None, None) => return Verdict::Deny(no_session_layer()),
        };
        Verdict::Deny(match &self.login_page {
            Some(page) if redirect::is_navigation(head) => {
                page.redirect(denial.reason(), head.method, target, prefix)
            }
            _ => refusal(denial, cookie),
        })
    }

    fn judge(&self, session: &Session) -> Option<Denial> {
        // Few routes ask for methods or the device, so those are only looked up for them. Without a
        // session the device says why.
        let info = if self.rules.methods.is_empty() { None } else { session.info() };
        let timing = session.timing_on_arrival();
        let asks_device = self.rules.device || timing.is_none();
        self.rules.deny(&Evidence {
            timing,
            end_reason: if timing.is_none() { session.end_reason() } else { None },
            methods: info.as_ref().map_or(&[], |info| &info.facts.authentication),
            device: if asks_device { session.device() } else { DeviceProof::NotBound },
            now: session.now(),
        })
    }
}

/// The 401 of our own endpoints and extractors for a session that does not meet this; `None` for
/// one that does.
#[cfg(any(feature = "axum", feature = "browser"))]
pub(crate) fn refuse(session: &Session, require: &RequireSession) -> Option<Response<Bytes>> {
    let denial = require.judge(session)?;
    report(denial, denial.reason(), session);
    Some(refusal(denial, session.cookie_name()))
}

fn refusal(denial: Denial, cookie: &str) -> Response<Bytes> {
    let problem = Problem::new(StatusCode::UNAUTHORIZED, "Sign-in required");
    let mut response = problem.with_detail(denial.detail()).with_reason(denial.reason()).into_response();
    // RFC 9110 section 11.6.1 asks for a challenge; the scheme is that of
    // draft-broyer-http-cookie-auth.
    if let Ok(challenge) =
        HeaderValue::try_from(format!("Cookie realm=\"session\", cookie-name=\"{cookie}\""))
    {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

fn no_session_layer() -> Response<Bytes> {
    let detail = "RequireSession found no session in the request: put a SessionLayer outside it";
    tracing::error!(name: "session.misconfigured", target: "tower_tenure", "{detail}");
    let problem = Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "Misconfigured session layers");
    problem.with_detail(detail).into_response()
}

fn report(denial: Denial, reason: &'static str, session: &Session) {
    denied(reason, session.sid(), denial.detail());
}

/// Logs and counts a request that was not let through (O3).
pub(crate) fn denied(reason: &'static str, sid: Option<SessionId>, detail: &'static str) {
    events::denied(reason, sid, detail);
    metrics::denied(reason);
}

/// O3: the log says more than the client may know.
fn reason_in_log(denial: Denial, session: &Session, head: RequestHead<'_>) -> &'static str {
    if denial != Denial::NoSession {
        return denial.reason();
    }
    if session.timing_on_arrival().is_some() {
        return "anonymous";
    }
    match session.cookie().read(head.headers) {
        candidates if !candidates.brought => "none",
        candidates if candidates.is_empty() => "malformed",
        _ => "unknown",
    }
}
