//! A record whose interactions can be recorded under a read lock.

use super::sync::{AtomicI64, AtomicU64, Ordering};
use crate::{
    Timestamp,
    record::{Applied, Change, Record, Timing, Updated},
};

/// A record, with the two fields that every interaction moves beside it.
///
/// INVARIANT: the fields only grow, in the record and beside it, and the truth is the greater of both. So neither side is
/// ever reset, and a reader that comes between sees a state that was or will be.
pub(super) struct Entry {
    record: Record,
    last_interaction_at: AtomicI64,
    longest_gap: AtomicU64,
}

impl Entry {
    pub(super) fn new(record: Record) -> Self {
        Self {
            last_interaction_at: AtomicI64::new(record.timing.last_interaction_at.as_unix_millis()),
            longest_gap: AtomicU64::new(0),
            record,
        }
    }

    /// The record as it is now.
    pub(super) fn to_record(&self) -> Record {
        let timing = self.timing();
        let updated_at = self.record.updated_at.max(timing.last_interaction_at);
        Record { timing, updated_at, ..self.record.clone() }
    }

    /// The record, for a holder of the write lock to change.
    pub(super) fn record(&mut self) -> &mut Record {
        self.record.timing = self.timing();
        self.record.updated_at = self.record.updated_at.max(self.record.timing.last_interaction_at);
        &mut self.record
    }

    /// Records an interaction, if the change is nothing else; `None` leaves it to the write lock.
    pub(super) fn touch(&self, change: &Change) -> Option<Updated> {
        let arrival = change.timing.interaction_at?;
        let plain =
            change.timing.lowering.is_none() && change.is_timing_only() && change.if_revision.is_none();
        if !plain || self.record.ended.is_some() || self.record.timing.one_off_idle.is_some() {
            return None;
        }
        let known = self.record.timing.last_interaction_at;
        let before = self.last_interaction_at.fetch_max(arrival.as_unix_millis(), Ordering::Relaxed);
        let gap = arrival.since(Timestamp::from_unix_millis(before).max(known));
        self.longest_gap.fetch_max(u64::try_from(gap.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        Some(Updated::Applied(Applied {
            timing: self.timing(),
            revision: self.record.revision,
            rotated: false,
            secret: self.record.secret,
        }))
    }

    fn timing(&self) -> Timing {
        let mut timing = self.record.timing;
        let last = Timestamp::from_unix_millis(self.last_interaction_at.load(Ordering::Relaxed));
        let gap = std::time::Duration::from_millis(self.longest_gap.load(Ordering::Relaxed));
        timing.last_interaction_at = timing.last_interaction_at.max(last);
        timing.longest_gap = timing.longest_gap.max(gap);
        timing
    }

    /// When the session was over, or will be: what a sweep asks of every entry, so without a clone.
    pub(super) fn over_at(&self) -> Timestamp {
        self.record.ended.map_or_else(|| self.timing().deadline(), |ended| ended.at)
    }
}
