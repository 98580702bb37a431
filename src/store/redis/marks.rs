//! The marks of a place: which sessions were revoked at once (L14).

use redis::Value;
use serde::{Deserialize, Serialize};

use super::{answer::unreadable, value::unique};
use crate::{
    Error, ErrorKind, Timestamp,
    record::{SessionId, SubjectMark},
};

const STAMP: usize = 3;

/// The marks of the subjects of a place: hardly ever more than one.
#[derive(Clone, Default)]
pub(super) struct Marks {
    stamp: u32,
    marks: Vec<Mark>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Mark {
    realm: String,
    subject: String,
    says: SubjectMark,
    keep_until: Timestamp,
}

impl Marks {
    /// Of the field `m`; none when there is no such field.
    pub(super) fn read(field: &Value) -> Result<Self, Error> {
        let Value::BulkString(bytes) = field else { return Ok(Self::default()) };
        let (stamp, marks) = bytes.split_first_chunk::<STAMP>().ok_or_else(unreadable)?;
        let marks = postcard::from_bytes(marks).map_err(|_| unreadable())?;
        let mut all = [0; 4];
        all[1..].copy_from_slice(stamp);
        Ok(Self { stamp: u32::from_be_bytes(all), marks })
    }

    /// As the field `m`, under a new stamp.
    pub(super) fn write(&self) -> Result<Vec<u8>, Error> {
        // Zero is the stamp of no marks.
        let stamp = (unique() >> 40).max(1);
        let [.., a, b, c] = stamp.to_be_bytes();
        let refuse = |_| Error::new(ErrorKind::Store, "a mark can not be packed");
        postcard::to_extend(&self.marks, vec![a, b, c]).map_err(refuse)
    }

    /// Which marks these are; zero when there are none.
    pub(super) const fn stamp(&self) -> u32 {
        self.stamp
    }

    pub(super) fn of(&self, realm: &str, subject: &str) -> Option<&SubjectMark> {
        self.marks.iter().find(|mark| mark.realm == realm && mark.subject == subject).map(|mark| &mark.says)
    }

    /// Until when one of them is needed.
    pub(super) fn needed_until(&self) -> Option<Timestamp> {
        self.marks.iter().map(|mark| mark.keep_until).max()
    }

    /// Revokes all sessions of a subject.
    pub(super) fn revoke(
        &mut self,
        realm: &str,
        subject: &str,
        at: Timestamp,
        except: Option<SessionId>,
        keep_until: Timestamp,
    ) {
        match self.marks.iter_mut().find(|mark| mark.realm == realm && mark.subject == subject) {
            Some(mark) => {
                mark.says = mark.says.revoked(at, except);
                mark.keep_until = mark.keep_until.max(keep_until);
            }
            None => self.marks.push(Mark {
                realm: realm.to_owned(),
                subject: subject.to_owned(),
                says: SubjectMark::default().revoked(at, except),
                keep_until,
            }),
        }
    }
}

/// A stamp as the scripts compare it: empty when there are no marks.
pub(super) fn stamp_bytes(stamp: &[u8; 4]) -> &[u8] {
    if *stamp == [0; 4] { &[] } else { &stamp[1..] }
}
