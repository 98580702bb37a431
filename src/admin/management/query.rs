//! The query of a request: the page of a list, and the fields of a response.

use std::collections::BTreeMap;

use base64ct::{Base64UrlUnpadded, Encoding};
use url::form_urlencoded;

use super::response::ApiError;
use crate::{SessionId, Timestamp};

/// The parameters of a query. Unknown ones are ignored, since clients send more than this API has.
pub(super) struct Query(BTreeMap<String, Vec<String>>);

impl Query {
    pub(super) fn read(query: Option<&str>) -> Self {
        let mut parameters = BTreeMap::<_, Vec<_>>::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            parameters.entry(name.into_owned()).or_default().push(value.into_owned());
        }
        Self(parameters)
    }

    pub(super) fn get(&self, name: &str) -> Result<Option<&str>, ApiError> {
        match self.0.get(name).map(Vec::as_slice) {
            None => Ok(None),
            // No name or id contains NUL, and not every store could look one up.
            Some([value]) if value.contains('\0') => Err(ApiError::query("Contains NUL", name)),
            Some([value]) => Ok(Some(value)),
            Some(_) => Err(ApiError::query("Given more than once", name)),
        }
    }

    /// How many sessions to list: 1 to 100, by default 50.
    pub(super) fn take(&self) -> Result<usize, ApiError> {
        let Some(text) = self.get("take")? else { return Ok(50) };
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| is_number && (1..=100).contains(number));
        number.ok_or_else(|| ApiError::query("Expected an integer from 1 to 100", "take"))
    }

    /// The session after which the page starts.
    pub(super) fn from(&self) -> Result<Option<Cursor>, ApiError> {
        let Some(text) = self.get("from")? else { return Ok(None) };
        let cursor = read_cursor(text);
        cursor.map(Some).ok_or_else(|| ApiError::query("Expected the `next` of an earlier page", "from"))
    }

    /// Whether the response includes a field.
    pub(super) fn fields(&self) -> Result<impl Fn(&str) -> bool, ApiError> {
        let includes = match self.get("include_fields")? {
            None | Some("true") => true,
            Some("false") => false,
            Some(_) => return Err(ApiError::query("Expected true or false", "include_fields")),
        };
        let fields: Option<Vec<String>> = self
            .get("fields")?
            .filter(|fields| !fields.is_empty())
            .map(|fields| fields.split(',').map(|field| field.trim().to_owned()).collect());
        Ok(move |name: &str| {
            fields.as_ref().is_none_or(|fields| fields.iter().any(|field| field == name) == includes)
        })
    }
}

/// The position of a session in lists: creation and id, which never change.
pub(super) type Cursor = (Timestamp, SessionId);

const CURSOR: usize = 8 + SessionId::BYTES;

pub(super) fn write_cursor((created_at, sid): Cursor) -> String {
    let bytes = [created_at.as_unix_millis().to_be_bytes().as_slice(), sid.as_bytes()].concat();
    let mut text = [0; CURSOR * 4 / 3];
    Base64UrlUnpadded::encode(&bytes, &mut text).unwrap_or_default().to_owned()
}

fn read_cursor(text: &str) -> Option<Cursor> {
    let mut bytes = [0; CURSOR];
    let read = Base64UrlUnpadded::decode(text, &mut bytes).ok()?;
    let (created_at, sid) = read.split_at_checked(8)?;
    let created_at = i64::from_be_bytes(created_at.try_into().ok()?);
    Some((Timestamp::from_unix_millis(created_at), SessionId::from_bytes(sid.try_into().ok()?)))
}
