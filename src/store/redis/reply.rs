//! Converts replies of the server to the expected types.

use redis::Value;

use crate::{Error, ErrorKind};

/// An array.
pub(super) fn array(answer: Value) -> Result<Vec<Value>, Error> {
    match answer {
        Value::Array(values) => Ok(values),
        _ => Err(unreadable()),
    }
}

/// An array of this length.
pub(super) fn several<const N: usize>(answer: Value) -> Result<[Value; N], Error> {
    array(answer)?.try_into().map_err(|_| unreadable())
}

pub(super) fn bytes(answer: Value) -> Result<Vec<u8>, Error> {
    match answer {
        Value::BulkString(bytes) => Ok(bytes),
        _ => Err(unreadable()),
    }
}

pub(super) fn number(answer: &Value) -> Result<i64, Error> {
    match answer {
        Value::Int(number) => Ok(*number),
        Value::BulkString(text) => {
            str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or_else(unreadable)
        }
        _ => Err(unreadable()),
    }
}

/// Quotes nothing of what it read (H5).
pub(super) fn unreadable() -> Error {
    Error::new(
        ErrorKind::Store,
        "a value in the Redis store is not in the format of this version; update this node",
    )
}
