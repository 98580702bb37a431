//! From the plan of a request to one call to the store, and back.

use std::sync::Arc;

use super::{
    Outcome, Session,
    state::{Cookie, Draft, State},
};
use crate::{
    Error, ErrorKind, SessionId,
    policy::Refusal,
    record::{Change, Data, Edits, End, EndReason, Ending, Facts, Proof, Record, Rotation, Timing, Updated},
    store::{Answer, Created, Creation, Replaced},
    token::Token,
};

/// How much of a plan is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// All of it.
    All,
    /// Only what is for safety: logout, revocation and rotation, and what the request itself is (H3).
    Safety,
}

/// One call to the store.
#[derive(Debug)]
enum Step {
    Create { creation: Creation, token: Token, replaced: Option<Arc<str>> },
    Update { sid: SessionId, change: Change, token: Option<Token> },
    End { sid: SessionId, end: End, subject: Option<Arc<str>> },
}

impl Session {
    /// Stores what is planned so far, now rather than when the response goes out.
    ///
    /// For a handler that must know: after a login it says whether the cap refused it (S9), before a long response it
    /// makes sure that the data is there. What was saved stays, whatever the handler answers.
    ///
    /// # Errors
    ///
    /// When the store failed: it is then unknown whether the change took place, and another try is safe.
    /// [`Ended`](ErrorKind::Ended) when the session ended meanwhile, so that nothing was written (S4);
    /// [`Closed`](ErrorKind::Closed) after the response head was sent.
    pub async fn save(&self) -> Result<Outcome, Error> {
        drop(self.edit()?);
        self.carry_out(Scope::All).await
    }

    /// Stores what is planned, as the last act of a request.
    pub(crate) async fn commit(&self, failed: bool) -> Result<Outcome, Error> {
        // Most requests change nothing but the last interaction: a short way for them.
        let outcome = match self.mere_interaction() {
            Some((sid, change)) => self.update_stored(sid, change, None).await,
            None => self.carry_out(if failed { Scope::Safety } else { Scope::All }).await,
        };
        self.check_news().await;
        outcome
    }

    /// The handler waits for something: what the store said before may be out of date when it goes on.
    pub(crate) fn handler_waits(&self) {
        self.state().waited = true;
    }

    /// What was recorded ahead of the handler, or saved by it, may be news of a session that ended or got another secret
    /// while the handler waited; its cookie would then overwrite that of a newer login (SPEC S4, C6).
    async fn check_news(&self) {
        let inner = self.inner();
        let Some(sid) = self.state().old_news() else { return };
        let found = inner.settings.engine.load(sid, inner.now).await;
        let mut state = self.state();
        // A failure is told already. A new token has to reach the browser all the same; a mere refresh can wait.
        let Ok(found) = found else {
            if let Some(stored) = &mut state.stored {
                stored.postpone_refresh();
            }
            return;
        };
        match found {
            Some(record) if record.ended.is_none() => {
                if let Some(stored) = &mut state.stored {
                    stored.live.see_secret(&record.secret);
                }
            }
            gone => state.vanish(gone.and_then(|record| record.ended).map(|ended| ended.reason), inner.now),
        }
    }

    /// From now on an interaction that can not be recorded fails the request.
    #[cfg_attr(not(feature = "browser"), expect(dead_code, reason = "only an endpoint insists"))]
    pub(crate) fn insist_on_recording(&self) {
        self.state().insists = true;
    }

    /// Closes the session to changes; `false` when there is nothing to commit, as there is for most requests to a store
    /// that coalesces.
    pub(crate) fn close(&self) -> bool {
        let inner = self.inner();
        let mut state = self.state();
        state.close();
        // Looking again costs nothing where the store is in this process, so there a handler that was merely slow counts.
        state.waited |= inner.settings.engine.store.in_process();
        let due = state.stored.as_ref().is_some_and(|stored| !stored.interaction(inner.now).is_empty());
        due || !state.plan.is_empty() || state.old_news().is_some()
    }

