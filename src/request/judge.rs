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
        let Some(previous) = self.previous_secret else {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Lifetimes,
        cookie::Token,
        policy::Cap,
        record::{Data, Json, Millis, PreviousSecret, Tombstone, tests::blank},
        request::{KnownSession, tests::tombstone},
    };

    const MINUTE: Duration = Duration::from_secs(60);
    const TICK: Duration = Duration::from_millis(1);
    const LOGIN: Timestamp = Timestamp::UNIX_EPOCH;

    /// Of alice, with data; its idle deadline is minute 15.
    fn session() -> Record {
        let data: Data = [("a", Json::from_text("1"))].into_iter().collect();
        Record { subject: Some("alice".into()), data, ..blank() }
    }

    fn judged(record: Record, policy: &Policy, now: Timestamp) -> Judgement {
        let visit = Visit { ip: None, user_agent: b"", device: None };
        let secret = record.secret;
        judge(Box::new(record), &secret, policy, now, now, Activity::Passive, &visit)
    }

    fn over(record: Record, policy: &Policy, now: Timestamp) -> Over {
        let Judgement::Over(over) = judged(record, policy, now) else { panic!("it is live") };
        over
    }

    #[test]
    fn c4_a_secret_that_proves_nothing_was_replaced_just_now_or_is_unknown() {
        let (one, two) = (SecretHash::from_bytes([1; 32]), SecretHash::from_bytes([2; 32]));
        assert_eq!(blank().old_secret(&one, LOGIN), OldSecret::Unknown, "it was never replaced");

        let until = LOGIN + MINUTE;
        let rotated = Record { previous_secret: Some(PreviousSecret { hash: one, until }), ..blank() };
        for (now, in_flight) in [(until + IN_FLIGHT_WINDOW, false), (until + IN_FLIGHT_WINDOW - TICK, true)] {
            let reused = OldSecret::Reused { may_be_in_flight: in_flight };
            assert_eq!(rotated.old_secret(&one, now), reused);
            let older = if in_flight { OldSecret::JustReplaced } else { OldSecret::Unknown };
            assert_eq!(rotated.old_secret(&two, now), older);
        }

        for (reason, age, expected) in [
            (EndReason::Superseded, IN_FLIGHT_WINDOW - TICK, OldSecret::JustReplaced),
            (EndReason::Superseded, IN_FLIGHT_WINDOW, OldSecret::Unknown),
            (EndReason::SignedOut, TICK, OldSecret::Unknown),
        ] {
            let ended = Record { ended: Some(tombstone(reason, LOGIN)), ..blank() };
            assert_eq!(ended.old_secret(&one, LOGIN + age), expected, "{reason} {age:?}");
        }
    }

    #[test]
    fn s9_that_a_cookie_came_back_is_recorded_only_where_a_cap_refuses() {
        let refuse = Cap::new(1.try_into().unwrap(), Overflow::Refuse);
        for (cap, records) in [(None, false), (Some(Cap::DEFAULT), false), (Some(refuse), true)] {
            let policy = Policy::unlimited().with_cap(cap);
            let Judgement::Live(live) = judged(session(), &policy, LOGIN) else { panic!("it is over") };
            let mut known = KnownSession::loaded(live, Token::generate().unwrap(), Millis::ZERO);
            assert_eq!(known.take_touch(LOGIN).is_some_and(|change| change.confirms), records, "{cap:?}");
        }
    }

    #[test]
    fn e3_a_session_that_a_lowering_ended_had_the_lowered_lifetimes() {
        let lowered = Lifetimes::from_minutes(5, 480);
        let over = over(session(), &Policy::new(lowered, lowered), LOGIN + 10 * MINUTE);
        let past = over.past(None, Duration::ZERO, LOGIN + 10 * MINUTE).unwrap();
        assert_eq!(past.session.idle_lifetime, 5 * MINUTE);
    }

    #[test]
    fn l13_work_waits_until_its_time_unless_the_session_was_revoked() {
        let deadline = LOGIN + 15 * MINUTE;
        let until = deadline + MINUTE;
        let revoked = Record { revoked_at: Some(deadline + TICK), ..session() };
        let waiting = Tombstone { work_until: Some(until), ..tombstone(EndReason::Idle, deadline) };
        let already = EndOutcome::AlreadyEnded { tombstone: waiting, work: None };
        for (record, now, waits) in
            [(session(), until - TICK, true), (session(), until, false), (revoked, until - TICK, false)]
        {
            let over = over(record, &Policy::unlimited(), now);
            let work_until = |outcome| over.past(Some(outcome), MINUTE, now).unwrap().work_until;
            assert_eq!(work_until(&EndOutcome::Unknown), waits.then_some(until));
            // What the tombstone says is compared with the time by who reads it.
            assert_eq!(work_until(&already), (!over.is_revoked).then_some(until));
        }
    }
}
