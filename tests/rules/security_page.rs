//! Every test that the security page names exists, and the page covers every requirement of the
//! standards.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::architecture::sources;

/// The numbers and headings of the standards, in the order of the page.
const REQUIREMENTS: &[(&str, &[&str])] = &[
    (
        "# OWASP ASVS 5.0, V7",
        &[
            "7.1.1", "7.1.2", "7.1.3", "7.2.1", "7.2.2", "7.2.3", "7.2.4", "7.3.1", "7.3.2", "7.4.1",
            "7.4.2", "7.4.3", "7.4.4", "7.4.5", "7.5.1", "7.5.2", "7.5.3", "7.6.1", "7.6.2",
        ],
    ),
    ("# OWASP ASVS 5.0, V3.3", &["3.3.1", "3.3.2", "3.3.3", "3.3.4", "3.3.5"]),
    (
        "# OWASP Session Management Cheat Sheet",
        &[
            "Session ID Name Fingerprinting",
            "Session ID Length",
            "Session ID Entropy",
            "Session ID Content (or Value)",
            "Built-in Session Management Implementations",
            "Used vs. Accepted Session ID Exchange Mechanisms",
            "Transport Layer Security",
            "Secure Attribute",
            "HttpOnly Attribute",
            "SameSite Attribute",
            "Domain and Path Attributes",
            "Expire and Max-Age Attributes",
            "HTML5 Web Storage API",
            "Web Workers",
            "Permissive and Strict Session Management",
            "Manage Session ID as Any Other User Input",
            "Renew the Session ID After Any Privilege Level Change",
            "Reauthentication After Risk Events",
            "Considerations When Using Multiple Cookies",
            "Session Expiration",
            "Idle Timeout",
            "Absolute Timeout",
            "Renewal Timeout",
            "Logout Button",
            "Web Content Caching",
            "Initial Login Timeout",
            "Force Session Logout On Web Browser Window Close Events",
            "Disable Web Browser Cross-Tab Sessions",
            "Automatic Client Logout",
            "Session ID Guessing and Brute Force Detection",
            "Detecting Session ID Anomalies",
            "Binding the Session ID to Other User Properties",
            "Logging Sessions Life Cycle",
            "Simultaneous Session Logons",
            "Session Management WAF Protections",
        ],
    ),
    (
        "# OWASP Web Security Testing Guide",
        &[
            "WSTG-SESS-01",
            "WSTG-SESS-02",
            "WSTG-SESS-03",
            "WSTG-SESS-04",
            "WSTG-SESS-05",
            "WSTG-SESS-06",
            "WSTG-SESS-07",
            "WSTG-SESS-08",
            "WSTG-SESS-09",
            "WSTG-SESS-10",
            "WSTG-SESS-11",
        ],
    ),
    (
        "# NIST SP 800-63B-4, section 5",
        &[
            "5.1 (1)",
            "5.1 (2)",
            "5.1 (3)",
            "5.1 (4)",
            "5.1 (5)",
            "5.1 (6)",
            "5.1 (persistence)",
            "5.1 (assurance)",
            "5.1 (storage)",
            "5.1 (transport)",
            "5.1 (forgery)",
            "5.1 (logoff)",
            "5.1.1 (1)",
            "5.1.1 (2)",
            "5.1.1 (3)",
            "5.1.1 (4)",
            "5.1.1 (5)",
            "5.1.1 (6)",
            "5.1.1 (7)",
            "5.1.2",
            "5.2 (timeouts)",
            "5.2 (reauthentication)",
            "5.2 (alert)",
            "5.2 (federation)",
            "5.3",
        ],
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn page() -> String {
    fs::read_to_string(root().join("src").join("security.md")).unwrap()
}

/// The items of a section or of the whole page, each as one line.
fn items(text: &str) -> Vec<String> {
    let mut items: Vec<String> = Vec::new();
    for line in text.lines() {
        if let Some(first) = line.strip_prefix("- **") {
            items.push(format!("**{first}"));
        } else if let (Some(more), Some(item)) = (line.strip_prefix("  "), items.last_mut()) {
            item.push(' ');
            item.push_str(more);
        }
    }
    items
}

/// The subjects of an item: the bold names at its beginning.
fn names(item: &str) -> Vec<&str> {
    let title = item.split(" *Here:*").next().unwrap().split(" *Yours:*").next().unwrap();
    title.split("**").skip(1).step_by(2).collect()
}

/// Every function with a `test` attribute, and every check of the conformance suite.
fn tests() -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    for path in sources(&root().join("src")).into_iter().chain(sources(&root().join("tests"))) {
        let text = fs::read_to_string(&path).unwrap();
        let is_suite = path.ends_with("conformance/mod.rs");
        let mut after_attribute = false;
        for line in text.lines().map(str::trim) {
            let signature = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                after_attribute = true;
            } else if let (true, Some(name)) = (after_attribute, signature) {
                tests.insert(name.split(['(', '<']).next().unwrap().to_owned());
                after_attribute = false;
            } else if let (true, Some(name)) = (is_suite, line.strip_suffix(',')) {
                tests.insert(name.to_owned());
            }
        }
    }
    tests
}

fn code_spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_test_that_the_page_names_exists() {
    let tests = tests();
    for item in items(&page()) {
        let (claim, named) = item.split_once("*Tests:*").unwrap_or((&item, ""));
        for name in code_spans(named) {
            assert!(
                tests.contains(name),
                "no test is named `{name}`, which the page names at {}",
                &item[..40]
            );
        }
        let rest = named.split('`').step_by(2).collect::<String>();
        assert!(rest.chars().all(|sign| ", .".contains(sign)), "words after the tests: {item}");
        let elsewhere = code_spans(claim).find(|span| tests.contains(*span));
        assert_eq!(elsewhere, None, "a test is named outside of *Tests:*");
    }
}

#[test]
fn what_the_crate_claims_to_do_is_shown_by_a_test() {
    for item in items(&page()) {
        let (here, shown) = (item.contains("*Here:*"), item.contains("*Tests:* `"));
        assert!(here == shown, "a claim without a test, or a test without a claim: {item}");
        assert!(here || item.contains("*Yours:*"), "neither the crate's nor the application's: {item}");
    }
}

#[test]
fn no_requirement_of_a_standard_is_left_out() {
    let page = page();
    for (heading, required) in REQUIREMENTS {
        let start = page.find(heading).unwrap_or_else(|| panic!("no section `{heading}`"));
        let section = page[start + 1..].split("\n# ").next().unwrap();
        let items = items(section);
        let found: Vec<_> = items.iter().flat_map(|item| names(item)).collect();
        assert_eq!(found, *required, "in `{heading}`");
    }
}
