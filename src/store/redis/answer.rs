//! Records as the fields of a hash, and what scripts answer.

use std::{collections::BTreeMap, str::FromStr, sync::Arc, time::Duration};

use redis::Value;

use crate::{
    Error, ErrorKind, Timestamp,
    record::{
        Applied, Data, Ended, Ending, Json, Lifetimes, PreviousSecret, Record, SecretHash, SessionId, Timing,
        Updated,
    },
    store::facts,
};

/// The digits of an id, in which order is as that of the ids.
pub(super) fn digits(sid: SessionId) -> String {
    hex(sid.as_bytes())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

fn from_digits(text: &[u8]) -> Result<SessionId, Error> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes: Option<Vec<u8>> =
        text.chunks(2).map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect();
    bytes.and_then(|bytes| bytes.try_into().ok()).map(SessionId::from_bytes).ok_or_else(unreadable)
}

/// The field `t`.
pub(super) fn timing(record: &Record) -> String {
    let timing = &record.timing;
    let optional = |number: Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
    format!(
        "{},{},{},{},{},{},{},{},{},{},{},{}",
        timing.mode,
        timing.created_at.as_unix_millis(),
        optional(timing.authenticated_at.map(Timestamp::as_unix_millis)),
        timing.last_interaction_at.as_unix_millis(),
        millis(timing.longest_gap),
        millis(timing.lifetimes.idle()),
        millis(timing.lifetimes.absolute()),
        millis(timing.bound.idle()),
        millis(timing.bound.absolute()),
        optional(timing.one_off_idle.map(millis)),
        record.updated_at.as_unix_millis(),
        record.revision,
    )
}

