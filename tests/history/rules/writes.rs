//! No acknowledged write is lost or applied twice (S3), and none that failed is applied (H3).
//!
//! Each append adds its own number to a session's list. A call finds all numbers that were appended
//! before it began. No number occurs twice, and none that was refused or failed. A later call finds
//! a list that begins with the list of an earlier call. The value of a register that a call finds
//! was not overwritten before the call began.
//!
//! A login of the same user in the same browser, or of an anonymous visitor, takes the data over.
//! The new session has what was written before the login began. That is required only if this login
//! ended the old session.
//!
//! Not detected: a register that is lost and written again before a read, and writes that are never
//! read.

use std::collections::{HashMap, HashSet};

use tower_tenure::EndReason;

use super::super::{
    check::{Findings, Life, View},
    record::{Ask, Call, Found, Outcome, Sid},
};

pub(super) fn judge(view: &View<'_>, findings: &mut Findings) {
    let parents = parents(view);
    for life in view.sessions.values() {
        let heritage = heritage_of(view, life, &parents);
        let mut longest: Option<(&Call, &[u32])> = None;
        let mut reads: Vec<&Call> = life.finds.clone();
        reads.sort_unstable_by_key(|call| call.ended());
        for call in &reads {
            let Some(found) = &call.answer.found else { continue };
            judge_list(view, &heritage, call, &found.list, findings);
            if let Some(appended) = &call.answer.appended {
                judge_list(view, &heritage, call, appended, findings);
            }
            judge_registers(view, &heritage, call, found, findings);
        }
        // In the order of their starts, each call sees at least what earlier finished calls saw.
        let mut by_start = life.finds.clone();
        by_start.sort_unstable_by_key(|call| call.start.tick);
        let mut ended = reads.iter().peekable();
        for call in by_start {
            while let Some(earlier) = ended.next_if(|earlier| earlier.ended() < call.start.tick) {
                let seen = earlier.answer.appended.as_ref();
                let seen = seen.or(earlier.answer.found.as_ref().map(|found| &found.list));
                let seen = seen.map_or(&[][..], Vec::as_slice);
                if longest.is_none_or(|(_, list)| list.len() <= seen.len()) {
                    longest = Some((earlier, seen));
                }
            }
            let (Some((earlier, seen)), Some(found)) = (longest, &call.answer.found) else { continue };
            if !found.list.starts_with(seen) {
                findings.add(life.sid, format!("went back\n  from {earlier}\n  to {call}"));
            }
        }
    }
}

/// The session whose data a session took over, and the login that did it.
fn parents<'a>(view: &View<'a>) -> HashMap<Sid, (Sid, &'a Call)> {
    let mut parents = HashMap::new();
    for old in view.sessions.values() {
        let ([emitted], Some(birth)) = (&old.emitted[..], old.birth) else { continue };
        // A concurrent login of the browser may follow the chain of sessions, and be the one that
        // took over the data.
        let logins: Vec<_> = view
            .history
            .calls
            .iter()
            .filter(|call| matches!(call.ask, Ask::LogIn(_)) && call.browser == birth.browser)
            .filter(|call| call.start != birth.start && call.ended() > birth.start.tick)
            .take_while(|call| call.start.tick < emitted.when.tick)
            .collect();
        let [login] = logins[..] else { continue };
        let same = old.user().is_none() || matches!(login.ask, Ask::LogIn(user) if Some(user) == old.user());
        let (Some(new), true) = (login.began(), same && emitted.reason == EndReason::Superseded) else {
            continue;
        };
        if login.is_done() && login.found() == Some(old.sid) {
            parents.insert(new.0, (old.sid, login));
        }
    }
    parents
}

/// A session and those whose data it took over, each with the tick before which a write to it
/// counts.
fn heritage_of(view: &View<'_>, life: &Life<'_>, parents: &HashMap<Sid, (Sid, &Call)>) -> HashMap<Sid, u64> {
    let mut heritage = HashMap::from([(life.sid, u64::MAX)]);
    let mut sid = life.sid;
    while let Some((old, login)) = parents.get(&sid) {
        if heritage.insert(*old, login.start.tick).is_some() || !view.sessions.contains_key(old) {
            break;
        }
        sid = *old;
    }
    heritage
}

