//! The script that warns before a session ends (SPEC T2): as served, and in a real browser.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use fantoccini::{Client, Locator, key::Key};
use serde_json::{Value, json};
use tower_tenure::{MemoryStore, SessionLayer, browser::Endpoints, testing::Probe};

use crate::common::{
    Site, chrome,
    client::Browser,
    usual_routes,
    visit::{Result, Visit, Visited},
};

/// The warning comes 20 seconds before the end, so after 4 seconds.
const SHORT: [&str; 2] = ["--idle=24s", "--ephemeral-idle=24s"];

#[tokio::test]
async fn t2_the_files_are_cached_by_their_version_and_cost_no_store_call() {
    let store = Probe::remote(MemoryStore::new());
    let endpoints = Endpoints::at("/session").unwrap();
    let path = endpoints.script_path();
    let site =
        Site::over(SessionLayer::new(store.clone()), usual_routes(), |layer| layer.with_endpoints(endpoints));
    let ada = site.browser();
    ada.post("/login/ada").await;
    store.take_calls();

    let script = ada.get(&path).await;
    assert!(script.body.len() <= 9000, "{} bytes", script.body.len());
    assert_eq!(script.headers["content-type"], "text/javascript; charset=utf-8");
    assert_eq!(script.headers["cache-control"], "public, max-age=31536000, immutable");
    let version = path.strip_prefix("/session/tenure.").and_then(|rest| rest.strip_suffix(".js"));
    assert_eq!(version.map(str::len), Some(12), "{path}");
    let same = ada.get("/session/tenure.js").await;
    assert_eq!((&same.body, &same.headers["cache-control"]), (&script.body, &"no-cache".parse().unwrap()));
    assert_eq!(same.headers["etag"], script.headers["etag"]);
    let module = ada.get("/session/tenure.mjs").await;
    assert!(module.body.contains(&script.body) && module.body.contains("export default"));
    let style = script
        .body
        .split("${base}/")
        .skip(1)
        .find_map(|rest| rest.split_once('`').map(|(name, _)| name))
        .unwrap();
    let style = ada.get(&format!("/session/{style}")).await;
    assert_eq!(style.status, StatusCode::OK);
    assert_eq!(style.headers["cache-control"], "public, max-age=31536000, immutable");
    assert_eq!(style.headers["content-type"], "text/css; charset=utf-8");
    assert_eq!(style.body, ada.get("/session/tenure.css").await.body);

    let known =
        Request::get(&path).header("if-none-match", &script.headers["etag"]).body(Body::empty()).unwrap();
    let unchanged = site.send(known).await;
    assert_eq!((unchanged.status, &*unchanged.body), (StatusCode::NOT_MODIFIED, ""));
    let other = ada.post("/session/tenure.js").await;
    assert_eq!(
        (other.status, &other.headers["allow"]),
        (StatusCode::METHOD_NOT_ALLOWED, &"GET, HEAD".parse().unwrap())
    );
    assert_eq!(store.take_calls(), [], "no session is looked at");
    for missing in ["/session/tenure.0123456789ab.js", "/session/tenure", "/session/", "/session/warning.js"]
    {
        assert_eq!(ada.get(missing).await.status, StatusCode::NOT_FOUND, "{missing}");
    }
    assert!(script.set_cookies().is_empty() && script.headers.get("vary").is_none());
}

pub(crate) const DIALOG: &str = "dialog.tenure";

impl<S: Visited> Visit<S> {
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.client.execute(script, vec![]).await.unwrap()
    }

    pub(crate) async fn no_dialog(&self) -> Result {
        self.becomes_true("return !document.querySelector('dialog.tenure');", vec![]).await
    }
}

impl Visit {
    /// Logged in on the demo's page with a persistent session.
    async fn logged_in(test: &str, flags: &[&str]) -> Option<Self> {
        let visit = Self::start(test, flags).await?;
        visit.log_in("ada", false).await.unwrap();
        Some(visit)
    }

    async fn focus(&self) -> String {
        self.run("return document.activeElement.textContent;").await.as_str().unwrap_or_default().to_owned()
    }

    /// A client outside of the browser with the same session.
    async fn cookie(&self) -> Browser {
        let cookie = self.client.get_named_cookie("__Host-id").await.unwrap();
        Browser { cookie: Some(format!("__Host-id={}", cookie.value())), ..self.demo.browser() }
    }

