//! What is true of any bytes that a database gives back, over the corpus in `tests/fuzz` and
//! bounded changes of it.

use super::packed::{pack, unpack};
use crate::SessionId;

/// A byte that says which format, and bytes: a record, or an error, and no panic.
///
/// # Panics
///
/// When something else comes back than was stored.
pub(crate) fn record(bytes: &[u8]) {
    let Some((format, bytes)) = bytes.split_first() else { return };
    match format % 3 {
        0 => packed_record(bytes),
        #[cfg(feature = "redis")]
        1 => super::redis::fuzzing::value(bytes),
        #[cfg(feature = "redis")]
        _ => super::redis::fuzzing::squeezed(bytes),
        #[cfg(not(feature = "redis"))]
        _ => {}
    }
}

/// SQLite and PostgreSQL keep a record so; Redis keeps it squeezed, behind a version and a time.
pub(super) fn packed_record(bytes: &[u8]) {
    let sid = SessionId::from_bytes([7; 16]);
    if let Ok(record) = unpack(sid, bytes) {
        let packed = pack(&record).expect("what was unpacked can be packed");
        assert_eq!(unpack(sid, &packed).expect("it is a record"), record);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::store::packed::search::cases;

    /// The corpus, and changes of a byte, a cut or a repetition, the same ones in each run.
    #[test]
    fn h5_every_record_of_the_corpus_and_near_it_is_one_or_an_error() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/corpus/record");
        let mut state = 1_usize;
        for file in fs::read_dir(corpus).unwrap() {
            let kept = fs::read(file.unwrap().path()).unwrap();
            super::record(&kept);
            for _ in 0..cases(500) {
                let mut bytes = kept.clone();
                for _ in 0..3 {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let (at, what) = ((state >> 33) % bytes.len().max(1), state >> 56);
                    match what % 4 {
                        0 => bytes.truncate(at),
                        1 => bytes.extend_from_within(at.min(bytes.len())..),
                        _ if at < bytes.len() => bytes[at] = u8::try_from(what).unwrap_or_default(),
                        _ => {}
                    }
                }
                super::record(&bytes);
            }
        }
    }
}