/// The session that a call wrote to.
fn target(call: &Call) -> Option<Sid> {
    call.found().or(call.answer.sid)
}

fn judge_list(
    view: &View<'_>,
    heritage: &HashMap<Sid, u64>,
    call: &Call,
    list: &[u32],
    findings: &mut Findings,
) {
    let sid = call.found();
    let mut seen = HashSet::new();
    for value in list {
        if !seen.insert(value) {
            findings.add(sid, format!("{value} was applied twice: {call}"));
        }
        let writer = view.writers.get(value);
        judge_writer(view, writer.copied(), call, *value, findings);
    }
    for (writer, before) in writers_of(view, heritage) {
        if let (Ask::Append(value), true) = (&writer.ask, writer.is_done()) {
            let counts = writer.ended() < before.min(call.start.tick);
            if counts && !list.contains(value) {
                findings.add(sid, format!("{value} is lost\n  of {writer}\n  in {call}"));
            }
        }
    }
}

/// The writes to a session and to those whose data it took over.
fn writers_of<'a>(view: &View<'a>, heritage: &HashMap<Sid, u64>) -> Vec<(&'a Call, u64)> {
    let mut writers = Vec::new();
    for (sid, before) in heritage {
        let Some(life) = view.sessions.get(sid) else { continue };
        let all = life.finds.iter().copied().chain(life.birth);
        writers.extend(all.filter(|call| target(call) == Some(*sid)).map(|call| (call, *before)));
    }
    writers
}

/// A value that is found was written by this browser, and its write did not fail.
fn judge_writer(view: &View<'_>, writer: Option<&Call>, call: &Call, value: u32, findings: &mut Findings) {
    let sid = call.found();
    let Some(writer) = writer else {
        return findings.add(sid, format!("no call wrote {value}: {call}"));
    };
    if matches!(writer.answer.outcome, Outcome::Over | Outcome::Failed | Outcome::Full) {
        findings.add(sid, format!("what failed is there\n  of {writer}\n  in {call}"));
    }
    if writer.start.tick > call.ended() {
        findings.add(sid, format!("{value} is there before it was written: {call}"));
    }
    let user = |sid: Option<Sid>| sid.and_then(|sid| view.sessions.get(&sid)).and_then(Life::user);
    let (theirs, ours) = (user(target(writer)), call.answer.found.as_ref().and_then(|found| found.user));
    if writer.browser != call.browser || (theirs.is_some() && theirs != ours) {
        findings.add(sid, format!("somebody else's data\n  of {writer}\n  in {call}"));
    }
}

fn judge_registers(
    view: &View<'_>,
    heritage: &HashMap<Sid, u64>,
    call: &Call,
    found: &Found,
    findings: &mut Findings,
) {
    let sid = Some(found.sid);
    let writers = writers_of(view, heritage);
    let finished = |key: u8| {
        let is_it = move |writer: &&(&Call, u64)| {
            matches!(writer.0.ask, Ask::Write { key: other, .. } if other == key)
                && writer.0.is_done()
                && writer.0.ended() < writer.1.min(call.start.tick)
        };
        writers.iter().filter(is_it)
    };
    for (key, value) in &found.registers {
        let writer = view.writers.get(value).copied();
        judge_writer(view, writer, call, *value, findings);
        let Some(writer) = writer else { continue };
        for (later, _) in finished(*key).filter(|(later, _)| later.start.tick > writer.ended()) {
            findings.add(sid, format!("overwritten by\n  {later}\n  and yet in {call}"));
        }
    }
    for key in 0..u8::try_from(super::super::clients::REGISTERS).unwrap_or(0) {
        let is_there = found.registers.iter().any(|(other, _)| *other == key);
        if let (false, Some((writer, _))) = (is_there, finished(key).next()) {
            findings.add(sid, format!("a register is lost\n  of {writer}\n  in {call}"));
        }
    }
}
