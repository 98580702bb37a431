//! The dashboard in a real browser (SPEC D1): settings, live sessions and revocation, by mouse and
//! by keyboard, and an outage of the server.

use fantoccini::{Locator, key::Key};
use serde_json::{Value, json};

use crate::common::{
    backends::Backend,
    chrome,
    client::{self, Browser},
    demo::{self, Demo},
    visit::{Result, Visit},
};

const TOKEN: &str = "--management-token=root-root-root-root";

impl Visit {
    /// Opens the dashboard and enters the token.
    async fn enter(test: &str, flags: &[&str]) -> Option<Self> {
        let visit = Self::start(test, &[&[TOKEN], flags].concat()).await?;
        visit.client.goto(&visit.url("/admin")).await.unwrap();
        visit.fill("token", "root-root-root-root").await.unwrap();
        visit.click("#enter button").await.unwrap();
        visit.sees("#connection", "As of").await.unwrap();
        Some(visit)
    }

    fn settings(&self) -> Value {
        let headers = ["Authorization: Bearer root-root-root-root"];
        self.demo.browser().send("GET /api/v2/tenants/settings", &headers, b"").json()
    }

    fn log_in_elsewhere(&self, user: &str) -> Browser {
        let mut browser = self.demo.browser();
        let agent = "User-Agent: Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36";
        let form = format!("user={user}");
        assert_eq!(browser.send("POST /login", &[client::FORM, agent], form.as_bytes()).status, 303);
        browser
    }

    async fn shows_rows(&self, count: usize) -> Result {
        let script = "return document.querySelectorAll('#rows tr').length === arguments[0];";
        self.becomes_true(script, vec![count.into()]).await
    }
}

#[tokio::test]
async fn d1_the_lifetimes_are_shown_and_changed_in_minutes() {
    let Some(visit) = Visit::enter("the dashboard's settings", &[]).await else { return };
    for (label, id, minutes) in [
        ("Idle Session Lifetime (Persistent)", "idle_session_lifetime", "4320"),
        ("Maximum Session Lifetime (Persistent)", "session_lifetime", "10080"),
        ("Idle Session Lifetime (Non-Persistent)", "idle_ephemeral_session_lifetime", "1440"),
        ("Maximum Session Lifetime (Non-Persistent)", "ephemeral_session_lifetime", "4320"),
    ] {
        visit.sees(&format!("label[for={id}]"), label).await.unwrap();
        visit.holds(id, minutes).await.unwrap();
    }
    visit.log_in_elsewhere("ada");
    visit.log_in_elsewhere("Grace Hopper");
    visit.shows_rows(2).await.unwrap();
    visit.picture("dashboard.png").await.unwrap();

    visit.fill("idle_session_lifetime", "90").await.unwrap();
    visit.sees("#idle_session_lifetime-note", "1 hour 30 minutes").await.unwrap();
    visit.fill("idle_ephemeral_session_lifetime", "200000").await.unwrap();
    visit
        .sees("#idle_ephemeral_session_lifetime-note.limit", "the limit of 100 days counts instead")
        .await
        .unwrap();
    visit.fill("max_sessions", "3").await.unwrap();
    visit.client.find(Locator::Id("mode")).await.unwrap().select_by_value("non-persistent").await.unwrap();
    visit.click("#save").await.unwrap();
    visit.sees("#saved", "Saved, and in force.").await.unwrap();
    visit.holds("idle_ephemeral_session_lifetime", "144000").await.unwrap();
    assert_eq!(
        visit.settings(),
        json!({
            "idle_session_lifetime": 1.5, "session_lifetime": 168,
            "idle_ephemeral_session_lifetime": 2400, "ephemeral_session_lifetime": 72,
            "session_cookie": { "mode": "non-persistent" }, "allowed_logout_urls": [],
        })
    );
    let limits = visit.demo.browser().send(
        "GET /api/v2/tenants/session-limits",
        &["Authorization: Bearer root-root-root-root"],
        b"",
    );
    assert_eq!(limits.json()["max_sessions"], 3);

    for wrong in ["0", "-5", "1.5", "soon", "", "525601"] {
        visit.fill("session_lifetime", wrong).await.unwrap();
        visit.click("#save").await.unwrap();
        visit.sees("#saved", "Not saved").await.unwrap();
        let focused = visit.client.active_element().await.unwrap().attr("id").await.unwrap();
        assert_eq!(focused.as_deref(), Some("session_lifetime"), "{wrong:?}");
        visit.sees("#session_lifetime-note.wrong", "").await.unwrap();
    }
    visit.click("#undo").await.unwrap();
    visit.holds("session_lifetime", "10080").await.unwrap();
    assert_eq!(visit.settings()["session_lifetime"], 168);

    // Another administrator changes a setting. Unsaved input here stays.
    visit.fill("session_lifetime", "777").await.unwrap();
    let changed = br#"{"idle_session_lifetime_in_minutes": 45}"#;
    let headers = ["Authorization: Bearer root-root-root-root", "Content-Type: application/json"];
    assert_eq!(visit.demo.browser().send("PATCH /api/v2/tenants/settings", &headers, changed).status, 200);
    visit.holds("idle_session_lifetime", "45").await.unwrap();
    visit.holds("session_lifetime", "777").await.unwrap();
    visit.finish().await.unwrap();
}

