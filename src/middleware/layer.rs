//! The layer and its settings.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use http::{Extensions, Uri};
use tower::Layer;

use super::SessionService;
use crate::{
    Clock, LivePolicy, LoginContext, LoginHook, LoginHookFuture, Policy, RequestHead, Sessions,
    admin::LayerSettings,
    browser::Endpoints,
    cookie::SessionCookie,
    events::{Event, Observer, ObserverFn},
    policy::Activity,
    settings::{HookFn, LayerConfig, PolicySource},
    store::AnyStore,
};

/// Keeps sessions around a service; see the [module](crate::middleware) for how.
///
/// Safe without configuration: the cookie `__Host-id`, Auth0's lifetimes, every request an
/// interaction.
#[must_use]
pub struct SessionLayer {
    config: Arc<LayerConfig>,
    /// The same, for the [`Sessions`] that were handed out: they follow what is set later.
    settings: Arc<LayerSettings>,
    endpoints: Option<Arc<Endpoints>>,
}

/// A clone goes its own way: what is set on it later is nothing to the sessions of the original.
impl Clone for SessionLayer {
    fn clone(&self) -> Self {
        let settings = Arc::new(LayerSettings::from(Arc::clone(&self.config)));
        Self { config: Arc::clone(&self.config), settings, endpoints: self.endpoints.clone() }
    }
}

impl fmt::Debug for SessionLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionLayer")
            .field("config", &self.config)
            .field("endpoints", &self.endpoints)
            .finish_non_exhaustive()
    }
}

impl SessionLayer {
    /// Keeps sessions in this store.
    pub fn new(store: impl Into<AnyStore>) -> Self {
        let config = Arc::new(LayerConfig::new(store.into()));
        Self { settings: Arc::new(LayerSettings::from(Arc::clone(&config))), config, endpoints: None }
    }

    fn with(mut self, set: impl FnOnce(&mut LayerConfig)) -> Self {
        let config = Arc::make_mut(&mut self.config);
        set(config);
        config.finish();
        self.settings.store(Arc::clone(&self.config));
        self
    }

    /// The cookie; [`SessionCookie::default`] unless set.
    pub fn with_cookie(self, cookie: SessionCookie) -> Self {
        self.with(|config| config.cookie = cookie)
    }

    /// The policy: a [`Policy`], or a [`LivePolicy`] to swap while the server runs.
    pub fn with_policy(self, policy: impl Into<LivePolicy>) -> Self {
        let policy = PolicySource::Live(policy.into());
        self.with(|config| config.policy = policy)
    }

