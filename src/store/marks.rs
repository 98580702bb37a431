//! The marks of the subjects that share a tag, for stores that keep them together.

use std::sync::Arc;

#[cfg(feature = "redis")]
use serde::{Deserialize, Serialize};

use crate::{
    Timestamp,
    record::{SessionId, SubjectMark},
};

/// The marks of the subjects that share a tag: almost always one subject.
#[derive(Clone, Default)]
#[cfg_attr(feature = "redis", derive(Serialize, Deserialize), serde(transparent))]
pub(super) struct Marks(Vec<Mark>);

/// The mark of one subject, which was signed out everywhere.
#[derive(Clone)]
#[cfg_attr(feature = "redis", derive(Serialize, Deserialize))]
struct Mark {
    realm: Arc<str>,
    subject: Arc<str>,
    /// The latest.
    revoked: SubjectMark,
    keep_until: Timestamp,
}

impl Marks {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn of(&self, realm: &str, subject: &str) -> Option<&SubjectMark> {
        let found = self.0.iter().find(|mark| *mark.realm == *realm && *mark.subject == *subject);
        found.map(|mark| &mark.revoked)
    }

    /// Revokes all sessions of a subject but one.
    pub(super) fn revoke(
        &mut self,
        realm: &Arc<str>,
        subject: &Arc<str>,
        at: Timestamp,
        except: Option<SessionId>,
        keep_until: Timestamp,
    ) {
        if let Some(known) =
            self.0.iter_mut().find(|known| known.realm == *realm && known.subject == *subject)
        {
            known.revoked = known.revoked.revoked(at, except);
            // A later revocation must not shorten the time that an earlier one needs.
            known.keep_until = known.keep_until.max(keep_until);
        } else {
            let (realm, subject) = (Arc::clone(realm), Arc::clone(subject));
            let revoked = SubjectMark::default().revoked(at, except);
            self.0.push(Mark { realm, subject, revoked, keep_until });
        }
    }

    /// Until when any of them is needed.
    #[cfg(feature = "redis")]
    pub(super) fn needed_until(&self) -> Option<Timestamp> {
        self.0.iter().map(|mark| mark.keep_until).max()
    }

    /// Whether any of them is no longer needed.
    pub(super) fn has_old(&self, now: Timestamp) -> bool {
        self.0.iter().any(|mark| mark.keep_until <= now)
    }

    /// Drops those that are no longer needed.
    pub(super) fn drop_old(&mut self, now: Timestamp) {
        self.0.retain(|mark| now < mark.keep_until);
    }
}
