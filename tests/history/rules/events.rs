//! Every end is told exactly once (O2), with the reason that its user is shown.
//!
//! At the end of a run, when time has passed all deadlines and a sweep has found what is left, every session is over, so each
//! has one event. A session whose login was not answered need not have one. A killed node takes with it what it has not told
//! yet: sessions that a call without an answer may have ended are not required to have an event.

use std::collections::HashSet;

use super::super::{
    check::{Findings, Life, View},
    record::{Ask, Call},
};

/// What may be so because a node has not asked yet.
pub(crate) const NEVER_TOLD: &str = "its end was never told";

pub(super) fn judge(view: &View<'_>, findings: &mut Findings) {
    let terms = &view.history.terms;
    let lost: Vec<&Call> = view.history.calls.iter().filter(|call| call.end.is_none()).collect();
    for life in view.sessions.values() {
        match life.told[..] {
            [] => {
                let is_required = terms.is_settled && life.birth.is_some() && !is_excused(life, &lost);
                if is_required {
                    findings.add(life.sid, NEVER_TOLD);
                }
            }
            [told] => {
                let shown: HashSet<_> = life.brought.iter().filter_map(|call| call.answer.past).collect();
                let other = shown.into_iter().find(|reason| *reason != told.reason);
                if let (Some(other), false) = (other, terms.has_faults) {
                    findings.add(life.sid, format!("was told as {}, and shown as {other}", told.reason));
                }
            }
            [..] => findings.add(life.sid, format!("was told {} times: {:?}", life.told.len(), life.told)),
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
