//! A small store with one typical defect at a time.
//!
//! Without a defect it is correct: a table behind a lock. A write starts from the record that the
//! caller has seen if that is up to date, as in a database.

mod table;

use std::sync::{Mutex, MutexGuard, PoisonError};

use tower_tenure::{
    Clock, EndReason, Error, SessionId, SessionStore, SystemClock, Timestamp,
    record::{Change, EndOutcome, EndRequest, Record, UpdateOutcome},
    store::{CreateOutcome, Creation, Page, PlaceKey, Revocation, Sweep, Swept},
};

use self::table::Table;

/// What is wrong with the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    None,
    // Records.
    RoundsToSeconds,
    CreateOverwrites,
    IgnoresTheRevision,
    WritesHalfOfWhatIsTooLarge,
    StaleRecordOverwrites,
    EndsTheStaleRecord,
    UpdateStoresWhatIsGone,
    UpdateRevivesTombstones,
    // Ends.
    KeepsNoTombstones,
    EndIsNotRepeatable,
    EveryEndEnds,
    EndIgnoresConditions,
    EndManyStopsAtTheUnknown,
    ForgetsSuccessors,
    TakesNothingOver,
    LosesTheGrace,
    SecondDeviceWins,
    WorkIsTakenTwice,
    WorkGoesToAnybody,
    // Caps.
    CapIsNotOneStep,
    CapCountsTombstones,
    CapIgnoresRealms,
    CapCountsWhatIsReplaced,
    FullEndsAllTheSame,
    CreationIsNotOneStep,
    // Places.
    TagIsTakenForTheSubject,
    PlacesMove,
    // Revocations.
    LoadIgnoresMarks,
    UpdateIgnoresMarks,
    UpdateTrustsTheMarkItKnows,
    CreateIgnoresMarks,
    CreateIsOfNoEpoch,
    ExceptionsIgnoreEpochs,
    RevokesByTime,
    RevokesOneByOne,
    MarkGoesWithItsSessions,
    MarkIsKeptForTheLast,
    EpochsBeginAgain,
    MomentMovesBack,
    MomentIsOfAllRealms,
    // Lists.
    ListsEveryRealm,
    ListsWhatHasEnded,
    ListsShortPages,
    // Sweeps.
    SweepRemovesWhatIsOver,
    SweepMissesTheRevoked,
    SweepEndsTooSoon,
    SweepIgnoresRealms,
    SweepForgetsTooEarly,
    DueMomentStays,
    RescheduledStays,
    // Clocks.
    TimeInSeconds,
}

use Defect as D;

pub(crate) struct Broken {
    defect: Defect,
    table: Mutex<Table>,
}

impl Broken {
    pub(crate) fn new(defect: Defect) -> Self {
        Self { defect, table: Mutex::new(Table::new(defect)) }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionStore for Broken {
    async fn create(&self, creation: Creation) -> Result<CreateOutcome, Error> {
        let planned = self.table().plan(&creation);
        if self.defect == D::CapIsNotOneStep {
            tokio::task::yield_now().await;
        }
        let (record, ended, outcomes) = match planned {
            Ok(stored) => stored,
            Err(outcome) => {
                if self.defect == D::FullEndsAllTheSame && matches!(*outcome, CreateOutcome::Full { .. }) {
                    let mut table = self.table();
                    creation.ends.iter().for_each(|(sid, request)| drop(table.end(*sid, request, None)));
                }
                return Ok(*outcome);
            }
        };
        for record in ended {
            self.table().put(record);
        }
        if self.defect == D::CreationIsNotOneStep {
            tokio::task::yield_now().await;
        }
        let sid = record.sid;
        let mut table = self.table();
        table.put(record);
        Ok(CreateOutcome::Created { record: Box::new(table.sessions[&sid].clone()), ended: outcomes })
    }

    async fn load(&self, sid: SessionId) -> Result<Option<Box<Record>>, Error> {
        let table = self.table();
        if self.defect == D::LoadIgnoresMarks {
            return Ok(table.sessions.get(&sid).cloned().map(Box::new));
        }
        Ok(table.find(sid).map(Box::new))
    }

    async fn update(
        &self,
        sid: SessionId,
        change: Change,
        seen: Option<Box<Record>>,
    ) -> Result<UpdateOutcome, Error> {
        Ok(self.table().update(sid, &change, seen))
    }

    async fn end(
        &self,
        sid: SessionId,
        request: EndRequest,
        seen: Option<Box<Record>>,
    ) -> Result<EndOutcome, Error> {
        Ok(self.table().end(sid, &request, seen))
    }

    async fn revoke(&self, revocation: Revocation) -> Result<(), Error> {
        let Some((tag, _)) = revocation.subject.clone().filter(|_| self.defect == D::RevokesOneByOne) else {
            self.table().revoke(revocation);
            return Ok(());
        };
        let page =
            Page { realm: revocation.realm, subject: revocation.subject, after: None, limit: usize::MAX };
        let listed = self.table().list(&page);
        for record in listed.into_iter().filter(|record| Some(record.sid) != revocation.except) {
            debug_assert_eq!(record.sid.tag(), tag);
            let call = tower_tenure::record::CallId::new(u64::MAX);
            self.table().end(record.sid, &EndRequest::new(EndReason::Revoked, revocation.at, call), None);
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn not_before(&self, realm: &str) -> Result<Option<Timestamp>, Error> {
        let realm = if self.defect == D::MomentIsOfAllRealms { "" } else { realm };
        Ok(self.table().not_before.get(realm).copied())
    }

    async fn list(&self, page: Page) -> Result<Vec<Record>, Error> {
        Ok(self.table().list(&page))
    }

    async fn sweep(&self, sweep: Sweep) -> Result<Swept, Error> {
        Ok(self.table().sweep(&sweep))
    }

    async fn reschedule(&self, sessions: Vec<(SessionId, Timestamp)>) -> Result<(), Error> {
        let mut table = self.table();
        table.rescheduled.extend(sessions.iter().map(|(sid, _)| *sid));
        table.due.extend(sessions);
        Ok(())
    }

    async fn end_many(&self, requests: Vec<(SessionId, EndRequest)>) -> Result<Vec<EndOutcome>, Error> {
        let mut outcomes = Vec::new();
        for (sid, request) in &requests {
            let stopped =
                self.defect == D::EndManyStopsAtTheUnknown && outcomes.contains(&EndOutcome::Unknown);
            outcomes.push(if stopped { EndOutcome::Unknown } else { self.table().end(*sid, request, None) });
        }
        Ok(outcomes)
    }

    async fn time(&self) -> Result<Option<Timestamp>, Error> {
        let millis = SystemClock.now().as_unix_millis();
        let unit = if self.defect == D::TimeInSeconds { 1000 } else { 1 };
        Ok(Some(Timestamp::from_unix_millis(millis / unit)))
    }

    fn place_key(&self) -> PlaceKey {
        if self.defect == D::PlacesMove { PlaceKey::random() } else { PlaceKey::of_this_process() }
    }
}
