//! The part of a policy that is kept in a store.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::{Cap, Policy, PolicyHistory};
use crate::{
    Error, ErrorKind,
    record::{Lifetimes, Mode},
};

/// The settings of a policy that people change while servers run, and that all nodes share (SPEC S7, M2).
///
/// What else there is to a policy (limits, granularity, grace) belongs to how a node is configured; so do the cap and the logout
/// URLs until somebody changes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySettings {
    /// The lifetimes of persistent sessions, as they were asked for: perhaps above the limits (L4).
    pub persistent: Lifetimes,
    /// Those of non-persistent sessions.
    pub non_persistent: Lifetimes,
    /// The mode of logins that do not choose one.
    pub default_mode: Mode,
    /// How many live sessions a subject may have (S9); `None` is as many as they like.
    pub cap: Option<Cap>,
    /// Where a logout may lead that names no client (R1).
    pub allowed_logout_urls: Vec<String>,
    /// What other versions of this crate, or other parts of an application, keep beside: carried along as it is.
    pub other: BTreeMap<String, serde_json::Value>,
}

impl From<Policy> for PolicySettings {
    fn from(policy: Policy) -> Self {
        Self {
            persistent: policy.persistent,
            non_persistent: policy.non_persistent,
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
            .with_default_mode(self.default_mode)
            .with_cap(self.cap)
    }
}

/// The document in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptPolicy {
    persistent: Lifetimes,
    non_persistent: Lifetimes,
    default_mode: Mode,
    /// Absent until somebody sets it; null is as many as they like.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    cap: Option<KeptCap>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    allowed_logout_urls: Option<Vec<String>>,
    /// When the lifetimes were lowered: what decides over overrides of logins before (L6).
    #[serde(default)]
    history: PolicyHistory,
    #[serde(flatten)]
    other: BTreeMap<String, serde_json::Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct KeptCap(Option<Cap>);

/// Called only where there is something, null included.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<KeptCap>, D::Error> {
    Option::deserialize(deserializer).map(|cap| Some(KeptCap(cap)))
}

impl KeptPolicy {
    /// What a node puts into an empty store.
    pub(crate) fn seed(own: &PolicySettings) -> Self {
        let own = own.clone();
        Self {
            persistent: own.persistent,
            non_persistent: own.non_persistent,
            default_mode: own.default_mode,
            cap: None,
            allowed_logout_urls: None,
            history: PolicyHistory::default(),
            other: own.other,
        }
    }

    /// The settings of a node: what is kept, and its own where nothing is.
    pub(crate) fn over(&self, own: &PolicySettings) -> PolicySettings {
        let kept = self.clone();
        PolicySettings {
            persistent: kept.persistent,
            non_persistent: kept.non_persistent,
            default_mode: kept.default_mode,
            cap: kept.cap.map_or(own.cap, |KeptCap(cap)| cap),
            allowed_logout_urls: kept.allowed_logout_urls.unwrap_or_else(|| own.allowed_logout_urls.clone()),
            other: kept.other,
        }
    }

    /// The versions of the policy.
    pub(crate) const fn history(&self) -> &PolicyHistory {
        &self.history
    }

    /// With these in place of the settings before. `now` is in milliseconds since the epoch.
    pub(crate) fn changed(
        &self,
        before: &PolicySettings,
        after: &PolicySettings,
        configured: Policy,
        now: u64,
    ) -> Self {
        let mut history = self.history.clone();
        history.change(&before.over(configured), &after.over(configured), now);
        let cap = (self.cap.is_some() || after.cap != before.cap).then_some(KeptCap(after.cap));
        let is_kept = self.allowed_logout_urls.is_some();
        let urls_change = is_kept || after.allowed_logout_urls != before.allowed_logout_urls;
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
            Error::new(ErrorKind::Data, "the settings can not be written as JSON").because(error)
        })
    }

    /// Reads them back.
    pub(crate) fn from_text(text: &str) -> Result<Self, Error> {
        serde_json::from_str(text).map_err(|error| {
            let message =
                "the settings in the store can not be read; mend them there, or remove them to start from the configured ones";
            Error::new(ErrorKind::Data, message).because(error)
        })
    }
}
