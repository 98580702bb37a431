//! `examples/observability.rs` as an operator sees it: the metrics of a login and a refusal, JSON
//! logs, readiness.

use std::{
    io::{BufRead, BufReader},
    process::Command,
};

use serde_json::Value;

use crate::common::{
    client::Browser,
    demo::{self, Running},
};

#[test]
fn o1_the_example_serves_metrics_with_help_and_logs_events_as_json() {
    let mut command = Command::new(demo::built("observability"));
    command.arg("127.0.0.1:0").env("RUST_LOG", "info,tower_tenure=debug");
    let mut example = Running::spawn(&mut command);
    let mut log = BufReader::new(example.stdout.take().unwrap()).lines();
    let mut line = move || -> Value { serde_json::from_str(&log.next().unwrap().unwrap()).unwrap() };
    let address = line()["address"].as_str().unwrap().parse().unwrap();

    let mut browser = Browser::at(address);
    assert_eq!(browser.get("/account").status, 401);
    assert_eq!(browser.post("/login/alice").status, 200);
    assert_eq!(browser.get("/account").body, "hello alice\n");
    assert_eq!(browser.get("/ready").status, 204);
    assert_eq!(browser.get("/live").status, 204);

    let metrics = browser.get("/metrics").body;
    for expected in [
        "# HELP tower_tenure_events_total Session events by `event`",
        "# TYPE tower_tenure_events_total counter",
        "tower_tenure_events_total{event=\"authenticated\"} 1",
        "tower_tenure_events_total{event=\"denied\",reason=\"none\"} 1",
        "# HELP tower_tenure_store_seconds Time that calls to the session store took",
        "# TYPE tower_tenure_store_seconds histogram",
        "tower_tenure_store_seconds_count{store=\"memory\",operation=\"create\",outcome=\"ok\"} 1",
    ] {
        assert!(metrics.contains(expected), "{expected} in:\n{metrics}");
    }

    let events: Vec<_> = (0..3).map(|_| line()).collect();
    let logged: Vec<_> = events
        .iter()
        .map(|event| (event["level"].as_str().unwrap(), event["message"].as_str().unwrap()))
        .collect();
    assert_eq!(
        logged,
        [("DEBUG", "session.denied"), ("INFO", "session.created"), ("INFO", "session.authenticated")]
    );
    assert_eq!((&events[0]["target"], &events[0]["reason"]), (&"tower_tenure".into(), &"none".into()));
    assert_eq!(events[1]["sid"].as_str().unwrap().len(), 22);
}

/// The dashboard queries only metrics that the crate exports, and each panel says how to react.
#[test]
fn o1_the_dashboard_for_grafana_asks_for_metrics_labels_and_events_that_there_are() {
    let dashboard: Value = serde_json::from_str(include_str!("../../examples/grafana.json")).unwrap();
    let documented =
        concat!(include_str!("../../src/events/mod.rs"), include_str!("../../src/events/operation.rs"));
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let asked: Vec<_> = targets.map(|target| target["expr"].as_str().unwrap()).collect();
    assert!(asked.len() > 10, "{asked:?}");
    let is_word = |char: char| char.is_ascii_alphanumeric() || char == '_';
    for query in asked {
        let metrics: Vec<_> =
            query.split(|char| !is_word(char)).filter(|word| word.starts_with("tower_tenure_")).collect();
        let [metric] = metrics[..] else { panic!("{query}") };
        let metric = ["_bucket", "_count"].iter().find_map(|end| metric.strip_suffix(end)).unwrap_or(metric);
        assert!(documented.contains(&format!("//! | `{metric}` | ")), "{query}");
        for quoted in query.split('"').skip(1).step_by(2) {
            let (as_kind, in_docs) = (format!("=> \"{quoted}\""), format!("and `{quoted}` |"));
            assert!(documented.contains(&as_kind) || documented.contains(&in_docs), "{quoted} in {query}");
        }
        for group in query.split("by (").skip(1) {
            for label in group.split(')').next().unwrap().split(", ").filter(|label| *label != "le") {
                assert!(documented.contains(&format!("| `{label}` | ")), "{label} in {query}");
            }
        }
    }
}
