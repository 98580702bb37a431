//! What the handler wants.

use std::{borrow::Cow, sync::Arc};

use super::{RequestContext, RequestState};
use crate::{
    Error, SessionId, Timestamp,
    cookie::Token,
    policy::Cap,
    record::{BoundDevice, Data, Edits, EndReason, Facts, Json, Proof, Record, Timing},
};

/// What is to be stored.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// End the known session, for this reason.
    pub(super) end: Option<EndReason>,
    /// End the sessions of the request's other tokens, for this reason.
    pub(super) end_others: Option<EndReason>,
    /// Put a new session in its place.
    pub(super) new: Option<Draft>,
    /// Change the data: of the new session if there is one, else of the known one.
    pub(super) edits: Edits,
    /// Replace the secret of the known session.
    pub(super) rotation: Option<PlannedRotation>,
    /// Bind the known session to a device.
    pub(super) bind_to: Option<Arc<BoundDevice>>,
}

/// A session that is to be created.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    /// Shared: the plan keeps it until the store has answered.
    pub(crate) record: Arc<Record>,
    pub(crate) token: Token,
    /// Whether it takes over the data of the known session.
    pub(crate) keeps_data: bool,
    /// How many sessions its subject may have.
    pub(crate) cap: Option<Cap>,
}

#[derive(Clone, Debug)]
pub(super) struct PlannedRotation {
    pub(super) token: Token,
    /// Whether the old secret is honoured for the policy's grace.
    has_grace: bool,
}

/// How much of a plan is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All of it.
    All,
    /// Only logout, revocation and rotation, which are for safety: the handler failed.
    Safety,
    /// Nothing of it: only what the cookie of the response depends on.
    Cookie,
}

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        self.end.is_none()
            && self.end_others.is_none()
            && self.new.is_none()
            && self.edits.is_empty()
            && self.rotation.is_none()
            && self.bind_to.is_none()
    }
}

impl Draft {
    pub(crate) fn is_login(&self) -> bool {
        self.record.subject.is_some()
    }
}

impl PlannedRotation {
    pub(super) fn honours_old_until(&self, ctx: &RequestContext<'_>) -> Timestamp {
        if self.has_grace { ctx.shared_now + ctx.policy.rotation_grace() } else { ctx.shared_now }
    }
}

/// What a handler plans.
impl RequestState {
    pub(crate) fn has_plan(&self) -> bool {
        !self.plan.is_empty()
    }

    pub(crate) fn plans_login(&self) -> bool {
        self.planned_login().is_some()
    }

    pub(super) fn planned_login(&self) -> Option<&Draft> {
        self.plan.new.as_ref().filter(|draft| draft.is_login())
    }

    /// Ends what there is: what was planned for it is void.
    pub(crate) fn plan_end(&mut self, reason: EndReason) {
        // Also a session that a save is creating right now.
        let any = self.known.is_some() || self.plan.new.is_some();
        let end = self.plan.end.or(any.then_some(reason));
        let others = (!self.other_tokens.is_empty()).then_some(reason);
        self.plan = Plan { end, end_others: self.plan.end_others.or(others), ..Plan::default() };
    }

    /// The session whose secret the holder of this token may replace. A new session has a new
    /// secret anyway, but a failed request drops the login and still rotates.
    pub(crate) fn rotatable(&self) -> Option<SessionId> {
        let known = self.lasting()?;
        (known.proof == Proof::Current).then_some(known.record.sid)
    }

    /// Replaces the secret. Of two rotations in one request the stricter one counts.
    pub(crate) fn plan_rotation(&mut self, token: Token, has_grace: bool) {
        match &mut self.plan.rotation {
            Some(planned) => planned.has_grace &= has_grace,
            None => self.plan.rotation = Some(PlannedRotation { token, has_grace }),
        }
    }

    /// Binds the session to a device.
    #[cfg(feature = "device-binding")]
    pub(crate) fn plan_binding(&mut self, device: BoundDevice) {
        self.plan.bind_to = Some(Arc::new(device));
    }

    pub(crate) fn plan_login(&mut self, record: Record, token: Token, cap: Option<Cap>) {
        let subject = record.subject.clone().unwrap_or_default();
        let owner = match &self.plan.new {
            Some(draft) => draft.record.subject.as_deref(),
            None => self.lasting().and_then(|known| known.record.subject.as_deref()),
        };
        // The data goes on: that of the same user, or of an anonymous visitor.
        let keeps = owner.is_none_or(|owner| *owner == *subject);
        // A second login in the same request replaces the first one's plan, which never was a
        // session.
        let keeps_data =
            keeps && self.plan.end.is_none() && self.plan.new.as_ref().is_none_or(|draft| draft.keeps_data);
        if !keeps {
            self.plan.edits = Edits::default();
        }
        self.plan.new = Some(Draft { record: Arc::new(record), token, keeps_data, cap });
    }

    /// Sets or removes a value.
    ///
    /// # Errors
    ///
    /// When the data would exceed its limit. Nothing is changed then.
    pub(crate) fn plan_edit(
        &mut self,
        key: Cow<'static, str>,
        value: Option<Json>,
        max_data: usize,
    ) -> Result<(), Error> {
        let Some(value) = value else {
            self.plan.edits.remove(key);
            return Ok(());
        };
        let before = self.plan.edits.get(&key).map(Option::<&Json>::cloned);
        self.plan.edits.set(key.clone(), value);
        let edits = self.plan.edits.clone();
        let fits = self.data().unwrap_or(&Data::default()).fits_after(&edits, max_data);
        drop(edits);
        if fits {
            return Ok(());
        }
        match before {
            Some(Some(value)) => self.plan.edits.set(key, value),
            Some(None) => self.plan.edits.remove(key),
            None => self.plan.edits.forget(&key),
        }
        Err(super::too_large(max_data))
    }

    /// Removes all values.
    pub(crate) fn plan_clear(&mut self) {
        let planned: Vec<_> = self.plan.edits.iter().map(|(key, _)| key.to_owned()).collect();
        let stored = self.data().into_iter().flat_map(Data::iter).map(|(key, _)| key.to_owned());
        let keys: Vec<_> = stored.chain(planned).collect();
        for key in keys {
            self.plan.edits.remove(key);
        }
    }
}

/// A new record, still without data.
pub(crate) fn new_record(
    token: &Token,
    realm: &Arc<str>,
    timing: Timing,
    subject: Option<Arc<str>>,
    facts: Facts,
) -> Record {
    let secret = token.hash(realm);
    Record { subject, ..Record::new(token.sid(), realm, secret, timing, facts) }
}
