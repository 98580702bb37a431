//! The status of a session, as JSON.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use serde::Serialize;

use super::json;
use crate::{EndReason, Session};

pub(super) fn status(session: &Session) -> Response<Bytes> {
    let now = session.now();
    let info = session.info();
    let live = info.as_ref().map(|info| LiveStatus {
        authenticated: info.subject.is_some(),
        mode: info.mode.as_str(),
        idle_expires_at: info.idle_expires_at.to_string(),
        expires_at: info.expires_at.to_string(),
        seconds_left: seconds(info.deadline().since(now)),
        idle_lifetime: seconds(info.idle_expires_at.since(info.last_interaction_at)),
    });
    let absent = if session.device().is_missing() { "unproven" } else { "none" };
    let reason = info.is_none().then(|| session.end_reason().map_or(absent, EndReason::as_str));
    let status = Status { live: live.is_some(), reason, now: now.to_string(), session: live };
    json(&status)
}

#[derive(Serialize)]
struct Status {
    live: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    now: String,
    #[serde(flatten)]
    session: Option<LiveStatus>,
}

#[derive(Serialize)]
struct LiveStatus {
    authenticated: bool,
    mode: &'static str,
    idle_expires_at: String,
    expires_at: String,
    seconds_left: f64,
    idle_lifetime: f64,
}

/// Rounded to milliseconds.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}
