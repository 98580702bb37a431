//! Records as rows, and back.

use std::{collections::BTreeMap, time::Duration};

use tokio_postgres::{Row, types::FromSql};

use super::key;
use crate::{
    Error, ErrorKind, Timestamp,
    record::{
        Applied, Data, Edits, Ended, Json, Lifetimes, PreviousSecret, Record, SecretHash, SessionId, Timing,
    },
    store::facts::{self, from_json, to_json},
};

/// Edits as an object of what is set, and a list of what is removed.
pub(super) fn edits(edits: &Edits) -> Result<(String, Vec<String>), Error> {
    let set: BTreeMap<_, _> =
        edits.iter().filter_map(|(name, value)| Some((key::escape(name), value?.as_str()))).collect();
    let removed = edits.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| key::escape(name).into());
    Ok((to_json(&set)?, removed.collect()))
}

/// Data from the text of its column.
pub(super) fn data(text: &str) -> Result<Data, Error> {
    let values: BTreeMap<String, String> = from_json(text)?;
    Ok(values
        .into_iter()
        .map(|(name, value)| (key::unescape(&name).into_owned(), Json::from_text(value)))
        .collect())
}

pub(super) fn read(row: &Row) -> Result<Record, Error> {
    let mut columns = Columns { row, next: 0 };
    let sid = SessionId::from_bytes(columns.bytes()?);
    let secret = SecretHash::from_bytes(columns.bytes()?);
    let previous = (columns.get::<Option<Vec<u8>>>()?, columns.get::<Option<i64>>()?);
    let previous_secret = match previous {
        (Some(hash), Some(until)) => Some(PreviousSecret {
            hash: SecretHash::from_bytes(fixed(hash)?),
            until: Timestamp::from_unix_millis(until),
        }),
        _ => None,
    };
    let timing = columns.timing()?;
    let updated_at = columns.time()?;
    let subject = columns.get::<Option<&str>>()?.map(Into::into);
    let revision = columns.get::<i64>()?.unsigned_abs();
    let data = data(columns.get()?)?;
    let facts = facts::read([columns.get()?, columns.get()?, columns.get()?])?;
    let ended = match (columns.get::<Option<&str>>()?, columns.get::<Option<i64>>()?) {
        (Some(reason), Some(at)) => {
            Some(Ended { reason: reason.parse()?, at: Timestamp::from_unix_millis(at) })
        }
        _ => None,
    };
    Ok(Record {
        sid,
        secret,
        previous_secret,
        timing,
        updated_at,
        subject,
        data,
        revision,
        facts: facts.into(),
        ended,
    })
}

/// What an update answers.
pub(super) struct Answered {
    pub(super) is_applied: bool,
    pub(super) applied: Applied,
    pub(super) end_reason: Option<String>,
}

/// An answer to an update, whether the rotation took place left open.
pub(super) fn read_answer(row: &Row) -> Result<Answered, Error> {
    let mut columns = Columns { row, next: 0 };
    let is_applied = columns.get()?;
    let timing = columns.timing()?;
    let revision = columns.get::<i64>()?.unsigned_abs();
    let secret = SecretHash::from_bytes(columns.bytes()?);
    let end_reason = columns.get()?;
    Ok(Answered { is_applied, applied: Applied { timing, revision, rotated: false, secret }, end_reason })
}

/// The columns of a row, one after the other.
struct Columns<'a> {
    row: &'a Row,
    next: usize,
}

impl<'a> Columns<'a> {
    fn get<T: FromSql<'a>>(&mut self) -> Result<T, Error> {
        self.next += 1;
        self.row.try_get(self.next - 1).map_err(|_| unreadable())
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.get::<&[u8]>()?.try_into().map_err(|_| unreadable())
    }

    fn time(&mut self) -> Result<Timestamp, Error> {
        self.get().map(Timestamp::from_unix_millis)
    }

    fn duration(&mut self) -> Result<Duration, Error> {
        self.get().map(|millis: i64| Duration::from_millis(millis.unsigned_abs()))
    }

    fn timing(&mut self) -> Result<Timing, Error> {
        Ok(Timing {
            mode: self.get::<&str>()?.parse()?,
            created_at: self.time()?,
            authenticated_at: self.get::<Option<i64>>()?.map(Timestamp::from_unix_millis),
            last_interaction_at: self.time()?,
            longest_gap: self.duration()?,
            lifetimes: Lifetimes::new(self.duration()?, self.duration()?)?,
            bound: Lifetimes::new(self.duration()?, self.duration()?)?,
            one_off_idle: self
                .get::<Option<i64>>()?
                .map(|millis| Duration::from_millis(millis.unsigned_abs())),
        })
    }
}

pub(super) fn fixed<const N: usize>(bytes: Vec<u8>) -> Result<[u8; N], Error> {
    bytes.try_into().map_err(|_| unreadable())
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Says nothing of what it read (H5).
pub(super) fn unreadable() -> Error {
    Error::new(ErrorKind::Store, "a session in the PostgreSQL store can not be read")
}
