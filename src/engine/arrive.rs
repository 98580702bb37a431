//! From the tokens of a request to its session: load, judge, and record what is due.

use std::sync::Arc;

use super::{Engine, RealmState, both};
use crate::{
    Error, ErrorKind, Policy, SessionId, Timestamp,
    policy::{Activity, Overflow, Verdict, decide},
    record::{
        Applied, Change, EndOutcome, LastSeen, PastSession, Proof, Record, SecretHash, Timing, TimingChange,
        Tombstone,
    },
    token::Token,
};

/// The session that a request's cookie leads to.
#[derive(Debug)]
pub(crate) struct Live {
    /// As it was loaded.
    pub(crate) record: Record,
    pub(crate) token: Token,
    pub(crate) proof: Proof,
    /// Of what was decided on arrival, what is still to be recorded.
    pub(crate) due: TimingChange,
    /// Whether it has to be recorded that the cookie came back (S9).
    pub(crate) confirms: bool,
    /// Where the request came from, when the record says otherwise.
    pub(crate) last_seen: Option<LastSeen>,
    /// The timing once that is recorded.
    pub(crate) next: Timing,
}

impl Live {
    /// Takes what the store says after a change: what was due is recorded, with what others recorded meanwhile.
    pub(crate) fn recorded(&mut self, applied: &Applied) {
        self.due = TimingChange::default();
        self.confirms = false;
        self.last_seen = None;
        self.record.timing = applied.timing;
        self.next = applied.timing;
        self.see_secret(&applied.secret);
    }

    /// Another request may have rotated since this one was loaded: then ours is the secret in grace (C6).
    pub(crate) fn see_secret(&mut self, current: &SecretHash) {
        if !self.record.secret.matches(current) {
            self.proof = Proof::Grace;
        }
    }

    /// What has to be recorded of the request itself, whatever the handler does.
    pub(crate) fn touch(&self, now: Timestamp) -> Change {
        let interacted = self.due.interaction_at.is_some();
        let last_seen = self.last_seen.clone().filter(|_| interacted);
        Change { timing: self.due, last_seen, confirms: self.confirms, ..Change::at(now) }
    }
}

/// What the cookies of a request lead to.
#[derive(Debug, Default)]
pub(crate) struct Arrival {
    pub(crate) live: Option<Live>,
    /// The session that a cookie led to and that is over; the request holds its secret (E3).
    pub(crate) past: Option<Past>,
    /// A token was one that a rotation has just replaced, past its grace.
    pub(crate) secret_just_replaced: bool,
    /// Tokens that were not looked at, because one before them led to a live session.
    pub(crate) unexamined: Unexamined,
}

/// Tokens that were not looked at. A logout or a login ends their sessions, too (C5).
pub(crate) type Unexamined = Vec<(SessionId, SecretHash)>;

/// A session that is over, whose secret the request holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Past {
    pub(crate) sid: SessionId,
    pub(crate) session: PastSession,
    /// The session that a login put in its place.
    pub(crate) successor: Option<SessionId>,
    /// Until when its data waits for its user.
    pub(crate) work_until: Option<Timestamp>,
    /// Whether the end is certain. It is not while this node's clock disagrees with the store's.
    pub(crate) is_certain: bool,
}

impl Past {
    /// Whether its data still waits for its user.
    pub(crate) fn work_waits(&self, now: Timestamp) -> bool {
        self.work_until.is_some_and(|until| now < until)
    }

    /// What a tombstone says of a session.
    pub(crate) fn of(sid: SessionId, session: PastSession, tombstone: &Tombstone) -> Self {
        let Tombstone { successor, work_until, .. } = *tombstone;
        Self { sid, session, successor, work_until, is_certain: true }
    }
}

/// How often a session that was found over, but used meanwhile, is looked at again.
const MAX_LOOKS: usize = 8;

