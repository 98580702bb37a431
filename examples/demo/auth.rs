//! Login, logout, rotation, and who is logged in.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::Bytes,
    extract::{OriginalUri, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use percent_encoding::{CONTROLS, utf8_percent_encode};
use serde::Serialize;
use tower_tenure::{Error, ErrorKind, Mode, Outcome, Session, SessionInfo, is_same_origin_path};

use crate::{app::App, form, reply::Reads, site};

/// A session as `/me` shows it.
#[derive(Serialize)]
pub(crate) struct Me {
    user: Option<Arc<str>>,
    sid: String,
    mode: &'static str,
    created_at: String,
    authenticated_at: Option<String>,
    last_interacted_at: String,
    idle_expires_at: String,
    expires_at: String,
}

impl From<SessionInfo> for Me {
    fn from(info: SessionInfo) -> Self {
        Self {
            user: info.subject,
            sid: info.sid.to_string(),
            mode: info.mode.as_str(),
            created_at: info.created_at.to_string(),
            authenticated_at: info.authenticated_at.map(|at| at.to_string()),
            last_interacted_at: info.last_interaction_at.to_string(),
            idle_expires_at: info.idle_expires_at.to_string(),
            expires_at: info.expires_at.to_string(),
        }
    }
}

pub(crate) async fn me(session: Session) -> Json<Option<Me>> {
    Json(session.info().map(Me::from))
}

pub(crate) async fn recent() -> &'static str {
    "Your sign-in is fresh enough for this.\n"
}

/// A real site would check a password here, or the answer of an identity provider.
pub(crate) async fn login(
    session: Session,
    reads: Reads,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Error> {
    let wanted = match read_form(&headers, body) {
        Ok(wanted) => wanted,
        Err((status, message)) => return Ok(reads.refuse(status, &message)),
    };
    match log_in(&session, &wanted).await {
        Ok(Outcome::Done) => {}
        Ok(Outcome::Refused(refusal)) => {
            return Ok(reads.refuse(StatusCode::FORBIDDEN, &format!("Not signed in: {refusal}.")));
        }
        Err(error) if error.kind() == ErrorKind::InvalidInput => {
            return Ok(reads.refuse(StatusCode::BAD_REQUEST, &format!("Not signed in: {error}.")));
        }
        Err(error) => return Err(error),
    }
    Ok(match reads {
        Reads::Json => me(session).await.into_response(),
        // A header is ASCII.
        Reads::Html | Reads::Text => {
            Redirect::to(&utf8_percent_encode(&wanted.return_to, CONTROLS).to_string()).into_response()
        }
    })
}

/// The fields of the form.
struct Wanted {
    user: String,
    mode: Mode,
    expires_in: Vec<i64>,
    idle_expires_in: Vec<i64>,
    idle_lifetime: Option<Duration>,
    return_to: String,
}

fn read_form(
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Wanted, (StatusCode, String)> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        let message = "Send a form: application/x-www-form-urlencoded.";
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, message.to_owned()));
    }
    let body = body.map_err(|rejection| (rejection.status(), rejection.body_text()))?;
    let wrong = |message: &str| (StatusCode::BAD_REQUEST, message.to_owned());
    let pairs = form::pairs(&body).ok_or_else(|| wrong("The form is not percent-encoded UTF-8."))?;

    let mut user = None;
    let mut wanted = Wanted {
        user: String::new(),
        mode: Mode::NonPersistent,
        expires_in: Vec::new(),
        idle_expires_in: Vec::new(),
        idle_lifetime: None,
        return_to: site::path("/"),
    };
    for (name, value) in pairs {
        let seconds = || {
            let number: Option<i64> = value.trim().parse().ok();
            number.ok_or_else(|| wrong(&format!("`{name}` has to be a whole number of seconds.")))
        };
        match &*name {
            "user" if user.is_some() => return Err(wrong("There can only be one `user`.")),
            "user" => user = Some(value),
            "remember" => wanted.mode = Mode::Persistent,
            "expires_in" => wanted.expires_in.push(seconds()?),
            "idle_expires_in" => wanted.idle_expires_in.push(seconds()?),
            "idle_lifetime" => {
                // A `Duration` cannot be negative; the session itself refuses zero.
                let lifetime = u64::try_from(seconds()?).map(Duration::from_secs);
                wanted.idle_lifetime =
                    Some(lifetime.map_err(|_| wrong("`idle_lifetime` has to be more than zero."))?);
            }
            "return_to" if is_same_origin_path(&value) => wanted.return_to = value,
            _ => {}
        }
    }
    wanted.user = user
        .filter(|user| !user.trim().is_empty())
        .ok_or_else(|| wrong("Who are you? `user` is missing."))?;
    if wanted.user.chars().any(char::is_control) {
        return Err(wrong("A `user` has no control characters."));
    }
    Ok(wanted)
}

async fn log_in(session: &Session, wanted: &Wanted) -> Result<Outcome, Error> {
    let in_seconds = |seconds: &i64| {
        let distance = Duration::from_secs(seconds.unsigned_abs());
        if *seconds < 0 { session.now() - distance } else { session.now() + distance }
    };
    let mut login = session.login(&*wanted.user).with_mode(wanted.mode);
    for deadline in wanted.expires_in.iter().map(in_seconds) {
        login = login.with_expires_at(deadline);
    }
    for deadline in wanted.idle_expires_in.iter().map(in_seconds) {
        login = login.with_idle_expires_at(deadline);
    }
    if let Some(lifetime) = wanted.idle_lifetime {
        login = login.with_idle_lifetime(lifetime);
    }
    match login.await? {
        // Stored now, so that the response can report a refusal by a cap.
        Outcome::Done => session.save().await,
        refused @ Outcome::Refused(_) => Ok(refused),
    }
}

pub(crate) async fn logout(
    session: Session,
    reads: Reads,
    OriginalUri(uri): OriginalUri,
    State(app): State<App>,
) -> Result<Response, Error> {
    session.logout()?;
    // A logout that cannot be stored is answered with 503.
    let _ = session.save().await?;
    Ok(match (app.logout_urls)().redirect_for_query(uri.query()) {
        Ok(target) => Redirect::to(&target.unwrap_or_else(|| site::path("/"))).into_response(),
        Err(refusal) => reads.refuse(StatusCode::BAD_REQUEST, &format!("You are signed out. {refusal}")),
    })
}

pub(crate) async fn rotate(session: Session) -> Result<StatusCode, Error> {
    session.rotate()?;
    Ok(StatusCode::NO_CONTENT)
}
