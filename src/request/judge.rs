//! What a loaded record means for the request that brought its token.

use std::time::Duration;

use super::{Due, Past, Visit};
use crate::{
    Policy, Timestamp,
    policy::{Activity, Overflow, Verdict, decide},
    record::{
        DeviceProof, EndOutcome, EndReason, IN_FLIGHT_WINDOW, Proof, Record, SecretHash, Timing, TimingChange,
    },
};

/// What a loaded record means for the request that brought its token.
#[derive(Debug)]
pub(crate) enum Judgement {
    /// The session is live.
    Live(Live),
    /// The session is live and bound to a device that the request does not prove: it counts as
    /// absent.
    Unproven,
    /// The session ended before.
    Past(Past),
    /// The session is over, and has to be ended.
    Over(Over),
    /// The token does not prove the session.
    NotProved(OldSecret),
}

/// A session that was judged live. Its parts, so that what the request knows of it is put together
/// where it stays: a [`KnownSession`](super::KnownSession) is large, and each stop would be a copy.
#[derive(Debug)]
pub(crate) struct Live {
    pub(super) record: Box<Record>,
    pub(crate) proof: Proof,
    pub(super) device: DeviceProof,
    /// What is to be recorded of the request.
    pub(super) due: Due,
}

/// What is known of a secret that proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OldSecret {
    /// Nothing: it may be made up.
    Unknown,
    /// It was replaced a moment ago. The request may have been in flight, so its response must not
    /// remove the newer cookie.
    JustReplaced,
    /// It was replaced, and comes back after its grace.
    Reused {
        /// Whether it may still be a request that was in flight when the secret was replaced.
        may_be_in_flight: bool,
    },
}

/// A session that was judged over.
#[derive(Debug)]
pub(crate) struct Over {
    pub(crate) record: Box<Record>,
    pub(crate) reason: EndReason,
    at: Timestamp,
    /// The timing that it was judged by.
    timing: Timing,
    /// Whether it was revoked with all sessions of the realm or the user: then no work waits.
    is_revoked: bool,
}

/// Judges a session by a token that names it. `shared_now` is by the clock that all nodes share.
#[inline]
pub(crate) fn judge(
    record: Box<Record>,
    secret: &SecretHash,
    policy: &Policy,
    now: Timestamp,
    shared_now: Timestamp,
    activity: Activity,
    visit: &Visit<'_>,
) -> Judgement {
    let proof = record.prove(secret, shared_now);
    if proof == Proof::None {
        return Judgement::NotProved(record.old_secret(secret, shared_now));
    }
    if let Some(ended) = record.ended {
        let past = Past::new(record.sid, record.timing.past(ended.reason, ended.at)).with(&ended);
        let work_until = past.work_until.filter(|_| record.revoked_under(policy).is_none());
        return Judgement::Past(Past { work_until, ..past });
    }
    match decide(&record, policy, now, activity) {
        Verdict::Live(next) => {
            let device = visit.device.map_or(DeviceProof::NotBound, |check| check.judge(&record, shared_now));
            if visit.device.is_some_and(|check| check.refuses(device)) {
                return Judgement::Unproven;
            }
            let refuses = policy.cap().is_some_and(|cap| cap.overflow() == Overflow::Refuse);
            let confirms = refuses && !record.confirmed && record.subject.is_some();
            let due = Due::of(&record, next.change, confirms, visit);
            Judgement::Live(Live { record, proof, device, due })
        }
        Verdict::Over { reason, at, .. } => {
            let mut timing = record.timing;
            timing.apply(&TimingChange { interaction_at: None, lowering: policy.lowering(&timing) });
            let is_revoked = record.revoked_under(policy).is_some();
            Judgement::Over(Over { record, reason, at, timing, is_revoked })
        }
    }
}

impl Record {
    /// What is known of a secret that does not prove this session. `now` is by the shared clock.
    fn old_secret(&self, secret: &SecretHash, now: Timestamp) -> OldSecret {
        let Some(previous) = self.previous_secret.filter(|_| self.ended.is_none()) else {
            let superseded = self.ended.is_some_and(|ended| {
                ended.reason == EndReason::Superseded && now.since(ended.at) < IN_FLIGHT_WINDOW
            });
            return if superseded { OldSecret::JustReplaced } else { OldSecret::Unknown };
        };
        let may_be_in_flight = now < previous.until + IN_FLIGHT_WINDOW;
        if previous.hash == *secret {
            OldSecret::Reused { may_be_in_flight }
        } else if may_be_in_flight {
            OldSecret::JustReplaced
        } else {
            OldSecret::Unknown
        }
    }
}

impl Over {
    /// What the request knows of the session after it was ended; `None` when it was used meanwhile
    /// and has to be loaded again. `ended` is `None` when the end was left to another node, because
    /// this node's clock cannot be trusted.
    pub(crate) fn past(
        &self,
        ended: Option<&EndOutcome>,
        resume_for: Duration,
        now: Timestamp,
    ) -> Option<Past> {
        let past = |reason| Past::new(self.record.sid, self.timing.past(reason, self.at));
        let until = self.at + resume_for;
        let work = |reason: EndReason| {
            let has_work = self.record.subject.is_some() && !self.record.data.is_empty();
            (reason.is_deadline() && has_work && !self.is_revoked && now < until).then_some(until)
        };
        Some(match ended {
            Some(EndOutcome::Spared) => return None,
            Some(EndOutcome::Ended(ended)) => Past { work_until: work(ended.reason), ..past(ended.reason) },
            Some(EndOutcome::AlreadyEnded { tombstone, .. }) => {
                let work_until = tombstone.work_until.filter(|_| !self.is_revoked);
                Past { work_until, ..past(tombstone.reason).with(tombstone) }
            }
            // The store could not be asked. A login that follows ends it all the same.
            Some(EndOutcome::Unknown) => Past { work_until: work(self.reason), ..past(self.reason) },
            None => Past { is_certain: false, ..past(self.reason) },
        })
    }
}
