//! New sessions, under their cap.

use std::collections::HashMap;

use super::{
    MAX_ATTEMPTS, PostgresStore,
    row::{self, MARK, Marks, Sid, millis},
};
use crate::{
    Error,
    record::{Record, SessionId},
    store::{CreateOutcome, Creation, CreationPlan, packed::pack},
};

/// What is known before a creation: the marks, and the sessions that end with it.
#[derive(Default)]
struct Place {
    marks: Marks,
    records: HashMap<SessionId, Record>,
}

/// The result of the SQL function.
enum FunctionResult {
    Stored,
    /// Something had changed since it was read.
    Changed(Place),
    Full {
        count: usize,
        sessions: Vec<Record>,
    },
}

impl PostgresStore {
    /// One round trip without ends and marks: the first attempt assumes that there is no mark, and
    /// the function reports one.
    pub(super) async fn store(&self, creation: Creation) -> Result<CreateOutcome, Error> {
        let sid = creation.record.sid;
        let mut place =
            if creation.ends.is_empty() { Place::default() } else { self.read_place(&creation).await? };
        for _ in 0..MAX_ATTEMPTS {
            if place.records.contains_key(&sid) {
                return Ok(CreateOutcome::Exists);
            }
            let plan = |count| {
                let mark = row::owner_of(&creation.record).and_then(|owner| place.marks.of(owner));
                let found = creation.ends.iter().map(|(sid, _)| place.records.get(sid).cloned()).collect();
                creation.clone().plan(mark, found, count)
            };
            // The function checks the cap.
            let (mut record, ended, outcomes) = match plan(0) {
                CreationPlan::Store { record, ended, outcomes } => (record, ended, outcomes),
                CreationPlan::Full => return Ok(CreateOutcome::Full { count: 0, sessions: Vec::new() }),
                CreationPlan::SignedOutEverywhere => return Ok(CreateOutcome::SignedOutEverywhere),
                CreationPlan::TooLarge => return Ok(CreateOutcome::TooLarge),
            };
            let version = row::new_version()?;
            match self.call(&creation, &place, &record, version, &ended).await? {
                FunctionResult::Stored => {
                    record.version = (version ^ place.marks.version).cast_unsigned();
                    return Ok(CreateOutcome::Created { record, ended: outcomes });
                }
                FunctionResult::Changed(fresh) => place = fresh,
                FunctionResult::Full { count, sessions } => {
                    // A session may have ended between the check and the result.
                    if plan(count) == CreationPlan::Full {
                        return Ok(CreateOutcome::Full { count, sessions });
                    }
                }
            }
        }
        Err(Error::store("too many logins of one user at the same time; try again"))
    }

    async fn read_place(&self, creation: &Creation) -> Result<Place, Error> {
        let tag = row::tag(creation.record.sid.tag());
        let rows = self.query(&self.0.statements.load_of_tag, &[&tag, &sids(creation)]).await?;
        row::read_tag(rows.iter(), 0).map(Place::from)
    }

    async fn call(
        &self,
        creation: &Creation,
        place: &Place,
        record: &Record,
        version: i64,
        ended: &[Record],
    ) -> Result<FunctionResult, Error> {
        let tag = row::tag(record.sid.tag());
        let seen_sids = sids(creation);
        let seen: Vec<_> = seen_sids.iter().map(|sid| place.version(*sid)).collect();
        // A session that ends twice in one creation is written once, in its final state.
        let changed: HashMap<_, _> = ended
            .iter()
            .filter(|record| place.records.get(&record.sid) != Some(*record))
            .map(|record| (record.sid, record))
            .collect();
        let changed: Vec<_> = changed.into_values().collect();
        let versions: Vec<_> = changed.iter().map(|_| row::new_version()).collect::<Result<_, _>>()?;
        let due: Vec<_> = changed.iter().map(|record| millis(record.due_at())).collect();
        let records: Vec<_> = changed.iter().map(|record| pack(record)).collect::<Result<_, _>>()?;
        let ended_sids: Vec<_> = changed.iter().map(|record| Sid::from(record.sid)).collect();
        let owner = row::owner_of(record);
        let cap = creation.cap.filter(|_| owner.is_some()).map(|cap| i64::from(cap.get()));
        let rows = self
            .query(
                &self.0.statements.create,
                &[
                    &self.0.connections.schema.lock_of(tag),
                    &tag,
                    &seen_sids,
                    &seen,
                    &cap,
                    &Sid::from(record.sid),
                    &version,
                    &millis(record.timing.created_at),
                    &millis(record.due_at()),
                    &row::realm(&record.realm),
                    &owner,
                    &pack(record)?,
                    &ended_sids,
                    &versions,
                    &due,
                    &records,
                ],
            )
            .await?;
        match rows.first().map(|row| row::get::<i16>(row, 0)).transpose()? {
            Some(0) => Ok(FunctionResult::Stored),
            Some(2) => {
                let count = usize::try_from(row::get::<i64>(&rows[0], 5)?).unwrap_or(usize::MAX);
                let sessions = rows.iter().map(|row| {
                    let sid: Sid = row::get(row, 3)?;
                    place.marks.show(sid.into(), row::get(row, 2)?, row::get(row, 4)?)
                });
                Ok(FunctionResult::Full { count, sessions: sessions.collect::<Result<_, _>>()? })
            }
            // No rows: what was there is gone.
            _ => Ok(FunctionResult::Changed(row::read_tag(rows.iter(), 1)?.into())),
        }
    }
}

impl Place {
    /// The version of a row; 0 is no row.
    fn version(&self, sid: Sid) -> i64 {
        if sid.0 == MARK {
            return self.marks.version;
        }
        self.records.get(&sid.into()).map_or(0, |record| record.version.cast_signed() ^ self.marks.version)
    }
}

impl From<(Marks, Vec<Record>)> for Place {
    fn from((marks, records): (Marks, Vec<Record>)) -> Self {
        Self { marks, records: records.into_iter().map(|record| (record.sid, record)).collect() }
    }
}

/// What the creation depends on, each once: the mark, the new session, which must not exist, and
/// the sessions that end.
fn sids(creation: &Creation) -> Vec<Sid> {
    let ends = creation.ends.iter().map(|(sid, _)| Sid::from(*sid));
    let mut sids: Vec<_> = [Sid(MARK), creation.record.sid.into()].into_iter().chain(ends).collect();
    sids.sort_unstable_by_key(|sid| sid.0);
    sids.dedup();
    sids
}
