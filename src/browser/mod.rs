//! The browser's side of sessions (feature `browser`): what a page asks to warn its user in time, and logout.
//!
//! | file | rules |
//! |---|---|
//! | `mod.rs` | [`Endpoints`]: status, extend and logout (T1) |
//! | `origin.rs` | [`is_same_origin`]: who may ask for a change (T1) |
//! | `logout.rs` | [`LogoutUrls`]: where a logout may lead (R1) |
//! | `warning/` | the script and the stylesheet that warn in time (T2) |

mod logout;
mod origin;
mod warning;

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde::Serialize;

pub use self::{
    logout::{LogoutRefusal, LogoutUrls},
    origin::{Scheme, is_same_origin},
};
use crate::{Error, ErrorKind, RequestHead, Session, policy::Activity, problem::Problem, require};

/// The endpoints that a page needs (SPEC T1, T2): below a base path, `GET status`, `POST extend`, `POST logout`, and a
/// [script](Self::script_path) that warns in time.
///
/// [`SessionLayer::with_endpoints`](crate::SessionLayer::with_endpoints) serves them ahead of the application, so a status
/// request is known to be passive before anything else is.
///
/// - **status** says, as JSON: `live`, `authenticated`, `mode`, `now`, `idle_expires_at`, `expires_at`, `seconds_left` (to
///   the nearer deadline), `idle_lifetime` (in seconds), or `live: false` with the `reason` of the end. It never extends, never creates, is never
///   cached.
/// - **extend** is an interaction; it answers as status does, or 401 with the `reason`.
/// - **logout** ends the session and answers 204, or redirects (303) to `returnTo`, which has to be on the
///   [list](LogoutUrls): otherwise it answers 400, and the user is logged out all the same.
///
/// Other methods get 405. Extend and logout are refused (403) unless they come [from our own origin](is_same_origin).
///
/// # Example
///
/// ```
/// use tower_tenure::{MemoryStore, SessionLayer, browser::{Endpoints, LogoutUrls}};
///
/// let urls = LogoutUrls::new().allow("https://app.example/goodbye")?;
/// let endpoints = Endpoints::at("/session")?.with_logout_urls(urls);
/// let layer = SessionLayer::new(MemoryStore::new()).with_endpoints(endpoints);
/// # Ok::<(), tower_tenure::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Endpoints {
    base: String,
    scheme: Scheme,
    logout_urls: ListSource,
    clear_site_data: bool,
}

/// A list that stays, or one to be asked for.
#[derive(Clone)]
enum ListSource {
    Fixed(LogoutUrls),
    Asked(Arc<dyn Fn() -> LogoutUrls + Send + Sync>),
}

impl fmt::Debug for ListSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.list().fmt(f)
    }
}

impl ListSource {
    fn list(&self) -> Cow<'_, LogoutUrls> {
        match self {
            Self::Fixed(urls) => Cow::Borrowed(urls),
            Self::Asked(ask) => Cow::Owned(ask()),
        }
    }
}

impl Endpoints {
    /// Endpoints below this path.
    ///
    /// In a layer that is inside a nested router it is the whole path, if the layer has
    /// [`with_original_uri`](crate::SessionLayer::with_original_uri).
    ///
    /// # Errors
    ///
    /// When it is not a path such as `/session`, without a slash at its end.
    pub fn at(base: impl Into<String>) -> Result<Self, Error> {
        let base = base.into();
        if !require::is_same_origin_path(&base) || base.ends_with('/') || base.contains(['?', '#']) {
            let message = "endpoints stand below a path such as /session, without a slash at its end";
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        Ok(Self {
            base,
            scheme: Scheme::Https,
            logout_urls: ListSource::Fixed(LogoutUrls::new()),
            clear_site_data: false,
        })
    }

    /// The scheme under which browsers reach the site; https unless set. A proxy in front may hide it from the server.
    pub const fn with_scheme(mut self, scheme: Scheme) -> Self {
        self.scheme = scheme;
        self
    }

    /// Where a logout may lead.
    pub fn with_logout_urls(mut self, urls: LogoutUrls) -> Self {
        self.logout_urls = ListSource::Fixed(urls);
        self
    }

    /// Where a logout may lead, asked for at each: a list that changes while the server runs.
    pub fn with_logout_urls_from(mut self, ask: impl Fn() -> LogoutUrls + Send + Sync + 'static) -> Self {
        self.logout_urls = ListSource::Asked(Arc::new(ask));
        self
    }

    /// Whether logout also asks the browser to drop the origin's cache, cookies and storage (`Clear-Site-Data`, R2). Off by
    /// default: it takes what other parts of the site keep there.
    pub const fn with_clear_site_data(mut self, clear: bool) -> Self {
        self.clear_site_data = clear;
        self
    }

    /// The path of the script that warns before a session ends (T2), with a version in its name, so that browsers keep it for ever:
    /// `<script src="…" defer></script>` is the whole installation. `tenure.js` beside it is the same without a version, and
    /// `tenure.mjs` the same as an ES module.
    ///
    /// It warns 60 seconds before the idle deadline (half of a shorter idle lifetime, but never under 20 seconds), and asks the server before it
    /// says anything. What its user does on the page extends the session, once a minute at most. Attributes of the tag configure it:
    ///
    /// | attribute | what for |
    /// |---|---|
    /// | `data-warn` | seconds of warning, at least 20 |
    /// | `data-login` | the page to sign in again, which gets `return_to`; `/` unless given |
    /// | `data-end` | what to do at the end: say so (unless given), `reload`, or `none` |
    /// | `data-activity` | `off`: what its user does on the page extends nothing |
    /// | `data-texts`, `data-lang` | other texts, as a JSON object, and the language of them |
    /// | `data-endpoints` | the path of the endpoints, where the script does not come from there |
    ///
    /// Pages that draw their own dialog listen on `document` for `tenure:warning` (with `kind`, `secondsLeft`, `deadline` in `detail`) and
    /// `tenure:ended` (with `reason`), and prevent the default; `tenure:extended` tells of an extension. `globalThis.tenure` has `status()`,
    /// `refresh()`, `extend()` and `logout()`.
    pub fn script_path(&self) -> String {
        format!("{}/{}", self.base, warning::script())
    }

    /// A file of ours, for which no session is looked at; `None` when the request asks for something else.
    pub(crate) fn file(&self, head: RequestHead<'_>) -> Option<Response<Bytes>> {
        let name = head.uri.path().strip_prefix(&*self.base)?.strip_prefix('/')?;
        warning::serve(name, head.method, head.headers)
    }

    /// What a request asks of these endpoints; `None` when it is none of theirs.
    pub(crate) fn route(&self, head: RequestHead<'_>) -> Option<Call> {
        let what = head.uri.path().strip_prefix(&*self.base)?.strip_prefix('/')?;
        let (call, allowed) = match what {
            "status" => (Call::Status, &[Method::GET, Method::HEAD][..]),
            "extend" => (Call::Extend, &[Method::POST][..]),
            "logout" => (Call::Logout(self.after_logout(head)), &[Method::POST][..]),
            _ => return None,
        };
        Some(if !allowed.contains(head.method) {
            Call::WrongMethod(if what == "status" { "GET, HEAD" } else { "POST" })
        } else if *head.method == Method::POST && !is_same_origin(head, self.scheme) {
            Call::CrossSite
        } else {
            call
        })
    }

    fn after_logout(&self, head: RequestHead<'_>) -> AfterLogout {
        AfterLogout {
            redirect: self.logout_urls.list().redirect_for_query(head.uri.query()),
            clear_site_data: self.clear_site_data,
        }
    }
}

/// A request to one of the endpoints.
#[derive(Debug)]
pub(crate) enum Call {
    Status,
    Extend,
    Logout(AfterLogout),
    WrongMethod(&'static str),
    CrossSite,
}

#[derive(Debug)]
pub(crate) struct AfterLogout {
    redirect: Result<Option<String>, LogoutRefusal>,
    clear_site_data: bool,
}

impl Call {
    pub(crate) const fn activity(&self) -> Activity {
        match self {
            Self::Extend => Activity::Interaction,
            _ => Activity::Passive,
        }
    }

