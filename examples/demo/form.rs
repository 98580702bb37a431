//! Form decoding without guesses: what is no percent-encoded UTF-8 is refused, not mended.

use percent_encoding::percent_decode;

/// The pairs of an `application/x-www-form-urlencoded` text, those with an empty value left out; `None` when it is not
/// well-formed.
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

/// Takes the percent-encoding off; `None` when it is broken or hides something else than UTF-8.
pub(crate) fn decode(text: &[u8]) -> Option<String> {
    let mut escapes = text.split(|byte| *byte == b'%').skip(1);
    let sound =
        escapes.all(|after| after.iter().take(2).filter(|byte| byte.is_ascii_hexdigit()).count() == 2);
    sound.then(|| percent_decode(text).decode_utf8().ok().map(Into::into))?
}
