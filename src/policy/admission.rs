//! How many live sessions a subject may have.

use std::{num::NonZeroU32, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    Error, ErrorKind, Timestamp,
    record::{Record, SessionId},
};

/// A cap on a subject's live sessions (SPEC S9).
///
/// # Example
///
/// ```
/// use tower_tenure::{Policy, policy::{Cap, Overflow}};
///
/// let policy = Policy::default().with_cap(Some(Cap::new(3.try_into()?, Overflow::Evict)));
/// # Ok::<(), std::num::TryFromIntError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cap {
    most: NonZeroU32,
    overflow: Overflow,
}

/// What happens to a login that would go over the cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// The least recently active session ends, and its user is told `evicted`.
    Evict,
    /// The login is refused.
    Refuse,
}

impl Overflow {
    /// `evict` or `refuse`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Evict => "evict",
            Self::Refuse => "refuse",
        }
    }
}

/// Reads what [`Overflow::as_str`] writes.
impl FromStr for Overflow {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let unknown = || Error::new(ErrorKind::InvalidInput, "over the cap comes `evict` or `refuse`");
        [Self::Evict, Self::Refuse].into_iter().find(|overflow| overflow.as_str() == text).ok_or_else(unknown)
    }
}

impl Cap {
    /// At most this many live sessions.
    pub const fn new(most: NonZeroU32, overflow: Overflow) -> Self {
        Self { most, overflow }
    }

    /// The number.
    pub const fn most(&self) -> NonZeroU32 {
        self.most
    }

    /// What happens over it.
    pub const fn overflow(&self) -> Overflow {
        self.overflow
    }
}

/// What a cap says to a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may go ahead once these have been ended as [`Evicted`](crate::record::EndReason::Evicted).
    Admit(Vec<SessionId>),
    /// It is refused.
    Refuse,
}

/// Judges a login by the records of its subject (SPEC S9). Those that are over do not count, nor does the one that the
/// login replaces. More than one is evicted when the cap was lowered since.
///
/// The store calls this while no other login of the subject can come between.
pub fn admit<'a>(
    cap: Option<Cap>,
    records: impl IntoIterator<Item = &'a Record>,
    replaced: Option<SessionId>,
    now: Timestamp,
) -> Admission {
    let Some(cap) = cap else { return Admission::Admit(Vec::new()) };
    let counts = |record: &&Record| record.is_live(now) && Some(record.sid) != replaced;
    let by_activity =
        |record: &Record| (record.timing.last_interaction_at, record.timing.created_at, record.sid);
    let mut live: Vec<_> = records.into_iter().filter(counts).map(by_activity).collect();

    let most = usize::try_from(cap.most.get()).unwrap_or(usize::MAX);
    let over = (live.len() + 1).saturating_sub(most);
    if over == 0 {
        return Admission::Admit(Vec::new());
    }
    match cap.overflow {
        Overflow::Refuse => Admission::Refuse,
        Overflow::Evict => {
            live.sort_unstable();
            Admission::Admit(live.into_iter().take(over).map(|(.., sid)| sid).collect())
        }
    }
}