    async fn idle_expires_at(&self) -> String {
        let mut browser = self.cookie().await;
        browser.get("/session/status").json()["idle_expires_at"].as_str().unwrap_or_default().to_owned()
    }
}

#[tokio::test]
async fn t2_the_dialog_warns_says_how_long_and_extends_by_mouse_and_by_keyboard() {
    let Some(visit) = Visit::logged_in("the warning", &SHORT).await else { return };
    let before = visit.idle_expires_at().await;
    visit.run("document.getElementById('add').focus()").await;
    visit.sees(DIALOG, "Are you still there?").await.unwrap();
    visit.sees(".tenure-clock", "seconds").await.unwrap();
    visit.picture("warning.png").await.unwrap();
    let facts = visit.run(
        "const d = document.querySelector('dialog.tenure');
        const by = (name) => document.getElementById(d.getAttribute(name)).textContent;
        return [d.getAttribute('role'), by('aria-labelledby'), by('aria-describedby'), d.matches(':modal'),
            d.querySelector('.tenure-clock').getAttribute('aria-hidden'), d.querySelector('.tenure-live').getAttribute('role'),
            document.activeElement.textContent];",
    );
    assert_eq!(
        facts.await,
        json!([
            "alertdialog",
            "Are you still there?",
            "There was no activity for a while. You will be signed out in",
            true,
            "true",
            "status",
            "Stay signed in"
        ])
    );
    // The visible text counts down each second. The live region does not.
    let read =
        "return ['clock', 'live'].map((name) => document.querySelector('.tenure-' + name).textContent);";
    let before_that = visit.run(read).await;
    visit
        .becomes_true(
            "return document.querySelector('.tenure-clock').textContent !== arguments[0];",
            vec![before_that[0].clone()],
        )
        .await
        .unwrap();
    assert_eq!(visit.run(read).await[1], before_that[1]);
    // Keys and clicks outside the dialog extend nothing while it is shown.
    visit.press_key(Key::Shift).await.unwrap();
    assert_eq!(visit.idle_expires_at().await, before);
    visit.click(".tenure-main").await.unwrap();
    visit.no_dialog().await.unwrap();
    assert!(visit.idle_expires_at().await > before);
    assert_eq!(visit.run("return document.activeElement.id").await, "add", "the focus is where it was");

    visit.sees(DIALOG, "Are you still there?").await.unwrap();
    let before = visit.idle_expires_at().await;
    visit.press_key(Key::Escape).await.unwrap();
    visit.no_dialog().await.unwrap();
    assert!(visit.idle_expires_at().await > before, "Esc stays signed in");

    visit.sees(DIALOG, "Are you still there?").await.unwrap();
    visit.press_key(Key::Tab).await.unwrap();
    assert_eq!(visit.focus().await, "Sign out");
    visit.press_key(Key::Enter).await.unwrap();
    visit.sees("[data-reason=signed_out]", "You have signed out.").await.unwrap();
    visit.no_dialog().await.unwrap();
    visit.finish().await.unwrap();
}

#[tokio::test]
async fn t2_before_the_absolute_deadline_there_is_no_stay() {
    let flags = ["--absolute=24s", "--ephemeral-absolute=24s"];
    let Some(visit) = Visit::logged_in("the absolute warning", &flags).await else { return };
    visit.sees(DIALOG, "Your session ends soon").await.unwrap();
    visit.sees(DIALOG, "save your work").await.unwrap();
    let buttons = "return [...document.querySelectorAll('dialog.tenure button')].map((b) => b.textContent);";
    assert_eq!(visit.run(buttons).await, json!(["Close", "Sign out"]));
    visit.press_key(Key::Escape).await.unwrap();
    visit.no_dialog().await.unwrap();
    // The user saves work, and the warning does not come back.
    visit.click("#add").await.unwrap();
    visit.sees("#count", "1").await.unwrap();
    assert_eq!(visit.run("return !!document.querySelector('dialog.tenure')").await, false);
    visit.sees("[data-reason=absolute]", "reached its maximum lifetime").await.unwrap();
    visit.finish().await.unwrap();
}

/// A second tab on the demo's page.
async fn another_tab(visit: &Visit) -> (Client, fantoccini::wd::WindowHandle, fantoccini::wd::WindowHandle) {
    let first = visit.client.window().await.unwrap();
    let second = visit.client.new_window(true).await.unwrap().handle;
    visit.client.switch_to_window(second.clone()).await.unwrap();
    visit.home().await.unwrap();
    visit.sees("#user-name", "ada").await.unwrap();
    (visit.client.clone(), first, second)
}

