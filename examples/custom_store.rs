//! A custom store: sessions in a JSON file, for a small server that must keep them over a restart.
//!
//! The store is one table behind a lock, and each call is one step under that lock. `Creation`,
//! `Change`, `Record` and `SubjectMark` have the pure functions that decide and change records. A
//! database works the same way, with a transaction in place of the lock.
//!
//! ```text
//! cargo run --example custom_store
//! ```
//!
//! `tests/stores/conformance.rs` runs the conformance suite against it. Do the same for your store.

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
use serde::{Deserialize, Serialize};
use tower::ServiceExt;
use tower_tenure::{
    Error, RequireSession, Session, SessionId, SessionLayer, SessionStore, Timestamp,
    record::{Change, EndOutcome, EndRequest, Record, SubjectMark, UpdateOutcome},
    store::{CreateOutcome, Creation, CreationPlan, Page, PlaceKey, Revocation, Sweep, Swept},
};

/// Stores a few hundred sessions in a JSON file. Every write rewrites the whole file.
pub(crate) struct FileStore {
    path: PathBuf,
    table: Mutex<Table>,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Table {
    place_key: [u8; 16],
    sessions: BTreeMap<SessionId, Record>,
    realms: BTreeMap<Arc<str>, Realm>,
}

/// The revocations of a realm and of its subjects. A store with many subjects would drop a mark at
/// the revocation's `keep_until`.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
struct Realm {
    not_before: Option<Timestamp>,
    marks: BTreeMap<Arc<str>, SubjectMark>,
}

/// The record as the caller knows it. A store that reads and writes under a lock does not need it.
type Seen = Option<Box<Record>>;

impl Table {
    fn mark(&self, record: &Record) -> Option<SubjectMark> {
        self.realms.get(&record.realm)?.marks.get(record.subject.as_ref()?).copied()
    }

    /// The record with its subject's mark applied.
    fn find(&self, sid: SessionId) -> Option<Record> {
        let mut record = self.sessions.get(&sid)?.clone();
        if let Some(mark) = self.mark(&record) {
            record.see_mark(&mark);
        }
        Some(record)
    }

    fn all(&self) -> impl Iterator<Item = Record> {
        self.sessions.keys().filter_map(|sid| self.find(*sid))
    }
}

impl FileStore {
    /// Reads the file; a missing file is an empty store.
    pub(crate) fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        let table = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Table {
                place_key: *PlaceKey::random().as_bytes(),
                sessions: BTreeMap::new(),
                realms: BTreeMap::new(),
            },
            Err(error) => return Err(error),
        };
        Ok(Self { path, table: Mutex::new(table) })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One atomic step: it changes both the file and the memory, or neither.
    fn step<T>(&self, work: impl FnOnce(&mut Table) -> T) -> Result<T, Error> {
        let mut table = self.table();
        let mut next = table.clone(); // cheap: clones of a record share its large parts
        let answer = work(&mut next);
        if next != *table {
            let draft = self.path.with_extension("draft");
            let text = serde_json::to_vec(&next).map_err(Error::store)?;
            fs::write(&draft, text).and_then(|()| fs::rename(&draft, &self.path)).map_err(Error::store)?;
            *table = next;
        }
        Ok(answer)
    }

    /// Changes a record, if there is one.
    fn change<T>(&self, sid: SessionId, work: impl FnOnce(&mut Record) -> T) -> Result<Option<T>, Error> {
        self.step(|table| {
            let mut record = table.find(sid)?;
            let answer = work(&mut record);
            table.sessions.insert(sid, record);
            Some(answer)
        })
    }
}

