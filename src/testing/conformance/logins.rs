//! A login under a cap, as the middleware makes it (S9).

use super::{
    bench::Bench,
    material::{end, policy},
};
use crate::{
    SessionId, SessionStore, Timestamp,
    policy::{Admission, Cap, Departure, admit},
    record::{EndOutcome, EndReason, EndRequest, Record},
    store::{CreateOutcome, Creation},
};

/// The outcome of a login.
#[derive(Debug)]
pub(super) struct Login {
    /// The new session; `None` when the cap refused it.
    pub(super) record: Option<Record>,
    /// The sessions that its calls ended, each with its reason.
    pub(super) ended: Vec<(SessionId, EndReason)>,
}

impl Login {
    pub(super) fn evicted(&self) -> Vec<SessionId> {
        let evicted = self.ended.iter().filter(|(_, reason)| *reason == EndReason::Evicted);
        evicted.map(|(sid, _)| *sid).collect()
    }
}

/// How often a login at a full cap is retried when other logins interfere.
const MAX_ATTEMPTS: usize = 1000;

impl<S: SessionStore> Bench<S> {
    /// Creates a session. While the cap is full, judges the sessions that count, and retries with
    /// their ends.
    pub(super) async fn login(&self, creation: Creation, cap: Cap, now: Timestamp) -> Login {
        let mut login = Login { record: None, ended: Vec::new() };
        let first = creation.ends.clone();
        let mut creation = Creation { cap: Some(cap.most()), ..creation };
        for _ in 0..MAX_ATTEMPTS {
            match self.create(creation.clone()).await {
                CreateOutcome::Created { record, ended } => {
                    login.note(&creation.ends, &ended);
                    login.record = Some(*record);
                    return login;
                }
                CreateOutcome::Full { count, mut sessions } => {
                    self.check_candidates(&creation, count, &sessions);
                    // The replaced session ends first anyway, so it does not count.
                    let before = sessions.len();
                    sessions.retain(|session| !first.iter().any(|(sid, _)| *sid == session.sid));
                    let count = count - (before - sessions.len());
                    match admit(cap, count, &sessions, &policy(), now) {
                        Admission::Admit(departures) => {
                            creation.ends.clone_from(&first);
                            creation.ends.extend(ends(&creation, departures, now));
                        }
                        Admission::Refuse(departures) => {
                            let ends = ends(&creation, departures, now);
                            let ended = self.end_many(ends.clone()).await;
                            login.note(&ends, &ended);
                            return login;
                        }
                    }
                }
                other => self.fail(format_args!("a login under a cap was answered {other:?}")),
            }
        }
        self.fail("a login finds its cap full however many sessions it ends")
    }

    fn check_candidates(&self, creation: &Creation, count: usize, sessions: &[Record]) {
        let named = count.min(CreateOutcome::MAX_CANDIDATES);
        self.same("how many sessions a full cap names", sessions.len(), named);
        let most = creation.cap.map_or(usize::MAX, |cap| cap.get() as usize);
        self.expect(count >= most, "a cap is full with fewer sessions than it allows");
        let others = sessions.iter().filter(|session| !creation.counts(session)).count();
        self.same("how many of the sessions that a full cap names do not count", others, 0);
    }
}

impl Login {
    fn note(&mut self, ends: &[(SessionId, EndRequest)], outcomes: &[EndOutcome]) {
        for ((sid, _), outcome) in ends.iter().zip(outcomes) {
            if let EndOutcome::Ended(session) = outcome {
                self.ended.push((*sid, session.reason));
            }
        }
    }
}

fn ends(creation: &Creation, departures: Vec<Departure>, now: Timestamp) -> Vec<(SessionId, EndRequest)> {
    let request = |departure: Departure| {
        let mut request = end(departure.reason, now);
        request.options.if_idle_since = Some(departure.last_interaction_at);
        request.options.if_realm = Some(creation.record.realm.clone());
        request.options.lowering = departure.lowering;
        (departure.sid, request)
    };
    departures.into_iter().map(request).collect()
}
