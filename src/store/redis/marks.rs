//! The marks of a place, as its field `m` holds them: which sessions were revoked at once (L14).

use redis::Value;

use super::{answer::unreadable, value::unique};
use crate::{Error, ErrorKind, store::marks};

const STAMP: usize = 3;

/// The marks of the subjects of a place, and which ones these are.
#[derive(Clone, Default)]
pub(super) struct Marks {
    stamp: u32,
    pub(super) all: marks::Marks,
}

impl Marks {
    /// Of the field `m`; none when there is no such field.
    pub(super) fn read(field: &Value) -> Result<Self, Error> {
        let Value::BulkString(bytes) = field else { return Ok(Self::default()) };
        let (stamp, marks) = bytes.split_first_chunk::<STAMP>().ok_or_else(unreadable)?;
        let all = postcard::from_bytes(marks).map_err(|_| unreadable())?;
        let mut four = [0; 4];
        four[1..].copy_from_slice(stamp);
        Ok(Self { stamp: u32::from_be_bytes(four), all })
    }

    /// As the field `m`, under a new stamp.
    pub(super) fn write(&self) -> Result<Vec<u8>, Error> {
        // Zero is the stamp of no marks.
        let stamp = (unique() >> 40).max(1);
        let [.., a, b, c] = stamp.to_be_bytes();
        let refuse = |_| Error::new(ErrorKind::Store, "a mark can not be packed");
        postcard::to_extend(&self.all, vec![a, b, c]).map_err(refuse)
    }

    /// Which marks these are; zero when there are none.
    pub(super) const fn stamp(&self) -> u32 {
        self.stamp
    }
}

/// A stamp as the scripts compare it: empty when there are no marks.
pub(super) fn stamp_bytes(stamp: &[u8; 4]) -> &[u8] {
    if *stamp == [0; 4] { &[] } else { &stamp[1..] }
}
