//! What was dropped is soon gone from the file and from its write-ahead log (D12).
//!
//! With `secure_delete` a row that is written over leaves nothing behind in a page, but the log holds earlier copies of the page until it
//! is emptied. That is a checkpoint, which costs about two commits; so the data that many calls drop shares one, at most
//! [`PAUSE`] later.

use std::{
    sync::{
        Arc, PoisonError, RwLock, Weak,
        mpsc::{Receiver, Sender},
    },
    thread,
    time::Duration,
};

use rusqlite::Connection;

use super::work::Message;
use crate::Error;

/// How long dropped data may stay in the log. Longer while another process reads or writes without a pause.
const PAUSE: Duration = Duration::from_millis(250);

/// Readers hold it open; it is closed while the log is emptied, which no snapshot may be in the way of.
pub(super) type Gate = Arc<RwLock<()>>;

/// Empties the log, by a connection that waits for no other process.
pub(super) struct Eraser {
    connection: Connection,
    gate: Gate,
}

impl Eraser {
    pub(super) fn new(connection: Connection) -> Result<Self, Error> {
        // A checkpoint that waits for a reader keeps writers away meanwhile, those of other processes too.
        connection.busy_timeout(Duration::ZERO).map_err(Error::store)?;
        Ok(Self { connection, gate: Gate::default() })
    }

    pub(super) fn gate(&self) -> Gate {
        Arc::clone(&self.gate)
    }

    /// Whether the log is empty now. To be called while no transaction of this process writes.
    pub(super) fn empty_log(&self) -> bool {
        // Most of the work is done beside the readers.
        let passive = self.checkpoint("PASSIVE");
        if !matches!(passive, Ok((0, pages, done)) if pages == done) {
            return false; // another process reads an older state
        }
        let closed = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let truncated = self.checkpoint("TRUNCATE");
        drop(closed);
        matches!(truncated, Ok((0, ..)))
    }

    /// Whether another process was in the way, how many pages were in the log, and how many of them are in the file now.
    fn checkpoint(&self, mode: &str) -> rusqlite::Result<(i64, i64, i64)> {
        let checkpoint = format!("PRAGMA wal_checkpoint({mode})");
        self.connection.query_row(&checkpoint, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
    }
}

/// Has the log emptied, at once or by a reminder to the writer.
pub(super) struct Alarm {
    eraser: Eraser,
    alarms: Sender<()>,
    is_set: bool,
}

impl Alarm {
    pub(super) const fn new(eraser: Eraser, alarms: Sender<()>) -> Self {
        Self { eraser, alarms, is_set: false }
    }

    /// Has the log emptied soon.
    pub(super) fn set(&mut self) {
        if !self.is_set {
            // It fails only when there is no thread to remind; `finish` erases then.
            let _ = self.alarms.send(());
            self.is_set = true;
        }
    }

    /// The reminder came.
    pub(super) fn ring(&mut self) {
        self.is_set = false;
        self.erase();
    }

    /// Empties the log now, or soon if another process uses it.
    pub(super) fn erase(&mut self) {
        if !self.eraser.empty_log() {
            self.set();
        }
    }

    /// The store is dropped: what is not yet erased is.
    pub(super) fn finish(self) {
        if self.is_set {
            self.eraser.empty_log();
        }
    }
}

/// Sends a reminder for each alarm, a while after it.
pub(super) fn remind(alarms: &Receiver<()>, writer: &Weak<Sender<Message>>) {
    while alarms.recv().is_ok() {
        thread::sleep(PAUSE);
        // Not held in between: the writer ends when all other senders are gone.
        let Some(writer) = writer.upgrade() else { return };
        if writer.send(Message::Erase).is_err() {
            return;
        }
    }
}
