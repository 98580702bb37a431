//! Allocations, counted by the global allocator of `allocation-counter` for the thread that serves.

use std::convert::identity;

use allocation_counter::measure;

use crate::scenarios::{Scenario, Stack, Visit};

/// Allocations and bytes of one request, without those for building it.
pub(crate) fn each(stack: Stack, visit: Visit) -> (f64, f64) {
    const REQUESTS: u32 = 500;
    let mut scenario = Scenario::new(stack, visit);
    let requests = scenario.requests(identity(REQUESTS) as usize);
    let info = measure(|| requests.into_iter().for_each(|request| drop(scenario.serve(request))));
    let each = |total: u64| f64::from(u32::try_from(total).expect("few enough")) / f64::from(REQUESTS);
    (each(info.count_total), each(info.bytes_total))
}

/// The bytes that this many requests leave allocated at the end. Exact, because building and
/// dropping them is included.
pub(crate) fn left_by(scenario: &mut Scenario, requests: u64) -> i64 {
    let info = measure(|| (0..requests).for_each(|_| drop(scenario.visit())));
    assert!(info.count_total > 0, "the allocator counts");
    info.bytes_current
}
