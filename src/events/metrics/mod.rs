//! Counters and a latency histogram, through the `metrics` facade (feature `metrics`, O1).
//!
//! The documentation of `events` lists them with their labels.

use std::array;

use metrics::{Key, Label, Level, Metadata, Unit};

use crate::{
    events::{CallOutcome, EventKind, Operation},
    time::Stopwatch,
};

const EVENTS: &str = "tower_tenure_events_total";
const STORE: &str = "tower_tenure_store_seconds";

/// Describes the metrics to the recorder that is installed: the `HELP` lines of Prometheus.
///
/// A new [`SessionLayer`](crate::SessionLayer) does it. Call it yourself if you install the
/// recorder after you made the layer.
///
/// # Example
///
/// ```
/// use tower_tenure::{MemoryStore, SessionLayer, events::describe_metrics};
///
/// let layer = SessionLayer::new(MemoryStore::new());
/// // … install the recorder …
/// describe_metrics();
/// ```
pub fn describe_metrics() {
    metrics::describe_counter!(
        EVENTS,
        Unit::Count,
        "Session events by `event`, with the `reason` of an end or a denial and the `operation` at which an outage of the store began"
    );
    metrics::describe_histogram!(
        STORE,
        Unit::Seconds,
        "Time that calls to the session store took, by `store`, `operation` and `outcome`"
    );
}

/// Counts an event. Not interactions, whose events are sampled: [`extended`] counts each.
pub(crate) fn event(kind: &EventKind<'_>) {
    let name = kind.as_str();
    let counter = match kind {
        EventKind::Extended => return,
        // As in `extended`: with both, a login is 800 instructions and two allocations shorter.
        EventKind::Created => metrics::counter!("tower_tenure_events_total", "event" => "created"),
        EventKind::Authenticated => {
            metrics::counter!("tower_tenure_events_total", "event" => "authenticated")
        }
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

/// The series of one store: made once, so that a call allocates nothing to find its own.
#[derive(Debug)]
pub(crate) struct StoreTimers([[Key; CallOutcome::ALL.len()]; Operation::ALL.len()]);

impl StoreTimers {
    pub(crate) fn new(store: &'static str) -> Self {
        let key = |operation: Operation, outcome: CallOutcome| {
            let labels = [("store", store), ("operation", operation.as_str()), ("outcome", outcome.as_str())];
            let labels = labels.map(|(name, value)| Label::from_static_parts(name, value));
            Key::from_parts(STORE, labels.to_vec())
        };
        Self(array::from_fn(|operation| {
            array::from_fn(|outcome| key(Operation::ALL[operation], CallOutcome::ALL[outcome]))
        }))
    }

    /// Starts to measure a call.
    pub(crate) fn start(&self, operation: Operation) -> StoreTimer<'_> {
        let outcome = CallOutcome::Cancelled;
        StoreTimer { series: &self.0[operation as usize], operation, outcome, stopwatch: Stopwatch::start() }
    }
}

/// Measures a call to the store. Dropped, it records a call that was cancelled.
#[derive(Debug)]
pub(crate) struct StoreTimer<'a> {
    series: &'a [Key; CallOutcome::ALL.len()],
    operation: Operation,
    outcome: CallOutcome,
    stopwatch: Stopwatch,
}

impl StoreTimer<'_> {
    pub(crate) const fn operation(&self) -> Operation {
        self.operation
    }

    pub(crate) fn stop(mut self, outcome: CallOutcome) {
        self.outcome = outcome;
    }
}

static METADATA: Metadata<'static> = Metadata::new("tower_tenure", Level::INFO, Some("tower_tenure"));

impl Drop for StoreTimer<'_> {
    fn drop(&mut self) {
        let key = &self.series[self.outcome as usize];
        let histogram = metrics::with_recorder(|recorder| recorder.register_histogram(key, &METADATA));
        histogram.record(self.stopwatch.elapsed());
    }
}
