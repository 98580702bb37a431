//! The one place where a store's answer is taken.

use std::sync::Arc;

use super::{
    CreateCall, Established, Follows, KnownSession, LoadCall, Past, RequestContext, RequestState,
    UpdatePurpose,
    call::{EndCall, EndPurpose},
};
use crate::{
    Error, ErrorKind, SessionId,
    cookie::Token,
    policy::Refusal,
    record::{
        Applied, BoundDevice, Edits, EndOutcome, EndReason, Record, SecretHash, Timing, Tombstone,
        UpdateOutcome,
    },
};

/// What the store answered to a call.
#[derive(Debug)]
pub(crate) enum StoreAnswer {
    Updated(UpdatePurpose, Result<UpdateOutcome, Error>),
    Loaded(LoadCall, Result<Option<Box<Record>>, Error>),
    Ended(EndCall, Result<EndOutcome, Error>),
    Created(CreateCall, Result<Established, Error>),
}

/// What came of a login or a save. A refusal is a value, not an error.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a refused login opens no session"]
pub enum Outcome {
    /// It is done; a login is stored when the response goes out, or by
    /// [`Session::save`](crate::Session::save).
    Done,
    /// The login was refused.
    Refused(Refusal),
}

impl Outcome {
    /// Turns a refusal into an error, for handlers that answer it with `?`.
    ///
    /// # Errors
    ///
    /// [`Refused`](ErrorKind::Refused), with the refusal in the message.
    pub fn accepted(self) -> Result<(), Error> {
        match self {
            Self::Done => Ok(()),
            Self::Refused(refusal) => Err(Error::new(ErrorKind::Refused, refusal.to_string())),
        }
    }
}

/// What an answer means for the request.
#[derive(Debug)]
pub(crate) enum Progress {
    /// The call is done; [`RequestState::next_call`] says what follows.
    Done,
    /// The login was refused. What else was planned stands.
    Refused {
        refusal: Refusal,
        /// The user who wanted to log in.
        subject: Option<Arc<str>>,
    },
    /// Another request changed the data since this one loaded it.
    Conflict(LoadCall),
}

impl RequestState {
    /// Takes the answer to a call.
    ///
    /// # Errors
    ///
    /// What the handler that saves, or else the response, has to say: the store failed, the session
    /// ended meanwhile, its data would be too large.
    pub(crate) fn answered(
        &mut self,
        answer: StoreAnswer,
        ctx: &RequestContext<'_>,
    ) -> Result<Progress, Error> {
        match answer {
            StoreAnswer::Updated(UpdatePurpose::Plan { sid, edits, token, device }, outcome) => {
                self.planned(sid, edits, token, device, outcome?, ctx)
            }
            StoreAnswer::Updated(UpdatePurpose::CompareAndSet { sid, edits }, outcome) => {
                self.compared(sid, edits, outcome?, ctx)
            }
            StoreAnswer::Loaded(LoadCall::Reload(_), found) => {
                self.reloaded(found?);
                Ok(Progress::Done)
            }
            StoreAnswer::Loaded(LoadCall::RecheckLive(sid), found) => {
                if self.known_as(sid).is_some() {
                    self.rechecked(found, ctx);
                }
                Ok(Progress::Done)
            }
            StoreAnswer::Loaded(LoadCall::RecheckPast(_), found) => {
                self.rechecked_past(found)?;
                Ok(Progress::Done)
            }
            StoreAnswer::Ended(EndCall { purpose: EndPurpose::Follow(new), .. }, outcome) => {
                self.followed(new, outcome, ctx);
                Ok(Progress::Done)
            }
            StoreAnswer::Ended(EndCall { sid, purpose: EndPurpose::Other(secret), .. }, outcome) => {
                outcome?;
                self.other_tokens.retain(|other| *other != (sid, secret));
                Ok(Progress::Done)
            }
            StoreAnswer::Ended(EndCall { purpose: EndPurpose::Known, .. }, outcome) => {
                self.ended(&outcome?, ctx);
                // What was written to it is void.
                match std::mem::take(&mut self.follows) {
                    Follows::Login => Err(ended_meanwhile()),
                    _ => Ok(Progress::Done),
                }
            }
            StoreAnswer::Created(call, established) => self.established(&call, established?, ctx),
        }
    }

