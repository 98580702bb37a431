//! A list of a user's sessions has all live ones, and none that is over or belongs to another user.
//!
//! A session must be listed if its login was answered before the list began, a call that began
//! after the list found it, and the clock of the list's node had not reached its deadlines.

use super::super::{
    check::{Findings, View},
    record::Ask,
};

pub(super) fn judge(view: &View<'_>, findings: &mut Findings) {
    for call in view.history.calls.iter().filter(|call| call.is_done()) {
        let Ask::List(user) = call.ask else { continue };
        for sid in &call.answer.listed {
            let Some(life) = view.sessions.get(sid) else { continue };
            if life.birth.is_some() && life.user() != Some(user) {
                findings.add(*sid, format!("is listed as another user's: {call}"));
            }
            if let Some((tick, why)) = view.end_known(life).filter(|(tick, _)| *tick < call.start.tick) {
                findings.add(*sid, format!("was over at {tick}, {why}, and is listed: {call}"));
            }
        }
        for life in view.sessions.values().filter(|life| life.user() == Some(user)) {
            let Some(birth) = life.birth.filter(|birth| birth.ended() < call.start.tick) else { continue };
            let found = life.finds.iter().any(|other| other.start.tick > call.ended());
            let floor = view.idle_floor(life, call.start.tick, call.ended());
            let floor = floor.min(view.absolute_floor(life, call.ended()));
            let is_due = floor.is_none_or(|floor| call.clock >= floor);
            if found && !is_due && !call.answer.listed.contains(&life.sid) {
                findings
                    .add(life.sid, format!("was live since {}, and is not listed: {call}", birth.ended()));
            }
        }
    }
}
