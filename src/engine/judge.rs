//! From a token of a request to its session: load it, judge it, and end it if it is over.

use std::sync::Arc;

use super::{Engine, RealmState, concurrent::both};
use crate::{
    Error, ErrorKind, Policy, SessionId, Timestamp,
    policy::Activity,
    record::{EndOutcome, Proof, SecretHash},
    request::{Judgement, Live, OldSecret, Past, Visit, judge},
};

/// What a token leads to.
#[derive(Debug)]
pub(crate) enum Judged {
    /// A live session, which was handed over.
    Live,
    /// Live, bound to a device that the request does not prove.
    Unproven,
    Past(Past),
    NotProved(OldSecret),
}

/// How often a session that was found over, but used meanwhile, is loaded again.
const MAX_LOOKS: usize = 8;

impl Engine {
    /// Finds what a token leads to, and hands over a live session. One that is over is ended in the
    /// same step: an end that was seen is an end for good, also when a clock steps back or a policy
    /// is raised again.
    ///
    /// # Errors
    ///
    /// When the store fails.
    #[expect(clippy::too_many_arguments, reason = "all that a judgement depends on")]
    pub(crate) async fn judge(
        &self,
        sid: SessionId,
        secret: &SecretHash,
        realm: &Arc<RealmState>,
        policy: &Policy,
        now: Timestamp,
        activity: Activity,
        visit: &Visit<'_>,
        take: impl FnOnce(Live) + Send,
    ) -> Result<Judged, Error> {
        let mut recent = if self.store.in_process() { None } else { self.store.calls().recent(sid) };
        for _ in 0..MAX_LOOKS {
            let mut is_copy = false;
            let (found, policy) = if let Some(policy) = Self::known_policy(realm, policy, now) {
                let copy = recent.take();
                is_copy = copy.is_some();
                (if is_copy { copy } else { self.load(sid, now).await? }, policy)
            } else {
                let both =
                    || async { Ok(both(self.load(sid, now), self.policy_of(realm, policy, now)).await) };
                let (found, policy) = self.answer(both).await?;
                (found?, policy?)
            };
            if self.clock_is_unknown() {
                let compare = || async {
                    self.compare_clocks(now).await;
                    Ok(())
                };
                self.answer(compare).await?;
            }
            let Some(record) = found else { return Ok(Judged::NotProved(OldSecret::Unknown)) };
            let shared_now = self.shared_time_as_known(now);
            let judgement = judge(record, secret, &policy, now, shared_now, activity, visit);
            // Another node may have ended or changed it since: only the store knows.
            if is_copy && !matches!(&judgement, Judgement::Live(live) if live.proof == Proof::Current) {
                continue;
            }
            let over = match judgement {
                Judgement::Live(live) => {
                    // The record is handed over, not returned: each function on its way would copy
                    // it.
                    take(live);
                    return Ok(Judged::Live);
                }
                Judgement::Unproven => return Ok(Judged::Unproven),
                Judgement::Past(past) => return Ok(Judged::Past(past)),
                Judgement::NotProved(secret) => return Ok(Judged::NotProved(secret)),
                Judgement::Over(over) => over,
            };
            // A session whose interaction was recorded since is not ended, but loaded again.
            let end = || async { Ok(self.end_found_over(&over.record, &policy, now, over.reason).await) };
            let ended = match self.answer(end).await? {
                // A failure is reported already. The session is over all the same.
                Some(Err(_)) => Some(EndOutcome::Unknown),
                Some(Ok(outcome)) => Some(outcome),
                None => None,
            };
            if let Some(past) = over.past(ended.as_ref(), policy.resume_for(), now) {
                return Ok(Judged::Past(past));
            }
        }
        // A store may read from a replica that is behind, but not for long.
        let message = "the session store keeps returning a session without its last interaction";
        Err(Error::new(ErrorKind::Store, message))
    }
}
