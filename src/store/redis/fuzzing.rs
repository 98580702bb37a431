//! What is true of any bytes that Redis gives back.

use super::{
    marks::Marks,
    squeeze::{squeeze, unsqueeze},
    value::{Version, decode, encode},
};
use crate::SessionId;

/// A value of a session's field is a record, which comes back as it is, or an error.
pub(in crate::store) fn value(bytes: &[u8]) {
    let (sid, marks) = (SessionId::from_bytes([7; 16]), Marks::default());
    if let Ok(record) = decode(sid, bytes, &marks) {
        let again = encode(&record, Version::of(&record)).expect("what was read can be written");
        assert_eq!(decode(sid, &again, &marks).expect("it is a record"), record);
    }
    // The field beside it.
    let _ = Marks::read(&redis::Value::BulkString(bytes.to_vec()));
}

/// Any bytes are squeezed and come back, and no bytes swell without bounds when they are not
/// squeezed ones.
pub(in crate::store) fn squeezed(bytes: &[u8]) {
    // A packed record never begins with the mark of squeezed bytes.
    let packed = [&[2], bytes].concat();
    let (mut small, mut back) = (Vec::new(), Vec::new());
    squeeze(&packed, &mut small);
    unsqueeze(&small, &mut back).expect("it was squeezed");
    assert_eq!(back, packed);
    assert!(small.len() <= packed.len());
    let mut out = Vec::new();
    let _ = unsqueeze(&[b"Z", bytes].concat(), &mut out);
    assert!(out.len() <= 131 * bytes.len());
}
