//! Lists and sweeps of all sessions, and the indexes that they read.
//!
//! The indexes refer to sessions in other slots. On a cluster they may be late or incomplete. A
//! reader drops an entry whose session is gone.

use std::collections::BTreeMap;

use futures_util::future::{join_all, try_join_all};
use redis::{Cmd, Value};

use super::{
    RedisStore,
    keys::field,
    marks::Marks,
    place::{PAGE, forget_at},
    reply::{array, bytes, number},
    value::{at_position, decode, position_in_realm},
};
use crate::{
    Error, Timestamp,
    record::{Record, SessionId, Tag},
    store::{Page, Sweep, Swept},
};

/// How many pages of a place a sweep reads for sessions that a mark covers, oldest first. Sessions
/// that it misses, with a wrong creation time, are found at their deadline.
const PAGES_OF_A_MARK: usize = 4;

/// How many batches of stale entries one call of a sweep drops.
const BATCHES: usize = 8;

impl RedisStore {
    pub(super) async fn list_realm(&self, page: &Page) -> Result<Vec<Record>, Error> {
        let all = self.0.keys.all(&page.realm);
        let mut after = page.after.map(|(at, sid)| position_in_realm(at, &sid));
        let mut found = Vec::new();
        while found.len() < page.limit {
            let batch = (page.limit - found.len()).min(PAGE);
            let mut command = redis::cmd("ZRANGEBYLEX");
            command.arg(&all);
            match &after {
                Some(after) => command.arg([b"(".as_slice(), after].concat()),
                None => command.arg("-"),
            };
            command.arg("+").arg("LIMIT").arg(0).arg(batch);
            let members = array(self.ask(&command).await?)?;
            let members: Vec<Vec<u8>> = members.into_iter().map(bytes).collect::<Result<_, _>>()?;
            let sids: Vec<_> = members.iter().filter_map(|member| at_position(member)).collect();
            let mut records = self.read_live(&sids).await?;
            let mut gone = redis::cmd("ZREM");
            gone.arg(&all);
            for member in &members {
                match at_position(member).and_then(|sid| records.remove(&sid)) {
                    Some(record) => found.push(record),
                    None => drop(gone.arg(member)),
                }
            }
            if gone.args_iter().len() > 2 {
                self.0.connection.post(gone).await;
            }
            if members.len() < batch {
                break;
            }
            after = members.into_iter().next_back();
        }
        Ok(found)
    }

    /// The sessions with these ids that have not ended.
    async fn read_live(&self, sids: &[SessionId]) -> Result<BTreeMap<SessionId, Record>, Error> {
        let mut places: BTreeMap<Tag, Vec<SessionId>> = BTreeMap::new();
        for sid in sids {
            places.entry(sid.tag()).or_default().push(*sid);
        }
        let reads = places.into_iter().map(async |(tag, sids)| {
            let mut command = Cmd::with_capacity(3 + sids.len(), 64 + 10 * sids.len());
            command.arg("HMGET").arg(self.0.keys.place(tag)).arg("m");
            for sid in &sids {
                command.arg(field(sid));
            }
            let mut values = array(self.ask(&command).await?)?.into_iter();
            let marks = Marks::read(&values.next().unwrap_or(Value::Nil))?;
            let read = |(sid, value)| match value {
                Value::BulkString(bytes) => Some(decode(sid, &bytes, &marks)),
                _ => None,
            };
            sids.into_iter().zip(values).filter_map(read).collect::<Result<Vec<_>, _>>()
        });
        let records = try_join_all(reads).await?.into_iter().flatten();
        Ok(records.map(|record| (record.sid, record)).collect())
    }

    pub(super) async fn sweep_realms(&self, sweep: &Sweep) -> Result<Swept, Error> {
        let mut swept = self.sweep_tombstones(sweep).await?;
        for realm in self.realms(sweep).await? {
            let has_room = swept.found.len() < sweep.limit;
            swept.finished &= has_room && self.sweep_realm(&realm, sweep, &mut swept.found).await?;
        }
        Ok(swept)
    }

