//! Records as rows, and back.

use std::{sync::Arc, time::Duration};

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::{
    Error, ErrorKind, Timestamp,
    record::{
        Data, Edits, Ended, Facts, Json, Lifetimes, PreviousSecret, Record, SecretHash, SessionId, Timing,
    },
};

/// What [`find`] and the lists select, in the order in which [`read`] takes it.
pub(super) const COLUMNS: &str = "sid, secret, previous_secret, previous_until, mode, created_at, authenticated_at, \
    last_interaction_at, longest_gap, idle_lifetime, absolute_lifetime, bound_idle, bound_absolute, one_off_idle, \
    updated_at, subject, revision, facts, end_reason, ended_at";

/// The record under an id, without its data.
pub(super) fn find(connection: &Connection, sid: SessionId) -> Result<Option<Record>, Error> {
    let select = format!("SELECT {COLUMNS} FROM sessions WHERE sid = ?1");
    let mut select = connection.prepare_cached(&select).map_err(Error::store)?;
    let found = select.query_row([sid.as_bytes()], |row| Ok(read(row))).optional().map_err(Error::store)?;
    found.transpose()
}

/// The records of a query for [`COLUMNS`], without their data.
pub(super) fn find_all(
    connection: &Connection,
    select: &str,
    params: impl rusqlite::Params,
) -> Result<Vec<Record>, Error> {
    let mut select = connection.prepare_cached(select).map_err(Error::store)?;
    let rows = select.query_map(params, |row| Ok(read(row))).map_err(Error::store)?;
    rows.map(|row| row.map_err(Error::store)?).collect()
}

/// The data of a session.
pub(super) fn data(connection: &Connection, sid: SessionId) -> Result<Data, Error> {
    let select = "SELECT key, value FROM session_data WHERE sid = ?1";
    let mut select = connection.prepare_cached(select).map_err(Error::store)?;
    let rows = select.query_map([sid.as_bytes()], |row| {
        Ok((row.get_ref(0)?.as_blob()?.to_vec(), Json::from_text(row.get_ref(1)?.as_str()?)))
    });
    let rows = rows.map_err(Error::store)?;
    rows.map(|row| {
        let (key, value) = row.map_err(Error::store)?;
        Ok((String::from_utf8(key).map_err(|_| unreadable("a key"))?, value))
    })
    .collect()
}

/// A row as a record, still without data.
pub(super) fn read(row: &Row<'_>) -> Result<Record, Error> {
    let mut columns = Columns { row, next: 0 };
    let sid = SessionId::from_bytes(columns.bytes()?);
    let secret = SecretHash::from_bytes(columns.bytes()?);
    let previous: (Option<[u8; 32]>, Option<i64>) = (columns.get()?, columns.get()?);
    let mode: String = columns.get()?;
    let timing = Timing {
        mode: mode.parse()?,
        created_at: columns.time()?,
        authenticated_at: columns.get::<Option<i64>>()?.map(Timestamp::from_unix_millis),
        last_interaction_at: columns.time()?,
        longest_gap: columns.duration()?,
        lifetimes: Lifetimes::new(columns.duration()?, columns.duration()?)?,
        bound: Lifetimes::new(columns.duration()?, columns.duration()?)?,
        one_off_idle: columns
            .get::<Option<i64>>()?
            .map(|millis| Duration::from_millis(millis.unsigned_abs())),
    };
    let updated_at = columns.time()?;
    let subject: Option<String> = columns.get()?;
    let revision = columns.number()?;
    let facts: String = columns.get()?;
    let facts: Facts = serde_json::from_str(&facts).map_err(|_| unreadable("facts"))?;
    let ended = match (columns.get::<Option<String>>()?, columns.get::<Option<i64>>()?) {
        (Some(reason), Some(at)) => {
            Some(Ended { reason: reason.parse()?, at: Timestamp::from_unix_millis(at) })
        }
        _ => None,
    };
    let previous_secret = previous.0.zip(previous.1).map(|(hash, until)| PreviousSecret {
        hash: SecretHash::from_bytes(hash),
        until: Timestamp::from_unix_millis(until),
    });
    Ok(Record {
        sid,
        secret,
        previous_secret,
        timing,
        updated_at,
        subject: subject.map(Into::into),
        data: Data::default(),
        revision,
        facts: Arc::new(facts),
        ended,
    })
}

/// Adds a record with its data. `false`, and nothing is done, when there is one of this id.
pub(super) fn insert(connection: &Connection, record: &Record) -> Result<bool, Error> {
    let insert = format!(
        "INSERT INTO sessions ({COLUMNS}, sweep_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, NULL, NULL, ?19) \
         ON CONFLICT DO NOTHING"
    );
    let timing = &record.timing;
    let previous = record.previous_secret.as_ref();
    let inserted = execute(
        connection,
        &insert,
        params![
            record.sid.as_bytes(),
            record.secret.as_bytes(),
            previous.map(|previous| previous.hash.as_bytes()),
            previous.map(|previous| previous.until.as_unix_millis()),
            timing.mode.as_str(),
            timing.created_at.as_unix_millis(),
            timing.authenticated_at.map(Timestamp::as_unix_millis),
            timing.last_interaction_at.as_unix_millis(),
            millis(timing.longest_gap),
            millis(timing.lifetimes.idle()),
            millis(timing.lifetimes.absolute()),
            millis(timing.bound.idle()),
            millis(timing.bound.absolute()),
            timing.one_off_idle.map(millis),
            record.updated_at.as_unix_millis(),
            record.subject.as_deref(),
            revision(record),
            facts(record)?,
            record.over_at().as_unix_millis(),
        ],
    )?;
    if inserted == 0 {
        return Ok(false);
    }
    for (key, value) in record.data.iter() {
        set(connection, record.sid, key, value)?;
    }
    Ok(true)
}