impl SessionStore for FileStore {
    async fn create(&self, creation: Creation) -> Result<CreateOutcome, Error> {
        self.step(|table| {
            if table.sessions.contains_key(&creation.record.sid) {
                return CreateOutcome::Exists;
            }
            let mark = table.mark(&creation.record);
            let ends = creation.ends.iter().map(|(sid, _)| table.find(*sid)).collect();
            let others: Vec<_> = table.all().filter(|other| creation.counts(other)).collect();
            match creation.plan(mark.as_ref(), ends, others.len()) {
                CreationPlan::Store { record, ended, outcomes } => {
                    table.sessions.extend(ended.into_iter().map(|record| (record.sid, record)));
                    table.sessions.insert(record.sid, *record.clone());
                    CreateOutcome::Created { record, ended: outcomes }
                }
                CreationPlan::Full => CreateOutcome::Full { count: others.len(), sessions: others },
                CreationPlan::SignedOutEverywhere => CreateOutcome::SignedOutEverywhere,
                CreationPlan::TooLarge => CreateOutcome::TooLarge,
            }
        })
    }

    async fn load(&self, sid: SessionId) -> Result<Option<Box<Record>>, Error> {
        Ok(self.table().find(sid).map(Box::new))
    }

    async fn update(&self, sid: SessionId, change: Change, _: Seen) -> Result<UpdateOutcome, Error> {
        Ok(self.change(sid, |record| change.apply(record))?.unwrap_or(UpdateOutcome::Gone(None)))
    }

    async fn end(&self, sid: SessionId, request: EndRequest, _: Seen) -> Result<EndOutcome, Error> {
        Ok(self.change(sid, |record| record.end(&request))?.unwrap_or(EndOutcome::Unknown))
    }

    async fn revoke(&self, revocation: Revocation) -> Result<(), Error> {
        let Revocation { realm, subject, at, except, .. } = revocation;
        self.step(|table| {
            let realm = table.realms.entry(realm).or_default();
            if let Some((_, subject)) = subject {
                let mark = realm.marks.entry(subject).or_default();
                *mark = mark.revoked(at, except);
            } else {
                realm.not_before = realm.not_before.max(Some(at));
            }
        })
    }

    async fn not_before(&self, realm: &str) -> Result<Option<Timestamp>, Error> {
        Ok(self.table().realms.get(realm).and_then(|realm| realm.not_before))
    }

    async fn list(&self, page: Page) -> Result<Vec<Record>, Error> {
        let age = |record: &Record| (record.timing.created_at, record.sid);
        let is_asked = |record: &Record| {
            let theirs = page.subject.as_ref().is_none_or(|(_, name)| record.subject.as_ref() == Some(name));
            let comes = page.after.is_none_or(|after| age(record) > after);
            record.ended.is_none() && record.realm == page.realm && theirs && comes
        };
        let mut found: Vec<_> = self.table().all().filter(is_asked).collect();
        found.sort_unstable_by_key(age);
        found.truncate(page.limit);
        Ok(found)
    }

    async fn sweep(&self, Sweep { realm, now, limit }: Sweep) -> Result<Swept, Error> {
        self.step(|table| {
            let due = table.all().filter(|record| record.due_at() <= now);
            let (old, live): (Vec<_>, Vec<_>) = due.partition(|record| record.ended.is_some());
            let asked =
                live.into_iter().filter(|record| realm.as_ref().is_none_or(|realm| *realm == record.realm));
            let found: Vec<_> = asked.take(limit).collect();
            let removed =
                old.into_iter().take(limit).filter_map(|record| table.sessions.remove(&record.sid)).count();
            Swept { finished: removed < limit && found.len() < limit, removed, found }
        })
    }

    fn place_key(&self) -> PlaceKey {
        PlaceKey::from_bytes(self.table().place_key)
    }
}

/// A server with its sessions in this file.
fn server(path: &Path) -> io::Result<Router> {
    async fn login(session: Session) -> Result<&'static str, Error> {
        session.login("alice").await?.accepted()?;
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

    // The server restarts, and alice's browser returns.
    let request = Request::get("/me").header(header::COOKIE, cookie).body(Body::empty())?;
    let response = server(&path)?.oneshot(request).await?;
    println!("after a restart she is answered {}", response.status());

    fs::remove_file(path)?;
    Ok(())
}
