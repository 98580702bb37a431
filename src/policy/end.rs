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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        Timestamp,
        record::{Binding, CallId, Json, PreviousSecret, SecretHash, SessionId, tests::blank},
    };

    const HOUR: u64 = 60;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_unix_millis(minutes * 60_000)
    }

    /// Of alice, with data; its idle deadline is minute 15.
    fn session() -> Record {
        let data = [("a", Json::from_text("1"))].into_iter().collect();
        Record { subject: Some("alice".into()), data, ..blank() }
    }

    /// An end at this minute, after which the data waits for so many minutes.
    fn request(reason: EndReason, minute: i64, resume_for: u64) -> EndRequest {
        let call = CallId::new(minute.unsigned_abs());
        let mut request = EndRequest::new(reason, at(minute), call);
        request.options.resume_for = Millis::new(resume_for * 60_000);
        request
    }

    /// An end by a login that would take the data.
    fn login(subject: &str, minute: i64, resume_for: u64) -> EndRequest {
        let mut request = request(EndReason::Superseded, minute, resume_for);
        request.options.replaced_by = Some(Replacement {
            sid: SessionId::from_bytes([8; 16]),
            subject: subject.into(),
            takes_data: true,
            same_subject_only: false,
        });
        request
    }

    fn ended(outcome: EndOutcome) -> EndedSession {
        let EndOutcome::Ended(ended) = outcome else { panic!("{outcome:?}") };
        ended
    }

    #[test]
    fn l13_work_waits_after_a_timeout_of_a_user_only_and_until_its_time() {
        let cases = [
            (session(), request(EndReason::Idle, 24, 10), Some(at(25))),
            (session(), request(EndReason::Idle, 25, 10), None),
            (session(), request(EndReason::SignedOut, 10, 10), None),
            (Record { subject: None, ..session() }, request(EndReason::Idle, 24, 10), None),
            (Record { data: Data::default(), ..session() }, request(EndReason::Idle, 24, 10), None),
        ];
        for (mut record, request, work_until) in cases {
            ended(record.end(&request));
            assert_eq!(record.ended.unwrap().work_until, work_until, "{request:?}");
            assert_eq!(record.data.is_empty(), work_until.is_none(), "{request:?}");
        }
    }

    #[test]
    fn l13_a_tombstone_stays_as_long_as_its_work_waits_and_for_its_retention() {
        for (resume_for, forgotten) in [(10, at(75) + TICK), (2 * HOUR, at(135))] {
            let mut record = session();
            ended(record.end(&request(EndReason::Idle, 20, resume_for)));
            assert_eq!(record.ended.unwrap().forget_at, forgotten);
        }
    }

    #[test]
    fn l13_the_first_login_of_the_same_user_takes_the_work_before_its_time_is_over() {
        for (subject, minute, takes) in [("alice", 24, true), ("alice", 25, false), ("bob", 24, false)] {
            let mut record = session();
            // An anonymous session has followed it.
            let mut follow = login("", 16, 10);
            follow.options.replaced_by.as_mut().unwrap().takes_data = false;
            ended(record.end(&follow));
            let new = SessionId::from_bytes([9; 16]);
            let mut login = login(subject, minute, 10);
            login.options.replaced_by.as_mut().unwrap().sid = new;

            let EndOutcome::AlreadyEnded { tombstone, work } = record.end(&login) else { panic!() };
            assert_eq!(work.is_some(), takes, "{login:?}");
            assert_eq!(record.data.is_empty(), takes, "{login:?}");
            assert_eq!(tombstone.work_until, (!takes).then_some(at(25)), "{login:?}");
            assert_eq!(tombstone.successor.unwrap().sid == new, takes, "{login:?}");
        }
    }

    #[test]
    fn l13_a_login_that_finds_its_session_just_expired_takes_the_work_in_the_same_step() {
        let mut record = session();
        assert!(ended(record.end(&login("alice", 20, 10))).data.is_some());
        assert!(record.data.is_empty() && record.ended.unwrap().work_until.is_none());
    }

    #[test]
    fn l3_a_login_takes_the_data_of_the_same_user_and_of_a_visitor_but_not_what_was_revoked() {
        let visitor = Record { subject: None, ..session() };
        let revoked = Record { revoked_at: Some(at(5)), ..session() };
        for (mut record, subject, takes) in [
            (session(), "alice", true),
            (session(), "bob", false),
            (visitor, "bob", true),
            (revoked, "alice", false),
        ] {
            assert_eq!(
                ended(record.end(&login(subject, 10, 0))).data.is_some(),
                takes,
                "{record:?} {subject}"
            );
        }
    }

    #[test]
    fn s4_what_has_ended_keeps_neither_an_older_secret_nor_its_device_and_changes_no_earlier_than_before() {
        for (updated_at, expected) in [(at(5), at(10)), (at(11), at(11))] {
            let until = at(20);
            let mut record = Record {
                binding: Some(Arc::new(Binding::new([1; 16]))),
                previous_secret: Some(PreviousSecret { hash: SecretHash::from_bytes([1; 32]), until }),
                updated_at,
                ..session()
            };
            ended(record.end(&request(EndReason::SignedOut, 10, 0)));
            assert!(record.binding.is_none() && record.previous_secret.is_none());
            assert_eq!(record.updated_at, expected);
        }
    }
}
