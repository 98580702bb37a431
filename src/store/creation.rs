//! A new session, and what comes with it.

use crate::{
    policy::{Admission, Cap, admit},
    record::{Edits, End, EndReason, Ending, Record, SessionId},
};

/// A new session, and what comes with it, as plain data.
///
/// # Example
///
/// A store runs it in these steps, under one lock or in one transaction:
///
/// ```
/// # use tower_tenure::{policy::Admission, record::{End, EndReason, Record, SessionId}, store::{Created, Creation}};
/// # type Table = std::collections::HashMap<SessionId, Record>;
/// fn create(table: &mut Table, creation: Creation) -> Created {
///     if table.contains_key(&creation.record.sid) {
///         return Created::Exists;
///     }
///     let subject = &creation.record.subject;
///     let others = table.values().filter(|other| subject.is_some() && other.subject == *subject);
///     let Admission::Admit(evicted) = creation.admit(others) else { return Created::Refused };
///     for sid in &evicted {
///         table.get_mut(sid).map(|record| record.end(&creation.eviction()));
///     }
///     let replaced = creation.replaced_sid().and_then(|sid| table.get_mut(&sid));
///     let (record, replaced) = creation.into_record(replaced);
///     table.insert(record.sid, record.clone());
///     Created::Done { record, replaced, evicted }
/// }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Creation {
    /// The new record, still without data.
    pub record: Record,
    /// Its data, on top of what it takes over.
    pub edits: Edits,
    /// The session in the same browser that it takes the place of.
    pub replaces: Option<Replaced>,
    /// The cap that it must fit under.
    pub cap: Option<Cap>,
}

/// The session that a new one takes the place of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// Its id.
    pub sid: SessionId,
    /// How it ends.
    pub end: End,
    /// Whether the new session takes over its data, as it is at that moment (SPEC L3).
    pub keep_data: bool,
}

/// What came of a [`Creation`].
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "the large one is the usual one, and short-lived")]
pub enum Created {
    /// The session is there.
    Done {
        /// As it was stored.
        record: Record,
        /// What came of the end of the one it replaces, if that was there.
        replaced: Option<Ending>,
        /// What the cap ended for it.
        evicted: Vec<SessionId>,
    },
    /// The cap refused it; nothing was changed.
    Refused,
    /// There is a record with this id already; nothing was changed.
    Exists,
}

impl Creation {
    /// What the cap says, given the records of the same subject.
    pub fn admit<'a>(&self, subjects_records: impl IntoIterator<Item = &'a Record>) -> Admission {
        admit(self.cap, subjects_records, self.replaced_sid(), self.record.timing.created_at)
    }

    /// How those end that the cap evicts.
    pub const fn eviction(&self) -> End {
        End::new(EndReason::Evicted, self.record.timing.created_at)
    }

    /// The id of the session that this one takes the place of.
    pub fn replaced_sid(&self) -> Option<SessionId> {
        self.replaces.map(|replaced| replaced.sid)
    }

    /// The finished record, and what came of the end of the one it replaces: takes over the replaced one's data and ends it. A replaced session that has ended meanwhile
    /// gives nothing.
    pub fn into_record(self, replaced: Option<&mut Record>) -> (Record, Option<Ending>) {
        let mut record = self.record;
        let ending = self.replaces.zip(replaced).map(|(order, old)| {
            if order.keep_data {
                record.data = old.data.clone();
            }
            old.end(&order.end)
        });
        record.data.edit(&self.edits);
        (record, ending)
    }
}
