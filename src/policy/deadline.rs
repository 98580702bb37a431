//! The one place where a deadline is computed, for every store.

use std::time::Duration;

use crate::{
    Timestamp,
    record::{EndReason, PastSession, Record, Timing},
};

impl Timing {
    /// The idle lifetime that counts now: the one-off of the login until the first interaction, else the remembered one.
    pub fn idle_lifetime(&self) -> Duration {
        self.one_off_idle.unwrap_or(self.lifetimes.idle())
    }

    /// The idle deadline, by the recorded interaction (SPEC L2).
    pub fn idle_expires_at(&self) -> Timestamp {
        self.last_interaction_at + self.idle_lifetime()
    }

    /// The absolute deadline (SPEC L2). No interaction moves it.
    pub fn expires_at(&self) -> Timestamp {
        self.created_at + self.lifetimes.absolute()
    }

    /// The nearer of both deadlines: the first moment at which the session is over.
    pub fn deadline(&self) -> Timestamp {
        self.idle_expires_at().min(self.expires_at())
    }

    /// What the one who held the session may know of it once it is over.
    pub(crate) fn past(&self, reason: EndReason, ended_at: Timestamp) -> PastSession {
        let (idle_lifetime, absolute_lifetime) = (self.idle_lifetime(), self.lifetimes.absolute());
        PastSession { reason, ended_at, idle_lifetime, absolute_lifetime }
    }

    /// Why the session is over at this moment; `None` while it is live, which is exactly while `now` is before both
    /// deadlines. The reason is the deadline that came first; a tie is absolute (SPEC L2).
    pub fn over(&self, now: Timestamp) -> Option<EndReason> {
        if now < self.deadline() {
            None
        } else if self.idle_expires_at() < self.expires_at() {
            Some(EndReason::Idle)
        } else {
            Some(EndReason::Absolute)
        }
    }
}

impl Record {
    /// Why the session is over at this moment, ended or expired; `None` while it is live.
    pub fn over(&self, now: Timestamp) -> Option<EndReason> {
        self.ended.map(|ended| ended.reason).or_else(|| self.timing.over(now))
    }

    /// Whether the session is live at this moment: what a store lists and counts.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.over(now).is_none()
    }

    /// When the session was over, or will be if nothing happens: what a sweep compares.
    pub fn over_at(&self) -> Timestamp {
        self.ended.map_or_else(|| self.timing.deadline(), |ended| ended.at)
    }
}
