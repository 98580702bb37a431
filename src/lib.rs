//! wip
mod clock;
mod error;
pub mod policy;
pub mod record;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod timestamp;
pub use crate::{
    clock::{Clock, SystemClock},
    error::{Error, ErrorKind},
    policy::Policy,
    record::{EndReason, Lifetimes, Mode, SessionId},
    store::{MemoryStore, SessionStore},
    timestamp::Timestamp,
};