    async fn realms(&self, sweep: &Sweep) -> Result<Vec<String>, Error> {
        if let Some(realm) = &sweep.realm {
            return Ok(vec![realm.to_string()]);
        }
        let realms = array(self.ask(redis::cmd("SMEMBERS").arg(self.0.keys.realms())).await?)?;
        let text = |realm| bytes(realm).map(|realm| String::from_utf8_lossy(&realm).into_owned());
        realms.into_iter().map(text).collect()
    }

    /// Removes old tombstones before their time to live is over.
    async fn sweep_tombstones(&self, sweep: &Sweep) -> Result<Swept, Error> {
        let tombstones = self.0.keys.tombstones();
        let members = self.due_members(&tombstones, sweep.now, sweep.limit).await?;
        let sids = members.iter().filter_map(|member| member.as_slice().try_into().ok());
        let removals = sids.map(async |sid| {
            let tombstone = self.0.keys.tombstone(SessionId::from_bytes(sid));
            number(&self.ask(redis::cmd("DEL").arg(tombstone)).await?)
        });
        let removed: i64 = try_join_all(removals).await?.into_iter().sum();
        if !members.is_empty() {
            self.ask(redis::cmd("ZREM").arg(&tombstones).arg(&members)).await?;
        }
        let removed = usize::try_from(removed).unwrap_or_default();
        Ok(Swept { found: Vec::new(), removed, finished: members.len() < sweep.limit })
    }

    async fn due_members(&self, index: &str, now: Timestamp, limit: usize) -> Result<Vec<Vec<u8>>, Error> {
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(index).arg("-inf").arg(now.as_unix_millis()).arg("LIMIT").arg(0).arg(limit);
        array(self.ask(&command).await?)?.into_iter().map(bytes).collect()
    }

    /// Whether nothing else of this realm is due.
    async fn sweep_realm(&self, realm: &str, sweep: &Sweep, found: &mut Vec<Record>) -> Result<bool, Error> {
        let due = self.0.keys.due(realm);
        for _ in 0..BATCHES {
            let room = sweep.limit - found.len();
            let members = self.due_members(&due, sweep.now, room).await?;
            let sids = members.iter().filter_map(|member| member.as_slice().try_into().ok());
            let sids: Vec<_> = sids.map(SessionId::from_bytes).collect();
            let mut live = self.read_live(&sids).await?;
            let gone = sids.iter().filter(|sid| !live.contains_key(sid)).map(|sid| sid.as_bytes().to_vec());
            let mut gone: Vec<_> = gone.collect();
            let mut is_complete = true;
            let mut later = Vec::new();
            let tags =
                members.iter().filter_map(|member| <[u8; Tag::BYTES]>::try_from(member.as_slice()).ok());
            for tag in tags {
                let (covered, marks) = self.covered(Tag::from_bytes(tag), realm).await?;
                if covered.is_empty() {
                    match marks.all.needed_until().filter(|until| *until > sweep.now) {
                        Some(until) => later.push((until, tag)),
                        None => self.drop_marks(Tag::from_bytes(tag), &marks).await?,
                    }
                    gone.push(tag.to_vec());
                }
                is_complete &= covered.len() < PAGE;
                live.extend(covered.into_iter().map(|record| (record.sid, record)));
            }
            let dropped = gone.len();
            if dropped > 0 {
                self.ask(redis::cmd("ZREM").arg(&due).arg(gone)).await?;
            }
            for (until, tag) in later {
                let mut entry = redis::cmd("ZADD");
                self.ask(entry.arg(&due).arg(until.as_unix_millis()).arg(tag.as_slice())).await?;
            }
            // Each session once, also when both its entry and that of its place are due.
            for record in found.iter() {
                live.remove(&record.sid);
            }
            is_complete &= live.len() <= room;
            found.extend(live.into_values().take(room));
            if members.len() < room {
                return Ok(is_complete);
            }
            if dropped == 0 || found.len() >= sweep.limit {
                return Ok(false);
            }
        }
        Ok(false)
    }

