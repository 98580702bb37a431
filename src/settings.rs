//! Everything a layer was configured with.

use std::{fmt, net::IpAddr, sync::Arc};

use crate::{
    Policy, RequestHead, SystemClock,
    cookie::SessionCookie,
    engine::Engine,
    hook::DynLoginHook,
    live::{LivePolicy, PolicySource},
    policy::Activity,
    store::AnyStore,
};

type Ask<T> = Arc<dyn Fn(RequestHead<'_>) -> T + Send + Sync>;

/// Everything a layer was configured with.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) engine: Engine,
    pub(crate) cookie: SessionCookie,
    pub(crate) policy: PolicySource,
    pub(crate) hooks: Vec<Arc<dyn DynLoginHook>>,
    pub(crate) activity: Option<Ask<Activity>>,
    pub(crate) skip: Option<Ask<bool>>,
    pub(crate) client_ip: Option<Ask<Option<IpAddr>>>,
}

impl Settings {
    pub(crate) fn new(store: AnyStore) -> Self {
        Self {
            engine: Engine::new(store, Arc::new(SystemClock)),
            cookie: SessionCookie::default(),
            policy: PolicySource::Live(LivePolicy::new(Policy::default())),
            hooks: Vec::new(),
            activity: None,
            skip: None,
            client_ip: None,
        }
    }

    /// Whether a request passes as if the layer were not there (SPEC L8).
    pub(crate) fn skips(&self, head: RequestHead<'_>) -> bool {
        head.is_cors_preflight() || self.skip.as_ref().is_some_and(|skip| skip(head))
    }

    /// What kind of request it is, unless one of our endpoints says so itself (SPEC L8).
    pub(crate) fn activity(&self, head: RequestHead<'_>) -> Activity {
        if head.is_always_passive() {
            Activity::Passive
        } else {
            self.activity.as_ref().map_or(Activity::Interaction, |activity| activity(head))
        }
    }

    /// The policy of a request. A store in this process records every interaction (L9).
    pub(crate) fn policy(&self, head: RequestHead<'_>) -> Policy {
        let policy = self.policy.policy(head);
        if self.engine.store.in_process() {
            policy.with_granularity(std::time::Duration::ZERO)
        } else {
            policy
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("engine", &self.engine)
            .field("cookie", &self.cookie)
            .field("hooks", &self.hooks.len())
            .finish_non_exhaustive()
    }
}
