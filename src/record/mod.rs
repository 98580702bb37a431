//! For authors of stores: what a store keeps, as plain data, and the pure functions that change it.
//!
//! Applications need none of it. What they use is at the root of the crate:
//! [`SessionInfo`](crate::SessionInfo), [`SessionSummary`](crate::SessionSummary), [`Facts`],
//! [`Metadata`] and others.
//!
//! The types that a store reads or writes are exhaustive on purpose. A store that does not handle a
//! new field or case must fail to compile. So a new one comes with a new major version.
//!
//! A [`Record`] is one session. A [`Change`] is what a request changes about it, an [`EndRequest`]
//! ends it, and a [`SubjectMark`] ends all sessions of a subject at once. This module uses no
//! clock, store, runtime or HTTP types.

// data.rs         the data that handlers keep in a session
// json.rs         one value of it
// edits.rs        what one request changes about it
// timing.rs       what deadlines are computed from
// millis.rs       a length of time in whole milliseconds
// id.rs           the public handle of a session
// secret.rs       the hash of the cookie's secret
// binding.rs      what binds a session to a device
// facts.rs        facts for pages and logs, on which no decision depends
// user_agent.rs   a readable device, by its user agent
// change.rs       what one request changes about a session
// ending.rs       how a session ends, and why
// mark.rs         the end of all sessions of a subject

mod binding;
mod change;
mod data;
mod edits;
mod ending;
mod facts;
mod id;
mod json;
mod mark;
mod millis;
mod secret;
mod timing;
mod user_agent;

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::Timestamp;

pub use self::{
    binding::{Binding, BoundDevice, DeviceKey, DeviceProof},
    change::{Applied, Change, Rotation, UpdateOutcome},
    data::Data,
    edits::Edits,
    ending::{
        CallId, EndOptions, EndOutcome, EndReason, EndRequest, EndedSession, PastSession, Replacement,
        Successor, Tombstone,
    },
    facts::{AuthenticationMethod, Device, Facts, LastSeen, Metadata},
    id::{SessionId, Tag},
    json::Json,
    mark::SubjectMark,
    millis::Millis,
    secret::{PreviousSecret, Proof, SecretHash},
    timing::{Lifetimes, Lowering, Mode, Timing, TimingChange},
};

/// One session, as a store keeps it.
///
/// Cheap to clone: the parts that grow are shared. `Debug` shows neither the data nor the secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The public handle, and the key in the store.
    pub sid: SessionId,
    /// The name space of the session: the cookie's name, or a tenant.
    pub realm: Arc<str>,
    /// The hash of the secret in the cookie.
    pub secret: SecretHash,
    /// The secret before the last rotation, honoured for a short grace.
    pub previous_secret: Option<PreviousSecret>,
    /// What deadlines are computed from.
    pub timing: Timing,
    /// When anything of the record last changed.
    pub updated_at: Timestamp,
    /// The user who logged in; absent for an anonymous session.
    pub subject: Option<Arc<str>>,
    /// The subject's epoch in which the session was stored; see [`SubjectMark`].
    pub epoch: u32,
    /// The arrival of the login, by the clock that all nodes share. A revocation of the whole realm
    /// compares with it.
    pub admitted_at: Timestamp,
    /// Whether its cookie has come back from a browser. Recorded only under a cap that refuses
    /// logins.
    pub confirmed: bool,
    /// What handlers keep in the session.
    pub data: Data,
    /// Counts the changes of `data`, for compare-and-set updates of values.
    pub revision: u64,
    /// Facts recorded at login and later.
    pub facts: Arc<Facts>,
    /// What binds the session to a device; absent where the layer that created it binds none.
    pub binding: Option<Arc<Binding>>,
    /// Set once the session has ended: the record is then a tombstone.
    pub ended: Option<Tombstone>,
    /// The moment of a revocation of all sessions of the subject that covers this one, until its
    /// end is written. Not stored: [`Record::see_mark`] sets it when a record is read.
    #[serde(skip)]
    pub revoked_at: Option<Timestamp>,
    /// Counts the writes of the record, for stores that compare and set. Nothing else reads it.
    #[serde(skip)]
    pub version: u64,
}

impl Record {
    /// A new record, still without user and data.
    pub(crate) fn new(
        sid: SessionId,
        realm: &Arc<str>,
        secret: SecretHash,
        timing: Timing,
        facts: Facts,
    ) -> Self {
        Self {
            sid,
            realm: Arc::clone(realm),
            secret,
            previous_secret: None,
            timing,
            updated_at: timing.created_at,
            subject: None,
            epoch: 0,
            admitted_at: timing.created_at,
            confirmed: false,
            data: Data::default(),
            revision: 0,
            facts: Arc::new(facts),
            binding: None,
            ended: None,
            revoked_at: None,
            version: 0,
        }
    }

    /// Whether the holder of this secret may use the session, compared in constant time. `now` is
    /// by the clock that all nodes share.
    ///
    /// Only the last secret proves a tombstone: the one before it is invalid at once after the end.
    pub fn prove(&self, secret: &SecretHash, now: Timestamp) -> Proof {
        let previous = self.previous_secret.as_ref();
        let old = previous.is_some_and(|previous| previous.hash.matches(secret) && now < previous.until);
        if self.secret.matches(secret) {
            Proof::Current
        } else if old && self.ended.is_none() {
            Proof::Grace
        } else {
            Proof::None
        }
    }
}

/// How long a request may be in flight that the browser sent before it had the newer cookie.
pub(crate) const IN_FLIGHT_WINDOW: Duration = Duration::from_secs(10);

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A record in which nothing is of interest.
    pub(crate) fn blank() -> Record {
        let lifetimes = Lifetimes::from_minutes(15, 480);
        let timing = Timing::new(Mode::Persistent, Timestamp::UNIX_EPOCH, lifetimes);
        let secret = SecretHash::from_bytes([7; 32]);
        Record::new(SessionId::from_bytes([7; 16]), &"__Host-id".into(), secret, timing, Facts::default())
    }
}
