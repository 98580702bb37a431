//! The threads: one that writes, and some that read.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::Error;

/// How many waiting jobs go into one transaction: enough to share the cost of a commit, few enough to keep nobody waiting.
const BATCH: usize = 256;

/// Hands work to threads, and waits for their answers without blocking. The threads end with the last clone.
#[derive(Clone)]
pub(super) struct Workers {
    writes: Sender<Box<dyn Job>>,
    reads: Sender<Box<dyn Job>>,
}

impl Workers {
    /// Starts one thread that writes, and one for each connection that reads.
    pub(super) fn start(for_writes: Connection, for_reads: Vec<Connection>) -> Result<Self, Error> {
        let (writes, queue) = channel();
        spawn("tenure-sqlite-writer", move || write_all(&for_writes, &queue))?;
        let (reads, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        for connection in for_reads {
            let queue = Arc::clone(&queue);
            spawn("tenure-sqlite-reader", move || read_all(&connection, &queue))?;
        }
        Ok(Self { writes, reads })
    }

    /// Runs this in a transaction of the writer. Answered once that is on disk. Done whole or not at all, also when nobody
    /// waits for the answer any more.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        hand_over(&self.writes, work).await
    }

    /// Runs this in a snapshot of its own.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        hand_over(&self.reads, work).await
    }
}

async fn hand_over<T: Send + 'static>(
    queue: &Sender<Box<dyn Job>>,
    work: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let stopped = || Error::store("the thread of the SQLite store has stopped");
    let (reply, answer) = oneshot::channel();
    queue.send(Box::new(Task { work: Some(work), done: None, reply })).map_err(|_| stopped())?;
    answer.await.map_err(|_| stopped())?
}

/// One call to the store.
trait Job: Send {
    /// Whether somebody still waits for it.
    fn is_wanted(&self) -> bool;
    /// Does the work. Whether it succeeded.
    fn run(&mut self, connection: &Connection) -> bool;
    /// Tells what came of it, or why it is not there after all.
    fn answer(self: Box<Self>, lost: Option<Error>);
}

struct Task<T, F> {
    work: Option<F>,
    done: Option<Result<T, Error>>,
    reply: oneshot::Sender<Result<T, Error>>,
}

impl<T, F> Job for Task<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> Result<T, Error> + Send,
{
    fn is_wanted(&self) -> bool {
        !self.reply.is_closed()
    }

    fn run(&mut self, connection: &Connection) -> bool {
        let Some(work) = self.work.take() else { return false };
        // A thread that is gone would fail every call from then on.
        let done = catch_unwind(AssertUnwindSafe(|| work(connection)));
        let panicked = |_| Err(Error::store("a call to the SQLite store panicked"));
        self.done.insert(done.unwrap_or_else(panicked)).is_ok()
    }

    fn answer(self: Box<Self>, lost: Option<Error>) {
        let done = match (lost, self.done) {
            (Some(error), None | Some(Ok(_))) => Err(error),
            (_, Some(done)) => done,
            (None, None) => Err(Error::store("a call to the SQLite store was not carried out")),
        };
        let _ = self.reply.send(done);
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop).map_err(Error::store)
}

fn write_all(connection: &Connection, queue: &Receiver<Box<dyn Job>>) {
    while let Ok(first) = queue.recv() {
        let mut batch = vec![first];
        batch.extend(queue.try_iter().take(BATCH - 1));
        batch.retain(|job| job.is_wanted());
        let lost = if batch.is_empty() { None } else { write_batch(connection, &mut batch).err() };
        for job in batch {
            let lost = lost.as_ref().map(|error| Error::store(error.to_string()));
            job.answer(lost);
        }
    }
}

/// Runs jobs in one transaction, each whole or not at all.
fn write_batch(connection: &Connection, batch: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
    let run = |sql: &str| connection.prepare_cached(sql)?.execute([]).map(drop);
    run("BEGIN IMMEDIATE")?;
    let written = batch.iter_mut().try_for_each(|job| {
        run("SAVEPOINT job")?;
        if !job.run(connection) {
            run("ROLLBACK TO job")?;
        }
        run("RELEASE job")
    });
    let committed = written.and_then(|()| run("COMMIT"));
    if !connection.is_autocommit() {
        // It may have rolled back already, as SQLite does when the disk is full.
        let _ = connection.execute_batch("ROLLBACK");
    }
    committed
}

fn read_all(connection: &Connection, queue: &Mutex<Receiver<Box<dyn Job>>>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(mut job) = next else { return };
        if !job.is_wanted() {
            continue;
        }
        let lost = match connection.unchecked_transaction() {
            Ok(snapshot) => {
                job.run(&snapshot);
                snapshot.finish().err()
            }
            Err(error) => Some(error),
        };
        job.answer(lost.map(Error::store));
    }
}
