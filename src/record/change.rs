//! What one request changes about an existing session.

use std::sync::Arc;

use super::{
    BoundDevice, Data, Edits, LastSeen, Metadata, PreviousSecret, Record, SecretHash, Timing, TimingChange,
    Tombstone,
};
use crate::Timestamp;

/// What one request changes about an existing session, as plain data.
///
/// A store runs [`Change::apply`] under its lock or in its transaction, or does the same in one
/// statement. A change contains only what it changes, so parallel requests do not undo each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// When the request arrived.
    pub at: Timestamp,
    /// The interaction, and a lowering of the policy.
    pub timing: TimingChange,
    /// Values set and removed.
    pub edits: Edits,
    /// A new secret. This part and the next two are boxed, since most changes have none of them.
    pub rotation: Option<Box<Rotation>>,
    /// Where the interaction came from, if that differs from the record.
    pub last_seen: Option<Box<LastSeen>>,
    /// New metadata, which replaces all of the old.
    pub metadata: Option<Box<Metadata>>,
    /// Whether to record that the session's cookie has come back from a browser.
    pub confirms: bool,
    /// The device to bind the session to, if it is bound to none.
    pub bind_to: Option<Arc<BoundDevice>>,
    /// Apply only when the data is still at this revision.
    pub if_revision: Option<u64>,
    /// Apply only when the session's data stays within this many bytes.
    pub max_data: usize,
}

/// A new secret for a session, in place of the one that the request came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The hash of the secret that it replaces. Of parallel rotations from the same secret the
    /// first wins.
    pub from: SecretHash,
    /// The hash of the new secret.
    pub to: SecretHash,
    /// Until when the old secret is honoured, by the clock that all nodes share. A moment in the
    /// past invalidates it at once.
    pub until: Timestamp,
}

/// The outcome of a [`Change`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UpdateOutcome {
    /// It is recorded.
    Applied(Applied),
    /// The session is over, and nothing was written. Contains the tombstone while it is known.
    Gone(Option<Tombstone>),
    /// `if_revision` did not hold. Nothing was written.
    Conflict,
    /// The data would exceed `max_data` bytes. Nothing was written.
    TooLarge,
}

/// The parts of a changed record that the response depends on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Applied {
    /// The recorded timing, including what other requests recorded meanwhile.
    pub timing: Timing,
    /// The revision of the data.
    pub revision: u64,
    /// Whether the rotation took place.
    pub rotated: bool,
    /// When the session was bound to the device of the change; absent if it is not. An earlier
    /// moment than that of the change means that another request was first.
    pub bound_at: Option<Timestamp>,
    /// The current secret. A request whose own secret was replaced meanwhile must not issue it
    /// again.
    pub secret: SecretHash,
}

impl Change {
    /// An empty change, of a request that arrived at this moment.
    pub fn at(at: Timestamp) -> Self {
        Self {
            at,
            timing: TimingChange::default(),
            edits: Edits::default(),
            rotation: None,
            last_seen: None,
            metadata: None,
            confirms: false,
            bind_to: None,
            if_revision: None,
            max_data: usize::MAX,
        }
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.timing.is_empty() && self.is_timing_only()
    }

    /// Whether it changes the timing at most.
    pub fn is_timing_only(&self) -> bool {
        self.edits.is_empty() && self.is_timing_and_data_only()
    }

    /// Whether it changes the timing and the data at most.
    pub(crate) fn is_timing_and_data_only(&self) -> bool {
        self.rotation.is_none()
            && self.last_seen.is_none()
            && self.metadata.is_none()
            && !self.confirms
            && self.bind_to.is_none()
    }

