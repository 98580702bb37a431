//! Strict form decoding: refuses what is not percent-encoded UTF-8.

use percent_encoding::percent_decode;

/// The pairs of an `application/x-www-form-urlencoded` text, without those with an empty value;
/// `None` when it is malformed.
pub(crate) fn pairs(text: &[u8]) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    for pair in text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        let end = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let spaced =
            |part: &[u8]| part.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect::<Vec<_>>();
        let name = decode(&spaced(&pair[..end]))?;
        let value = decode(&spaced(pair.get(end + 1..).unwrap_or_default()))?;
        if !value.is_empty() {
            pairs.push((name, value));
        }
    }
    Some(pairs)
}

/// Decodes the percent-encoding; `None` when it is malformed or not UTF-8.
pub(crate) fn decode(text: &[u8]) -> Option<String> {
    let mut escapes = text.split(|byte| *byte == b'%').skip(1);
    let sound =
        escapes.all(|after| after.iter().take(2).filter(|byte| byte.is_ascii_hexdigit()).count() == 2);
    sound.then(|| percent_decode(text).decode_utf8().ok().map(Into::into))?
}