#[tokio::test]
async fn t2_an_extension_and_a_logout_in_one_tab_show_in_the_other() {
    let Some(visit) = Visit::logged_in("two tabs", &SHORT).await else { return };
    let (client, first, second) = another_tab(&visit).await;
    visit.sees(DIALOG, "Are you still there?").await.unwrap();
    client.switch_to_window(first.clone()).await.unwrap();
    visit.sees(DIALOG, "Are you still there?").await.unwrap();
    visit.click(".tenure-main").await.unwrap();
    visit.no_dialog().await.unwrap();
    client.switch_to_window(second.clone()).await.unwrap();
    visit.no_dialog().await.unwrap();

    visit.sees(DIALOG, "Are you still there?").await.unwrap();
    visit.click("dialog.tenure button:last-child").await.unwrap();
    visit.no_dialog().await.unwrap();
    client.switch_to_window(first).await.unwrap();
    visit.sees("[data-reason=signed_out]", "You have signed out.").await.unwrap();
    visit.no_dialog().await.unwrap();
    visit.finish().await.unwrap();
}

#[tokio::test]
async fn t2_while_the_server_is_away_no_user_is_signed_out_and_it_says_so() {
    let Some(visit) = Visit::logged_in("the warning without a server", &SHORT).await else { return };
    visit.sees(DIALOG, "Are you still there?").await.unwrap();
    signal(&visit, "STOP");
    visit.run("globalThis.fetch = () => Promise.reject(new TypeError('offline'));").await;
    visit.click(".tenure-main").await.unwrap();
    visit.sees(".tenure-trouble", "cannot be reached. Trying again.").await.unwrap();
    assert_eq!(
        visit.run("return document.querySelector('.tenure-trouble').getAttribute('role')").await,
        "alert"
    );
    signal(&visit, "CONT");
    visit.run("delete globalThis.fetch; location.reload();").await;
    visit.sees("#user-name", "ada").await.unwrap();

    // Offline before the warning is due: the warning comes anyway. Once online, the server's answer
    // counts.
    visit
        .run("globalThis.there = fetch; globalThis.fetch = () => Promise.reject(new TypeError('offline'));")
        .await;
    visit.sees(DIALOG, "Are you still there?").await.unwrap();
    visit.sees(".tenure-trouble", "cannot be reached").await.unwrap();
    visit.run("globalThis.fetch = globalThis.there;").await;
    visit
        .becomes_true("return document.querySelector('.tenure-trouble')?.textContent === '';", vec![])
        .await
        .unwrap();
    visit.click(".tenure-main").await.unwrap();
    visit.no_dialog().await.unwrap();
    visit.client.close().await.unwrap();
}

fn signal(visit: &Visit, name: &str) {
    let pid = visit.demo.process.id().to_string();
    let _ = std::process::Command::new("kill").args([&format!("-{name}"), &pid]).status();
}

/// A page of another application with the one script tag.
async fn with_tag(visit: &Visit, attributes: &str) {
    visit.client.goto(&visit.url("/public")).await.unwrap();
    let script = "const tag = document.createElement('script'); tag.src = '/session/tenure.js';
        for (const [name, value] of Object.entries(arguments[0])) tag.dataset[name] = value;
        globalThis.seen = []; for (const name of ['warning', 'extended', 'ended'])
            document.addEventListener('tenure:' + name, (event) => {
                seen.push([name, event.detail.kind || event.detail.reason || '']);
                if (arguments[0].own) event.preventDefault();
            });
        document.head.append(tag);";
    let attributes: Value = serde_json::from_str(attributes).unwrap();
    visit.client.execute(script, vec![attributes]).await.unwrap();
    visit.becomes_true("return !!globalThis.tenure?.status();", vec![]).await.unwrap();
}

