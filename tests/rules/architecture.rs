//! The module arrows of the crate, and what may not reach its pure core (SPEC L, last paragraph; STYLE, the map).
//!
//! A failure here is a design question, not a lint to silence: does the new arrow make a circle, or the core impure?

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Who may name whom. A module may always name itself and what `lib.rs` re-exports from a module that it may name.
const ARROWS: &[(&str, &[&str])] = &[
    ("timestamp", &[]),
    ("error", &[]),
    ("clock", &["timestamp"]),
    ("head", &[]),
    ("key", &[]),
    ("record", &["error", "timestamp"]),
    ("policy", &["error", "record", "timestamp"]),
    ("token", &["error", "record"]),
    ("events", &["error", "policy", "record", "timestamp"]),
    ("live", &["clock", "head", "policy"]),
    ("store", &["error", "policy", "record", "timestamp"]),
    ("request", &["error", "policy", "record", "timestamp", "token"]),
    ("metrics", &["clock", "events"]),
    (
        "engine",
        &[
            "clock",
            "error",
            "events",
            "metrics",
            "policy",
            "record",
            "request",
            "store",
            "timestamp",
            "token",
        ],
    ),
    ("hook", &["error", "policy", "record", "timestamp"]),
    ("body", &[]),
    ("problem", &[]),
    ("cookie", &["error", "record", "timestamp", "token"]),
    ("settings", &["clock", "cookie", "engine", "head", "hook", "live", "policy", "record", "store"]),
    (
        "session",
        &[
            "cookie",
            "engine",
            "error",
            "events",
            "head",
            "hook",
            "key",
            "policy",
            "record",
            "request",
            "settings",
            "store",
            "timestamp",
            "token",
        ],
    ),
    ("shared_policy", &["clock", "error", "events", "live", "policy", "store"]),
    ("tower_sessions", &["clock", "engine", "error", "record", "store", "timestamp"]),
    ("sessions", &["engine", "error", "policy", "record", "settings", "store", "timestamp"]),
    ("browser", &["asset", "error", "head", "policy", "problem", "record", "require", "session"]),
    (
        "management",
        &["browser", "error", "events", "policy", "record", "sessions", "shared_policy", "timestamp"],
    ),
    ("asset", &[]),
    ("dashboard", &["asset", "error", "require"]),
    (
        "require",
        &[
            "body",
            "cookie",
            "error",
            "events",
            "head",
            "metrics",
            "problem",
            "record",
            "session",
            "timestamp",
        ],
    ),
    (
        "middleware",
        &[
            "body", "browser", "clock", "cookie", "engine", "error", "events", "head", "hook", "live",
            "policy", "problem", "session", "sessions", "settings", "store",
        ],
    ),
    ("extract", &["error", "session"]),
    (
        "testing",
        &[
            "clock",
            "cookie",
            "error",
            "events",
            "key",
            "middleware",
            "policy",
            "record",
            "session",
            "sessions",
            "store",
            "timestamp",
        ],
    ),
];

/// What must not be named in `record`, `policy` and `request`: I/O, clock, randomness, async and HTTP types.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::io",
    "std::net::Tcp",
    "std::net::Udp",
    "std::process",
    "std::thread",
    "std::sync::atomic",
    "SystemTime",
    "Instant",
    "now_utc",
    "getrandom",
    "Token::generate",
    "Token::renew",
    "Mutex",
    "RwLock",
    "tokio",
    "async ",
    ".await",
    "Future",
    "http::",
    "http_body",
    "hyper",
    "tower::",
    "tracing",
    "Clock",
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The top-level module of a file.
fn module_of(path: &Path) -> String {
    let first = path.strip_prefix(src()).unwrap().components().next().unwrap();
    first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

/// The code of a file, without comments and without its unit tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Which module each name that `lib.rs` re-exports comes from.
fn re_exports() -> BTreeMap<String, String> {
    let lib = code(&src().join("lib.rs"));
    let block = lib.split("pub use crate::{").nth(1).unwrap();
    let mut names = BTreeMap::new();
    for item in split_top_level(block.split("};").next().unwrap()) {
        let (module, list) = item.trim().split_once("::").unwrap();
        for name in list.trim_matches(['{', '}', ' ', '\n']).split(',') {
            names.insert(name.trim().to_owned(), module.to_owned());
        }
    }
    names
}

/// Splits at the commas that stand in no braces.
fn split_top_level(list: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for letter in list.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().unwrap().push(letter);
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// The modules that a file names through `crate::`.
fn named_by(path: &Path, re_exports: &BTreeMap<String, String>) -> BTreeSet<String> {
    let text = code(path);
    let mut named = BTreeSet::new();
    for rest in text.split("crate::").skip(1) {
        let list = match rest.strip_prefix('{') {
            Some(block) => {
                let end = matching_brace(block);
                split_top_level(&block[..end])
            }
            None => {
                vec![rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()]
            }
        };
        for item in list {
            let name: String =
                item.trim().chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
            named.insert(re_exports.get(&name).cloned().unwrap_or(name));
        }
    }
    named
}

fn matching_brace(block: &str) -> usize {
    let mut depth = 1;
    for (at, letter) in block.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    panic!("braces do not match")
}

#[test]
fn modules_name_only_those_that_the_map_allows() {
    let re_exports = re_exports();
    let allowed: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    for path in sources(&src()) {
        let module = module_of(&path);
        if module == "lib" {
            continue;
        }
        let may = allowed.get(&*module).unwrap_or_else(|| panic!("module `{module}` is not on the map"));
        for named in named_by(&path, &re_exports) {
            assert!(
                named == module || may.contains(&&*named),
                "{} names `{named}`, which the map does not allow",
                path.display()
            );
        }
    }
}

#[test]
fn the_map_has_no_circle() {
    let arrows: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    for start in arrows.keys() {
        let mut reached = BTreeSet::new();
        let mut open: Vec<_> = arrows[start].to_vec();
        while let Some(module) = open.pop() {
            assert_ne!(module, *start, "`{start}` comes back to itself");
            if reached.insert(module) {
                open.extend(arrows.get(module).into_iter().flat_map(|next| next.iter()));
            }
        }
    }
}

/// Whether it belongs to what is plain data and pure functions: a request, too, from arrival to
/// response.
fn is_core(path: &Path) -> bool {
    matches!(&*module_of(path), "record" | "policy" | "request")
}

#[test]
fn nothing_impure_reaches_the_core() {
    for path in sources(&src()).into_iter().filter(|path| is_core(path)) {
        let text = code(&path);
        for impure in IMPURE {
            assert!(!text.contains(impure), "{} names `{impure}`", path.display());
        }
    }
}

#[test]
fn l10_the_clock_is_read_in_one_file() {
    for path in sources(&src()).into_iter().filter(|path| module_of(path) != "clock") {
        let text = code(&path);
        for read in ["SystemTime::now", "Instant::now", "now_utc"] {
            assert!(!text.contains(read), "{} reads the clock", path.display());
        }
    }
}
