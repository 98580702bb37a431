//! Records as rows, in slots that are written in place.
//!
//! A slot's `record` is the packed record, padded with zeros to the slot's size. A record that fits
//! is written in place. One that does not fit moves to a larger slot, and the old slot is filled
//! with zeros and reused. Otherwise SQLite would split and merge pages, and might leave a copy of a
//! moved row in the unused part of a page.

use rusqlite::{OptionalExtension, Row, params};

use super::{database::Database, marks, places};
use crate::{
    Error, Timestamp,
    record::{Data, Record, SessionId},
    store::packed::{pack, unpack},
};

/// A record and its slot.
pub(super) struct Slot {
    number: i64,
    due_at: i64,
    stored: Vec<u8>,
    data: Data,
    was_listed: bool,
    /// The record as it was read, to change and [save](Slot::save).
    pub(super) record: Record,
}

/// The columns that [`read`] needs.
pub(super) const COLUMNS: &str = "sid, record";

/// A row of [`COLUMNS`] as a record, without its mark applied.
pub(super) fn read(row: &Row<'_>) -> Result<Record, Error> {
    let sid: [u8; SessionId::BYTES] = row.get(0).map_err(Error::store)?;
    let record = row.get_ref(1).map_err(Error::store)?;
    unpack(SessionId::from_bytes(sid), record.as_blob().map_err(Error::store)?)
}

/// Stores a new record.
pub(super) fn insert(database: &Database, record: &Record) -> Result<(), Error> {
    let due_at = record.due_at().as_unix_millis();
    let bytes = pack(record)?;
    insert_bytes(database, record, due_at, bytes)
}

fn insert_bytes(database: &Database, record: &Record, due_at: i64, mut bytes: Vec<u8>) -> Result<(), Error> {
    let size = size_for(bytes.len());
    bytes.resize(size, 0);
    let realm = match record.ended {
        // A session that has ended is not in the index of its realm.
        Some(_) => None,
        None => Some(database.realm_to_write(&record.realm)?),
    };
    let free = "SELECT slot FROM sessions WHERE free = ?1 LIMIT 1";
    let mut free = database.prepare_cached(free).map_err(Error::store)?;
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    let free: Option<i64> = free.query_row([size], |row| row.get(0)).optional().map_err(Error::store)?;
    let insert = if free.is_some() {
        "UPDATE sessions SET free = NULL, sid = ?2, realm = ?3, created_at = ?4, due_at = ?5, record = ?6 WHERE slot = ?1"
    } else {
        "INSERT INTO sessions (slot, sid, realm, created_at, due_at, record) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
    };
    let created_at = record.timing.created_at.as_unix_millis();
    database.run(insert, params![free, record.sid.as_bytes(), realm, created_at, due_at, bytes])?;
    places::add(database, record, free.unwrap_or_else(|| database.last_insert_rowid()))
}

/// Removes a record: fills its slot with zeros, and frees it for a record of its size.
pub(super) fn remove(database: &Database, slot: i64, sid: SessionId) -> Result<(), Error> {
    let free = "UPDATE sessions SET sid = NULL, realm = NULL, created_at = NULL, due_at = NULL, free = length(record), \
                record = zeroblob(length(record)) WHERE slot = ?1";
    database.run(free, [slot])?;
    places::remove(database, sid)
}