#[tokio::test]
async fn t2_the_end_is_said_in_words_with_the_way_back_and_attributes_and_events_change_it() {
    let Some(visit) = Visit::logged_in("the end", &["--ephemeral-idle=21s"]).await else { return };
    with_tag(
        &visit,
        r#"{"login": "/", "lang": "de", "texts": "{\"idle\": \"Noch da?\", \"stay\": \"Bleiben\"}"}"#,
    )
    .await;
    visit.sees(DIALOG, "Noch da?").await.unwrap();
    assert_eq!(visit.run("return document.querySelector('dialog.tenure').lang").await, "de");
    assert_eq!(visit.focus().await, "Bleiben");
    visit.sees(DIALOG, "You are signed out").await.unwrap();
    visit.sees(DIALOG, "There was no activity for too long.").await.unwrap();
    visit.press_key(Key::Escape).await.unwrap();
    visit.sees(DIALOG, "You are signed out").await.unwrap();
    assert_eq!(visit.run("return seen").await, json!([["warning", "idle"], ["ended", "idle"]]));
    visit.picture("warning-over.png").await.unwrap();
    visit.click(".tenure-main").await.unwrap();
    visit.sees("#signed-out h2", "Sign in").await.unwrap();
    assert!(
        visit.client.current_url().await.unwrap().as_str().ends_with("/?return_to=%2Fpublic&reason=idle")
    );

    // A page with its own dialog gets the events, and ours is not shown.
    visit.fill("user", "ada").await.unwrap();
    visit.click("#signed-out button.primary").await.unwrap();
    visit.sees("body", "Anyone may read this").await.unwrap();
    visit.home().await.unwrap();
    visit.sees("#user-name", "ada").await.unwrap();
    with_tag(&visit, r#"{"own": "1"}"#).await;
    visit.becomes_true("return seen.length === 1;", vec![]).await.unwrap();
    assert_eq!(
        visit.run("return [seen, !!document.querySelector('dialog.tenure')]").await,
        json!([[["warning", "idle"]], false])
    );
    visit.run("return tenure.extend()").await;
    visit.becomes_true("return seen.length > 1;", vec![]).await.unwrap();
    assert_eq!(visit.run("return seen[1][0]").await, "extended");
    visit.run("return tenure.logout()").await;
    visit.becomes_true("return seen.at(-1)[0] === 'ended';", vec![]).await.unwrap();
    assert_eq!(visit.run("return seen.at(-1)[1]").await, "signed_out");
    visit.finish().await.unwrap();
}

#[tokio::test]
async fn t2_a_revocation_is_shown_when_the_page_becomes_visible_again() {
    let Some(visit) = Visit::logged_in("a revocation", &["--management-token=root-root-root-root"]).await
    else {
        return;
    };
    with_tag(&visit, "{}").await;
    let sid = visit.cookie().await.get("/me").json()["sid"].as_str().unwrap().to_owned();
    let revoke = format!("POST /api/v2/sessions/{sid}/revoke");
    assert_eq!(
        visit.demo.browser().send(&revoke, &["Authorization: Bearer root-root-root-root"], b"").status,
        202
    );
    visit.run("dispatchEvent(new Event('focus'))").await;
    visit.sees(DIALOG, "by you on another device or by an administrator").await.unwrap();
    visit.finish().await.unwrap();
}

#[tokio::test]
async fn t2_clocks_that_are_set_and_tabs_that_sleep_wake_to_the_truth() {
    let Some(visit) = Visit::logged_in("clocks", &SHORT).await else { return };
    // A user whose clock is an hour ahead or behind is warned at the right time, and not signed
    // out.
    for hours in [1, -1] {
        let set = format!("const there = Date.now; Date.now = () => there() + {hours} * 3600000;");
        visit.client.goto(&visit.url("/public")).await.unwrap();
        visit.home().await.unwrap();
        visit.run(&set).await;
        visit.run("dispatchEvent(new Event('focus'))").await;
        visit.sees("#user-name", "ada").await.unwrap();
        assert_eq!(visit.run("return !!document.querySelector('dialog.tenure')").await, false, "{hours}");
        visit.sees(DIALOG, "Are you still there?").await.unwrap();
        visit.click(".tenure-main").await.unwrap();
        visit.no_dialog().await.unwrap();
    }
    // A tab that was frozen for longer than the session's remaining time.
    visit.home().await.unwrap();
    chrome::cdp(&visit.client, "Page.setWebLifecycleState", json!({ "state": "frozen" })).await;
    tokio::time::sleep(std::time::Duration::from_secs(25)).await;
    chrome::cdp(&visit.client, "Page.setWebLifecycleState", json!({ "state": "active" })).await;
    visit.sees("[data-reason=idle]", "without activity").await.unwrap();
    visit.no_dialog().await.unwrap();
    visit.client.close().await.unwrap();
}

#[tokio::test]
async fn t2_a_deadline_beyond_the_longest_timer_is_waited_for() {
    let flags = ["--idle=2400h", "--absolute=8760h", "--ephemeral-idle=2400h", "--ephemeral-absolute=8760h"];
    let Some(visit) = Visit::logged_in("a timer beyond 2^31", &flags).await else { return };
    let counting = "globalThis.asked = 0; const there = fetch; globalThis.fetch = (...all) => { asked += 1; return there(...all); };";
    visit.client.goto(&visit.url("/public")).await.unwrap();
    visit.run(counting).await;
    with_tag_here(&visit).await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let asked = visit.run("return asked").await.as_u64().unwrap();
    assert!(asked <= 3, "a timer that fires at once asks again and again: {asked}");
    visit.finish().await.unwrap();
}

async fn with_tag_here(visit: &Visit) {
    let script = "const tag = document.createElement('script'); tag.src = '/session/tenure.js'; document.head.append(tag);";
    visit.run(script).await;
    visit.becomes_true("return !!globalThis.tenure?.status();", vec![]).await.unwrap();
}

#[tokio::test]
async fn t2_what_its_user_does_extends_once_a_minute_and_a_stranger_is_never_asked_anything() {
    let flags = ["--idle=10m", "--ephemeral-idle=10m", "--granularity=0s"];
    let Some(visit) = Visit::start("activity", &flags).await else { return };
    visit.run("dispatchEvent(new Event('focus'))").await;
    assert_eq!(visit.run("return tenure.status()").await, Value::Null);
    visit.no_dialog().await.unwrap();
    visit.log_in("ada", false).await.unwrap();
    let before = visit.idle_expires_at().await;
    let body = visit.client.find(Locator::Css("h1")).await.unwrap();
    body.click().await.unwrap();
    assert_eq!(visit.idle_expires_at().await, before, "the page was an interaction just now");
    // A minute later.
    visit
        .run("const there = performance.now.bind(performance); performance.now = () => there() + 61000;")
        .await;
    for _ in 0..5 {
        visit.client.find(Locator::Css("h1")).await.unwrap().click().await.unwrap();
    }
    visit
        .becomes_true("return tenure.status().idle_expires_at > arguments[0];", vec![before.into()])
        .await
        .unwrap();
    let once = visit.idle_expires_at().await;
    visit.client.find(Locator::Css("h1")).await.unwrap().click().await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(visit.idle_expires_at().await, once, "once a minute");
    visit.finish().await.unwrap();
}

#[tokio::test]
async fn t2_it_works_in_a_private_window_and_as_a_module() {
    let Some(visit) = Visit::start_with("a private window", &SHORT, &["--incognito"]).await else { return };
    visit.log_in("ada", false).await.unwrap();
    visit.sees(DIALOG, "Are you still there?").await.unwrap();
    visit.click(".tenure-main").await.unwrap();
    visit.no_dialog().await.unwrap();
    visit.client.goto(&visit.url("/public")).await.unwrap();
    let import = "const done = arguments[0];
        import('/session/tenure.mjs').then(async (module) => { await module.default.refresh(); done(module.default.status().live); });";
    assert_eq!(visit.client.execute_async(import, vec![]).await.unwrap(), true);
    visit.sees(DIALOG, "Are you still there?").await.unwrap();
    visit.finish().await.unwrap();
}

#[tokio::test]
async fn t2_a_page_from_the_history_wakes_to_the_truth_and_another_application_here_is_another() {
    let Some(visit) = Visit::logged_in("the back button", &[]).await else { return };
    let mut elsewhere = visit.cookie().await;
    visit.client.goto(&visit.url("/public")).await.unwrap();
    visit.run("globalThis.asked = 0; const there = fetch; globalThis.fetch = (...all) => { asked += 1; return there(...all); };").await;
    with_tag_here(&visit).await;
    // Another application on this origin has its own broadcast channel.
    let asked = visit.run("return asked").await;
    visit.run("new BroadcastChannel('tenure /other').postMessage('ended');").await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(visit.run("return asked").await, asked);
    visit.run("new BroadcastChannel('tenure /session').postMessage('extended');").await;
    visit.becomes_true("return asked > arguments[0];", vec![asked]).await.unwrap();

    assert_eq!(elsewhere.post("/logout").status, 303);
    visit.client.back().await.unwrap();
    visit.sees("#signed-out h2", "Sign in").await.unwrap();
    visit.client.close().await.unwrap();
}
