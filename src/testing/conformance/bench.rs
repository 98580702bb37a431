//! What the checks work with.

use std::{
    error::Error as _,
    fmt,
    future::poll_fn,
    panic::resume_unwind,
    sync::{Arc, Barrier},
    task::Poll,
    thread,
    time::Duration,
};

use crate::{
    Error, SessionId, SessionStore, Timestamp,
    policy::{Cap, Overflow, Policy},
    record::{Change, Edits, End, Ending, Json, Lifetimes, Record, SecretHash, Timing, Updated},
    store::{Answer, Created, Creation, Page, Replaced},
};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const IDLE: Duration = Duration::from_secs(15 * 60);
pub(super) const ABSOLUTE: Duration = Duration::from_secs(8 * 3600);

/// 1980 to 2000: older than the sessions of any application, younger than what the sweeps here remove.
const ERA: Timestamp = Timestamp::from_unix_millis(315_532_800_000);
const YEAR_MILLIS: u64 = 365 * 24 * 3600 * 1000;

/// A store on trial, for one check.
pub(super) struct Bench<S> {
    pub(super) store: Arc<S>,
    check: &'static str,
    /// When it begins, a random moment.
    pub(super) start: Timestamp,
}

/// The calls to the store. A failure of the store fails the check.
impl<S: SessionStore> Bench<S> {
    pub(super) fn new(store: Arc<S>, check: &'static str) -> Self {
        let offset = u64::from_le_bytes(random()) % (20 * YEAR_MILLIS);
        Self { store, check, start: ERA + Duration::from_millis(offset) }
    }

    pub(super) async fn create(&self, creation: Creation) -> Created {
        self.answer("create", self.store.create(creation).await)
    }

    /// Creates a session that nothing stands against.
    pub(super) async fn open(&self, creation: Creation) -> (Record, Vec<SessionId>) {
        match self.create(creation).await {
            Created::Done { record, evicted, .. } => (record, evicted),
            other => self.fail(format_args!(
                "the store did not create a session that nothing stands against, but said {other:?}"
            )),
        }
    }

    pub(super) async fn load(&self, sid: SessionId) -> Option<Record> {
        self.answer("load", self.store.load(sid).await)
    }

    /// The record of a session that is known to be there.
    pub(super) async fn find(&self, sid: SessionId) -> Record {
        self.load(sid).await.unwrap_or_else(|| self.fail("a record that is there is not found by `load`"))
    }

    pub(super) async fn update(&self, sid: SessionId, change: Change) -> Updated {
        self.answer("update", self.store.update(sid, change).await)
    }

    pub(super) async fn end(&self, sid: SessionId, end: End) -> Ending {
        self.answer("end", self.store.end(sid, end).await)
    }

    pub(super) async fn list(&self, page: Page) -> Vec<Record> {
        self.answer("list", self.store.list(page).await)
    }

    /// The ids of a subject's live sessions, as the store lists them.
    pub(super) async fn live(&self, subject: &Arc<str>, now: Timestamp) -> Vec<SessionId> {
        let page = Page { subject: Some(Arc::clone(subject)), after: None, limit: 1000, now };
        self.list(page).await.into_iter().map(|record| record.sid).collect()
    }

    pub(super) async fn end_subject(
        &self,
        subject: &Arc<str>,
        end: End,
        except: Option<SessionId>,
    ) -> Vec<SessionId> {
        self.answer("end_subject", self.store.end_subject(Arc::clone(subject), end, except).await)
    }

    /// Sweeps to the end, and tells how many records went. Twice, as a sweep may go on where an earlier one stopped.
    pub(super) async fn sweep(&self, before: Timestamp, limit: usize) -> usize {
        let mut removed = 0;
        for _ in 0..2 {
            loop {
                let swept = self.answer("sweep", self.store.sweep(before, limit).await);
                self.expect(swept.removed <= limit, "a sweep removed more than its limit");
                removed += swept.removed;
                if swept.finished {
                    break;
                }
            }
        }
        removed
    }

    /// Runs futures at the same time: on threads for a store in this process, else as one task. In their order.
    pub(super) async fn together<T: Send, F: Future<Output = T> + Send>(
        &self,
        futures: impl IntoIterator<Item = F>,
    ) -> Vec<T> {
        let futures: Vec<F> = futures.into_iter().collect();
        if S::IN_PROCESS { self.on_threads(futures) } else { join_all(futures).await }
    }

    fn on_threads<T: Send, F: Future<Output = T> + Send>(&self, futures: Vec<F>) -> Vec<T> {
        const THREADS: usize = 4;
        let mut shares: [Vec<(usize, F)>; THREADS] = std::array::from_fn(|_| Vec::new());
        for (index, future) in futures.into_iter().enumerate() {
            shares[index % THREADS].push((index, future));
        }
        let at_once = |(index, future)| {
            let broken = || self.fail("a store with IN_PROCESS did not answer at the first poll");
            (index, Answer::at_once(|| future).unwrap_or_else(broken))
        };
        let barrier = &Barrier::new(THREADS);
        let mut done: Vec<(usize, T)> = thread::scope(|scope| {
            let threads = shares.map(|share| {
                scope.spawn(move || {
                    barrier.wait();
                    share.into_iter().map(at_once).collect::<Vec<_>>()
                })
            });
            let done = threads.map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
            done.into_iter().flatten().collect()
        });
        done.sort_unstable_by_key(|(index, _)| *index);
        done.into_iter().map(|(_, output)| output).collect()
    }

