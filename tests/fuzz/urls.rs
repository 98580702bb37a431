//! Redirects: back to a page after a login, and elsewhere after a logout (SPEC E2, R1).

use tower_tenure::{browser::LogoutUrls, is_same_origin_path};
use url::Url;

use super::Target;

/// A `return_to`, which the `url` crate parses as a browser does.
pub(crate) fn return_to() -> Target {
    let pages = ["https://app.example/", "https://app.example/a/b?c#d", "http://127.0.0.1:3000/login"]
        .map(|page| Url::parse(page).expect("a URL"));
    Box::new(move |bytes| {
        let Ok(text) = str::from_utf8(bytes) else { return };
        if is_same_origin_path(text) {
            for page in &pages {
                let url = page.join(text).expect("a path leads somewhere");
                assert_eq!(url.origin(), page.origin(), "{text:?}");
                assert!(url.username().is_empty() && url.password().is_none(), "{text:?}");
            }
            assert!(http::HeaderValue::try_from(text).is_ok(), "{text:?}");
        }
    })
}

/// The input is a `returnTo`, or an entry of the list and a `returnTo` in two lines.
pub(crate) fn logout_url() -> Target {
    let urls = allowed();
    Box::new(move |bytes| {
        let Ok(text) = str::from_utf8(bytes) else { return };
        leads_only_to_the_list(&urls, text);
        if let Some((entry, text)) = text.split_once('\n') {
            leads_only_to_the_list(&urls, text);
            allows_no_more_than_its_own_host(entry, text);
        }
    })
}

/// Whether it is accepted. If so, checks that it leads a browser to a URL on the list, whatever
/// page the browser is on.
pub(crate) fn leads_only_to_the_list(urls: &LogoutUrls, text: &str) -> bool {
    let Ok(Some(location)) = urls.redirect(Some(text), None) else { return false };
    // Where the browser goes, and where it would go by the request alone.
    let here = Url::parse("http://elsewhere.example/deep/page").expect("a URL");
    for url in [&*location, text].map(|target| here.join(target).expect("it was accepted")) {
        assert!(is_on_the_list(&url), "{text:?} leads to {url}");
    }
    assert!(http::HeaderValue::try_from(&*location).is_ok());
    assert_eq!(urls.redirect(Some(&location), None), Ok(Some(location)));
    true
}

pub(crate) fn allows_no_more_than_its_own_host(entry: &str, text: &str) {
    let ours = |text: &str| Url::parse(text).is_ok_and(|url| is_on_the_list(&url));
    let Ok(urls) = LogoutUrls::new().allow(entry) else { return };
    let accepted = urls.redirect(Some(text), None).is_ok();
    let exact = urls.clone().with_exact_match().redirect(Some(text), None).is_ok();
    assert!(!exact || accepted, "the strict mode accepts less");
    assert!(!exact || entry == text);
    if accepted && !entry.contains('*') && !entry.contains('\u{ff0a}') {
        let [entry, target] = [entry, text].map(|text| Url::parse(text).expect("it was accepted"));
        assert_eq!(entry.origin(), target.origin());
        assert_eq!(ours(entry.as_str()), ours(target.as_str()));
    }
}

/// An entry of the list, split into its parts.
struct Entry {
    scheme: &'static str,
    /// The parts before and after the `*` of a leftmost label.
    star: Option<(&'static str, &'static str)>,
    labels: &'static [&'static str],
    port: u16,
    path: &'static str,
}

const fn entry(
    scheme: &'static str,
    star: Option<(&'static str, &'static str)>,
    labels: &'static [&'static str],
    port: u16,
    path: &'static str,
) -> Entry {
    Entry { scheme, star, labels, port, path }
}

const ALLOWED: [Entry; 5] = [
    entry("https", None, &["app", "example", "com"], 443, "/bye"),
    entry("https", Some(("", "")), &["example", "com"], 443, "/bye"),
    entry("https", Some(("pr-", "")), &["example", "com"], 8443, "/"),
    entry("http", None, &["localhost"], 3000, "/"),
    entry("https", None, &["xn--bcher-kva", "example"], 443, "/"),
];

/// The list of the search.
pub(crate) fn allowed() -> LogoutUrls {
    ALLOWED.iter().fold(LogoutUrls::new(), |urls, Entry { scheme, star, labels, port, path }| {
        let star = star.map(|(before, after)| format!("{before}*{after}.")).unwrap_or_default();
        urls.allow(&format!("{scheme}://{star}{}:{port}{path}", labels.join("."))).expect("a good entry")
    })
}

/// Whether the URL is on the list, written from the rule and not from the code.
fn is_on_the_list(url: &Url) -> bool {
    let labels: Vec<&str> = url.host_str().unwrap_or_default().split('.').collect();
    let plain = url.username().is_empty() && url.password().is_none();
    plain
        && ALLOWED.iter().any(|Entry { scheme, star, labels: allowed, port, path }| {
            let host = match star {
                None => labels == *allowed,
                Some((before, after)) => {
                    labels.len() == allowed.len() + 1
                        && labels[1..] == **allowed
                        && labels[0].len() > before.len() + after.len()
                        && labels[0].starts_with(before)
                        && labels[0].ends_with(after)
                }
            };
            host && url.scheme() == *scheme
                && url.port_or_known_default() == Some(*port)
                && url.path() == *path
        })
}
