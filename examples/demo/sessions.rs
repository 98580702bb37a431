//! "Where you are signed in": the user's sessions, and signing out of them. Works without a script.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::RawQuery,
    http::StatusCode,
    response::{Html, IntoResponse, Redirect, Response},
};
use tower_tenure::{Error, Mode, Session, SessionInfo, SessionSummary, Timestamp};

use crate::{
    form,
    page::{escape, fill, shell, words},
    reply::Reads,
    site,
};

const PAGE: &str = include_str!("sessions.html");
const DEVICE: &str = include_str!("device.html");

/// How young the login must be to sign out other devices, as for the endpoints.
pub(crate) const WITHIN: Duration = Duration::from_secs(15 * 60);

/// The list. `RequireSession` is around it.
pub(crate) async fn list(session: Session, RawQuery(query): RawQuery) -> Result<Html<String>, Error> {
    let (Some(info), others) = (session.info(), session.others().await?) else {
        return Ok(Html(String::new()));
    };
    let now = session.now();
    let pairs = form::pairs(query.unwrap_or_default().as_bytes()).unwrap_or_default();
    let given = |wanted: &str| pairs.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    // Anyone can write a query, so it only selects one of the page's notes.
    let done = match given("done") {
        Some("one") => "That device is signed out.",
        Some("all") => "All other devices are signed out.",
        Some("gone") => "That device was signed out before.",
        _ => "",
    };
    let is_old = now >= info.authenticated_at.unwrap_or(info.created_at) + WITHIN;
    let is_asked = given("reason") == Some("step_up");
    let page = render(&info, &others, now, done, is_old || is_asked);
    Ok(Html(shell("Where you are signed in", &page)))
}

fn render(
    info: &SessionInfo,
    others: &[SessionSummary],
    now: Timestamp,
    done: &str,
    confirms: bool,
) -> String {
    let unless = |shown: bool| if shown { "" } else { "hidden" }.to_owned();
    let count = match others.len() {
        1 => "One other device".to_owned(),
        several => format!("{several} other devices"),
    };
    fill(PAGE, |name| match name {
        "user" => escape(info.subject.as_deref().unwrap_or_default()),
        "remember" => if info.mode == Mode::Persistent { "checked" } else { "" }.to_owned(),
        "device" => escape(&info.facts.device.description()),
        "signed_in" => ago(info.authenticated_at.unwrap_or(info.created_at), now),
        "others" => others.iter().map(|other| device(other, now)).collect(),
        "within" => words(WITHIN),
        "done" => done.to_owned(),
        "count" => count.clone(),
        "unless_done" => unless(!done.is_empty()),
        "unless_old" => unless(confirms),
        "unless_some" => unless(!others.is_empty()),
        _ => unless(others.is_empty()),
    })
}

fn device(other: &SessionSummary, now: Timestamp) -> String {
    let authenticated_at = other.authenticated_at.unwrap_or(other.created_at);
    fill(DEVICE, |name| match name {
        "device" => escape(&other.device),
        "sid" => other.sid.to_string(),
        "interacted" => ago(other.last_interaction_at, now),
        "signed_in" => ago(authenticated_at, now),
        "signed_in_words" => ago_words(authenticated_at, now),
        _ => if other.bound { "" } else { "hidden" }.to_owned(),
    })
}

fn ago(at: Timestamp, now: Timestamp) -> String {
    format!("<time datetime=\"{at}\">{}</time>", ago_words(at, now))
}

/// "5 minutes ago": right in every time zone, without a script.
fn ago_words(at: Timestamp, now: Timestamp) -> String {
    const MINUTE: u64 = 60;
    let seconds = now.since(at).as_secs();
    let unit = [24 * 60 * MINUTE, 60 * MINUTE, MINUTE].into_iter().find(|unit| seconds >= *unit);
    unit.map_or_else(
        || "just now".to_owned(),
        |unit| format!("{} ago", words(Duration::from_secs(seconds / unit * unit))),
    )
}

/// Signs out of one other session, or of all. `RequireSession` is around it, and asks for a recent
/// login.
pub(crate) async fn end(session: Session, reads: Reads, body: Bytes) -> Result<Response, Error> {
    let pairs = form::pairs(&body).unwrap_or_default();
    let done = match pairs.first().map(|(name, value)| (name.as_str(), value.parse())) {
        Some(("all", _)) => {
            session.sign_out_others().await?;
            "all"
        }
        Some(("sid", Ok(sid))) => {
            if session.sign_out_one(sid).await? {
                "one"
            } else {
                "gone"
            }
        }
        _ => return Ok(reads.refuse(StatusCode::BAD_REQUEST, "Send `sid`, or `all`.")),
    };
    Ok(Redirect::to(&site::path(&format!("/sessions?done={done}"))).into_response())
}
