//! An end is final (S2, S4): after an answer or an event that ends a session, no later call finds
//! it, on any node.
//!
//! Such an answer is that of a logout, of a revocation of this session, of a login that replaces
//! it, or one with the end reason. Not detected: a revived session that is never requested again.

use super::super::check::{Findings, View};

pub(super) fn judge(view: &View<'_>, findings: &mut Findings) {
    for life in view.sessions.values() {
        let Some((tick, why)) = view.end_known(life) else { continue };
        for call in life.finds.iter().filter(|call| call.start.tick > tick) {
            findings.add(life.sid, format!("is over, {why}\n  and is found by {call}"));
        }
    }
}
