//! Endpoints for pages: session status, extension and logout, the user's own sessions, and a script
//! that warns before the end (feature `browser`).

// call.rs       a request to one of the endpoints, and its response
// status.rs     the status of a session, as JSON
// device.rs     binding a session to its device, and proving the device again
// own.rs        the user's own sessions: list, end one, end all others
// logout.rs     where a logout may redirect to
// origin.rs     whether a request is same-origin
// warning/      the script and its stylesheet

mod call;
#[cfg(feature = "device-binding")]
mod device;
#[cfg(not(feature = "device-binding"))]
#[path = "device_absent.rs"]
mod device;
mod logout;
mod origin;
mod own;
mod status;
mod warning;

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Response, header};
use serde::Serialize;

pub(crate) use self::call::Call;
use self::{call::AfterLogout, device::DeviceEndpoints, own::OwnCall};
pub use self::{
    logout::{LogoutRefusal, LogoutUrls},
    origin::{Scheme, is_same_origin, is_same_origin_as},
};
use crate::{Error, ErrorKind, PublicUrl, RequestHead, require};
#[cfg(feature = "device-binding")]
use crate::{binding::DeviceBinding, settings::DeviceConfig};

/// Endpoints for pages, below a base path: `GET status`, `POST extend`, `POST logout`, the user's
/// own `sessions`, and a [script](Self::script_path) that warns before the end.
///
/// [`SessionLayer::with_endpoints`](crate::SessionLayer::with_endpoints) serves them before the
/// application, so a status request never extends the session.
///
/// - **status** returns JSON: `live`, `authenticated`, `mode`, `now`, `idle_expires_at`,
///   `expires_at`, `seconds_left` (to the nearer deadline), `idle_lifetime` (in seconds), or
///   `live: false` with the `reason` of the end. It never extends or creates a session, and is
///   never cached.
/// - **extend** is an interaction. It answers as status does, or 401 with the `reason`.
/// - **logout** ends the session and answers 204, or redirects (303) to `returnTo`. If that is not
///   on the [list](LogoutUrls) it answers 400, and the user is still logged out.
///
/// - **sessions** is for a page "where you are signed in":
///   - `GET sessions` returns the live sessions of the signed-in user, newest first, at most 1,000
///     others:
///     `{"sessions":[{"sid","current","device","bound","authenticated_at","last_interacted_at"}]}`.
///     It never extends the session.
///   - `DELETE sessions/{sid}` ends one of them, with the reason `revoked`, and answers 204. An id
///     that is not a live session of this user gets 404.
///   - `DELETE sessions` ends all but this one, in one write, and answers 204.
///
///   Without a signed-in user they answer 401 with the `reason`. Ending others needs a login
///   younger than [15 minutes](Self::with_authentication_within), else 401 `step_up`. A user may
///   end their current session at any time; its cookie is removed as by a logout.
///
/// Other methods get 405. All but status are refused (403) unless the request is
/// [same-origin](is_same_origin).
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
    public_url: Option<PublicUrl>,
    logout_urls: ListSource,
    clear_site_data: bool,
    device: DeviceEndpoints,
    within: Duration,
}

/// A fixed list, or a function that returns the current one.
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

/// How young the login must be to end other sessions (P1). A copied cookie is mostly older, and
/// must not be able to sign its owner out.
const DEFAULT_WITHIN: Duration = Duration::from_secs(15 * 60);