    /// Takes the answer to a `TouchCall`.
    ///
    /// # Errors
    ///
    /// When the session ended meanwhile; when the store failed and the touch must succeed.
    pub(crate) fn touched(
        &mut self,
        sid: SessionId,
        secret: &SecretHash,
        outcome: Result<UpdateOutcome, Error>,
        ctx: &RequestContext<'_>,
    ) -> Result<(), Error> {
        let must_succeed = self.touch_must_succeed;
        let touched = self.known_as(sid);
        match outcome {
            Ok(UpdateOutcome::Applied(applied)) => {
                if let Some(known) = touched {
                    known.touched(secret, &applied);
                    self.may_be_stale = false;
                }
            }
            Ok(UpdateOutcome::Gone(tombstone)) => return Err(self.gone(sid, tombstone, ctx)),
            Ok(UpdateOutcome::Conflict | UpdateOutcome::TooLarge) => {}
            // The failure is reported already, and the response stands: at worst the session
            // expires early.
            Err(error) if error.is_store_failure() && !must_succeed => {
                if let Some(known) = touched {
                    known.touch_failed();
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn planned(
        &mut self,
        sid: SessionId,
        edits: Edits,
        token: Option<Box<Token>>,
        device: Option<Arc<BoundDevice>>,
        outcome: UpdateOutcome,
        ctx: &RequestContext<'_>,
    ) -> Result<Progress, Error> {
        match outcome {
            UpdateOutcome::Applied(applied) => {
                self.plan.edits.subtract(&edits);
                self.plan.rotation = None;
                self.plan.bind_to = None;
                self.stored(sid, edits, &applied);
                if let (Some(known), Some(device), Some(bound_at)) =
                    (self.known_as(sid), device, applied.bound_at)
                {
                    let key = device.key.clone();
                    known.record.bind(&Arc::new(BoundDevice { key, bound_at }));
                }
                if let (Some(known), Some(token), true) = (self.known_as(sid), token, applied.rotated) {
                    known.rotated(applied.secret, *token);
                }
                Ok(Progress::Done)
            }
            UpdateOutcome::Gone(tombstone) => Err(self.gone(sid, tombstone, ctx)),
            UpdateOutcome::TooLarge => {
                self.plan.edits = Edits::default();
                Err(too_large(ctx.max_data))
            }
            UpdateOutcome::Conflict => Err(Error::new(
                ErrorKind::Store,
                "the session store reported a conflict for an unconditional change",
            )),
        }
    }

    fn compared(
        &mut self,
        sid: SessionId,
        edits: Edits,
        outcome: UpdateOutcome,
        ctx: &RequestContext<'_>,
    ) -> Result<Progress, Error> {
        match outcome {
            UpdateOutcome::Applied(applied) => {
                self.stored(sid, edits, &applied);
                Ok(Progress::Done)
            }
            UpdateOutcome::Gone(tombstone) => Err(self.gone(sid, tombstone, ctx)),
            UpdateOutcome::TooLarge => Err(too_large(ctx.max_data)),
            UpdateOutcome::Conflict => Ok(Progress::Conflict(LoadCall::Reload(sid))),
        }
    }

    /// Another request has changed the data. Without a live session the next attempt says why it
    /// is gone.
    fn reloaded(&mut self, found: Option<Box<Record>>) {
        if let (Some(known), Some(found)) = (&mut self.known, found.filter(|found| is_live(found)))
            && known.record.sid == found.sid
        {
            // All of it: the store may write the whole record that it gets as `seen`, if the
            // version is right.
            known.reloaded(found);
        }
    }

    /// Whether the session whose cookie is to be set is live, and its token the latest.
    fn rechecked(&mut self, found: Result<Option<Box<Record>>, Error>, ctx: &RequestContext<'_>) {
        self.may_be_stale = false;
        let Some(known) = &mut self.known else { return };
        match found {
            // The failure is reported already. A new token has to reach the browser all the same; a
            // mere refresh can wait.
            Err(_) => known.postpone_refresh(self.keep_longer),
            Ok(Some(found)) if is_live(&found) => known.see_secret(&found.secret),
            Ok(gone) => self.ended_elsewhere(gone.and_then(|record| record.tombstone()), ctx.now),
        }
    }

    /// Whether a login has followed the session that is over.
    fn rechecked_past(&mut self, found: Result<Option<Box<Record>>, Error>) -> Result<(), Error> {
        match found {
            // What the handler wrote waits for the answer.
            Err(error) if self.starts_anonymous_session() => return Err(error),
            // It is not known whether the browser has a newer cookie.
            Err(_) => self.cookie.keep(),
            Ok(found) => {
                let tombstone = found.and_then(|record| record.tombstone());
                if let (Some(past), Some(tombstone)) = (&mut self.past, tombstone) {
                    // Work that was revoked since is still in the tombstone.
                    let work_until = past.work_until.and(tombstone.work_until);
                    *past = Past { work_until, ..past.with(&tombstone) };
                }
            }
        }
        self.may_be_stale = false;
        Ok(())
    }

    /// The tombstone of the session that was over names its successor: the anonymous session, or a
    /// login that was first. Then the anonymous one goes, since its cookie would overwrite the
    /// login's. If the store failed, at worst it does.
    fn followed(&mut self, new: SessionId, outcome: Result<EndOutcome, Error>, ctx: &RequestContext<'_>) {
        let follows = std::mem::take(&mut self.follows);
        if let (Follows::Past(past), Ok(EndOutcome::AlreadyEnded { tombstone, .. })) = (follows, outcome)
            && tombstone.successor.is_some_and(|first| first.sid != new)
            && past.with(&tombstone).was_just_replaced(ctx)
        {
            self.cookie.displaced();
            self.plan.end = Some(EndReason::Superseded);
            self.follows = Follows::Login;
        }
    }

    fn ended(&mut self, outcome: &EndOutcome, ctx: &RequestContext<'_>) {
        if let EndOutcome::AlreadyEnded { tombstone, .. } = outcome
            && tombstone.reason == EndReason::Superseded
        {
            // The browser has a newer login's cookie, or will have it in a moment.
            self.cookie.displaced();
        }
        self.past = self.planned_past(ctx.now);
        self.plan.end = None;
        self.known = None;
    }

    fn established(
        &mut self,
        call: &CreateCall,
        established: Established,
        ctx: &RequestContext<'_>,
    ) -> Result<Progress, Error> {
        match established {
            Established::Done { record, may_be_stale } => {
                self.created(record, call);
                self.may_be_stale = may_be_stale;
                Ok(Progress::Done)
            }
            Established::Refused(refusal) => {
                // What was written was meant for this login, and not for the session of another
                // user.
                self.plan.new = None;
                self.plan.edits = Edits::default();
                Ok(Progress::Refused { refusal, subject: call.draft.record.subject.clone() })
            }
            Established::Gone => {
                self.ended_elsewhere(None, ctx.now);
                Err(ended_meanwhile())
            }
        }
    }

    /// An interaction was recorded that was not this request's arrival.
    pub(crate) fn touched_outside(&mut self, sid: SessionId, timing: Timing) {
        if let Some(known) = self.known_as(sid) {
            known.record.timing = timing;
        }
    }

    /// A session that was to be changed has ended.
    fn gone(&mut self, sid: SessionId, tombstone: Option<Tombstone>, ctx: &RequestContext<'_>) -> Error {
        if self.known_as(sid).is_some() {
            self.ended_elsewhere(tombstone, ctx.now);
        }
        ended_meanwhile()
    }

    /// The known session, if it is still this one: the handler may have replaced it meanwhile.
    fn known_as(&mut self, sid: SessionId) -> Option<&mut KnownSession> {
        self.known.as_mut().filter(|known| known.record.sid == sid)
    }

    /// The edits are in the store.
    fn stored(&mut self, sid: SessionId, edits: Edits, applied: &Applied) {
        let Some(known) = self.known_as(sid) else { return };
        known.updated(applied);
        // Any other revision means that another request changed the data since it was loaded. Then
        // the old one stays, so that a compare-and-set by what was loaded fails and loads again.
        if applied.revision == known.record.revision + u64::from(!edits.is_empty()) {
            known.record.revision = applied.revision;
        }
        known.edited(edits);
        self.may_be_stale = false;
    }

    /// What was planned to be new is in the store.
    fn created(&mut self, record: Box<Record>, call: &CreateCall) {
        self.follows = match self.past.take() {
            Some(past) if past.is_certain && !call.draft.is_login() => Follows::Past(past),
            _ => Follows::Nothing,
        };
        let reason = call.before.as_ref().map_or(EndReason::Superseded, |(_, reason)| *reason);
        // A login ends them, and so does a logout before what was written since.
        let ends_others = call.draft.is_login() || reason != EndReason::Superseded;
        if ends_others && !self.other_tokens.is_empty() {
            self.plan.end_others = Some(reason);
        }
        // What was planned while the store was asked is for this session: a logout, another login.
        if self.plan.new.take_if(|draft| draft.record.sid == record.sid).is_some() {
            self.plan.end = None;
            self.plan.rotation = None;
        }
        self.plan.edits.subtract(&call.edits);
        self.known = Some(KnownSession::created(record, call.draft.token.clone()));
    }
}

fn is_live(record: &Record) -> bool {
    record.tombstone().is_none()
}

pub(super) fn ended_meanwhile() -> Error {
    Error::new(ErrorKind::Ended, "the session ended while the request was in flight, so nothing was written")
}

/// The error of data over the limit.
pub(crate) fn too_large(max_data: usize) -> Error {
    Error::new(ErrorKind::TooLarge, format!("the data of a session may take at most {max_data} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cookie::Token,
        record::{DeviceProof, Proof, tests::blank},
        request::{CookieSent, Due, Live, RequestState},
    };

    /// A store that compares and sets writes the whole record that it gets as `seen`. So after a
    /// conflict nothing of the old one may stay: it would undo a rotation (H6).
    #[test]
    fn s3_after_a_conflict_the_whole_record_is_the_one_that_was_loaded() {
        let token = Token::generate().unwrap();
        let seen = Record { secret: token.hash("__Host-id"), sid: token.sid(), ..blank() };
        let (record, due) = (Box::new(seen.clone()), Due::default());
        let live = Live { record, proof: Proof::Current, device: DeviceProof::NotBound, due };
        let mut state = RequestState::default();
        state.start(CookieSent::Something, crate::record::Millis::ZERO);
        state.arrived(live, token);
        let secret = SecretHash::from_bytes([1; 32]);
        let found = Box::new(Record { secret, revision: 5, version: 9, confirmed: true, ..seen });
        state.reloaded(Some(found.clone()));
        let known = state.known.unwrap();
        assert_eq!(known.record, found);
        assert_eq!(known.proof, Proof::Grace, "another request brings the browser the new token");
    }
}
