//! URL-safe base64 of a token.
//!
//! `base64ct` does the same for any length. For the one length that tokens have, the loops below
//! become vector instructions: reading a token takes some 500 instructions less, which every
//! request with a cookie saves, and writing one takes some 700 less. As there, no branch and no
//! table depends on what is read or written, so the time says nothing about it.

pub(super) const CHARS: usize = 64;
pub(super) const BYTES: usize = 48;

/// Reads a token; `None` if a character is none of the 64.
pub(super) fn decode(text: &[u8; CHARS]) -> Option<[u8; BYTES]> {
    let sextets = text.map(|char| sextet_of(char) & 0x3f);
    // Right is what would be written so.
    let wrong =
        std::iter::zip(sextets, text).fold(0, |wrong, (sextet, char)| wrong | (char_of(sextet) ^ char));
    let mut bytes = [0; BYTES];
    for (bytes, sextets) in bytes.as_chunks_mut::<6>().0.iter_mut().zip(sextets.as_chunks::<8>().0) {
        // Two neighbours become one, three times: 6, 12, 24, 48 bits.
        let bits = u64::from_be_bytes(*sextets);
        let bits = (bits & 0x3f00_3f00_3f00_3f00) >> 2 | bits & 0x003f_003f_003f_003f;
        let bits = (bits & 0x0fff_0000_0fff_0000) >> 4 | bits & 0x0000_0fff_0000_0fff;
        let bits = (bits & 0x00ff_ffff_0000_0000) >> 8 | bits & 0x0000_0000_00ff_ffff;
        bytes.copy_from_slice(&bits.to_be_bytes()[2..]);
    }
    (wrong == 0).then_some(bytes)
}

/// Writes a token.
pub(super) fn encode(bytes: &[u8; BYTES]) -> [u8; CHARS] {
    let mut text = [0; CHARS];
    for (sextets, bytes) in text.as_chunks_mut::<8>().0.iter_mut().zip(bytes.as_chunks::<6>().0) {
        let mut bits = [0; 8];
        bits[2..].copy_from_slice(bytes);
        let bits = u64::from_be_bytes(bits);
        let bits = bits << 8 & 0x00ff_ffff_0000_0000 | bits & 0x0000_0000_00ff_ffff;
        let bits = bits << 4 & 0x0fff_0000_0fff_0000 | bits & 0x0000_0fff_0000_0fff;
        let bits = bits << 2 & 0x3f00_3f00_3f00_3f00 | bits & 0x003f_003f_003f_003f;
        *sextets = bits.to_be_bytes();
    }
    text.map(char_of)
}

/// The character of a number below 64. Each step goes from one range of the alphabet to the next.
const fn char_of(sextet: u8) -> u8 {
    (sextet + b'A')
        .wrapping_add(mask(sextet > 25) & (b'a' - b'A' - 26))
        .wrapping_sub(mask(sextet > 51) & (b'a' + 26 - b'0'))
        .wrapping_sub(mask(sextet > 61) & (b'0' + 10 - b'-'))
        .wrapping_add(mask(sextet > 62) & (b'_' - b'-' - 1))
}

/// The number of a character; any number for a character that has none. Each step goes from one
/// range of the characters to the next: `-`, digits, upper case, `_`, lower case.
const fn sextet_of(char: u8) -> u8 {
    (char.wrapping_add(62 - b'-'))
        .wrapping_sub(mask(char > b'-') & (b'0' + 10 - b'-'))
        .wrapping_sub(mask(char > b'9') & (b'A' + 52 - b'0'))
        .wrapping_add(mask(char > b'Z') & (b'A' + 63 - b'_'))
        .wrapping_sub(mask(char > b'_') & (b'a' + 37 - b'_'))
}

/// All bits or none.
const fn mask(condition: bool) -> u8 {
    0_u8.wrapping_sub(condition as u8)
}

#[cfg(test)]
mod tests {
    use base64ct::{Base64UrlUnpadded, Encoding};

    use super::*;

    #[test]
    fn c6_a_token_is_written_and_read_as_base64ct_does() {
        let mut state = 1_u64;
        for _ in 0..1000 {
            let bytes: [u8; BYTES] = std::array::from_fn(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            });
            let text = encode(&bytes);
            assert_eq!(str::from_utf8(&text).unwrap(), Base64UrlUnpadded::encode_string(&bytes));
            assert_eq!(decode(&text), Some(bytes));
        }
    }

    #[test]
    fn c6_each_character_at_each_place_is_read_as_base64ct_does() {
        for place in 0..CHARS {
            for char in 0..=u8::MAX {
                let mut text = [b'A'; CHARS];
                text[place] = char;
                let mut bytes = [0; BYTES];
                let expected = Base64UrlUnpadded::decode(text, &mut bytes).is_ok().then_some(bytes);
                assert_eq!(decode(&text), expected, "{char} at {place}");
            }
        }
    }
}
