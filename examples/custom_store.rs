//! A store of one's own: sessions in a JSON file, for a small server that should remember them over a restart.
//!
//! The store is one table behind a lock, and each call is one step under that lock. What a step does to records is not for
//! the store to know: `Creation`, `Change`, `End` and `Record` bring it as pure functions. The same shape holds for a
//! database, with a transaction in place of the lock.
//!
//! ```text
//! cargo run --example custom_store
//! ```
//!
//! `tests/conformance.rs` runs the conformance suite against it, as you should against yours.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    body::Body,
    http::{Request, header},
    routing::{get, post},
};
use tower::ServiceExt;
use tower_tenure::{
    Error, RequireSession, Session, SessionId, SessionLayer, SessionStore, Timestamp,
    policy::Admission,
    record::{Change, End, Ending, Record, Updated},
    store::{Created, Creation, Page, Swept},
};

type Table = BTreeMap<SessionId, Record>;

/// Keeps sessions in a JSON file, for a few hundred of them: every write writes them all.
pub(crate) struct FileStore {
    path: PathBuf,
    table: Mutex<Table>,
}

impl FileStore {
    /// Reads the file; a missing one is an empty store.
    pub(crate) fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        let table = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Table::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { path, table: Mutex::new(table) })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One atomic step: it is in the file and in memory, or in neither.
    fn step<T>(&self, work: impl FnOnce(&mut Table) -> T) -> Result<T, Error> {
        let mut table = self.table();
        let mut next = table.clone(); // cheap: records share what grows
        let answer = work(&mut next);
        if next != *table {
            let draft = self.path.with_extension("draft");
            let text = serde_json::to_vec(&next).map_err(Error::store)?;
            fs::write(&draft, text).and_then(|()| fs::rename(&draft, &self.path)).map_err(Error::store)?;
            *table = next;
        }
        Ok(answer)
    }
}

impl SessionStore for FileStore {
    async fn create(&self, creation: Creation) -> Result<Created, Error> {
        self.step(|table| {
            if table.contains_key(&creation.record.sid) {
                return Created::Exists;
            }
            let subject = &creation.record.subject;
            let others = table.values().filter(|other| subject.is_some() && other.subject == *subject);
            let Admission::Admit(evicted) = creation.admit(others) else { return Created::Refused };
            for sid in &evicted {
                table.get_mut(sid).map(|record| record.end(&creation.eviction()));
            }
            let replaced = creation.replaced_sid().and_then(|sid| table.get_mut(&sid));
            let (record, replaced) = creation.into_record(replaced);
            table.insert(record.sid, record.clone());
            Created::Done { record, replaced, evicted }
        })
    }

    async fn load(&self, sid: SessionId) -> Result<Option<Record>, Error> {
        Ok(self.table().get(&sid).cloned())
    }

    async fn update(&self, sid: SessionId, change: Change) -> Result<Updated, Error> {
        self.step(|table| table.get_mut(&sid).map_or(Updated::Gone(None), |record| change.apply(record)))
    }

    async fn end(&self, sid: SessionId, end: End) -> Result<Ending, Error> {
        self.step(|table| table.get_mut(&sid).map_or(Ending::Unknown, |record| record.end(&end)))
    }

    async fn list(&self, page: Page) -> Result<Vec<Record>, Error> {
        let place = |record: &Record| (record.timing.created_at, record.sid);
        let table = self.table();
        let live = table.values().filter(|record| record.is_live(page.now));
        let asked = live.filter(|record| page.subject.is_none() || record.subject == page.subject);
        let mut found: Vec<_> =
            asked.filter(|record| page.after.is_none_or(|after| place(record) > after)).collect();
        found.sort_unstable_by_key(|record| place(record));
        Ok(found.into_iter().take(page.limit).cloned().collect())
    }

    async fn end_subject(
        &self,
        subject: Arc<str>,
        end: End,
        except: Option<SessionId>,
    ) -> Result<Vec<SessionId>, Error> {
        self.step(|table| {
            let theirs = table.values_mut().filter(|record| record.subject.as_ref() == Some(&subject));
            let others = theirs.filter(|record| Some(record.sid) != except);
            let ended = others
                .filter_map(|record| (record.end(&end) == Ending::Done(end.reason)).then_some(record.sid));
            ended.collect()
        })
    }

    async fn sweep(&self, before: Timestamp, limit: usize) -> Result<Swept, Error> {
        self.step(|table| {
            let over = table.values().filter(|record| record.over_at() < before).map(|record| record.sid);
            let over: Vec<_> = over.take(limit).collect();
            for sid in &over {
                table.remove(sid);
            }
            Swept { removed: over.len(), finished: over.len() < limit }
        })
    }
}

/// A server with its sessions in this file.
fn server(path: &Path) -> io::Result<Router> {
    async fn login(session: Session) -> Result<&'static str, Error> {
        let _outcome = session.login("alice").await?;
        Ok("welcome")
    }
    let me = get(async |session: Session| session.subject().unwrap_or_default().to_string());
    Ok(Router::new()
        .route("/me", me)
        .layer(RequireSession::new())
        .route("/login", post(login))
        .layer(SessionLayer::new(FileStore::open(path)?)))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("custom_store_{}.json", std::process::id()));

    let response = server(&path)?.oneshot(Request::post("/login").body(Body::empty())?).await?;
    let cookie = response.headers()[header::SET_COOKIE].to_str()?.split(';').next().unwrap_or_default();
    println!("alice logged in; {} holds {} bytes", path.display(), fs::metadata(&path)?.len());

    // The server starts again, and alice's browser comes back.
    let request = Request::get("/me").header(header::COOKIE, cookie).body(Body::empty())?;
    let response = server(&path)?.oneshot(request).await?;
    println!("after a restart she is answered {}", response.status());

    fs::remove_file(path)?;
    Ok(())
}
