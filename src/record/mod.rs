//! What a store keeps: plain data, and the pure functions by which it changes.
//!
//! | file | holds |
//! |---|---|
//! | `id.rs` | [`SessionId`], the public handle of a session |
//! | `secret.rs` | [`SecretHash`], what proves that a cookie is ours (C6) |
//! | `timing.rs` | [`Timing`], [`Lifetimes`], [`Mode`]: everything a deadline is computed from (L1, L5) |
//! | `data.rs` | [`Data`], [`Json`]: what handlers keep in a session |
//! | `facts.rs` | [`Facts`]: device, clients, authentication, metadata (A1) |
//! | `change.rs` | [`Change`] and its one `apply` (S2, S3) |
//! | `ending.rs` | [`End`], [`EndReason`]: how a session ends and why (E1, E3) |
//!
//! Nothing here knows a clock, a store, a runtime or HTTP.

mod change;
mod data;
mod ending;
mod facts;
mod id;
mod secret;
mod timing;

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::Timestamp;

pub use self::{
    change::{Applied, Change, Rotation, Updated},
    data::{Data, Edits, Json},
    ending::{End, EndReason, Ended, Ending, PastSession},
    facts::{AuthenticationMethod, Device, Facts, LastSeen, Metadata},
    id::SessionId,
    secret::{PreviousSecret, Proof, SecretHash},
    timing::{Lifetimes, Lowering, Mode, Timing, TimingChange},
};

/// One session, as a store keeps it.
///
/// Cheap to clone: the parts that grow are shared. `Debug` shows neither the data nor anything of the secret (SPEC H5).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The public handle, and the key in the store.
    pub sid: SessionId,
    /// SHA-256 of the secret in the cookie.
    pub secret: SecretHash,
    /// The secret before the last rotation, honoured for a short grace.
    pub previous_secret: Option<PreviousSecret>,
    /// All that deadlines are computed from.
    pub timing: Timing,
    /// When anything of the record last changed.
    pub updated_at: Timestamp,
    /// The user who logged in; absent for an anonymous session.
    pub subject: Option<Arc<str>>,
    /// What handlers keep in the session.
    pub data: Data,
    /// Counts the changes of `data`; what compare-and-set compares.
    pub revision: u64,
    /// Facts recorded at login and later.
    pub facts: Arc<Facts>,
    /// Set once the session is over: the record is then a tombstone that only tells why.
    pub ended: Option<Ended>,
}

impl Record {
    /// Whether this holder of a secret may use the session, judged in constant time (SPEC C6).
    ///
    /// A tombstone is proved by the last secret only: after a logout the one before it is dead at once.
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

    /// Whether a rotation or a login took the place of this session's secret a moment ago. A request with another one may
    /// then be an honest one that crossed it, or two of them, and is not for its response to remove the newer cookie.
    pub(crate) fn is_just_replaced(&self, now: Timestamp) -> bool {
        match self.ended {
            None => self.previous_secret.is_some_and(|previous| now < previous.until + CROSSING),
            Some(ended) => ended.reason == EndReason::Superseded && now.since(ended.at) < CROSSING,
        }
    }
}

/// How long a request that the browser sent before it had a newer cookie may be on its way, or in its handler.
pub(crate) const CROSSING: Duration = Duration::from_secs(10);
