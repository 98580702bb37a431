//! From the tokens of a request to its session: load, decide, and record what can not wait.

use std::time::Duration;

use super::Engine;
use crate::{
    Error, ErrorKind, Policy, Timestamp,
    policy::{Activity, Verdict, decide},
    record::{
        Applied, Change, End, EndReason, Ending, PastSession, Proof, Record, SecretHash, Timing,
        TimingChange, Updated,
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
    /// The timing once that is recorded.
    pub(crate) next: Timing,
}

impl Live {
    /// Takes what the store says after a change: what was due is recorded, with what others recorded meanwhile.
    pub(crate) fn recorded(&mut self, applied: &Applied) {
        self.due = TimingChange::default();
        self.next = applied.timing;
        self.see_secret(&applied.secret);
    }

    /// Another request may have rotated since this one was loaded: then ours is the secret in grace (SPEC C6).
    pub(crate) fn see_secret(&mut self, current: &SecretHash) {
        if !self.record.secret.matches(current) {
            self.proof = Proof::Grace;
        }
    }
}

/// What the cookies of a request lead to.
#[derive(Debug, Default)]
pub(crate) struct Arrival {
    pub(crate) live: Option<Live>,
    /// Why there is no live one, where that is known and the request holds the secret (E3).
    pub(crate) past: Option<PastSession>,
    /// A token was one that a rotation has just replaced, past its grace.
    pub(crate) crossed_rotation: bool,
}

/// How near the idle deadline may be before an interaction is recorded ahead of the handler rather than after it.
///
/// While a slow handler runs, other requests see the recorded interaction only. Far from the deadline that is harmless
/// and saves a round trip, because the interaction goes along with what the handler writes (S5).
const NEAR: Duration = Duration::from_secs(60);

/// How often a session that was found over, but used meanwhile, is looked at again.
const MOST_LOOKS: usize = 8;

impl Engine {
    /// Finds the live session that these tokens lead to (SPEC C5: the first live one wins).
    ///
    /// # Errors
    ///
    /// When the store fails: nothing is known then, and nobody is taken for logged out (S6).
    pub(crate) async fn arrive(
        &self,
        tokens: impl Iterator<Item = Token> + Send,
        policy: &Policy,
        now: Timestamp,
        activity: Activity,
    ) -> Result<Arrival, Error> {
        let mut arrival = Arrival::default();
        for token in tokens {
            self.judge(token, policy, now, activity, &mut arrival).await?;
            if arrival.live.is_some() {
                break;
            }
        }
        Ok(arrival)
    }

    /// Adds what one token leads to.
    async fn judge(
        &self,
        token: Token,
        policy: &Policy,
        now: Timestamp,
        activity: Activity,
        arrival: &mut Arrival,
    ) -> Result<(), Error> {
        let sid = token.sid();
        let hash = token.hash();
        let mut looks = 0;
        let past = loop {
            let Some(record) = self.load(sid, now).await? else { return Ok(()) };
            let proof = record.prove(&hash, now);
            if proof == Proof::None {
                arrival.crossed_rotation |= record.is_just_replaced(now);
                return Ok(());
            }
            if let Some(ended) = record.ended {
                break record.timing.past(ended.reason, ended.at);
            }
            match decide(&record, policy, now, activity) {
                Verdict::Live(next) => {
                    let live = Live { due: next.change, next: next.timing, record, token, proof };
                    match self.record_ahead(arrival.live.insert(live), now).await {
                        Some(past) => {
                            arrival.live = None;
                            break past;
                        }
                        None => return Ok(()),
                    }
                }
                // An end that was seen is an end for good, also for a clock that steps back or a policy that is raised
                // again. But not over a request that recorded its interaction since: then look again.
                Verdict::Over(reason) => {
                    let seen = record.timing.last_interaction_at;
                    let ended_at = record.timing.deadline().min(now);
                    let end = End { if_idle_since: Some(seen), ..End::new(reason, now) };
                    match self.end(sid, end, record.subject.as_deref()).await {
                        // A store may read from a replica that is behind, but not for ever.
                        Ok(Ending::StillInUse) if looks < MOST_LOOKS => looks += 1,
                        Ok(Ending::StillInUse) => {
                            let message = "the session store keeps showing a session as it was";
                            return Err(Error::new(ErrorKind::Store, message));
                        }
                        Ok(Ending::Done(reason) | Ending::Already(reason)) => {
                            break record.timing.past(reason, ended_at);
                        }
                        Ok(Ending::Unknown) | Err(_) => break record.timing.past(reason, ended_at),
                    }
                }
            }
        };
        arrival.past = arrival.past.or(Some(past));
        Ok(())
    }

    /// Records what can not wait for the handler. A failure is told and then left to the commit.
    async fn record_ahead(&self, live: &mut Live, now: Timestamp) -> Option<PastSession> {
        let idle = live.record.timing.idle_lifetime();
        let near = live.record.timing.idle_expires_at().since(now) < NEAR.max(idle / 2);
        if live.due.is_empty() || !(near || live.due.lowering.is_some()) {
            return None;
        }
        let change = Change { timing: live.due, ..Change::at(now) };
        match self.update(live.record.sid, change).await {
            Ok(Updated::Applied(applied)) => {
                live.recorded(&applied);
                None
            }
            Ok(Updated::Gone(reason)) => Some(live.next.past(reason.unwrap_or(EndReason::Revoked), now)),
            Ok(Updated::Conflict) | Err(_) => None,
        }
    }
}
