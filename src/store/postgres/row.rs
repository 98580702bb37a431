//! Records and marks as rows, and back.

use bytes::BytesMut;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio_postgres::{
    Row,
    types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked},
};

use crate::{
    Error, ErrorKind, Timestamp,
    record::{Record, SessionId, SubjectMark, Tag},
    store::packed,
};

type BoxedError = Box<dyn std::error::Error + Sync + Send>;

/// The values of the column `state`.
const LIVE: i16 = 0;
const TOMBSTONE: i16 = 1;
pub(super) const MARKS: i16 = 2;
pub(super) const SWEPT_MARKS: i16 = 3;

/// The key, beside the tag, of the row with the marks.
pub(super) const MARK: [u8; 16] = *b"marks of the tag";

/// An id as the server's `uuid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sid(pub(super) [u8; SessionId::BYTES]);

impl From<SessionId> for Sid {
    fn from(sid: SessionId) -> Self {
        Self(*sid.as_bytes())
    }
}

impl From<Sid> for SessionId {
    fn from(sid: Sid) -> Self {
        Self::from_bytes(sid.0)
    }
}

impl ToSql for Sid {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, BoxedError> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    accepts!(UUID);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Sid {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, BoxedError> {
        Ok(Self(raw.try_into()?))
    }

    accepts!(UUID);
}

/// The tag as a column.
pub(super) fn tag(tag: Tag) -> i64 {
    tag.as_u64().cast_signed()
}

/// A realm as a search key: a hash rather than text, so that the server accepts every name.
pub(super) fn realm(realm: &str) -> i64 {
    first_bytes(Sha256::new().chain_update(realm))
}

/// A subject of a realm as a search key, beside its tag: 112 bits of two digests, one of them
/// keyed.
pub(super) fn owner(realm: &str, subject: &str) -> i64 {
    let length = u64::try_from(realm.len()).unwrap_or(u64::MAX).to_be_bytes();
    first_bytes(Sha256::new().chain_update(length).chain_update(realm).chain_update(subject))
}

fn first_bytes(hash: Sha256) -> i64 {
    let digest = hash.finalize();
    i64::from_be_bytes(std::array::from_fn(|at| digest[at]))
}

/// The owner of a record; `None` for an anonymous one.
pub(super) fn owner_of(record: &Record) -> Option<i64> {
    record.subject.as_deref().map(|subject| owner(&record.realm, subject))
}

/// The version of a write: random, so that no two writes share one, and never 0, which means no
/// row.
pub(super) fn new_version() -> Result<i64, Error> {
    match getrandom::u64() {
        Ok(0) => Ok(1),
        Ok(version) => Ok(version.cast_signed()),
        Err(_) => Err(Error::new(ErrorKind::Random, "the operating system returned no random bytes")),
    }
}

pub(super) fn millis(moment: Timestamp) -> i64 {
    moment.as_unix_millis()
}

pub(super) const fn state(record: &Record) -> i16 {
    if record.ended.is_none() { LIVE } else { TOMBSTONE }
}

/// The marks of the subjects that share a tag: usually of one, if any.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    /// 0 when there are no marks.
    pub(super) version: i64,
    marks: Vec<(i64, SubjectMark)>,
}

#[derive(Serialize, Deserialize)]
struct PackedMarks {
    format: u8,
    marks: Vec<(i64, SubjectMark)>,
}

const MARKS_FORMAT: u8 = 2;

impl Marks {
    pub(super) fn read(version: i64, bytes: &[u8]) -> Result<Self, Error> {
        let packed: PackedMarks = postcard::from_bytes(bytes).map_err(|_| unreadable())?;
        if packed.format != MARKS_FORMAT {
            return Err(unreadable());
        }
        Ok(Self { version, marks: packed.marks })
    }

    pub(super) fn pack(&self) -> Result<Vec<u8>, Error> {
        let packed = PackedMarks { format: MARKS_FORMAT, marks: self.marks.clone() };
        postcard::to_allocvec(&packed).map_err(|_| Error::new(ErrorKind::Store, "a mark cannot be packed"))
    }

    pub(super) fn of(&self, owner: i64) -> Option<&SubjectMark> {
        self.marks.iter().find(|(of, _)| *of == owner).map(|(_, mark)| mark)
    }

    pub(super) fn set(&mut self, owner: i64, mark: SubjectMark) {
        self.marks.retain(|(of, _)| *of != owner);
        self.marks.push((owner, mark));
    }

    /// The record of a row, with its subject's mark applied. Its version combines those of the row
    /// and of the marks, so that one comparison covers both.
    pub(super) fn show(&self, sid: SessionId, version: i64, bytes: &[u8]) -> Result<Record, Error> {
        let mut record = packed::unpack(sid, bytes)?;
        record.version = (version ^ self.version).cast_unsigned();
        if !self.marks.is_empty()
            && let Some(mark) = owner_of(&record).and_then(|owner| self.of(owner))
        {
            record.see_mark(mark);
        }
        Ok(record)
    }
}

/// A record and the marks beside it, from rows of state, version and record.
pub(super) fn read_load(sid: SessionId, rows: &[Row]) -> Result<Option<Record>, Error> {
    let (mut found, mut marks) = (None, Marks::default());
    for row in rows {
        let (version, bytes) = (get(row, 1)?, get::<&[u8]>(row, 2)?);
        if get::<i16>(row, 0)? >= MARKS {
            marks = Marks::read(version, bytes)?;
        } else {
            found = Some((version, bytes));
        }
    }
    found.map(|(version, bytes)| marks.show(sid, version, bytes)).transpose()
}

/// The rows of a tag, from rows of state, version, id and record.
pub(super) fn read_tag<'a>(
    rows: impl Iterator<Item = &'a Row> + Clone,
    from: usize,
) -> Result<(Marks, Vec<Record>), Error> {
    let mut marks = Marks::default();
    for row in rows.clone() {
        if get::<i16>(row, from)? >= MARKS {
            marks = Marks::read(get(row, from + 1)?, get(row, from + 3)?)?;
        }
    }
    let mut records = Vec::new();
    for row in rows {
        if get::<i16>(row, from)? < MARKS {
            let sid: Sid = get(row, from + 2)?;
            records.push(marks.show(sid.into(), get(row, from + 1)?, get(row, from + 3)?)?);
        }
    }
    Ok((marks, records))
}

/// A record with its mark, from a row of both: the record, and the version of its own row.
pub(super) fn read_with_mark(row: &Row) -> Result<(Record, i64), Error> {
    let marks = match get::<Option<&[u8]>>(row, 4)? {
        Some(bytes) => Marks::read(get(row, 3)?, bytes)?,
        None => Marks::default(),
    };
    let (sid, version): (Sid, i64) = (get(row, 0)?, get(row, 1)?);
    Ok((marks.show(sid.into(), version, get(row, 2)?)?, version))
}

pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, Error> {
    row.try_get(column).map_err(|_| unreadable())
}

/// Quotes nothing of what it read (H5).
pub(super) fn unreadable() -> Error {
    Error::new(
        ErrorKind::Store,
        "a row of the PostgreSQL store is not in the format of this version; update this node",
    )
}
