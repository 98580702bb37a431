//! No session ends without a cause. If a call sends the cookie and does not find the session,
//! either the history explains the reason that the call gets, or the secret was replaced. So no
//! session ends earlier than its deadline, except by the granularity.
//!
//! A deadline explains an end if the clock of some call that could have ended the session had
//! reached it. It is not known which call did, so an early end is detected only if no such clock
//! had reached the deadline.
//!
//! If the store never fails, no call is answered with 503. No login is refused for a cap that was
//! not full.

use tower_tenure::EndReason;

use super::super::{
    check::{Findings, Life, View},
    record::{Ask, Call, Outcome, User},
};

pub(super) fn judge(view: &View<'_>, findings: &mut Findings) {
    let terms = &view.history.terms;
    for call in &view.history.calls {
        match (call.answer.outcome, &call.ask) {
            (Outcome::Unavailable, _) if !terms.has_faults => {
                findings.add(call.found(), format!("a store without faults, and 503: {call}"));
            }
            (Outcome::Full, Ask::LogIn(user)) if possible(view, *user, call) < terms.cap => {
                findings.add(call.found(), format!("the cap was not full: {call}"));
            }
            (Outcome::SignedOut, Ask::LogIn(user)) => {
                let revoked = view.history.calls.iter().any(|other| {
                    covers(other, *user, None) && other.start.tick < call.ended() && may_cover(other, call)
                });
                if !revoked {
                    findings.add(call.found(), format!("no revocation explains the refusal: {call}"));
                }
            }
            _ => {}
        }
    }
    for life in view.sessions.values() {
        for call in life.brought.iter().filter(|call| call.answer.handled) {
            let is_explained = match call.answer.past {
                _ if call.found() == Some(life.sid) => true,
                None => is_replaced(view, life, call),
                Some(reason) => is_cause(view, life, call, reason),
            };
            if !is_explained {
                findings.add(life.sid, format!("is over without a cause: {call}"));
            }
        }
    }
}

/// Whether the call's secret may be invalid.
fn is_replaced(view: &View<'_>, life: &Life<'_>, call: &Call) -> bool {
    let terms = &view.history.terms;
    let issued = call.token.and_then(|token| view.tokens.get(&token));
    let rotations: Vec<_> = life
        .brought
        .iter()
        .filter(|other| matches!(other.ask, Ask::Rotate | Ask::RotateNow))
        .filter(|other| other.start.tick < call.ended() && other.start != call.start)
        .filter(|other| issued.is_none_or(|(_, issuer)| issuer.start != other.start))
        .collect();
    let after_grace = rotations
        .iter()
        .any(|rotation| rotation.ask == Ask::RotateNow || call.ended_at() >= rotation.start.at + terms.grace);
    // A replaced secret is invalid for an ended session.
    let may_end = !life.finds.iter().any(|other| other.start.tick > call.ended());
    let forgotten =
        life.emitted.iter().any(|emitted| emitted.when.at + terms.retention <= call.ended_at() + terms.skew);
    forgotten || after_grace || rotations.len() > 1 || (!rotations.is_empty() && may_end)
}

/// Whether the history explains the reason that this call got.
fn is_cause(view: &View<'_>, life: &Life<'_>, call: &Call, reason: EndReason) -> bool {
    let began = |other: &&Call| other.start.tick < call.ended();
    let mut calls = view.history.calls.iter().filter(began);
    let is_birth = |other: &Call| life.birth.is_some_and(|birth| birth.start == other.start);
    let in_its_browser = |other: &Call| Some(other.browser) == life.browser() && !is_birth(other);
    match reason {
        EndReason::Idle => calls.any(|judge| {
            let floor = view.idle_floor(life, judge.start.tick, judge.ended().min(call.ended()));
            may_judge(life, judge) && floor.is_none_or(|floor| judge.clock >= floor)
        }),
        EndReason::Absolute => calls.any(|judge| {
            let floor = view.absolute_floor(life, judge.ended().min(call.ended()));
            may_judge(life, judge) && floor.is_none_or(|floor| judge.clock >= floor)
        }),
        EndReason::SignedOut => calls.any(|other| other.ask == Ask::LogOut && in_its_browser(other)),
        EndReason::Superseded => {
            calls.any(|other| matches!(other.ask, Ask::LogIn(_)) && in_its_browser(other))
        }
        EndReason::Revoked => calls.any(|other| {
            let covers = other.ask == Ask::RevokeOne(life.sid)
                || life.user().is_some_and(|user| covers(other, user, Some(life.sid)));
            covers && life.birth.is_none_or(|birth| may_cover(other, birth))
        }),
        EndReason::Evicted => life.user().is_some_and(|user| {
            calls.any(|login| {
                login.ask == Ask::LogIn(user)
                    && !is_birth(login)
                    && possible(view, user, login) >= view.history.terms.cap
            })
        }),
        _ => false,
    }
}

/// Whether a call may read a session and end it by time.
fn may_judge(life: &Life<'_>, call: &Call) -> bool {
    match &call.ask {
        Ask::Sweep => true,
        Ask::RevokeOne(sid) => *sid == life.sid,
        Ask::RevokeSubject { user, .. } | Ask::List(user) => Some(*user) == life.user(),
        Ask::LogIn(user) if Some(*user) == life.user() || life.may_be_followed(call) => true,
        _ => life.brought.iter().any(|other| other.start == call.start),
    }
}

fn covers(revocation: &Call, user: User, sid: Option<u32>) -> bool {
    match revocation.ask {
        Ask::RevokeSubject { user: whose, except } => whose == user && (except.is_none() || except != sid),
        Ask::RevokeEverybody => true,
        _ => false,
    }
}

/// A revocation covers no login that arrived later.
fn may_cover(revocation: &Call, login: &Call) -> bool {
    revocation.ended_at() >= login.start.at
}

/// How many other sessions of the user may exist during this login.
fn possible(view: &View<'_>, user: User, login: &Call) -> usize {
    let logins = view.history.calls.iter().filter(|other| {
        let may_be = !matches!(other.answer.outcome, Outcome::Full | Outcome::SignedOut | Outcome::Over);
        other.ask == Ask::LogIn(user)
            && other.start.tick < login.ended()
            && other.start != login.start
            && may_be
    });
    let lives = logins.filter(|other| {
        let ended = other.began().and_then(|(sid, _)| view.sessions.get(&sid));
        let ended = ended.and_then(|life| life.emitted.iter().map(|emitted| emitted.when.tick).min());
        ended.is_none_or(|tick| tick > login.start.tick)
    });
    lives.count()
}
