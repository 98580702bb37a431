//! What a page sees of a session.

use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::RequestState;
use crate::{
    Mode, SessionId, Timestamp,
    record::{AuthenticationMethod, Device, DeviceProof, Facts, Record, Timing},
};

/// What a page needs to show of a session, as one consistent view.
///
/// As JSON it is an object with these fields. `last_interaction_at` is named `last_interacted_at`
/// there, as in the endpoints and the management API. Moments are text. `subject` and
/// `authenticated_at` of an anonymous session are `null`. The facts are fields of the same object,
/// without the metadata, which is the application's own and may not be meant for the user.
///
/// # Example
///
/// ```
/// use axum::{Json, response::IntoResponse};
/// use tower_tenure::Session;
///
/// async fn me(session: Session) -> impl IntoResponse {
///     Json(session.info())
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SessionInfo {
    /// The public id.
    pub sid: SessionId,
    /// The user; absent for an anonymous session.
    pub subject: Option<Arc<str>>,
    /// Whether the cookie survives a restart of the browser.
    pub mode: Mode,
    /// When the session was created.
    pub created_at: Timestamp,
    /// When its user logged in; absent for an anonymous session.
    pub authenticated_at: Option<Timestamp>,
    /// The last interaction: this request, or the last recorded one if this request is passive or
    /// not due to be recorded.
    #[serde(rename = "last_interacted_at")]
    pub last_interaction_at: Timestamp,
    /// When the session expires if there is no further interaction.
    pub idle_expires_at: Timestamp,
    /// When the session expires in any case.
    pub expires_at: Timestamp,
    /// When the session was bound to its device; absent if it is not bound.
    pub bound_at: Option<Timestamp>,
    /// When that device last proved itself, as far as this request shows it.
    pub proven_at: Option<Timestamp>,
    /// Device, clients, authentication methods and metadata.
    #[serde(flatten, serialize_with = "without_metadata")]
    pub facts: Arc<Facts>,
}

fn without_metadata<S: Serializer>(facts: &Arc<Facts>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Shown<'a> {
        device: &'a Device,
        clients: &'a [String],
        authentication: &'a [AuthenticationMethod],
    }
    let Facts { device, clients, authentication, .. } = &**facts;
    Shown { device, clients, authentication }.serialize(serializer)
}

impl SessionInfo {
    fn new(record: &Record, timing: &Timing, device: DeviceProof) -> Self {
        Self {
            sid: record.sid,
            subject: record.subject.clone(),
            mode: timing.mode,
            created_at: timing.created_at,
            authenticated_at: timing.authenticated_at,
            last_interaction_at: timing.last_interaction_at,
            idle_expires_at: timing.idle_expires_at(),
            expires_at: timing.expires_at(),
            bound_at: record.bound_device().map(|device| device.bound_at),
            proven_at: match device {
                DeviceProof::Proven(at) => Some(at),
                DeviceProof::NotBound | DeviceProof::Unproven => None,
            },
            facts: Arc::clone(&record.facts),
        }
    }

    /// The nearer of both deadlines.
    pub fn deadline(&self) -> Timestamp {
        self.idle_expires_at.min(self.expires_at)
    }
}

impl RequestState {
    /// The session as a page sees it: a login of this request is in it already.
    pub(crate) fn info(&self) -> Option<SessionInfo> {
        if let Some(draft) = self.planned_login() {
            return Some(SessionInfo::new(&draft.record, &draft.record.timing, DeviceProof::NotBound));
        }
        let known = self.lasting()?;
        Some(SessionInfo::new(&known.record, &known.next_timing(), known.device))
    }

    /// The record of that session.
    pub(crate) fn record(&self) -> Option<&Record> {
        self.planned_login().map(|draft| &*draft.record).or_else(|| Some(&*self.lasting()?.record))
    }
}