    /// Whether the request fails if its interaction cannot be recorded: it is there for nothing
    /// else.
    pub(crate) const fn touch_must_succeed(&self) -> bool {
        matches!(self, Self::Extend)
    }

    /// What is to be done before the commit.
    pub(crate) fn prepare(&self, session: &Session) -> Result<(), Error> {
        match self {
            Self::Logout(_) => session.logout(),
            _ => Ok(()),
        }
    }

    /// What is to be said after it.
    pub(crate) fn answer(self, session: &Session) -> Response<Bytes> {
        match self {
            Self::Status => status(session),
            Self::Extend if session.info().is_some() => status(session),
            Self::Extend => require::no_live_session(session),
            Self::Logout(after) => after.respond(),
            Self::WrongMethod(allow) => {
                let mut response =
                    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed").into_response();
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
                response
            }
            Self::CrossSite => {
                let detail = "This has to be asked from a page of the same origin: the browser says it was not, or nothing.";
                require::denied("cross_site", None, detail);
                Problem::new(StatusCode::FORBIDDEN, "Cross-site request refused")
                    .with_detail(detail)
                    .into_response()
            }
        }
    }
}

impl AfterLogout {
    fn respond(self) -> Response<Bytes> {
        let mut response = match self.redirect {
            Err(refusal) => Problem::new(StatusCode::BAD_REQUEST, "You are logged out, but not sent on")
                .with_detail(refusal.to_string())
                .into_response(),
            Ok(location) => {
                let mut response = Response::new(Bytes::new());
                *response.status_mut() = StatusCode::NO_CONTENT;
                if let Some(Ok(location)) = location.map(HeaderValue::try_from) {
                    *response.status_mut() = StatusCode::SEE_OTHER;
                    response.headers_mut().insert(header::LOCATION, location);
                }
                response
            }
        };
        if self.clear_site_data {
            let everything = HeaderValue::from_static("\"cache\", \"cookies\", \"storage\"");
            response.headers_mut().insert("clear-site-data", everything);
        }
        response
    }
}

#[derive(Serialize)]
struct Status {
    live: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    now: String,
    #[serde(flatten)]
    session: Option<LiveStatus>,
}

#[derive(Serialize)]
struct LiveStatus {
    authenticated: bool,
    mode: &'static str,
    idle_expires_at: String,
    expires_at: String,
    seconds_left: f64,
    idle_lifetime: f64,
}

/// To the millisecond, without the dust of binary fractions.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

fn status(session: &Session) -> Response<Bytes> {
    let now = session.now();
    let info = session.info();
    let live = info.as_ref().map(|info| LiveStatus {
        authenticated: info.subject.is_some(),
        mode: info.mode.as_str(),
        idle_expires_at: info.idle_expires_at.to_string(),
        expires_at: info.expires_at.to_string(),
        seconds_left: seconds(info.deadline().since(now)),
        idle_lifetime: seconds(info.idle_expires_at.since(info.last_interaction_at)),
    });
    let reason = info.is_none().then(|| session.end_reason().map_or("none", crate::EndReason::as_str));
    let status = Status { live: live.is_some(), reason, now: now.to_string(), session: live };
    let mut response = Response::new(serde_json::to_vec(&status).unwrap_or_default().into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
