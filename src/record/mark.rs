//! "Sign out everywhere": one mark per subject, whatever the number of its sessions.

use serde::{Deserialize, Serialize};

use super::{Record, SessionId};
use crate::Timestamp;

/// Ends all sessions of one subject in one write.
///
/// Each revocation begins a new epoch, and a session belongs to the epoch in which it was stored. A
/// session of an earlier epoch is over. So stored sessions end without comparing clocks. The moment
/// is only for logins in flight: a login whose request arrived before it is not stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectMark {
    /// Grows with each revocation. At least the seconds since 1970, so that it also grows when the
    /// mark was dropped in between.
    pub epoch: u32,
    /// The moment of the last revocation, by the clock that all nodes share.
    pub not_before: Timestamp,
    /// The excepted session, and the earliest epoch that it may belong to.
    pub except: Option<(SessionId, u32)>,
}

impl SubjectMark {
    /// The mark after another revocation.
    #[must_use]
    pub fn revoked(self, at: Timestamp, except: Option<SessionId>) -> Self {
        let except = except.map(|sid| match self.except {
            // It was excepted from the revocation before, too.
            Some((known, since)) if known == sid => (sid, since),
            // INVARIANT: a session that an earlier revocation covers cannot be excepted from a
            // later one.
            _ => (sid, self.epoch),
        });
        // INVARIANT: no epoch is used twice. A store may drop a mark while sessions of its epoch
        // are live. If the epoch then restarted at zero, the next revocation would miss them.
        let seconds = u32::try_from(at.unix_seconds_floor().max(0)).unwrap_or(u32::MAX);
        let epoch = self.epoch.saturating_add(1).max(seconds);
        Self { epoch, not_before: self.not_before.max(at), except }
    }

    /// Whether the revocation covers this session.
    pub fn covers(&self, record: &Record) -> bool {
        let excepted = self.except.is_some_and(|(sid, since)| sid == record.sid && record.epoch >= since);
        record.subject.is_some() && record.epoch < self.epoch && !excepted
    }

    /// Whether the revocation covers a login whose request arrived at this moment.
    pub fn covers_login(&self, arrived_at: Timestamp) -> bool {
        self.epoch > 0 && arrived_at <= self.not_before
    }
}

impl Record {
    /// Sets [`revoked_at`](Record::revoked_at) if the mark covers this session. A store must call
    /// it in `load`, `update`, `end`, `list` and `sweep`, for each record of a subject that has a
    /// mark.
    pub fn see_mark(&mut self, mark: &SubjectMark) {
        self.revoked_at = mark.covers(self).then_some(mark.not_before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l14_a_session_is_covered_by_every_later_revocation_that_does_not_except_it() {
        let at = Timestamp::from_unix_millis;
        let record = |byte: u8, epoch: u32| Record {
            sid: SessionId::from_bytes([byte; 16]),
            subject: Some("alice".into()),
            epoch,
            ..crate::record::tests::blank()
        };
        let (a, b) = (record(1, 0), record(2, 0));
        let first = SubjectMark::default().revoked(at(1), Some(a.sid));
        assert!(!first.covers(&a) && first.covers(&b) && !first.covers(&record(3, 1)));
        let again = first.revoked(at(2), Some(a.sid));
        assert!(!again.covers(&a) && again.covers(&record(3, 1)), "excepted twice");
        let other = first.revoked(at(2), Some(b.sid));
        assert!(other.covers(&a) && other.covers(&b), "what was over cannot be excepted");
        assert!(!other.covers(&record(3, 2)));
        let anonymous = Record { subject: None, ..record(4, 0) };
        assert!(!other.covers(&anonymous));
        assert!(other.covers_login(at(2)) && !other.covers_login(at(3)));
        let earliest = SubjectMark::default().revoked(at(0), None);
        assert!(earliest.covers_login(at(0)) && !SubjectMark::default().covers_login(at(0)));
        assert_eq!(SubjectMark::default().revoked(at(-1), None).epoch, 1, "before 1970, by a wrong clock");
        assert_eq!(first.revoked(at(0), None).not_before, at(1), "it never moves back");
    }

    #[test]
    fn l14_a_revocation_covers_sessions_from_after_a_mark_that_was_dropped() {
        let at = |hours: i64| Timestamp::from_unix_millis(1_700_000_000_000 + hours * 3_600_000);
        let first = SubjectMark::default().revoked(at(0), None).revoked(at(0), None);
        let since =
            Record { subject: Some("alice".into()), epoch: first.epoch, ..crate::record::tests::blank() };
        assert!(!first.covers(&since));
        // The first mark was dropped.
        assert!(SubjectMark::default().revoked(at(1), None).covers(&since));
    }
}
