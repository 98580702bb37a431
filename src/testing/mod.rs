//! Tools for tests of applications and of stores (feature `testing`).

mod clock;
pub mod conformance;
mod probe;

pub use self::{
    clock::ManualClock,
    probe::{Gate, Probe},
};

use crate::{
    Error, SessionId, Sessions,
    record::{Facts, Record, SecretHash, Timing},
};

/// The live sessions of a user or of all, as the store keeps them, for tests that look at records.
/// Applications use [`Sessions::list`].
///
/// # Errors
///
/// When the store fails.
pub async fn records(sessions: &Sessions, subject: Option<&str>, limit: usize) -> Result<Vec<Record>, Error> {
    Ok(sessions.records(subject, None, limit).await?.sessions)
}

/// A record with this timing and otherwise default values, for tests of the policy and of stores.
///
/// It is anonymous, in the realm of the default cookie, and was admitted when it was created.
pub fn record(timing: Timing) -> Record {
    let secret = SecretHash::from_bytes([7; 32]);
    Record::new(SessionId::from_bytes([7; 16]), &"__Host-id".into(), secret, timing, Facts::default())
}