impl Endpoints {
    /// Endpoints below this path.
    ///
    /// In a layer inside a nested router that has
    /// [`with_original_uri`](crate::SessionLayer::with_original_uri), it is the whole path.
    ///
    /// # Errors
    ///
    /// When it is not a path such as `/session`, without a trailing slash.
    pub fn at(base: impl Into<String>) -> Result<Self, Error> {
        let base = base.into();
        if !require::is_same_origin_path(&base) || base.ends_with('/') || base.contains(['?', '#']) {
            let message = "the path of the endpoints must be like /session, without a trailing slash";
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        Ok(Self {
            base,
            scheme: Scheme::Https,
            public_url: None,
            logout_urls: ListSource::Fixed(LogoutUrls::new()),
            clear_site_data: false,
            device: DeviceEndpoints::default(),
            within: DEFAULT_WITHIN,
        })
    }

    /// The scheme under which browsers reach the site; https unless set. Behind a proxy the server
    /// may not see it.
    pub const fn with_scheme(mut self, scheme: Scheme) -> Self {
        self.scheme = scheme;
        self
    }

    /// The address of the site as browsers see it, behind a proxy that strips a path prefix or
    /// rewrites `Host`.
    ///
    /// `Origin` is then compared with this address instead of with the [scheme](Self::with_scheme)
    /// and `Host`, and [`public_path`](Self::public_path) has its prefix. Requests must arrive
    /// without the prefix.
    ///
    /// # Example
    ///
    /// ```
    /// use tower_tenure::{PublicUrl, browser::Endpoints};
    ///
    /// let public = PublicUrl::new("https://example.com/shop")?;
    /// let endpoints = Endpoints::at("/session")?.with_public_url(&public);
    /// assert_eq!(endpoints.public_path("status"), "/shop/session/status");
    /// # Ok::<(), tower_tenure::Error>(())
    /// ```
    pub fn with_public_url(mut self, url: &PublicUrl) -> Self {
        self.public_url = Some(url.clone());
        self
    }

    /// The URLs that a logout may redirect to.
    pub fn with_logout_urls(mut self, urls: LogoutUrls) -> Self {
        self.logout_urls = ListSource::Fixed(urls);
        self
    }

    /// The URLs that a logout may redirect to, as a function that each logout calls: for a list
    /// that changes while the server runs.
    pub fn with_logout_urls_from(mut self, ask: impl Fn() -> LogoutUrls + Send + Sync + 'static) -> Self {
        self.logout_urls = ListSource::Asked(Arc::new(ask));
        self
    }

    /// Whether logout also asks the browser to clear the origin's cache, cookies and storage
    /// (`Clear-Site-Data`). Off by default, since it also clears what other parts of the site keep
    /// there.
    pub const fn with_clear_site_data(mut self, clear: bool) -> Self {
        self.clear_site_data = clear;
        self
    }

    /// Binds sessions to the device of their browser; off unless set. See [`DeviceBinding`].
    ///
    /// Serves two more endpoints, to which the browser sends its proofs by itself: `POST bind` and
    /// `POST refresh`. Both are passive.
    #[cfg(feature = "device-binding")]
    pub const fn with_device_binding(mut self, binding: DeviceBinding) -> Self {
        self.device = DeviceEndpoints::new(binding);
        self
    }

    /// What the layer has to know of device binding.
    #[cfg(feature = "device-binding")]
    pub(crate) fn device_config(&self) -> Option<DeviceConfig> {
        self.device.config(&self.public_base())
    }

    /// How young the login must be to end other sessions of its user; 15 minutes unless set. An
    /// older one gets 401 `step_up`: send the user to the login page.
    pub const fn with_authentication_within(mut self, age: Duration) -> Self {
        self.within = age;
        self
    }

    /// The path of the script that warns before a session ends.
    ///
    /// Add `<script src="…" defer></script>` to a page. The name contains a version, so browsers
    /// can cache it permanently. `tenure.js` in the same place has no version, and `tenure.mjs` is
    /// an ES module.
    ///
    /// # Behaviour
    ///
    /// It warns 60 seconds before the idle deadline. For an idle lifetime under two minutes it is
    /// half of that lifetime, but never under 20 seconds. It asks the server before it shows
    /// anything. Activity on the page extends the session, at most once a minute.
    ///
    /// - **Swapped bodies.** The dialog is beside the body, so Turbo, htmx and other libraries that
    ///   replace the body leave it alone. A page that removes it gets it back.
    /// - **Evaluated again.** A page has one instance for each path of endpoints. Attributes of a
    ///   later tag replace those of earlier ones.
    /// - **Frames.** A page and its frames of the same origin have one dialog, in the top-most
    ///   window that has the script.
    /// - **Content security policy.** It needs `connect-src 'self'`, and a `script-src` that allows
    ///   the script, such as a nonce. It adopts its stylesheet, so `style-src` does not matter.
    /// - **Login without a page load.** Scripts cannot see the session cookie. To have the new
    ///   session noticed at once, dispatch an event after the login:
    ///   `document.dispatchEvent(new Event('tenure:login'))`. Without it, the script asks the
    ///   server when the page gets the focus. It also asks a few times after it started, after an
    ///   end, after activity and after other requests of the page. That is less than twice a minute
    ///   on average, and never on a page that is left alone. So a login is noticed within about a
    ///   minute.
    /// - **Plain http.** Where browsers drop `Secure` cookies, the console says so.
    ///
    /// # Configuration
    ///
    /// Attributes of the tag configure it. Those of other elements are never read. The module has
    /// no tag and takes the same names, without `data-`, from the query of its URL, as in
    /// `import '/session/tenure.mjs?login=/sign-in'`.
    ///
    /// | attribute | meaning |
    /// |---|---|
    /// | `data-warn` | seconds of warning, at least 20 |
    /// | `data-login` | the login page, a path or an http(s) URL; `/` by default |
    /// | `data-end` | what to do at the end: a message by default, `reload`, or `none` |
    /// | `data-activity` | `off`: activity on the page does not extend the session |
    /// | `data-texts`, `data-lang` | other texts, as a JSON object, and their language |
    /// | `data-endpoints` | the path of the endpoints, if the script is not served from there |
    ///
    /// The login page gets `return_to` and `reason`, as from
    /// [`RequireSession`](crate::RequireSession). The endpoints are always those of the page's
    /// origin.
    ///
    /// # Events
    ///
    /// A page with its own dialog listens on `document` for `tenure:warning` and `tenure:ended`,
    /// and prevents the default. The `detail` of the first has `kind`, `secondsLeft` and
    /// `deadline`; that of the second has `reason`. `tenure:extended` reports an extension.
    /// `globalThis.tenure` has `status()`, `refresh()`, `extend()` and `logout()`.
    pub fn script_path(&self) -> String {
        self.public_path(warning::script())
    }

    /// The path of an endpoint or file as browsers see it, with the prefix of the
    /// [public URL](Self::with_public_url).
    pub fn public_path(&self, name: &str) -> String {
        format!("{}/{name}", self.public_base())
    }

    /// The base path as browsers see it.
    fn public_base(&self) -> String {
        self.public_url.as_ref().map_or_else(|| self.base.clone(), |url| url.path(&self.base))
    }

    fn is_same_origin(&self, head: RequestHead<'_>) -> bool {
        match &self.public_url {
            Some(url) => is_same_origin_as(head, url),
            None => is_same_origin(head, self.scheme),
        }
    }

    /// The response for the script or stylesheet, without loading a session; `None` for other
    /// requests.
    pub(crate) fn file(&self, head: RequestHead<'_>) -> Option<Response<Bytes>> {
        let name = head.uri.path().strip_prefix(&*self.base)?.strip_prefix('/')?;
        warning::serve(name, head.method, head.headers)
    }

    /// The endpoint that a request calls; `None` for other requests.
    pub(crate) fn route(&self, head: RequestHead<'_>) -> Option<Call> {
        let what = head.uri.path().strip_prefix(&*self.base)?.strip_prefix('/')?;
        let method = head.method;
        let (allow, call) = match what {
            "status" => ("GET, HEAD", is_read(method).then_some(Call::Status)),
            "extend" => ("POST", (method == Method::POST).then_some(Call::Extend)),
            "logout" => ("POST", (method == Method::POST).then(|| Call::Logout(self.after_logout(head)))),
            "bind" | "refresh" => self.device.route(what, head)?,
            _ => {
                let (allow, call) = OwnCall::route(what.strip_prefix("sessions")?, method, self.within)?;
                (allow, call.map(Call::Own))
            }
        };
        Some(match call {
            None => Call::WrongMethod(allow),
            Some(call) if call.needs_same_origin(head) && !self.is_same_origin(head) => Call::CrossSite,
            Some(call) => call,
        })
    }

    fn after_logout(&self, head: RequestHead<'_>) -> AfterLogout {
        AfterLogout {
            redirect: self.logout_urls.list().redirect_for_query(head.uri.query()),
            clear_site_data: self.clear_site_data,
        }
    }
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn json(body: &impl Serialize) -> Response<Bytes> {
    json_bytes(serde_json::to_vec(body).unwrap_or_default().into())
}

fn json_bytes(body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
