//! "Where you are signed in" (SPEC P): the endpoints of the demo over HTTP, and its page in a real
//! browser.

use serde_json::{Value, json};

use crate::common::{
    chrome,
    client::{Browser, FORM},
    demo::Demo,
    visit::Visit,
};

const SAME_ORIGIN: &str = "Sec-Fetch-Site: same-origin";
const HTML: &str = "Accept: text/html";

/// A browser in which this user is signed in.
fn device(demo: &Demo, user: &str, user_agent: &str) -> Browser {
    let mut browser = demo.browser();
    let answer = browser.send(
        "POST /login",
        &[FORM, &format!("User-Agent: {user_agent}")],
        format!("user={user}").as_bytes(),
    );
    assert_eq!(answer.status, 303);
    browser
}

fn list(browser: &mut Browser) -> Vec<Value> {
    let answer = browser.send("GET /session/sessions", &[SAME_ORIGIN], b"");
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")));
    answer.json()["sessions"].as_array().unwrap().clone()
}

#[test]
fn p1_the_endpoints_list_and_end_the_users_own_sessions() {
    let demo = Demo::start(&[]);
    let mut ada = device(&demo, "ada", "curl/8.5.0");
    let (mut lost, mut bob) = (device(&demo, "ada", "Firefox/145.0 (Windows)"), device(&demo, "bob", ""));
    let sessions = list(&mut ada);
    let facts: Vec<_> =
        sessions.iter().map(|one| json!([one["current"], one["device"], one["bound"]])).collect();
    assert_eq!(facts, [json!([false, "Firefox on Windows", false]), json!([true, "curl", false])]);
    assert_eq!(sessions[0].as_object().unwrap().len(), 6);

    let one = format!("DELETE /session/sessions/{}", sessions[0]["sid"].as_str().unwrap());
    assert_eq!(ada.send(&one, &[], b"").status, 403, "from nowhere");
    assert_eq!(ada.send(&one, &["Sec-Fetch-Site: cross-site"], b"").status, 403);
    assert_eq!(ada.send("GET /session/sessions", &[], b"").status, 403);
    assert_eq!(bob.send(&one, &[SAME_ORIGIN], b"").status, 404);
    assert_eq!(ada.send("POST /session/sessions", &[SAME_ORIGIN], b"").status, 405);
    assert_eq!(ada.send(&one, &[SAME_ORIGIN], b"").status, 204);
    assert_eq!(lost.get("/me").reason(), (401, "revoked".into()));

    let mut another = device(&demo, "ada", "");
    assert_eq!(ada.send("DELETE /session/sessions", &[SAME_ORIGIN], b"").status, 204);
    assert_eq!(another.get("/me").reason(), (401, "revoked".into()));
    assert_eq!((list(&mut ada).len(), list(&mut bob).len()), (1, 1));

    let mut stranger = demo.browser();
    let answer = stranger.send("GET /session/sessions", &[SAME_ORIGIN], b"");
    assert_eq!(answer.reason(), (401, "none".into()));
}

#[test]
fn p3_the_page_asks_to_sign_in_first_and_shows_what_a_device_says_as_text() {
    let demo = Demo::start(&[]);
    let page = demo.browser().send("GET /sessions", &[HTML, "Sec-Fetch-Mode: navigate"], b"");
    assert_eq!((page.status, page.header("location")), (303, Some("/?return_to=/sessions&reason=none")));
    assert_eq!(demo.browser().get("/sessions").reason(), (401, "none".into()));

    let mut ada = device(&demo, "ada", "curl/8.5.0");
    device(&demo, "ada", "<script>alert(1)</script>");
    let page = ada.get("/sessions").body;
    assert!(page.contains("&lt;script&gt;alert(1)") && !page.contains("<script>alert"), "{page}");
    for (form, status) in [("", 400), ("sid=junk", 400), ("sid=AAAAAAAAAAAAAAAAAAAAAA", 303), ("all=1", 303)]
    {
        let answer = ada.send("POST /sessions/end", &[FORM, SAME_ORIGIN], form.as_bytes());
        assert_eq!(answer.status, status, "{form}");
    }
    let answer = ada.send("POST /sessions/end", &[FORM, "Sec-Fetch-Site: cross-site"], b"all=1");
    assert_eq!(answer.status, 403);
}

