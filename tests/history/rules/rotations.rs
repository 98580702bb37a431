//! A replaced secret is honoured for its grace and no longer (C6, H6), and after `rotate_now` not
//! at all.
//!
//! The rule of causes checks that the new secret works: a call with the newest secret finds its
//! session.

use super::super::{
    check::{Findings, View},
    record::{Ask, Cookie},
};

pub(super) fn judge(view: &View<'_>, findings: &mut Findings) {
    let grace = view.history.terms.grace;
    for life in view.sessions.values() {
        let rotations = life.finds.iter().filter(|call| {
            matches!(call.ask, Ask::Rotate | Ask::RotateNow) && matches!(call.answer.cookie, Cookie::Set(_))
        });
        for rotation in rotations {
            let late = life.finds.iter().filter(|call| {
                let is_late = match rotation.ask {
                    Ask::Rotate => call.start.at >= rotation.start.at + grace,
                    _ => true,
                };
                call.token == rotation.token && call.start.tick > rotation.ended() && is_late
            });
            for call in late {
                findings.add(
                    life.sid,
                    format!("found by a secret that was replaced\n  in {rotation}\n  by {call}"),
                );
            }
        }
    }
}
