//! The operations of the contract. Each runs in one transaction.

use std::{collections::BTreeMap, ops::ControlFlow};

use rusqlite::params;

use super::{
    database::Database,
    marks, places,
    slot::{self, Slot},
};
use crate::{
    Error, Timestamp,
    record::{Change, EndOutcome, EndRequest, Record, SessionId, UpdateOutcome},
    store::{CreateOutcome, Creation, CreationPlan, Page, Revocation},
};

pub(super) fn create(database: &Database, creation: Creation) -> Result<CreateOutcome, Error> {
    let sid = creation.record.sid;
    if places::exists(database, sid)? {
        return Ok(CreateOutcome::Exists);
    }
    let subject = creation.record.subject.as_deref();
    let mark = subject.map(|subject| marks::find(database, sid.tag(), &creation.record.realm, subject));
    let mark = mark.transpose()?.flatten();
    let slots = creation.ends.iter().map(|(sid, _)| Slot::find(database, *sid));
    let slots = slots.collect::<Result<Vec<_>, _>>()?;
    let ends = slots.iter().map(|slot| slot.as_ref().map(|slot| slot.record.clone())).collect();
    // Subjects rarely share a tag, so the number of index entries is usually the number that
    // counts.
    let bound = bound(database, &creation)?;
    let again = (!creation.fits(bound)).then(|| (creation.clone(), Vec::clone(&ends)));
    let mut plan = creation.plan(mark.as_ref(), ends, bound);
    let mut counted = (bound, Vec::new());
    if let (CreationPlan::Full, Some((creation, ends))) = (&plan, again) {
        counted = count(database, &creation)?;
        plan = creation.plan(mark.as_ref(), ends, counted.0);
    }
    match plan {
        CreationPlan::Store { record, ended, outcomes } => {
            // By id, so that a session that is named twice is written once.
            let ended =
                slots.into_iter().flatten().zip(ended).map(|(slot, record)| (record.sid, (slot, record)));
            for (_, (mut slot, record)) in ended.collect::<BTreeMap<_, _>>() {
                slot.record = record;
                slot.save(database)?;
            }
            slot::insert(database, &record)?;
            Ok(CreateOutcome::Created { record, ended: outcomes })
        }
        CreationPlan::Full => Ok(CreateOutcome::Full { count: counted.0, sessions: counted.1 }),
        CreationPlan::SignedOutEverywhere => Ok(CreateOutcome::SignedOutEverywhere),
        CreationPlan::TooLarge => Ok(CreateOutcome::TooLarge),
    }
}

/// How many sessions with the tag have not ended, up to what the cap needs to know. Reads the index
/// only.
fn bound(database: &Database, creation: &Creation) -> Result<usize, Error> {
    let Some(cap) = creation.cap else { return Ok(0) };
    let most = usize::try_from(cap.get()).unwrap_or(usize::MAX);
    places::count(database, creation.record.sid.tag(), most.saturating_add(creation.ends.len()))
}

/// How many sessions count under the cap, and those sessions.
fn count(database: &Database, creation: &Creation) -> Result<(usize, Vec<Record>), Error> {
    let tag = creation.record.sid.tag();
    let (mut seen, mut found) = (0, Vec::new());
    places::visit(database, tag, None, |record| {
        let mut record = record?;
        seen += 1;
        if creation.counts(&record) {
            marks::see(database, &mut record)?;
            found.push(record);
        }
        let is_full = found.len() == CreateOutcome::MAX_CANDIDATES;
        Ok(if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    // Beyond the maximum, sessions are only counted, assuming that none is of another subject.
    let is_full = found.len() == CreateOutcome::MAX_CANDIDATES;
    let others = if is_full { places::count(database, tag, usize::MAX)? - seen } else { 0 };
    Ok((found.len() + others, found))
}

pub(super) fn load(database: &Database, sid: SessionId) -> Result<Option<Box<Record>>, Error> {
    Ok(Slot::find(database, sid)?.map(|slot| Box::new(slot.record)))
}

pub(super) fn update(database: &Database, sid: SessionId, change: &Change) -> Result<UpdateOutcome, Error> {
    let Some(mut slot) = Slot::find(database, sid)? else { return Ok(UpdateOutcome::Gone(None)) };
    let outcome = change.apply(&mut slot.record);
    if matches!(outcome, UpdateOutcome::Applied(_)) {
        slot.save(database)?;
    }
    Ok(outcome)
}

pub(super) fn end(database: &Database, sid: SessionId, request: &EndRequest) -> Result<EndOutcome, Error> {
    let Some(mut slot) = Slot::find(database, sid)? else { return Ok(EndOutcome::Unknown) };
    let outcome = slot.record.end(request);
    slot.save(database)?;
    Ok(outcome)
}

pub(super) fn revoke(database: &Database, revocation: &Revocation) -> Result<(), Error> {
    if let Some((tag, subject)) = &revocation.subject {
        return marks::revoke(database, revocation, *tag, subject);
    }
    let upsert = "INSERT INTO realms (name, not_before) VALUES (?1, ?2) ON CONFLICT (name) \
        DO UPDATE SET not_before = max(coalesce(not_before, excluded.not_before), excluded.not_before)";
    database.run(upsert, params![revocation.realm.as_bytes(), revocation.at.as_unix_millis()]).map(drop)
}

pub(super) fn not_before(database: &Database, realm: &str) -> Result<Option<Timestamp>, Error> {
    let select = "SELECT max(not_before) FROM realms WHERE name = ?1";
    let mut select = database.prepare_cached(select).map_err(Error::store)?;
    let moment = select.query_row([realm.as_bytes()], |row| row.get::<_, Option<i64>>(0));
    Ok(moment.map_err(Error::store)?.map(Timestamp::from_unix_millis))
}

pub(super) fn list(database: &Database, page: &Page) -> Result<Vec<Record>, Error> {
    let mut found = Vec::new();
    let mut take = |mut record: Record| -> Result<ControlFlow<()>, Error> {
        marks::see(database, &mut record)?;
        found.push(record);
        Ok(if found.len() < page.limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    };
    match &page.subject {
        _ if page.limit == 0 => {}
        Some((tag, subject)) => places::visit(database, *tag, page.after, |record| {
            let record = record?;
            // Subjects can share a tag by chance, so compare them whole.
            let is_theirs = record.subject.as_ref() == Some(subject) && record.realm == page.realm;
            if is_theirs { take(record) } else { Ok(ControlFlow::Continue(())) }
        })?,
        None => list_realm(database, page, take)?,
    }
    Ok(found)
}

fn list_realm(
    database: &Database,
    page: &Page,
    mut take: impl FnMut(Record) -> Result<ControlFlow<()>, Error>,
) -> Result<(), Error> {
    let Some(realm) = database.realm(&page.realm)? else { return Ok(()) };
    let select = format!(
        "SELECT {} FROM sessions WHERE realm = ?1 AND (created_at, sid) > (?2, ?3) ORDER BY created_at, sid",
        slot::COLUMNS
    );
    let (created_at, sid): (_, &[u8]) = match &page.after {
        Some((created_at, sid)) => (created_at.as_unix_millis(), sid.as_bytes()),
        None => (i64::MIN, &[]),
    };
    let mut select = database.prepare_cached(&select).map_err(Error::store)?;
    let mut rows = select.query(params![realm, created_at, sid]).map_err(Error::store)?;
    while let Some(row) = rows.next().map_err(Error::store)? {
        if take(slot::read(row)?)?.is_break() {
            break;
        }
    }
    Ok(())
}
