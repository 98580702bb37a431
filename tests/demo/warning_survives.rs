//! The warning script (SPEC T2) on difficult pages, in a real browser: pages that swap their body,
//! run the script again, forbid styles, shadow properties of the document, log in without a page
//! load, or have frames.

use std::{io::Write, time::Duration};

use serde_json::{Value, json};

use super::{
    pages::{TAG, library_file},
    warning::DIALOG,
};
use crate::common::visit::Visit;

/// The warning comes 20 seconds before the end, so after 4 seconds.
const SHORT: Duration = Duration::from_secs(24);
const LONG: Duration = Duration::from_secs(600);

/// A library swaps the body while the dialog is shown, while it is not, and back.
async fn survives_swaps(name: &str) {
    if !library_file(name).exists() {
        assert!(std::env::var_os("TENURE_ALL").is_none(), "{name} is missing, and nothing may be left out");
        // Not `eprintln`, which the test harness would capture.
        let _ = writeln!(std::io::stderr(), "left out: {name} (needs tests/pages/install.sh target/pages)");
        return;
    }
    let head = format!("{TAG}<script src=/lib/{name}></script>");
    // The swapped-in page runs the script again.
    let body = |here: &str, to: &str, more: &str| {
        format!(
            "<h1>{here}</h1><a id=go href={to} hx-get={to} hx-target=body hx-push-url=true>{to}</a>{more}"
        )
    };
    let first = body("first", "/second", "");
    let second = body("second", "/first", &TAG.replace(" defer", ""));
    let pages = [("/empty", "", "", ""), ("/first", &*head, &*first, ""), ("/second", &*head, &*second, "")];
    let Some(visit) = Visit::pages(name, SHORT, &pages).await else { return };
    visit.log_in_on("/first").await;
    visit.has_one_dialog().await;
    visit.run("globalThis.loaded = true; document.getElementById('go').click();").await;
    visit.sees("h1", "second").await.unwrap();
    visit.has_one_dialog().await;
    // The timers continue, and the buttons work.
    let said = visit.run("return document.querySelector('.tenure-clock').textContent").await;
    let counts = "return document.querySelector('.tenure-clock').textContent !== arguments[0];";
    visit.becomes_true(counts, vec![said]).await.unwrap();
    visit.stays().await;

    visit.run("document.getElementById('go').click();").await;
    visit.sees("h1", "first").await.unwrap();
    visit.has_one_dialog().await;
    visit.stays().await;
    // The library's page cache does not restore a dead copy of a dialog.
    visit.client.back().await.unwrap();
    visit.sees("h1", "second").await.unwrap();
    visit.no_dialog().await.unwrap();
    visit.has_one_dialog().await;
    assert_eq!(visit.run("return loaded").await, true, "every page was swapped in");
    visit.finish().await.unwrap();
}

#[tokio::test]
async fn t2_it_survives_the_body_swaps_of_turbo() {
    survives_swaps("turbo").await;
}

#[tokio::test]
async fn t2_it_survives_the_body_swaps_of_htmx() {
    survives_swaps("htmx").await;
}

#[tokio::test]
async fn t2_it_survives_the_body_swaps_of_htmx_2() {
    survives_swaps("htmx-2").await;
}

#[tokio::test]
async fn t2_a_page_that_removes_everything_gets_the_dialog_back() {
    let pages = [("/page", TAG, "<h1>page</h1>", "")];
    let Some(visit) = Visit::pages("removal", SHORT, &pages).await else { return };
    visit.log_in_on("/page").await;
    visit.has_one_dialog().await;
    for removal in [
        "document.querySelector('dialog').remove()",
        "document.body.replaceWith(document.createElement('body'))",
        "document.documentElement.replaceChildren(document.createElement('body'))",
        "document.documentElement.innerHTML = '<body><h1>other</h1>'",
        "document.documentElement.replaceWith(document.createElement('html'))",
        "document.adoptedStyleSheets = []; document.querySelector('dialog').remove()",
    ] {
        visit.run(&format!("setTimeout(() => {{ {removal} }})")).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        visit.has_one_dialog().await;
    }
    visit.stays().await;
    visit.has_one_dialog().await;
    visit.finish().await.unwrap();
}

