//! Counters and the latency histogram (SPEC O1, feature `metrics`), by a recorder that only remembers.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use tower_tenure::{MemoryStore, SessionLayer, events::Operation, testing::Probe};

use crate::common::{Site, usual_routes};

type Seen = Arc<Mutex<BTreeMap<String, u64>>>;

/// Counts what is recorded under each name with its labels.
#[derive(Default)]
struct Memory(Seen);

struct Tally(Seen, String);

impl Tally {
    fn add(&self, value: u64) {
        *self.0.lock().unwrap().entry(self.1.clone()).or_default() += value;
    }
}

impl CounterFn for Tally {
    fn increment(&self, value: u64) {
        self.add(value);
    }

    fn absolute(&self, _: u64) {
        unreachable!("nothing here is set")
    }
}

impl HistogramFn for Tally {
    fn record(&self, seconds: f64) {
        assert!((0.0..10.0).contains(&seconds), "{seconds} s");
        self.add(1);
    }
}

impl Memory {
    fn tally(&self, key: &Key) -> Arc<Tally> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Arc::new(Tally(Arc::clone(&self.0), format!("{}{{{}}}", key.name(), labels.join(","))))
    }
}

impl Recorder for Memory {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.tally(key))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        unreachable!("there are no gauges")
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.tally(key))
    }
}

#[test]
fn o1_events_are_counted_by_name_and_reason_and_store_calls_are_timed_by_operation() {
    let recorder = Memory::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let store = Probe::remote(MemoryStore::new());
            let site = Site::over(SessionLayer::new(store.clone()), usual_routes(), |layer| layer);
            let browser = site.browser();
            browser.post("/login/alice").await;
            site.clock.advance(std::time::Duration::from_secs(3600));
            browser.get("/me").await;
            browser.post("/rotate").await;
            store.fail(Operation::Load, 1);
            browser.get("/me").await;
            browser.post("/logout").await;
        });
    });
    let events = |labels: &str| format!("tower_tenure_events_total{{{labels}}}");
    let calls = |operation: &str| format!("tower_tenure_store_seconds{{operation={operation}}}");
    let expected = [
        (calls("create"), 1),
        (calls("end"), 1),
        (calls("load"), 4),
        // When the clock has moved on; by the wall clock it is asked for in the background.
        (calls("not_before"), 2),
        (calls("update"), 2),
        (events("event=authenticated"), 1),
        (events("event=created"), 1),
        (events("event=ended,reason=signed_out"), 1),
        (events("event=extended"), 1),
        (events("event=rotated"), 1),
        (events("event=store_failed,operation=load"), 1),
    ];
    let seen = recorder.0.lock().unwrap().clone();
    assert_eq!(seen, expected.into_iter().collect::<BTreeMap<_, _>>());
}
