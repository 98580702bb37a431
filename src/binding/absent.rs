//! Replaces device binding without its feature: empty types, so that no other module needs a `cfg`.

use crate::{
    Timestamp,
    record::{DeviceProof, Record},
};

#[derive(Clone, Debug)]
pub(crate) enum DeviceCheck {}

impl DeviceCheck {
    pub(crate) fn judge(&self, _: &Record, _: Timestamp) -> DeviceProof {
        match *self {}
    }

    pub(crate) fn is_enforced(&self) -> bool {
        match *self {}
    }

    pub(crate) fn refuses(&self, _: DeviceProof) -> bool {
        match *self {}
    }
}
