//! The one place where a deadline is computed, for every store.

use std::time::Duration;

use super::Policy;
use crate::{
    Timestamp,
    record::{CallId, EndReason, Millis, PastSession, Record, Timing, TimingChange, Tombstone},
};

impl Timing {
    /// The idle lifetime in force: the one-off of the login until the first interaction, then the
    /// remembered one.
    pub fn idle_lifetime(&self) -> Duration {
        self.idle_millis().as_duration()
    }

    fn idle_millis(&self) -> Millis {
        self.one_off_idle.unwrap_or(self.lifetimes.idle_millis())
    }

    /// The idle deadline: the last recorded interaction plus the idle lifetime.
    pub fn idle_expires_at(&self) -> Timestamp {
        self.last_interaction_at + self.idle_millis()
    }

    /// The absolute deadline: creation plus the absolute lifetime. No interaction moves it.
    pub fn expires_at(&self) -> Timestamp {
        self.created_at + self.lifetimes.absolute_millis()
    }

    /// The nearer deadline: the first moment at which the session is over.
    pub fn deadline(&self) -> Timestamp {
        self.idle_expires_at().min(self.expires_at())
    }

    /// What the holder of the session may learn once it is over.
    pub(crate) fn past(&self, reason: EndReason, ended_at: Timestamp) -> PastSession {
        let (idle_lifetime, absolute_lifetime) = (self.idle_lifetime(), self.lifetimes.absolute());
        PastSession { reason, ended_at, idle_lifetime, absolute_lifetime }
    }

    /// Why the session is over at this moment; `None` while it is live, which is while `now` is
    /// before both deadlines.
    ///
    /// The reason is the deadline that came first; a tie is [`Absolute`](EndReason::Absolute).
    pub fn end_reason_at(&self, now: Timestamp) -> Option<EndReason> {
        if now < self.deadline() {
            None
        } else if self.idle_expires_at() < self.expires_at() {
            Some(EndReason::Idle)
        } else {
            Some(EndReason::Absolute)
        }
    }
}

impl Record {
    /// Why the session is over at this moment, by the record alone; `None` while it is live.
    ///
    /// It has ended, was revoked with all sessions of its subject, or has expired by the lifetimes
    /// that it remembers.
    pub fn end_reason_at(&self, now: Timestamp) -> Option<EndReason> {
        self.end_at(&self.timing, self.revoked_at, now).map(|(reason, _)| reason)
    }

    /// Why the session is over at this moment, by the record and the live policy. Lists, caps,
    /// streams and sweeps judge by it ([L5](crate::rules#l5)).
    pub fn end_reason_under(&self, policy: &Policy, now: Timestamp) -> Option<EndReason> {
        self.end_under(policy, now).map(|(reason, _)| reason)
    }

    /// Why and when the session was over under this policy, if it is over at this moment.
    pub(crate) fn end_under(&self, policy: &Policy, now: Timestamp) -> Option<(EndReason, Timestamp)> {
        let revoked_at = self.revoked_under(policy);
        // A lowering binds live sessions only. A session that was over before is judged by what it
        // remembers (L5).
        self.end_at(&self.timing, revoked_at, now).or_else(|| {
            let mut timing = self.timing;
            timing.apply(&TimingChange { interaction_at: None, lowering: policy.lowering(&timing) });
            // A lowering takes effect now, so it cannot have ended the session earlier.
            self.end_at(&timing, None, now).map(|(reason, _)| (reason, now))
        })
    }

    /// The timing by which this policy judges a live session, also before its next request.
    pub(crate) fn timing_under(&self, policy: &Policy) -> Timing {
        let mut timing = self.timing;
        timing.apply(&TimingChange { interaction_at: None, lowering: policy.lowering(&timing) });
        timing
    }

    /// When a revocation of all sessions of the subject, or of the realm, covered the session.
    pub(crate) fn revoked_under(&self, policy: &Policy) -> Option<Timestamp> {
        let realm =
            policy.not_before().filter(|moment| self.subject.is_some() && self.admitted_at <= *moment);
        match (self.revoked_at, realm) {
            (Some(subject), Some(realm)) => Some(subject.min(realm)),
            (subject, realm) => subject.or(realm),
        }
    }

    /// Whether the session is live at this moment, by the record alone.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.end_reason_at(now).is_none()
    }

    /// The tombstone, if the session has ended or was revoked.
    pub(crate) fn tombstone(&self) -> Option<Tombstone> {
        let revoked = |at| Tombstone {
            reason: EndReason::Revoked,
            at,
            forget_at: at,
            call: CallId::default(),
            successor: None,
            work_until: None,
        };
        self.ended.or_else(|| self.revoked_at.map(revoked))
    }

    /// Why and since when the session is over, if it is over at this moment: the earliest cause.
    pub(super) fn end_at(
        &self,
        timing: &Timing,
        revoked_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<(EndReason, Timestamp)> {
        if let Some(ended) = self.ended {
            return Some((ended.reason, ended.at));
        }
        let expired = timing.end_reason_at(now).map(|reason| (reason, timing.deadline()));
        match (expired, revoked_at) {
            (Some((_, deadline)), Some(revoked_at)) if deadline <= revoked_at => expired,
            (_, Some(revoked_at)) => Some((EndReason::Revoked, revoked_at)),
            (expired, None) => expired,
        }
    }

    /// Since when the session is over, or when it will be if nothing happens. A store's sweep looks
    /// for it.
    pub fn over_at(&self) -> Timestamp {
        let deadline = self.timing.deadline();
        match (self.ended, self.revoked_at) {
            (Some(ended), _) => ended.at,
            (None, Some(revoked_at)) => deadline.min(revoked_at),
            (None, None) => deadline,
        }
    }

    /// When a store's sweep must look at the record: at its deadline while it is live, and after
    /// its end when the tombstone may be removed.
    pub fn due_at(&self) -> Timestamp {
        self.ended.map_or_else(|| self.over_at(), |ended| ended.forget_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::blank;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_unix_millis(minutes * 60_000)
    }

    /// Its idle deadline is minute 15.
    fn revoked(minutes: i64) -> Record {
        Record { revoked_at: Some(at(minutes)), subject: Some("alice".into()), ..blank() }
    }

    #[test]
    fn l14_a_revocation_and_a_deadline_the_first_one_ends_the_session() {
        for (revoked_at, reason, since) in
            [(14, EndReason::Revoked, 14), (15, EndReason::Idle, 15), (16, EndReason::Idle, 15)]
        {
            let record = revoked(revoked_at);
            assert_eq!(record.end_reason_at(at(20)), Some(reason), "{revoked_at}");
            assert_eq!(record.over_at(), at(since), "{revoked_at}");
        }
    }

    #[test]
    fn l14_revoked_as_a_user_and_with_everybody_the_first_one_counts() {
        for (everybody_at, since) in [(1, 1), (2, 2), (3, 2)] {
            let policy = Policy::unlimited().with_not_before(Some(at(everybody_at)));
            let end = revoked(2).end_under(&policy, at(5));
            assert_eq!(end, Some((EndReason::Revoked, at(since))), "{everybody_at}");
        }
    }
}
