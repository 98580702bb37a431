//! Where a logout may redirect (SPEC R1, R2): the list of URLs, through its own function and
//! through the endpoint.
//!
//! `TENURE_SEARCH=100 cargo test --all-features --test request logout` searches a hundred times
//! longer.

use std::sync::Mutex;

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use proptest::{prelude::*, test_runner::Config};
use tower_tenure::{
    ErrorKind,
    browser::{Endpoints, LogoutRefusal, LogoutUrls},
    events::{Event, EventKind},
};

use crate::{
    common::{Browser, Reply, Site, search},
    fuzz::urls::{allowed, allows_no_more_than_its_own_host, leads_only_to_the_list},
};

const BYE: &str = "https://app.example.com/bye";

fn urls(list: &[&str]) -> LogoutUrls {
    list.iter().fold(LogoutUrls::new(), |urls, url| urls.allow(url).unwrap())
}

#[track_caller]
fn assert_leads_to(urls: &LogoutUrls, return_to: &str, location: &str) {
    assert_eq!(urls.redirect(Some(return_to), None), Ok(Some(location.to_owned())), "{return_to:?}");
}

#[track_caller]
fn assert_refuses(urls: &LogoutUrls, return_to: &str) {
    assert_eq!(urls.redirect(Some(return_to), None), Err(LogoutRefusal::NotAllowed), "{return_to:?}");
}

// R1: which URLs are equal

#[test]
fn r1_scheme_and_host_are_compared_without_regard_to_case_and_the_path_with() {
    let urls = urls(&[BYE]);
    for same in [BYE, "HTTPS://APP.EXAMPLE.COM/bye", "hTTps://aPp.eXample.cOm/bye"] {
        assert_leads_to(&urls, same, BYE);
    }
    for other in [
        "https://app.example.com/Bye",
        "https://app.example.com/BYE",
        "https://app.example.com/bye/",
        "https://app.example.com/bye/more",
        "https://app.example.com/by",
        "https://app.example.com//bye",
        "https://app.example.com/",
        "https://app.example.com",
        "https://app.example.com/bye;x=1",
        "https://app.example.com/%62ye",
    ] {
        assert_refuses(&urls, other);
    }
}

#[test]
fn r1_entries_are_read_as_browsers_do_too() {
    for entry in [
        "HTTPS://App.Example.COM/bye",
        "https://app.example.com:443/bye",
        "https://app.example.com/x/../bye",
        "https://app.example.com/./bye?query=ignored#and-hash",
    ] {
        assert_leads_to(&urls(&[entry]), BYE, BYE);
    }
}

#[test]
fn r1_a_default_port_is_no_port_and_another_one_is_another_url() {
    let https = urls(&[BYE]);
    assert_leads_to(&https, "https://app.example.com:443/bye", BYE);
    assert_leads_to(&https, "https://app.example.com:0443/bye", BYE);
    assert_leads_to(&https, "https://app.example.com:/bye", BYE);
    for other in ["80", "8443", "4430", "44", "0", "65536", "-443", "443x", "+443"] {
        assert_refuses(&https, &format!("https://app.example.com:{other}/bye"));
    }
    assert_refuses(&https, "http://app.example.com:443/bye");
    let http = urls(&["http://app.example.com/bye"]);
    assert_refuses(&http, "https://app.example.com:80/bye");
    assert_leads_to(&http, "http://app.example.com:80/bye", "http://app.example.com/bye");
    assert_refuses(&http, "http://app.example.com:443/bye");
    let ported = urls(&["https://app.example.com:8443/bye"]);
    assert_leads_to(&ported, "https://app.example.com:8443/bye", "https://app.example.com:8443/bye");
    assert_refuses(&ported, BYE);
}

#[test]
fn r1_another_scheme_is_another_url_and_only_http_and_https_are_any() {
    let urls = urls(&[BYE]);
    for scheme in ["http", "ftp", "ws", "wss", "file", "javascript", "data", "blob", "httpss", "http+s"] {
        assert_refuses(&urls, &format!("{scheme}://app.example.com/bye"));
    }
    for other in ["javascript:alert(1)", "data:text/html,x", "javascript://app.example.com/bye%0aalert(1)"] {
        assert_refuses(&urls, other);
    }
}