#[tokio::test]
async fn t2_evaluated_many_times_it_is_one_instance() {
    let five = TAG.repeat(5);
    let pages = [("/empty", "", "", ""), ("/five", &*five, "", "")];
    let Some(visit) = Visit::pages("five times", SHORT, &pages).await else { return };
    visit.log_in_on("/five").await;
    let more = "const done = arguments[0];
        const add = (src, text) => new Promise((then) => {
            const tag = Object.assign(document.createElement('script'), { onload: then, text });
            if (src) tag.src = src;
            document.head.append(tag);
            if (!src) then();
        });
        (async () => {
            const first = tenure;
            const { text } = { text: await (await fetch('/session/tenure.js')).text() };
            await add('/session/tenure.js?again');
            await add('', text);
            (0, eval)(text);
            const { default: module } = await import('/session/tenure.mjs');
            done([first === tenure, first === module]);
        })();";
    assert_eq!(visit.client.execute_async(more, vec![]).await.unwrap(), json!([true, true]));
    assert_eq!(visit.asks("dispatchEvent(new Event('focus'))").await, 1);
    visit.has_one_dialog().await;
    visit.stays().await;
    visit.finish().await.unwrap();
}

#[tokio::test]
async fn t2_the_attributes_of_the_last_tag_count() {
    let tag = |lang: &str, stay: &str| {
        format!(
            "<script src=/session/tenure.js data-lang={lang} data-texts='{{\"stay\": \"{stay}\"}}'></script>"
        )
    };
    let both = [tag("de", "Bleiben"), tag("fr", "Rester")].concat();
    let module = tag("es", "Seguir").replace("<script", "<script type=application/json")
        + "<script type=module>import '/session/tenure.mjs?lang=it';</script>";
    let pages = [("/page", &*both, "", ""), ("/module", &*module, "", "")];
    let Some(visit) = Visit::pages("attributes", SHORT, &pages).await else { return };
    visit.log_in_on("/page").await;
    visit.sees(DIALOG, "Rester").await.unwrap();
    assert_eq!(visit.run("return document.querySelector('dialog.tenure').lang").await, "fr");

    // A module has no script tag, and uses the attributes of no other tag.
    visit.open("/module").await.unwrap();
    visit.sees(DIALOG, "Are you still there?").await.unwrap();
    let text = "return [document.querySelector('dialog.tenure').lang, document.activeElement.textContent]";
    assert_eq!(visit.run(text).await, json!(["it", "Stay signed in"]));
    visit.finish().await.unwrap();
}

#[tokio::test]
async fn t2_under_a_policy_of_a_nonce_alone_it_is_styled_and_counts_once() {
    let csp = "default-src 'none'; script-src 'nonce-n0'; style-src 'nonce-n0'; connect-src 'self'; img-src data:; \
        base-uri 'none'; require-trusted-types-for 'script'";
    let tag = "<script nonce=n0 src=/session/tenure.js></script>";
    let Some(visit) = Visit::pages("a nonce", SHORT, &[("/page", tag, "", csp)]).await else { return };
    visit.log_in_on("/page").await;
    visit.has_one_dialog().await;
    let seen = "const seen = (name) => getComputedStyle(document.querySelector('dialog.tenure ' + name));
        return [seen('.tenure-main').backgroundColor !== seen('.tenure-buttons').backgroundColor,
            seen('.tenure-clock').fontWeight, seen('.tenure-live').clipPath, seen('.tenure-live').position];";
    let styled = json!([true, "600", "inset(50%)", "absolute"]);
    visit
        .becomes_true(
            "return getComputedStyle(document.querySelector('.tenure-clock')).fontWeight === '600'",
            vec![],
        )
        .await
        .unwrap();
    assert_eq!(visit.run(seen).await, styled);
    visit.stays().await;
    visit.finish().await.unwrap();
}

/// Markup that shadows the properties that scripts use.
const CLOBBER: &str = "<base href=http://localhost:1/>
    <img name=currentScript src='data:,' data-login='javascript:pwned=1' data-endpoints=//localhost:1>
    <form name=documentElement></form><form name=head></form><form name=createElement></form>
    <img name=dispatchEvent><img name=addEventListener><img name=hidden>
    <img name=adoptedStyleSheets><a id=tenure href='javascript:pwned=1'></a><a id=tenureSource href=//localhost:1></a>
    <a id=origin></a><a id=parent></a><h2 id=tenure-text-2>x</h2>";

