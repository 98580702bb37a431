//! One shared string for all sessions of the same browser version, and in a shard the same facts.

use std::{collections::HashSet, sync::Arc};

use super::sync::{RwLock, read, write};
use crate::record::{Device, Facts, LastSeen};

/// The user agents of the sessions in the store, each stored once: there are few, and each is
/// longer than the other facts of a session.
#[derive(Default)]
pub(super) struct UserAgents(RwLock<HashSet<Arc<str>>>);

/// More than a site sees. Beyond this, sessions keep their own copy, so a client cannot fill the
/// table with random ones.
const MAX_KNOWN: usize = 4096;

impl UserAgents {
    /// Replaces strings by the known equal ones.
    pub(super) fn share(&self, facts: &mut Arc<Facts>) {
        let Some(user_agent) = &facts.device.initial_user_agent else { return };
        // A separate statement, since the read lock must be released before `learn` takes the write
        // lock.
        let known = read(&self.0).get(user_agent).cloned();
        let known = known.or_else(|| self.learn(user_agent));
        let Some(known) = known.filter(|known| !Arc::ptr_eq(known, user_agent)) else { return };
        let device = &mut Arc::make_mut(facts).device;
        if device.last.user_agent.as_ref() == Some(&known) {
            device.last.user_agent = Some(Arc::clone(&known));
        }
        device.initial_user_agent = Some(known);
    }

    fn learn(&self, user_agent: &Arc<str>) -> Option<Arc<str>> {
        let mut known = write(&self.0);
        if known.len() >= MAX_KNOWN {
            known.retain(|text| Arc::strong_count(text) > 1);
        }
        if let Some(first) = known.get(user_agent) {
            return Some(Arc::clone(first)); // another login was first
        }
        (known.len() < MAX_KNOWN).then(|| {
            known.insert(Arc::clone(user_agent));
            Arc::clone(user_agent)
        })
    }
}

/// Facts that say nothing but the user agent, as all do where the layer finds no client address:
/// one copy for all sessions of a shard, which saves 176 bytes a session. Not of the store, since
/// each load counts a reference, and threads would wait for each other.
///
/// An entry has the address of its user agent, which the facts keep alive. Comparing it takes a
/// tenth of hashing the text. User agents beyond [`MAX_KNOWN`] are not shared, and neither are
/// their facts.
#[derive(Default)]
pub(super) struct CommonFacts(Vec<(usize, Arc<Facts>)>);

/// In each shard.
const MAX_COMMON: usize = 64;

impl CommonFacts {
    /// Replaces facts by the known equal ones.
    pub(super) fn share(&mut self, facts: &mut Arc<Facts>) {
        let Some(user_agent) = &facts.device.initial_user_agent else { return };
        let address = Arc::as_ptr(user_agent).addr();
        match self.0.iter().find(|(known, _)| *known == address) {
            Some((_, known)) if **known == **facts => *facts = Arc::clone(known),
            None if **facts == says_only(user_agent) => {
                if self.0.len() >= MAX_COMMON {
                    self.0.retain(|(_, facts)| Arc::strong_count(facts) > 1);
                }
                if self.0.len() < MAX_COMMON {
                    self.0.push((address, Arc::clone(facts)));
                }
            }
            _ => {}
        }
    }
}

fn says_only(user_agent: &Arc<str>) -> Facts {
    let last = LastSeen { ip: None, user_agent: Some(Arc::clone(user_agent)) };
    let device = Device { initial_ip: None, initial_user_agent: last.user_agent.clone(), last };
    Facts { device, ..Facts::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_of_one_browser_share_facts_until_these_say_more() {
        let mut common = CommonFacts::default();
        let share = |common: &mut CommonFacts, facts: Facts| {
            let mut shared = Arc::new(facts.clone());
            common.share(&mut shared);
            assert_eq!(*shared, facts);
            shared
        };
        let firefox = says_only(&"Firefox".into());
        let first = share(&mut common, firefox.clone());
        assert!(Arc::ptr_eq(&first, &share(&mut common, firefox.clone())));
        let mut elsewhere = firefox.clone();
        elsewhere.device.last.ip = Some([192, 0, 2, 1].into());
        assert!(!Arc::ptr_eq(&first, &share(&mut common, elsewhere)));
        for number in 0..1000 {
            share(&mut common, says_only(&number.to_string().into()));
        }
        assert!(common.0.len() <= MAX_COMMON, "a client cannot fill it");
        assert!(Arc::ptr_eq(&first, &share(&mut common, firefox)), "in use");
    }
}
