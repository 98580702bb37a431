//! The next call to the store that a request needs.

use std::sync::Arc;

use super::{
    CookieVerdict, Follows, KnownSession, Past, RequestContext, RequestState,
    answer::ended_meanwhile,
    plan::{Draft, Scope, new_record},
};
use crate::{
    Error, SessionId,
    cookie::Token,
    policy::Refusal,
    record::{BoundDevice, Change, Edits, EndReason, Facts, Record, Rotation, SecretHash},
};

/// What the request wants from the store next.
#[derive(Debug)]
pub(crate) enum StoreCall {
    Update(UpdateCall),
    Load(LoadCall),
    End(EndCall),
    Create(CreateCall),
}

/// Change a session.
#[derive(Debug)]
pub(crate) struct UpdateCall {
    pub(crate) sid: SessionId,
    /// The record as it was seen, for a store that compares and sets.
    pub(crate) seen: Option<Box<Record>>,
    pub(crate) change: Change,
    pub(crate) purpose: UpdatePurpose,
}

/// Record the interaction. Apart from the other calls, since most requests make it and no other
/// one: an [`UpdateCall`] is larger, and copied at each stop.
#[derive(Debug)]
pub(crate) struct TouchCall {
    pub(crate) sid: SessionId,
    /// The secret that the session has when the call is sent.
    pub(crate) secret: SecretHash,
    /// As in [`UpdateCall`].
    pub(crate) seen: Option<Box<Record>>,
    pub(crate) change: Change,
}

/// Why a session is changed.
#[derive(Debug)]
pub(crate) enum UpdatePurpose {
    /// To store what the handler planned; with the new token, if the secret is replaced, and the
    /// device that it is to be bound to.
    Plan { sid: SessionId, edits: Edits, token: Option<Box<Token>>, device: Option<Arc<BoundDevice>> },
    /// To change one value by what it is, if no other request changed it meanwhile.
    CompareAndSet { sid: SessionId, edits: Edits },
}

/// Load a session again.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LoadCall {
    /// After another request has changed the data.
    Reload(SessionId),
    /// Before its cookie is set.
    RecheckLive(SessionId),
    /// Before the cookie of one that is over is removed, or replaced by an anonymous session's.
    RecheckPast(SessionId),
}

/// End a session.
#[derive(Debug)]
pub(crate) struct EndCall {
    pub(crate) sid: SessionId,
    pub(crate) seen: Option<Box<Record>>,
    pub(crate) reason: EndReason,
    pub(crate) purpose: EndPurpose,
}

/// Which session is ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum EndPurpose {
    /// The known one.
    Known,
    /// That of another token of the request, if this proves it.
    Other(SecretHash),
    /// One that was over before. Its tombstone is to name this anonymous session as the successor.
    Follow(SessionId),
}

/// Create a session, and end the one that it replaces.
#[derive(Clone, Debug)]
pub(crate) struct CreateCall {
    pub(crate) draft: Draft,
    pub(crate) edits: Edits,
    pub(crate) max_data: usize,
    /// The session in the same browser that is replaced, as far as it is known.
    pub(crate) before: Option<(Box<Record>, EndReason)>,
    /// One in the same browser that is over.
    pub(crate) past: Option<Box<Past>>,
}

/// What came of a [`CreateCall`].
#[derive(Debug)]
pub(crate) enum Established {
    Done {
        record: Box<Record>,
        /// Whether it took the place of another login that was in flight: a third one may have
        /// replaced it meanwhile.
        may_be_stale: bool,
    },
    Refused(Refusal),
    /// There was a session of this id, from an earlier attempt, and it has ended since.
    Gone,
}

impl LoadCall {
    pub(crate) const fn sid(self) -> SessionId {
        match self {
            Self::Reload(sid) | Self::RecheckLive(sid) | Self::RecheckPast(sid) => sid,
        }
    }
}

/// What is wanted from the store.
impl RequestState {
    /// Records the interaction, beside the handler; `None` when nothing is due.
    pub(crate) fn take_touch(&mut self, ctx: &RequestContext<'_>) -> Option<TouchCall> {
        let known = self.known.as_mut()?;
        let change = known.take_touch(ctx.now)?;
        let (sid, secret) = (known.record.sid, known.record.secret);
        Some(TouchCall { sid, secret, seen: hint(known, ctx), change })
    }

    /// Changes one value, if the data is as this request knows it. `None` when there is no session
    /// in the store.
    pub(crate) fn compare_and_set(&mut self, edits: Edits, ctx: &RequestContext<'_>) -> Option<StoreCall> {
        let known = self.known.as_mut()?;
        let change = Change {
            edits: edits.clone(),
            if_revision: Some(known.record.revision),
            max_data: ctx.max_data,
            ..Change::at(ctx.now)
        };
        let purpose = UpdatePurpose::CompareAndSet { sid: known.record.sid, edits };
        Some(StoreCall::Update(update(known, change, purpose, ctx)))
    }