#[test]
fn r1_dot_segments_are_resolved_before_the_comparison() {
    let urls = urls(&[BYE]);
    for same in ["/./bye", "/../bye", "/x/../bye", "/%2e/bye", "/%2E%2e/bye", "/x/%2e%2E/bye", "/x/.%2e/bye"]
    {
        assert_leads_to(&urls, &format!("https://app.example.com{same}"), BYE);
    }
    for other in ["/bye/..", "/bye/.", "/bye/x/../..", "/bye/..;/bye", "/x%2f..%2fbye", "/.%00./bye"] {
        assert_refuses(&urls, &format!("https://app.example.com{other}"));
    }
}

#[test]
fn r1_query_and_hash_are_not_considered_but_kept() {
    let urls = urls(&["https://app.example.com/bye?only=this#here"]);
    for rest in ["", "?", "?!", "?x=1", "?x=https://evil.example/", "#top", "?a=b&c#d/../e", "?@evil.example"]
    {
        let url = format!("{BYE}{rest}");
        assert_leads_to(&urls, &url, &url);
    }
}

// R1: which URLs are not ours

#[test]
fn r1_userinfo_is_refused_the_empty_one_too() {
    let urls = urls(&[BYE]);
    for authority in [
        "user@app.example.com",
        "user:pass@app.example.com",
        ":pass@app.example.com",
        "@app.example.com",
        ":@app.example.com",
        "@@app.example.com",
        "app.example.com@app.example.com",
        "app.example.com@evil.example",
        "app.example.com:443@evil.example",
        "evil.example@app.example.com",
        "%40@app.example.com",
    ] {
        assert_refuses(&urls, &format!("https://{authority}/bye"));
    }
    // Guards: the parser ignores extra slashes, which hid the userinfo.
    for slashes in ["///", "////", "//\\", "//\\/", "/////"] {
        for userinfo in ["user@", "user:pass@", "@"] {
            assert_refuses(&urls, &format!("https:{slashes}{userinfo}app.example.com/bye"));
        }
    }
}

#[test]
fn r1_what_only_resembles_an_absolute_url_is_refused() {
    let urls = urls(&[BYE, "https://app.example.com/"]);
    for other in [
        "",
        "/",
        "/bye",
        "bye",
        "?x",
        "//app.example.com/bye",
        "///app.example.com/bye",
        "\\\\app.example.com/bye",
        "https:/app.example.com/bye",
        "https:app.example.com/bye",
        "https:///app.example.com/bye",
        "https:////app.example.com/bye",
        "https:\\\\app.example.com/bye",
        "https:/\\app.example.com/bye",
        "https:\\/app.example.com/bye",
        "https://\\app.example.com/bye",
        "https//app.example.com/bye",
        "https;//app.example.com/bye",
        "https://",
        "https:///",
        "https://?",
        "https://#",
        "https://:443/bye",
        "://app.example.com/bye",
        "app.example.com/bye",
        "view-source:https://app.example.com/bye",
        "blob:https://app.example.com/bye",
        "https://https://app.example.com/bye",
    ] {
        assert_refuses(&urls, other);
    }
}

#[test]
fn r1_white_space_and_control_characters_are_refused_wherever_they_are() {
    let urls = urls(&[BYE]);
    for extra in ["\t", "\n", "\r", " ", "\u{0}", "\u{b}", "\u{1f}", "\u{7f}"] {
        for at in [0, 2, 5, 6, 8, 12, 19, 23, 24, BYE.len()] {
            let mut text = BYE.to_owned();
            text.insert_str(at, extra);
            assert_refuses(&urls, &text);
        }
    }
}

#[test]
fn r1_a_backslash_is_a_slash_and_hides_no_host() {
    let urls = urls(&[BYE]);
    assert_leads_to(&urls, "https://app.example.com\\bye", BYE);
    for other in [
        "https://evil.example\\app.example.com/bye",
        "https://evil.example\\@app.example.com/bye",
        "https://app.example.com\\@evil.example/bye",
        "https://app.example.com\\.evil.example/bye",
        "https://evil.example\\.app.example.com/bye",
        "https://app.example.com\\\\bye",
    ] {
        assert_refuses(&urls, other);
    }
}

