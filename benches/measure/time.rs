//! Time, measured by criterion.

use std::{cell::RefCell, fs, path::Path, time::Duration};

use criterion::{BatchSize, Criterion};

use crate::scenarios::{Scenario, Stack, Visit};

/// Nanoseconds of one request: the median from criterion's report.
pub(crate) fn each(stack: Stack, visit: Visit) -> Option<f64> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("overhead");
    let seconds = std::env::var("BENCH_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(0.5);
    let criterion = Criterion::default()
        .output_directory(&directory)
        .without_plots()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs_f64(seconds));
    let plain = |name: &str| name.replace(|c: char| !c.is_alphanumeric(), "-");
    let (group, name) = (plain(visit.name()), plain(stack.name()));

    bench(criterion, &group, &name, stack, visit);

    let estimates = fs::read(directory.join(group).join(name).join("new/estimates.json")).ok()?;
    let estimates: serde_json::Value = serde_json::from_slice(&estimates).ok()?;
    estimates["median"]["point_estimate"].as_f64()
}

fn bench(mut criterion: Criterion, group: &str, name: &str, stack: Stack, visit: Visit) {
    let mut scenario = Scenario::new(stack, visit);
    let mut group = criterion.benchmark_group(group);
    group.bench_function(name, |bencher| {
        // In batches, so that the time excludes building the requests. Both closures need the
        // scenario, one after the other.
        let scenario = RefCell::new(&mut scenario);
        bencher.iter_batched(
            || scenario.borrow_mut().request(),
            |request| drop(scenario.borrow_mut().serve(request)),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}
