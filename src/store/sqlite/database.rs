//! A connection, with what the operations on it have in common.

use std::{cell::Cell, ops::Deref};

use rusqlite::{Connection, OptionalExtension, Params};

use crate::Error;

/// A connection of one thread. It is a [`Connection`] for statements of its own.
pub(super) struct Database {
    connection: Connection,
    erasure: Cell<Erasure>,
}

/// Whether data was dropped that is to be gone from the file's log as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Erasure {
    /// None was.
    #[default]
    Nothing,
    /// Some was: it may share the work with others.
    Soon,
    /// A session was ended: before that is answered, if no other call waits.
    AtOnce,
}

impl Database {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, erasure: Cell::default() }
    }

    /// Runs a statement that gives no rows. How many rows it changed.
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

    /// The number of a realm, which it gets if it has none.
    pub(super) fn realm_to_write(&self, name: &str) -> Result<i64, Error> {
        if let Some(id) = self.realm(name)? {
            return Ok(id);
        }
        self.run("INSERT INTO realms (name) VALUES (?1)", [name.as_bytes()])?;
        Ok(self.last_insert_rowid())
    }

    /// Data was dropped.
    pub(super) fn erase_soon(&self) {
        self.erasure.set(self.erasure.get().max(Erasure::Soon));
    }

    /// What was dropped by now is to be erased before the call is answered, if no other waits.
    pub(super) fn hurry(&self) {
        if self.erasure.get() == Erasure::Soon {
            self.erasure.set(Erasure::AtOnce);
        }
    }

    /// What is to be done, once.
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