#[test]
fn r1_hosts_that_resemble_ours_are_refused() {
    let urls = urls(&[BYE]);
    for host in [
        "evil.example",
        "app.example.com.evil.example",
        "evilapp.example.com",
        "app.example.comx",
        "app.example.co",
        "example.com",
        "x.app.example.com",
        "app-example.com",
        "appxexample.com",
        "app.example.com.",
        "app.example.com..",
        ".app.example.com",
        "app..example.com",
        "app.example.com%00.evil.example",
        "app.example.com%2f.evil.example",
        "app.example.com%5c.evil.example",
        "app.example.com%23.evil.example",
        "app.example.com%40evil.example",
        "app.example.com|evil.example",
        "app.example.com<evil.example",
        "аpp.example.com", // with a Cyrillic a
        "app.exämple.com",
        "ap\u{2060}p.example.com.evil.example",
        "app.example.com\u{ff0f}.evil.example",
        "app.example.com\u{2100}evil.example",
    ] {
        assert_refuses(&urls, &format!("https://{host}/bye"));
    }
}

#[test]
fn r1_spellings_that_browsers_take_for_our_host_lead_to_our_host() {
    let urls = urls(&[BYE]);
    for host in [
        "app%2eexample%2Ecom",
        "%61pp.example.com",
        "app\u{3002}example\u{ff0e}com",
        "\u{ff41}pp.example.com",
        "ap\u{ad}p.example.com",
    ] {
        assert_leads_to(&urls, &format!("https://{host}/bye"), BYE);
    }
}

#[test]
fn r1_international_names_are_the_same_in_both_spellings() {
    let puny = "https://xn--bcher-kva.example/";
    for entry in ["https://bücher.example/", "https://BÜCHER.example/", puny] {
        let urls = urls(&[entry]);
        for same in
            ["https://bücher.example/", "https://Bücher.example", "https://xn--BCHER-kva.example/", puny]
        {
            assert_leads_to(&urls, same, puny);
        }
        assert_refuses(&urls, "https://bucher.example/");
    }
}

#[test]
fn r1_addresses_are_compared_by_what_they_are() {
    let four = urls(&["http://127.0.0.1:3000/"]);
    for same in ["127.0.0.1", "127.1", "0x7f.1", "2130706433", "0177.0.0.1", "0x7f000001", "127.0.0.1."] {
        assert_leads_to(&four, &format!("http://{same}:3000/"), "http://127.0.0.1:3000/");
    }
    for other in
        ["127.0.0.2", "localhost", "127.0.0.1.evil.example", "[::1]", "[::ffff:127.0.0.1]", "256.0.0.1"]
    {
        assert_refuses(&four, &format!("http://{other}:3000/"));
    }
    let six = urls(&["http://[::1]:3000/"]);
    for same in ["[::1]", "[0:0:0:0:0:0:0:1]", "[::0.0.0.1]"] {
        assert_leads_to(&six, &format!("http://{same}:3000/"), "http://[::1]:3000/");
    }
    for other in ["[::2]", "::1", "[::1", "[::1%25eth0]", "127.0.0.1", "[::ffff:0.0.0.1]"] {
        assert_refuses(&six, &format!("http://{other}:3000/"));
    }
}

// R1: the wildcard

