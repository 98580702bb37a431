//! How a session ends, and why.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

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

/// What a tombstone knows (SPEC E3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Why.
    pub reason: EndReason,
    /// When.
    pub at: Timestamp,
}

/// A session that is over, as the one who held it may know it: enough to say "signed out after 15 minutes of inactivity"
/// (SPEC E3).
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

/// An order to end a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Why.
    pub reason: EndReason,
    /// When.
    pub at: Timestamp,
    /// Only if the last recorded interaction is not later than this: a session found idle must not be ended over a
    /// request that was quicker to record that it is in use.
    pub if_idle_since: Option<Timestamp>,
}

impl End {
    /// An unconditional end.
    pub const fn new(reason: EndReason, at: Timestamp) -> Self {
        Self { reason, at, if_idle_since: None }
    }
}

/// What came of an [`End`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It ended the session, for this reason: the order's, or the deadline that had passed by then.
    Done(EndReason),
    /// The session had ended before, for this reason, which stands.
    Already(EndReason),
    /// The condition did not hold: the session was used meanwhile.
    StillInUse,
    /// There is no such session.
    Unknown,
}
