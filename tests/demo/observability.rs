//! `examples/observability.rs` as an operator sees it: the metrics of a login and a refusal, JSON logs, readiness.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::common::{client::Browser, demo};

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn o1_the_example_serves_metrics_with_help_and_logs_events_as_json() {
    let mut command = Command::new(demo::built("observability"));
    command.arg("127.0.0.1:0").env("RUST_LOG", "info,tower_tenure=debug").stdout(Stdio::piped());
    let mut example = Running(command.spawn().unwrap());
    let mut log = BufReader::new(example.0.stdout.take().unwrap()).lines();
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
    let told: Vec<_> = events
        .iter()
        .map(|event| (event["level"].as_str().unwrap(), event["message"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [("DEBUG", "session.denied"), ("INFO", "session.created"), ("INFO", "session.authenticated")]
    );
    assert_eq!((&events[0]["target"], &events[0]["reason"]), (&"tower_tenure".into(), &"none".into()));
    assert_eq!(events[1]["sid"].as_str().unwrap().len(), 22);
}