#[test]
fn r1_a_wildcard_matches_one_label_and_neither_none_nor_two() {
    let urls = urls(&["https://*.example.com/bye"]);
    for label in ["app", "a", "A-1", "xn--bcher-kva", "0"] {
        let url = format!("https://{}.example.com/bye", label.to_ascii_lowercase());
        assert_leads_to(&urls, &format!("https://{label}.example.com/bye"), &url);
    }
    for host in [
        "example.com",
        ".example.com",
        "a.b.example.com",
        "a..example.com",
        "evil.example\\.example.com",
        "evilexample.com",
        "app.example.com.",
        "app.example.com.evil.example",
        "*.example.com",
        "%2a.example.com",
        "a*.example.com",
        "\u{ff0a}.example.com",
        "a%2eb.example.com",
        "a\u{3002}b.example.com",
        "%2e.example.com",
        "evil.example%23.example.com",
    ] {
        assert_refuses(&urls, &format!("https://{host}/bye"));
    }
    for other in [
        "http://app.example.com/bye",
        "https://app.example.com:8443/bye",
        "https://app.example.com/Bye",
        "https://u@app.example.com/bye",
    ] {
        assert_refuses(&urls, other);
    }
}

#[test]
fn r1_a_wildcard_may_be_the_rest_of_a_label() {
    let urls =
        urls(&["https://pr-*.example.com/", "https://*-preview.example.com/", "https://a*z.example.com/"]);
    for host in ["pr-1", "pr--", "x-preview", "abz", "aazz"] {
        assert_leads_to(
            &urls,
            &format!("https://{host}.example.com"),
            &format!("https://{host}.example.com/"),
        );
    }
    for host in ["pr-", "pr", "xpr-1", "-preview", "preview", "az", "a.z", "pr-1.x", "x.pr-1", "a-previewx"] {
        assert_refuses(&urls, &format!("https://{host}.example.com/"));
    }
}

#[test]
fn r1_entries_that_make_no_sense_are_refused_at_construction() {
    for entry in [
        // `*` anywhere but in the leftmost label, or more than one.
        "https://app.*.example.com/",
        "https://app.*.com/",
        "https://app.example.*/",
        "https://*.*.example.com/",
        "https://**.example.com/",
        "https://a*b*.example.com/",
        "https://app.example.com/*",
        "https://app.example.com/a*/b",
        "https://*.example.com/*",
        "https://app.example.com/?*",
        "https://app.example.com/#*",
        "https://app.example.com:*/",
        "*://app.example.com/",
        "http*://app.example.com/",
        "*",
        // Too broad.
        "https://*/",
        "https://*.com/",
        "https://*.com./",
        // E11: directly below a public suffix, where anyone can register a name.
        "https://*.co.uk/",
        "https://*.CO.UK./",
        "https://*.co.uk:8443/bye",
        "https://pr-*.co.uk/",
        "https://*.anything.ck/",
        "https://*.github.io/",
        "https://*.s3.amazonaws.com/",
        "https://*.\u{516c}\u{53f8}.cn/",
        "https://*.xn--55qx5d.cn/",
        "https://*com/",
        "https://a*/",
        "https://*./",
        // Not an absolute http(s) URL without userinfo.
        "",
        "/bye",
        "//app.example.com/",
        "app.example.com",
        "ftp://app.example.com/",
        "javascript:alert(1)",
        "https:app.example.com/",
        "https:///app.example.com/",
        "https://",
        "https://user@app.example.com/",
        "https://@app.example.com/",
        "https://app.example.com:99999/",
        "https://app example.com/",
        " https://app.example.com/",
        "https://app.example.com/ ",
        "https://app.example.com/\n",
        "https://[::1/",
        "https://1.2.3.400/",
        "https://*.2.3.4/",
    ] {
        let error = LogoutUrls::new().allow(entry).map(|_| ()).expect_err(entry);
        assert_eq!(error.kind(), ErrorKind::Configuration, "{entry}");
        assert!(LogoutUrls::new().allow_for_client("shop", entry).is_err(), "{entry}");
    }
    for entry in [
        "https://*.localhost/",
        "http://*.localhost:3000/x",
        "https://*.example.com.",
        "http://localhost",
        "https://*.example.co.uk/",
        "https://*.www.ck/",
        "https://*.me.github.io/",
        "https://*.corp.internal/",
        "https://co.uk/",
    ] {
        assert!(LogoutUrls::new().allow(entry).is_ok(), "{entry}");
    }
}

// R1: clients

fn with_clients() -> LogoutUrls {
    let urls = urls(&[BYE, "https://*.example.com/"]);
    let urls = urls.allow_for_client("shop", "https://shop.example/one").unwrap();
    let urls = urls.allow_for_client("shop", "https://shop.example/two").unwrap();
    urls.allow_for_client("wild", "https://*.wild.example/").unwrap()
}