    /// Runs a future of this session where it stands if the store answers at once.
    pub(crate) fn answer<T, F>(&self, future: impl FnOnce() -> F) -> Answer<'static, Result<T, Error>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        self.inner().settings.engine.answer(future)
    }

    /// What is to be recorded of a request that planned nothing.
    fn mere_interaction(&self) -> Option<(SessionId, Change)> {
        let state = self.state();
        let stored = state.stored.as_ref().filter(|_| state.plan.is_empty())?;
        let change = stored.interaction(self.inner().now);
        (!change.is_empty()).then_some((stored.live.record.sid, change))
    }

    async fn carry_out(&self, scope: Scope) -> Result<Outcome, Error> {
        let Some(step) = self.next_step(scope)? else { return Ok(Outcome::Done) };
        let outcome = self.take(step).await?;
        if outcome == Outcome::Done {
            return Ok(outcome);
        }
        // What stands without the refused login: a logout or a rotation beside it, the interaction.
        if let Some(step) = self.next_step(scope)? {
            match self.take(step).await {
                Err(error) if error.kind() != ErrorKind::Ended => return Err(error),
                _ => {}
            }
        }
        Ok(outcome)
    }

    async fn take(&self, step: Step) -> Result<Outcome, Error> {
        let engine = &self.inner().settings.engine;
        match step {
            Step::End { sid, end, subject } => {
                let ending = engine.end(sid, end, subject.as_deref()).await?;
                let mut state = self.state();
                if ending == Ending::Already(EndReason::Superseded) {
                    state.cookie = Cookie::NotOurs; // the browser has a newer login's, or will have it in a moment
                }
                state.past = state.ending(end.at);
                state.plan.end = None;
                state.stored = None;
                Ok(Outcome::Done)
            }
            Step::Update { sid, change, token } => self.update_stored(sid, change, token).await,
            Step::Create { creation, token, replaced } => {
                let (sid, edits) = (creation.record.sid, creation.edits.clone());
                let subject = creation.record.subject.clone();
                match engine.create(creation, replaced.as_deref()).await? {
                    Created::Done { record, .. } => {
                        let mut state = self.state();
                        state.settle(record, token);
                        state.plan.edits.subtract(&edits);
                        Ok(Outcome::Done)
                    }
                    Created::Refused => {
                        let refusal = Refusal::TooManySessions;
                        self.tell_refused(subject.as_deref(), &refusal);
                        // What was written was meant for this login, and not for the session of another user.
                        let mut state = self.state();
                        state.plan.new = None;
                        state.plan.edits = Edits::default();
                        Ok(Outcome::Refused(refusal))
                    }
                    Created::Exists => self.created_before(sid, token, edits).await,
                }
            }
        }
    }

    /// The session is there, from an earlier try whose answer was lost: ids are never used twice. It lacks what was written
    /// since that try, and may have ended since.
    async fn created_before(&self, sid: SessionId, token: Token, edits: Edits) -> Result<Outcome, Error> {
        let inner = self.inner();
        let found = inner.settings.engine.load(sid, inner.now).await?;
        match found {
            Some(record) if record.ended.is_none() => {
                let mut state = self.state();
                let untold = state.plan.new.as_ref().is_some_and(|draft| draft.record.sid == sid);
                let subject = record.subject.clone();
                state.settle(record, token);
                drop(state);
                if untold {
                    inner.settings.engine.created(sid, subject.as_deref(), inner.now);
                }
            }
            gone => {
                let ended = gone.and_then(|record| Some((record.timing, record.ended?)));
                let mut state = self.state();
                state.vanish(None, inner.now);
                state.past = ended.map(|(timing, ended)| timing.past(ended.reason, ended.at));
                return Err(ended_meanwhile());
            }
        }
        if edits.is_empty() {
            return Ok(Outcome::Done);
        }
        self.update_stored(sid, Change { edits, ..Change::at(inner.now) }, None).await
    }

    async fn update_stored(
        &self,
        sid: SessionId,
        change: Change,
        token: Option<Token>,
    ) -> Result<Outcome, Error> {
        let inner = self.inner();
        let mere_touch = !change.was_asked_for() && !self.state().insists;
        let edits = change.edits.clone();
        let updated = match inner.settings.engine.update(sid, change).await {
            // The failure is told already, and the response stands: at worst the session ends early (S6).
            Err(error) if mere_touch && error.is_store_failure() => return Ok(Outcome::Done),
            updated => updated?,
        };
        let mut state = self.state();
        match updated {
            Updated::Applied(applied) => {
                state.waited = false;
                state.plan.edits.subtract(&edits);
                state.plan.rotation = None;
                if let Some(stored) = &mut state.stored {
                    stored.recorded(&applied);
                    let live = &mut stored.live;
                    // Any other revision means that another request changed the data since it was loaded. Then the old
                    // one stays, so that a compare-and-set by what was loaded fails and looks again (S3).
                    if applied.revision == live.record.revision + u64::from(!edits.is_empty()) {
                        live.record.revision = applied.revision;
                    }
                    live.record.data.edit(&edits);
                    if let Some(token) = token.filter(|_| applied.rotated) {
                        live.record.secret = token.hash();
                        live.token = token;
                        live.proof = Proof::Current;
                        stored.told = None;
                    }
                }
                Ok(Outcome::Done)
            }
            Updated::Gone(reason) => {
                state.vanish(reason, inner.now);
                Err(ended_meanwhile())
            }
            Updated::Conflict => {
                Err(Error::new(ErrorKind::Store, "the session store saw a conflict where none was possible"))
            }
        }
    }

    /// The next call to the store that the plan asks for. The plan stays as it is until the call has succeeded, and its
    /// tokens are fixed, so that a second try after a lost answer does the same thing once.
    fn next_step(&self, scope: Scope) -> Result<Option<Step>, Error> {
        let inner = self.inner();
        let now = inner.now;
        let mut state = self.state();
        if scope == Scope::Safety {
            state.plan.new = None;
            state.plan.edits = Edits::default();
        }
        let starts = state.plan.edits.sets_any() && state.lasting().is_none();
        if starts && state.plan.new.is_none() {
            if state.is_overtaken(now) {
                return Err(ended_meanwhile());
            }
            let token = Token::generate()?;
            let record = new_record(&token, inner.policy.anonymous(now), None, Facts::default());
            state.plan.new = Some(Draft { record, token, keep_data: false });
        }
        let State { stored, plan, .. } = &mut *state;
        let subject = stored.as_ref().and_then(|stored| stored.live.record.subject.clone());

        if let Some(Draft { record, token, keep_data }) = &plan.new {
            let replaces = stored.as_ref().map(|stored| Replaced {
                sid: stored.live.record.sid,
                end: End::new(plan.end.unwrap_or(EndReason::Superseded), now),
                keep_data: *keep_data,
            });
            let cap = inner.policy.cap().filter(|_| record.subject.is_some());
            let creation = Creation { record: record.clone(), edits: plan.edits.clone(), replaces, cap };
            return Ok(Some(Step::Create { creation, token: token.clone(), replaced: subject }));
        }
        let Some(stored) = stored else { return Ok(None) };
        let sid = stored.live.record.sid;
        if let Some(reason) = plan.end {
            return Ok(Some(Step::End { sid, end: End::new(reason, now), subject }));
        }
        let token = plan.rotation.clone();
        let rotation = token.as_ref().map(|token| Rotation {
            from: stored.live.record.secret,
            to: token.hash(),
            grace: inner.policy.rotation_grace(),
        });
        let change = Change { edits: plan.edits.clone(), rotation, ..stored.interaction(now) };
        Ok((!change.is_empty()).then_some(Step::Update { sid, change, token }))
    }
}

fn ended_meanwhile() -> Error {
    Error::new(ErrorKind::Ended, "the session ended while the request was in flight, so nothing was written")
}

/// A new record, still without data.
pub(super) fn new_record(token: &Token, timing: Timing, subject: Option<Arc<str>>, facts: Facts) -> Record {
    Record {
        sid: token.sid(),
        secret: token.hash(),
        previous_secret: None,
        updated_at: timing.created_at,
        timing,
        subject,
        data: Data::default(),
        revision: 0,
        facts: Arc::new(facts),
        ended: None,
    }
}
