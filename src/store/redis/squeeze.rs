//! Compresses packed records, since every byte in Redis is memory.
//!
//! A small LZ77 (Ziv and Lempel 1977) with a dictionary of what most records have: the usual user
//! agents. It halves a record of a few hundred bytes, mostly a repeated user agent and equal
//! moments, in about a microsecond.
//!
//! Squeezed bytes are [`MARK`] and then runs. A byte below 128 is the number of literal bytes that
//! follow, less one. Another byte is the length of a repetition, less [`SHORTEST`] and plus 128;
//! the next two say how far back it is, in the output or in the dictionary before it.

use std::sync::OnceLock;

/// The first byte of squeezed data. A packed record begins with its format, which differs.
const MARK: u8 = b'Z';

/// The shortest repetition that saves anything.
const SHORTEST: usize = 4;
const LONGEST: usize = SHORTEST + 127;

/// A longer record is mostly data of the application and is left as it is.
const LARGEST: usize = 4096;

/// INVARIANT: part of the format. Stored records cannot be read with another dictionary.
const DICTIONARY: &[u8] = b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0 \
    Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15 \
    Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 \
    Mobile/15E148 Safari/604.1 \
    Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36 \
    Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0\
    __Host-id";

const SLOTS: usize = 1024;

/// Where four bytes with this hash were last seen, plus one; zero is nowhere.
type Table = [u16; SLOTS];

fn slot(bytes: &[u8]) -> usize {
    let four = bytes.first_chunk::<SHORTEST>().map_or(0, |four| u32::from_le_bytes(*four));
    // Knuth's multiplicative hash, whose upper bits are the best.
    (four.wrapping_mul(0x9e37_79b1) >> 22) as usize
}

fn dictionary_table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = [0; SLOTS];
        for (at, bytes) in (1..).zip(DICTIONARY.windows(SHORTEST)) {
            table[slot(bytes)] = at;
        }
        table
    })
}

/// Appends the bytes, squeezed if that is shorter.
pub(super) fn squeeze(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    if bytes.len() > LARGEST {
        return out.extend_from_slice(bytes);
    }
    out.push(MARK);
    let all = [DICTIONARY, bytes].concat();
    let mut table = *dictionary_table();
    let (mut at, mut plain_from) = (DICTIONARY.len(), DICTIONARY.len());
    while at + SHORTEST <= all.len() {
        let here = &mut table[slot(&all[at..])];
        let before = usize::from(std::mem::replace(here, u16::try_from(at + 1).unwrap_or_default()));
        let same = before.checked_sub(1).map_or(0, |before| common(&all[before..], &all[at..]));
        if same < SHORTEST {
            at += 1;
            continue;
        }
        plain(&all[plain_from..at], out);
        out.push(128 + u8::try_from(same - SHORTEST).unwrap_or_default());
        let back = u16::try_from(at + 1 - before).unwrap_or_default();
        out.extend_from_slice(&back.to_be_bytes());
        at += same;
        plain_from = at;
    }
    plain(&all[plain_from..], out);
    if out.len() - start >= bytes.len() {
        out.truncate(start);
        out.extend_from_slice(bytes);
    }
}

fn common(before: &[u8], here: &[u8]) -> usize {
    before.iter().zip(here).take(LONGEST).take_while(|(before, here)| before == here).count()
}

fn plain(bytes: &[u8], out: &mut Vec<u8>) {
    for run in bytes.chunks(128) {
        out.push(u8::try_from(run.len() - 1).unwrap_or_default());
        out.extend_from_slice(run);
    }
}

/// The original bytes; `None` if the input cannot be from [`squeeze`].
pub(super) fn unsqueeze(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let Some((&MARK, mut rest)) = bytes.split_first() else {
        out.extend_from_slice(bytes);
        return Some(());
    };
    while let Some((&head, after)) = rest.split_first() {
        let count = usize::from(head & 127);
        if head < 128 {
            let (run, after) = after.split_at_checked(count + 1)?;
            out.extend_from_slice(run);
            rest = after;
            continue;
        }
        let (back, after) = after.split_first_chunk::<2>()?;
        let from = (DICTIONARY.len() + out.len()).checked_sub(usize::from(u16::from_be_bytes(*back)))?;
        let until = from + count + SHORTEST;
        let in_output = from.checked_sub(DICTIONARY.len());
        if let Some(known) = DICTIONARY.get(from..until) {
            out.extend_from_slice(known);
        } else if let Some(from) = in_output.filter(|from| from + count + SHORTEST <= out.len()) {
            out.extend_from_within(from..from + count + SHORTEST);
        } else {
            // A repetition that overlaps its own output, or the end of the dictionary.
            for index in from..until {
                let byte = *DICTIONARY.get(index).or_else(|| out.get(index - DICTIONARY.len()))?;
                out.push(byte);
            }
        }
        rest = after;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(bytes: &[u8]) -> usize {
        let (mut squeezed, mut back) = (Vec::new(), Vec::new());
        squeeze(bytes, &mut squeezed);
        unsqueeze(&squeezed, &mut back).unwrap();
        assert_eq!(back, bytes);
        assert!(squeezed.len() <= bytes.len());
        squeezed.len()
    }

    #[test]
    fn s8_squeezed_bytes_come_back_exactly() {
        let agent = b"Mozilla/5.0 (X11; Linux x86_64; rv:151.0) Gecko/20100101 Firefox/151.0";
        assert!(there_and_back(&[b"\x02".as_slice(), agent, agent].concat()) < 30);
        assert!(there_and_back(&[2; 4096]) < 120);
        assert_eq!(there_and_back(&[3; 4097]), 4097);
        let mut noise = vec![2];
        let mut state = 1_u32;
        for length in 0..1500 {
            there_and_back(&noise);
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Now and then a piece of what was there, or of the dictionary.
            match (state >> 24, length % 7) {
                (piece @ 0..64, 0) => noise.extend_from_within(..noise.len().min(piece as usize)),
                (piece, 1) => noise.extend_from_slice(&DICTIONARY[piece as usize..][..9]),
                (byte, _) => noise.push(u8::try_from(byte).unwrap()),
            }
        }
    }

    #[test]
    fn bytes_that_were_never_squeezed_are_refused_or_give_something_of_bounded_size() {
        for bytes in [&b"Z\xff\xff\xff"[..], b"Z\xff", b"Z\x05abc", b"Z\x80\x00\x00", b"Z\x80\x00"] {
            assert_eq!(unsqueeze(bytes, &mut Vec::new()), None, "{bytes:?}");
        }
    }
}
