//! Lists, and what is due.

use std::collections::{HashMap, HashSet};

use super::{
    BATCH, PostgresStore,
    row::{self, MARKS, Marks, SWEPT_MARKS, Sid, millis},
};
use crate::{
    Error, SessionId, Timestamp,
    record::Record,
    store::{Page, Sweep, Swept},
};

/// A tag with a subject that was signed out everywhere, whose sessions are not swept yet.
struct RevokedTag {
    tag: i64,
    marks: Marks,
    /// Before this, no session is covered by the mark.
    cursor: i64,
}

impl PostgresStore {
    pub(super) async fn page(&self, page: Page) -> Result<Vec<Record>, Error> {
        let (mut created_at, mut sid) = match page.after {
            Some((created_at, sid)) => (millis(created_at), Sid::from(sid)),
            None => (i64::MIN, Sid([0; 16])),
        };
        let limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
        let mut records = Vec::new();
        loop {
            let rows = match &page.subject {
                None => {
                    let realm = row::realm(&page.realm);
                    self.query(&self.0.statements.list, &[&realm, &created_at, &sid, &limit]).await?
                }
                Some((tag, subject)) => {
                    let (tag, owner) = (row::tag(*tag), row::owner(&page.realm, subject));
                    let statement = &self.0.statements.list_subject;
                    self.query(statement, &[&tag, &owner, &created_at, &sid, &limit]).await?
                }
            };
            for row in &rows {
                let (record, _) = row::read_with_mark(row)?;
                (created_at, sid) = (millis(record.timing.created_at), record.sid.into());
                // The columns are hashes, so compare the names in the record.
                let is_theirs =
                    page.subject.as_ref().is_none_or(|(_, name)| record.subject.as_ref() == Some(name));
                if record.realm == page.realm && is_theirs {
                    records.push(record);
                }
            }
            if records.len() >= page.limit || i64::try_from(rows.len()).is_ok_and(|rows| rows < limit) {
                records.truncate(page.limit);
                return Ok(records);
            }
        }
    }

    /// Sessions past a deadline come first, so that a large revocation does not delay them.
    pub(super) async fn sweep_batch(&self, sweep: &Sweep) -> Result<Swept, Error> {
        let limit = sweep.limit.min(BATCH);
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let (removed, forgotten) = self.forget(sweep.now, most).await?;
        let now = millis(sweep.now);
        let rows = match &sweep.realm {
            Some(realm) => self.query(&self.0.statements.due, &[&row::realm(realm), &now, &most]).await?,
            None => self.query(&self.0.statements.due_everywhere, &[&now, &most]).await?,
        };
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            found.push(row::read_with_mark(row)?.0);
        }
        let mut finished = removed < limit && found.len() < limit;
        if found.len() < limit {
            finished &= self.find_revoked(sweep.realm.as_deref(), limit, &mut found).await?;
        }
        Ok(Swept { found, removed: forgotten, finished })
    }

    /// Returns how many rows were removed, and how many of them were tombstones.
    async fn forget(&self, now: Timestamp, limit: i64) -> Result<(usize, usize), Error> {
        let rows = self.query(&self.0.statements.forget, &[&millis(now), &limit]).await?;
        let count = |column| {
            let count = rows.first().map_or(Ok(0), |row| row::get::<i64>(row, column));
            count.map(|count| usize::try_from(count).unwrap_or(0))
        };
        Ok((count(0)?, count(1)?))
    }

    /// Adds sessions that a mark covers, up to a limit. Returns whether there are no more.
    async fn find_revoked(
        &self,
        realm: Option<&str>,
        limit: usize,
        found: &mut Vec<Record>,
    ) -> Result<bool, Error> {
        let (first, last) = realm.map(row::realm).map_or((i64::MIN, i64::MAX), |realm| (realm, realm));
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.query(&self.0.statements.revoked, &[&first, &last, &most]).await?;
        let known: HashSet<_> = found.iter().map(|record| record.sid).collect();
        for row in &rows {
            let marks = Marks::read(row::get(row, 1)?, row::get(row, 3)?)?;
            let entry = RevokedTag { tag: row::get(row, 0)?, marks, cursor: row::get(row, 2)? };
            if !self.find_revoked_of(&entry, limit, &known, found).await? {
                return Ok(false);
            }
        }
        Ok(rows.len() < limit)
    }

    /// The same for one tag. The cursor skips what has ended meanwhile, so that a batch starts
    /// where it finds something. The tag leaves the queue when nothing is left.
    async fn find_revoked_of(
        &self,
        entry: &RevokedTag,
        limit: usize,
        known: &HashSet<SessionId>,
        found: &mut Vec<Record>,
    ) -> Result<bool, Error> {
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut after = (entry.cursor, Sid([0; 16]));
        let mut first = None;
        let mut finished = false;
        while !finished && found.len() < limit {
            let rows = self
                .query(&self.0.statements.revoked_of_tag, &[&entry.tag, &after.0, &after.1, &most])
                .await?;
            for row in &rows {
                after = (row::get(row, 3)?, row::get(row, 0)?);
                let record = entry.marks.show(after.1.into(), row::get(row, 1)?, row::get(row, 2)?)?;
                if record.revoked_at.is_none() {
                    continue;
                }
                first = first.or(Some(after.0));
                if !known.contains(&record.sid) && found.len() < limit {
                    found.push(record);
                }
            }
            finished = rows.len() < limit;
        }
        let (cursor, state) = match first {
            None if finished => (entry.cursor, SWEPT_MARKS),
            first => (first.unwrap_or(after.0), MARKS),
        };
        if state == SWEPT_MARKS || cursor > entry.cursor {
            let moved = [&entry.tag as _, &entry.marks.version as _, &cursor as _, &state as _];
            self.query(&self.0.statements.move_cursor, &moved).await?;
        }
        Ok(finished && found.len() < limit)
    }

    /// The caller computed the moments from records that may have changed, for instance to a nearer
    /// deadline. So read them again: a moment that is too late would hide a session from the sweep.
    pub(super) async fn reschedule_batch(&self, sessions: &[(SessionId, Timestamp)]) -> Result<(), Error> {
        let tags: Vec<_> = sessions.iter().map(|(sid, _)| row::tag(sid.tag())).collect();
        let sids: Vec<_> = sessions.iter().map(|(sid, _)| Sid::from(*sid)).collect();
        let rows = self.query(&self.0.statements.load_many, &[&tags, &sids]).await?;
        let moments: HashMap<_, _> = sessions.iter().copied().collect();
        let mut live = rows.iter().map(row::read_with_mark).collect::<Result<Vec<_>, _>>()?;
        live.retain(|(record, _)| record.ended.is_none());
        // Sorted, so that two batches cannot deadlock.
        live.sort_unstable_by_key(|(record, _)| record.sid);
        let tags: Vec<_> = live.iter().map(|(record, _)| row::tag(record.sid.tag())).collect();
        let sids: Vec<_> = live.iter().map(|(record, _)| Sid::from(record.sid)).collect();
        let seen: Vec<_> = live.iter().map(|(_, version)| *version).collect();
        let due = |record: &Record| moments[&record.sid].min(record.timing.deadline());
        let due: Vec<_> = live.iter().map(|(record, _)| millis(due(record))).collect();
        self.query(&self.0.statements.reschedule, &[&tags, &sids, &seen, &due]).await.map(drop)
    }
}