#[tokio::test]
async fn t2_markup_is_not_taken_for_the_script_and_breaks_nothing() {
    // The script is deferred, so the markup exists before it runs.
    let Some(visit) = Visit::pages("clobbering", SHORT, &[("/page", TAG, CLOBBER, "")]).await else { return };
    visit.log_in_on("/page").await;
    assert_eq!(visit.run("return document.currentScript.tagName").await, "IMG", "it is shadowed");
    visit.has_one_dialog().await;
    // WebDriver's click needs `document.documentElement`, which is shadowed too, so a script
    // clicks.
    let click = "document.querySelector('.tenure-main').click()";
    visit.run(click).await;
    visit.no_dialog().await.unwrap();
    visit.is_over().await;
    visit.run(click).await;
    let expected = visit.url("/?return_to=%2Fpage&reason=signed_out");
    visit.becomes_true("return location.href === arguments[0]", vec![expected.into()]).await.unwrap();
    assert_eq!(visit.run("return typeof pwned").await, "undefined");
    visit.client.close().await.unwrap();
}

#[tokio::test]
async fn t2_the_login_page_is_http_or_https_and_gets_where_from_and_why() {
    let Some(visit) = Visit::pages("login pages", LONG, &[("/page", "", "", "")]).await else { return };
    let port = visit.demo.address.port();
    let here = visit.url("");
    let added = "return_to=%2Fpage%3Fa%3Db&reason=signed_out";
    let other = format!("http://login.test:{port}/sign-in?x=%20y");
    let pages = [
        ("", format!("{here}/?{added}")),
        ("/sign-in", format!("{here}/sign-in?{added}")),
        ("sign-in?page=1#form", format!("{here}/sign-in?page=1&{added}#form")),
        ("javascript:location='/pwned'", format!("{here}/?{added}")),
        (" java\nscript:location='/pwned'", format!("{here}/?{added}")),
        ("data:text/html,pwned", format!("{here}/?{added}")),
        ("blob:http://x/y", format!("{here}/?{added}")),
        ("http://", format!("{here}/?{added}")),
        (&*other, format!("{other}&{added}")),
    ];
    for (login, expected) in pages {
        visit.fetch_login().await;
        visit.open("/page?a=b").await.unwrap();
        let tag = "const tag = document.createElement('script'); tag.src = '/session/tenure.js';
            tag.dataset.login = arguments[0]; document.head.append(tag);";
        visit.client.execute(tag, vec![login.into()]).await.unwrap();
        visit.knows_the_session().await;
        visit.is_over().await;
        visit.click(".tenure-main").await.unwrap();
        visit.becomes_true("return location.href === arguments[0]", vec![expected.into()]).await.unwrap();
        visit.open("/page").await.unwrap();
    }
    visit.client.close().await.unwrap();
}

#[tokio::test]
async fn t2_the_endpoints_are_of_this_origin_whatever_the_tag_says() {
    let pages =
        [("/page", "<script src=/session/tenure.js data-endpoints=//localhost:1/session></script>", "", "")];
    let Some(visit) = Visit::pages("endpoints", LONG, &pages).await else { return };
    visit.log_in_on("/page").await;
    visit.finish().await.unwrap();
}

#[tokio::test]
async fn t2_a_login_without_a_page_load_starts_warnings_and_activity() {
    let Some(visit) = Visit::pages("a login by fetch", SHORT, &[("/page", TAG, "", "")]).await else {
        return;
    };
    visit.becomes_true("return !!globalThis.tenure", vec![]).await.unwrap();
    visit.fetch_login().await;
    visit.has_one_dialog().await;
    visit.stays().await;
    // The same after an end that the page handles itself.
    visit.is_over().await;
    visit.fetch_login().await;
    visit.has_one_dialog().await;
    visit.finish().await.unwrap();
}

#[tokio::test]
async fn t2_after_a_login_that_no_request_of_the_page_shows_activity_or_an_event_is_enough() {
    let Some(visit) = Visit::pages("a login elsewhere", LONG, &[("/page", TAG, "<h1>page</h1>", "")]).await
    else {
        return;
    };
    visit.becomes_true("return !!globalThis.tenure", vec![]).await.unwrap();
    // The page does not see the requests of a worker.
    let login = "const done = arguments[0];
        const source = `fetch('${origin}/login', { method: 'POST' }).then((r) => postMessage(r.status))`;
        const worker = new Worker(URL.createObjectURL(new Blob([source])));
        worker.onmessage = ({ data }) => done(data);";
    assert_eq!(visit.client.execute_async(login, vec![]).await.unwrap(), 200);
    assert_eq!(visit.run("return tenure.status()").await, Value::Null);
    visit.click("h1").await.unwrap();
    assert_eq!(visit.asks("").await, 0, "the page was loaded less than a minute ago");
    let minute = "const there = performance.now.bind(performance); performance.now = () => there() + 61000;";
    visit.run(minute).await;
    visit.click("h1").await.unwrap();
    visit.knows_the_session().await;
    // The click counts as an interaction.
    visit
        .becomes_true(
            "const { now, idle_expires_at, idle_lifetime } = tenure.status();
            return Date.parse(idle_expires_at) - Date.parse(now) > 1000 * idle_lifetime - 500",
            vec![],
        )
        .await
        .unwrap();

    visit.open("/page").await.unwrap();
    visit.knows_the_session().await;
    visit.is_over().await;
    assert_eq!(visit.client.execute_async(login, vec![]).await.unwrap(), 200);
    visit.run("document.dispatchEvent(new Event('tenure:login'))").await;
    visit.knows_the_session().await;
    visit.no_dialog().await.unwrap();
    visit.finish().await.unwrap();
}