#[tokio::test]
async fn d1_sessions_are_searched_and_revoked() {
    let Some(visit) = Visit::enter("the dashboard's sessions", &[]).await else { return };
    let (mut ada, mut phone, mut bob) =
        (visit.log_in_elsewhere("ada"), visit.log_in_elsewhere("ada"), visit.log_in_elsewhere("bob"));
    visit.shows_rows(3).await.unwrap();
    visit.sees("#count", "3 live sessions · 2 users").await.unwrap();
    visit.sees("#rows tr:first-child .user", "bob").await.unwrap();
    visit.sees("#rows tr:first-child", "Chrome on Windows").await.unwrap();
    visit.sees("#rows tr:first-child", "Just now").await.unwrap();
    visit.sees("#rows tr:first-child", "Non-persistent").await.unwrap();
    let script = "return /^23:59:[0-5][0-9]$/.test(document.querySelector('#rows time[data-kind=countdown]').textContent);";
    visit.becomes_true(script, vec![]).await.unwrap();

    visit.fill("q", "AD").await.unwrap();
    visit.shows_rows(2).await.unwrap();
    visit.sees("#count", "2 live sessions of users like “AD”").await.unwrap();
    visit.click("#rows tr:first-child button").await.unwrap();
    visit.sees("#sure-title", "Revoke this session of ada?").await.unwrap();
    visit.picture("dashboard-sure.png").await.unwrap();
    visit.click("#sure button[value=no]").await.unwrap();
    assert_eq!(ada.get("/me").status, 200, "kept");
    visit.click("#rows tr:first-child button").await.unwrap();
    visit.click("#sure-yes").await.unwrap();
    visit.shows_rows(1).await.unwrap();
    let mut left = [ada.get("/me").status, phone.get("/me").status];
    left.sort_unstable();
    assert_eq!(left, [200, 401]);

    visit.log_in_elsewhere("ada");
    visit.shows_rows(2).await.unwrap();
    visit.sees("#revoke-user", "Revoke all of ada").await.unwrap();
    visit.click("#revoke-user").await.unwrap();
    visit.click("#sure-yes").await.unwrap();
    visit.shows_rows(0).await.unwrap();
    assert_eq!((phone.get("/me").status, bob.get("/me").status), (401, 200));
    assert_eq!(ada.get("/me").status, 401);
    visit.sees("#events", "Ended: revoked").await.unwrap();
    visit.sees("#no-sessions", "No live session of a user like “AD”.").await.unwrap();
    visit.finish().await.unwrap();
}

