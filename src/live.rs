//! The policy while the server runs.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;

use crate::{Policy, RequestHead};

/// A policy that can be swapped while the server runs (SPEC L11). Clones share it; reading takes no lock.
///
/// # Example
///
/// ```
/// use tower_tenure::{LivePolicy, MemoryStore, Policy, SessionLayer};
///
/// let policy = LivePolicy::new(Policy::default());
/// let layer = SessionLayer::new(MemoryStore::new()).with_policy(policy.clone());
///
/// // Later, from anywhere: binds live sessions at their next request (L5).
/// policy.swap(Policy::owasp_high_value());
/// ```
#[derive(Clone)]
pub struct LivePolicy(Arc<ArcSwap<Policy>>);

impl LivePolicy {
    /// Starts with this policy.
    pub fn new(policy: Policy) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(policy)))
    }

    /// The policy at this moment.
    pub fn load(&self) -> Policy {
        **self.0.load()
    }

    /// Puts another in its place. Requests that have arrived keep the one they arrived under.
    pub fn swap(&self, policy: Policy) {
        self.0.store(Arc::new(policy));
    }
}

impl fmt::Debug for LivePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LivePolicy").field(&self.load()).finish()
    }
}

impl From<Policy> for LivePolicy {
    fn from(policy: Policy) -> Self {
        Self::new(policy)
    }
}

/// One live policy for all requests, or the application's choice for each.
#[derive(Clone)]
pub(crate) enum PolicySource {
    Live(LivePolicy),
    PerRequest(Arc<dyn Fn(RequestHead<'_>) -> Policy + Send + Sync>),
}

impl PolicySource {
    pub(crate) fn policy(&self, head: RequestHead<'_>) -> Policy {
        match self {
            Self::Live(policy) => policy.load(),
            Self::PerRequest(choose) => choose(head),
        }
    }
}
