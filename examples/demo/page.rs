//! The page. It works as plain HTML; its script adds the countdowns.

use std::time::Duration;

use axum::{
    extract::{RawQuery, State},
    http::{StatusCode, header},
    response::{Html, IntoResponse},
};
use tower_tenure::{Key, Mode, Policy, Session, SessionInfo, Timestamp, is_same_origin_path};

use crate::{app::App, form, site};

const SHELL: &str = include_str!("page.html");
const SIGNED_IN: &str = include_str!("signed_in.html");
const SIGNED_OUT: &str = include_str!("signed_out.html");
const MESSAGE: &str = include_str!("message.html");

pub(crate) async fn style() -> impl IntoResponse {
    const STYLE: &str = concat!(include_str!("../../src/web/palette.css"), include_str!("page.css"));
    asset("text/css; charset=utf-8", STYLE)
}

pub(crate) async fn script() -> impl IntoResponse {
    asset("text/javascript; charset=utf-8", include_str!("page.js"))
}

fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], text)
}

pub(crate) async fn home(
    session: Session,
    State(app): State<App>,
    RawQuery(query): RawQuery,
) -> Html<String> {
    let user = session.info().filter(|info| info.subject.is_some());
    let signed_out = signed_out(&session, app.policy.load(), query.as_deref(), user.is_some());
    let (title, content) = match &user {
        Some(info) => ("Signed in", signed_in(info, &session, app.binds) + &signed_out),
        None => ("Sign in", signed_out),
    };
    Html(shell(title, &content))
}

/// A page with one message.
pub(crate) fn message(status: StatusCode, message: &str) -> Html<String> {
    let title = status.canonical_reason().unwrap_or("That did not work");
    Html(shell(title, &fill(MESSAGE, |name| if name == "title" { escape(title) } else { escape(message) })))
}

pub(crate) fn shell(title: &str, content: &str) -> String {
    fill(SHELL, |name| if name == "title" { escape(title) } else { content.to_owned() })
}

fn signed_out(session: &Session, policy: Policy, query: Option<&str>, hidden: bool) -> String {
    let (persistent, other) = (policy.effective(Mode::Persistent), policy.effective(Mode::NonPersistent));
    let pairs = form::pairs(query.unwrap_or_default().as_bytes()).unwrap_or_default();
    let given = |wanted: &str| pairs.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let return_to = given("return_to").filter(|path| is_same_origin_path(path));
    // The redirect to this page removed the cookie, so only its query has the reason. Anyone can
    // write a query, so it only selects one of the page's notes.
    let past = session.past();
    let reason = past.map_or_else(|| given("reason").unwrap_or("none"), |past| past.reason.as_str());
    fill(SIGNED_OUT, |name| match name {
        "hidden" => if hidden { "hidden" } else { "" }.to_owned(),
        "return_to" => return_to.map_or_else(|| site::path("/"), escape),
        "persistent_idle" => words(persistent.idle()),
        "persistent_absolute" => words(persistent.absolute()),
        "other_idle" => words(other.idle()),
        "other_absolute" => words(other.absolute()),
        "past_idle" => past.map_or_else(|| "a time".to_owned(), |past| words(past.idle_lifetime)),
        "of_past_absolute" => {
            past.map(|past| format!(" of {}", words(past.absolute_lifetime))).unwrap_or_default()
        }
        _ => if name.strip_prefix("unless_") == Some(reason) { "" } else { "hidden" }.to_owned(),
    })
}

fn signed_in(info: &SessionInfo, session: &Session, binds: bool) -> String {
    let now = session.now();
    let count = session.get(&Key::<String>::new("counter")).ok().flatten();
    let (idle, absolute) = (info.idle_expires_at, info.expires_at);
    let authenticated_at = info.authenticated_at.unwrap_or(info.created_at);
    fill(SIGNED_IN, |name| match name {
        "user" => escape(info.subject.as_deref().unwrap_or_default()),
        "sid" => info.sid.to_string(),
        "count" => escape(count.as_deref().unwrap_or("0")),
        "remember" => if info.mode == Mode::Persistent { "checked" } else { "" }.to_owned(),
        "unless_persistent" => if info.mode == Mode::Persistent { "" } else { "hidden" }.to_owned(),
        "unless_other" => if info.mode == Mode::Persistent { "hidden" } else { "" }.to_owned(),
        "kept_until" => time(info.deadline()),
        "created" => time(info.created_at),
        "authenticated" => time(authenticated_at),
        "interacted" => time(info.last_interaction_at),
        "unless_binding" => if binds { "" } else { "hidden" }.to_owned(),
        "device" => device(info),
        "idle_at" => time(idle),
        "absolute_at" => time(absolute),
        "idle_left" => words(idle.since(now)),
        "absolute_left" => words(absolute.since(now)),
        "idle_left_s" => idle.since(now).as_secs_f64().to_string(),
        "absolute_left_s" => absolute.since(now).as_secs_f64().to_string(),
        "idle_whole_s" => idle.since(info.last_interaction_at).as_secs_f64().to_string(),
        "absolute_whole_s" => absolute.since(info.created_at).as_secs_f64().to_string(),
        _ => String::new(),
    })
}

/// Whether the session is bound to the device of its browser, as of this request.
fn device(info: &SessionInfo) -> String {
    match (info.bound_at, info.proven_at) {
        (Some(bound), Some(proven)) => {
            format!("Bound {}; it last proved itself {}", time(bound), time(proven))
        }
        (Some(bound), None) => format!("Bound {}, but not proven by this request", time(bound)),
        (None, _) => "Not bound: just after a login, or in a browser that cannot bind it".to_owned(),
    }
}

/// Replaces `{{name}}` by values in one pass, so the content of a value is never replaced. `base`
/// is the prefix of all paths.
pub(crate) fn fill(template: &str, value: impl Fn(&str) -> String) -> String {
    let mut parts = template.split("{{");
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once("}}").unwrap_or((part, ""));
        filled += &if name == "base" { site::path("") } else { value(name) };
        filled += rest;
    }
    filled
}

pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            c => escaped.push(c),
        }
    }
    escaped
}

/// A `<time>` element that the script rewrites in the reader's own zone.
fn time(at: Timestamp) -> String {
    let iso = at.to_string();
    let readable = iso.split('.').next().unwrap_or_default().replace('T', " ");
    format!("<time datetime=\"{iso}\">{readable} UTC</time>")
}

/// A duration in words: its largest unit, and the next one if it is not zero.
pub(crate) fn words(duration: Duration) -> String {
    const UNITS: [(u128, &str); 5] =
        [(86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1000, "second"), (1, "millisecond")];
    let millis = duration.as_millis();
    let first = UNITS.iter().position(|(unit, _)| millis >= *unit).unwrap_or(UNITS.len() - 1);
    let mut rest = millis;
    let said = UNITS.iter().skip(first).take(if first < 3 { 2 } else { 1 }).filter_map(|(unit, name)| {
        let count = rest / unit;
        rest %= unit;
        let plural = if count == 1 { "" } else { "s" };
        (count > 0).then(|| format!("{count} {name}{plural}"))
    });
    let said: Vec<_> = said.collect();
    if said.is_empty() { "no time".to_owned() } else { said.join(" ") }
}
