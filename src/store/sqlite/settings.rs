//! Shared settings, and notifications of their changes.

use rusqlite::{OptionalExtension, params};

use super::database::Database;
use crate::{Error, store::StoredSettings};

pub(super) fn load(database: &Database, realm: &str) -> Result<Option<StoredSettings>, Error> {
    let select = "SELECT version, text FROM settings WHERE realm = ?1";
    let mut select = database.prepare_cached(select).map_err(Error::store)?;
    let stored =
        select.query_row([realm.as_bytes()], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)));
    let stored = stored.optional().map_err(Error::store)?;
    Ok(stored.map(|(version, text)| StoredSettings { version: version.unsigned_abs(), text: text.into() }))
}

pub(super) fn save(database: &Database, realm: &str, text: &str, after: Option<u64>) -> Result<bool, Error> {
    if load(database, realm)?.map(|stored| stored.version) != after {
        return Ok(false);
    }
    let save = "INSERT OR REPLACE INTO settings (realm, version, text) VALUES (?1, ?2, ?3)";
    let version = i64::try_from(after.unwrap_or(0) + 1).unwrap_or(i64::MAX);
    database.run(save, params![realm.as_bytes(), version, text]).map(|_| true)
}

/// A connection that only polls whether others have changed the file.
pub(super) struct Watch {
    database: Database,
    seen: Option<i64>,
}

impl Watch {
    pub(super) const fn new(database: Database) -> Self {
        Self { database, seen: None }
    }

    /// Whether the file has changed since the last call.
    pub(super) fn look(&mut self) -> Result<bool, Error> {
        let ask = self.database.query_row("PRAGMA data_version", [], |row| row.get::<_, i64>(0));
        let version = ask.map_err(Error::store)?;
        Ok(self.seen.replace(version) != Some(version))
    }
}
