//! Counters and a latency histogram, through the `metrics` facade (feature `metrics`, O1).
//!
//! | name | kind | labels |
//! |---|---|---|
//! | `tower_tenure_events_total` | counter | `event`: as in [`events`](crate::events); `reason` of an end, of a request that was denied, of a proof that was refused, or of a refresh that was skipped; `operation` of a failure |
//! | `tower_tenure_store_seconds` | histogram | `operation` |

use crate::{
    events::{EventKind, Operation},
    time::Stopwatch,
};

const EVENTS: &str = "tower_tenure_events_total";
const STORE: &str = "tower_tenure_store_seconds";

/// Counts an event. Not interactions, whose events are sampled: [`extended`] counts each.
pub(crate) fn event(kind: &EventKind<'_>) {
    let name = kind.as_str();
    let counter = match kind {
        EventKind::Extended => return,
        EventKind::Ended(reason) => metrics::counter!(EVENTS, "event" => name, "reason" => reason.as_str()),
        EventKind::StoreFailed { operation, .. } => {
            metrics::counter!(EVENTS, "event" => name, "operation" => operation.as_str())
        }
        EventKind::ProofRefused { reason } | EventKind::RefreshSkipped { reason } => {
            metrics::counter!(EVENTS, "event" => name, "reason" => *reason)
        }
        _ => metrics::counter!(EVENTS, "event" => name),
    };
    counter.increment(1);
}

/// Counts a recorded interaction.
pub(crate) fn extended() {
    // The name as a literal, so that the key and its hash are made once: it is counted in most
    // requests.
    metrics::counter!("tower_tenure_events_total", "event" => "extended").increment(1);
}

/// Counts a request that was not let through.
pub(crate) fn denied(reason: &'static str) {
    metrics::counter!(EVENTS, "event" => "denied", "reason" => reason).increment(1);
}

/// Measures a call to the store.
#[derive(Debug)]
pub(crate) struct StoreTimer(Operation, Stopwatch);

impl StoreTimer {
    pub(crate) fn start(operation: Operation) -> Self {
        Self(operation, Stopwatch::start())
    }
}

/// Also records a call that was cancelled, up to that moment.
impl Drop for StoreTimer {
    fn drop(&mut self) {
        metrics::histogram!(STORE, "operation" => self.0.as_str()).record(self.1.elapsed());
    }
}
