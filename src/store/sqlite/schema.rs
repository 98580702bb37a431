//! The tables, and their version.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::{Error, ErrorKind};

/// `PRAGMA application_id`: "tntr", so that nobody takes the file for another's.
const APPLICATION: i64 = 0x746e_7472;

/// Each brings a file from one version, which is its index, to the next.
const MIGRATIONS: [&str; 1] = ["
-- A session without its data, so that an interaction rewrites little. Times are in milliseconds since the Unix epoch, lifetimes in
-- milliseconds.
CREATE TABLE sessions (
    sid BLOB PRIMARY KEY,
    secret BLOB NOT NULL,
    previous_secret BLOB,
    previous_until INTEGER,
    mode TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    authenticated_at INTEGER,
    last_interaction_at INTEGER NOT NULL,
    longest_gap INTEGER NOT NULL,
    idle_lifetime INTEGER NOT NULL,
    absolute_lifetime INTEGER NOT NULL,
    bound_idle INTEGER NOT NULL,
    bound_absolute INTEGER NOT NULL,
    one_off_idle INTEGER,
    updated_at INTEGER NOT NULL,
    subject TEXT,
    revision INTEGER NOT NULL,
    facts TEXT NOT NULL,
    end_reason TEXT,
    ended_at INTEGER,
    -- Never later than when the session is over, and not moved by interactions: what the sweep looks for.
    sweep_at INTEGER NOT NULL,
    -- The one place in this store where a deadline is computed (SPEC L2).
    deadline INTEGER AS (min(last_interaction_at + coalesce(one_off_idle, idle_lifetime), created_at + absolute_lifetime))
) WITHOUT ROWID;
CREATE INDEX sessions_by_subject ON sessions (subject, created_at, sid) WHERE ended_at IS NULL AND subject IS NOT NULL;
CREATE INDEX sessions_by_age ON sessions (created_at, sid) WHERE ended_at IS NULL;
CREATE INDEX sessions_to_sweep ON sessions (sweep_at);

-- Keys are blobs: text may not hold NUL everywhere.
CREATE TABLE session_data (
    sid BLOB NOT NULL,
    key BLOB NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (sid, key)
) WITHOUT ROWID;

CREATE TABLE settings (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    version INTEGER NOT NULL,
    text TEXT NOT NULL
);
"];

/// Creates what is missing; refuses what is not ours. By one process at a time, and the others wait.
pub(super) fn prepare(connection: &mut Connection) -> Result<(), Error> {
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(Error::store)?;
    let application = pragma(&transaction, "application_id")?;
    let version = pragma(&transaction, "user_version")?;
    let is_empty = || {
        let tables = "SELECT count(*) = 0 FROM sqlite_schema";
        transaction.query_row(tables, [], |row| row.get(0)).map_err(Error::store)
    };
    if application != APPLICATION && !(application == 0 && version == 0 && is_empty()?) {
        let message = "the SQLite file belongs to another application; give the sessions a file of their own";
        return Err(Error::new(ErrorKind::Configuration, message));
    }
    let newest = MIGRATIONS.len();
    let known = usize::try_from(version).unwrap_or(usize::MAX);
    if known > newest {
        let message = format!(
            "the SQLite file has version {version} of the schema and this build knows up to {newest}; use a newer build"
        );
        return Err(Error::new(ErrorKind::Configuration, message));
    }
    for migration in &MIGRATIONS[known..] {
        transaction.execute_batch(migration).map_err(Error::store)?;
    }
    if known < newest {
        let mark = format!("PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {newest};");
        transaction.execute_batch(&mark).map_err(Error::store)?;
    }
    transaction.commit().map_err(Error::store)
}

fn pragma(transaction: &Transaction<'_>, name: &str) -> Result<i64, Error> {
    transaction.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0)).map_err(Error::store)
}
