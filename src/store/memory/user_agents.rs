//! One shared string for all sessions of the same browser version.

use std::{collections::HashSet, sync::Arc};

use super::sync::{RwLock, read, write};
use crate::record::Facts;

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
