//! How a request to end a session is carried out.

use crate::record::{
    Data, EndOutcome, EndReason, EndRequest, EndedSession, Millis, Proof, Record, Replacement, Successor,
    TimingChange, Tombstone,
};

/// How long a tombstone stays at least after the call that made it, also for a session that was
/// over long before. A caller whose answer was lost calls again to see whether the end took place.
const SETTLE_FOR: Millis = Millis::new(120_000);

/// A tombstone is still there at the end of its retention, and may be removed after that.
const TICK: Millis = Millis::new(1);

impl Record {
    /// Ends the session: drops its data and leaves a tombstone with the reason.
    ///
    /// The reason is the request's, with two exceptions. A session that is past a deadline at
    /// `request.at` ended at that deadline. One that was revoked with all sessions of its subject
    /// ended by that revocation.
    ///
    /// The call can be repeated: under the same [`CallId`] it answers as the first time, but
    /// without the data.
    ///
    /// [`CallId`]: crate::record::CallId
    ///
    /// # Example
    ///
    /// A store runs it under its lock, in `end`:
    ///
    /// ```
    /// # use tower_tenure::record::{EndOutcome, EndRequest, Record, SessionId};
    /// # type Table = std::collections::HashMap<SessionId, Record>;
    /// fn end(table: &mut Table, sid: SessionId, request: &EndRequest) -> EndOutcome {
    ///     table.get_mut(&sid).map_or(EndOutcome::Unknown, |record| record.end(request))
    /// }
    /// ```
    pub fn end(&mut self, request: &EndRequest) -> EndOutcome {
        let options = &request.options;
        let foreign = options.if_realm.as_ref().is_some_and(|realm| *realm != self.realm);
        let proves = |secret| self.prove(secret, request.at) != Proof::None;
        if foreign || !options.if_secret.as_ref().is_none_or(proves) {
            return EndOutcome::Unknown;
        }
        if let Some(tombstone) = self.ended {
            return self.end_again(tombstone, request);
        }
        let used_since = options.if_idle_since.is_some_and(|seen| self.timing.last_interaction_at > seen);
        let others =
            options.replaced_by.as_ref().is_some_and(|new| new.same_subject_only && !self.may_give_to(new));
        if (used_since && self.revoked_at.is_none()) || others {
            return EndOutcome::Spared;
        }
        let (reason, at) =
            self.end_at(&self.timing, self.revoked_at, request.at).unwrap_or((request.reason, request.at));
        self.timing.apply(&TimingChange { interaction_at: None, lowering: options.lowering });

        let by_deadline = reason.is_deadline();
        let work_until = at + options.resume_for;
        let waits = by_deadline && work_until > request.at && self.subject.is_some() && !self.data.is_empty();
        let new = options.replaced_by.as_ref();
        let data = new.filter(|new| !by_deadline && reason != EndReason::Revoked && self.gives_data_to(new));
        let data = data.map(|_| self.data.clone());
        let mut tombstone = Tombstone {
            reason,
            at,
            forget_at: (at + request.retention + TICK).max(request.at + SETTLE_FOR),
            call: request.call,
            successor: new.map(|new| Successor { sid: new.sid, at: request.at }),
            work_until: waits.then_some(work_until),
        };
        // A login that finds its session just expired proves its secret, so it takes the waiting
        // data in the same step.
        let work = self.take_work(&mut tombstone, request);
        tombstone.forget_at =
            tombstone.work_until.map_or(tombstone.forget_at, |until| until.max(tombstone.forget_at));
        self.ended = Some(tombstone);
        self.previous_secret = None;
        self.binding = None;
        if tombstone.work_until.is_none() {
            self.data = Data::default();
        }
        self.updated_at = self.updated_at.max(request.at);
        EndOutcome::Ended(self.ended_session(reason, data.or(work)))
    }

    fn end_again(&mut self, mut tombstone: Tombstone, request: &EndRequest) -> EndOutcome {
        if tombstone.call == request.call {
            return EndOutcome::Ended(self.ended_session(tombstone.reason, None));
        }
        let work = self.take_work(&mut tombstone, request);
        // A login after an expiry is noted as well. A request that the browser sent before it had
        // the new cookie then knows that it must not remove it.
        let successor = || {
            let new = request.options.replaced_by.as_ref()?;
            Some(Successor { sid: new.sid, at: request.at })
        };
        tombstone.successor = tombstone.successor.or_else(successor);
        self.ended = Some(tombstone);
        EndOutcome::AlreadyEnded { tombstone, work }
    }

    /// Hands over the data of a session that timed out, once, to a login of the same subject (L13).
    fn take_work(&mut self, tombstone: &mut Tombstone, request: &EndRequest) -> Option<Data> {
        let new = request.options.replaced_by.as_ref()?;
        let waits = tombstone.work_until.is_some_and(|until| request.at < until);
        let taken = waits && self.revoked_at.is_none() && self.subject.is_some() && self.gives_data_to(new);
        taken.then(|| {
            tombstone.work_until = None;
            tombstone.successor = Some(Successor { sid: new.sid, at: request.at });
            std::mem::take(&mut self.data)
        })
    }

    fn gives_data_to(&self, new: &Replacement) -> bool {
        new.takes_data && self.may_give_to(new)
    }

    fn may_give_to(&self, new: &Replacement) -> bool {
        self.subject.as_ref().is_none_or(|subject| *subject == new.subject)
    }

    fn ended_session(&self, reason: EndReason, data: Option<Data>) -> EndedSession {
        EndedSession { reason, subject: self.subject.clone(), realm: self.realm.clone(), data }
    }
}
