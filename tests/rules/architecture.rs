//! The allowed dependencies between modules, and what must not reach the pure core (SPEC L, last
//! paragraph; STYLE, the map).
//!
//! A failure here is a design question, not a lint to silence: does the new dependency make a
//! cycle, or the core impure?

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Which module may name which: a whole module, or one item of it (`time::Timestamp`). A module may
/// always name itself. A name that `lib.rs` re-exports counts as part of its original module.
const ARROWS: &[(&str, &[&str])] = &[
    ("book", &[]),
    ("error", &[]),
    ("time", &[]),
    ("web", &[]),
    ("record", &["error", "time::Timestamp"]),
    ("policy", &["error", "record", "time::Timestamp"]),
    ("store", &["error", "record", "time::TimerMoment", "time::Timestamp"]),
    ("cookie", &["error", "record", "time::Timestamp"]),
    ("events", &["error", "policy", "record", "store::StoreInfo", "time::Stopwatch", "time::Timestamp"]),
    ("binding", &["error", "record", "time::Timestamp"]),
    ("request", &["binding::DeviceCheck", "cookie::Token", "error", "policy", "record", "time::Timestamp"]),
    ("engine", &["error", "events", "policy", "record", "request", "store", "time"]),
    (
        "settings",
        &[
            "binding",
            "cookie",
            "engine",
            "error",
            "events",
            "policy",
            "record",
            "store",
            "time",
            "web::RequestHead",
        ],
    ),
    (
        "session",
        &[
            "binding",
            "cookie",
            "engine",
            "error",
            "events",
            "policy",
            "record",
            "request",
            "settings::DeviceConfig",
            "settings::DeviceVisit",
            "settings::LayerConfig",
            "settings::LoginContext",
            "settings::LoginRequest",
            "settings::RequestPolicy",
            "settings::ask_for_proof",
            "settings::new_binding",
            "store",
            "time::Timestamp",
            "web::RequestHead",
        ],
    ),
    ("require", &["error", "events", "record", "session", "time::Timestamp", "web"]),
    (
        "browser",
        &["binding", "error", "policy", "record", "require", "session", "settings::DeviceConfig", "web"],
    ),
    (
        "admin",
        &[
            "browser",
            "engine",
            "error",
            "events",
            "policy",
            "record",
            "require",
            "session::SessionSummary",
            "settings::LayerConfig",
            "settings::SharedPolicy",
            "time::Timestamp",
            "web::Asset",
        ],
    ),
    (
        "middleware",
        &[
            "admin::LayerSettings",
            "admin::Sessions",
            "browser",
            "cookie",
            "error",
            "events",
            "policy",
            "session",
            "settings",
            "store",
            "time",
            "web",
        ],
    ),
    ("integration", &["engine", "error", "record", "require", "session", "store", "time", "web::Problem"]),
    (
        "testing",
        &["admin::Sessions", "error", "events", "middleware", "policy", "record", "session", "store", "time"],
    ),
];

/// What must not be named in `record`, `policy` and `request`: I/O, clock, randomness, async and
/// HTTP types.
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

