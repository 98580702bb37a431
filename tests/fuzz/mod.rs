//! Fuzz targets: what must hold for any bytes from outside. Each is one function, so that any
//! fuzzer can call it. `replay.rs` calls them with the stored corpus and bounded mutations of it.

pub(crate) mod cookies;
pub(crate) mod management;
pub(crate) mod proofs;
pub(crate) mod urls;

/// Takes one input after another, and panics at the first that breaks a rule.
pub(crate) type Target = Box<dyn FnMut(&[u8])>;

/// The name of a target's corpus, and what prepares the target.
type Named = (&'static str, fn() -> Target);

/// The targets, by the names of their corpora. The target of records is in `src/store/fuzzing.rs`.
pub(crate) const TARGETS: [Named; 6] = [
    ("cookie_header", cookies::header),
    ("set_cookie", cookies::set_cookie),
    ("return_to", urls::return_to),
    ("logout_url", urls::logout_url),
    ("management", management::calls),
    ("proof", proofs::proofs),
];

/// The bytes that a server accepts in the value of a header.
fn header_value(bytes: &[u8]) -> http::HeaderValue {
    let good = |byte: &u8| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f;
    let bytes: Vec<u8> = bytes.iter().copied().filter(good).collect();
    http::HeaderValue::from_bytes(&bytes).expect("the other bytes are left out")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Replaces control characters, from `\x01` on, by these texts, because an input cannot contain a
/// secret of this process.
fn filled(bytes: &[u8], texts: &[&str]) -> Vec<u8> {
    let mut filled = Vec::new();
    for byte in bytes {
        match usize::from(*byte).checked_sub(1).and_then(|at| texts.get(at)) {
            Some(text) => filled.extend_from_slice(text.as_bytes()),
            None => filled.push(*byte),
        }
    }
    filled
}