    /// Chooses the policy of each request, for several tenants.
    pub fn with_policy_by(self, choose: impl Fn(RequestHead<'_>) -> Policy + Send + Sync + 'static) -> Self {
        self.with(|config| config.policy = PolicySource::PerRequest(Arc::new(choose)))
    }

    /// The realm of the sessions: what they belong to besides their store. Unless set it is the
    /// cookie's name.
    ///
    /// A token, a cap, a list and a revocation of one realm mean nothing in another, on the same
    /// store. So two layers with different cookies cannot take each other's sessions.
    pub fn with_realm(self, name: impl Into<Arc<str>>) -> Self {
        let name = name.into();
        self.with(|config| config.realm_name = Some(name))
    }

    /// Chooses the realm of each request: a tenant of the application. Goes with
    /// [`with_policy_by`](SessionLayer::with_policy_by).
    ///
    /// What it returns must be a name that the application knows, not whatever a client sends: each
    /// name is remembered.
    pub fn with_realm_by(self, choose: impl Fn(RequestHead<'_>) -> Arc<str> + Send + Sync + 'static) -> Self {
        self.with(|config| config.realm_by = Some(Arc::new(choose)))
    }

    /// How many bytes of data a session may have: 64 KiB unless set. A write beyond it is an error
    /// of kind [`TooLarge`](crate::ErrorKind::TooLarge), and nothing is lost.
    pub fn with_max_data(self, bytes: usize) -> Self {
        self.with(|config| config.max_data = bytes)
    }

    /// How many streams of one session may be open at a time: 32 unless set. One more ends the
    /// oldest.
    pub fn with_max_streams(self, streams: usize) -> Self {
        self.with(|config| config.engine.max_streams = streams.max(1))
    }

    /// How far this node's clock may be from the store's: 30 s unless set. Beyond it the node emits
    /// an event, and neither sweeps nor ends sessions by time until the clocks agree.
    pub fn with_clock_tolerance(self, tolerance: Duration) -> Self {
        self.with(|config| config.engine.clock_tolerance = tolerance)
    }

    /// Says which requests are interactions. Unless set, all are. Whatever it says, the status
    /// endpoint and requests that are [always passive](RequestHead::is_always_passive) are not:
    /// speculative loads, images and other parts of a page, and what the page marks as background
    /// polling (`Session-Activity: passive`).
    ///
    /// # Example
    ///
    /// The authorization-server model: only `/authorize` keeps a session alive.
    ///
    /// ```
    /// use tower_tenure::{MemoryStore, SessionLayer, policy::Activity};
    ///
    /// let layer = SessionLayer::new(MemoryStore::new()).with_activity(|head| match head.uri.path() {
    ///     "/authorize" => Activity::Interaction,
    ///     _ => Activity::Passive,
    /// });
    /// ```
    pub fn with_activity(
        self,
        classify: impl Fn(RequestHead<'_>) -> Activity + Send + Sync + 'static,
    ) -> Self {
        self.with(|config| config.activity = Some(Arc::new(classify)))
    }

    /// Names requests that pass as if the layer were not there: they get no
    /// [`Session`](crate::Session), so a handler behind them takes an `Option<Session>`. CORS
    /// preflights always pass like this.
    pub fn with_skip(self, skip: impl Fn(RequestHead<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.with(|config| config.skip = Some(Arc::new(skip)))
    }

    /// Finds the target of a request as the client sent it, in a layer that is inside a router.
    ///
    /// A router that nests another one takes a prefix from the target. A layer inside the nested
    /// router sees only the rest, but frameworks keep the whole target in the request's extensions.
    /// With this setting everything here uses the whole one: [`RequestHead::uri`] in all the
    /// settings, the paths of the endpoints, and the login page and `return_to` of
    /// [`RequireSession`](crate::RequireSession).
    ///
    /// It is asked for on every request. Where it finds nothing, the target of the request counts.
    ///
    /// # Example
    ///
    /// In axum:
    ///
    /// ```
    /// use axum::{Router, extract::OriginalUri, routing::get};
    /// use tower_tenure::{MemoryStore, SessionLayer, policy::Activity};
    ///
    /// let sessions = SessionLayer::new(MemoryStore::new())
    ///     .with_original_uri(|extensions| extensions.get::<OriginalUri>().map(|original| &original.0))
    ///     .with_activity(|head| match head.uri.path() {
    ///         "/app/poll" => Activity::Passive,
    ///         _ => Activity::Interaction,
    ///     });
    /// let inner = Router::new().route("/poll", get(async || "nothing new")).layer(sessions);
    /// let app: Router = Router::new().nest("/app", inner);
    /// ```
    pub fn with_original_uri(
        self,
        find: impl Fn(&Extensions) -> Option<&Uri> + Send + Sync + 'static,
    ) -> Self {
        self.with(|config| config.original_uri = Some(Arc::new(find)))
    }

    /// Finds the client's address, for the facts of a session. Unless set none is recorded: whether
    /// a forwarded header can be trusted is only for you to know.
    pub fn with_client_ip(
        self,
        find: impl Fn(RequestHead<'_>) -> Option<IpAddr> + Send + Sync + 'static,
    ) -> Self {
        self.with(|config| config.client_ip = Some(Arc::new(find)))
    }

    /// Adds a login hook, after those that are there.
    pub fn with_login_hook(self, hook: impl LoginHook) -> Self {
        self.with(|config| config.hooks.push(Arc::new(hook)))
    }

    /// Adds a closure as a login hook, without a type of its own.
    ///
    /// Its future is boxed, because a function cannot yet require of an async closure that its
    /// future may move between threads.
    ///
    /// # Example
    ///
    /// ```
    /// use std::{collections::HashSet, sync::Arc};
    /// use tower_tenure::{MemoryStore, SessionLayer};
    ///
    /// let banned = Arc::new(HashSet::from(["mallory"]));
    /// let layer = SessionLayer::new(MemoryStore::new()).with_login_hook_fn(move |login| {
    ///     let banned = Arc::clone(&banned);
    ///     Box::pin(async move {
    ///         if banned.contains(login.subject()) {
    ///             login.deny("banned");
    ///         }
    ///         login.metadata().set("channel", "web")
    ///     })
    /// });
    /// ```
    pub fn with_login_hook_fn<F>(self, hook: F) -> Self
    where
        F: for<'a> Fn(&'a mut LoginContext<'_>) -> LoginHookFuture<'a> + Send + Sync + 'static,
    {
        self.with_login_hook(HookFn(hook))
    }

    /// Adds an observer of events.
    pub fn with_observer(self, observer: impl Observer) -> Self {
        self.with(|config| config.engine.observers.push(Arc::new(observer)))
    }

    /// Adds a closure as an observer of events. The type of its argument need not be written.
    ///
    /// # Example
    ///
    /// ```
    /// use tower_tenure::{MemoryStore, SessionLayer, events::EventKind};
    ///
    /// let layer = SessionLayer::new(MemoryStore::new()).with_observer_fn(|event| {
    ///     if let EventKind::Ended(reason) = event.kind {
    ///         println!("{} a session ended: {reason}", event.at);
    ///     }
    /// });
    /// ```
    pub fn with_observer_fn(self, observe: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        self.with_observer(ObserverFn(observe))
    }

    /// Ends a session when a secret comes back that it has replaced, after its grace: off unless
    /// set.
    ///
    /// Such a secret is from a copy of an old cookie, or from a browser that never got the new one.
    /// In any case it is an event, [`SecretReused`](crate::events::EventKind::SecretReused). With
    /// this setting neither the thief nor the user can go on without a new login. Requests that
    /// were in flight when the secret was replaced do not count.
    pub fn with_end_on_secret_reuse(self) -> Self {
        self.with(|config| config.ends_on_secret_reuse = true)
    }

    /// Says which responses mean that the handler failed, so that its writes and logins are
    /// dropped, while logout and rotation still happen. These always do: any 5xx, 408, and a
    /// `grpc-status` header other than 0.
    ///
    /// # Example
    ///
    /// ```
    /// use tower_tenure::{MemoryStore, SessionLayer};
    ///
    /// // Writes of a request that was answered with 4xx are dropped as well.
    /// let layer = SessionLayer::new(MemoryStore::new())
    ///     .with_failure(|status, _headers| status.is_client_error());
    /// ```
    pub fn with_failure(
        self,
        has_failed: impl Fn(http::StatusCode, &http::HeaderMap) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.with(|config| config.failure = Some(Arc::new(has_failed)))
    }

    /// How long a call to the store may take before it counts as failed; 2 s unless set.
    pub fn with_store_budget(self, budget: Duration) -> Self {
        self.with(|config| config.engine.budget = budget)
    }

    /// How long it stays known why a session ended: an hour unless set, and at least five minutes.
    pub fn with_end_reason_retention(self, retention: Duration) -> Self {
        self.with(|config| config.engine.retention = retention.max(Duration::from_secs(300)))
    }

    /// Another clock, for tests.
    pub fn with_clock(self, clock: impl Clock) -> Self {
        self.with(|config| config.engine.clock = Arc::new(clock))
    }

    /// Serves the status, extend and logout endpoints.
    #[cfg(feature = "browser")]
    pub fn with_endpoints(mut self, endpoints: Endpoints) -> Self {
        #[cfg(feature = "device-binding")]
        {
            self = self.with(|config| config.device = endpoints.device_config());
        }
        self.endpoints = Some(Arc::new(endpoints));
        self
    }

    /// The sessions of this layer's realm: to list and to revoke them from anywhere. They follow
    /// what is set on the layer later, such as a clock or an observer.
    pub fn sessions(&self) -> Sessions {
        Sessions::new(Arc::clone(&self.settings), None)
    }

    /// The sessions of another realm behind this layer: of one tenant.
    pub fn sessions_of(&self, realm: impl Into<Arc<str>>) -> Sessions {
        Sessions::new(Arc::clone(&self.settings), Some(realm.into()))
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        SessionService::new(inner, Arc::clone(&self.config), self.endpoints.clone())
    }
}
