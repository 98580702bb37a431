//! Erases dropped data from the write-ahead log.
//!
//! With `secure_delete`, an overwritten row leaves nothing in its page. But the log keeps earlier
//! copies of the page until a checkpoint empties it. A checkpoint costs about two commits, so many
//! calls share one, at most [`PAUSE`] later.

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

/// How long dropped data may stay in the log. It may take longer while another process reads or
/// writes continuously.
const PAUSE: Duration = Duration::from_millis(250);

/// Readers pass this gate. It is closed while the log is emptied, since a snapshot would prevent
/// that.
pub(super) type Gate = Arc<RwLock<()>>;

/// The connection that empties the log. It does not wait for other processes.
pub(super) struct Eraser {
    connection: Connection,
    gate: Gate,
}

impl Eraser {
    pub(super) fn new(connection: Connection) -> Result<Self, Error> {
        // A checkpoint that waits for a reader would block all writers meanwhile, also in other
        // processes.
        connection.busy_timeout(Duration::ZERO).map_err(Error::store)?;
        Ok(Self { connection, gate: Gate::default() })
    }

    pub(super) fn gate(&self) -> Gate {
        Arc::clone(&self.gate)
    }

    /// Empties the log; returns whether it is empty. Must not be called during a write transaction
    /// of this process.
    pub(super) fn empty_log(&self) -> bool {
        // Do most of the work while readers continue.
        let passive = self.checkpoint("PASSIVE");
        if !matches!(passive, Ok((0, pages, done)) if pages == done) {
            return false; // another process reads an older snapshot
        }
        let closed = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let truncated = self.checkpoint("TRUNCATE");
        drop(closed);
        matches!(truncated, Ok((0, ..)))
    }

    /// Whether another process was in the way, the number of pages in the log, and how many of them
    /// are in the file now.
    fn checkpoint(&self, mode: &str) -> rusqlite::Result<(i64, i64, i64)> {
        let checkpoint = format!("PRAGMA wal_checkpoint({mode})");
        self.connection.query_row(&checkpoint, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
    }
}

/// Empties the log, at once or after a reminder to the writer.
pub(super) struct Alarm {
    eraser: Eraser,
    alarms: Sender<()>,
    is_set: bool,
}

impl Alarm {
    pub(super) const fn new(eraser: Eraser, alarms: Sender<()>) -> Self {
        Self { eraser, alarms, is_set: false }
    }

    /// Schedules emptying the log.
    pub(super) fn set(&mut self) {
        if !self.is_set {
            // It fails only without a reminder thread; `finish` erases then.
            let _ = self.alarms.send(());
            self.is_set = true;
        }
    }

    /// The reminder arrived.
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

    /// The store is dropped: erases what is left.
    pub(super) fn finish(self) {
        if self.is_set {
            self.eraser.empty_log();
        }
    }
}

/// Sends a reminder some time after each alarm.
pub(super) fn remind(alarms: &Receiver<()>, writer: &Weak<Sender<Message>>) {
    while alarms.recv().is_ok() {
        thread::sleep(PAUSE);
        // Upgrade the sender only here: the writer ends when all other senders are gone.
        let Some(writer) = writer.upgrade() else { return };
        if writer.send(Message::Erase).is_err() {
            return;
        }
    }
}
