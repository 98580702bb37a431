//! How many live sessions a subject may have.

use std::{num::NonZeroU32, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use super::Policy;
use crate::{
    Error, ErrorKind, Timestamp,
    record::{EndReason, Lowering, Record, SessionId, Timing},
};

/// A cap on the live sessions of a subject; see [S9](crate::rules#s9).
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
#[non_exhaustive]
pub enum Overflow {
    /// The least recently active session ends, for the reason `evicted`.
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
        let unknown = || Error::new(ErrorKind::InvalidInput, "an unknown overflow: use `evict` or `refuse`");
        [Self::Evict, Self::Refuse].into_iter().find(|overflow| overflow.as_str() == text).ok_or_else(unknown)
    }
}

/// A thousand, evicting: more than a person needs, and too few to fill a store from one account.
impl Default for Cap {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Cap {
    /// At most 1,000 live sessions; the least recently active is evicted.
    pub const DEFAULT: Self = Self { most: NonZeroU32::new(1000).unwrap(), overflow: Overflow::Evict };

    /// At most this many live sessions.
    pub const fn new(most: NonZeroU32, overflow: Overflow) -> Self {
        Self { most, overflow }
    }

    /// How many live sessions are allowed.
    pub const fn most(&self) -> NonZeroU32 {
        self.most
    }

    /// What happens to a login over the cap.
    pub const fn overflow(&self) -> Overflow {
        self.overflow
    }
}

/// The verdict on a login at a full cap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The login proceeds once these sessions are ended: some are over already, others are evicted.
    Admit(Vec<Departure>),
    /// The login is refused. These sessions are over anyway, and are ended.
    Refuse(Vec<Departure>),
}

/// A session that must end before a login fits under a cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Departure {
    /// The session.
    pub sid: SessionId,
    /// The reason: evicted, or the deadline that passed.
    pub reason: EndReason,
    /// The last interaction that the verdict is based on.
    pub last_interaction_at: Timestamp,
    /// A lowering of the policy that applies first.
    pub lowering: Option<Lowering>,
}

/// How long a session counts under [`Overflow::Refuse`] before its cookie has come back: 60
/// seconds. So a login whose response was lost does not lock its user out.
pub const UNCONFIRMED: Duration = Duration::from_secs(60);

/// Judges a login at a full cap.
///
/// `count` is how many sessions of the subject have not ended. `sessions` are those, or some of
/// them when there are very many. The session that the login replaces is not among them.
///
/// Sessions that are over by a deadline, a lowering or a revocation depart first. Then, if the cap
/// evicts, the least recently active ones: more than one if the cap was lowered.
pub fn admit<'a>(
    cap: Cap,
    count: usize,
    sessions: impl IntoIterator<Item = &'a Record>,
    policy: &Policy,
    now: Timestamp,
) -> Admission {
    let refuses = cap.overflow == Overflow::Refuse;
    let unconfirmed =
        |record: &Record| refuses && !record.confirmed && now.since(record.timing.created_at) > UNCONFIRMED;
    let mut departures = Vec::new();
    let mut live = Vec::new();
    for record in sessions {
        let Timing { last_interaction_at, created_at, .. } = record.timing;
        let lowering = policy.lowering(&record.timing);
        let departure = |reason| Departure { sid: record.sid, reason, last_interaction_at, lowering };
        match record.end_reason_under(policy, now) {
            Some(reason) => departures.push(departure(reason)),
            None if unconfirmed(record) => departures.push(departure(EndReason::Evicted)),
            None => live.push((last_interaction_at, created_at, departure(EndReason::Evicted))),
        }
    }
    let most = usize::try_from(cap.most.get()).unwrap_or(usize::MAX);
    let over = (count + 1).saturating_sub(most).saturating_sub(departures.len());
    if over == 0 {
        return Admission::Admit(departures);
    }
    if refuses {
        return Admission::Refuse(departures);
    }
    live.sort_unstable_by_key(|(active, created, departure)| (*active, *created, departure.sid));
    departures.extend(live.into_iter().take(over).map(|(.., departure)| departure));
    Admission::Admit(departures)
}