#[test]
fn r1_a_client_has_its_own_list_and_the_tenants_is_not_for_it() {
    let urls = with_clients();
    let to = |url: &str| Ok(Some(url.to_owned()));
    let redirect = |return_to: &str, client: Option<&str>| urls.redirect(Some(return_to), client);
    assert_eq!(redirect("https://shop.example/two", Some("shop")), to("https://shop.example/two"));
    assert_eq!(redirect(BYE, Some("shop")), Err(LogoutRefusal::NotAllowed));
    assert_eq!(redirect("https://a.wild.example/", Some("shop")), Err(LogoutRefusal::NotAllowed));
    assert_eq!(redirect("https://shop.example/two", None), Err(LogoutRefusal::NotAllowed));
    assert_eq!(redirect(BYE, None), to(BYE));
}

#[test]
fn r1_an_unknown_client_is_refused_also_with_a_url_of_the_tenant() {
    let urls = with_clients();
    for client in ["shop2", "Shop", "SHOP", " shop", "shop\u{0}", "*"] {
        for return_to in [None, Some(BYE), Some("https://shop.example/one")] {
            assert_eq!(
                urls.redirect(return_to, Some(client)),
                Err(LogoutRefusal::UnknownClient),
                "{client:?}"
            );
        }
    }
}

#[test]
fn r1_without_return_to_a_client_is_redirected_to_its_first_url_and_others_are_not_redirected() {
    let urls = with_clients();
    assert_eq!(urls.redirect(None, Some("shop")), Ok(Some("https://shop.example/one".to_owned())));
    assert_eq!(urls.redirect(None, None), Ok(None));
    assert_eq!(urls.redirect(None, Some("wild")), Ok(None), "a pattern is no place");
}

#[test]
fn r1_another_list_of_the_tenant_takes_the_place_of_the_old_one_but_for_what_is_no_url() {
    let urls = with_clients().with_tenant_list(["https://new.example/", "no URL"]);
    assert_leads_to(&urls, "https://new.example/", "https://new.example/");
    assert_refuses(&urls, BYE);
    let of_client = urls.redirect(None, Some("shop")).unwrap();
    assert_eq!(of_client, with_clients().redirect(None, Some("shop")).unwrap());
}

#[test]
fn r1_an_empty_list_allows_no_redirect() {
    let urls = LogoutUrls::new();
    assert_eq!(urls.redirect(None, None), Ok(None));
    assert_refuses(&urls, BYE);
    assert_eq!(urls.redirect(None, Some("shop")), Err(LogoutRefusal::UnknownClient));
}

#[test]
fn r1_the_query_is_read_as_a_form_and_the_first_of_each_counts() {
    let urls = with_clients();
    let to = |url: &str| Ok(Some(url.to_owned()));
    let query = |query: &str| urls.redirect_for_query(Some(query));
    assert_eq!(urls.redirect_for_query(None), Ok(None));
    assert_eq!(query(""), Ok(None));
    assert_eq!(
        query("returnTo=https%3A%2F%2Fapp.example.com%2Fbye%3Fa%3D1%26b"),
        to(&format!("{BYE}?a=1&b"))
    );
    assert_eq!(query("returnTo=https://app.example.com/bye&returnTo=https://evil.example/"), to(BYE));
    assert_eq!(
        query("returnTo=https://evil.example/&returnTo=https://app.example.com/bye"),
        Err(LogoutRefusal::NotAllowed)
    );
    assert_eq!(query("returnTo=&client_id="), Ok(None), "an empty one is as good as none");
    assert_eq!(query("client_id=shop&returnTo="), to("https://shop.example/one"));
    assert_eq!(query("returnto=https://evil.example/"), Ok(None), "another parameter");
    assert_eq!(query("returnTo=%"), Err(LogoutRefusal::NotAllowed));
    assert_eq!(query("returnTo=%ff%fe"), Err(LogoutRefusal::NotAllowed));
    assert_eq!(query("client_id=no&returnTo=https://app.example.com/bye"), Err(LogoutRefusal::UnknownClient));
}

