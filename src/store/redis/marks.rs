//! The marks of a place, in its field `m`: which sessions were revoked at once (L14).

use redis::Value;

use super::{reply::unreadable, value::unique};
use crate::{Error, ErrorKind, store::marks};

const STAMP: usize = 3;

/// The marks of a place, with their stamp.
#[derive(Clone, Default)]
pub(super) struct Marks {
    stamp: u32,
    pub(super) all: marks::Marks,
}

impl Marks {
    /// Reads the field `m`; no marks without it.
    pub(super) fn read(field: &Value) -> Result<Self, Error> {
        let Value::BulkString(bytes) = field else { return Ok(Self::default()) };
        let (stamp, marks) = bytes.split_first_chunk::<STAMP>().ok_or_else(unreadable)?;
        let all = postcard::from_bytes(marks).map_err(|_| unreadable())?;
        let mut four = [0; 4];
        four[1..].copy_from_slice(stamp);
        Ok(Self { stamp: u32::from_be_bytes(four), all })
    }

    /// Writes the field `m`, with a new stamp.
    pub(super) fn write(&self) -> Result<Vec<u8>, Error> {
        // Zero is the stamp without marks.
        let stamp = (unique() >> 40).max(1);
        let [.., a, b, c] = stamp.to_be_bytes();
        let refuse = |_| Error::new(ErrorKind::Store, "a mark cannot be packed");
        postcard::to_extend(&self.all, vec![a, b, c]).map_err(refuse)
    }

    /// The stamp, which changes with each write; zero without marks.
    pub(super) const fn stamp(&self) -> u32 {
        self.stamp
    }
}

/// A stamp as the scripts compare it: empty when there are no marks.
pub(super) fn stamp_bytes(stamp: &[u8; 4]) -> &[u8] {
    if *stamp == [0; 4] { &[] } else { &stamp[1..] }
}
