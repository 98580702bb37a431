//! A new session, with what ends first and the cap of its subject, in one step (S9).
//!
//! Usually one script stores the session. If something conflicts, it returns the current state
//! instead; the decision is made here, and a second script applies it if nothing has changed.

use std::{collections::BTreeMap, num::NonZeroU32};

use redis::Value;

use super::{
    RedisStore,
    keys::field,
    marks::Marks,
    place::{MAX_ATTEMPTS, POLITE_ATTEMPTS, forget_at, read_value, too_busy},
    reply::{array, number, several},
    value::{Version, encode, sessions, time_to_live, tombstone_time_to_live},
};
use crate::{
    Error, ErrorKind,
    record::{EndOutcome, Record, SessionId},
    store::{CreateOutcome, Creation, CreationPlan},
};

/// The state that a creation depends on.
struct View {
    /// The record with the new id, if any.
    taken: Option<Record>,
    marks: Marks,
    /// The number of sessions in the place.
    count: usize,
    /// The records to end first, as far as they exist.
    ends: BTreeMap<SessionId, Record>,
    /// The sessions of the place, if the cap may be reached.
    others: Vec<Record>,
}

/// The result of the reading script.
#[expect(clippy::large_enum_variant, reason = "short-lived")]
enum Looked {
    Stored,
    View(View),
}

/// What to store, and what must be unchanged for that.
struct Plan {
    record: Box<Record>,
    outcomes: Vec<EndOutcome>,
    /// The records that end or hand over their data, before and after.
    ended: Vec<(Record, Record)>,
    /// Others that the decision depends on.
    unchanged: Vec<Record>,
    /// The maximum number of sessions in the place before.
    most: Option<usize>,
}

/// The decision on a view.
enum Decision {
    Store(Plan),
    ServerReply(CreateOutcome),
    /// The cap may be reached, so the sessions of the place are needed.
    NameOthers,
}