    fn answer<T>(&self, call: &str, answer: Result<T, Error>) -> T {
        answer.unwrap_or_else(|error| match error.source() {
            Some(source) => self.fail(format_args!("`{call}` failed: {error}: {source}")),
            None => self.fail(format_args!("`{call}` failed: {error}")),
        })
    }
}

/// What a check expects.
impl<S> Bench<S> {
    pub(super) fn fail(&self, message: impl fmt::Display) -> ! {
        panic!("the store fails the conformance check `{}`: {message}", self.check)
    }

    pub(super) fn expect(&self, holds: bool, otherwise: &str) {
        if !holds {
            self.fail(otherwise);
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "so that the checks read without ampersands")]
    pub(super) fn same<T: PartialEq + fmt::Debug>(&self, what: &str, found: T, wanted: T) {
        if found != wanted {
            self.fail(format_args!("{what}: the store gave {found:?} where it should be {wanted:?}"));
        }
    }

    /// Compares records field by field, so that the message says which one differs; `Debug` hides secrets and data.
    pub(super) fn same_record(&self, what: &str, found: &Record, wanted: &Record) {
        let field = |name| format!("{what}, field `{name}`");
        self.same(&field("sid"), found.sid, wanted.sid);
        self.same(&field("secret"), found.secret.as_bytes(), wanted.secret.as_bytes());
        let previous = |record: &Record| record.previous_secret.map(|old| (*old.hash.as_bytes(), old.until));
        self.same(&field("previous_secret"), previous(found), previous(wanted));
        self.same(&field("timing"), found.timing, wanted.timing);
        self.same(&field("updated_at"), found.updated_at, wanted.updated_at);
        self.same(&field("subject"), &found.subject, &wanted.subject);
        let keys = |record: &Record| record.data.iter().map(|(key, _)| key.to_owned()).collect::<Vec<_>>();
        self.same(&field("data"), keys(found), keys(wanted));
        for (key, value) in wanted.data.iter() {
            if found.data.get(key) != Some(value) {
                self.fail(format_args!("{what}: the value of the key {key:?} came back as another"));
            }
        }
        self.same(&field("revision"), found.revision, wanted.revision);
        self.same(&field("facts"), &found.facts, &wanted.facts);
        self.same(&field("ended"), found.ended, wanted.ended);
        self.expect(found == wanted, "a record differs in a field that the suite does not know");
    }
}

/// A live record, of this subject or anonymous.
pub(super) fn session(subject: Option<&Arc<str>>, created_at: Timestamp) -> Record {
    let minutes = |lifetime: Duration| u32::try_from(lifetime.as_secs() / 60).unwrap_or(1);
    let lifetimes = Lifetimes::from_minutes(minutes(IDLE), minutes(ABSOLUTE));
    let timing = Timing {
        authenticated_at: subject.map(|_| created_at),
        ..Policy::new(lifetimes, lifetimes).anonymous(created_at)
    };
    Record { sid: sid(), secret: secret(), subject: subject.cloned(), ..crate::testing::record(timing) }
}

/// A creation of this record that nothing else comes with.
pub(super) fn plain(record: Record) -> Creation {
    Creation { record, edits: Edits::default(), replaces: None, cap: None }
}

pub(super) const fn replaces(sid: SessionId, end: End, keep_data: bool) -> Replaced {
    Replaced { sid, end, keep_data }
}

pub(super) fn cap(most: u32, overflow: Overflow) -> Option<Cap> {
    most.try_into().ok().map(|most| Cap::new(most, overflow))
}

/// A subject that nobody else has, with characters in it that a careless query would trip over.
pub(super) fn subject() -> Arc<str> {
    format!("o'hara \"%_\\ 🦀|{}", sid()).into()
}

pub(super) fn sid() -> SessionId {
    SessionId::from_bytes(random())
}

pub(super) fn secret() -> SecretHash {
    SecretHash::from_bytes(random())
}

pub(super) fn json(text: &str) -> Json {
    Json::encode(text).expect("text is JSON")
}

pub(super) fn write(at: Timestamp, key: &str, value: &str) -> Change {
    let mut edits = Edits::default();
    edits.set(key, json(value));
    Change { edits, ..Change::at(at) }
}

pub(super) fn touch(at: Timestamp) -> Change {
    let mut change = Change::at(at);
    change.timing.interaction_at = Some(at);
    change
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

async fn join_all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    poll_fn(move |cx| {
        let mut all = true;
        for (future, output) in &mut futures {
            if output.is_none() {
                match future.as_mut().poll(cx) {
                    Poll::Ready(value) => *output = Some(value),
                    Poll::Pending => all = false,
                }
            }
        }
        if all {
            Poll::Ready(futures.iter_mut().filter_map(|(_, output)| output.take()).collect())
        } else {
            Poll::Pending
        }
    })
    .await
}
