//! The body of a request: an object, as JSON or as a form.

use http::{HeaderMap, header};
use http_body::Body;
use http_body_util::{BodyExt, Limited};
use serde_json::{Map, Value};
use url::form_urlencoded;

use super::response::ApiError;

/// The maximum size of a body in bytes.
const MAX_BYTES: usize = 64 * 1024;

/// Reads the whole body.
pub(super) async fn object<B>(headers: &HeaderMap, body: B) -> Result<Map<String, Value>, ApiError>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let is_form = is_form(headers)?;
    let declared =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > MAX_BYTES as u64) {
        return Err(ApiError::too_large());
    }
    let bytes = match Limited::new(body, MAX_BYTES).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => return Err(ApiError::too_large()),
        Err(_) => return Err(ApiError::body("The body was cut off", "")),
    };
    if is_form { form(&bytes) } else { json(&bytes) }
}

fn is_form(headers: &HeaderMap) -> Result<bool, ApiError> {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return Ok(false) };
    let kind = kind.to_str().unwrap_or_default();
    match kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "application/json" => Ok(false),
        "application/x-www-form-urlencoded" => Ok(true),
        _ => Err(ApiError::media_type()),
    }
}

fn json(bytes: &[u8]) -> Result<Map<String, Value>, ApiError> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(ApiError::body("Expected type object", "")),
        Err(_) => Err(ApiError::body("The body is not valid JSON", "")),
    }
}

/// `name=1`, `name[key]=value` and `name[]=value`, which is how forms write numbers, objects and
/// arrays. A value of digits only is read as a number.
fn form(bytes: &[u8]) -> Result<Map<String, Value>, ApiError> {
    let mut object = Map::new();
    for (name, value) in form_urlencoded::parse(bytes) {
        let twice = || ApiError::body("Given more than once", &name);
        let bracket = name.strip_suffix(']').and_then(|name| name.split_once('['));
        match bracket {
            Some((name, index)) if index.bytes().all(|byte| byte.is_ascii_digit()) => {
                let list = object.entry(name).or_insert_with(|| Value::Array(Vec::new()));
                list.as_array_mut().ok_or_else(twice)?.push(Value::String(value.into_owned()));
            }
            Some((name, key)) => {
                let fields = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
                let fields = fields.as_object_mut().ok_or_else(twice)?;
                if fields.insert(key.to_owned(), Value::String(value.into_owned())).is_some() {
                    return Err(twice());
                }
            }
            None => {
                let is_whole = value.bytes().all(|byte| byte.is_ascii_digit());
                let number = value.parse::<u64>().ok().filter(|_| is_whole).map(Value::from);
                let value = number.unwrap_or_else(|| Value::String(value.clone().into_owned()));
                if object.insert(name.clone().into_owned(), value).is_some() {
                    return Err(twice());
                }
            }
        }
    }
    Ok(object)
}