#[tokio::test]
async fn d1_it_works_by_keyboard_alone_and_on_a_phone() {
    let Some(visit) = Visit::start("the dashboard by keyboard", &[TOKEN]).await else { return };
    visit.client.set_window_size(500, 800).await.unwrap();
    visit.client.goto(&visit.url("/admin")).await.unwrap();
    visit.sees("#enter h2", "Management token").await.unwrap();
    // The field has the focus already.
    visit.press("root-root-root-root").await.unwrap();
    visit.press_key(Key::Enter).await.unwrap();
    visit.holds("idle_session_lifetime", "4320").await.unwrap();
    let mut ada = visit.log_in_elsewhere("ada");
    visit.shows_rows(1).await.unwrap();

    let tab = char::from(Key::Tab).to_string();
    let reach = async |what: &str| {
        for _ in 0..40 {
            let script = "const e = document.activeElement; return e.id || e.textContent;";
            if visit.client.execute(script, vec![]).await.unwrap() == *what {
                return;
            }
            visit.press(&tab).await.unwrap();
        }
        panic!("{what} cannot be reached");
    };
    reach("session_lifetime").await;
    visit.press(&format!("{}{}1440", Key::Control + "a", char::from(Key::Null))).await.unwrap();
    visit.press_key(Key::Enter).await.unwrap();
    visit.sees("#saved", "Saved, and in force.").await.unwrap();
    assert_eq!(visit.settings()["session_lifetime"], 24);

    reach("Revoke").await;
    visit.press_key(Key::Enter).await.unwrap();
    visit.sees("#sure-title", "Revoke").await.unwrap();
    reach("sure-yes").await;
    visit.press_key(Key::Enter).await.unwrap();
    visit.shows_rows(0).await.unwrap();
    assert_eq!(ada.get("/me").reason(), (401, "revoked".into()));

    visit.log_in_elsewhere("Somebody With A Rather Long Name");
    visit.shows_rows(1).await.unwrap();
    let script = "return document.documentElement.scrollWidth <= innerWidth;";
    visit.becomes_true(script, vec![]).await.unwrap();
    visit.picture("dashboard-phone.png").await.unwrap();
    visit.finish().await.unwrap();
}

#[tokio::test]
async fn d1_while_the_server_is_away_nothing_is_lost_and_errors_are_shown_in_words() {
    let backend = Backend::sqlite("dashboard");
    let store = format!("--store={}", backend.url());
    let Some(mut visit) = Visit::start("the dashboard without its server", &[TOKEN, &store]).await else {
        return;
    };
    visit.client.goto(&visit.url("/admin")).await.unwrap();
    visit.fill("token", "wrong").await.unwrap();
    visit.click("#enter button").await.unwrap();
    visit.sees("#alert", "does not know this token").await.unwrap();
    visit.fill("token", "root-root-root-root").await.unwrap();
    visit.click("#enter button").await.unwrap();
    visit.holds("session_lifetime", "10080").await.unwrap();
    visit.log_in_elsewhere("ada");
    visit.shows_rows(1).await.unwrap();

    visit.fill("session_lifetime", "600").await.unwrap();
    visit.demo.process.kill().unwrap();
    visit.demo.process.wait().unwrap();
    visit.click("#save").await.unwrap();
    visit.sees("#saved", "Not saved.").await.unwrap();
    visit.sees("#alert", "cannot be reached. What you typed is kept").await.unwrap();
    visit.shows_rows(1).await.unwrap();
    visit.picture("dashboard-away.png").await.unwrap();

    let listen = format!("--listen={}", visit.demo.address);
    let mut again = demo::command(&[TOKEN, &store, &listen]);
    visit.demo = Demo::spawn(again.stderr(std::process::Stdio::null()));
    let script = "return document.getElementById('alert').hidden;";
    visit.becomes_true(script, vec![]).await.unwrap();
    visit.holds("session_lifetime", "600").await.unwrap();
    visit.click("#save").await.unwrap();
    visit.sees("#saved", "Saved, and in force.").await.unwrap();
    assert_eq!(visit.settings()["session_lifetime"], 10);
    visit.client.close().await.unwrap();
}

