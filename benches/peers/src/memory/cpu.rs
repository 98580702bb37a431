//! CPU time of requests. The stacks take turns.

use rustix::time::{ClockId, clock_gettime};

use crate::scenarios::{Scenario, Stack, Visit};

/// Nanoseconds of CPU time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time {
    /// Of one request.
    pub(crate) each: f64,
    /// The difference to the layer that does nothing, and its quartiles.
    pub(crate) added: f64,
    pub(crate) quartiles: [f64; 2],
}

/// The time of each stack, in order.
pub(crate) fn compare(stacks: &[Stack], visit: Visit, rounds: usize) -> Vec<Time> {
    let mut scenarios: Vec<_> = stacks.iter().map(|stack| Scenario::for_long(*stack, visit)).collect();
    let mut taken = vec![Vec::with_capacity(rounds); stacks.len()];
    for round in 0..rounds {
        // The first stack changes with each round.
        for which in (0..stacks.len()).map(|which| (which + round) % stacks.len()) {
            taken[which].push(batch(&mut scenarios[which], visit.batch()));
        }
    }
    let noop = stacks.iter().position(|stack| *stack == Stack::Noop).expect("it is always there");
    let time = |of: &Vec<f64>| {
        let mut added: Vec<_> = std::iter::zip(of, &taken[noop]).map(|(of, noop)| of - noop).collect();
        added.sort_unstable_by(f64::total_cmp);
        let quartiles = [added[rounds / 4], added[rounds * 3 / 4]];
        Time { each: median(of.clone()), added: added[rounds / 2], quartiles }
    };
    taken.iter().map(time).collect()
}

/// Nanoseconds of one of this many requests, without building them.
fn batch(scenario: &mut Scenario, requests: usize) -> f64 {
    let built = scenario.requests(requests);
    let begun = now(ClockId::ThreadCPUTime);
    for request in built {
        drop(scenario.serve(request));
    }
    (now(ClockId::ThreadCPUTime) - begun) / requests as f64
}

/// The CPU time of this thread or process, in nanoseconds.
pub(crate) fn now(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
