//! A connection, with helpers for the operations.

use std::{cell::Cell, ops::Deref};

use rusqlite::{Connection, OptionalExtension, Params};

use crate::Error;

/// A connection of one thread. It derefs to a [`Connection`].
pub(super) struct Database {
    connection: Connection,
    erasure: Cell<Erasure>,
}

/// Whether data was dropped that must also be erased from the file's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Erasure {
    /// No data was dropped.
    #[default]
    Nothing,
    /// Data was dropped; its erasure may be batched with others.
    Soon,
    /// A session was ended; erase before answering, if no other call waits.
    AtOnce,
}

impl Database {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, erasure: Cell::default() }
    }

    /// Runs a statement without results. Returns how many rows it changed.
    pub(super) fn run(&self, statement: &str, params: impl Params) -> Result<usize, Error> {
        let mut statement = self.prepare_cached(statement).map_err(Error::store)?;
        statement.execute(params).map_err(Error::store)
    }

    /// The number of a realm; `None` while nothing is stored of it.
    pub(super) fn realm(&self, name: &str) -> Result<Option<i64>, Error> {
        let select = "SELECT id FROM realms WHERE name = ?1";
        let mut select = self.prepare_cached(select).map_err(Error::store)?;
        select.query_row([name.as_bytes()], |row| row.get(0)).optional().map_err(Error::store)
    }

    /// The number of a realm; a new realm gets one.
    pub(super) fn realm_to_write(&self, name: &str) -> Result<i64, Error> {
        if let Some(id) = self.realm(name)? {
            return Ok(id);
        }
        self.run("INSERT INTO realms (name) VALUES (?1)", [name.as_bytes()])?;
        Ok(self.last_insert_rowid())
    }

    /// Notes that data was dropped.
    pub(super) fn erase_soon(&self) {
        self.erasure.set(self.erasure.get().max(Erasure::Soon));
    }

    /// Asks for erasure before the call is answered, if no other call waits.
    pub(super) fn hurry(&self) {
        if self.erasure.get() == Erasure::Soon {
            self.erasure.set(Erasure::AtOnce);
        }
    }

    /// Takes the pending erasure.
    pub(super) fn take_erasure(&self) -> Erasure {
        self.erasure.take()
    }
}

impl Deref for Database {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}
