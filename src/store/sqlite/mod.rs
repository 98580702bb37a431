//! The SQLite store: one file (feature `sqlite`).
//!
//! Writes go to one thread, which runs the waiting ones in one transaction and answers once that is
//! on disk. So each operation reads, runs the pure functions of [`record`](crate::record), and
//! writes, without another write in between. Reads go to other threads, each with a snapshot, and
//! do not wait for writes.

// | file | holds |
// |---|---|
// | `mod.rs` | `SqliteStore`, `SqliteOptions` |
// | `schema.rs` | the tables, and their version |
// | `slot.rs` | records as rows that are written in place |
// | `places.rs` | from an id to its slot, and the sessions of a subject |
// | `operations.rs` | the operations of the contract, each in one transaction |
// | `marks.rs` | revocations of all sessions of a subject, and the queue of the sweep |
// | `sweep.rs` | the sweep, and what it calls for |
// | `settings.rs` | documents of settings |
// | `work.rs`, `database.rs` | the threads: one that writes, and some that read |
// | `erase.rs` | when dropped data is erased from the log |

mod database;
mod erase;
mod marks;
mod operations;
mod places;
mod schema;
mod settings;
mod slot;
mod sweep;
mod work;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};

use self::{database::Database, erase::Eraser, settings::Watch, work::Workers};
use super::{
    CreateOutcome, Creation, Page, PlaceKey, Revocation, SessionStore, SettingsStore, StoreInfo,
    StoredSettings, Sweep, Swept,
};
use crate::{
    Error, ErrorKind, Timestamp,
    record::{Change, EndOutcome, EndRequest, Record, SessionId, UpdateOutcome},
};

/// Keeps sessions in one SQLite file: embedded, and it survives restarts. See the
/// [guide](crate::store::guide#sqlite).
///
/// Cheap to clone; clones share the file. Several processes on one machine may also share it.
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
    place_key: PlaceKey,
}

/// Options of a [`SqliteStore`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct SqliteOptions {
    path: PathBuf,
    readers: usize,
}

/// The pauses of a call that waits for another process to finish writing. Their sum is below the
/// timeout of a call, so that the error says why. SQLite's own busy handler pauses 100 ms between
/// attempts, and would find no gap beside a process that writes continuously.
const STEPS: [Duration; 80] = {
    let mut steps = [Duration::from_millis(25); 80];
    let mut first = 0;
    while first < 30 {
        steps[first] = Duration::from_millis(5);
        first += 1;
    }
    steps
};

/// How often the file is polled for changes by other processes.
const WATCH_PAUSE: Duration = Duration::from_millis(250);

impl SqliteOptions {
    /// Sessions in this file. A missing file is created, readable and writable by its owner only.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), readers: 2 }
    }

    /// Sets the number of reading threads: 2 unless set, at least 1.
    pub fn with_readers(mut self, readers: usize) -> Self {
        self.readers = readers.max(1);
        self
    }

    /// Opens the file.
    ///
    /// # Errors
    ///
    /// When it cannot be opened, belongs to another application, or has a schema version that this
    /// crate does not read.
    pub async fn open(self) -> Result<SqliteStore, Error> {
        let opened = tokio::task::spawn_blocking(move || self.open_here());
        opened.await.map_err(Error::store)?
    }

    fn open_here(self) -> Result<SqliteStore, Error> {
        let failed = |error: Error| {
            let message = format!("the SQLite file {} cannot be opened", self.path.display());
            if error.kind() == ErrorKind::Store {
                Error::new(ErrorKind::Store, message).with_source(error)
            } else {
                error // it says how to correct it
            }
        };
        self.make_file().map_err(|error| failed(Error::store(error)))?;
        let mut writer = self.connect().map_err(failed)?;
        let place_key = schema::prepare(&mut writer).map_err(failed)?;
        let database = || self.connect().map(Database::new).map_err(failed);
        let readers = (0..self.readers).map(|_| database()).collect::<Result<_, _>>()?;
        let watch = Watch::new(database()?);
        let eraser = Eraser::new(self.connect().map_err(failed)?)?;
        // After a crash, the log may contain dropped data.
        eraser.empty_log();
        Ok(SqliteStore {
            workers: Workers::start(Database::new(writer), readers, eraser)?,
            watch: Arc::new(Mutex::new(watch)),
            path: self.path.into(),
            place_key,
        })
    }

    /// Creates the file if it is missing. SQLite gives the `-wal` and `-shm` files the same
    /// permissions.
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
        let mut connection = Connection::open_with_flags(&self.path, flags).map_err(Error::store)?;
        wait_for_others(&mut connection).map_err(Error::store)?;
        connection.set_prepared_statement_cache_capacity(64);
        // Otherwise a query with a partial index is prepared again for each new parameter value.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(Error::store)?;
        if journal_mode(&connection).map_err(Error::store)? != "wal" {
            let message =
                "the SQLite file cannot have a write-ahead log where it is; put it on a local file system";
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        // FULL: a power failure must not undo an acknowledged logout. ON: old contents of rows are
        // overwritten with zeros, also in free pages.
        let settings = "PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA temp_store = MEMORY; \
            PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -8192;";
        connection.execute_batch(settings).map_err(Error::store)?;
        Ok(connection)
    }
}

