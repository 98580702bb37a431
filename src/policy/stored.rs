//! The part of a policy that a store keeps.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::{Cap, Policy, PolicyHistory};
use crate::{
    Error, ErrorKind,
    record::{Lifetimes, Mode},
};

/// The settings of a policy that can be changed while servers run, and that all nodes share.
///
/// The rest of a policy (limits, granularity, grace) is configured per node. So are the cap and the
/// logout URLs until they are changed here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySettings {
    /// The lifetimes of persistent sessions, as configured: perhaps above the limits.
    pub persistent: Lifetimes,
    /// Those of non-persistent sessions.
    pub non_persistent: Lifetimes,
    /// Those of anonymous sessions; `None` for those of non-persistent ones.
    pub anonymous: Option<Lifetimes>,
    /// The mode of logins that do not choose one.
    pub default_mode: Mode,
    /// How many live sessions a subject may have; `None` is no cap.
    pub cap: Option<Cap>,
    /// The URLs that a logout without a `client_id` may redirect to.
    pub allowed_logout_urls: Vec<String>,
    /// Fields of other versions of this crate, or of other parts of the application. They are
    /// stored unchanged.
    pub other: BTreeMap<String, serde_json::Value>,
}

impl From<Policy> for PolicySettings {
    fn from(policy: Policy) -> Self {
        Self {
            persistent: policy.persistent,
            non_persistent: policy.non_persistent,
            anonymous: policy.anonymous,
            default_mode: policy.default_mode,
            cap: policy.cap,
            allowed_logout_urls: Vec::new(),
            other: BTreeMap::new(),
        }
    }
}

impl PolicySettings {
    /// A policy with these settings, and in all else like the configured one.
    pub fn over(&self, configured: Policy) -> Policy {
        configured
            .with_persistent(self.persistent)
            .with_non_persistent(self.non_persistent)
            .with_anonymous(self.anonymous)
            .with_default_mode(self.default_mode)
            .with_cap(self.cap)
    }
}

/// The document in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredPolicy {
    persistent: Lifetimes,
    non_persistent: Lifetimes,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    anonymous: Option<Lifetimes>,
    default_mode: Mode,
    /// Absent until it is set; null is no cap.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    cap: Option<StoredCap>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    allowed_logout_urls: Option<Vec<String>>,
    /// When the lifetimes were lowered, which supersedes overrides of earlier logins (L6).
    #[serde(default)]
    history: PolicyHistory,
    #[serde(flatten)]
    other: BTreeMap<String, serde_json::Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct StoredCap(Option<Cap>);

/// Called only when the field is present, null included.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<StoredCap>, D::Error> {
    Option::deserialize(deserializer).map(|cap| Some(StoredCap(cap)))
}

impl StoredPolicy {
    /// What a node writes to an empty store.
    pub(crate) fn seed(local_defaults: &PolicySettings) -> Self {
        let local_defaults = local_defaults.clone();
        Self {
            persistent: local_defaults.persistent,
            non_persistent: local_defaults.non_persistent,
            anonymous: local_defaults.anonymous,
            default_mode: local_defaults.default_mode,
            cap: None,
            allowed_logout_urls: None,
            history: PolicyHistory::default(),
            other: local_defaults.other,
        }
    }

    /// The settings in force: those of the store, and the node's own where the store has none.
    pub(crate) fn over(&self, local_defaults: &PolicySettings) -> PolicySettings {
        let stored = self.clone();
        PolicySettings {
            persistent: stored.persistent,
            non_persistent: stored.non_persistent,
            anonymous: stored.anonymous,
            default_mode: stored.default_mode,
            cap: stored.cap.map_or(local_defaults.cap, |StoredCap(cap)| cap),
            allowed_logout_urls: stored
                .allowed_logout_urls
                .unwrap_or_else(|| local_defaults.allowed_logout_urls.clone()),
            other: stored.other,
        }
    }

    /// The versions of the policy.
    pub(crate) const fn history(&self) -> &PolicyHistory {
        &self.history
    }

    /// With the settings `after` in place of `before`. `now` is in milliseconds since the epoch.
    pub(crate) fn changed(
        &self,
        before: &PolicySettings,
        after: &PolicySettings,
        configured: Policy,
        now: u64,
    ) -> Self {
        let mut history = self.history.clone();
        history.change(&before.over(configured), &after.over(configured), now);
        let cap = (self.cap.is_some() || after.cap != before.cap).then_some(StoredCap(after.cap));
        let is_stored = self.allowed_logout_urls.is_some();
        let urls_change = is_stored || after.allowed_logout_urls != before.allowed_logout_urls;
        Self {
            cap,
            allowed_logout_urls: urls_change.then(|| after.allowed_logout_urls.clone()),
            history,
            ..Self::seed(after)
        }
    }

    /// As JSON text, for a store to keep.
    pub(crate) fn to_text(&self) -> Result<String, Error> {
        serde_json::to_string(self).map_err(|error| {
            Error::new(ErrorKind::Data, "the settings cannot be written as JSON").with_source(error)
        })
    }

    /// Reads them back.
    pub(crate) fn from_text(text: &str) -> Result<Self, Error> {
        serde_json::from_str(text).map_err(|error| {
            let message =
                "the settings in the store cannot be read; correct them there, or remove them to start from the configured ones";
            Error::new(ErrorKind::Data, message).with_source(error)
        })
    }
}
