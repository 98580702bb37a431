//! The same requests on one thread and on two.

use std::{convert::identity, time::Instant};

use axum::{Router, body::Body};
use http::Request;
use http_body_util::BodyExt;
use rustix::time::ClockId;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tower::{Service, ServiceExt};

use crate::{
    cpu::{median, now},
    scenarios::{Scenario, Stack, Visit},
};

/// Concurrent tasks, like connections of a server.
const TASKS: usize = 8;

/// Requests of a task in a round.
const REQUESTS: usize = 500;

/// A task yields after this many requests, because a store in memory never waits.
const TURN: usize = 32;

/// A row for each stack: requests a second and CPU time of one request, with one worker and with
/// two.
pub(crate) fn compare(visit: Visit, is_quick: bool) -> Vec<Value> {
    let rounds = if is_quick { 1 } else { 31 };
    let stacks: Vec<_> = Stack::ALL.into_iter().filter(|stack| stack.serves(visit)).collect();
    let runtimes = [1, 2].map(|workers| {
        Builder::new_multi_thread().worker_threads(identity(workers)).enable_all().build().expect("a runtime")
    });
    let mut scenarios: Vec<_> = stacks.iter().map(|stack| Scenario::for_long(*stack, visit)).collect();
    let mut rates = vec![[Vec::new(), Vec::new()]; stacks.len()];
    let mut times = rates.clone();
    for round in 0..rounds {
        for which in (0..stacks.len()).map(|which| (which + round) % stacks.len()) {
            for (at, runtime) in runtimes.iter().enumerate() {
                let (rate, time) = serve(runtime, &mut scenarios[which]);
                rates[which][at].push(rate);
                times[which][at].push(time);
            }
        }
    }
    let row = |which: usize| {
        let [one, two] = &rates[which];
        let scaling = median(std::iter::zip(one, two).map(|(one, two)| two / one).collect());
        let row = json!({
            "kind": "threads",
            "request": visit.name(),
            "stack": stacks[which].name(),
            "rates": rates[which].clone().map(median),
            "cpu_ns": times[which].clone().map(median),
            "scaling": scaling,
        });
        eprintln!("{row}");
        row
    };
    (0..stacks.len()).map(row).collect()
}

/// Requests a second, and nanoseconds of CPU time of one request.
fn serve(runtime: &Runtime, scenario: &mut Scenario) -> (f64, f64) {
    let built: Vec<_> = (0..TASKS).map(|_| scenario.requests(REQUESTS)).collect();
    let router = scenario.router();
    runtime.block_on(async {
        let (begun, cpu) = (Instant::now(), now(ClockId::ProcessCPUTime));
        let tasks: Vec<_> =
            built.into_iter().map(|built| tokio::spawn(task(router.clone(), built))).collect();
        for task in tasks {
            task.await.expect("no task fails");
        }
        let requests = (TASKS * REQUESTS) as f64;
        (requests / begun.elapsed().as_secs_f64(), (now(ClockId::ProcessCPUTime) - cpu) / requests)
    })
}

async fn task(mut router: Router, requests: Vec<Request<Body>>) {
    for (number, request) in requests.into_iter().enumerate() {
        let Ok(service) = ServiceExt::<Request<Body>>::ready(&mut router).await;
        let Ok(response) = service.call(request).await;
        assert!(response.status().is_success());
        let mut body = response.into_body();
        while body.frame().await.is_some() {}
        if number % TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
}
