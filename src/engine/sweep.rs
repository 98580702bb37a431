//! Sweeping: sessions that are over get their tombstone and their event, tombstones that are old
//! enough go.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{Engine, RealmState, lock};
use crate::{
    Error, Policy, SessionId, Timestamp,
    events::Operation,
    record::Record,
    store::{Page, Sweep},
};
/// How a store in this process is swept, by the requests that create sessions: a small batch at a
/// time, so that none of them waits long, until all is done; then not for a while.
const BATCH: usize = 100;
const STEP: Duration = Duration::from_millis(250);
const PAUSE: Duration = Duration::from_secs(30);

/// What a batch of a sweep has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SweepReport {
    pub(crate) ended: usize,
    pub(crate) removed: usize,
    pub(crate) finished: bool,
}

/// A look at every session of the realm. The index of a store knows when sessions are due by their
/// own lifetimes; when the policy was lowered, or everybody signed out, many are over sooner.
#[derive(Debug, Default)]
pub(super) struct FullPass {
    /// The version of the policy and the moment that the last whole pass judged by.
    judged_by: Option<JudgedBy>,
    /// Where a pass that is under way goes on, and what it judges by.
    under_way: Option<(JudgedBy, Option<(Timestamp, SessionId)>)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct JudgedBy {
    policy: Policy,
    stamp: u64,
    not_before: Option<Timestamp>,
}

impl Engine {
    /// One batch: at most `limit` sessions are judged and at most `limit` tombstones removed, and
    /// as many again where the policy was lowered. A node whose clock disagrees with the store's
    /// does nothing (S12).
    pub(crate) async fn sweep(
        &self,
        realm: &Arc<RealmState>,
        policy: &Policy,
        only_this_realm: bool,
        now: Timestamp,
        limit: usize,
    ) -> Result<SweepReport, Error> {
        if !self.clock_agrees(now).await {
            return Ok(SweepReport { finished: true, ..SweepReport::default() });
        }
        let policy = self.policy_of(realm, policy, now).await?;
        let sweep = Sweep { realm: only_this_realm.then(|| realm.name.clone()), now, limit };
        let swept =
            self.call(self.timer(Operation::Sweep), None, now, self.store.calls().sweep(sweep)).await?;
        let judge = |record: &Record| {
            if record.realm == realm.name { *policy } else { self.policy_of_other(record) }
        };
        let ended = self.end_those_over(&swept.found, judge, now, true).await?;
        let passed = self.full_pass(realm, &policy, now, limit).await?;
        Ok(SweepReport {
            ended: ended + passed.ended,
            removed: swept.removed,
            finished: swept.finished && passed.finished,
        })
    }

    fn policy_of_other(&self, record: &Record) -> Policy {
        self.realm(&record.realm).remembered().unwrap_or_else(Policy::unlimited)
    }

    /// Ends those of the sessions that are over, and says how many; the others are not due before
    /// their deadline.
    pub(crate) async fn end_those_over(
        &self,
        found: &[Record],
        policy_of: impl Fn(&Record) -> Policy,
        now: Timestamp,
        reschedules: bool,
    ) -> Result<usize, Error> {
        let (mut requests, mut live) = (Vec::new(), Vec::new());
        for record in found {
            let policy = policy_of(record);
            match record.end_under(&policy, now) {
                Some((reason, _)) => {
                    requests.push((record.sid, self.request_for(record, &policy, now, reason)));
                }
                None => live.push((record.sid, record.timing.deadline())),
            }
        }
        let ended = requests.len();
        if ended > 0 {
            self.end_many(requests, now).await?;
        }
        if reschedules && !live.is_empty() {
            self.call(self.timer(Operation::Reschedule), None, now, self.store.calls().reschedule(live))
                .await?;
        }
        Ok(ended)
    }

    async fn full_pass(
        &self,
        realm: &Arc<RealmState>,
        policy: &Policy,
        now: Timestamp,
        limit: usize,
    ) -> Result<SweepReport, Error> {
        let judged_by = JudgedBy { policy: *policy, stamp: policy.stamp(), not_before: policy.not_before() };
        let after = {
            let mut pass = lock(&realm.full_pass);
            // A store in this process was empty when the engine began.
            if pass.judged_by.is_none() && pass.under_way.is_none() && self.store.in_process() {
                pass.judged_by = Some(judged_by);
            }
            if pass.judged_by == Some(judged_by) {
                return Ok(SweepReport { finished: true, ..SweepReport::default() });
            }
            match pass.under_way {
                Some((under_way, after)) if under_way == judged_by => after,
                _ => {
                    pass.under_way = Some((judged_by, None));
                    None
                }
            }
        };
        let found = self.list(Page { realm: realm.name.clone(), subject: None, after, limit }, now).await?;
        let ended = self.end_those_over(&found, |_| *policy, now, false).await?;
        let finished = found.len() < limit;
        let mut pass = lock(&realm.full_pass);
        if finished {
            pass.judged_by = Some(judged_by);
            pass.under_way = None;
        } else if let Some(last) = found.last() {
            pass.under_way = Some((judged_by, Some((last.timing.created_at, last.sid))));
        }
        Ok(SweepReport { ended, removed: 0, finished })
    }

    /// A store in this process is swept by those who use it.
    pub(super) async fn sweep_now_and_then(&self, now: Timestamp, realm: &Arc<RealmState>, policy: &Policy) {
        let next = &self.shared.next_sweep;
        let seen = next.load(Ordering::Relaxed);
        let step = (now + STEP).as_unix_millis();
        // A clock that stepped back does not stop it.
        let stepped_back = seen > (now + PAUSE).as_unix_millis();
        let due = self.store.in_process() && (now.as_unix_millis() >= seen || stepped_back);
        if due && next.compare_exchange(seen, step, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let again = match self.sweep(realm, policy, true, now, BATCH).await {
                Ok(swept) if swept.finished => now + PAUSE,
                // Full: more may be due than a batch at a time can take, so the next creation goes
                // on.
                Ok(swept) if swept.removed + swept.ended >= BATCH => now,
                _ => return,
            };
            next.store(again.as_unix_millis(), Ordering::Relaxed);
        }
    }
}
