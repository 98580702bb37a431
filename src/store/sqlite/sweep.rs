//! The sweep: removes tombstones, finds sessions to judge, drops marks.

use std::collections::HashSet;

use rusqlite::params;

use super::{
    database::Database,
    marks,
    slot::{self, Slot},
};
use crate::{
    Error, Timestamp,
    record::{EndOutcome, EndRequest, Record, SessionId},
    store::{Sweep, Swept},
};

/// The maximum work of one call, since the writer has other calls to serve.
const MAX_WORK: usize = 1000;

pub(super) fn sweep(database: &Database, sweep: &Sweep) -> Result<Swept, Error> {
    let limit = sweep.limit.min(MAX_WORK);
    let removed = remove_tombstones(database, sweep.now, limit)?;
    let forgotten = marks::forget(database, sweep.now, limit)?;
    let mut found = find_due(database, sweep, limit)?;
    let left = limit - found.len();
    let (covered, finished) = marks::find_covered(database, sweep.realm.as_deref(), left)?;
    let known: HashSet<SessionId> = found.iter().map(|record| record.sid).collect();
    found.extend(covered.into_iter().filter(|record| !known.contains(&record.sid)));
    Ok(Swept { finished: removed < limit && forgotten && left > 0 && finished, found, removed })
}

/// Removes old tombstones. Returns how many.
fn remove_tombstones(database: &Database, now: Timestamp, limit: usize) -> Result<usize, Error> {
    let select = "SELECT slot, sid FROM sessions WHERE realm IS NULL AND sid IS NOT NULL AND due_at <= ?1 \
        ORDER BY due_at LIMIT ?2";
    let mut select = database.prepare_cached(select).map_err(Error::store)?;
    let due =
        select.query_map(params![now.as_unix_millis(), number(limit)], |row| Ok((row.get(0)?, row.get(1)?)));
    let due = due.and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(Error::store)?;
    for (slot, sid) in &due {
        slot::remove(database, *slot, SessionId::from_bytes(*sid))?;
    }
    if !due.is_empty() {
        // Data that waited for its user is removed with the tombstone.
        database.erase_soon();
    }
    Ok(due.len())
}

/// Sessions that may have expired, in the order of when they were due.
fn find_due(database: &Database, sweep: &Sweep, limit: usize) -> Result<Vec<Record>, Error> {
    let realms = match &sweep.realm {
        Some(realm) => database.realm(realm)?.into_iter().collect(),
        None => all_realms(database)?,
    };
    let select = format!(
        "SELECT {}, slot FROM sessions WHERE realm = ?1 AND due_at <= ?2 ORDER BY due_at LIMIT ?3",
        slot::COLUMNS
    );
    let mut select = database.prepare_cached(&select).map_err(Error::store)?;
    let mut found = Vec::new();
    let mut unreadable = Vec::new();
    for realm in realms {
        let left = number(limit - found.len());
        let due = params![realm, sweep.now.as_unix_millis(), left];
        let mut rows = select.query(due).map_err(Error::store)?;
        while let Some(row) = rows.next().map_err(Error::store)? {
            match slot::read(row) {
                Ok(record) => found.push(record),
                Err(error) => {
                    tracing::error!(%error, "the sweep skipped a session that cannot be read");
                    unreadable.push(row.get::<_, i64>(2).map_err(Error::store)?);
                }
            }
        }
    }
    for slot in unreadable {
        // It must not stop the sweep of the others.
        let later = sweep.now.as_unix_millis().saturating_add(24 * 3_600_000);
        database.run("UPDATE sessions SET due_at = ?2 WHERE slot = ?1", [slot, later])?;
    }
    for record in &mut found {
        marks::see(database, record)?;
    }
    Ok(found)
}

fn all_realms(database: &Database) -> Result<Vec<i64>, Error> {
    let mut select = database.prepare_cached("SELECT id FROM realms").map_err(Error::store)?;
    let ids = select.query_map([], |row| row.get(0)).map_err(Error::store)?;
    ids.collect::<Result<_, _>>().map_err(Error::store)
}

pub(super) fn reschedule(database: &Database, sessions: &[(SessionId, Timestamp)]) -> Result<(), Error> {
    sessions.iter().try_for_each(|&(sid, at)| match Slot::find(database, sid)? {
        Some(slot) => slot.reschedule(database, at),
        None => Ok(()),
    })
}

pub(super) fn end_many(
    database: &Database,
    requests: &[(SessionId, EndRequest)],
) -> Result<Vec<EndOutcome>, Error> {
    requests.iter().map(|(sid, request)| super::operations::end(database, *sid, request)).collect()
}

fn number(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
