//! The layer and its settings.

use std::{net::IpAddr, sync::Arc, time::Duration};

use tower::Layer;

use super::SessionService;
use crate::{
    Clock, LivePolicy, LoginHook, Policy, RequestHead, Sessions, browser::Endpoints, cookie::SessionCookie,
    events::Observer, live::PolicySource, policy::Activity, settings::Settings, store::AnyStore,
};

/// Keeps sessions around a service; see the [module](crate::middleware) for how.
///
/// Safe without configuration: the cookie `__Host-id`, Auth0's lifetimes, every request an interaction.
#[derive(Clone, Debug)]
#[must_use]
pub struct SessionLayer {
    settings: Arc<Settings>,
    endpoints: Option<Arc<Endpoints>>,
}

impl SessionLayer {
    /// Keeps sessions in this store.
    pub fn new(store: impl Into<AnyStore>) -> Self {
        Self { settings: Arc::new(Settings::new(store.into())), endpoints: None }
    }

    fn with(mut self, set: impl FnOnce(&mut Settings)) -> Self {
        set(Arc::make_mut(&mut self.settings));
        self
    }

    /// The cookie; [`SessionCookie::default`] unless set.
    pub fn with_cookie(self, cookie: SessionCookie) -> Self {
        self.with(|settings| settings.cookie = cookie)
    }

    /// The policy: a [`Policy`], or a [`LivePolicy`] to swap while the server runs (L11).
    pub fn with_policy(self, policy: impl Into<LivePolicy>) -> Self {
        let policy = PolicySource::Live(policy.into());
        self.with(|settings| settings.policy = policy)
    }

    /// Chooses the policy of each request, for several tenants (L11).
    pub fn with_policy_by(self, choose: impl Fn(RequestHead<'_>) -> Policy + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.policy = PolicySource::PerRequest(Arc::new(choose)))
    }

    /// Says which requests are interactions (L8). Unless set, all are. Whatever it says, these are passive: speculative loads
    /// (`Sec-Purpose: prefetch`), requests that the page marks as background polling (`Session-Activity: passive`), and the
    /// status endpoint.
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
        self.with(|settings| settings.activity = Some(Arc::new(classify)))
    }

    /// Names requests that pass as if the layer were not there: they get no [`Session`](crate::Session) (L8), so a
    /// handler behind them takes an `Option<Session>`. CORS preflights always pass like this.
    pub fn with_skip(self, skip: impl Fn(RequestHead<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.skip = Some(Arc::new(skip)))
    }

    /// Finds the client's address, for the facts of a session (A2). Unless set none is recorded: whether a forwarded
    /// header can be trusted is only for you to know.
    pub fn with_client_ip(
        self,
        find: impl Fn(RequestHead<'_>) -> Option<IpAddr> + Send + Sync + 'static,
    ) -> Self {
        self.with(|settings| settings.client_ip = Some(Arc::new(find)))
    }

    /// Adds a login hook, after those that are there (A1).
    pub fn with_login_hook(self, hook: impl LoginHook) -> Self {
        self.with(|settings| settings.hooks.push(Arc::new(hook)))
    }

    /// Adds an observer of events (O1).
    pub fn with_observer(self, observer: impl Observer) -> Self {
        self.with(|settings| settings.engine.observers.push(Arc::new(observer)))
    }

    /// How long a call to the store may take before it counts as failed (S6); 2 s unless set.
    pub fn with_store_budget(self, budget: Duration) -> Self {
        self.with(|settings| settings.engine.budget = budget)
    }

    /// How long it stays known why a session ended (E3): an hour unless set, and at least five minutes.
    pub fn with_end_reason_retention(self, retention: Duration) -> Self {
        self.with(|settings| settings.engine.retention = retention.max(Duration::from_secs(300)))
    }

    /// Another clock, for tests.
    pub fn with_clock(self, clock: impl Clock) -> Self {
        self.with(|settings| settings.engine.clock = Arc::new(clock))
    }

    /// Serves the status, extend and logout endpoints (T1).
    #[cfg(feature = "browser")]
    pub fn with_endpoints(mut self, endpoints: Endpoints) -> Self {
        self.endpoints = Some(Arc::new(endpoints));
        self
    }

    /// The sessions behind this layer: to list and to revoke them from anywhere. Comes after the settings: clock and
    /// observers that are set later are not theirs.
    pub fn sessions(&self) -> Sessions {
        Sessions::new(self.settings.engine.clone())
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        SessionService::new(inner, Arc::clone(&self.settings), self.endpoints.clone())
    }
}
