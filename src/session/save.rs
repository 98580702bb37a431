//! The driver: performs what the request wants from the store, and hands back the answers.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use super::{Outcome, Session};
use crate::{
    EndReason, Error, ErrorKind, SessionId,
    binding::DeviceCheck,
    cookie::{Candidates, Token},
    engine::{Judged, UnsettledLogin},
    events::EventKind,
    policy::{Activity, Refusal},
    record::{DeviceProof, EndOptions, Replacement},
    request::{
        EndPurpose, OldSecret, Progress, RequestContext, Scope, StoreAnswer, StoreCall, TouchCall,
        UpdateCall, Visit,
    },
    settings::DeviceVisit,
    store::Answer,
};

impl Session {
    /// Finds the live session that the request's cookies lead to, if there is one: the first live
    /// one wins.
    ///
    /// # Errors
    ///
    /// When the store fails. Nothing is known then, and no session is taken for logged out.
    pub(crate) async fn arrive(
        self,
        candidates: Candidates,
        device: Option<DeviceVisit>,
        activity: Activity,
    ) -> Result<(), Error> {
        let inner = self.inner();
        let visit = Visit { device: device.as_ref().map(|device| &device.check), ..self.visit() };
        let (engine, realm, policy, now) = (&inner.config.engine, inner.realm(), &inner.policy, inner.now);
        let in_process = engine.store.in_process();
        // The handler is not called yet, so nothing else changes the state between two locks.
        let (mut is_live, mut touch) = (false, None);
        for token in candidates.tokens() {
            let (sid, secret) = (token.sid(), token.hash(&realm.name));
            if is_live {
                // B6: nor does a logout end a second session whose device is not proven.
                if visit.device.is_some_and(DeviceCheck::is_enforced) {
                    let passive = Activity::Passive;
                    let judged =
                        engine.judge(sid, &secret, realm, policy, now, passive, &visit, drop).await?;
                    if matches!(judged, Judged::Unproven) {
                        continue;
                    }
                }
                self.state().request.arrived_beside(sid, secret);
                continue;
            }
            let take = |live| {
                let mut state = self.state();
                state.request.arrived(live, token.clone());
                if in_process {
                    touch = state.request.take_touch(&inner.context());
                }
            };
            let judged = engine.judge(sid, &secret, realm, policy, now, activity, &visit, take).await?;
            match judged {
                Judged::Live | Judged::Unproven => {
                    is_live = matches!(judged, Judged::Live);
                    if matches!(judged, Judged::Unproven) {
                        self.state().request.arrived_unproven();
                    }
                    if let Some(device) = &device {
                        self.report_device(device, sid);
                    }
                }
                Judged::NotProved(OldSecret::Unknown) => {}
                Judged::Past(past) => self.state().request.arrived_late(past),
                Judged::NotProved(OldSecret::JustReplaced) => {
                    self.state().request.arrived_with_old_secret();
                }
                Judged::NotProved(OldSecret::Reused { may_be_in_flight }) => {
                    if may_be_in_flight {
                        self.state().request.arrived_with_old_secret();
                    }
                    self.answer(|| self.clone().secret_reused(sid, may_be_in_flight)).await?;
                }
            }
        }
        if device.is_some_and(|device| device.has_bound_cookie()) {
            self.state().has_bound_cookie = true;
        }
        if let Some(touch) = touch {
            // Before the handler, since it costs no time: a slow handler does not let its user's
            // session expire.
            match self.perform_touch(touch).await {
                Err(error) if error.is_store_failure() => return Err(error),
                // A session that has just ended counts as absent.
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Emits what the request shows of the device that its session is bound to.
    fn report_device(&self, device: &DeviceVisit, sid: SessionId) {
        let emit = |kind| {
            let inner = self.inner();
            inner.config.engine.emit(inner.now, &inner.realm().name, Some(sid), None, kind);
        };
        let state = self.state();
        let (is_unproven, refused) =
            (state.request.device() == DeviceProof::Unproven, !state.request.is_live());
        drop(state);
        if is_unproven {
            emit(EventKind::Unproven { refused });
        }
        if let Some(reason) = device.skipped(sid) {
            emit(EventKind::RefreshSkipped { reason });
        }
    }

    /// A secret that was replaced came back after its grace. Either the cookie was copied, or the
    /// browser never got the new one.
    async fn secret_reused(self, sid: SessionId, may_be_in_flight: bool) -> Result<(), Error> {
        let inner = self.inner();
        let (engine, realm, now) = (&inner.config.engine, &inner.realm().name, inner.now);
        engine.emit(now, realm, Some(sid), None, EventKind::SecretReused);
        if inner.config.ends_on_secret_reuse && !may_be_in_flight {
            let options = EndOptions { if_realm: Some(Arc::clone(realm)), ..EndOptions::default() };
            engine.end(sid, engine.end_request(EndReason::Revoked, now, options), None).await?;
        }
        Ok(())
    }

    /// Stores what is planned so far, now rather than when the response goes out.
    ///
    /// For a handler that must know. After a login, the outcome says whether the cap refused it.
    /// Before a long response, it makes sure that the data is stored. What was saved stays,
    /// whatever the handler answers.
    ///
    /// # Errors
    ///
    /// When the store failed: it is then unknown whether the change took place, and another attempt
    /// is safe. [`Ended`](ErrorKind::Ended) when the session ended meanwhile, so that nothing was
    /// written; [`TooLarge`](ErrorKind::TooLarge) when its data would exceed the limit;
    /// [`Closed`](ErrorKind::Closed) after the response head was sent.
    pub async fn save(&self) -> Result<Outcome, Error> {
        drop(self.edit()?);
        self.drive(Scope::All, &self.inner().context()).await
    }

    /// Stores what is planned, as the last act of a request.
    pub(crate) async fn commit(&self, failed: bool) -> Result<Outcome, Error> {
        let ctx = self.inner().context();
        let outcome = self.drive(if failed { Scope::Safety } else { Scope::All }, &ctx).await;
        if outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::TooLarge) {
            // The data is lost, but a logout or a rotation beside it is still stored.
            let _ = self.drive(Scope::Safety, &ctx).await;
        }
        // A login that was sent and not answered is undone now that the request gives it up.
        drop(self.state().unsettled.take());
        // The response may go out in any case, so its cookie has to be right in any case.
        let _ = self.drive(Scope::Cookie, &ctx).await;
        outcome
    }

    /// Stores what an endpoint planned, once its interaction is recorded.
    ///
    /// # Errors
    ///
    /// When the store fails. A session that ended meanwhile is no failure: the endpoint says so.
    #[cfg(feature = "browser")]
    pub(crate) async fn conclude(&self) -> Result<(), Error> {
        let stored = async {
            if let Some(touch) = self.start_touch() {
                touch.await?;
            }
            let is_done = self.state().close(self.inner()).is_some();
            if is_done { Ok(()) } else { self.commit(false).await.map(drop) }
        };
        stored.await.or_else(|error| if error.kind() == ErrorKind::Ended { Ok(()) } else { Err(error) })
    }

    /// Calls the store until the plan is carried out.
    async fn drive(&self, scope: Scope, ctx: &RequestContext<'_>) -> Result<Outcome, Error> {
        let mut outcome = Outcome::Done;
        while !self.state().request.is_carried_out(scope, ctx)
            && let Some(call) = self.next_call(scope, ctx)?
        {
            let answer = self.perform(call).await;
            match self.answered(answer, ctx) {
                Ok(Progress::Done | Progress::Conflict(_)) => {}
                Ok(Progress::Refused { refusal, .. }) => outcome = Outcome::Refused(refusal),
                // Both the refusal and this error are true. The refusal says more, so the caller
                // gets it.
                Err(error) if error.kind() == ErrorKind::Ended && outcome != Outcome::Done => {}
                Err(error) => return Err(error),
            }
        }
        Ok(outcome)
    }

    fn next_call(&self, scope: Scope, ctx: &RequestContext<'_>) -> Result<Option<StoreCall>, Error> {
        self.state().request.next_call(scope, ctx, Token::generate)
    }

    /// Performs a call, without a lock: the handler may read and plan meanwhile.
    pub(super) async fn perform(&self, call: StoreCall) -> StoreAnswer {
        let inner = self.inner();
        let (engine, realm, now) = (&inner.config.engine, inner.realm(), inner.now);
        match call {
            StoreCall::Update(UpdateCall { sid, seen, change, purpose }) => {
                StoreAnswer::Updated(purpose, engine.update(sid, &realm.name, seen, change).await)
            }
            StoreCall::Load(call) => StoreAnswer::Loaded(call, engine.load(call.sid(), now).await),
            StoreCall::End(mut call) => {
                let mut options = EndOptions::default();
                match call.purpose {
                    EndPurpose::Known => {}
                    EndPurpose::Other(secret) => options.if_secret = Some(secret),
                    EndPurpose::Follow(sid) => {
                        options.replaced_by = Some(Replacement {
                            sid,
                            subject: Arc::default(),
                            takes_data: false,
                            same_subject_only: true,
                        });
                    }
                }
                let request = engine.end_request(call.reason, now, options);
                let (sid, seen) = (call.sid, call.seen.take());
                let ended = engine.answer(|| engine.end(sid, request, seen)).await;
                StoreAnswer::Ended(call, ended)
            }
            StoreCall::Create(call) => {
                let sid = call.draft.record.sid;
                if call.draft.is_login() {
                    // It is undone when the request ends without an answer to it. A save that is
                    // dropped does not end the request.
                    let mut state = self.state();
                    if !state.unsettled.as_ref().is_some_and(|login| login.is_of(sid)) {
                        state.unsettled = Some(UnsettledLogin::new(engine, sid, now));
                    }
                }
                let established = engine.answer(|| engine.establish(&call, realm, &inner.policy)).await;
                if established.is_ok() {
                    // Not that of another login, whose answer was lost.
                    let settled = self.state().unsettled.take_if(|login| login.is_of(sid));
                    settled.into_iter().for_each(UnsettledLogin::settled);
                }
                StoreAnswer::Created(call, established)
            }
        }
    }

    pub(super) fn answered(&self, answer: StoreAnswer, ctx: &RequestContext<'_>) -> Result<Progress, Error> {
        let progress = self.state().request.answered(answer, ctx);
        if let Ok(Progress::Refused { refusal, subject }) = &progress {
            self.emit_refused(subject.as_deref(), refusal);
        }
        progress
    }

    /// There is no session, so no sid. An audit log has to know who wanted to log in.
    pub(super) fn emit_refused(&self, subject: Option<&str>, refusal: &Refusal) {
        let inner = self.inner();
        let realm = &inner.realm().name;
        inner.config.engine.emit(inner.now, realm, None, subject, EventKind::Refused(refusal));
    }

    /// Performs the touch, and hands back the answer.
    async fn perform_touch(&self, touch: TouchCall) -> Result<(), Error> {
        let inner = self.inner();
        let TouchCall { sid, secret, seen, change } = touch;
        let outcome = inner.config.engine.update(sid, &inner.realm().name, seen, change).await;
        self.state().request.touched(sid, &secret, outcome, &inner.context())
    }

    /// Starts to record the interaction, beside the handler; `None` when nothing is due.
    pub(crate) fn start_touch(&self) -> Option<Answer<'static, Result<(), Error>>> {
        let call = self.state().request.take_touch(&self.inner().context())?;
        let touching = self.clone();
        Some(self.answer(|| async move { touching.perform_touch(call).await }))
    }

    /// Whether the handler failed, so that its writes and logins are dropped.
    pub(crate) fn has_failed(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        self.inner().config.has_failed(status, headers)
    }

    /// The handler waits: other requests may change the session before it goes on.
    pub(crate) fn handler_waits(&self) {
        self.state().request.handler_waits();
    }

    /// From now on an interaction that cannot be recorded fails the request.
    pub(crate) fn touch_must_succeed(&self) {
        self.state().request.touch_must_succeed();
    }

    /// Runs a future of this session in place if the store answers at once.
    pub(crate) fn answer<T, F>(&self, future: impl FnOnce() -> F) -> Answer<'static, Result<T, Error>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        self.inner().config.engine.answer(future)
    }
}