// R1: the strict mode

#[test]
fn r1_the_strict_mode_compares_character_by_character() {
    let urls =
        urls(&[BYE, "https://*.example.com/", "https://app.example.com/q?x=1", "https://App.Example.com/"]);
    let urls = urls.allow_for_client("shop", "https://shop.example/one").unwrap().with_exact_match();
    assert_leads_to(&urls, BYE, BYE);
    assert_leads_to(&urls, "https://app.example.com/q?x=1", "https://app.example.com/q?x=1");
    for other in [
        "HTTPS://app.example.com/bye",
        "https://APP.example.com/bye",
        "https://app.example.com:443/bye",
        "https://app.example.com/./bye",
        "https://app.example.com/bye?x",
        "https://app.example.com/bye?",
        "https://app.example.com/bye#x",
        "https://app.example.com/q",
        "https://app.example.com/q?x=2",
        "https://app.example.com/",
        "https://other.example.com/",
        "https://*.example.com/",
    ] {
        assert_refuses(&urls, other);
    }
    assert_eq!(urls.redirect(None, Some("shop")), Ok(Some("https://shop.example/one".to_owned())));
    assert_eq!(
        urls.redirect(Some("https://shop.example/one?x"), Some("shop")),
        Err(LogoutRefusal::NotAllowed)
    );
}

// R1, R2: through the endpoint

fn site(set: impl FnOnce(Endpoints) -> Endpoints) -> Site {
    let endpoints = Endpoints::at("/session").unwrap().with_logout_urls(with_clients());
    Site::with(|layer| layer.with_endpoints(set(endpoints)))
}

async fn log_out(browser: &Browser, query: &str) -> Reply {
    let request = Request::post(format!("/session/logout{query}")).header("sec-fetch-site", "same-origin");
    browser.request(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn r1_the_endpoint_redirects_only_to_what_is_on_the_list_and_logs_out_in_any_case() {
    let site = site(|endpoints| endpoints);
    for (query, status, location) in [
        ("", StatusCode::NO_CONTENT, None),
        ("?client_id=shop", StatusCode::SEE_OTHER, Some("https://shop.example/one")),
        (
            "?returnTo=https://app.example.com/bye?x%231",
            StatusCode::SEE_OTHER,
            Some("https://app.example.com/bye?x#1"),
        ),
        ("?returnTo=https://evil.example/", StatusCode::BAD_REQUEST, None),
        ("?returnTo=//evil.example/", StatusCode::BAD_REQUEST, None),
        ("?returnTo=/", StatusCode::BAD_REQUEST, None),
        ("?returnTo=https://evil.example/%0d%0aSet-Cookie:%20x=1", StatusCode::BAD_REQUEST, None),
        ("?client_id=unknown", StatusCode::BAD_REQUEST, None),
        ("?client_id=unknown&returnTo=https://app.example.com/bye", StatusCode::BAD_REQUEST, None),
    ] {
        let browser = site.browser();
        browser.post("/login/alice").await;
        let witness = browser.copy();
        let reply = log_out(&browser, query).await;
        assert_eq!(reply.status, status, "{query}");
        let header = reply.headers.get(header::LOCATION).map(|value| value.to_str().unwrap());
        assert_eq!(header, location, "{query}");
        assert!(reply.removes_cookie(), "{query}");
        assert_eq!(reply.headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(witness.get("/me").await.reason().as_deref(), Some("signed_out"), "{query}");
        if status == StatusCode::BAD_REQUEST {
            assert_eq!(reply.headers[header::CONTENT_TYPE], "application/problem+json");
            let problem: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
            assert_eq!(problem["status"], 400);
            assert!(!reply.body.contains("evil") && !reply.body.contains("unknown"), "{}", reply.body);
        }
    }
}

#[tokio::test]
async fn r1_a_logout_without_a_session_answers_the_same() {
    let site = site(|endpoints| endpoints);
    assert_eq!(log_out(&site.browser(), "").await.status, StatusCode::NO_CONTENT);
    let reply = log_out(&site.browser(), "?client_id=shop").await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER);
    assert_eq!(reply.set_cookies(), [""; 0]);
}

#[tokio::test]
async fn r2_clear_site_data_is_off_unless_asked_for() {
    let everything = "\"cache\", \"cookies\", \"storage\"";
    for (clear, expected) in [(None, None), (Some(false), None), (Some(true), Some(everything))] {
        let site = site(|endpoints| match clear {
            Some(clear) => endpoints.with_clear_site_data(clear),
            None => endpoints,
        });
        for query in ["", "?client_id=shop", "?returnTo=https://evil.example/"] {
            let browser = site.browser();
            browser.post("/login/alice").await;
            let reply = log_out(&browser, query).await;
            let header = reply.headers.get("clear-site-data").map(|value| value.to_str().unwrap());
            assert_eq!(header, expected, "{query}");
            let status = browser.get("/session/status").await;
            assert!(!status.headers.contains_key("clear-site-data"), "at logout only");
        }
    }
}

#[tokio::test]
async fn r2_observers_see_who_logged_out() {
    static SEEN: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());
    let endpoints = Endpoints::at("/session").unwrap();
    let site = Site::with(|layer| {
        layer.with_endpoints(endpoints).with_observer_fn(|event: &Event<'_>| {
            if let EventKind::Ended(reason) = event.kind {
                let subject = event.subject.unwrap_or_default().to_owned();
                SEEN.lock().unwrap().push((subject, reason.to_string()));
            }
        })
    });
    let browser = site.browser();
    browser.post("/login/alice").await;
    log_out(&browser, "").await;
    assert_eq!(*SEEN.lock().unwrap(), [("alice".to_owned(), "signed_out".to_owned())]);
}

