//! "Sign out everywhere": a mark per subject, and the queue of subjects whose sessions the sweep
//! must find.

use std::ops::ControlFlow;

use rusqlite::{OptionalExtension, params};

use super::{database::Database, places};
use crate::{
    Error, ErrorKind, Timestamp,
    record::{Record, SessionId, SubjectMark, Tag},
    store::Revocation,
};

/// By how much a mark that is still needed is kept longer each time, in milliseconds.
const DAY: i64 = 24 * 3_600_000;

/// The mark of a subject.
pub(super) fn find(
    database: &Database,
    tag: Tag,
    realm: &str,
    subject: &str,
) -> Result<Option<SubjectMark>, Error> {
    let select = "SELECT mark FROM marks WHERE tag = ?1 AND realm = ?2 AND subject = ?3";
    let mut select = database.prepare_cached(select).map_err(Error::store)?;
    let key = params![places::number(tag), realm.as_bytes(), subject.as_bytes()];
    let mark = select.query_row(key, |row| row.get::<_, Vec<u8>>(0)).optional().map_err(Error::store)?;
    mark.map(|mark| unpack(&mark)).transpose()
}

/// Applies the mark of its subject to a record.
pub(super) fn see(database: &Database, record: &mut Record) -> Result<(), Error> {
    let Some(subject) = &record.subject else { return Ok(()) };
    if let Some(mark) = find(database, record.sid.tag(), &record.realm, subject)? {
        record.see_mark(&mark);
    }
    Ok(())
}

/// Updates a subject's mark, and queues it for the sweep.
pub(super) fn revoke(
    database: &Database,
    revocation: &Revocation,
    tag: Tag,
    subject: &str,
) -> Result<(), Error> {
    let mark = find(database, tag, &revocation.realm, subject)?.unwrap_or_default();
    let mark = mark.revoked(revocation.at, revocation.except);
    let upsert = "INSERT INTO marks (tag, realm, subject, mark, keep_until, after_created_at, after_sid) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, zeroblob(16)) ON CONFLICT (tag, realm, subject) DO UPDATE SET mark = excluded.mark, \
        keep_until = max(keep_until, excluded.keep_until), \
        after_created_at = excluded.after_created_at, after_sid = excluded.after_sid";
    let keep_until = revocation.keep_until.as_unix_millis();
    let key = (places::number(tag), revocation.realm.as_bytes(), subject.as_bytes());
    database.run(upsert, params![key.0, key.1, key.2, pack(&mark)?, keep_until, i64::MIN]).map(drop)
}

/// Finds sessions that a mark covers and that have not ended. Looks at no more than `limit`
/// sessions. Returns whether that was all.
pub(super) fn find_covered(
    database: &Database,
    realm: Option<&str>,
    limit: usize,
) -> Result<(Vec<Record>, bool), Error> {
    let mut found = Vec::new();
    let queued = queued(database, realm, limit)?;
    let mut finished = queued.len() < limit;
    let mut looks = limit;
    for entry in queued {
        if looks == 0 {
            return Ok((found, false));
        }
        let (rows, seen) = entry.sessions(database, looks)?;
        let is_end = seen < looks;
        looks -= seen.max(1);
        finished &= is_end;
        let first_covered = rows.iter().position(|record| entry.covers(record));
        match (first_covered, rows.last()) {
            // INVARIANT: the cursor stays before the first covered session, which is found again
            // until it has ended.
            (Some(0), _) => {}
            (Some(first), _) => entry.go_on_after(database, &rows[first - 1])?,
            (None, Some(last)) if !is_end => entry.go_on_after(database, last)?,
            (None, _) => entry.leave(database)?,
        }
        found.extend(rows.into_iter().filter(|record| entry.covers(record)).map(|mut record| {
            record.see_mark(&entry.mark);
            record
        }));
    }
    Ok((found, finished))
}

