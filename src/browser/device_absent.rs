//! Replaces the endpoints for devices without their feature: empty types, so that no other module
//! needs a `cfg`.

use bytes::Bytes;
use http::Response;

use super::Call;
use crate::{Error, RequestHead, Session, SessionId};

/// No endpoints.
#[derive(Clone, Debug, Default)]
pub(super) struct DeviceEndpoints(Option<DeviceCall>);

impl DeviceEndpoints {
    pub(super) fn route(&self, _: &str, _: RequestHead<'_>) -> Option<(&'static str, Option<Call>)> {
        self.0.clone().map(|call| ("", Some(Call::Device(call))))
    }
}

#[derive(Clone, Debug)]
pub(crate) enum DeviceCall {}

impl DeviceCall {
    pub(super) fn is_about(&self, _: SessionId) -> bool {
        match *self {}
    }

    pub(super) const fn is_refresh(&self) -> bool {
        match *self {}
    }

    #[expect(clippy::unused_async, reason = "as the one that it replaces")]
    pub(super) async fn respond(self, _: &Session) -> Result<Response<Bytes>, Error> {
        match self {}
    }
}
