//! Over once is over for good (S2, S4): a session that is over by an answer or an event is found by no call that begins later,
//! whichever its node.
//!
//! Such an answer is that of a logout, of a revocation of this session, of a login in its place, or one that says why the
//! session is over. Not seen: a session that nobody asks for again.

use super::super::check::{Findings, View};

pub(super) fn judge(view: &View<'_>, findings: &mut Findings) {
    for life in view.sessions.values() {
        let Some((tick, why)) = view.end_known(life) else { continue };
        for call in life.finds.iter().filter(|call| call.start.tick > tick) {
            findings.add(life.sid, format!("is over, {why}\n  and is found by {call}"));
        }
    }
}
