//! Counters and the latency histogram (SPEC O1, feature `metrics`), with a recorder that stores
//! what it receives.

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

/// The kind of a metric, its unit and its description.
type Description = (&'static str, Option<Unit>, String);

/// Counts the values of each name and labels, and stores each name's description.
#[derive(Default)]
struct Memory {
    seen: Seen,
    described: Mutex<BTreeMap<String, Description>>,
}

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
    fn describe(&self, kind: &'static str, name: &KeyName, unit: Option<Unit>, text: &str) {
        self.described.lock().unwrap().insert(name.as_str().to_owned(), (kind, unit, text.to_owned()));
    }

    fn tally(&self, key: &Key) -> Arc<Tally> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Arc::new(Tally(Arc::clone(&self.seen), format!("{}{{{}}}", key.name(), labels.join(","))))
    }
}

impl Recorder for Memory {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe("counter", &name, unit, &text);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe("gauge", &name, unit, &text);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe("histogram", &name, unit, &text);
    }

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
            browser.get("/me").await;
        });
    });
    let events = |labels: &str| format!("tower_tenure_events_total{{{labels}}}");
    let calls = |operation: &str| {
        format!("tower_tenure_store_seconds{{store=memory,operation={operation},outcome=ok}}")
    };
    let failed = "tower_tenure_store_seconds{store=memory,operation=load,outcome=error}".to_owned();
    let expected = [
        (calls("create"), 1),
        (calls("end"), 1),
        (calls("load"), 3),
        (failed, 1),
        // Read again because the manual clock has advanced. With the wall clock a background task
        // reads it.
        (calls("not_before"), 2),
        (calls("update"), 2),
        (events("event=authenticated"), 1),
        (events("event=created"), 1),
        (events("event=denied,reason=none"), 1),
        (events("event=ended,reason=signed_out"), 1),
        (events("event=extended"), 1),
        (events("event=rotated"), 1),
        (events("event=store_failed,operation=load"), 1),
    ];
    let seen = recorder.seen.lock().unwrap().clone();
    assert_eq!(seen, expected.into_iter().collect::<BTreeMap<_, _>>());
}

/// The labels that the documentation lists for each name.
const LABELS: [(&str, &str, &[&str]); 2] = [
    ("tower_tenure_events_total", "counter", &["event", "reason", "operation"]),
    ("tower_tenure_store_seconds", "histogram", &["store", "operation", "outcome"]),
];

#[test]
fn o1_what_is_emitted_is_described_and_what_is_described_is_emitted_with_the_documented_labels() {
    let recorder = Memory::default();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let store = Probe::remote(MemoryStore::new());
            let site = Site::over(SessionLayer::new(store.clone()), usual_routes(), |layer| layer);
            let browser = site.log_in("alice").await;
            browser.post("/rotate").await;
            let gate = store.hold(Operation::Load);
            browser.get("/me").await; // too late
            drop(gate);
            site.clock.advance(std::time::Duration::from_secs(2));
            let gate = store.hold(Operation::Load);
            let gone = browser.spawn(axum::http::Method::GET, "/me");
            gate.arrived().await;
            gone.abort(); // the client disconnected
            let _ = gone.await;
            store.fail(Operation::List, 1);
            site.sessions.list(None, None, 1).await.unwrap_err();
            site.clock.advance(std::time::Duration::from_secs(2));
            site.sessions.list(None, None, 1).await.unwrap();
            site.sessions.sweep(10).await.unwrap();
            site.sessions.revoke_all("alice", None).await.unwrap();
            browser.get("/me").await;
        });
    });
    let described = recorder.described.lock().unwrap().clone();
    let kinds: Vec<_> = described.iter().map(|(name, (kind, ..))| (&**name, *kind)).collect();
    assert_eq!(kinds, LABELS.map(|(name, kind, _)| (name, kind)));
    for (name, (_, unit, text)) in &described {
        assert!(unit.is_some() && text.len() > 20 && !text.ends_with('.'), "{name}: {text}");
    }
    let seen = recorder.seen.lock().unwrap().clone();
    for (name, _, labels) in LABELS {
        let of_name = |series: &&String| series.split('{').next() == Some(name);
        let series: Vec<_> = seen.keys().filter(of_name).collect();
        for label in labels {
            assert!(series.iter().any(|series| series.contains(&format!("{label}="))), "{name} has {label}");
        }
        for pair in series.iter().flat_map(|series| series.trim_end_matches('}').split(['{', ',']).skip(1)) {
            assert!(labels.contains(&pair.split('=').next().unwrap()), "{name}: {pair} is documented");
        }
        let of_others =
            seen.keys().filter(|series| !LABELS.iter().any(|(name, ..)| series.starts_with(name)));
        assert_eq!(of_others.count(), 0, "{seen:?}");
    }
    for outcome in ["ok", "error", "timeout", "cancelled"] {
        assert!(
            seen.keys().any(|series| series.contains(&format!("outcome={outcome}"))),
            "{outcome}: {seen:?}"
        );
    }
}

#[test]
fn o1_a_memory_store_is_timed_as_well_but_for_what_takes_less_than_the_clock() {
    let recorder = Memory::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let site = Site::new();
            site.log_in("alice").await.get("/me").await;
        });
    });
    let seen = recorder.seen.lock().unwrap().clone();
    let calls = |operation: &str| {
        let series = format!("tower_tenure_store_seconds{{store=memory,operation={operation},outcome=ok}}");
        seen.get(&series).copied()
    };
    assert_eq!((calls("create"), calls("load"), calls("update")), (Some(1), None, None), "{seen:?}");
}
