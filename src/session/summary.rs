//! A session as people see it in a list.

use std::sync::Arc;

use serde::Serialize;

use crate::{
    Mode, Policy, SessionId, Timestamp,
    record::{Facts, Record},
    request::SessionInfo,
};

/// One of several sessions, for a page or a list: what people need to recognise it, without its
/// data and its secret.
///
/// As JSON, moments are text such as `2026-01-01T00:00:00.000Z`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SessionSummary {
    /// The public id.
    pub sid: SessionId,
    /// The user; absent for an anonymous session.
    pub subject: Option<Arc<str>>,
    /// Whether it is the session of the request that asks.
    pub current: bool,
    /// Whether the cookie survives a restart of the browser.
    pub mode: Mode,
    /// The last browser and system, such as "Firefox on Windows".
    pub device: String,
    /// Whether the session is bound to its device.
    pub bound: bool,
    /// When the session was created.
    pub created_at: Timestamp,
    /// When its user signed in; absent for an anonymous session.
    pub authenticated_at: Option<Timestamp>,
    /// The last recorded interaction.
    #[serde(rename = "last_interacted_at")]
    pub last_interaction_at: Timestamp,
    /// When the session expires if there is no further interaction.
    pub idle_expires_at: Timestamp,
    /// When the session expires in any case.
    pub expires_at: Timestamp,
    /// Device, clients, authentication methods and metadata. Not in JSON: addresses and metadata
    /// are for the application.
    #[serde(skip)]
    pub facts: Arc<Facts>,
}

impl SessionSummary {
    /// The session of the request that asks.
    pub(super) fn of_request(info: SessionInfo) -> Self {
        Self {
            sid: info.sid,
            subject: info.subject,
            current: true,
            mode: info.mode,
            device: info.facts.device.description(),
            bound: info.bound_at.is_some(),
            created_at: info.created_at,
            authenticated_at: info.authenticated_at,
            last_interaction_at: info.last_interaction_at,
            idle_expires_at: info.idle_expires_at,
            expires_at: info.expires_at,
            facts: info.facts,
        }
    }

    /// A live session of a list, as this policy judges it.
    pub(crate) fn of(record: &Record, policy: &Policy) -> Self {
        let timing = record.timing_under(policy);
        Self {
            sid: record.sid,
            subject: record.subject.clone(),
            current: false,
            mode: timing.mode,
            device: record.facts.device.description(),
            bound: record.bound_device().is_some(),
            created_at: timing.created_at,
            authenticated_at: timing.authenticated_at,
            last_interaction_at: timing.last_interaction_at,
            idle_expires_at: timing.idle_expires_at(),
            expires_at: timing.expires_at(),
            facts: Arc::clone(&record.facts),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::record::{Binding, BoundDevice, DeviceKey, tests::blank};

    #[test]
    fn b7_a_summary_says_whether_a_device_is_registered_and_not_whether_one_could_be() {
        let mut record = blank();
        let is_bound = |record: &Record| SessionSummary::of(record, &Policy::default()).bound;
        assert!(!is_bound(&record));
        let mut binding = Binding::new([7; Binding::SEED_BYTES]);
        record.binding = Some(Arc::new(binding.clone()));
        assert!(!is_bound(&record));
        let key = DeviceKey::Es256 { x: [1; 32], y: [2; 32] };
        binding.device = Some(Arc::new(BoundDevice { key, bound_at: Timestamp::UNIX_EPOCH }));
        record.binding = Some(Arc::new(binding));
        assert!(is_bound(&record));
    }
}
