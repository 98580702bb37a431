//! The operations of the contract, each to be run in one transaction.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::row::{self, COLUMNS};
use crate::{
    Error, Timestamp,
    policy::Admission,
    record::{Change, End, Ending, Record, SessionId, Updated},
    store::{Created, Creation, KeptSettings, Page, Swept},
};

/// How many sessions one call of a sweep looks at: the writer has other work, too.
const MOST_LOOKS: usize = 1000;

pub(super) fn create(connection: &Connection, creation: Creation) -> Result<Created, Error> {
    let new = creation.record.sid;
    if row::find(connection, new)?.is_some() {
        return Ok(Created::Exists);
    }
    let others = match (&creation.cap, &creation.record.subject) {
        (Some(_), Some(subject)) => unended(connection, subject)?,
        _ => Vec::new(),
    };
    let Admission::Admit(mut evicted) = creation.admit(&others) else { return Ok(Created::Refused) };
    let eviction = creation.eviction();
    let mut replaced = creation.replaced_sid().map(|sid| row::find(connection, sid)).transpose()?.flatten();
    if let Some(replaced) = &mut replaced {
        replaced.data = row::data(connection, replaced.sid)?;
    }
    let (record, ending) = creation.into_record(replaced.as_mut());
    if let (Some(replaced), Some(Ending::Done(_))) = (&replaced, ending) {
        row::bury(connection, replaced)?;
    }
    row::insert(connection, &record)?;
    let mut failed = Ok(());
    evicted.retain(|&sid| match end(connection, sid, &eviction) {
        Ok(ending) => ending == Ending::Done(eviction.reason),
        Err(error) => {
            failed = Err(error);
            false
        }
    });
    failed.map(|()| Created::Done { record, replaced: ending, evicted })
}

pub(super) fn load(connection: &Connection, sid: SessionId) -> Result<Option<Record>, Error> {
    let Some(mut record) = row::find(connection, sid)? else { return Ok(None) };
    if record.ended.is_none() {
        record.data = row::data(connection, sid)?;
    }
    Ok(Some(record))
}

pub(super) fn update(connection: &Connection, sid: SessionId, change: &Change) -> Result<Updated, Error> {
    // Without its data: what a change does to it is told by the change.
    let Some(mut record) = row::find(connection, sid)? else { return Ok(Updated::Gone(None)) };
    let over_at = record.over_at();
    let updated = change.apply(&mut record);
    if matches!(updated, Updated::Applied(_)) {
        row::rewrite(connection, &record, record.over_at() < over_at)?;
        row::edit(connection, sid, &change.edits)?;
    }
    Ok(updated)
}

pub(super) fn end(connection: &Connection, sid: SessionId, end: &End) -> Result<Ending, Error> {
    let Some(mut record) = row::find(connection, sid)? else { return Ok(Ending::Unknown) };
    let ending = record.end(end);
    if matches!(ending, Ending::Done(_)) {
        row::bury(connection, &record)?;
    }
    Ok(ending)
}

pub(super) fn list(connection: &Connection, page: &Page) -> Result<Vec<Record>, Error> {
    let whose = if page.subject.is_some() { "subject = ?1" } else { "?1 IS NULL" };
    let select = format!(
        "SELECT {COLUMNS} FROM sessions \
         WHERE ended_at IS NULL AND {whose} AND (created_at, sid) > (?2, ?3) AND deadline > ?4 \
         ORDER BY created_at, sid LIMIT ?5"
    );
    let (created_at, sid): (_, &[u8]) = match &page.after {
        Some((created_at, sid)) => (created_at.as_unix_millis(), sid.as_bytes()),
        None => (i64::MIN, &[]),
    };
    let now = page.now.as_unix_millis();
    let limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
    let mut found =
        row::find_all(connection, &select, params![page.subject.as_deref(), created_at, sid, now, limit])?;
    for record in &mut found {
        record.data = row::data(connection, record.sid)?;
    }
    Ok(found)
}

pub(super) fn end_subject(
    connection: &Connection,
    subject: &Arc<str>,
    order: &End,
    except: Option<SessionId>,
) -> Result<Vec<SessionId>, Error> {
    let mut ended = Vec::new();
    for mut record in unended(connection, subject)? {
        if Some(record.sid) == except {
            continue;
        }
        let ending = record.end(order);
        if matches!(ending, Ending::Done(_)) {
            row::bury(connection, &record)?;
        }
        if ending == Ending::Done(order.reason) {
            ended.push(record.sid);
        }
    }
    Ok(ended)
}

pub(super) fn sweep(connection: &Connection, before: Timestamp, limit: usize) -> Result<Swept, Error> {
    let limit = limit.min(MOST_LOOKS);
    let select = "SELECT sid, coalesce(ended_at, deadline) FROM sessions WHERE sweep_at < ?1 ORDER BY sweep_at LIMIT ?2";
    let mut select = connection.prepare_cached(select).map_err(Error::store)?;
    let due = select
        .query_map(params![before.as_unix_millis(), i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
            Ok((row.get::<_, [u8; SessionId::BYTES]>(0)?, row.get::<_, i64>(1)?))
        });
    let due = due.and_then(|rows| rows.collect::<Result<Vec<_>, _>>()).map_err(Error::store)?;
    let mut removed = 0;
    for (sid, over_at) in &due {
        if *over_at < before.as_unix_millis() {
            removed += row::execute(connection, "DELETE FROM sessions WHERE sid = ?1", [sid])?;
            row::execute(connection, "DELETE FROM session_data WHERE sid = ?1", [sid])?;
        } else {
            let later = "UPDATE sessions SET sweep_at = ?2 WHERE sid = ?1";
            row::execute(connection, later, params![sid, over_at])?;
        }
    }
    Ok(Swept { removed, finished: due.len() < limit })
}

pub(super) fn load_settings(connection: &Connection) -> Result<Option<KeptSettings>, Error> {
    let mut select = connection.prepare_cached("SELECT version, text FROM settings").map_err(Error::store)?;
    let kept = select.query_row([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)));
    let kept = kept.optional().map_err(Error::store)?;
    Ok(kept.map(|(version, text)| KeptSettings { version: version.unsigned_abs(), text: text.into() }))
}

pub(super) fn save_settings(connection: &Connection, text: &str, after: Option<u64>) -> Result<bool, Error> {
    if load_settings(connection)?.map(|kept| kept.version) != after {
        return Ok(false);
    }
    let save = "INSERT OR REPLACE INTO settings (id, version, text) VALUES (1, ?1, ?2)";
    let version = i64::try_from(after.unwrap_or(0) + 1).unwrap_or(i64::MAX);
    row::execute(connection, save, params![version, text]).map(|_| true)
}

/// The sessions of a subject that have not been ended, without their data.
fn unended(connection: &Connection, subject: &Arc<str>) -> Result<Vec<Record>, Error> {
    let select = format!("SELECT {COLUMNS} FROM sessions WHERE ended_at IS NULL AND subject = ?1");
    row::find_all(connection, &select, [&**subject])
}
