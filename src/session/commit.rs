//! From the plan of a request to one call to the store, and back.

use std::sync::Arc;

use super::{
    Outcome, Session,
    state::{Cookie, Draft, State},
};
use crate::{
    Error, ErrorKind,
    engine::{Established, NewSession, Past, Predecessor, UnsettledLogin, too_large},
    record::{
        Change, Data, Edits, EndOptions, EndOutcome, EndReason, Facts, Millis, Proof, Record, Rotation,
        Timing, TimingChange, Tombstone, UpdateOutcome,
    },
    store::Answer,
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
#[expect(clippy::large_enum_variant, reason = "short-lived")]
enum Step {
    Create { draft: Draft, edits: Edits, before: Option<(Record, EndReason)>, past: Option<Past> },
    Update { seen: Record, change: Change, token: Option<Token> },
    End { seen: Record, reason: EndReason },
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
    /// [`TooLarge`](ErrorKind::TooLarge) when its data would exceed the limit;
    /// [`Closed`](ErrorKind::Closed) after the response head was sent.
    pub async fn save(&self) -> Result<Outcome, Error> {
        drop(self.edit()?);
        self.carry_out(Scope::All).await
    }

    /// Stores what is planned, as the last act of a request.
    pub(crate) async fn commit(&self, failed: bool) -> Result<Outcome, Error> {
        let outcome = self.carry_out(if failed { Scope::Safety } else { Scope::All }).await;
        // A login that was sent and not answered is undone now that the request gives it up.
        drop(self.state().unsettled.take());
        self.recheck().await;
        outcome
    }

    /// The handler waits for something: what the store said before may be out of date when it goes on.
    pub(crate) fn handler_waits(&self) {
        self.state().may_be_stale = true;
    }

    /// Starts to record what is due of this request, to run beside the handler (L9); `None` when nothing is due.
    pub(crate) fn start_touch(&self) -> Option<Answer<'static, Result<(), Error>>> {
        let (seen, change) = {
            let mut state = self.state();
            let stored = state.stored.as_mut()?;
            let change = stored.live.touch(self.inner().now);
            if change.is_empty() {
                return None;
            }
            stored.live.due = TimingChange::default();
            stored.live.confirms = false;
            stored.live.last_seen = None;
            (stored.live.record.clone(), change)
        };
        let touching = self.clone();
        Some(self.answer(|| async move { touching.touch_stored(seen, change).await }))
    }

    /// Records what is due. A failure was reported already, and the response stands: at worst the session ends early (S6).
    async fn touch_stored(&self, seen: Record, change: Change) -> Result<(), Error> {
        let inner = self.inner();
        let outcome = match inner.config.engine.update(&seen, change).await {
            Err(error) if error.is_store_failure() && !self.state().touch_must_succeed => return Ok(()),
            outcome => outcome?,
        };
        let mut state = self.state();
        match outcome {
            UpdateOutcome::Applied(applied) => {
                state.touched(&seen, &applied);
                Ok(())
            }
            UpdateOutcome::Gone(tombstone) => {
                if state.stored.as_ref().is_some_and(|stored| stored.live.record.sid == seen.sid) {
                    state.ended_elsewhere(tombstone, inner.now);
                }
                Err(ended_meanwhile())
            }
            UpdateOutcome::Conflict | UpdateOutcome::TooLarge => Ok(()),
        }
    }

    /// The session may have ended or rotated while the handler waited; reads it again before its cookie is set. The cookie
    /// would otherwise overwrite that of a newer login (S4, C6).
    async fn recheck(&self) {
        let inner = self.inner();
        let Some(sid) = self.state().needs_recheck() else { return };
        let found = inner.config.engine.load(sid, inner.now).await;
        let mut state = self.state();
        // A failure was reported already. A new token has to reach the browser all the same; a mere refresh can wait.
        let Ok(found) = found else {
            if let Some(stored) = &mut state.stored {
                stored.postpone_refresh();
            }
            return;
        };
        match found {
            Some(record) if record.tombstone().is_none() => {
                if let Some(stored) = &mut state.stored {
                    stored.live.see_secret(&record.secret);
                }
            }
            gone => state.ended_elsewhere(gone.and_then(|record| record.tombstone()), inner.now),
        }
    }

    /// From now on an interaction that cannot be recorded fails the request.
    #[cfg_attr(not(feature = "browser"), expect(dead_code, reason = "only an endpoint needs it"))]
    pub(crate) fn touch_must_succeed(&self) {
        self.state().touch_must_succeed = true;
    }

    /// Closes the session to changes; `false` when there is nothing to commit, as there is for most requests.
    pub(crate) fn close(&self) -> bool {
        let inner = self.inner();
        let mut state = self.state();
        state.close();
        // Looking again costs nothing where the store is in this process, so there a handler that was merely slow counts.
        state.may_be_stale |= inner.config.engine.store.in_process();
        !state.plan.is_empty() || state.unsettled.is_some() || state.needs_recheck().is_some()
    }

    /// Runs a future of this session where it stands if the store answers at once.
    pub(crate) fn answer<T, F>(&self, future: impl FnOnce() -> F) -> Answer<'static, Result<T, Error>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        self.inner().config.engine.answer(future)
    }

    async fn carry_out(&self, scope: Scope) -> Result<Outcome, Error> {
        let Some(step) = self.next_step(scope)? else { return Ok(Outcome::Done) };
        let outcome = self.take(step).await?;
        if outcome == Outcome::Done {
            return Ok(outcome);
        }
        // What stands without the refused login: a logout or a rotation beside it.
        if let Some(step) = self.next_step(scope)? {
            match self.take(step).await {
                Err(error) if error.kind() != ErrorKind::Ended => return Err(error),
                _ => {}
            }
        }
        Ok(outcome)
    }

    async fn take(&self, step: Step) -> Result<Outcome, Error> {
        let inner = self.inner();
        let engine = &inner.config.engine;
        match step {
            Step::End { seen, reason } => {
                self.end_unexamined(reason).await?;
                let request = engine.end_request(reason, inner.now, EndOptions::default());
                let outcome = engine.end(seen.sid, request, Some(&seen)).await?;
                let mut state = self.state();
                let superseded = |tombstone: Tombstone| tombstone.reason == EndReason::Superseded;
                if matches!(outcome, EndOutcome::AlreadyEnded { tombstone, .. } if superseded(tombstone)) {
                    state.cookie = Cookie::Displaced; // the browser has a newer login's, or will have it in a moment
                }
                state.past = state.ending(inner.now);
                state.plan.end = None;
                state.stored = None;
                Ok(Outcome::Done)
            }
            Step::Update { seen, change, token } => self.update_stored(&seen, change, token).await,
            Step::Create { draft, edits, before, past } => self.establish(draft, edits, before, past).await,
        }
    }

    async fn establish(
        &self,
        draft: Draft,
        edits: Edits,
        before: Option<(Record, EndReason)>,
        past: Option<Past>,
    ) -> Result<Outcome, Error> {
        let inner = self.inner();
        let engine = &inner.config.engine;
        let Draft { record, token, keep_data, cap } = draft;
        let (sid, subject) = (record.sid, record.subject.clone());
        if subject.is_some() {
            // Undone when the request ends without having heard of it. A save that is dropped does not end the request.
            let mut state = self.state();
            if !state.unsettled.as_ref().is_some_and(|login| login.is_of(sid)) {
                state.unsettled = Some(UnsettledLogin::new(engine, sid, inner.now));
            }
        }
        let ends = before.as_ref().map_or(EndReason::Superseded, |(_, reason)| *reason);
        let new = NewSession {
            record,
            edits: edits.clone(),
            realm: inner.realm(),
            policy: &inner.policy,
            cap,
            max_data: inner.config.max_data,
            before: before.as_ref().map(|(record, reason)| Predecessor {
                record,
                reason: *reason,
                keeps_data: keep_data,
            }),
            past: past.filter(|past| past.work_waits(inner.now)).map(|past| past.sid),
            successor: past.and_then(|past| past.successor),
        };
        let established = engine.establish(new).await?;
        let unsettled = self.state().unsettled.take();
        unsettled.into_iter().for_each(UnsettledLogin::settled);
        match established {
            Established::Done(record) => {
                self.settle(record, token, &edits);
                if subject.is_some() {
                    self.end_unexamined(ends).await?;
                }
                Ok(Outcome::Done)
            }
            Established::Refused(refusal) => {
                self.emit_refused(subject.as_deref(), &refusal);
                // What was written was meant for this login, and not for the session of another user.
                let mut state = self.state();
                state.plan.new = None;
                state.plan.edits = Edits::default();
                Ok(Outcome::Refused(refusal))
            }
            // It ended while its answer was lost.
            Established::Gone => {
                let mut state = self.state();
                state.ended_elsewhere(None, inner.now);
                Err(ended_meanwhile())
            }
        }
    }

    fn settle(&self, record: Record, token: Token, edits: &Edits) {
        let mut state = self.state();
        state.created(record, token, self.keep_longer());
        state.plan.edits.subtract(edits);
    }

    /// Ends the sessions of the other cookies that this request brought (C5).
    async fn end_unexamined(&self, reason: EndReason) -> Result<(), Error> {
        let inner = self.inner();
        let engine = &inner.config.engine;
        let unexamined = std::mem::take(&mut self.state().unexamined);
        for (sid, secret) in unexamined {
            let options = EndOptions { if_secret: Some(secret), ..EndOptions::default() };
            engine.end(sid, engine.end_request(reason, inner.now, options), None).await?;
        }
        Ok(())
    }

    /// How much longer than its session a persistent cookie lives.
    pub(super) fn keep_longer(&self) -> Millis {
        self.inner().policy.resume_for().into()
    }

    /// A change that changes nothing yet.
    pub(super) fn change(&self) -> Change {
        Change { max_data: self.inner().config.max_data, ..Change::at(self.inner().now) }
    }

    async fn update_stored(
        &self,
        seen: &Record,
        change: Change,
        token: Option<Token>,
    ) -> Result<Outcome, Error> {
        let inner = self.inner();
        let mere_touch = !change.was_asked_for() && !self.state().touch_must_succeed;
        let edits = change.edits.clone();
        let updated = match inner.config.engine.update(seen, change).await {
            // The failure was reported already, and the response stands: at worst the session ends early (S6).
            Err(error) if mere_touch && error.is_store_failure() => return Ok(Outcome::Done),
            updated => updated?,
        };
        let mut state = self.state();
        match updated {
            UpdateOutcome::Applied(applied) => {
                state.may_be_stale = false;
                state.plan.edits.subtract(&edits);
                state.plan.rotation = None;
                if let Some(stored) = &mut state.stored {
                    stored.live.recorded(&applied);
                    let live = &mut stored.live;
                    // Any other revision means that another request changed the data since it was loaded. Then the old
                    // one stays, so that a compare-and-set by what was loaded fails and looks again (S3).
                    if applied.revision == live.record.revision + u64::from(!edits.is_empty()) {
                        live.record.revision = applied.revision;
                    }
                    live.record.data.edit(&edits);
                    if let Some(token) = token.filter(|_| applied.rotated) {
                        live.record.secret = applied.secret;
                        live.token = token;
                        live.proof = Proof::Current;
                        stored.browser_has = None;
                    }
                }
                Ok(Outcome::Done)
            }
            UpdateOutcome::Gone(tombstone) => {
                state.ended_elsewhere(tombstone, inner.now);
                Err(ended_meanwhile())
            }
            UpdateOutcome::TooLarge => {
                state.plan.edits = Edits::default();
                Err(too_large(inner.config.max_data))
            }
            UpdateOutcome::Conflict => {
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
            if state.newer_cookie_exists(now, inner.config.in_flight_window()) {
                return Err(ended_meanwhile());
            }
            let token = Token::generate()?;
            let realm = inner.realm();
            let record = new_record(&token, &realm.name, inner.policy.anonymous(now), None, Facts::default());
            state.plan.new = Some(Draft { record, token, keep_data: false, cap: None });
        }
        let past = state.past;
        let State { stored, plan, .. } = &mut *state;
        if let Some(draft) = &plan.new {
            let before = stored
                .as_ref()
                .map(|stored| (stored.live.record.clone(), plan.end.unwrap_or(EndReason::Superseded)));
            let (draft, edits) = (draft.clone(), plan.edits.clone());
            return Ok(Some(Step::Create { draft, edits, before, past }));
        }
        let Some(stored) = stored else { return Ok(None) };
        let seen = || stored.live.record.clone();
        if let Some(reason) = plan.end {
            return Ok(Some(Step::End { seen: seen(), reason }));
        }
        let token = plan.rotation.clone();
        let rotation = token.as_ref().map(|token| Rotation {
            from: stored.live.record.secret,
            to: token.hash(&inner.realm().name),
            until: inner.config.engine.shared_time_as_known(now) + inner.policy.rotation_grace(),
        });
        let touch = stored.live.touch(now);
        let change = Change { edits: plan.edits.clone(), rotation, max_data: inner.config.max_data, ..touch };
        Ok((!change.is_empty()).then(|| Step::Update { seen: seen(), change, token }))
    }
}

fn ended_meanwhile() -> Error {
    Error::new(ErrorKind::Ended, "the session ended while the request was in flight, so nothing was written")
}

/// A new record, still without data.
pub(super) fn new_record(
    token: &Token,
    realm: &Arc<str>,
    timing: Timing,
    subject: Option<Arc<str>>,
    facts: Facts,
) -> Record {
    Record {
        sid: token.sid(),
        realm: Arc::clone(realm),
        secret: token.hash(realm),
        previous_secret: None,
        updated_at: timing.created_at,
        admitted_at: timing.created_at,
        timing,
        subject,
        epoch: 0,
        confirmed: false,
        data: Data::default(),
        revision: 0,
        facts: Arc::new(facts),
        ended: None,
        revoked_at: None,
        version: 0,
    }
}
