//! The configuration of a layer.

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{Extensions, HeaderMap, Method, Request, StatusCode, Uri};

use super::{
    DeviceConfig,
    hook::DynLoginHook,
    live::{PolicySource, RequestPolicy},
};
use crate::{
    LivePolicy, Policy, RequestHead, SystemClock,
    cookie::SessionCookie,
    engine::{Engine, RealmState},
    policy::Activity,
    record::IN_FLIGHT_WINDOW,
    store::AnyStore,
};

type Ask<T> = Arc<dyn Fn(RequestHead<'_>) -> T + Send + Sync>;
type FindUri = Arc<dyn Fn(&Extensions) -> Option<&Uri> + Send + Sync>;

/// The configuration of a layer.
#[derive(Clone)]
pub(crate) struct LayerConfig {
    pub(crate) engine: Engine,
    pub(crate) cookie: SessionCookie,
    pub(crate) policy: PolicySource,
    pub(crate) hooks: Vec<Arc<dyn DynLoginHook>>,
    pub(crate) activity: Option<Ask<Activity>>,
    pub(crate) skip: Option<Ask<bool>>,
    pub(crate) client_ip: Option<Ask<Option<IpAddr>>>,
    /// Finds the target as the client sent it, where a router took a prefix from it (E1).
    pub(crate) original_uri: Option<FindUri>,
    /// The realm, if it is not the cookie's name (C10).
    pub(crate) realm_name: Option<Arc<str>>,
    /// Chooses the realm of each request, for tenants.
    pub(crate) realm_by: Option<Ask<Arc<str>>>,
    /// The layer's realm, for requests that do not choose one.
    pub(crate) home: Arc<RealmState>,
    /// How many bytes of data a session may have (S13).
    pub(crate) max_data: usize,
    /// Whether a session ends when a secret comes back that it has replaced.
    pub(crate) ends_on_secret_reuse: bool,
    /// Binds sessions to devices, if set.
    pub(crate) device: Option<DeviceConfig>,
    /// What else counts as a failure of the handler.
    pub(crate) failure: Option<Classifier>,
    /// Whether it was logged that the cookie cannot come back over plain http; shared by clones.
    pub(crate) plain_http_logged: Arc<AtomicBool>,
}

/// Judges a response by its status and headers.
type Classifier = Arc<dyn Fn(StatusCode, &HeaderMap) -> bool + Send + Sync>;

/// S13.
const DEFAULT_MAX_DATA: usize = 64 * 1024;

impl LayerConfig {
    pub(crate) fn new(store: AnyStore) -> Self {
        let engine = Engine::new(store, Arc::new(SystemClock));
        let cookie = SessionCookie::default();
        Self {
            home: engine.realm(&cookie.name().into()),
            engine,
            cookie,
            policy: PolicySource::Live(LivePolicy::new(Policy::default())),
            hooks: Vec::new(),
            activity: None,
            skip: None,
            client_ip: None,
            original_uri: None,
            realm_name: None,
            realm_by: None,
            max_data: DEFAULT_MAX_DATA,
            ends_on_secret_reuse: false,
            device: None,
            failure: None,
            plain_http_logged: Arc::default(),
        }
    }

    /// Updates what is derived from the settings.
    pub(crate) fn finish(&mut self) {
        let name = self.realm_name.clone().unwrap_or_else(|| self.cookie.name().into());
        self.home = self.engine.realm(&name);
        if let Some(device) = &mut self.device {
            device.set_cookie(&self.cookie);
        }
    }

    /// The head of a request, with the target as the client sent it.
    pub(crate) fn head<'a, B>(&self, request: &'a Request<B>) -> RequestHead<'a> {
        let head = RequestHead::from(request);
        let original = self.original_uri.as_ref().and_then(|find| find(head.extensions));
        RequestHead { uri: original.unwrap_or(head.uri), ..head }
    }

    /// The realm of a request; `None` when it is the layer's own.
    pub(crate) fn realm(&self, head: RequestHead<'_>) -> Option<Arc<RealmState>> {
        self.realm_by.as_ref().map(|choose| self.engine.realm(&choose(head)))
    }

    /// How long a request may be in flight that the browser sent before it had the newer cookie.
    /// Includes the clock tolerance where several nodes serve.
    pub(crate) fn in_flight_window(&self) -> Duration {
        let shared = !self.engine.store.in_process() && self.engine.clock.keeps_wall_time();
        IN_FLIGHT_WINDOW + if shared { self.engine.clock_tolerance } else { Duration::ZERO }
    }

    /// The policy for sessions of a realm that are judged without a request.
    pub(crate) fn policy_without_request(&self, realm: &RealmState) -> Policy {
        let policy = self.policy.without_request().or_else(|| realm.remembered());
        policy.unwrap_or_else(Policy::unlimited)
    }

    /// Whether a request passes as if the layer were not there (L8).
    pub(crate) fn skips(&self, head: RequestHead<'_>) -> bool {
        head.is_cors_preflight() || self.skip.as_ref().is_some_and(|skip| skip(head))
    }

    /// Whether a request is an interaction, except for this crate's endpoints, which decide
    /// themselves (L8).
    pub(crate) fn activity(&self, head: RequestHead<'_>) -> Activity {
        if head.is_always_passive() {
            Activity::Passive
        } else {
            self.activity.as_ref().map_or(Activity::Interaction, |activity| activity(head))
        }
    }

    /// The host, if this request may set a cookie that its browser drops: one that is `Secure`, over
    /// plain http. Asked only of what may be a login in a browser that does not send the cookie, so
    /// that other requests need not look for headers.
    pub(crate) fn loses_cookie(&self, head: RequestHead<'_>, brings_cookie: bool) -> Option<Box<str>> {
        let may_log_in = !brings_cookie && head.method == Method::POST && self.cookie.is_secure();
        if !may_log_in || self.plain_http_logged.load(Ordering::Relaxed) {
            return None;
        }
        head.plain_http_host().map(Into::into)
    }

    /// Whether the handler failed, so that its writes and logins are dropped.
    pub(crate) fn has_failed(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        // A timeout layer inside answers 408 for a handler that it cancelled.
        status.is_server_error()
            || status == StatusCode::REQUEST_TIMEOUT
            || has_grpc_error(headers)
            || self.failure.as_ref().is_some_and(|failed| failed(status, headers))
    }

    /// The policy of a request. A store in this process records every interaction (L9).
    pub(crate) fn policy(&self, head: RequestHead<'_>) -> RequestPolicy {
        self.policy.policy(head, self.engine.store.in_process())
    }

    /// The policy of a response that outlasts its request: the live one.
    pub(crate) fn policy_of_stream(&self, realm: &RealmState) -> Policy {
        let policy = self.policy_without_request(realm);
        if self.engine.store.in_process() { policy.with_granularity(Duration::ZERO) } else { policy }
    }
}

/// Whether a gRPC call failed before it had a body: HTTP's status is 200 then. The status of a call
/// with a body comes in its trailers, after our headers are sent.
fn has_grpc_error(headers: &HeaderMap) -> bool {
    // Headers of a response are few: to look at each is cheaper than to hash a name.
    headers.iter().any(|(name, status)| name == "grpc-status" && status.as_bytes() != b"0")
}

impl fmt::Debug for LayerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerConfig")
            .field("engine", &self.engine)
            .field("cookie", &self.cookie)
            .field("hooks", &self.hooks.len())
            .finish_non_exhaustive()
    }
}
