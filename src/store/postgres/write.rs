//! Changes and ends: compare-and-set of a record.

use std::collections::{HashMap, HashSet};

use tokio_postgres::{IsolationLevel, types::ToSql};

use super::{
    MAX_ATTEMPTS, PostgresStore,
    connection::Failed,
    row::{self, Sid, millis},
};
use crate::{
    Error, SessionStore,
    record::{EndOutcome, EndRequest, Record, SessionId},
    store::packed::pack,
};

/// How many attempts a write makes before it locks the row.
const FREE_ATTEMPTS: usize = 4;

impl PostgresStore {
    /// Applies a change to a record, atomically, and returns its result; `None` when there is no
    /// record.
    pub(super) async fn change<T>(
        &self,
        sid: SessionId,
        seen: Option<Box<Record>>,
        apply: impl Fn(&mut Record) -> T,
    ) -> Result<Option<T>, Error> {
        // The caller's record may be outdated. A write detects that; a change that writes nothing
        // must be decided by the current record.
        let mut is_fresh = seen.is_none();
        let mut known = match seen {
            Some(seen) => Some(seen),
            None => self.load(sid).await?,
        };
        for _ in 0..FREE_ATTEMPTS {
            let Some(before) = known else { return Ok(None) };
            let mut after = before.clone();
            let outcome = apply(&mut after);
            if after != before {
                if self.write(&before, &after).await? {
                    return Ok(Some(outcome));
                }
            } else if is_fresh {
                return Ok(Some(outcome));
            }
            (known, is_fresh) = (self.load(sid).await?, true);
        }
        self.change_locked(sid, apply).await
    }

    /// One statement, one round trip. `false` when another write came first, or a mark.
    async fn write(&self, before: &Record, after: &Record) -> Result<bool, Error> {
        let write = Write::of(before, after)?;
        self.execute(&self.0.statements.write, &write.params()).await
    }

    /// As [`PostgresStore::change`], in a transaction that locks the row, so that many writers take
    /// turns.
    async fn change_locked<T>(
        &self,
        sid: SessionId,
        apply: impl Fn(&mut Record) -> T,
    ) -> Result<Option<T>, Error> {
        let statements = &self.0.statements;
        let (tag, id) = (row::tag(sid.tag()), Sid::from(sid));
        let mut lease = self.0.connections.lease().await?;
        let transaction = lease.client().build_transaction().isolation_level(IsolationLevel::ReadCommitted);
        let transaction = transaction.start().await.map_err(Failed::from)?;
        let [lock, load, write] = [&statements.lock, &statements.load, &statements.write];
        let lock = transaction.prepare_cached(lock).await.map_err(Failed::from)?;
        let load = transaction.prepare_cached(load).await.map_err(Failed::from)?;
        let write = transaction.prepare_cached(write).await.map_err(Failed::from)?;
        transaction.query(&lock, &[&tag, &id]).await.map_err(Failed::from)?;
        // The row is locked; only its marks can still change.
        for _ in 0..MAX_ATTEMPTS {
            let rows = transaction.query(&load, &[&tag, &id]).await.map_err(Failed::from)?;
            let Some(before) = row::read_load(sid, &rows)? else { return Ok(None) };
            let mut after = before.clone();
            let outcome = apply(&mut after);
            let params = Write::of(&before, &after)?;
            if transaction.execute(&write, &params.params()).await.map_err(Failed::from)? > 0 {
                transaction.commit().await.map_err(Failed::from)?;
                lease.give_back();
                return Ok(Some(outcome));
            }
        }
        Err(Error::store("too many writes to one session at the same time; try again"))
    }

    /// Ends a batch: one statement reads, one compares and sets. Sessions that changed in between
    /// are ended one by one.
    pub(super) async fn end_batch(
        &self,
        requests: &[(SessionId, EndRequest)],
    ) -> Result<Vec<EndOutcome>, Error> {
        let tags: Vec<_> = requests.iter().map(|(sid, _)| row::tag(sid.tag())).collect();
        let sids: Vec<_> = requests.iter().map(|(sid, _)| Sid::from(*sid)).collect();
        let rows = self.query(&self.0.statements.load_many, &[&tags, &sids]).await?;
        let mut found = HashMap::with_capacity(rows.len());
        for row in &rows {
            let (record, version) = row::read_with_mark(row)?;
            found.insert(record.sid, (record, version));
        }

        let mut batch = Vec::new();
        let mut outcomes = Vec::with_capacity(requests.len());
        for (sid, request) in requests {
            // Removed, so that a second request for the same session runs after the first.
            let Some((mut record, seen)) = found.remove(sid) else {
                outcomes.push((None, 0));
                continue;
            };
            let before = record.clone();
            let outcome = record.end(request);
            let version = if record == before { 0 } else { row::new_version()? };
            outcomes.push((Some(outcome), version));
            if version != 0 {
                batch.push(NewTombstone { record, seen, version });
            }
        }
        let written = if batch.is_empty() { HashSet::new() } else { self.write_batch(batch).await? };

        let mut done = Vec::with_capacity(requests.len());
        for ((outcome, version), (sid, request)) in outcomes.into_iter().zip(requests) {
            done.push(match outcome {
                Some(outcome) if version == 0 || written.contains(&version) => outcome,
                _ => self.end(*sid, request.clone(), None).await?,
            });
        }
        Ok(done)
    }

    /// Returns the versions that were written.
    async fn write_batch(&self, mut batch: Vec<NewTombstone>) -> Result<HashSet<i64>, Error> {
        // Sorted, so that two batches cannot deadlock.
        batch.sort_unstable_by_key(|new| new.record.sid);
        let columns = |column: fn(&NewTombstone) -> i64| batch.iter().map(column).collect::<Vec<_>>();
        let sids: Vec<_> = batch.iter().map(|new| Sid::from(new.record.sid)).collect();
        let records: Vec<_> = batch.iter().map(|new| pack(&new.record)).collect::<Result<_, _>>()?;
        let written = self
            .query(
                &self.0.statements.write_many,
                &[
                    &columns(|new| row::tag(new.record.sid.tag())),
                    &sids,
                    &columns(|new| new.seen),
                    &columns(|new| new.version),
                    &columns(|new| millis(new.record.due_at())),
                    &records,
                ],
            )
            .await?;
        written.iter().map(|row| row::get(row, 0)).collect()
    }
}

/// The parameters of a compare-and-set.
struct Write {
    tag: i64,
    sid: Sid,
    version: i64,
    seen: i64,
    state: i16,
    due_at: i64,
    record: Vec<u8>,
}

impl Write {
    fn of(before: &Record, after: &Record) -> Result<Self, Error> {
        Ok(Self {
            tag: row::tag(after.sid.tag()),
            sid: after.sid.into(),
            version: row::new_version()?,
            seen: before.version.cast_signed(),
            state: row::state(after),
            due_at: millis(after.due_at()),
            record: pack(after)?,
        })
    }

    fn params(&self) -> [&(dyn ToSql + Sync); 7] {
        let Self { tag, sid, version, seen, state, due_at, record } = self;
        [tag, sid, version, seen, state, due_at, record]
    }
}

/// An ended record, and the versions of its row before and after.
struct NewTombstone {
    record: Record,
    seen: i64,
    version: i64,
}