pub(crate) fn sources(folder: &Path) -> Vec<PathBuf> {
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

/// The path in the crate of each name that `lib.rs` re-exports.
fn re_exports() -> BTreeMap<String, String> {
    let lib = code(&src().join("lib.rs"));
    let mut names = BTreeMap::new();
    for list in lib.split("pub use crate::").skip(1) {
        for path in paths(list.split(';').next().unwrap()) {
            let name = path.rsplit("::").next().unwrap().to_owned();
            names.insert(name, path);
        }
    }
    names
}

/// The paths in a list of imports, which may be nested: `a::{b, c::{self, d}}` is `a::b`, `a::c`,
/// `a::c::d`.
fn paths(list: &str) -> Vec<String> {
    let list = list.trim();
    let Some((before, rest)) = list.split_once('{') else {
        let path = list.split(" as ").next().unwrap();
        return vec![path.trim().trim_end_matches("::self").to_owned()];
    };
    let inside = &rest[..matching_brace(rest)];
    let items = split_top_level(inside);
    items
        .iter()
        .flat_map(|item| paths(item))
        .map(|path| {
            let path = format!("{before}{path}");
            path.trim_end_matches("::self").to_owned()
        })
        .collect()
}

/// Splits at the commas outside of braces.
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

/// The names that a file uses through `crate::`: `module`, or `module::Item` without what follows.
fn named_by(path: &Path, re_exports: &BTreeMap<String, String>) -> BTreeSet<String> {
    let text = code(path);
    let mut named = BTreeSet::new();
    for rest in text.split("crate::").skip(1) {
        let end = match rest.strip_prefix('{') {
            Some(block) => matching_brace(block) + 2,
            None => path_end(rest),
        };
        for path in paths(&rest[..end]) {
            let (first, more) = path.split_once("::").unwrap_or((&path, ""));
            let full = match re_exports.get(first) {
                Some(full) => format!("{full}::{more}"),
                None => path.clone(),
            };
            named.insert(
                full.split("::").take(2).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("::"),
            );
        }
    }
    named
}

/// The end of a path. If the path has a list of imports (`a::{b, c}`), the end of that list.
fn path_end(text: &str) -> usize {
    let part = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
    let end = text.find(|letter| !part(letter)).unwrap_or(text.len());
    match text[..end].ends_with("::").then(|| text[end..].strip_prefix('{')).flatten() {
        Some(block) => end + 1 + matching_brace(block) + 1,
        None => text[..end].trim_end_matches(':').len(),
    }
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

/// The module of a module or an item of it.
fn module(name: &str) -> &str {
    name.split("::").next().unwrap()
}

#[test]
fn modules_name_only_what_the_map_allows() {
    let re_exports = re_exports();
    let allowed: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    for path in sources(&src()) {
        let own = module_of(&path);
        if own == "lib" {
            continue;
        }
        let may = allowed.get(&*own).unwrap_or_else(|| panic!("module `{own}` is not on the map"));
        for named in named_by(&path, &re_exports) {
            assert!(
                module(&named) == own || may.contains(&module(&named)) || may.contains(&&*named),
                "{} names `{named}`, which the map does not allow",
                path.display()
            );
        }
    }
}

#[test]
fn every_arrow_on_the_map_is_in_use() {
    let re_exports = re_exports();
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in sources(&src()) {
        used.entry(module_of(&path)).or_default().extend(named_by(&path, &re_exports));
    }
    for (from, to) in ARROWS {
        let used = used.get(*from).unwrap_or_else(|| panic!("there is no module `{from}`"));
        for to in *to {
            assert!(
                used.iter().any(|named| named == to || module(named) == *to),
                "`{from}` does not name `{to}` any more"
            );
        }
    }
}

/// The map follows only `crate::`, so it would not see `super::`.
#[test]
fn no_file_leaves_its_module_through_super() {
    for path in sources(&src()) {
        let inside = path.strip_prefix(src()).unwrap().with_extension("");
        let depth = inside.iter().filter(|part| *part != "mod").count();
        let text = code(&path);
        assert!(!text.contains(&"super::".repeat(depth)), "{} leaves its module", path.display());
    }
}

#[test]
fn the_map_has_no_circle() {
    let arrows: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    for start in arrows.keys() {
        let mut reached = BTreeSet::new();
        let mut open: Vec<_> = arrows[start].iter().map(|to| module(to)).collect();
        while let Some(next) = open.pop() {
            assert_ne!(next, *start, "`{start}` comes back to itself");
            if reached.insert(next) {
                open.extend(arrows[next].iter().map(|to| module(to)));
            }
        }
    }
}

#[test]
fn nothing_depends_on_testing() {
    for (from, to) in ARROWS {
        assert!(!to.iter().any(|to| module(to) == "testing"), "`{from}` depends on `testing`");
    }
}

/// Other modules may name a store's types, but calls go through the engine, which adds the timeout
/// and the observers.
#[test]
fn only_the_engine_calls_a_store() {
    let re_exports = re_exports();
    for path in sources(&src()) {
        if matches!(&*module_of(&path), "lib" | "store" | "engine" | "testing") {
            continue;
        }
        let named = named_by(&path, &re_exports);
        assert!(!named.contains("store::SessionStore"), "{} names the trait of stores", path.display());
        assert!(!code(&path).contains(".calls()"), "{} calls a store", path.display());
    }
}

/// Other modules emit events, which the engine counts. `require` counts the requests that it
/// denies.
#[test]
fn metrics_are_counted_by_the_engine_and_by_require() {
    let re_exports = re_exports();
    for path in sources(&src()) {
        if !matches!(&*module_of(&path), "engine" | "require" | "events") {
            let counts =
                named_by(&path, &re_exports).contains("events::metrics") || code(&path).contains("metrics::");
            assert!(!counts, "{} counts by itself", path.display());
        }
    }
}

/// The modules of plain data and pure functions. `request` is one of them, from arrival to
/// response.
fn is_core(path: &Path) -> bool {
    matches!(&*module_of(path), "binding" | "record" | "policy" | "request")
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

/// A request needs the cookie's secret. Otherwise the core depends only on itself.
#[test]
fn the_core_names_only_itself_and_plain_values() {
    let re_exports = re_exports();
    for path in sources(&src()).into_iter().filter(|path| is_core(path)) {
        for named in named_by(&path, &re_exports) {
            assert!(
                matches!(module(&named), "binding" | "record" | "policy" | "request" | "error")
                    || matches!(&*named, "time::Timestamp" | "cookie::Token"),
                "{} names `{named}`",
                path.display()
            );
        }
    }
}

#[test]
fn l10_the_clock_is_read_in_one_file() {
    let clock = src().join("time").join("clock.rs");
    assert!(clock.is_file());
    for path in sources(&src()).into_iter().filter(|path| *path != clock) {
        let text = code(&path);
        for read in ["SystemTime::now", "Instant::now", "now_utc"] {
            assert!(!text.contains(read), "{} reads the clock", path.display());
        }
    }
}

#[test]
fn imports_are_read_with_their_lists() {
    assert_eq!(paths("a::{self, b, c::{self, d as e}}"), ["a", "a::b", "a::c", "a::c::d"]);
    for (text, path) in
        [("a::B;", "a::B"), ("a::B::new()", "a::B::new"), ("a::{b, c};", "a::{b, c}"), ("a::<T>", "a")]
    {
        assert_eq!(&text[..path_end(text)], path);
    }
}

/// If a user passes a `Result` as a layer, the compiler says "`Layer` is not implemented for
/// `Result`", which does not name the fix.
#[test]
fn no_builder_of_a_layer_can_fail() {
    let api = include_str!("../public_api.txt");
    for layer in ["SessionLayer", "RequireSession"] {
        let of_layer = format!("tower_tenure::{layer}::");
        let builders = api.lines().filter(|line| line.contains(&of_layer) && line.contains("-> "));
        let builders: Vec<_> = builders.filter(|line| line.contains("Self")).collect();
        assert!(builders.len() > 5, "the builders are found: {builders:?}");
        let fallible: Vec<_> = builders.iter().filter(|line| line.contains("Result<Self")).collect();
        assert!(fallible.is_empty(), "{fallible:?}");
    }
}