    /// Whether there is no next call. Asked before it: a call is large, and to hand over that there
    /// is none is not free.
    #[inline]
    pub(crate) fn is_carried_out(&self, scope: Scope, ctx: &RequestContext<'_>) -> bool {
        match scope {
            Scope::All | Scope::Safety => self.plan.is_empty() && !matches!(self.follows, Follows::Past(_)),
            Scope::Cookie => self.cookie_verdict(false, ctx) != CookieVerdict::Recheck,
        }
    }

    /// The next call that the plan needs, unless [`Self::is_carried_out`]; `None` when nothing is
    /// left to do.
    ///
    /// The plan stays as it is until the call has succeeded, and its tokens are fixed. So a second
    /// attempt after a lost answer does the same thing once.
    ///
    /// # Errors
    ///
    /// Without random bytes, and when what is planned is void because the session has ended.
    pub(crate) fn next_call(
        &mut self,
        scope: Scope,
        ctx: &RequestContext<'_>,
        new_token: impl FnOnce() -> Result<Token, Error>,
    ) -> Result<Option<StoreCall>, Error> {
        match scope {
            Scope::All => {}
            Scope::Safety => {
                self.plan.new = None;
                self.plan.edits = Edits::default();
            }
            Scope::Cookie => return Ok(self.recheck()),
        }
        if let (Follows::Past(past), Some(known)) = (self.follows, &self.known) {
            let (sid, reason) = (past.sid, EndReason::Superseded);
            let purpose = EndPurpose::Follow(known.record.sid);
            return Ok(Some(StoreCall::End(EndCall { sid, seen: None, reason, purpose })));
        }
        if self.starts_anonymous_session() {
            if self.known.is_none() && self.may_be_stale && self.past.is_some() {
                // The cookie of this write must not overwrite that of a login which came between.
                return Ok(self.recheck());
            }
            if !self.newer_cookie_exists(ctx) {
                let token = new_token()?;
                let record =
                    new_record(&token, ctx.realm, ctx.policy.anonymous(ctx.now), None, Facts::default());
                let record = Arc::new(record);
                self.plan.new = Some(Draft { record, token, keeps_data: false, cap: None });
            } else if self.plan.end.is_some() {
                // The logout goes on without what was written beside it.
                self.plan.edits = Edits::default();
            } else {
                return Err(ended_meanwhile());
            }
        }
        if let Some(draft) = &self.plan.new {
            let reason = self.plan.end.unwrap_or(EndReason::Superseded);
            let before =
                self.known.as_mut().map(|known| (Box::new(known.record_with_data().clone()), reason));
            return Ok(Some(StoreCall::Create(CreateCall {
                draft: draft.clone(),
                edits: self.plan.edits.clone(),
                max_data: ctx.max_data,
                before,
                past: self.past.map(Box::new),
            })));
        }
        // Others first: once the known session has ended, nothing is left to come back for.
        if let (Some(reason), Some((sid, secret))) = (self.plan.end_others, self.other_tokens.last()) {
            let purpose = EndPurpose::Other(*secret);
            return Ok(Some(StoreCall::End(EndCall { sid: *sid, seen: None, reason, purpose })));
        }
        self.plan.end_others = None;
        let Some(known) = &mut self.known else { return Ok(None) };
        if let Some(reason) = self.plan.end {
            let (sid, seen) = (known.record.sid, hint(known, ctx));
            let purpose = EndPurpose::Known;
            return Ok(Some(StoreCall::End(EndCall { sid, seen, reason, purpose })));
        }
        let rotation = self.plan.rotation.as_ref().map(|planned| {
            Box::new(Rotation {
                from: known.record.secret,
                to: planned.token.hash(ctx.realm),
                until: planned.honours_old_until(ctx),
            })
        });
        let (edits, bind_to) = (self.plan.edits.clone(), self.plan.bind_to.clone());
        let change = Change { edits, rotation, bind_to, max_data: ctx.max_data, ..Change::at(ctx.now) };
        if change.is_empty() {
            return Ok(None);
        }
        let token = self.plan.rotation.as_ref().map(|planned| Box::new(planned.token.clone()));
        let (sid, edits, device) = (known.record.sid, change.edits.clone(), change.bind_to.clone());
        let purpose = UpdatePurpose::Plan { sid, edits, token, device };
        Ok(Some(StoreCall::Update(update(known, change, purpose, ctx))))
    }

    /// Whether a value was set and there is no session for it.
    pub(super) fn starts_anonymous_session(&self) -> bool {
        self.plan.new.is_none() && self.plan.edits.sets_any() && self.lasting().is_none()
    }

    fn recheck(&self) -> Option<StoreCall> {
        let live = self.known.as_ref().map(|known| LoadCall::RecheckLive(known.record.sid));
        let past = || self.past.map(|past| LoadCall::RecheckPast(past.sid));
        live.or_else(past).map(StoreCall::Load)
    }
}

fn update(
    known: &mut KnownSession,
    change: Change,
    purpose: UpdatePurpose,
    ctx: &RequestContext<'_>,
) -> UpdateCall {
    UpdateCall { sid: known.record.sid, seen: hint(known, ctx), change, purpose }
}

/// What was seen of the session, for a store that compares and sets.
fn hint(known: &mut KnownSession, ctx: &RequestContext<'_>) -> Option<Box<Record>> {
    ctx.wants_hints.then(|| Box::new(known.record_with_data().clone()))
}
