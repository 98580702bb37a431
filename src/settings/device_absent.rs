//! Replaces device binding without its feature: empty types, so that no other module needs a `cfg`.

use http::HeaderMap;

use crate::{
    Error, SessionId, Timestamp,
    binding::DeviceCheck,
    cookie::SessionCookie,
    record::{Binding, Record},
};

#[derive(Clone, Debug)]
pub(crate) enum DeviceConfig {}

#[derive(Clone, Debug)]
pub(crate) struct DeviceVisit {
    pub(crate) check: DeviceCheck,
}

impl DeviceVisit {
    pub(crate) fn has_bound_cookie(&self) -> bool {
        match self.check {}
    }

    pub(crate) fn skipped(&self, _: SessionId) -> Option<&'static str> {
        match self.check {}
    }
}

pub(crate) fn new_binding(config: &DeviceConfig) -> Result<Binding, Error> {
    match *config {}
}

impl DeviceConfig {
    pub(crate) fn set_cookie(&mut self, _: &SessionCookie) {
        match *self {}
    }

    pub(crate) fn visit(&self, _: &HeaderMap) -> DeviceVisit {
        match *self {}
    }

    pub(crate) fn offer(&self, _: &mut HeaderMap, _: &Record, _: Timestamp) {
        match *self {}
    }

    pub(crate) fn remove(&self, _: &mut HeaderMap) {
        match *self {}
    }
}
