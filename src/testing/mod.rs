//! Tools for tests of applications and of stores (feature `testing`).

mod clock;
pub mod conformance;
mod probe;

pub use self::{
    clock::ManualClock,
    probe::{Gate, Probe},
};

use std::sync::Arc;

use crate::{
    SessionId,
    record::{Data, Facts, Record, SecretHash, Timing},
};

/// A record with this timing and otherwise default values, for tests of the policy and of stores.
///
/// It is anonymous, in the realm of the default cookie, and was admitted when it was created.
pub fn record(timing: Timing) -> Record {
    Record {
        sid: SessionId::from_bytes([7; 16]),
        realm: "__Host-id".into(),
        secret: SecretHash::from_bytes([7; 32]),
        previous_secret: None,
        timing,
        updated_at: timing.created_at,
        subject: None,
        epoch: 0,
        admitted_at: timing.created_at,
        confirmed: false,
        data: Data::default(),
        revision: 0,
        facts: Arc::new(Facts::default()),
        ended: None,
        revoked_at: None,
        version: 0,
    }
}