/// Some versions of the driver ask for `&mut` here, others for `&`.
fn wait_for_others(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.busy_handler(Some(wait as fn(i32) -> bool))
}

/// Sets the write-ahead log. `SQLite` does not call the busy handler for this, and fails while
/// another process opens a new file in the same moment.
fn journal_mode(connection: &Connection) -> rusqlite::Result<String> {
    for tries in 0.. {
        let mode = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0));
        let is_busy = |error: &rusqlite::Error| {
            matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
        };
        match mode {
            Err(error) if is_busy(&error) && wait(tries) => {}
            mode => return mode,
        }
    }
    unreachable!("the pauses come to an end")
}

/// Whether to retry, after a pause, a call that another process blocks.
fn wait(tries: i32) -> bool {
    let step = usize::try_from(tries).ok().and_then(|tries| STEPS.get(tries));
    step.map(|step| thread::sleep(*step)).is_some()
}

impl SqliteStore {
    /// Opens this file, and creates it if it is missing.
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
    async fn create(&self, creation: Creation) -> Result<CreateOutcome, Error> {
        self.workers.write(move |database| operations::create(database, creation)).await
    }

    async fn load(&self, sid: SessionId) -> Result<Option<Box<Record>>, Error> {
        self.workers.read(move |database| operations::load(database, sid)).await
    }

    async fn update(
        &self,
        sid: SessionId,
        change: Change,
        _seen: Option<Box<Record>>,
    ) -> Result<UpdateOutcome, Error> {
        self.workers.write(move |database| operations::update(database, sid, &change)).await
    }

    async fn end(
        &self,
        sid: SessionId,
        request: EndRequest,
        _seen: Option<Box<Record>>,
    ) -> Result<EndOutcome, Error> {
        let end = move |database: &Database| {
            let outcome = operations::end(database, sid, &request)?;
            database.hurry();
            Ok(outcome)
        };
        self.workers.write(end).await
    }

    async fn revoke(&self, revocation: Revocation) -> Result<(), Error> {
        self.workers.write(move |database| operations::revoke(database, &revocation)).await
    }

    async fn not_before(&self, realm: &str) -> Result<Option<Timestamp>, Error> {
        let realm: Box<str> = realm.into();
        self.workers.read(move |database| operations::not_before(database, &realm)).await
    }

    async fn list(&self, page: Page) -> Result<Vec<Record>, Error> {
        self.workers.read(move |database| operations::list(database, &page)).await
    }

    async fn sweep(&self, sweep: Sweep) -> Result<Swept, Error> {
        self.workers.write(move |database| sweep::sweep(database, &sweep)).await
    }

    async fn reschedule(&self, sessions: Vec<(SessionId, Timestamp)>) -> Result<(), Error> {
        self.workers.write(move |database| sweep::reschedule(database, &sessions)).await
    }

    async fn end_many(&self, requests: Vec<(SessionId, EndRequest)>) -> Result<Vec<EndOutcome>, Error> {
        self.workers.write(move |database| sweep::end_many(database, &requests)).await
    }

    fn place_key(&self) -> PlaceKey {
        self.place_key
    }

    fn info(&self) -> StoreInfo {
        StoreInfo::new("sqlite").with_address(self.path.display().to_string())
    }
}

impl SettingsStore for SqliteStore {
    async fn load_settings(&self, realm: &str) -> Result<Option<StoredSettings>, Error> {
        let realm: Box<str> = realm.into();
        self.workers.read(move |database| settings::load(database, &realm)).await
    }

    async fn save_settings(&self, realm: &str, text: Arc<str>, after: Option<u64>) -> Result<bool, Error> {
        let realm: Box<str> = realm.into();
        self.workers.write(move |database| settings::save(database, &realm, &text, after)).await
    }

    /// Resolves after any change of the file, which is cheaper to check than the settings.
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

    fn settings_info(&self) -> StoreInfo {
        SessionStore::info(self)
    }
}