    /// Sessions of a place that a mark covers, and the marks.
    async fn covered(&self, tag: Tag, realm: &str) -> Result<(Vec<Record>, Marks), Error> {
        let mut page = self.page_of(tag, &[], PAGE).await?;
        for _ in 0..PAGES_OF_A_MARK {
            page.records.retain(|record| record.revoked_at.is_some() && *record.realm == *realm);
            match page.next {
                Some(next) if page.records.is_empty() => page = self.page_of(tag, &next, PAGE).await?,
                _ => return Ok((page.records, page.marks)),
            }
        }
        Ok((Vec::new(), page.marks))
    }

    pub(super) async fn move_due(&self, sessions: &[(SessionId, Timestamp)]) -> Result<(), Error> {
        let sids: Vec<_> = sessions.iter().map(|(sid, _)| *sid).collect();
        let moved: BTreeMap<SessionId, Timestamp> = sessions.iter().copied().collect();
        let records = self.read_live(&sids).await?;
        self.set_due(&records, |record| moved.get(&record.sid).copied()).await?;
        // A write between the read and the move may have moved a deadline forward; an entry must
        // not be late.
        let records = self.read_live(&sids).await?;
        self.set_due(&records, |record| {
            let due = record.due_at();
            moved.get(&record.sid).is_some_and(|at| due < *at).then_some(due)
        })
        .await
    }

    async fn set_due(
        &self,
        records: &BTreeMap<SessionId, Record>,
        due: impl Fn(&Record) -> Option<Timestamp>,
    ) -> Result<(), Error> {
        let mut realms: BTreeMap<&str, Vec<(i64, SessionId)>> = BTreeMap::new();
        for record in records.values() {
            if let Some(at) = due(record) {
                realms.entry(&record.realm).or_default().push((at.as_unix_millis(), record.sid));
            }
        }
        for (realm, entries) in realms {
            let key = self.0.keys.due(realm);
            let mut call = self.0.scripts.schedule.call(&[key.as_bytes()]);
            for (at, sid) in entries {
                call = call.arg(at).arg(sid.as_bytes().as_slice());
            }
            call.run(&self.0.connection).await?;
        }
        Ok(())
    }

    /// Adds a new session to the indexes of a cluster. A single server does it in the same step.
    pub(super) async fn enter_in_cluster(&self, record: &Record) -> Result<(), Error> {
        let [mut all, mut due, mut realms] = [redis::cmd("ZADD"), redis::cmd("ZADD"), redis::cmd("SADD")];
        let position = position_in_realm(record.timing.created_at, &record.sid);
        all.arg(self.0.keys.all(&record.realm)).arg(0).arg(position);
        due.arg(self.0.keys.due(&record.realm)).arg(record.due_at().as_unix_millis());
        due.arg(record.sid.as_bytes().as_slice());
        realms.arg(self.0.keys.realms()).arg(&*record.realm);
        for answer in join_all([&all, &due, &realms].map(|command| self.ask(command))).await {
            answer?;
        }
        Ok(())
    }

    /// Updates the indexes of a cluster after a session has ended, without waiting.
    pub(super) async fn end_in_cluster(&self, before: &Record, after: &Record) {
        if !self.is_cluster() || before.ended.is_some() {
            return;
        }
        let (keys, sid) = (&self.0.keys, before.sid.as_bytes().as_slice());
        let [mut all, mut due, mut tombstones] = [redis::cmd("ZREM"), redis::cmd("ZREM"), redis::cmd("ZADD")];
        all.arg(keys.all(&before.realm)).arg(position_in_realm(before.timing.created_at, &before.sid));
        due.arg(keys.due(&before.realm)).arg(sid);
        tombstones.arg(keys.tombstones()).arg(forget_at(after).as_unix_millis()).arg(sid);
        for command in [all, due, tombstones] {
            self.0.connection.post(command).await;
        }
    }
}
