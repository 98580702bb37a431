//! The threads: one writes, some read, and one reminds the writer to [erase](super::erase).

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use tokio::sync::oneshot;

use super::{
    database::{Database, Erasure},
    erase::{self, Alarm, Eraser, Gate},
};
use crate::Error;

/// How many waiting jobs go into one transaction: enough to share the cost of a commit, few enough
/// to answer all soon.
const MAX_BATCH: usize = 256;

/// How many waiting jobs share a snapshot, which costs as much as a load.
const MAX_READS: usize = 8;

/// Sends work to the threads, and awaits their answers without blocking. The threads end with the
/// last clone.
#[derive(Clone)]
pub(super) struct Workers {
    writes: Arc<Sender<Message>>,
    reads: Sender<Box<dyn Job>>,
}

/// A message to the writer.
pub(super) enum Message {
    /// A call to the store.
    Call(Box<dyn Job>),
    /// Erase the data that was dropped some time ago.
    Erase,
}

impl Workers {
    /// Starts the writer, and one thread per reading connection.
    pub(super) fn start(
        for_writes: Database,
        for_reads: Vec<Database>,
        eraser: Eraser,
    ) -> Result<Self, Error> {
        let gate = eraser.gate();
        let (writes, queue) = channel();
        let writes = Arc::new(writes);
        let (alarm, alarms) = channel();
        let reminder = Arc::downgrade(&writes);
        spawn("tenure-sqlite-eraser", move || erase::remind(&alarms, &reminder))?;
        let alarm = Alarm::new(eraser, alarm);
        spawn("tenure-sqlite-writer", move || write_all(&for_writes, &queue, alarm))?;
        let (reads, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        for database in for_reads {
            let (queue, gate) = (Arc::clone(&queue), Arc::clone(&gate));
            spawn("tenure-sqlite-reader", move || read_all(&database, &queue, &gate))?;
        }
        Ok(Self { writes, reads })
    }

    /// Runs the closure in a transaction of the writer, and answers once that is on disk. It takes
    /// effect as a whole or not at all, also when the caller stops waiting.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (job, answer) = Task::new(work);
        self.writes.send(Message::Call(job)).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Runs the closure in a snapshot.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (job, answer) = Task::new(work);
        self.reads.send(job).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

fn stopped() -> Error {
    Error::store("a thread of the SQLite store has stopped; open the store again")
}

/// One call to the store.
pub(super) trait Job: Send {
    /// Whether the caller still waits for it.
    fn is_wanted(&self) -> bool;
    /// Does the work. Returns whether it succeeded.
    fn run(&mut self, database: &Database) -> bool;
    /// Sends the result, or the reason why there is none.
    fn answer(self: Box<Self>, lost: Option<Error>);
}

struct Task<T, F> {
    work: Option<F>,
    done: Option<Result<T, Error>>,
    reply: oneshot::Sender<Result<T, Error>>,
}

type Answer<T> = oneshot::Receiver<Result<T, Error>>;

impl<T, F> Task<T, F>
where
    T: Send + 'static,
    F: FnOnce(&Database) -> Result<T, Error> + Send + 'static,
{
    #[expect(clippy::new_ret_no_self, reason = "the task, and where its answer comes")]
    fn new(work: F) -> (Box<dyn Job>, Answer<T>) {
        let (reply, answer) = oneshot::channel();
        (Box::new(Self { work: Some(work), done: None, reply }), answer)
    }
}

impl<T, F> Job for Task<T, F>
where
    T: Send,
    F: FnOnce(&Database) -> Result<T, Error> + Send,
{
    fn is_wanted(&self) -> bool {
        !self.reply.is_closed()
    }

    fn run(&mut self, database: &Database) -> bool {
        let Some(work) = self.work.take() else { return false };
        // A panic must not end the thread: every later call would fail.
        let done = catch_unwind(AssertUnwindSafe(|| work(database)));
        let panicked = |_| Err(Error::store("a call to the SQLite store panicked; see the panic message"));
        self.done.insert(done.unwrap_or_else(panicked)).is_ok()
    }

    fn answer(self: Box<Self>, lost: Option<Error>) {
        let done = match (lost, self.done) {
            (Some(error), None | Some(Ok(_))) => Err(error),
            (_, Some(done)) => done,
            (None, None) => Err(Error::store("the SQLite store did not run the call")),
        };
        let _ = self.reply.send(done);
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop).map_err(Error::store)
}

fn write_all(database: &Database, queue: &Receiver<Message>, mut alarm: Alarm) {
    while let Ok(first) = queue.recv() {
        let mut batch = Vec::new();
        let mut is_reminder = false;
        for message in std::iter::once(first).chain(queue.try_iter().take(MAX_BATCH - 1)) {
            match message {
                Message::Call(job) if job.is_wanted() => batch.push(job),
                Message::Call(_) => {}
                Message::Erase => is_reminder = true,
            }
        }
        let lost = if batch.is_empty() { None } else { write_batch(database, &mut batch).err() };
        // A single logout is answered once its data is erased. In a larger batch it is not, since
        // the whole batch would wait.
        let is_alone = batch.len() == 1 && !is_reminder;
        match database.take_erasure() {
            Erasure::AtOnce if is_alone => alarm.erase(),
            Erasure::AtOnce | Erasure::Soon => alarm.set(),
            Erasure::Nothing => {}
        }
        for job in batch {
            let lost = lost.as_ref().map(|error| Error::store(error.to_string()));
            job.answer(lost);
        }
        if is_reminder {
            alarm.ring();
        }
    }
    alarm.finish();
}

/// Runs jobs in one transaction, each atomically.
fn write_batch(database: &Database, batch: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
    let run = |sql: &str| database.prepare_cached(sql)?.execute([]).map(drop);
    run("BEGIN IMMEDIATE")?;
    let written = batch.iter_mut().try_for_each(|job| {
        // It may have waited long for another process. A caller that timed out must not have its
        // call take effect much later.
        if !job.is_wanted() {
            return Ok(());
        }
        run("SAVEPOINT job")?;
        if !job.run(database) {
            run("ROLLBACK TO job")?;
        }
        run("RELEASE job")
    });
    let committed = written.and_then(|()| run("COMMIT"));
    if !database.is_autocommit() {
        // SQLite may have rolled back already, as it does when the disk is full.
        let _ = database.execute_batch("ROLLBACK");
    }
    committed
}

fn read_all(database: &Database, queue: &Mutex<Receiver<Box<dyn Job>>>, gate: &Gate) {
    loop {
        let mut batch = Vec::new();
        {
            let queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
            let Ok(first) = queue.recv() else { return };
            batch.push(first);
            batch.extend(queue.try_iter().take(MAX_READS - 1));
        }
        batch.retain(|job| job.is_wanted());
        let open = gate.read().unwrap_or_else(PoisonError::into_inner);
        let lost = match database.unchecked_transaction() {
            Ok(snapshot) => {
                for job in &mut batch {
                    job.run(database);
                }
                snapshot.finish().err()
            }
            Err(error) => Some(error),
        };
        drop(open);
        for job in batch {
            let lost = lost.as_ref().map(|error| Error::store(error.to_string()));
            job.answer(lost);
        }
    }
}
