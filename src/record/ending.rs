//! How a session ends, and why.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Data, Lowering, Millis, SecretHash, SessionId};
use crate::{Error, ErrorKind, Timestamp};

/// Why a session is over (SPEC E1). The texts are those of [`EndReason::as_str`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// Its idle deadline passed.
    Idle,
    /// Its absolute deadline passed, perhaps at the same moment as the idle one (L2).
    Absolute,
    /// Its user logged out.
    SignedOut,
    /// An administrator, the user from another device, or a login hook ended it.
    Revoked,
    /// A later login of the same subject went over the cap (S9).
    Evicted,
    /// A newer login in the same browser replaced it (L3).
    Superseded,
}

impl EndReason {
    /// `idle`, `absolute`, `signed_out`, `revoked`, `evicted` or `superseded`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Absolute => "absolute",
            Self::SignedOut => "signed_out",
            Self::Revoked => "revoked",
            Self::Evicted => "evicted",
            Self::Superseded => "superseded",
        }
    }

    /// Whether a deadline passed, as opposed to an end that someone asked for.
    pub(crate) const fn is_deadline(self) -> bool {
        matches!(self, Self::Idle | Self::Absolute)
    }
}

/// Reads what [`EndReason::as_str`] writes.
impl FromStr for EndReason {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let all =
            [Self::Idle, Self::Absolute, Self::SignedOut, Self::Revoked, Self::Evicted, Self::Superseded];
        let unknown = || Error::new(ErrorKind::InvalidInput, "there is no such end reason");
        all.into_iter().find(|reason| reason.as_str() == text).ok_or_else(unknown)
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is left of a session that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// Why it ended.
    pub reason: EndReason,
    /// When it ended.
    pub at: Timestamp,
    /// When a sweep may remove the tombstone.
    pub forget_at: Timestamp,
    /// Which call ended it, as [`EndRequest::call`] says.
    pub call: CallId,
    /// The session that a login in the same browser put in its place.
    pub successor: Option<Successor>,
    /// Until when a login of the same user can take over its data; absent when there is nothing to take.
    pub work_until: Option<Timestamp>,
}

/// The session that a login put in the place of one that had ended, or ended with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Successor {
    /// Its id.
    pub sid: SessionId,
    /// The arrival of the login.
    pub at: Timestamp,
}

/// A session that is over, as the one who held it may know it: enough to say "signed out after 15 minutes of inactivity".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PastSession {
    /// Why it is over.
    pub reason: EndReason,
    /// Since when.
    pub ended_at: Timestamp,
    /// The idle lifetime that it had.
    pub idle_lifetime: Duration,
    /// The absolute lifetime that it had.
    pub absolute_lifetime: Duration,
}

/// Which call to a store ended a session: unique per call.
///
/// A call whose answer was lost is repeated under the same id. The store then answers as it would have the first time, so
/// that the end is reported exactly once (O2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallId(u64);

impl CallId {
    /// The id with this number. The middleware takes it from a random source.
    pub const fn new(id: u64) -> Self {
        Self(id)
    }

    /// The number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

/// A request to end a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndRequest {
    /// Why. A session that is past a deadline at `at` ends for the reason of that deadline instead.
    pub reason: EndReason,
    /// When.
    pub at: Timestamp,
    /// Which call this is.
    pub call: CallId,
    /// How long after the end the tombstone stays readable, at least.
    pub retention: Millis,
    /// The conditions and rare parts.
    pub options: EndOptions,
}

/// The conditions of an [`EndRequest`], and what seldom goes with one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndOptions {
    /// Only a session of this realm; another is unknown.
    pub if_realm: Option<Arc<str>>,
    /// Only if this secret proves the session; else it is unknown.
    pub if_secret: Option<SecretHash>,
    /// Only if the last recorded interaction is not later than this. A session that was judged over by time must not end
    /// over a request that recorded an interaction since.
    pub if_idle_since: Option<Timestamp>,
    /// A lowering of the policy that binds first.
    pub lowering: Option<Lowering>,
    /// The login that replaces the session.
    pub replaced_by: Option<Replacement>,
    /// How long the data of a session that ended by a deadline waits for its user.
    pub resume_for: Millis,
}

/// The login that takes the place of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The new session.
    pub sid: SessionId,
    /// Its subject. The data goes to the same subject only; that of an anonymous session goes to any.
    pub subject: Arc<str>,
    /// Whether the data is taken over at all.
    pub takes_data: bool,
    /// Only a session of that subject, or an anonymous one; another is left alone.
    pub same_subject_only: bool,
}

impl EndRequest {
    /// An unconditional end, whose tombstone stays for an hour.
    pub fn new(reason: EndReason, at: Timestamp, call: CallId) -> Self {
        let retention = Millis::new(3_600_000);
        Self { reason, at, call, retention, options: EndOptions::default() }
    }
}

/// What came of an [`EndRequest`].
#[derive(Clone, Debug, PartialEq)]
pub enum EndOutcome {
    /// It ended the session.
    Ended(EndedSession),
    /// The session had ended before.
    AlreadyEnded {
        /// What is left of it. Its reason stands.
        tombstone: Tombstone,
        /// The data that waited, now handed over to `replaced_by` and gone from the store.
        work: Option<Data>,
    },
    /// A condition did not hold: the session was used since, or belongs to another subject. Nothing was changed.
    Spared,
    /// There is no such session.
    Unknown,
}

/// A session at the moment of its end.
#[derive(Clone, Debug, PartialEq)]
pub struct EndedSession {
    /// Why it ended: the reason of the request, or the deadline that had passed by then.
    pub reason: EndReason,
    /// Whose it was.
    pub subject: Option<Arc<str>>,
    /// The realm it was of.
    pub realm: Arc<str>,
    /// Its data, if `replaced_by` takes it.
    pub data: Option<Data>,
}