impl Engine {
    /// Finds the live session that these tokens lead to (C5: the first live one wins).
    ///
    /// # Errors
    ///
    /// When the store fails: nothing is known then, and no session is taken for logged out (S6).
    pub(crate) async fn arrive(
        &self,
        tokens: impl Iterator<Item = Token> + Send,
        realm: &Arc<RealmState>,
        policy: &Policy,
        now: Timestamp,
        activity: Activity,
    ) -> Result<Arrival, Error> {
        let mut arrival = Arrival::default();
        for token in tokens {
            if arrival.live.is_some() {
                arrival.unexamined.push((token.sid(), token.hash(&realm.name)));
            } else {
                self.judge(token, realm, policy, now, activity, &mut arrival).await?;
            }
        }
        Ok(arrival)
    }

    /// Adds what one token leads to.
    async fn judge(
        &self,
        token: Token,
        realm: &Arc<RealmState>,
        policy: &Policy,
        now: Timestamp,
        activity: Activity,
        arrival: &mut Arrival,
    ) -> Result<(), Error> {
        let sid = token.sid();
        let hash = token.hash(&realm.name);
        let mut looks = 0;
        let past = loop {
            let (found, policy) = if let Some(policy) = Self::known_policy(realm, policy, now) {
                (self.load(sid, now).await?, policy)
            } else {
                let (found, policy) = both(self.load(sid, now), self.policy_of(realm, policy, now)).await;
                (found?, policy?)
            };
            if self.clock_is_unknown() {
                self.compare_clocks(now).await;
            }
            let Some(record) = found else { return Ok(()) };
            let shared_now = self.shared_time_as_known(now);
            let proof = record.prove(&hash, shared_now);
            if proof == Proof::None {
                arrival.secret_just_replaced |= record.secret_just_replaced(shared_now);
                return Ok(());
            }
            if let Some(ended) = record.ended {
                let work_until = ended.work_until.filter(|_| record.revoked_under(&policy).is_none());
                let past = Past::of(sid, record.timing.past(ended.reason, ended.at), &ended);
                break Past { work_until, ..past };
            }
            let (reason, at) = match decide(&record, &policy, now, activity) {
                Verdict::Live(next) => {
                    let refuses = policy.cap().is_some_and(|cap| cap.overflow() == Overflow::Refuse);
                    let confirms = refuses && !record.confirmed && record.subject.is_some();
                    let (due, next) = (next.change, next.timing);
                    arrival.live = Some(Live { due, confirms, last_seen: None, next, record, token, proof });
                    return Ok(());
                }
                Verdict::Over { reason, at, .. } => (reason, at),
            };
            // An end that was seen is an end for good, also for a clock that steps back or a policy that is raised again. But
            // not over a request that recorded its interaction since: then look again.
            let mut timing = record.timing;
            timing.apply(&TimingChange { interaction_at: None, lowering: policy.lowering(&record.timing) });
            let past = |reason, work_until, is_certain| Past {
                sid,
                session: timing.past(reason, at),
                successor: None,
                work_until,
                is_certain,
            };
            match self.end_found_over(&record, &policy, now, reason).await {
                // A store may read from a replica that is behind, but not for long.
                Some(Ok(EndOutcome::Spared)) if looks < MAX_LOOKS => looks += 1,
                Some(Ok(EndOutcome::Spared)) => {
                    let message = "the session store keeps showing a session as it was";
                    return Err(Error::new(ErrorKind::Store, message));
                }
                Some(Ok(EndOutcome::Ended(ended))) => {
                    let waits =
                        ended.reason.is_deadline() && ended.subject.is_some() && !record.data.is_empty();
                    let until = at + policy.resume_for();
                    break past(ended.reason, (waits && now < until).then_some(until), true);
                }
                Some(Ok(EndOutcome::AlreadyEnded { tombstone, .. })) => {
                    break past(tombstone.reason, tombstone.work_until, true);
                }
                Some(Ok(EndOutcome::Unknown) | Err(_)) => break past(reason, None, true),
                None => break past(reason, None, false),
            }
        };
        arrival.past = arrival.past.or(Some(past));
        Ok(())
    }
}