// R1: search for an open redirect

/// The number of cases. Failures are printed, not stored in files.
fn cases(base: u32) -> Config {
    Config { failure_persistence: None, ..Config::with_cases(search::cases(base)) }
}

/// Text that is often close to an allowed URL.
fn nearly_a_url() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => prop::sample::select(vec![
            "https://", "http://", "HTTPS://", "https:", "//", "/", "\\", "app", "example", "com", ".", "pr-", "bye",
            "localhost", ":443", ":3000", ":8443", ":", "@", "?", "#", "..", "%2e", "%2f", "%40", "*", "evil.net",
            "app.example.com", ".example.com/bye", "/bye", "xn--bcher-kva.example", "bücher.example", "\u{3002}",
            "\u{ff0f}", "\t", "\n", " ", "[::1]", "127.0.0.1", "x", "-", "user@", "///", "&",
        ]).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    let free = prop::collection::vec(piece.clone(), 0..12).prop_map(|pieces| pieces.concat());
    let start = prop::sample::select(vec![
        "https://app.example.com/bye",
        "https://x.example.com/bye",
        "https://pr-1.example.com:8443/",
        "http://localhost:3000/",
        "https://bücher.example/",
    ]);
    let bent = (start, prop::collection::vec((any::<prop::sample::Index>(), piece), 0..3)).prop_map(
        |(start, pieces)| {
            let mut text: Vec<char> = start.chars().collect();
            for (at, piece) in pieces {
                let at = at.index(text.len() + 1);
                text.splice(at..at, piece.chars());
            }
            text.into_iter().collect()
        },
    );
    prop_oneof![free, bent]
}

#[test]
fn r1_whatever_is_accepted_leads_a_browser_to_an_allowed_host() {
    let urls = allowed();
    let accepted = Mutex::new(0_u32);
    proptest!(cases(20_000), |(text in nearly_a_url())| {
        *accepted.lock().unwrap() += u32::from(leads_only_to_the_list(&urls, &text));
    });
    assert!(*accepted.lock().unwrap() > 100, "the search has to find some that are accepted");
}

#[test]
fn r1_an_entry_allows_no_more_than_its_own_host() {
    proptest!(cases(5_000), |(entry in nearly_a_url(), text in nearly_a_url())| {
        allows_no_more_than_its_own_host(&entry, &text);
    });
}