/// Drops at most `limit` marks that are no longer needed. Returns whether that was all.
pub(super) fn forget(database: &Database, now: Timestamp, limit: usize) -> Result<bool, Error> {
    let now = now.as_unix_millis();
    // While the subject has sessions, the mark is needed, however old it is. They may be of its
    // epoch; without the mark the epoch would restart, and the next revocation would not cover
    // them.
    let needed = "EXISTS (SELECT 1 FROM places WHERE places.tag = marks.tag AND listed = 1)";
    let due = "SELECT tag, realm, subject FROM marks WHERE keep_until <= ?1 ORDER BY keep_until LIMIT ?2";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let keep =
        format!("UPDATE marks SET keep_until = ?3 WHERE (tag, realm, subject) IN ({due}) AND {needed}");
    let kept = database.run(&keep, params![now, limit, now.saturating_add(DAY)])?;
    let left = limit.saturating_sub(i64::try_from(kept).unwrap_or(i64::MAX));
    let drop = format!("DELETE FROM marks WHERE (tag, realm, subject) IN ({due}) AND NOT {needed}");
    let dropped = database.run(&drop, params![now, left])?;
    Ok(i64::try_from(kept + dropped).unwrap_or(i64::MAX) < limit)
}

/// A mark whose sessions must still be found.
struct Queued {
    tag: Tag,
    realm: String,
    subject: String,
    mark: SubjectMark,
    after: Option<(Timestamp, SessionId)>,
}

fn queued(database: &Database, realm: Option<&str>, limit: usize) -> Result<Vec<Queued>, Error> {
    let of_realm = if realm.is_some() { "realm = ?1" } else { "?1 IS NULL" };
    let select = format!(
        "SELECT tag, realm, subject, mark, after_created_at, after_sid FROM marks \
         WHERE after_created_at IS NOT NULL AND {of_realm} LIMIT ?2"
    );
    let mut select = database.prepare_cached(&select).map_err(Error::store)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = select.query(params![realm.map(str::as_bytes), limit]).map_err(Error::store)?;
    let mut queued = Vec::new();
    while let Some(row) = rows.next().map_err(Error::store)? {
        let text = |column| -> Result<String, Error> {
            String::from_utf8(row.get(column).map_err(Error::store)?).map_err(|_| unreadable())
        };
        queued.push(Queued {
            tag: places::tag(row.get(0).map_err(Error::store)?),
            realm: text(1)?,
            subject: text(2)?,
            mark: unpack(&row.get::<_, Vec<u8>>(3).map_err(Error::store)?)?,
            after: Some((
                Timestamp::from_unix_millis(row.get(4).map_err(Error::store)?),
                SessionId::from_bytes(row.get(5).map_err(Error::store)?),
            )),
        });
    }
    Ok(queued)
}

impl Queued {
    /// The next marks, and the number of rows read: rows that cannot be read are skipped.
    fn sessions(&self, database: &Database, limit: usize) -> Result<(Vec<Record>, usize), Error> {
        let (mut found, mut seen) = (Vec::new(), 0);
        places::visit(database, self.tag, self.after, |record| {
            seen += 1;
            found.extend(record.ok());
            Ok(if seen < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok((found, seen))
    }

    /// Subjects can share a tag by chance, so compare them whole.
    fn covers(&self, record: &Record) -> bool {
        *record.realm == *self.realm
            && record.subject.as_deref() == Some(&self.subject)
            && self.mark.covers(record)
    }

    fn go_on_after(&self, database: &Database, seen: &Record) -> Result<(), Error> {
        let update = "UPDATE marks SET after_created_at = ?4, after_sid = ?5 WHERE tag = ?1 AND realm = ?2 AND subject = ?3";
        let key = (places::number(self.tag), self.realm.as_bytes(), self.subject.as_bytes());
        let after = (seen.timing.created_at.as_unix_millis(), seen.sid.as_bytes());
        database.run(update, params![key.0, key.1, key.2, after.0, after.1]).map(drop)
    }

    fn leave(&self, database: &Database) -> Result<(), Error> {
        let update = "UPDATE marks SET after_created_at = NULL, after_sid = NULL WHERE tag = ?1 AND realm = ?2 AND subject = ?3";
        database
            .run(update, params![places::number(self.tag), self.realm.as_bytes(), self.subject.as_bytes()])
            .map(drop)
    }
}

fn pack(mark: &SubjectMark) -> Result<Vec<u8>, Error> {
    postcard::to_extend(mark, Vec::new()).map_err(|_| unreadable())
}

fn unpack(bytes: &[u8]) -> Result<SubjectMark, Error> {
    postcard::from_bytes(bytes).map_err(|_| unreadable())
}

fn unreadable() -> Error {
    Error::new(
        ErrorKind::Store,
        "a mark in the SQLite file is not in the format of this version; update this node",
    )
}
