//! Every end is emitted exactly once (O2), with the reason that its user sees.
//!
//! At the end of a run all deadlines have passed and a sweep has found the rest. So every session
//! is over and has one event. A session whose login was not answered needs no event. A killed node
//! loses the events that it has not emitted yet. So a session that a call without an answer may
//! have ended needs no event.

use std::collections::HashSet;

use super::super::{
    check::{Findings, Life, View},
    record::{Ask, Call},
};

/// A violation that may disappear, because a node resolves lost calls later.
pub(crate) const NEVER_EMITTED: &str = "its end was never emitted";

pub(super) fn judge(view: &View<'_>, findings: &mut Findings) {
    let terms = &view.history.terms;
    let lost: Vec<&Call> = view.history.calls.iter().filter(|call| call.end.is_none()).collect();
    for life in view.sessions.values() {
        match life.emitted[..] {
            [] => {
                let is_required = terms.is_settled && life.birth.is_some() && !is_excused(life, &lost);
                if is_required {
                    findings.add(life.sid, NEVER_EMITTED);
                }
            }
            [emitted] => {
                let shown: HashSet<_> = life.brought.iter().filter_map(|call| call.answer.past).collect();
                let other = shown.into_iter().find(|reason| *reason != emitted.reason);
                if let (Some(other), false) = (other, terms.has_faults) {
                    findings
                        .add(life.sid, format!("was emitted as {}, and shown as {other}", emitted.reason));
                }
            }
            [..] => findings
                .add(life.sid, format!("was emitted {} times: {:?}", life.emitted.len(), life.emitted)),
        }
    }
}

/// Whether a call without an answer may have ended the session.
fn is_excused(life: &Life<'_>, lost: &[&Call]) -> bool {
    lost.iter().any(|call| match &call.ask {
        Ask::Sweep | Ask::RevokeEverybody => true,
        Ask::RevokeOne(sid) => *sid == life.sid,
        Ask::RevokeSubject { user, .. } | Ask::LogIn(user) | Ask::List(user)
            if Some(*user) == life.user() =>
        {
            true
        }
        Ask::LogIn(_) if life.may_be_followed(call) => true,
        _ => life.brought.iter().any(|other| other.start == call.start),
    })
}
