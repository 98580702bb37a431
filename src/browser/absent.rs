//! Replaces the endpoints without the feature `browser`: empty types, so that no other module needs
//! a `cfg`.

use bytes::Bytes;
use http::Response;

use crate::{Error, RequestHead, Session, SessionId, policy::Activity};

#[derive(Clone, Debug)]
pub(crate) enum Endpoints {}

impl Endpoints {
    pub(crate) fn file(&self, _: RequestHead<'_>) -> Option<Response<Bytes>> {
        match *self {}
    }

    pub(crate) fn route(&self, _: RequestHead<'_>) -> Option<Call> {
        match *self {}
    }
}

#[derive(Debug)]
pub(crate) enum Call {}

impl Call {
    pub(crate) fn activity(&self) -> Activity {
        match *self {}
    }

    pub(crate) fn proves_device(&self) -> bool {
        match *self {}
    }

    pub(crate) fn is_about(&self, _: SessionId) -> bool {
        match *self {}
    }

    pub(crate) fn leaves_cookie(&self) -> bool {
        match *self {}
    }

    pub(crate) fn touch_must_succeed(&self) -> bool {
        match *self {}
    }

    #[expect(clippy::unused_async, reason = "as the one that it replaces")]
    pub(crate) async fn respond(self, _: &Session) -> Result<Response<Bytes>, Error> {
        match self {}
    }
}
