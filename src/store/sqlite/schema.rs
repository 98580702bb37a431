//! The tables, and their version.

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use crate::{Error, ErrorKind, store::PlaceKey};

/// `PRAGMA application_id`: "tntr", which identifies files of this crate.
const APPLICATION: i64 = 0x746e_7472;

/// The version that the first of [`STEPS`] creates. Version 1 was never released.
const FIRST_VERSION: i64 = 2;

/// Each migrates a file from one version to the next; the first creates [`FIRST_VERSION`].
const STEPS: &[&str] = &["
-- A session or its tombstone. A row is a slot: it is written in place, is never deleted, and keeps its size when it is
-- reused. So SQLite never moves a row to another page, which might leave a copy behind.
CREATE TABLE sessions (
    slot INTEGER PRIMARY KEY,
    -- NULL in a free slot.
    sid BLOB,
    -- While it has not ended.
    realm INTEGER,
    created_at INTEGER,
    -- When the sweep must look at it. Never too late, and not moved by interactions.
    due_at INTEGER,
    -- The size of a free slot in bytes.
    free INTEGER,
    record BLOB NOT NULL
);
CREATE INDEX sessions_by_age ON sessions (realm, created_at, sid) WHERE realm IS NOT NULL;
CREATE INDEX sessions_due ON sessions (realm, due_at) WHERE realm IS NOT NULL;
CREATE INDEX tombstones_due ON sessions (due_at) WHERE realm IS NULL AND sid IS NOT NULL;
CREATE INDEX free_slots ON sessions (free) WHERE free IS NOT NULL;

-- Two kinds of entry: by the id, with 0 for `listed` and `created_at`; and, of a subject's session that has not ended, by age.
CREATE TABLE places (
    -- The first bytes of the id.
    tag INTEGER NOT NULL,
    listed INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    -- The other bytes.
    random BLOB NOT NULL,
    slot INTEGER NOT NULL,
    PRIMARY KEY (tag, listed, created_at, random)
) WITHOUT ROWID;

-- Names are blobs, since text with NUL is not safe everywhere.
CREATE TABLE realms (
    id INTEGER PRIMARY KEY,
    name BLOB NOT NULL UNIQUE,
    not_before INTEGER
);

-- Subjects who were signed out everywhere.
CREATE TABLE marks (
    tag INTEGER NOT NULL,
    realm BLOB NOT NULL,
    subject BLOB NOT NULL,
    mark BLOB NOT NULL,
    keep_until INTEGER NOT NULL,
    -- After which session the sweep continues to look for those that the mark covers; NULL once it has found all.
    after_created_at INTEGER,
    after_sid BLOB,
    PRIMARY KEY (tag, realm, subject)
) WITHOUT ROWID;
CREATE INDEX marks_to_sweep ON marks (realm) WHERE after_created_at IS NOT NULL;
CREATE INDEX marks_to_forget ON marks (keep_until);

CREATE TABLE settings (
    realm BLOB PRIMARY KEY,
    version INTEGER NOT NULL,
    text TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE place (key BLOB NOT NULL);
"];

/// Creates what is missing, and refuses files of other applications. One process at a time; others
/// wait.
pub(super) fn prepare(connection: &mut Connection) -> Result<PlaceKey, Error> {
    prepare_by(connection, STEPS)
}

fn prepare_by(connection: &mut Connection, steps: &[&str]) -> Result<PlaceKey, Error> {
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(Error::store)?;
    let from = version(&transaction, FIRST_VERSION + count(steps) - 1)?;
    // The first step creates the first version, so a file of that version starts with the second.
    let done = from.map_or(0, |version| version - FIRST_VERSION + 1);
    for step in steps.iter().skip(usize::try_from(done).unwrap_or(0)) {
        transaction.execute_batch(step).map_err(Error::store)?;
    }
    if done < count(steps) {
        let newest = FIRST_VERSION + count(steps) - 1;
        let stamp = format!("PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {newest};");
        transaction.execute_batch(&stamp).map_err(Error::store)?;
    }
    if from.is_none() {
        let insert = "INSERT INTO place (key) VALUES (?1)";
        transaction.execute(insert, params![PlaceKey::random().as_bytes()]).map_err(Error::store)?;
    }
    let key = transaction.query_row("SELECT key FROM place", [], |row| row.get(0)).map_err(Error::store)?;
    transaction.commit().map_err(Error::store)?;
    Ok(PlaceKey::from_bytes(key))
}

/// The version of the schema in the file; `None` in an empty file.
fn version(transaction: &Transaction<'_>, newest: i64) -> Result<Option<i64>, Error> {
    let application = pragma(transaction, "application_id")?;
    let version = pragma(transaction, "user_version")?;
    let tables = "SELECT count(*) FROM sqlite_schema";
    let tables: i64 = transaction.query_row(tables, [], |row| row.get(0)).map_err(Error::store)?;
    let refuse = |message: String| Err(Error::new(ErrorKind::Configuration, message));
    match (application, version) {
        (0, 0) if tables == 0 => Ok(None),
        (APPLICATION, ..FIRST_VERSION) => refuse(format!(
            "the SQLite file has version {version} of the schema, which was never released and which this build does \
             not read; delete the file with its -wal and -shm (everybody signs in again), or use another path"
        )),
        (APPLICATION, _) if version > newest => refuse(format!(
            "the SQLite file has version {version} of the schema and this build reads up to {newest}; use a newer build"
        )),
        (APPLICATION, _) => Ok(Some(version)),
        _ => refuse(
            "the SQLite file belongs to another application; use a separate file for sessions".to_owned(),
        ),
    }
}

fn count(steps: &[&str]) -> i64 {
    i64::try_from(steps.len()).unwrap_or(i64::MAX)
}

fn pragma(transaction: &Transaction<'_>, name: &str) -> Result<i64, Error> {
    transaction.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0)).map_err(Error::store)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(connection: &Connection) -> i64 {
        let count = "SELECT count(*) FROM pragma_table_info('realms')";
        connection.query_row(count, [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn s7_an_older_file_is_upgraded_once_and_keeps_what_it_holds() {
        let older = STEPS;
        let mut newer = older.to_vec();
        newer.push("ALTER TABLE realms ADD COLUMN colour TEXT; UPDATE realms SET colour = 'grey';");
        let mut file = Connection::open_in_memory().unwrap();
        let key = prepare_by(&mut file, older).unwrap();
        file.execute("INSERT INTO realms (name) VALUES (x'61')", []).unwrap();
        let before = columns(&file);

        for _ in 0..2 {
            assert!(prepare_by(&mut file, &newer).unwrap() == key, "the place key stays");
            assert_eq!(columns(&file), before + 1);
            let colour: String = file.query_row("SELECT colour FROM realms", [], |row| row.get(0)).unwrap();
            assert_eq!(colour, "grey");
        }
        let refused = prepare_by(&mut file, older).unwrap_err();
        assert!(refused.to_string().contains("use a newer build"), "{refused}");
    }

    #[test]
    fn s7_a_step_that_fails_leaves_the_older_file_as_it_was() {
        let mut file = Connection::open_in_memory().unwrap();
        prepare_by(&mut file, STEPS).unwrap();
        let before = columns(&file);
        let mut newer = STEPS.to_vec();
        newer.push("ALTER TABLE realms ADD COLUMN colour TEXT; nonsense;");
        assert!(prepare_by(&mut file, &newer).is_err());
        assert_eq!(columns(&file), before);
        prepare(&mut file).unwrap();
    }
}