#[tokio::test]
async fn p3_a_person_signs_out_of_one_device_and_of_all_others() {
    let Some(visit) = Visit::start("own sessions", &[]).await else { return };
    let demo = &visit.demo;
    visit.log_in("ada", true).await.unwrap();
    visit.click("a[href='/sessions']").await.unwrap();
    visit.sees("h1", "Where you are signed in").await.unwrap();
    visit.sees("#this-device", "Chrome on Linux").await.unwrap();
    visit.sees("#this-device .badge", "This device").await.unwrap();
    visit.sees(".empty", "nowhere else").await.unwrap();

    let windows = "Mozilla/5.0 (Windows NT 10.0; rv:145.0) Gecko/20100101 Firefox/145.0";
    let (mut firefox, mut curl) = (device(demo, "ada", windows), device(demo, "ada", "curl/8.5.0"));
    device(demo, "bob", "Python-urllib/3.11");
    visit.client.refresh().await.unwrap();
    visit.sees(".all", "2 other devices").await.unwrap();
    let names =
        "return [...document.querySelectorAll('.devices h3')].map((h) => h.firstChild.data.trim()).join();";
    assert_eq!(visit.client.execute(names, vec![]).await.unwrap(), "curl,Firefox on Windows");
    visit.sees(".devices .hint", "Active just now").await.unwrap();

    visit.click("button[aria-label^='Sign out of Firefox on Windows']").await.unwrap();
    visit.sees(".note.done", "That device is signed out.").await.unwrap();
    visit.sees(".all", "One other device").await.unwrap();
    assert_eq!(firefox.get("/me").reason(), (401, "revoked".into()));
    assert_eq!(curl.get("/me").status, 200);

    visit.click(".all button").await.unwrap();
    visit.sees(".note.done", "All other devices are signed out.").await.unwrap();
    visit.sees(".empty", "nowhere else").await.unwrap();
    assert_eq!(curl.get("/me").reason(), (401, "revoked".into()));

    visit.click("#this-device button").await.unwrap();
    visit.sees("#signed-out h2", "Sign in").await.unwrap();
    assert!(visit.client.get_named_cookie("__Host-id").await.is_err(), "the cookie is removed");
    visit.finish().await.unwrap();
}

/// Where the redirect of a step-up leads. A test with a manual clock covers the boundary of 15
/// minutes.
#[tokio::test]
async fn p3_an_old_login_is_asked_to_sign_in_again_and_comes_back() {
    let Some(visit) = Visit::start("own sessions after a step-up", &[]).await else { return };
    visit.log_in("ada", true).await.unwrap();
    let before = visit.client.get_named_cookie("__Host-id").await.unwrap();
    visit.client.goto(&visit.url("/sessions?reason=step_up")).await.unwrap();
    visit.sees("#confirm", "signed in within the last 15 minutes").await.unwrap();
    visit.click("#confirm button").await.unwrap();
    visit.sees(".empty", "nowhere else").await.unwrap();
    assert_eq!(visit.client.current_url().await.unwrap().path(), "/sessions");
    let after = visit.client.get_named_cookie("__Host-id").await.unwrap();
    assert_ne!(before.value(), after.value(), "a new session");
    assert!(after.expires_datetime().is_some(), "of the same mode");
    let shown = "return document.getElementById('confirm').checkVisibility();";
    assert_eq!(visit.client.execute(shown, vec![]).await.unwrap(), false);
    visit.finish().await.unwrap();
}

#[tokio::test]
async fn p3_the_page_fits_from_320_px_and_its_buttons_a_thumb() {
    let Some(visit) = Visit::start("the width of own sessions", &[]).await else { return };
    visit.log_in(&"a-long-name-without-a-space".repeat(4), false).await.unwrap();
    for user_agent in ["curl/8.5.0", &"A".repeat(300)] {
        device(&visit.demo, &"a-long-name-without-a-space".repeat(4), user_agent);
    }
    for path in ["/sessions", "/sessions?reason=step_up&done=all", "/"] {
        for width in [1280, 390, 320] {
            let size =
                json!({ "width": width, "height": 640, "deviceScaleFactor": 1, "mobile": width < 500 });
            chrome::cdp(&visit.client, "Emulation.setDeviceMetricsOverride", size).await;
            visit.client.goto(&visit.url(path)).await.unwrap();
            visit.sees("h1", "").await.unwrap();
            let facts =
                "return [document.documentElement.scrollWidth <= arguments[0], [...document.querySelectorAll('button')]
                .filter((b) => b.checkVisibility()).every((b) => b.getBoundingClientRect().height >= 44)];";
            let found = visit.client.execute(facts, vec![width.into()]).await.unwrap();
            assert_eq!(found, json!([true, true]), "{path} at {width}");
        }
    }
    visit.finish().await.unwrap();
}
