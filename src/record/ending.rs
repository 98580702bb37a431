//! How a session ends, and why.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize, Serializer};

use super::{Data, Lowering, Millis, SecretHash, SessionId};
use crate::{Error, ErrorKind, Timestamp};

/// Why a session is over. As text: [`EndReason::as_str`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EndReason {
    /// Its idle deadline passed.
    Idle,
    /// Its absolute deadline passed, perhaps at the same moment as the idle one.
    Absolute,
    /// Its user logged out.
    SignedOut,
    /// An administrator, the user from another device, or a login hook ended it.
    Revoked,
    /// A later login of the same subject went over the cap.
    Evicted,
    /// A newer login in the same browser replaced it.
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

    /// Whether a deadline passed, as opposed to an explicit end.
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
        let unknown = || Error::new(ErrorKind::InvalidInput, "an unknown end reason");
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
    /// The id of the call that ended it; see [`EndRequest::call`].
    pub call: CallId,
    /// The session that a login in the same browser put in its place.
    pub successor: Option<Successor>,
    /// Until when a login of the same user can take over its data; `None` when no data waits.
    pub work_until: Option<Timestamp>,
}

/// The session that took the place of one that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Successor {
    /// Its id.
    pub sid: SessionId,
    /// The arrival of the request that created it.
    pub at: Timestamp,
}

/// What the holder of a session may learn once it is over: enough to say "signed out after 15
/// minutes of inactivity".
///
/// As JSON the lifetimes are whole seconds, `idle_lifetime_seconds` and
/// `absolute_lifetime_seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PastSession {
    /// Why it is over.
    pub reason: EndReason,
    /// Since when it is over.
    pub ended_at: Timestamp,
    /// The idle lifetime that it had.
    #[serde(rename = "idle_lifetime_seconds", serialize_with = "as_seconds")]
    pub idle_lifetime: Duration,
    /// The absolute lifetime that it had.
    #[serde(rename = "absolute_lifetime_seconds", serialize_with = "as_seconds")]
    pub absolute_lifetime: Duration,
}

fn as_seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(time.as_secs())
}

/// The unique id of a call that ends a session.
///
/// A call whose answer was lost is repeated under the same id. The store then answers as the first
/// time, so that the end is reported exactly once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallId(u64);

impl CallId {
    /// The id with this number. The middleware uses random numbers.
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
    /// The reason. A session that is past a deadline at `at` ends for that deadline instead.
    pub reason: EndReason,
    /// The moment of the end, unless a deadline came before.
    pub at: Timestamp,
    /// The id of this call.
    pub call: CallId,
    /// How long the tombstone stays readable after the end, at least.
    pub retention: Millis,
    /// Conditions and optional parts.
    pub options: EndOptions,
}

/// The conditions and optional parts of an [`EndRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndOptions {
    /// Only if the session is of this realm; else the outcome is [`Unknown`](EndOutcome::Unknown).
    pub if_realm: Option<Arc<str>>,
    /// Only if this secret proves the session; else the outcome is
    /// [`Unknown`](EndOutcome::Unknown).
    pub if_secret: Option<SecretHash>,
    /// Only if no interaction after this was recorded; else the outcome is
    /// [`Spared`](EndOutcome::Spared). So a session that seemed expired does not end when a request
    /// has extended it meanwhile.
    pub if_idle_since: Option<Timestamp>,
    /// A lowering of the policy that applies first.
    pub lowering: Option<Lowering>,
    /// The login that replaces the session.
    pub replaced_by: Option<Replacement>,
    /// How long the data of a session that timed out waits for its user.
    pub resume_for: Millis,
}

/// The login that replaces a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The new session.
    pub sid: SessionId,
    /// Its subject. Data of an anonymous session goes to any subject, other data to the same
    /// subject only.
    pub subject: Arc<str>,
    /// Whether the login takes over the data.
    pub takes_data: bool,
    /// End only a session of that subject or an anonymous one, and spare others.
    pub same_subject_only: bool,
}

impl EndRequest {
    /// An unconditional end, whose tombstone stays for an hour.
    pub fn new(reason: EndReason, at: Timestamp, call: CallId) -> Self {
        let retention = Millis::new(3_600_000);
        Self { reason, at, call, retention, options: EndOptions::default() }
    }
}

/// The outcome of an [`EndRequest`].
#[derive(Clone, Debug, PartialEq)]
pub enum EndOutcome {
    /// This call ended the session.
    Ended(EndedSession),
    /// The session had ended before.
    AlreadyEnded {
        /// Its tombstone; the reason does not change.
        tombstone: Tombstone,
        /// The data that waited: handed over to `replaced_by`, and no longer in the store.
        work: Option<Data>,
    },
    /// The session was used meanwhile, or belongs to another subject. Nothing was changed.
    Spared,
    /// There is no such session.
    Unknown,
}

/// A session at the moment of its end.
#[derive(Clone, Debug, PartialEq)]
pub struct EndedSession {
    /// Why it ended: the reason of the request, or the deadline that had passed before.
    pub reason: EndReason,
    /// Its subject.
    pub subject: Option<Arc<str>>,
    /// Its realm.
    pub realm: Arc<str>,
    /// Its data, if `replaced_by` takes it.
    pub data: Option<Data>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s8_a_reason_is_read_back_from_what_is_written() {
        use EndReason::{Absolute, Evicted, Idle, Revoked, SignedOut, Superseded};
        for reason in [Idle, Absolute, SignedOut, Revoked, Evicted, Superseded] {
            assert_eq!(reason.as_str().parse::<EndReason>().unwrap(), reason);
        }
        assert!("none".parse::<EndReason>().is_err());
        assert_eq!(CallId::new(7).as_u64(), 7);
    }

    #[test]
    fn e3_a_tombstone_stays_for_an_hour_unless_asked_otherwise() {
        let request = EndRequest::new(EndReason::SignedOut, Timestamp::UNIX_EPOCH, CallId::new(1));
        assert_eq!(request.retention.as_duration(), Duration::from_secs(3600));
    }
}
