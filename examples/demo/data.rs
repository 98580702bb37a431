//! Values of the session. All are text, so that any route can read what another wrote.

use std::time::Duration;

use axum::{
    extract::{FromRequestParts, RawQuery},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use tower_tenure::{Error, Key, Session};

use crate::{form, reply::Reads};

/// The maximum length of a key in bytes.
const LONGEST_KEY: usize = 256;

/// The maximum time that `/slow` sleeps.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

fn key(name: String) -> Option<Key<String>> {
    let fits = !name.is_empty() && name.len() <= LONGEST_KEY && !name.chars().any(char::is_control);
    fits.then(|| Key::named(name))
}

fn bad_key(reads: Reads) -> Response {
    reads.refuse(StatusCode::BAD_REQUEST, "A key is 1 to 256 bytes of percent-encoded text.")
}

/// The key in the last segment of the path.
pub(crate) struct KeyInPath(Key<String>);

impl<S: Sync> FromRequestParts<S> for KeyInPath {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let segment = parts.uri.path().rsplit('/').next().unwrap_or_default();
        let key = form::decode(segment.as_bytes()).and_then(key);
        key.map(Self).ok_or_else(|| bad_key(Reads::of(&parts.headers)))
    }
}

pub(crate) async fn read(
    session: Session,
    reads: Reads,
    KeyInPath(key): KeyInPath,
) -> Result<Response, Error> {
    Ok(match session.get(&key)? {
        Some(text) => text.into_response(),
        None => reads.refuse(StatusCode::NOT_FOUND, "There is no value under this key."),
    })
}

pub(crate) async fn write(
    session: Session,
    KeyInPath(key): KeyInPath,
    text: String,
) -> Result<StatusCode, Error> {
    session.insert(&key, &text)?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn remove(session: Session, KeyInPath(key): KeyInPath) -> Result<StatusCode, Error> {
    session.remove(&key)?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn add(
    session: Session,
    reads: Reads,
    KeyInPath(key): KeyInPath,
) -> Result<Response, Error> {
    let mut added = true;
    let update = session.update(&key, |text: Option<String>| {
        let text = text.unwrap_or_else(|| "0".to_owned());
        let sum = text.trim().parse().ok().and_then(|number: i64| number.checked_add(1));
        added = sum.is_some();
        sum.map_or(text, |sum| sum.to_string())
    });
    let text = update.await?;
    Ok(if added {
        text.into_response()
    } else {
        reads.refuse(StatusCode::CONFLICT, "The value under this key is no number that one can be added to.")
    })
}

pub(crate) async fn slow(
    session: Session,
    reads: Reads,
    RawQuery(query): RawQuery,
) -> Result<Response, Error> {
    let pairs = form::pairs(query.unwrap_or_default().as_bytes()).unwrap_or_default();
    let wanted = |wanted: &str| pairs.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
    let Some(millis) = wanted("ms").and_then(|millis| millis.parse().ok()) else {
        return Ok(reads.refuse(StatusCode::BAD_REQUEST, "`ms` has to be a whole number of milliseconds."));
    };
    let Some(key) = wanted("key").and_then(key) else { return Ok(bad_key(reads)) };
    tokio::time::sleep(Duration::from_millis(millis).min(LONGEST_SLEEP)).await;
    session.insert(&key, &"slow".to_owned())?;
    Ok("slow".into_response())
}

/// Writes, then fails: the write is dropped.
pub(crate) async fn fail(session: Session) -> Result<Response, Error> {
    session.insert(&Key::new("fail"), &"x".to_owned())?;
    Ok((StatusCode::INTERNAL_SERVER_ERROR, "This fails on purpose.\n").into_response())
}
