//! The index: from an id to its slot, and the sessions of a subject by age.
//!
//! Both kinds of entry begin with the tag, so those of one session are usually on one page. A login
//! then writes to one place of the index, not to two.

use std::{cmp::Ordering, ops::ControlFlow};

use rusqlite::{OptionalExtension, Row, params};

use super::{database::Database, slot};
use crate::{
    Error, Timestamp,
    record::{Record, SessionId, Tag},
};

/// The random bits of an id, after its tag.
const RANDOM: usize = SessionId::BYTES - Tag::BYTES;

/// A tag as a column.
pub(super) fn number(tag: Tag) -> i64 {
    i64::try_from(tag.as_u64()).unwrap_or(i64::MAX) // it has 48 bits
}

/// The tag in a column.
pub(super) const fn tag(number: i64) -> Tag {
    let [_, _, bytes @ ..] = number.to_be_bytes();
    Tag::from_bytes(bytes)
}

fn random(sid: &SessionId) -> &[u8] {
    &sid.as_bytes()[Tag::BYTES..]
}

/// Adds the entries of a record.
pub(super) fn add(database: &Database, record: &Record, slot: i64) -> Result<(), Error> {
    let insert = "INSERT INTO places (tag, listed, created_at, random, slot) VALUES (?1, ?2, ?3, ?4, ?5)";
    let (tag, random) = (number(record.sid.tag()), random(&record.sid));
    database.run(insert, params![tag, 0, 0, random, slot])?;
    if is_listed(record) {
        let created_at = record.timing.created_at.as_unix_millis();
        database.run(insert, params![tag, 1, created_at, random, slot])?;
    }
    Ok(())
}

/// Whether a session is listed with its subject: it has one, and has not ended.
pub(super) fn is_listed(record: &Record) -> bool {
    record.subject.is_some() && record.ended.is_none()
}

/// Removes the by-age entry of a session that ended.
pub(super) fn unlist(database: &Database, record: &Record) -> Result<(), Error> {
    let delete = "DELETE FROM places WHERE tag = ?1 AND listed = 1 AND created_at = ?2 AND random = ?3";
    let created_at = record.timing.created_at.as_unix_millis();
    let key = params![number(record.sid.tag()), created_at, random(&record.sid)];
    database.run(delete, key).map(drop)
}

/// Removes the entry by id.
pub(super) fn remove(database: &Database, sid: SessionId) -> Result<(), Error> {
    let delete = "DELETE FROM places WHERE tag = ?1 AND listed = 0 AND created_at = 0 AND random = ?2";
    database.run(delete, params![number(sid.tag()), random(&sid)]).map(drop)
}

/// Whether there is a record under an id.
pub(super) fn exists(database: &Database, sid: SessionId) -> Result<bool, Error> {
    let select = "SELECT 1 FROM places WHERE tag = ?1 AND listed = 0 AND created_at = 0 AND random = ?2";
    let mut select = database.prepare_cached(select).map_err(Error::store)?;
    select.exists(params![number(sid.tag()), random(&sid)]).map_err(Error::store)
}

/// Reads these columns of the session with an id.
pub(super) fn find<T>(
    database: &Database,
    columns: &str,
    sid: SessionId,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, Error> {
    let select = format!(
        "SELECT {columns} FROM places CROSS JOIN sessions USING (slot) \
         WHERE tag = ?1 AND listed = 0 AND places.created_at = 0 AND random = ?2"
    );
    let mut select = database.prepare_cached(&select).map_err(Error::store)?;
    select.query_row(params![number(sid.tag()), random(&sid)], read).optional().map_err(Error::store)
}

/// How many sessions with a tag have not ended; counts up to a limit.
pub(super) fn count(database: &Database, tag: Tag, limit: usize) -> Result<usize, Error> {
    let count = "SELECT count(*) FROM (SELECT 1 FROM places WHERE tag = ?1 AND listed = 1 LIMIT ?2)";
    let mut count = database.prepare_cached(count).map_err(Error::store)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let count = count.query_row(params![number(tag), limit], |row| row.get::<_, i64>(0));
    Ok(usize::try_from(count.map_err(Error::store)?).unwrap_or(usize::MAX))
}

/// Visits the sessions with a tag that have not ended, oldest first, until the visitor stops.
pub(super) fn visit(
    database: &Database,
    tag: Tag,
    after: Option<(Timestamp, SessionId)>,
    mut visitor: impl FnMut(Result<Record, Error>) -> Result<ControlFlow<()>, Error>,
) -> Result<(), Error> {
    let select = format!(
        "SELECT {} FROM places CROSS JOIN sessions USING (slot) \
         WHERE tag = ?1 AND listed = 1 AND (places.created_at, random) > (?2, ?3) \
         ORDER BY places.created_at, random",
        slot::COLUMNS
    );
    let (created_at, sid) = after.map_or((i64::MIN, None), |(at, sid)| (at.as_unix_millis(), Some(sid)));
    // An id with another tag sorts before or after all of these.
    let after = match sid.map(|sid| (sid, sid.tag().cmp(&tag))) {
        Some((sid, Ordering::Equal)) => random(&sid).to_vec(),
        Some((_, Ordering::Greater)) => vec![u8::MAX; RANDOM + 1],
        Some((_, Ordering::Less)) | None => Vec::new(),
    };
    let mut select = database.prepare_cached(&select).map_err(Error::store)?;
    let mut rows = select.query(params![number(tag), created_at, after]).map_err(Error::store)?;
    while let Some(row) = rows.next().map_err(Error::store)? {
        if visitor(slot::read(row))?.is_break() {
            break;
        }
    }
    Ok(())
}