#[tokio::test]
async fn t2_a_stranger_whose_page_polls_is_asked_about_ever_more_rarely() {
    let Some(visit) = Visit::pages("a stranger", LONG, &[("/page", TAG, "", "")]).await else { return };
    visit.becomes_true("return !!globalThis.tenure", vec![]).await.unwrap();
    visit.run("setInterval(() => fetch('/poll'), 100)").await;
    let before = visit.asked();
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert!(visit.asked() - before <= 5, "{}", visit.asked() - before);
    visit.finish().await.unwrap();
}

#[tokio::test]
async fn t2_a_page_and_its_frames_have_one_dialog_and_one_status_request() {
    let frames =
        "<h1>top</h1><iframe src=/inner></iframe><iframe src=/inner></iframe><iframe src=/outer></iframe>
        <iframe srcdoc='<script src=/session/tenure.js></script>'></iframe>";
    let bare = frames.replace("<h1>", "<iframe hidden src=/inner></iframe><h1>");
    let pages = [
        ("/empty", "", "", ""),
        ("/top", TAG, frames, ""),
        ("/bare", "", &*bare, ""),
        ("/inner", TAG, "<h1>inner</h1>", ""),
        ("/outer", "", "<iframe src=/inner></iframe>", ""),
    ];
    let Some(visit) = Visit::pages("frames", SHORT, &pages).await else { return };
    visit.log_in_on("/top").await;
    let dialogs = "const all = (at) => [at.document.querySelectorAll('dialog.tenure').length,
            ...[...at.document.querySelectorAll('iframe')].flatMap((frame) => all(frame.contentWindow))];
        return all(window);";
    visit.has_one_dialog().await;
    assert_eq!(visit.run(dialogs).await, json!([1, 0, 0, 0, 0, 0]));
    let everywhere =
        "for (const at of [window, ...Array.from(frames, (at) => at)]) at.dispatchEvent(new Event('focus'))";
    assert_eq!(visit.asks(everywhere).await, 1);
    visit.stays().await;
    // A login in a frame counts for the whole page.
    visit.is_over().await;
    let login =
        "const done = arguments[0]; frames[0].fetch('/login', { method: 'POST' }).then(() => done(1));";
    visit.client.execute_async(login, vec![]).await.unwrap();
    visit.has_one_dialog().await;
    assert_eq!(visit.run(dialogs).await, json!([1, 0, 0, 0, 0, 0]));

    // If the top page has no script, the first visible frame shows the dialog. A script that is
    // added to the top page later takes over.
    visit.open("/bare").await.unwrap();
    let shown = format!("return JSON.stringify((() => {{ {dialogs} }})()) === arguments[0]");
    visit.becomes_true(&shown, vec!["[0,0,1,0,0,0,0]".into()]).await.unwrap();
    let late = "document.head.append(Object.assign(document.createElement('script'), { src: '/session/tenure.js' }))";
    visit.run(late).await;
    visit.becomes_true(&shown, vec!["[1,0,0,0,0,0,0]".into()]).await.unwrap();
    visit.stays().await;
    visit.finish().await.unwrap();
}

#[tokio::test]
async fn t2_over_plain_http_the_console_says_why_a_login_does_not_last() {
    let Some(visit) = Visit::pages("plain http", LONG, &[("/page", TAG, "", "")]).await else { return };
    assert_eq!(visit.hints().await, 0, "localhost may have Secure cookies");
    let port = visit.demo.address.port();
    visit.client.goto(&format!("http://lan.test:{port}/page")).await.unwrap();
    visit.becomes_true("return !!globalThis.tenure", vec![]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(visit.hints().await, 1);
    visit.client.close().await.unwrap();
}
