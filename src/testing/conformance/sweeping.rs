//! Helpers for the checks that sweep.

use std::{collections::HashSet, sync::Arc};

use super::{
    bench::{Bench, MANY, sids},
    material::end_idle,
};
use crate::{
    SessionId, SessionStore, Timestamp,
    record::{EndOutcome, EndReason, Record},
};

/// Starts in the 1970s, where no other check has sessions, after sweeping what an earlier run left.
pub(super) async fn long_ago<S: SessionStore>(mut bench: Bench<S>) -> Bench<S> {
    bench.start = Timestamp::from_unix_millis(bench.start.as_unix_millis() / 16 + 1_000_000);
    bench.sweep_to_end(None, bench.start, MANY).await;
    bench
}

impl<S: SessionStore> Bench<S> {
    /// Sweeps the realm of the check to the end.
    pub(super) async fn sweep_all(&self, now: Timestamp, limit: usize) -> Vec<(SessionId, EndReason)> {
        self.sweep_to_end(Some(&self.realm), now, limit).await
    }

    /// Sweeps to the end, as the middleware does: ends what is over, and reschedules what is live.
    /// Returns what it ended, and why.
    pub(super) async fn sweep_to_end(
        &self,
        realm: Option<&Arc<str>>,
        now: Timestamp,
        limit: usize,
    ) -> Vec<(SessionId, EndReason)> {
        let mut ended = Vec::new();
        let mut done = HashSet::new();
        let mut passes = Passes::default();
        while let Some(found) = self.next_batch(&mut passes, realm, now, limit).await {
            let (over, live): (Vec<_>, Vec<_>) =
                found.iter().partition(|record| record.end_reason_at(now).is_some());
            for record in &found {
                let again = !done.insert(record.sid);
                self.expect(!again, "a session that was ended or rescheduled is found again by a sweep");
            }
            let requests: Vec<_> = over.iter().map(|record| (record.sid, end_idle(record, now))).collect();
            for (record, outcome) in over.iter().zip(self.end_many(requests).await) {
                match outcome {
                    EndOutcome::Ended(session) => ended.push((record.sid, session.reason)),
                    other => self.fail(format_args!("the end of what a sweep found was answered {other:?}")),
                }
            }
            self.reschedule(live.iter().map(|record| (record.sid, record.over_at())).collect()).await;
        }
        ended
    }

    /// What a sweep finds, without ending it, in the order of the ids.
    pub(super) async fn due(&self, realm: Option<&Arc<str>>, now: Timestamp) -> Vec<Record> {
        let mut found = Vec::new();
        let mut passes = Passes::default();
        while let Some(batch) = self.next_batch(&mut passes, realm, now, MANY).await {
            found.extend(batch);
        }
        found.sort_unstable_by_key(|record| record.sid);
        found.dedup_by_key(|record| record.sid);
        found
    }

    pub(super) async fn found(&self, now: Timestamp) -> Vec<SessionId> {
        sids(&self.due(Some(&self.realm), now).await)
    }

    /// What the next batch finds; `None` after two complete passes, since a store may continue
    /// where an earlier sweep stopped.
    async fn next_batch(
        &self,
        passes: &mut Passes,
        realm: Option<&Arc<str>>,
        now: Timestamp,
        limit: usize,
    ) -> Option<Vec<Record>> {
        const MAX_BATCHES: usize = 4000;
        if passes.finished == 2 {
            return None;
        }
        let swept = self.sweep(realm, now, limit).await;
        passes.batches += 1;
        passes.finished += usize::from(swept.finished);
        self.expect(passes.batches < MAX_BATCHES, "a sweep does not come to an end");
        Some(swept.found)
    }
}

#[derive(Default)]
struct Passes {
    batches: usize,
    finished: usize,
}