/// E7: the table still showed the previous expiry.
#[tokio::test]
async fn d1_what_was_saved_is_what_the_table_shows_and_the_events_say_who_changed_it() {
    let Some(visit) = Visit::enter("saved settings in the dashboard", &[]).await else { return };
    visit.sees("#no-sessions", "No live sessions.").await.unwrap();
    visit.log_in_elsewhere("ada");
    visit.shows_rows(1).await.unwrap();
    visit.fill("idle_ephemeral_session_lifetime", "15").await.unwrap();
    visit.click("#save").await.unwrap();
    visit.sees("#saved", "Saved, and in force.").await.unwrap();
    visit.sees("#rows td[data-label='Ends when idle']", "00:14:").await.unwrap();
    let change = "Idle Session Lifetime (Non-Persistent): 1 day → 15 minutes · by token 1";
    visit.sees("#events li:first-child", change).await.unwrap();
    visit.finish().await.unwrap();
}

/// E9: a read-only token got an editable form.
#[tokio::test]
async fn d1_a_token_that_can_do_less_gets_a_page_that_does_less_and_says_so() {
    let flags = [
        "--management-token=reader-reader-reader=read:tenant_settings,read:sessions",
        "--management-token=sweeper-sweeper-sweeper=delete:sessions,read:sessions",
    ];
    let Some(visit) = Visit::start("a read-only token on the dashboard", &flags).await else { return };
    visit.client.goto(&visit.url("/admin")).await.unwrap();
    visit.fill("token", "reader-reader-reader").await.unwrap();
    visit.click("#enter button").await.unwrap();
    visit.sees("#rights", "This token is read-only").await.unwrap();
    visit.holds("idle_session_lifetime", "4320").await.unwrap();
    visit.log_in_elsewhere("ada");
    visit.shows_rows(1).await.unwrap();
    let cannot = "return [...document.querySelectorAll('#settings input, #settings select')].every((field) => field.matches(':disabled'))
        && ['#save', '#undo', '#everybody', '#rows button'].every((which) => !document.querySelector(which).checkVisibility());";
    visit.becomes_true(cannot, vec![]).await.unwrap();
    visit.picture("dashboard-read-only.png").await.unwrap();

    visit.click("#leave").await.unwrap();
    visit.fill("token", "sweeper-sweeper-sweeper").await.unwrap();
    visit.click("#enter button").await.unwrap();
    visit.sees("#rights", "This token cannot see the settings.").await.unwrap();
    let can = "return document.querySelector('#rows button').checkVisibility() && !document.querySelector('#settings').checkVisibility();";
    visit.becomes_true(can, vec![]).await.unwrap();
    visit.finish().await.unwrap();
}

#[tokio::test]
async fn d1_everybody_is_signed_out_only_after_the_word_is_typed() {
    let Some(visit) = Visit::enter("everybody signed out by the dashboard", &[]).await else { return };
    let (mut ada, mut bob) = (visit.log_in_elsewhere("ada"), visit.log_in_elsewhere("bob"));
    visit.shows_rows(2).await.unwrap();
    visit.click("#everybody").await.unwrap();
    visit.sees("#sure-title", "Sign everybody out?").await.unwrap();
    let is_disabled = "return document.getElementById('sure-yes').disabled === arguments[0];";
    visit.becomes_true(is_disabled, vec![true.into()]).await.unwrap();
    visit.fill("sure-typed", "everyone").await.unwrap();
    visit.press_key(Key::Enter).await.unwrap();
    visit.becomes_true(is_disabled, vec![true.into()]).await.unwrap();
    visit.sees("#sure", "Type “everybody” to confirm").await.unwrap();
    assert_eq!((ada.get("/me").status, bob.get("/me").status), (200, 200));
    visit.fill("sure-typed", "everybody").await.unwrap();
    visit.becomes_true(is_disabled, vec![false.into()]).await.unwrap();
    visit.picture("dashboard-everybody.png").await.unwrap();
    visit.press_key(Key::Enter).await.unwrap();
    visit.shows_rows(0).await.unwrap();
    assert_eq!(ada.get("/me").reason(), (401, "revoked".into()));
    assert_eq!(bob.get("/me").reason(), (401, "revoked".into()));
    visit.sees("#events", "Everybody signed out").await.unwrap();
    visit.finish().await.unwrap();
}

