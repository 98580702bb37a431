//! Operations in one place: load, update, end, revoke, and pages of a subject's sessions.

use std::sync::Arc;

use redis::{Cmd, Value};

use super::{
    RedisStore,
    connection::ServerReply,
    error::failed,
    keys::field,
    marks::Marks,
    reply::{self, array, number, several, unreadable},
    value::{Version, decode, encode, position_in_place, sessions, time_to_live, tombstone_time_to_live},
};
use crate::{
    Error, ErrorKind, Timestamp,
    record::{Change, EndOutcome, EndRequest, Record, SessionId, Tag, UpdateOutcome},
    store::{Page, Revocation},
};

/// How often a write is attempted when others come first. Each time, another write succeeds.
pub(super) const MAX_ATTEMPTS: usize = 256;

/// After this many attempts, the writers of this process take turns by a lock.
pub(super) const POLITE_ATTEMPTS: usize = 3;

/// How many sessions are read at once, since the server does nothing else meanwhile.
pub(super) const PAGE: usize = 512;

/// What replaces a record.
#[derive(Clone, Copy)]
enum Edit<'a> {
    /// A live record.
    Change(&'a Change),
    /// A tombstone.
    End(&'a EndRequest),
}

/// The outcome of a conditional write.
enum Written {
    Done,
    /// Another write came first; this is the current record.
    Now(Option<Record>),
    /// Another write came first. This write may have succeeded before it, since a reply was lost.
    Unclear(Option<Record>),
}

/// Sessions of a place, in their order.
pub(super) struct PlacePage {
    pub(super) records: Vec<Record>,
    /// The position after which to continue; `None` when there are no more.
    pub(super) next: Option<Vec<u8>>,
    pub(super) marks: Marks,
}

impl RedisStore {
    /// The record with this id, and whether it is a tombstone: one plain read, and a second one if
    /// there is no session.
    pub(super) async fn read(&self, sid: SessionId) -> Result<Option<Record>, Error> {
        let mut command = Cmd::with_capacity(4, 64);
        command.arg("HMGET").arg(self.0.keys.place(sid.tag())).arg(field(&sid)).arg("m");
        let [stored, marks] = several(self.ask(&command).await?)?;
        let marks = Marks::read(&marks)?;
        if stored != Value::Nil {
            return read_value(sid, stored, &marks);
        }
        let mut command = Cmd::with_capacity(2, 64);
        command.arg("GET").arg(self.0.keys.tombstone(sid));
        read_value(sid, self.ask(&command).await?, &marks)
    }

    pub(super) async fn update_record(
        &self,
        sid: SessionId,
        change: &Change,
        seen: Option<Box<Record>>,
    ) -> Result<UpdateOutcome, Error> {
        let outcome = self.compare_and_set(sid, seen, Edit::Change(change), |record| change.apply(record));
        Ok(outcome.await?.unwrap_or(UpdateOutcome::Gone(None)))
    }

    pub(super) async fn end_record(
        &self,
        sid: SessionId,
        request: &EndRequest,
        seen: Option<Box<Record>>,
    ) -> Result<EndOutcome, Error> {
        let outcome = self.compare_and_set(sid, seen, Edit::End(request), |record| record.end(request));
        Ok(outcome.await?.unwrap_or(EndOutcome::Unknown))
    }

    /// Changes a record, and writes it if no other write came first; else starts over from the
    /// current record. `None` when there is no record.
    async fn compare_and_set<T>(
        &self,
        sid: SessionId,
        seen: Option<Box<Record>>,
        edit: Edit<'_>,
        apply: impl Fn(&mut Record) -> T + Send,
    ) -> Result<Option<T>, Error>
    where
        T: Send,
    {
        let mut is_fresh = seen.is_none();
        let mut known = match seen {
            Some(seen) => Some(*seen),
            None => self.read(sid).await?,
        };
        let mut _turn = None;
        for attempt in 0..MAX_ATTEMPTS {
            let Some(before) = known else { return Ok(None) };
            let mut record = before.clone();
            let outcome = apply(&mut record);
            if record == before {
                // This was decided by the caller's record, which may be outdated: read it again
                // first.
                if is_fresh {
                    return Ok(Some(outcome));
                }
                (known, is_fresh) = (self.read(sid).await?, true);
                continue;
            }
            let (written, is_repeatable) = match edit {
                Edit::Change(change) => (self.write(&before, &record).await?, change.edits.is_empty()),
                // If an earlier attempt ended it, the call id identifies that.
                Edit::End(request) => (self.write_tombstone(&before, &record, request.at).await?, true),
            };
            match written {
                Written::Done => return Ok(Some(outcome)),
                Written::Unclear(_) if !is_repeatable => return Err(unclear()),
                Written::Now(now) | Written::Unclear(now) => (known, is_fresh) = (now, true),
            }
            if attempt == POLITE_ATTEMPTS {
                _turn = Some(self.turn(sid.tag()).await);
                known = self.read(sid).await?;
            }
        }
        Err(too_busy())
    }

    /// Writes a live record over the version that was read.
    async fn write(&self, before: &Record, record: &Record) -> Result<Written, Error> {
        let (sid, version) = (record.sid, Version::new());
        // The sweep must know only of an earlier deadline: a later one it finds by itself.
        let (due_before, due) = (before.due_at(), record.due_at());
        let earlier = (due < due_before).then(|| due.as_unix_millis());
        let due_key = earlier.map(|_| self.0.keys.due(&record.realm));
        let place = self.0.keys.place(sid.tag());
        let mut keys = vec![place.as_slice()];
        if let (Some(due_key), false) = (&due_key, self.is_cluster()) {
            keys.push(due_key.as_bytes());
        }
        let mut call = self.0.scripts.write.call(&keys);
        call = call
            .arg(field(&sid))
            .arg(Version::of(before).bytes().as_slice())
            .stamp(Version::stamp_beside(before));
        call = call.arg(encode(record, version)?);
        if let Some(due) = earlier {
            call = call.arg(due).arg(sid.as_bytes().as_slice());
        }
        let run = call.run(&self.0.connection);
        let answer = match (earlier, due_key) {
            (Some(due), Some(due_key)) if self.is_cluster() => {
                // An entry may be early at any time, so send both at once.
                let mut index = redis::cmd("ZADD");
                index.arg(due_key).arg("LT").arg(due).arg(sid.as_bytes().as_slice());
                Box::pin(futures_util::future::join(run, self.0.connection.ask(&index))).await.0
            }
            _ => run.await,
        };
        written(sid, version, answer?)
    }

    async fn write_tombstone(
        &self,
        before: &Record,
        record: &Record,
        at: Timestamp,
    ) -> Result<Written, Error> {
        let (sid, version) = (record.sid, Version::new());
        let keys = self.index_keys(&record.realm);
        let call = self.about(&self.0.scripts.end, sid.tag(), &keys);
        let call = call
            .arg(sid.tag().as_bytes().as_slice())
            .arg(field(&sid))
            .arg(Version::of(before).bytes().as_slice())
            .stamp(Version::stamp_beside(before))
            .arg(encode(record, version)?)
            .arg(tombstone_time_to_live(at, forget_at(record)))
            .arg(forget_at(record).as_unix_millis());
        let written = written(sid, version, call.run(&self.0.connection).await?)?;
        if matches!(written, Written::Done) {
            self.end_in_cluster(before, record).await;
        }
        Ok(written)
    }

    pub(super) async fn revoke_subject(
        &self,
        revocation: &Revocation,
        tag: Tag,
        subject: &Arc<str>,
    ) -> Result<(), Error> {
        let Revocation { realm, at, except, keep_until, .. } = revocation;
        let due = self.0.keys.due(realm);
        let keys = if self.is_cluster() { Vec::new() } else { vec![due.clone()] };
        let mut marks = Marks::default();
        for _ in 0..MAX_ATTEMPTS {
            let stamp = marks.stamp();
            marks.all.revoke(realm, subject, *at, *except, *keep_until);
            let written = marks.write()?;
            let call = self.about(&self.0.scripts.mark, tag, &keys).stamp(stamp).arg(&written);
            let call = call.arg(time_to_live(*at, *keep_until));
            let call = call.arg(at.as_unix_millis()).arg(tag.as_bytes().as_slice());
            let answer = call.run(&self.0.connection).await?.value;
            // The same marks: the reply to an earlier attempt was lost.
            if answer == Value::Int(1) || answer == Value::BulkString(written) {
                if self.is_cluster() {
                    let mut queue = redis::cmd("ZADD");
                    queue.arg(due).arg(at.as_unix_millis()).arg(tag.as_bytes().as_slice());
                    self.0.connection.post(queue).await;
                }
                return Ok(());
            }
            marks = Marks::read(&answer)?;
        }
        Err(too_busy())
    }

    pub(super) async fn list_subject(
        &self,
        page: &Page,
        tag: Tag,
        subject: &str,
    ) -> Result<Vec<Record>, Error> {
        let is_wanted = |record: &Record| {
            record.realm == page.realm
                && record.subject.as_deref() == Some(subject)
                && page.after.is_none_or(|after| (record.timing.created_at, record.sid) > after)
        };
        let mut found = Vec::new();
        let mut after = page.after.map(|(at, sid)| position_in_place(at, &sid)).unwrap_or_default();
        loop {
            // Subjects that share the tag by chance cost a round trip, but no records are missed.
            let sessions = self.page_of(tag, &after, page.limit.min(PAGE)).await?;
            found.extend(sessions.records.into_iter().filter(is_wanted));
            match sessions.next {
                Some(next) if found.len() < page.limit => after = next,
                _ => break,
            }
        }
        found.truncate(page.limit);
        Ok(found)
    }

    /// Sessions of a place in order, after a position.
    pub(super) async fn page_of(&self, tag: Tag, after: &[u8], limit: usize) -> Result<PlacePage, Error> {
        let call = self.about(&self.0.scripts.list, tag, &[]).arg(after).arg(limit.max(1));
        let [marks, page] = several(call.run(&self.0.connection).await?.value)?;
        let [is_last, last, fields] = several(page)?;
        let marks = Marks::read(&marks)?;
        let mut records = sessions(tag, fields, &marks)?;
        records.sort_unstable_by_key(|record| (record.timing.created_at, record.sid));
        let next = (number(&is_last)? == 0).then(|| reply::bytes(last)).transpose()?;
        Ok(PlacePage { records, next, marks })
    }

    /// Drops marks that are no longer needed, if they are unchanged.
    pub(super) async fn drop_marks(&self, tag: Tag, marks: &Marks) -> Result<(), Error> {
        let call = self.about(&self.0.scripts.mark, tag, &[]).stamp(marks.stamp()).arg("");
        call.arg(0).run(&self.0.connection).await.map(drop)
    }

    pub(super) async fn ask(&self, command: &Cmd) -> Result<Value, Error> {
        self.0.connection.ask(command).await.map(|answer| answer.value).map_err(|error| failed(&error))
    }
}

/// When a tombstone may be removed.
pub(super) fn forget_at(record: &Record) -> Timestamp {
    record.ended.map_or(record.updated_at, |ended| ended.forget_at)
}

pub(super) fn too_busy() -> Error {
    Error::new(ErrorKind::Store, "too many writes to one session at the same time; try again")
}

fn unclear() -> Error {
    Error::store(
        "the connection was lost during a write and another write followed, so the outcome is unknown",
    )
}

pub(super) fn read_value(sid: SessionId, stored: Value, marks: &Marks) -> Result<Option<Record>, Error> {
    match stored {
        Value::BulkString(bytes) => decode(sid, &bytes, marks).map(Some),
        Value::Nil => Ok(None),
        _ => Err(unreadable()),
    }
}

/// The outcome of a conditional write, from the script's reply.
fn written(sid: SessionId, version: Version, answer: ServerReply) -> Result<Written, Error> {
    if matches!(answer.value, Value::Int(1)) {
        return Ok(Written::Done);
    }
    let mut now = array(answer.value)?.into_iter();
    let (live, marks, ended) = (now.next(), now.next(), now.next());
    let marks = Marks::read(&marks.unwrap_or(Value::Nil))?;
    let stored = live.filter(|live| *live != Value::Nil).or(ended).unwrap_or(Value::Nil);
    let now = read_value(sid, stored, &marks)?;
    if now.as_ref().is_some_and(|now| Version::of(now) == version) {
        return Ok(Written::Done); // the reply to an earlier attempt was lost
    }
    Ok(if answer.is_repeated { Written::Unclear(now) } else { Written::Now(now) })
}
