//! A user's own sessions: "where you are signed in" (P1).

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use serde::Serialize;

use super::{is_read, json};
use crate::{
    Error, RequireSession, Session, SessionId, SessionSummary, policy::Activity, require, web::Problem,
};

/// A request about the user's own sessions.
#[derive(Debug)]
pub(crate) enum OwnCall {
    List,
    /// End one session; `None` for an id that no session can have.
    End {
        sid: Option<SessionId>,
        within: Duration,
    },
    EndOthers {
        within: Duration,
    },
}

impl OwnCall {
    /// The methods that this path allows, and the call if the method is one of them. `rest` is what
    /// follows `sessions`; `None` for a path that is not about sessions.
    pub(super) fn route(
        rest: &str,
        method: &Method,
        within: Duration,
    ) -> Option<(&'static str, Option<Self>)> {
        let ends = method == Method::DELETE;
        if rest.is_empty() {
            let ending = || ends.then_some(Self::EndOthers { within });
            return Some(("GET, HEAD, DELETE", is_read(method).then_some(Self::List).or_else(ending)));
        }
        let sid = rest.strip_prefix('/')?.parse().ok();
        Some(("DELETE", ends.then_some(Self::End { sid, within })))
    }

    pub(super) const fn activity(&self) -> Activity {
        match self {
            Self::List => Activity::Passive,
            Self::End { .. } | Self::EndOthers { .. } => Activity::Interaction,
        }
    }

    pub(super) async fn respond(self, session: &Session) -> Result<Response<Bytes>, Error> {
        let ends_current = matches!(self, Self::End { sid, .. } if sid.is_some() && sid == session.sid());
        let require = match self {
            Self::End { within, .. } | Self::EndOthers { within } if !ends_current => {
                RequireSession::new().with_authentication_within(within)
            }
            _ => RequireSession::new(),
        };
        let response = match require::refuse(session, &require) {
            Some(refusal) => refusal,
            None => self.perform(session).await?,
        };
        session.conclude().await?;
        Ok(response)
    }

    async fn perform(self, session: &Session) -> Result<Response<Bytes>, Error> {
        let was_theirs = match self {
            Self::List => {
                let sessions = session.own().await?;
                return Ok(json(&Body { sessions: sessions.iter().map(Item::from).collect() }));
            }
            Self::End { sid: Some(sid), .. } => session.sign_out_one(sid).await?,
            Self::End { sid: None, .. } => false,
            Self::EndOthers { .. } => session.sign_out_others().await.map(|()| true)?,
        };
        if !was_theirs {
            let detail = "You have no live session with this id.";
            return Ok(Problem::new(StatusCode::NOT_FOUND, "No such session")
                .with_detail(detail)
                .into_response());
        }
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::NO_CONTENT;
        Ok(response)
    }
}

#[derive(Serialize)]
struct Body<'a> {
    sessions: Vec<Item<'a>>,
}

/// The part of a summary that the contract names.
#[derive(Serialize)]
struct Item<'a> {
    sid: String,
    current: bool,
    device: &'a str,
    bound: bool,
    authenticated_at: Option<String>,
    last_interacted_at: String,
}

impl<'a> From<&'a SessionSummary> for Item<'a> {
    fn from(summary: &'a SessionSummary) -> Self {
        Self {
            sid: summary.sid.to_string(),
            current: summary.current,
            device: &summary.device,
            bound: summary.bound,
            authenticated_at: summary.authenticated_at.map(|moment| moment.to_string()),
            last_interacted_at: summary.last_interaction_at.to_string(),
        }
    }
}
