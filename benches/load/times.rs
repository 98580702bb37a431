//! A histogram of the calls' times, whose size does not grow with their number.

use std::time::Duration;

/// Buckets per power of two, for a resolution of 1.6 %.
const STEPS: usize = 64;

/// The number of calls in each bucket.
pub(crate) struct Times(Vec<u64>);

impl Times {
    pub(crate) fn new() -> Self {
        Self(vec![0; bucket(u64::MAX) + 1])
    }

    pub(crate) fn add(&mut self, time: Duration) {
        self.0[bucket(time.as_nanos() as u64)] += 1;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(calls, others)| *calls += others);
    }

    pub(crate) fn calls(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The time below which this many of 1000 calls stay.
    pub(crate) fn within(&self, of_1000: u64) -> Duration {
        let wanted = self.calls() * of_1000 / 1000;
        let mut calls = 0;
        let is_reached = |counted: &u64| {
            calls += counted;
            calls > wanted
        };
        Duration::from_nanos(least(self.0.iter().position(is_reached).unwrap_or(self.0.len() - 1)))
    }
}

fn bucket(nanos: u64) -> usize {
    let shift = (u64::BITS - nanos.leading_zeros()).saturating_sub(STEPS.ilog2() + 1);
    shift as usize * STEPS + (nanos >> shift) as usize
}

/// The shortest time of a bucket, in nanoseconds.
fn least(bucket: usize) -> u64 {
    let shift = (bucket / STEPS).saturating_sub(1);
    ((bucket - shift * STEPS) as u64) << shift
}