#[tokio::test]
async fn d1_the_table_is_sorted_by_its_heads_newest_first_at_the_start() {
    let Some(visit) = Visit::enter("the dashboard's order", &[]).await else { return };
    for user in ["bob", "ada", "carol"] {
        visit.log_in_elsewhere(user);
    }
    visit.shows_rows(3).await.unwrap();
    let users = "return [...document.querySelectorAll('#rows .user')].map((e) => e.textContent).join() === arguments[0];";
    visit.becomes_true(users, vec!["carol,ada,bob".into()]).await.unwrap();
    visit.click("th[data-sort=user] button").await.unwrap();
    visit.becomes_true(users, vec!["ada,bob,carol".into()]).await.unwrap();
    visit.sees("th[data-sort=user][aria-sort=ascending]", "User").await.unwrap();
    visit.click("th[data-sort=user] button").await.unwrap();
    visit.becomes_true(users, vec!["carol,bob,ada".into()]).await.unwrap();
    visit.click("th[data-sort=absolute] button").await.unwrap();
    visit.becomes_true(users, vec!["bob,ada,carol".into()]).await.unwrap();
    visit.finish().await.unwrap();
}

/// E13: the page was 16,467 px long with the events at the very end, and 326 px wide on a screen of
/// 320 px.
#[tokio::test]
async fn d1_fifty_sessions_fit_a_phone_and_the_events_are_in_reach() {
    let Some(visit) = Visit::enter("the dashboard on a phone", &[]).await else { return };
    for number in 0..50 {
        visit.log_in_elsewhere(&format!("somebody.with.a.rather.long.name.{number}@a-long-domain.example"));
    }
    for (width, height, is_mobile) in [(1280, 800, false), (390, 844, true), (320, 640, true)] {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_mobile });
        chrome::cdp(&visit.client, "Emulation.setDeviceMetricsOverride", size).await;
        visit.client.goto(&visit.url("/admin")).await.unwrap();
        visit.shows_rows(if is_mobile { 10 } else { 25 }).await.unwrap();
        visit.sees("#range", if is_mobile { "1 to 10 of 50" } else { "1 to 25 of 50" }).await.unwrap();
        let fits = "return document.documentElement.scrollWidth <= innerWidth
            && document.documentElement.scrollHeight < 9000;";
        visit.becomes_true(fits, vec![]).await.unwrap();
        for scheme in ["light", "dark"] {
            let feature = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
            chrome::cdp(&visit.client, "Emulation.setEmulatedMedia", feature).await;
            for part in ["settings", "live", "recent"] {
                visit.click(&format!("nav a[href='#{part}']")).await.unwrap();
                let reached = "const top = document.getElementById(arguments[0]).getBoundingClientRect().top;
                    return top >= 0 && top < innerHeight - 200;";
                visit.becomes_true(reached, vec![part.into()]).await.unwrap();
                visit.picture(&format!("dashboard-{width}-{scheme}-{part}.png")).await.unwrap();
            }
        }
        let centre = "document.getElementById('next').scrollIntoView({ block: 'center' });";
        visit.client.execute(centre, vec![]).await.unwrap();
        visit.click("#next").await.unwrap();
        visit.sees("#range", if is_mobile { "11 to 20 of 50" } else { "26 to 50 of 50" }).await.unwrap();
    }
    visit.finish().await.unwrap();
}
