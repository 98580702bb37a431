//! The policy while the server runs.

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;

use crate::{Clock, Policy, RequestHead, SystemClock, policy::PolicyHistory};

/// A policy that can be swapped while the server runs. Clones share it; reading takes no lock.
///
/// # Example
///
/// ```
/// use tower_tenure::{LivePolicy, MemoryStore, Policy, SessionLayer};
///
/// let policy = LivePolicy::new(Policy::default());
/// let layer = SessionLayer::new(MemoryStore::new()).with_policy(policy.clone());
///
/// // Later, from anywhere. It binds live sessions at their next request.
/// policy.swap(Policy::owasp_high_value());
/// ```
#[derive(Clone)]
pub struct LivePolicy(Arc<Shared>);

struct Shared {
    /// What requests read: the policy with the part of its past that decisions need.
    policy: ArcSwap<InForce>,
    history: Mutex<PolicyHistory>,
}

/// A policy in the two forms that requests are judged by. Made when the policy changes, so that a
/// request shares one of them and copies neither.
#[derive(Debug)]
struct InForce {
    policy: Policy,
    /// Without granularity: a store in this process records every interaction (L9).
    exact: Policy,
}

impl InForce {
    fn new(policy: Policy) -> Arc<Self> {
        Arc::new(Self { policy, exact: policy.with_granularity(Duration::ZERO) })
    }
}

/// The policy of one request: that of its arrival, whatever is swapped in later.
#[derive(Debug)]
pub(crate) struct RequestPolicy {
    in_force: Arc<InForce>,
    is_exact: bool,
}

impl Deref for RequestPolicy {
    type Target = Policy;

    fn deref(&self) -> &Policy {
        if self.is_exact { &self.in_force.exact } else { &self.in_force.policy }
    }
}

impl LivePolicy {
    /// Starts with this policy.
    pub fn new(policy: Policy) -> Self {
        let history = PolicyHistory::new(now());
        let policy = ArcSwap::new(InForce::new(history.stamped(policy)));
        Self(Arc::new(Shared { policy, history: Mutex::new(history) }))
    }

    /// The current policy.
    pub fn load(&self) -> Policy {
        self.0.policy.load().policy
    }

    /// Replaces the policy. Requests in flight keep the policy of their arrival.
    ///
    /// It lasts until the process ends, and on this node only;
    /// [`SharedPolicy`](crate::SharedPolicy) keeps settings in the store, for all nodes. A shorter
    /// lifetime binds live sessions for good: to raise it again does not give theirs back. So a page
    /// for administrators should ask before it lowers one.
    pub fn swap(&self, policy: Policy) {
        let mut history = self.0.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.change(&self.load(), &policy, now());
        self.0.policy.store(InForce::new(history.stamped(policy)));
    }

    /// Replaces the policy by one whose past is known.
    pub(crate) fn swap_with(&self, policy: Policy, past: PolicyHistory) {
        let mut history = self.0.history.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.policy.store(InForce::new(past.stamped(policy)));
        *history = past;
    }
}

/// For the stamps of versions only; no deadline depends on it.
fn now() -> u64 {
    u64::try_from(SystemClock.now().as_unix_millis()).unwrap_or(0)
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

/// One live policy for all requests, or a function that chooses one per request.
#[derive(Clone)]
pub(crate) enum PolicySource {
    Live(LivePolicy),
    PerRequest(Arc<dyn Fn(RequestHead<'_>) -> Policy + Send + Sync>),
}

impl PolicySource {
    /// The policy of a request. `is_exact`: each interaction is recorded, whatever the granularity.
    pub(crate) fn policy(&self, head: RequestHead<'_>, is_exact: bool) -> RequestPolicy {
        let in_force = match self {
            Self::Live(policy) => policy.0.policy.load_full(),
            Self::PerRequest(choose) => InForce::new(choose(head)),
        };
        RequestPolicy { in_force, is_exact }
    }

    /// The policy for sessions that are judged without a request; `None` where each request has its
    /// own.
    pub(crate) fn without_request(&self) -> Option<Policy> {
        match self {
            Self::Live(policy) => Some(policy.load()),
            Self::PerRequest(_) => None,
        }
    }
}
