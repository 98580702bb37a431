//! The live sessions of a realm, without a request of their own: one, a page of them, and their
//! end.

use std::sync::Arc;

use super::{Engine, RealmState};
use crate::{
    EndReason, Error, Policy, SessionId, Timestamp,
    record::{EndOptions, EndOutcome, Record, Tag},
    store::Page,
};

/// A page of live sessions, oldest first.
#[derive(Debug, Default)]
pub(crate) struct LivePage {
    pub(crate) sessions: Vec<Record>,
    /// Where the next page starts; `None` on the last page.
    pub(crate) next: Option<(Timestamp, SessionId)>,
}

/// A list reads so many sessions at a time, and returns what it has once it has ended this many
/// that were over (S14).
const ENDED_BY_A_LIST: usize = 128;

/// How many sessions of a subject are ended right after a revocation. The sweep ends the others;
/// all of them are over at once.
const ENDED_AT_ONCE: usize = 64;

impl Engine {
    /// The tag of a subject's sessions.
    pub(crate) fn tag(&self, realm: &RealmState, subject: &str) -> Tag {
        self.shared.place_key.tag(&realm.name, subject)
    }

    /// A session of the realm if it is live by this policy. One that is over is ended.
    pub(crate) async fn find_live(
        &self,
        sid: SessionId,
        realm: &Arc<RealmState>,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<Option<Record>, Error> {
        let found = self.load(sid, now).await?.filter(|record| record.realm == realm.name);
        let Some(record) = found else { return Ok(None) };
        let policy = self.policy_of(realm, policy, now).await?;
        match record.end_reason_under(&policy, now) {
            None => Ok(Some(*record)),
            Some(reason) => {
                if let Some(outcome) = self.end_found_over(&record, &policy, now, reason).await {
                    outcome?;
                }
                Ok(None)
            }
        }
    }

    /// Up to `limit` sessions that are live by this policy, of a subject or of all. Those that are
    /// over are ended.
    pub(crate) async fn list_live(
        &self,
        subject: Option<&str>,
        after: Option<(Timestamp, SessionId)>,
        limit: usize,
        realm: &Arc<RealmState>,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<LivePage, Error> {
        let policy = self.policy_of(realm, policy, now).await?;
        let subject = subject.map(|name| (self.tag(realm, name), Arc::from(name)));
        let (mut sessions, mut after, mut ended) = (Vec::new(), after, 0);
        loop {
            // In small steps, since all of them may be over.
            let wanted = (limit.saturating_add(1) - sessions.len()).min(ENDED_BY_A_LIST);
            let (name, subject) = (Arc::clone(&realm.name), subject.clone());
            let found = self.list(Page { realm: name, subject, after, limit: wanted }, now).await?;
            let is_last = found.len() < wanted;
            after = found.last().map(|last| (last.timing.created_at, last.sid)).or(after);
            let (live, over): (Vec<_>, Vec<_>) =
                found.into_iter().partition(|record| record.end_reason_under(&policy, now).is_none());
            ended += over.len();
            if !over.is_empty() && self.clock_agrees(now).await {
                self.end_those_over(&over, |_| *policy, now, false).await?;
            }
            sessions.extend(live);
            if sessions.len() > limit {
                sessions.truncate(limit);
                let next = sessions.last().map(|last| (last.timing.created_at, last.sid));
                return Ok(LivePage { sessions, next });
            }
            if is_last || ended >= ENDED_BY_A_LIST {
                return Ok(LivePage { sessions, next: after.filter(|_| !is_last) });
            }
        }
    }

    /// Revokes a session of the realm, and says whether this call did. It is over afterwards in any
    /// case.
    pub(crate) async fn revoke(
        &self,
        sid: SessionId,
        realm: &RealmState,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let options = EndOptions { if_realm: Some(Arc::clone(&realm.name)), ..EndOptions::default() };
        let request = self.end_request(EndReason::Revoked, now, options);
        let outcome = self.end(sid, request, None).await?;
        Ok(matches!(outcome, EndOutcome::Ended(session) if session.reason == EndReason::Revoked))
    }

    /// Signs a subject out everywhere, but for one session, and ends the first sessions at once.
    pub(crate) async fn sign_out_everywhere(
        &self,
        subject: &str,
        except: Option<SessionId>,
        by: Option<&str>,
        realm: &Arc<RealmState>,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<(), Error> {
        let subject: (Tag, Arc<str>) = (self.tag(realm, subject), subject.into());
        // A session that the revocation covers, or work that waits for its user, lives no longer
        // than this.
        let keep = policy.limits().as_lifetimes().absolute().max(policy.resume_for());
        self.revoke_subject(realm, subject.clone(), except, keep, now, by).await?;
        let name = Arc::clone(&realm.name);
        let page = Page { realm: name, subject: Some(subject), after: None, limit: ENDED_AT_ONCE };
        // A failure here does not undo the revocation: the sweep does the same later.
        if let Ok(found) = self.list(page, now).await {
            let covered: Vec<_> = found.into_iter().filter(|record| record.revoked_at.is_some()).collect();
            let _ = self.end_those_over(&covered, |_| *policy, now, false).await;
        }
        Ok(())
    }
}