impl Slot {
    /// The record with an id, with its subject's mark applied.
    pub(super) fn find(database: &Database, sid: SessionId) -> Result<Option<Self>, Error> {
        let columns = "slot, due_at, record";
        let found = places::find(database, columns, sid, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        let Some((number, due_at, stored)) = found? else { return Ok(None) };
        let stored: Vec<u8> = stored;
        let mut record = unpack(sid, &stored)?;
        marks::see(database, &mut record)?;
        let (data, was_listed) = (record.data.clone(), places::is_listed(&record));
        Ok(Some(Self { number, due_at, stored, data, was_listed, record }))
    }

    /// Writes the record, if it has changed.
    pub(super) fn save(self, database: &Database) -> Result<(), Error> {
        let mut bytes = pack(&self.record)?;
        let due_at = self.new_due_at();
        let is_stored =
            self.stored.strip_prefix(&*bytes).is_some_and(|rest| rest.iter().all(|&byte| byte == 0));
        if is_stored && due_at == self.due_at {
            return Ok(());
        }
        if !contains(&self.record.data, &self.data) {
            database.erase_soon();
        }
        if self.was_listed && self.record.ended.is_some() {
            places::unlist(database, &self.record)?;
        }
        if !suits(self.stored.len(), bytes.len()) {
            self.leave(database)?;
            return insert_bytes(database, &self.record, due_at, bytes);
        }
        bytes.resize(self.stored.len(), 0);
        if self.record.ended.is_some() {
            let end = "UPDATE sessions SET realm = NULL, due_at = ?2, record = ?3 WHERE slot = ?1";
            database.run(end, params![self.number, due_at, bytes])?;
        } else if due_at == self.due_at {
            // The usual case sets no indexed column, so SQLite updates no index.
            database.run("UPDATE sessions SET record = ?2 WHERE slot = ?1", params![self.number, bytes])?;
        } else {
            let update = "UPDATE sessions SET due_at = ?2, record = ?3 WHERE slot = ?1";
            database.run(update, params![self.number, due_at, bytes])?;
        }
        Ok(())
    }

    /// Frees the slot.
    fn leave(&self, database: &Database) -> Result<(), Error> {
        if self.was_listed && self.record.ended.is_none() {
            places::unlist(database, &self.record)?;
        }
        remove(database, self.number, self.record.sid)
    }

    /// Sets when the sweep looks at a session that has not ended.
    pub(super) fn reschedule(&self, database: &Database, due_at: Timestamp) -> Result<(), Error> {
        if self.record.ended.is_some() {
            return Ok(());
        }
        // INVARIANT: the moment is never too late. The record may have been written since it was
        // judged.
        let due_at = due_at.min(self.record.due_at()).as_unix_millis();
        database.run("UPDATE sessions SET due_at = ?2 WHERE slot = ?1", [self.number, due_at]).map(drop)
    }

    /// The tombstone's moment; else the earlier of both, so that an interaction does not change it.
    fn new_due_at(&self) -> i64 {
        let due_at = self.record.due_at().as_unix_millis();
        if self.record.ended.is_some() { due_at } else { due_at.min(self.due_at) }
    }
}

/// Whether both have the same keys and values.
fn contains(data: &Data, part: &Data) -> bool {
    // Both are sorted by key.
    let mut entries = data.iter();
    part.iter().all(|entry| entries.any(|other| other == entry))
}

/// The slot size for this many bytes: small steps for small records, steps of a quarter for large
/// ones.
fn size_for(bytes: usize) -> usize {
    let step = if bytes <= 1024 { 32 } else { bytes.next_power_of_two() / 8 };
    bytes.div_ceil(step) * step
}

/// Whether this many bytes may stay in a slot of this size: they fit, and do not waste a large
/// slot.
fn suits(size: usize, bytes: usize) -> bool {
    bytes <= size && (size <= 2048 || size <= 2 * size_for(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Json;

    #[test]
    fn a_slot_is_large_enough_and_wastes_at_most_a_quarter() {
        for bytes in 1..100_000 {
            let size = size_for(bytes);
            assert!(size >= bytes && size <= bytes + 31.max(bytes / 4), "{bytes} in {size}");
            assert_eq!(size_for(size), size, "a slot suits what fills it");
            assert!(suits(size, bytes) && !suits(size, size + 1));
        }
        assert!(suits(2048, 1) && !suits(65_536, 300));
    }

    #[test]
    fn d12_only_data_that_is_still_there_as_it_was_needs_no_erasing() {
        let data = |entries: &[(&'static str, &'static str)]| -> Data {
            entries.iter().map(|&(key, value)| (key, Json::from_text(value))).collect()
        };
        let before = data(&[("b", "1"), ("d", "2")]);
        assert!(contains(&before, &before) && contains(&before, &Data::default()));
        assert!(contains(&data(&[("a", "0"), ("b", "1"), ("c", "0"), ("d", "2"), ("e", "0")]), &before));
        for after in
            [data(&[]), data(&[("b", "1")]), data(&[("b", "2"), ("d", "2")]), data(&[("d", "2"), ("e", "1")])]
        {
            assert!(!contains(&after, &before), "{after:?}");
        }
    }
}
