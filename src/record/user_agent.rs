//! A readable device, by its user agent: "Firefox on Windows".

/// What is named when the user agent contains the text. The first match counts: most browsers claim
/// to be others, too.
type Names = &'static [(&'static str, &'static str)];

const BROWSERS: Names = &[
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chromium/", "Chromium"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
    ("python", "Python"),
    ("Python", "Python"),
];

const SYSTEMS: Names = &[
    ("iPhone", "iOS"),
    ("iPad", "iPadOS"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
];

/// How many characters of an unknown user agent are shown.
const MAX_CHARS: usize = 40;

/// The browser and the system that a user agent names.
pub(super) fn describe(user_agent: &str) -> String {
    let find = |names: Names| names.iter().find(|(text, _)| user_agent.contains(text)).map(|(_, name)| *name);
    match (find(BROWSERS), find(SYSTEMS)) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(name), None) | (None, Some(name)) => name.to_owned(),
        (None, None) if user_agent.trim().is_empty() => "Unknown device".to_owned(),
        (None, None) => user_agent.chars().take(MAX_CHARS).collect(),
    }
}
