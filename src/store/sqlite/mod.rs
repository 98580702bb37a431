//! The store in one file, by SQLite (feature `sqlite`).
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`SqliteStore`], [`SqliteOptions`] |
//! | `schema.rs` | the tables, and their version |
//! | `row.rs` | records as rows, and back |
//! | `operations.rs` | the operations of the contract, each in one transaction |
//! | `work.rs` | the threads: one that writes, and some that read |
//!
//! What writes goes to one thread, which carries out what waits in one transaction and answers once that is on disk. What reads
//! goes to others, each with a snapshot of its own, and waits for nobody.

mod operations;
mod row;
mod schema;
mod work;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

use self::work::Workers;
use super::{Created, Creation, KeptSettings, Page, SessionStore, SettingsStore, Swept};
use crate::{
    Error, ErrorKind, Timestamp,
    record::{Change, End, Ending, Record, SessionId, Updated},
};

/// Keeps sessions in one file, by SQLite: embedded, and it survives restarts. See the [guide](crate::store::guide#sqlite).
///
/// Cheap to clone; clones share the file. Several processes on one machine may share it, too.
///
/// # Example
///
/// ```
/// use tower_tenure::{SessionLayer, store::SqliteStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_tenure::Error> {
/// # let path = std::env::temp_dir().join(format!("tenure-doc-{}.db", std::process::id()));
/// # for end in ["", "-wal", "-shm"] { let _ = std::fs::remove_file(format!("{}{end}", path.display())); }
/// let store = SqliteStore::open(path).await?;
/// let layer = SessionLayer::new(store);
/// tokio::spawn(layer.sessions().sweep_every(std::time::Duration::from_secs(60)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SqliteStore {
    workers: Workers,
    watch: Arc<Mutex<Watch>>,
    path: Arc<Path>,
}

/// How a [`SqliteStore`] is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct SqliteOptions {
    path: PathBuf,
    readers: usize,
}

/// Less than the time budget of a call, so that it fails by itself while another process writes for long.
const BUSY: Duration = Duration::from_millis(1500);

/// How often it is asked whether another process has changed something.
const WATCH_PAUSE: Duration = Duration::from_millis(250);

impl SqliteOptions {
    /// Sessions in this file, which is made if it is not there, for its owner's eyes only.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), readers: 2 }
    }

    /// How many threads read at the same time: 2 unless set, at least one.
    pub fn with_readers(mut self, readers: usize) -> Self {
        self.readers = readers.max(1);
        self
    }

    /// Opens the file.
    ///
    /// # Errors
    ///
    /// When it can not be opened, belongs to another application, or was written by a newer version of this crate.
    pub async fn open(self) -> Result<SqliteStore, Error> {
        let opened = tokio::task::spawn_blocking(move || self.open_here());
        opened.await.map_err(Error::store)?
    }

    fn open_here(self) -> Result<SqliteStore, Error> {
        let failed = |error: Error| {
            let message = format!("the SQLite file {} can not be opened", self.path.display());
            if error.kind() == ErrorKind::Store {
                Error::new(ErrorKind::Store, message).because(error)
            } else {
                error // it says the mend
            }
        };
        self.make_file().map_err(|error| failed(Error::store(error)))?;
        let mut writer = self.connect().map_err(failed)?;
        schema::prepare(&mut writer).map_err(failed)?;
        let readers = (0..self.readers).map(|_| self.connect().map_err(failed)).collect::<Result<_, _>>()?;
        let watch = Watch { connection: self.connect().map_err(failed)?, seen: None };
        Ok(SqliteStore {
            workers: Workers::start(writer, readers)?,
            watch: Arc::new(Mutex::new(watch)),
            path: self.path.into(),
        })
    }

    /// Makes the file if it is not there. SQLite gives its companions the same rights.
    fn make_file(&self) -> io::Result<()> {
        let mut file = fs::OpenOptions::new();
        file.create_new(true).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
        match file.open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made.map(drop),
        }
    }

    fn connect(&self) -> Result<Connection, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags).map_err(Error::store)?;
        connection.busy_timeout(BUSY).map_err(Error::store)?;
        connection.set_prepared_statement_cache_capacity(64);
        let mode = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0));
        if mode.map_err(Error::store)? != "wal" {
            let message =
                "the SQLite file can not have a write-ahead log where it is; put it on a local file system";
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        // FULL: a logout that was acknowledged must not be undone by a power failure.
        let settings =
            "PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = 67108864;";
        connection.execute_batch(settings).map_err(Error::store)?;
        Ok(connection)
    }
}

impl SqliteStore {
    /// Opens this file, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// As [`SqliteOptions::open`].
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        SqliteOptions::new(path).open().await
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SessionStore for SqliteStore {
    async fn create(&self, creation: Creation) -> Result<Created, Error> {
        self.workers.write(move |connection| operations::create(connection, creation)).await
    }

    async fn load(&self, sid: SessionId) -> Result<Option<Record>, Error> {
        self.workers.read(move |connection| operations::load(connection, sid)).await
    }

    async fn update(&self, sid: SessionId, change: Change) -> Result<Updated, Error> {
        self.workers.write(move |connection| operations::update(connection, sid, &change)).await
    }

    async fn end(&self, sid: SessionId, end: End) -> Result<Ending, Error> {
        self.workers.write(move |connection| operations::end(connection, sid, &end)).await
    }

    async fn list(&self, page: Page) -> Result<Vec<Record>, Error> {
        self.workers.read(move |connection| operations::list(connection, &page)).await
    }

    async fn end_subject(
        &self,
        subject: Arc<str>,
        end: End,
        except: Option<SessionId>,
    ) -> Result<Vec<SessionId>, Error> {
        let end_subject = move |connection: &_| operations::end_subject(connection, &subject, &end, except);
        self.workers.write(end_subject).await
    }

    async fn sweep(&self, before: Timestamp, limit: usize) -> Result<Swept, Error> {
        self.workers.write(move |connection| operations::sweep(connection, before, limit)).await
    }
}

impl SettingsStore for SqliteStore {
    async fn load_settings(&self) -> Result<Option<KeptSettings>, Error> {
        self.workers.read(operations::load_settings).await
    }

    async fn save_settings(&self, text: Arc<str>, after: Option<u64>) -> Result<bool, Error> {
        self.workers.write(move |connection| operations::save_settings(connection, &text, after)).await
    }

    /// After any change of the file: that costs less to ask for than the settings themselves.
    async fn settings_changed(&self) {
        loop {
            tokio::time::sleep(WATCH_PAUSE).await;
            let watch = Arc::clone(&self.watch);
            let look = move |_: &_| watch.lock().unwrap_or_else(PoisonError::into_inner).look();
            if self.workers.read(look).await.unwrap_or(false) {
                return;
            }
        }
    }
}

/// A connection that only asks whether others have changed the file.
struct Watch {
    connection: Connection,
    seen: Option<i64>,
}

impl Watch {
    fn look(&mut self) -> Result<bool, Error> {
        let ask = self.connection.query_row("PRAGMA data_version", [], |row| row.get::<_, i64>(0));
        let version = ask.map_err(Error::store)?;
        Ok(self.seen.replace(version) != Some(version))
    }
}