/// The field `p`, empty when there is none.
pub(super) fn previous(secret: Option<&PreviousSecret>) -> Vec<u8> {
    secret.map_or_else(Vec::new, |secret| {
        [secret.hash.as_bytes().as_slice(), secret.until.as_unix_millis().to_string().as_bytes()].concat()
    })
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The record of a hash; `None` when the hash is empty.
pub(super) fn record(sid: SessionId, answer: Value) -> Result<Option<Record>, Error> {
    let mut fields = pairs(answer)?;
    let Some(numbers) = fields.remove(b"t".as_slice()) else { return Ok(None) };
    let mut take = |name: &[u8]| fields.remove(name);
    let (timing, updated_at, revision) = read_timing(&text(numbers)?)?;
    let secret = SecretHash::from_bytes(fixed(&take(b"s").unwrap_or_default())?);
    let previous_secret = take(b"p").map(|field| read_previous(&field)).transpose()?;
    let subject = take(b"u").map(text).transpose()?.map(Arc::from);
    let [constant, last, metadata] = [b"f", b"l", b"m"].map(|name| take(name).unwrap_or_default());
    let facts = facts::read([as_text(&constant)?, as_text(&last)?, as_text(&metadata)?])?.into();
    let ended = take(b"e").map(|field| read_ended(&field)).transpose()?;
    let data = fields.into_iter().map(|(name, value)| entry(name.strip_prefix(b"d").unwrap_or(&name), value));
    let data = data.collect::<Result<_, _>>()?;
    Ok(Some(Record {
        sid,
        secret,
        previous_secret,
        timing,
        updated_at,
        subject,
        data,
        revision,
        facts,
        ended,
    }))
}

/// Records of a page.
pub(super) fn records(answer: Value) -> Result<Vec<Record>, Error> {
    let read = |answer: Value| {
        let [sid, fields] = several(answer)?;
        record(from_digits(&bytes(sid)?)?, fields)?.ok_or_else(unreadable)
    };
    array(answer)?.into_iter().map(read).collect()
}

pub(super) fn sids(answer: Value) -> Result<Vec<SessionId>, Error> {
    array(answer)?.into_iter().map(|sid| from_digits(&bytes(sid)?)).collect()
}

/// A login in the queue of its subject.
pub(super) struct Queued {
    pub(super) sid: SessionId,
    pub(super) created_at: Timestamp,
    /// Since it queued up.
    pub(super) age: Duration,
}

pub(super) fn queue(answer: Value) -> Result<Vec<Queued>, Error> {
    let read = |member: Value| {
        let member = text(bytes(member)?)?;
        let mut fields = member.split(',');
        let mut next = || fields.next().ok_or_else(unreadable);
        Ok(Queued {
            sid: from_digits(next()?.as_bytes())?,
            created_at: time(next()?)?,
            age: duration(next()?)?,
        })
    };
    array(answer)?.into_iter().map(read).collect()
}

/// Names and values, one after the other.
pub(super) fn data(answer: Value) -> Result<Data, Error> {
    pairs(answer)?.into_iter().map(|(name, value)| entry(&name, value)).collect()
}

/// An outcome of `finish` in the scripts.
pub(super) fn ending(outcome: Value, reason: Value) -> Result<Ending, Error> {
    Ok(match bytes(outcome)?.as_slice() {
        b"done" => Ending::Done(as_text(&bytes(reason)?)?.parse()?),
        b"already" => Ending::Already(as_text(&bytes(reason)?)?.parse()?),
        b"in_use" => Ending::StillInUse,
        _ => Ending::Unknown,
    })
}

/// What an update answers; `to` is the secret it asked for.
pub(super) fn updated(answer: Value, to: Option<&SecretHash>) -> Result<Updated, Error> {
    let mut answer = array(answer)?.into_iter();
    let mut next = || bytes(answer.next().ok_or_else(unreadable)?);
    Ok(match next()?.as_slice() {
        b"applied" => {
            let (timing, _, revision) = read_timing(&text(next()?)?)?;
            let secret = SecretHash::from_bytes(fixed(&next()?)?);
            let rotated = to.is_some_and(|to| to.matches(&secret));
            Updated::Applied(Applied { timing, revision, rotated, secret })
        }
        b"conflict" => Updated::Conflict,
        _ => {
            let reason = next()?;
            Updated::Gone((!reason.is_empty()).then(|| as_text(&reason)?.parse()).transpose()?)
        }
    })
}

fn read_timing(text: &str) -> Result<(Timing, Timestamp, u64), Error> {
    let mut fields = text.split(',');
    let mut next = || fields.next().ok_or_else(unreadable);
    let timing = Timing {
        mode: next()?.parse()?,
        created_at: time(next()?)?,
        authenticated_at: optional(next()?)?.map(Timestamp::from_unix_millis),
        last_interaction_at: time(next()?)?,
        longest_gap: duration(next()?)?,
        lifetimes: Lifetimes::new(duration(next()?)?, duration(next()?)?)?,
        bound: Lifetimes::new(duration(next()?)?, duration(next()?)?)?,
        one_off_idle: optional(next()?)?.map(Duration::from_millis),
    };
    Ok((timing, time(next()?)?, number(next()?)?))
}

fn read_previous(field: &[u8]) -> Result<PreviousSecret, Error> {
    let (hash, until) = field.split_at_checked(32).ok_or_else(unreadable)?;
    Ok(PreviousSecret { hash: SecretHash::from_bytes(fixed(hash)?), until: time(as_text(until)?)? })
}

fn read_ended(field: &[u8]) -> Result<Ended, Error> {
    let (reason, at) = as_text(field)?.split_once(',').ok_or_else(unreadable)?;
    Ok(Ended { reason: reason.parse()?, at: time(at)? })
}

fn entry(name: &[u8], value: Vec<u8>) -> Result<(Arc<str>, Json), Error> {
    Ok((as_text(name)?.into(), Json::from_text(text(value)?)))
}

fn number<T: FromStr>(text: &str) -> Result<T, Error> {
    text.parse().map_err(|_| unreadable())
}

fn optional<T: FromStr>(text: &str) -> Result<Option<T>, Error> {
    if text.is_empty() { Ok(None) } else { number(text).map(Some) }
}

fn time(text: &str) -> Result<Timestamp, Error> {
    number(text).map(Timestamp::from_unix_millis)
}

fn duration(text: &str) -> Result<Duration, Error> {
    number(text).map(Duration::from_millis)
}

/// An array of just so many.
pub(super) fn several<const N: usize>(answer: Value) -> Result<[Value; N], Error> {
    array(answer)?.try_into().map_err(|_| unreadable())
}

pub(super) fn array(answer: Value) -> Result<Vec<Value>, Error> {
    match answer {
        Value::Array(values) => Ok(values),
        _ => Err(unreadable()),
    }
}

fn pairs(answer: Value) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Error> {
    let mut values = array(answer)?.into_iter();
    let mut pairs = BTreeMap::new();
    while let Some(name) = values.next() {
        pairs.insert(bytes(name)?, bytes(values.next().ok_or_else(unreadable)?)?);
    }
    Ok(pairs)
}

pub(super) fn bytes(answer: Value) -> Result<Vec<u8>, Error> {
    match answer {
        Value::BulkString(bytes) => Ok(bytes),
        _ => Err(unreadable()),
    }
}

pub(super) fn int(answer: &Value) -> Result<usize, Error> {
    match answer {
        Value::Int(number) => usize::try_from(*number).map_err(|_| unreadable()),
        _ => Err(unreadable()),
    }
}

pub(super) fn text(bytes: Vec<u8>) -> Result<String, Error> {
    String::from_utf8(bytes).map_err(|_| unreadable())
}

fn as_text(bytes: &[u8]) -> Result<&str, Error> {
    str::from_utf8(bytes).map_err(|_| unreadable())
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Error> {
    bytes.try_into().map_err(|_| unreadable())
}

/// Says nothing of what it read (H5).
pub(super) fn unreadable() -> Error {
    Error::new(ErrorKind::Store, "a session in the Redis store can not be read")
}
