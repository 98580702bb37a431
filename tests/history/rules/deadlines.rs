//! No session outlives a deadline (L2, L3, L5). A call finds a session only before both deadlines,
//! by its own node's clock. The deadlines that it sees are neither too late nor too early.
//!
//! The absolute deadline is the login's arrival plus the shorter of the lifetimes in force then and
//! at the call's arrival. The idle one counts from the latest interaction that may have been
//! recorded. A node compares its clock with times that other nodes recorded. So by the true time a
//! session may live longer by [`Terms::skew`] at most.

use super::super::{
    check::{Findings, Life, View},
    record::{Ask, Call},
};

#[cfg(doc)]
use super::super::record::Terms;

pub(super) fn judge(view: &View<'_>, findings: &mut Findings) {
    for life in view.sessions.values() {
        let Some(birth) = life.birth else { continue };
        for call in &life.finds {
            let Some(found) = &call.answer.found else { continue };
            let (then, now) =
                (view.history.policy_at(birth.start.tick), view.history.policy_at(call.start.tick));
            let absolute = birth.clock + then.absolute.min(now.absolute);
            if call.clock >= absolute {
                findings.add(life.sid, format!("outlived its absolute deadline {absolute}: {call}"));
            }
            let last = last_interaction(life, birth, call);
            let idle = last + then.idle.min(now.idle);
            if call.clock >= idle {
                findings.add(life.sid, format!("outlived its idle deadline {idle}: {call}"));
            }
            let shown = if call.ask.is_interaction() { last.max(call.clock) } else { last };
            let latest = shown + then.idle.min(now.idle);
            // A deadline that could not be recorded may be shown unchanged, but a lowering applies
            // anyway.
            let is_late = found.expires > absolute || found.idle_expires > latest;
            if is_late && !view.history.terms.has_faults {
                findings.add(life.sid, format!("is shown to live longer than {latest}/{absolute}: {call}"));
            }
            // It may include a lowering that another call recorded meanwhile.
            let earliest = view.absolute_floor(life, call.ended());
            if earliest.is_some_and(|earliest| found.expires < earliest) {
                findings.add(life.sid, format!("is shown an absolute deadline before {earliest:?}: {call}"));
            }
            let mut earliest = view.idle_floor(life, call.start.tick, call.ended());
            // The call's own interaction counts once it is recorded.
            if call.ask.is_interaction() && !view.history.terms.has_faults {
                let shortest = view.history.shortest_between(birth.start.tick, call.ended()).0;
                let own = call.clock - view.history.terms.granularity + shortest;
                earliest = earliest.map(|earliest| earliest.max(own));
            }
            if earliest.is_some_and(|earliest| found.idle_expires < earliest) {
                findings.add(life.sid, format!("is shown an idle deadline before {earliest:?}: {call}"));
            }
        }
    }
}

/// The latest interaction that may have been recorded when this call read the session, without its
/// own.
fn last_interaction(life: &Life<'_>, birth: &Call, call: &Call) -> i64 {
    let others = life.brought.iter().filter(|other| {
        other.start.tick < call.ended()
            && other.start != call.start
            && other.ask.is_interaction()
            // A login that found another session did not use this one.
            && !(matches!(other.ask, Ask::LogIn(_)) && other.found().is_some_and(|found| found != life.sid))
    });
    others.map(|other| other.clock).fold(birth.clock, i64::max)
}
