//! A user never has more live sessions than the cap (S9). A session is known to be live from the
//! answer to its login until the start of the last call that found it. At no time do more of these
//! spans overlap than the cap allows.
//!
//! Not detected: a session over the cap that is never used.

use std::collections::BTreeMap;

use super::super::check::{Findings, View};

pub(super) fn judge(view: &View<'_>, findings: &mut Findings) {
    let mut changes: BTreeMap<u8, Vec<(u64, bool, u32)>> = BTreeMap::new();
    for life in view.sessions.values() {
        let (Some(user), Some(birth)) = (life.user(), life.birth) else { continue };
        let Some(last) = life.finds.iter().map(|call| call.start.tick).max() else { continue };
        if birth.ended() < last {
            changes
                .entry(user)
                .or_default()
                .extend([(birth.ended(), true, life.sid), (last, false, life.sid)]);
        }
    }
    for (user, mut changes) in changes {
        changes.sort_unstable();
        let mut live = Vec::new();
        for (tick, begins, sid) in changes {
            if begins {
                live.push(sid);
                if live.len() > view.history.terms.cap {
                    findings.add(sid, format!("user {user} has {live:?} at {tick}"));
                }
            } else {
                live.retain(|other| *other != sid);
            }
        }
    }
}