/// Writes what a change may have changed of a live record, all but its data. Touches no indexed column, unless it `is_sooner` over.
pub(super) fn rewrite(connection: &Connection, record: &Record, is_sooner: bool) -> Result<(), Error> {
    let update = "UPDATE sessions SET secret = ?2, previous_secret = ?3, previous_until = ?4, last_interaction_at = ?5, \
        longest_gap = ?6, idle_lifetime = ?7, absolute_lifetime = ?8, one_off_idle = ?9, updated_at = ?10, revision = ?11, \
        facts = ?12 WHERE sid = ?1";
    let timing = &record.timing;
    let previous = record.previous_secret.as_ref();
    execute(
        connection,
        update,
        params![
            record.sid.as_bytes(),
            record.secret.as_bytes(),
            previous.map(|previous| previous.hash.as_bytes()),
            previous.map(|previous| previous.until.as_unix_millis()),
            timing.last_interaction_at.as_unix_millis(),
            millis(timing.longest_gap),
            millis(timing.lifetimes.idle()),
            millis(timing.lifetimes.absolute()),
            timing.one_off_idle.map(millis),
            record.updated_at.as_unix_millis(),
            revision(record),
            facts(record)?,
        ],
    )?;
    if is_sooner {
        let sooner = "UPDATE sessions SET sweep_at = min(sweep_at, deadline) WHERE sid = ?1";
        execute(connection, sooner, [record.sid.as_bytes()])?;
    }
    Ok(())
}

/// Writes the tombstone of a record that was ended, and drops its data.
pub(super) fn bury(connection: &Connection, record: &Record) -> Result<(), Error> {
    let bury = "UPDATE sessions SET previous_secret = NULL, previous_until = NULL, updated_at = ?2, end_reason = ?3, \
        ended_at = ?4, sweep_at = ?4 WHERE sid = ?1";
    let ended = record.ended.map(|ended| (ended.reason.as_str(), ended.at.as_unix_millis())).unzip();
    let (sid, updated_at) = (record.sid.as_bytes(), record.updated_at.as_unix_millis());
    execute(connection, bury, params![sid, updated_at, ended.0, ended.1])?;
    execute(connection, "DELETE FROM session_data WHERE sid = ?1", [sid]).map(drop)
}

/// Sets and removes keys of a session.
pub(super) fn edit(connection: &Connection, sid: SessionId, edits: &Edits) -> Result<(), Error> {
    for (key, value) in edits.iter() {
        if let Some(value) = value {
            set(connection, sid, key, value)?;
        } else {
            let remove = "DELETE FROM session_data WHERE sid = ?1 AND key = ?2";
            execute(connection, remove, params![sid.as_bytes(), key.as_bytes()])?;
        }
    }
    Ok(())
}

fn set(connection: &Connection, sid: SessionId, key: &str, value: &Json) -> Result<(), Error> {
    let set =
        "INSERT INTO session_data (sid, key, value) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET value = ?3";
    execute(connection, set, params![sid.as_bytes(), key.as_bytes(), value.as_str()]).map(drop)
}

/// Runs a statement, and tells how many rows it changed.
pub(super) fn execute(
    connection: &Connection,
    statement: &str,
    params: impl rusqlite::Params,
) -> Result<usize, Error> {
    let mut statement = connection.prepare_cached(statement).map_err(Error::store)?;
    statement.execute(params).map_err(Error::store)
}

/// The columns of a row, one after the other.
struct Columns<'a, 'b> {
    row: &'a Row<'b>,
    next: usize,
}

impl Columns<'_, '_> {
    fn get<T: rusqlite::types::FromSql>(&mut self) -> Result<T, Error> {
        self.next += 1;
        self.row.get(self.next - 1).map_err(Error::store)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.get()
    }

    fn time(&mut self) -> Result<Timestamp, Error> {
        self.get().map(Timestamp::from_unix_millis)
    }

    fn number(&mut self) -> Result<u64, Error> {
        self.get().map(i64::unsigned_abs)
    }

    fn duration(&mut self) -> Result<Duration, Error> {
        self.number().map(Duration::from_millis)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn revision(record: &Record) -> i64 {
    i64::try_from(record.revision).unwrap_or(i64::MAX)
}

fn facts(record: &Record) -> Result<String, Error> {
    serde_json::to_string(&*record.facts).map_err(|_| unreadable("facts"))
}

/// Names what can not be read, and nothing of it (H5).
fn unreadable(what: &str) -> Error {
    Error::new(ErrorKind::Store, format!("{what} of a session in the SQLite file can not be read"))
}
