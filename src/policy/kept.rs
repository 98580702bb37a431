//! The part of a policy that is kept in a store.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Cap, Policy};
use crate::{
    Error, ErrorKind,
    record::{Lifetimes, Mode},
};

/// The settings of a policy that people change while servers run, and that all nodes share (SPEC S7, M2).
///
/// What else there is to a policy (limits, granularity, grace) belongs to how a node is configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicySettings {
    /// The lifetimes of persistent sessions, as they were asked for: perhaps above the limits (L4).
    pub persistent: Lifetimes,
    /// Those of non-persistent sessions.
    pub non_persistent: Lifetimes,
    /// The mode of logins that do not choose one.
    pub default_mode: Mode,
    /// How many live sessions a subject may have (S9); `None` is as many as they like.
    #[serde(default)]
    pub cap: Option<Cap>,
    /// Where a logout may lead that names no client (R1).
    #[serde(default)]
    pub allowed_logout_urls: Vec<String>,
    /// What other versions of this crate, or other parts of an application, keep beside: carried along as it is.
    #[serde(flatten)]
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