    /// Applies the change to a record, whole or not at all.
    ///
    /// # Example
    ///
    /// ```
    /// # use tower_tenure::record::{Change, Record, SessionId, UpdateOutcome};
    /// # type Table = std::collections::HashMap<SessionId, Record>;
    /// fn update(table: &mut Table, sid: SessionId, change: &Change) -> UpdateOutcome {
    ///     table.get_mut(&sid).map_or(UpdateOutcome::Gone(None), |record| change.apply(record))
    /// }
    /// ```
    pub fn apply(&self, record: &mut Record) -> UpdateOutcome {
        if record.ended.is_some() || record.revoked_at.is_some() {
            return UpdateOutcome::Gone(record.tombstone());
        }
        if self.if_revision.is_some_and(|revision| revision != record.revision) {
            return UpdateOutcome::Conflict;
        }
        if !self.edit(&mut record.data, &mut record.revision) {
            return UpdateOutcome::TooLarge;
        }
        record.timing.apply(&self.timing);
        record.updated_at = record.updated_at.max(self.at);
        record.confirmed |= self.confirms;
        if self.last_seen.is_some() || self.metadata.is_some() {
            let facts = Arc::make_mut(&mut record.facts);
            // A slow old request must not overwrite where the session was seen last (L9).
            let is_latest = self.at >= record.timing.last_interaction_at;
            if let Some(last_seen) = self.last_seen.as_ref().filter(|_| is_latest) {
                facts.device.last = (**last_seen).clone();
            }
            if let Some(metadata) = &self.metadata {
                facts.metadata = (**metadata).clone();
            }
        }
        let rotated = self.rotation.as_ref().is_some_and(|rotation| rotation.apply(record));
        let bound_at = self.bind_to.as_ref().and_then(|device| record.bind(device));
        UpdateOutcome::Applied(Applied {
            timing: record.timing,
            revision: record.revision,
            rotated,
            bound_at,
            secret: record.secret,
        })
    }

    /// Applies the edits alone; `false`, and nothing is changed, if the data would be too large.
    pub(crate) fn edit(&self, data: &mut Data, revision: &mut u64) -> bool {
        if !self.edits.is_empty() {
            let edited = data.edited(&self.edits);
            // Data over the limit may shrink: removing a key never fails.
            if edited.bytes() > self.max_data && edited.bytes() > data.bytes() {
                return false;
            }
            *data = edited;
            *revision += 1;
        }
        true
    }
}

impl Rotation {
    fn apply(&self, record: &mut Record) -> bool {
        if record.secret.matches(&self.to) {
            return true; // applied already: the answer to an earlier attempt was lost
        }
        let wins = record.secret.matches(&self.from);
        if wins {
            record.previous_secret = Some(PreviousSecret { hash: self.from, until: self.until });
            record.secret = self.to;
        }
        wins
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{DeviceKey, Json, tests::blank};

    #[test]
    fn s2_a_change_is_empty_only_without_any_of_its_parts() {
        let at = Timestamp::UNIX_EPOCH;
        let empty = || Change::at(at);
        assert!(empty().is_empty() && empty().is_timing_only());
        let timing = Change { timing: TimingChange { interaction_at: Some(at), lowering: None }, ..empty() };
        assert!(!timing.is_empty() && timing.is_timing_only());

        let mut edits = Edits::default();
        edits.set("a", Json::from_text("1"));
        let secret = SecretHash::from_bytes([1; 32]);
        let key = DeviceKey::Es256 { x: [1; 32], y: [2; 32] };
        let more = [
            Change { edits, ..empty() },
            Change { rotation: Some(Box::new(Rotation { from: secret, to: secret, until: at })), ..empty() },
            Change { last_seen: Some(Box::default()), ..empty() },
            Change { metadata: Some(Box::default()), ..empty() },
            Change { confirms: true, ..empty() },
            Change { bind_to: Some(Arc::new(BoundDevice { key, bound_at: at })), ..empty() },
        ];
        for change in more {
            assert!(!change.is_empty() && !change.is_timing_only(), "{change:?}");
        }
    }

    #[test]
    fn s13_data_may_take_exactly_its_limit_and_what_is_over_it_need_not_grow() {
        let written = |value: &str, max_data| {
            let mut record = Record { data: [("a", Json::from_text("1"))].into_iter().collect(), ..blank() };
            let mut change = Change { max_data, ..Change::at(Timestamp::UNIX_EPOCH) };
            change.edits.set("a", Json::from_text(value));
            matches!(change.apply(&mut record), UpdateOutcome::Applied(_))
        };
        // `1:a1:1` takes six bytes.
        assert!(written("22", 7) && !written("22", 6));
        assert!(written("2", 5) && written("", 4), "already over the limit");
    }
}