impl RedisStore {
    pub(super) async fn create_record(&self, creation: &Creation) -> Result<CreateOutcome, Error> {
        let foreign = creation.ends.iter().any(|(sid, _)| sid.tag() != creation.record.sid.tag());
        if foreign {
            let message = "a session that ends with a creation must be of the same subject";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let mut tried: Option<(Version, CreateOutcome)> = None;
        let mut name_others = false;
        let mut _turn = None;
        for attempt in 0..MAX_ATTEMPTS {
            if attempt == POLITE_ATTEMPTS {
                _turn = Some(self.turn(creation.record.sid.tag()).await);
            }
            let at_once = if attempt == 0 { at_once(creation) } else { None };
            let version = Version::new();
            let view = match self.look(creation, at_once.as_deref(), version, name_others).await? {
                Looked::Stored => return Ok(created(at_once, version)),
                Looked::View(view) => view,
            };
            if let Some(taken) = view.taken {
                let ours = |tried: &Version| *tried == Version::of(&taken);
                // The reply to an earlier attempt was lost.
                return Ok(match tried {
                    Some((tried, outcome)) if ours(&tried) => outcome,
                    _ if ours(&version) && at_once.is_some() => created(at_once, version),
                    _ => CreateOutcome::Exists,
                });
            }
            let plan = match decide(creation, &view) {
                Decision::Store(plan) => plan,
                Decision::ServerReply(outcome) => return Ok(outcome),
                Decision::NameOthers => {
                    name_others = true;
                    continue;
                }
            };
            let is_stored = self.carry_out(creation, &plan, &view, version).await?;
            let record = version.of_new(plan.record, &view.marks);
            let outcome = CreateOutcome::Created { record, ended: plan.outcomes };
            if is_stored {
                return Ok(outcome);
            }
            tried = Some((version, outcome));
        }
        Err(too_busy())
    }

    /// Stores the session, if one is given and nothing conflicts.
    async fn look(
        &self,
        creation: &Creation,
        record: Option<&Record>,
        version: Version,
        name_others: bool,
    ) -> Result<Looked, Error> {
        let (sid, tag) = (creation.record.sid, creation.record.sid.tag());
        let cap = creation.cap.filter(|_| creation.record.subject.is_some());
        let value = record.map(|record| encode(record, version)).transpose()?.unwrap_or_default();
        let [ttl, due] = schedule(record.unwrap_or(&creation.record));
        let mut ends: Vec<_> = creation.ends.iter().map(|(sid, _)| *sid).collect();
        ends.sort_unstable();
        ends.dedup();
        let keys = self.index_keys(&creation.record.realm);
        let mut call = self
            .about(&self.0.scripts.create, tag, &keys)
            .arg(tag.as_bytes().as_slice())
            .arg(field(&sid))
            .arg(value)
            .arg(ttl)
            .optional(cap.map(NonZeroU32::get))
            .arg(due)
            .arg(&*creation.record.realm)
            .arg(CreateOutcome::MAX_CANDIDATES)
            .arg(i32::from(name_others));
        for sid in &ends {
            call = call.arg(field(sid));
        }
        let answer = call.run(&self.0.connection).await?.value;
        if answer == Value::Int(1) {
            return Ok(Looked::Stored);
        }
        let [taken, marks, count, stored, others] = several(answer)?;
        let marks = Marks::read(&marks)?;
        let taken = read_value(sid, taken, &marks)?;
        let ends = ends.into_iter().zip(array(stored)?);
        let ends = ends.filter_map(|(sid, value)| Some((sid, read_value(sid, value, &marks).transpose()?)));
        let ends = ends.map(|(sid, record)| Ok((sid, record?))).collect::<Result<_, Error>>()?;
        let count = usize::try_from(number(&count)?).unwrap_or_default();
        let others = sessions(tag, others, &marks)?;
        Ok(Looked::View(View { taken, marks, count, ends, others }))
    }

    /// Whether nothing had changed and the plan was applied.
    async fn carry_out(
        &self,
        creation: &Creation,
        plan: &Plan,
        view: &View,
        version: Version,
    ) -> Result<bool, Error> {
        let (record, tag) = (&plan.record, plan.record.sid.tag());
        let [ttl, due] = schedule(record);
        let keys = self.index_keys(&record.realm);
        let mut call = self
            .about(&self.0.scripts.commit, tag, &keys)
            .arg(tag.as_bytes().as_slice())
            .arg(field(&record.sid))
            .arg(encode(record, version)?)
            .arg(ttl)
            .optional(plan.most)
            .arg(due)
            .arg(&*record.realm)
            .stamp(view.marks.stamp())
            .arg(plan.ended.len() + plan.unchanged.len());
        for known in plan.ended.iter().map(|(before, _)| before).chain(&plan.unchanged) {
            call = call.arg(field(&known.sid)).arg(Version::of(known).bytes().as_slice());
        }
        for (_, after) in &plan.ended {
            let at = creation.ends.iter().find(|(sid, _)| *sid == after.sid).map(|(_, request)| request.at);
            let ttl = tombstone_time_to_live(at.unwrap_or(after.updated_at), forget_at(after));
            call = call.arg(field(&after.sid)).arg(encode(after, Version::new())?).arg(ttl);
            call = call.arg(forget_at(after).as_unix_millis());
        }
        if call.run(&self.0.connection).await?.value != Value::Int(1) {
            return Ok(false);
        }
        for (before, after) in &plan.ended {
            self.end_in_cluster(before, after).await;
        }
        Ok(true)
    }
}

/// The record to store if nothing conflicts; `None` if more must be known first.
fn at_once(creation: &Creation) -> Option<Box<Record>> {
    if !creation.ends.is_empty() {
        return None;
    }
    match creation.clone().plan(None, Vec::new(), 0) {
        CreationPlan::Store { record, .. } => Some(record),
        _ => None,
    }
}

fn created(record: Option<Box<Record>>, version: Version) -> CreateOutcome {
    record.map_or(CreateOutcome::Exists, |record| CreateOutcome::Created {
        record: version.of_new(record, &Marks::default()),
        ended: Vec::new(),
    })
}

/// How long the place is needed for the record, and when a sweep must look at it.
fn schedule(record: &Record) -> [i64; 2] {
    let timing = &record.timing;
    [time_to_live(timing.created_at, timing.expires_at()), record.due_at().as_unix_millis()]
}

fn decide(creation: &Creation, view: &View) -> Decision {
    let subject = creation.record.subject.as_ref();
    let mark = subject.and_then(|subject| view.marks.all.of(&creation.record.realm, subject));
    let (counted, others): (Vec<&Record>, Vec<&Record>) =
        view.others.iter().partition(|other| creation.counts(other));
    // Count sessions that were not returned as the subject's: others would have to share the tag by
    // chance.
    let count = view.count.saturating_sub(others.len());
    let found = creation.ends.iter().map(|(sid, _)| view.ends.get(sid).cloned()).collect();
    match creation.clone().plan(mark, found, count) {
        CreationPlan::Store { record, ended, outcomes } => {
            let pair = |after: Record| view.ends.get(&after.sid).map(|before| (before.clone(), after));
            let mut ended: Vec<_> = ended.into_iter().filter_map(pair).collect();
            ended.retain(|(before, after)| before != after);
            ended.dedup_by_key(|(before, _)| before.sid);
            // While these are unchanged, the subject's sessions can only have grown if the total
            // has.
            let unchanged =
                others.into_iter().filter(|other| ended.iter().all(|(before, _)| before.sid != other.sid));
            let unchanged = unchanged.cloned().collect();
            let most = (creation.cap.is_some() && subject.is_some()).then_some(view.count);
            Decision::Store(Plan { record, outcomes, ended, unchanged, most })
        }
        CreationPlan::Full if view.others.is_empty() => Decision::NameOthers,
        CreationPlan::Full => Decision::ServerReply(CreateOutcome::Full {
            count,
            sessions: counted.into_iter().cloned().collect(),
        }),
        CreationPlan::SignedOutEverywhere => Decision::ServerReply(CreateOutcome::SignedOutEverywhere),
        CreationPlan::TooLarge => Decision::ServerReply(CreateOutcome::TooLarge),
    }
}
