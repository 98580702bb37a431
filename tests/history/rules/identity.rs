//! A cookie leads only to its own session and user (C6, C7), even after a login, which starts a new
//! session.

use std::collections::HashMap;

use super::super::{
    check::{Findings, View},
    record::Ask,
};

pub(super) fn judge(view: &View<'_>, findings: &mut Findings) {
    for call in &view.history.calls {
        let Some(found) = &call.answer.found else { continue };
        let issued = call.token.and_then(|token| view.tokens.get(&token));
        let Some((sid, _)) = issued else {
            findings.add(found.sid, format!("was found by who has no cookie of it: {call}"));
            continue;
        };
        let Some(life) = view.sessions.get(sid) else { continue };
        let birth = life.birth.map(|birth| birth.clock);
        if *sid != found.sid || life.user() != found.user || birth.is_some_and(|birth| birth != found.created)
        {
            findings.add(*sid, format!("is another session: {call}"));
        }
    }
    let mut births: HashMap<u32, u64> = HashMap::new();
    for call in view.history.calls.iter().filter(|call| matches!(call.ask, Ask::LogIn(_))) {
        let Some((sid, _)) = call.began() else {
            if call.is_done() && call.found().is_some() && call.found() == call.answer.sid {
                findings.add(call.found(), format!("a login went on with the old session: {call}"));
            }
            continue;
        };
        if births.insert(sid, call.start.tick).is_some() {
            findings.add(sid, format!("was begun twice: {call}"));
        }
    }
}
