//! "Sign out everywhere" ends all sessions (S10, L14). No call that begins after it finds a session
//! of this user whose login began before it, even if the login was answered after it. The excepted
//! session stays.
//!
//! "Sign everybody out" does the same for all users: at once on its own node, and after
//! [`Terms::everybody_within`] on the others.

use super::super::{
    check::{Findings, View},
    record::{Ask, Call},
};

#[cfg(doc)]
use super::super::record::Terms;

pub(super) fn judge(view: &View<'_>, findings: &mut Findings) {
    let revocations: Vec<&Call> = view
        .history
        .calls
        .iter()
        .filter(|call| matches!(call.ask, Ask::RevokeSubject { .. } | Ask::RevokeEverybody) && call.is_done())
        .collect();
    for life in view.sessions.values() {
        let (Some(user), Some(birth)) = (life.user(), life.birth) else { continue };
        for revocation in revocations.iter().filter(|call| birth.start.tick < call.start.tick) {
            let everybody = match revocation.ask {
                Ask::RevokeSubject { user: whose, except } => {
                    if whose != user || except == Some(life.sid) {
                        continue;
                    }
                    false
                }
                _ => true,
            };
            let within = view.history.terms.everybody_within;
            let binds = |call: &&&Call| {
                let at_once = !everybody || call.node == revocation.node;
                call.start.tick > revocation.ended()
                    && (at_once || call.start.at >= revocation.ended_at() + within)
            };
            // A node that replaces a killed one does not have its state.
            for call in life.finds.iter().filter(binds) {
                findings.add(life.sid, format!("outlived\n  {revocation}\n  in {call}"));
            }
        }
    }
}
