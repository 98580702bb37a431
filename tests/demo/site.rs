//! The demo as a black box (SPEC Q): the built binary over real HTTP, without the crate's API.
//!
//! These tests use the wall clock, because the demo is another process. Deadlines are one to two
//! seconds, and every test runs its own server, in parallel with others.

use std::{
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::common::{
    backends::Backend,
    client::{Browser, FORM, PASSIVE},
    demo::{Demo, command},
    servers::Kind,
};

fn sleep(seconds: f64) {
    thread::sleep(Duration::from_secs_f64(seconds));
}

fn refused(flags: &[&str]) -> String {
    let Output { status, stdout, stderr } = command(flags).output().expect("the demo starts");
    let said = String::from_utf8(stderr).expect("stderr is UTF-8");
    assert_eq!(status.code(), Some(2), "{flags:?}: {said}");
    assert_eq!((said.lines().count(), said.ends_with('\n')), (1, true), "{flags:?}: {said}");
    assert_eq!(stdout, b"", "{flags:?}");
    said
}

/// Each flag has an environment variable, and the flag takes precedence. The variable of a
/// repeatable flag holds several values.
#[test]
fn q_the_environment_says_what_the_flags_do_not() {
    let started_with = |name: &str, value: &str, flags: &[&str]| {
        let Output { status, stderr, .. } =
            command(flags).env(name, value).output().expect("the demo starts");
        (status.code(), String::from_utf8(stderr).expect("stderr is UTF-8"))
    };
    // The message names the variable or flag that is wrong.
    for (name, value) in [
        ("TENURE_IDLE", "0s"),
        ("TENURE_EPHEMERAL_ABSOLUTE", "soon"),
        ("TENURE_MAX_SESSIONS", "0"),
        ("TENURE_LISTEN", "nowhere"),
        ("TENURE_STORE", "floppy:a"),
        ("TENURE_MANAGEMENT_TOKEN", "long-enough-token-1 short"),
        ("TENURE_CLIENT", "shop=https://shop.example/ nonsense"),
    ] {
        let (code, said) = started_with(name, value, &[]);
        assert_eq!((code, said.lines().count()), (Some(2), 1), "{name}: {said}");
        assert!(said.contains(name), "{said}");
    }
    // If the flag is given, the variable is not even read.
    let (code, said) = started_with("TENURE_IDLE", "0s", &["--idle", "soon"]);
    assert!(code == Some(2) && said.contains("--idle") && !said.contains("TENURE_IDLE"), "{said}");

    let mut with_variables = command(&["--idle=2h"]);
    with_variables.env("TENURE_LISTEN", "127.0.0.1:0").env("TENURE_IDLE", "1h").env("TENURE_REALM", "");
    with_variables.env("TENURE_MANAGEMENT_TOKEN", "the-first-of-two-tokens the-second-of-two-tokens");
    let demo = Demo::spawn(with_variables.stderr(Stdio::null()));
    for token in ["the-first-of-two-tokens", "the-second-of-two-tokens"] {
        let authorization = format!("Authorization: Bearer {token}");
        let settings = demo.browser().send("GET /api/v2/tenants/settings", &[&authorization], b"");
        assert_eq!(settings.status, 200, "{token}");
        assert_eq!(settings.json()["idle_session_lifetime"], 2, "hours, by the flag");
    }
}

#[test]
fn q_bad_flags_are_one_line_and_exit_code_2() {
    let long = "3651d";
    for flags in [
        &["--nonsense"][..],
        &["--line\nbreak"],
        &["junk"],
        &["--idle", "2s", "junk"],
        &["-x"],
        &["--idle"],
        &["--idle", ""],
        &["--idle", "2"],
        &["--idle", "0s"],
        &["--idle", "-5s"],
        &["--idle", "99999999999999999999h"],
        &["--idle", long],
        &["--absolute=0ms"],
        &["--absolute", long],
        &["--ephemeral-idle", "1ns"],
        &["--ephemeral-absolute", "soon"],
        &["--granularity", long],
        &["--granularity", "x"],
        &["--limits", "free"],
        &["--listen", "127.0.0.1"],
        &["--listen", "nowhere:80"],
        &["--max-sessions", "0"],
        &["--max-sessions", "-1"],
        &["--max-sessions", "3:maybe"],
        &["--max-sessions", ":evict"],
        &["--management-token", ""],
        &["--management-token", "=read:sessions"],
        &["--management-token", "fifteen-letters"],
        &["--management-token", "fifteen-letters=read:sessions"],
        &["--management-token", "two words, long enough"],
        &["--management-token", "long-enough-token="],
        &["--management-token", "long-enough-token=read:sessions,"],
        &["--management-token", "long-enough-token=everything"],
        &["--allowed-logout-url", "/relative"],
        &["--allowed-logout-url", "ftp://example.com/"],
        &["--allowed-logout-url", "https://*.*.example.com/"],
        &["--client", "shop"],
        &["--client", "=https://shop.example/"],
        &["--client", "shop="],
        &["--client", "shop=https://shop.example/,nonsense"],
        &["--help=yes"],
    ] {
        refused(flags);
    }
    assert!(refused(&["--idle", "0s"]).contains("--idle"), "names the flag");
    assert!(refused(&["--store", "mysql://root:hunter2@db/x"]).contains("use memory"));
    for (store, fix) in [
        ("memory:x", "use memory"),
        ("sqlite", "use memory"),
        ("sqlite:", "path of a file"),
        ("sqlite:/no/such/folder/hunter2.db", "/no/such/folder"),
        ("postgres://me:hunter2@127.0.0.1:port/x", ""),
        ("postgres://me:hunter2@127.0.0.1:1/x", "store"),
        ("redis://:hunter2@127.0.0.1:port", ""),
        ("redis://:hunter2@127.0.0.1:1", "store"),
        ("redis+cluster://:hunter2@127.0.0.1:1", "store"),
    ] {
        let said = refused(&["--store", store]);
        assert!(said.contains(fix), "{store}: {said}");
        assert!(!said.contains(":hunter2"), "{said}");
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert!(refused(&["--listen", &address]).contains(&address));
}

#[test]
fn q_help_is_no_mistake() {
    let Output { status, stdout, stderr } = command(&["--help"]).output().unwrap();
    assert!(status.success() && stderr.is_empty());
    assert!(String::from_utf8(stdout).unwrap().contains("--ephemeral-absolute"));
}

#[test]
fn q_all_flags_are_accepted_and_a_token_is_printed_only_if_none_was_given() {
    let mut demo = Demo::start(&[]);
    let mut line = String::new();
    demo.out.read_line(&mut line).unwrap();
    assert!(line.strip_prefix("management token: ").is_some_and(|token| token.trim().len() >= 22), "{line}");

    let mut demo = Demo::start(&[
        "--store=memory",
        "--idle=2h",
        "--absolute=3h",
        "--ephemeral-idle=15m",
        "--ephemeral-absolute=1h 30m",
        "--limits=none",
        "--granularity=0s",
        "--max-sessions=3",
        "--management-token=s3cret-s3cret-s3cret=read:sessions,delete:sessions",
        "--management-token=other-other-other",
        "--allowed-logout-url=https://*.example.com/bye",
        "--client=shop=https://shop.example/,https://shop.example/bye",
    ]);
    assert_eq!(demo.browser().get("/public").status, 200);
    demo.process.kill().unwrap();
    let mut rest = String::new();
    demo.out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

#[test]
fn q_login_shows_what_me_shows_and_l1_the_mode_picks_the_lifetimes() {
    let demo = Demo::start(&["--idle=2h", "--absolute=3h", "--ephemeral-idle=4h", "--ephemeral-absolute=5h"]);
    for (form, mode, idle, absolute) in
        [("user=ada&remember=1", "persistent", 2, 3), ("user=ada", "non-persistent", 4, 5)]
    {
        let mut browser = demo.browser();
        let login = browser.login(form);
        assert_eq!((login.status, login.header("cache-control")), (200, Some("no-store")));
        let facts = login.json();
        let mut names: Vec<_> = facts.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        let wanted = [
            "authenticated_at",
            "created_at",
            "expires_at",
            "idle_expires_at",
            "last_interacted_at",
            "mode",
            "sid",
            "user",
        ];
        assert_eq!(names, wanted);
        assert_eq!((facts["user"].as_str(), facts["mode"].as_str()), (Some("ada"), Some(mode)));
        let hours =
            |later: &str, earlier: &str| (moment(&facts[later]) - moment(&facts[earlier])) / 3_600_000;
        assert_eq!(hours("idle_expires_at", "last_interacted_at"), idle);
        assert_eq!(hours("expires_at", "created_at"), absolute);
        assert_eq!(facts["created_at"], facts["authenticated_at"]);

        let set = login.header("set-cookie").unwrap();
        assert!(set.starts_with("__Host-id=") && set.contains("HttpOnly") && set.contains("Secure"), "{set}");
        assert_eq!(set.contains("Max-Age"), mode == "persistent", "C2: {set}");

        let me = browser.get("/me");
        assert_eq!((me.status, &me.json()["sid"]), (200, &facts["sid"]));
        assert!(me.json()["last_interacted_at"].as_str() >= facts["last_interacted_at"].as_str());
    }
}

/// Milliseconds since the epoch of an ISO 8601 time with milliseconds and `Z`.
fn moment(iso: &Value) -> i64 {
    use time::{OffsetDateTime, PrimitiveDateTime, macros::format_description};
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let moment = PrimitiveDateTime::parse(iso.as_str().expect("a text"), format).expect("ISO 8601, ms, Z");
    i64::try_from((moment.assume_utc() - OffsetDateTime::UNIX_EPOCH).whole_milliseconds()).unwrap()
}

#[test]
fn q_login_redirects_to_return_to_only_on_this_origin() {
    let demo = Demo::start(&[]);
    for (return_to, location) in [
        ("", "/"),
        ("/data/x%3Fa=1%26b", "/data/x?a=1&b"),
        ("/caf%C3%A9", "/caf%C3%A9"),
        ("https://evil.example/", "/"),
        ("//evil.example", "/"),
        ("/%5Cevil.example", "/"),
        ("/%09/evil.example", "/"),
        ("javascript:alert(1)", "/"),
    ] {
        let form = format!("user=ada&return_to={return_to}");
        let answer = demo.browser().send("POST /login", &[FORM], form.as_bytes());
        assert_eq!((answer.status, answer.header("location")), (303, Some(location)), "{return_to}");
    }
}

#[test]
fn q_a_login_that_makes_no_sense_is_400_and_one_that_is_over_is_403() {
    let demo = Demo::start(&[]);
    let long = format!("user={}", "x".repeat(513));
    for form in [
        "",
        "user=",
        "user=+",
        "user=a%00b",
        "user=a&user=b",
        "user=%zz",
        "user=%ff",
        "user=a&idle_lifetime=0",
        "user=a&idle_lifetime=-1",
        "user=a&idle_lifetime=1.5",
        "user=a&expires_in=soon",
        "user=a&expires_in=99999999999999999999",
        "user=a&idle_expires_in=-99999999999999999999",
        &long,
    ] {
        let mut browser = demo.browser();
        let answer = browser.login(form);
        assert_eq!(answer.status, 400, "{form}: {}", answer.body);
        assert!(answer.json()["error"].is_string());
        assert_eq!(browser.cookie, None);
    }
    for form in ["expires_in=0", "expires_in=-5", "idle_expires_in=0", "expires_in=-9223372036854775808"] {
        let mut browser = demo.browser();
        assert_eq!(browser.login("user=ada").status, 200);
        let earlier = browser.cookie.clone();
        assert_eq!(browser.login(&format!("user=ada&{form}")).status, 403, "{form}");
        browser.cookie = earlier;
        assert_eq!(browser.get("/me").reason(), (401, "revoked".into()), "L6: the earlier session ends");
    }
    // Empty values count as absent, and the largest value is accepted.
    let form = "user=ada&expires_in=&idle_expires_in=&idle_lifetime=&return_to=";
    assert_eq!(demo.browser().login(form).status, 200);
    assert_eq!(demo.browser().login("user=ada&expires_in=9223372036854775807").status, 200);

    let mut browser = demo.browser();
    assert_eq!(browser.send("POST /login", &["Content-Type: application/json"], b"{}").status, 415);
    assert_eq!(browser.send("POST /login", &[], b"user=ada").status, 415);
    assert_eq!(browser.send("POST /login", &[FORM], &vec![b'x'; 70_000]).status, 413);
    assert_eq!(browser.get("/login").status, 405);
    let page = browser.send("POST /login", &[FORM, "Accept: text/html"], b"user=");
    assert!(page.status == 400 && page.body.contains("<h1>"), "{}", page.body);
}

#[test]
fn l2_a_session_ends_by_idle_and_by_absolute_deadline_and_l8_status_keeps_none_alive() {
    let demo = Demo::start(&["--idle=1500ms", "--absolute=3s"]);
    let (mut idle, mut polled, mut busy) = (demo.browser(), demo.browser(), demo.browser());
    for browser in [&mut idle, &mut polled, &mut busy] {
        assert_eq!(browser.login("user=ada&remember=1").status, 200);
    }
    let idle_token = idle.cookie.clone();
    for _ in 0..4 {
        sleep(0.5);
        polled.get("/session/status");
        polled.send("GET /me", &[PASSIVE], b"");
        busy.get("/me");
    }
    assert_eq!(idle.get("/me").reason(), (401, "idle".into()));
    assert_eq!(idle.cookie, None, "C4");
    idle.cookie = idle_token;
    assert!(idle.get("/").body.contains("data-reason=\"idle\" >"), "E3: the page says why");
    assert_eq!(polled.get("/session/status").json()["live"], false);
    assert_eq!(busy.get("/me").status, 200, "activity moved its idle deadline");
    sleep(0.6);
    busy.get("/me");
    sleep(0.6);
    assert_eq!(busy.get("/me").reason(), (401, "absolute".into()));
}

#[test]
fn l6_overrides_of_one_login_count_for_that_session() {
    let demo = Demo::start(&["--limits=self-service"]);
    let left = |form: &str| {
        let facts = demo.browser().login(&format!("user=ada&{form}")).json();
        let created = moment(&facts["created_at"]);
        let after = |name: &str| (moment(&facts[name]) - created) / 1000;
        (after("idle_expires_at"), after("expires_at"))
    };
    let (day, days) = (86_400, 3 * 86_400);
    assert_eq!(left("expires_in=60"), (day, 60));
    assert_eq!(left("expires_in=60&expires_in=30&expires_in=90"), (day, 30), "the earliest wins");
    assert_eq!(left("idle_expires_in=20&idle_lifetime=40"), (20, days));
    assert_eq!(left("idle_lifetime=40"), (40, days));
    assert_eq!(left("expires_in=99999999&idle_lifetime=99999999"), (days, 10 * days), "clamped");

    let mut browser = demo.browser();
    browser.login("user=ada&idle_expires_in=20&idle_lifetime=40");
    let me = browser.get("/me").json();
    let idle = moment(&me["idle_expires_at"]) - moment(&me["last_interacted_at"]);
    assert_eq!(idle, 40_000, "the one-off deadline is over with the first interaction");
}

#[test]
fn q_data_is_text_for_anonymous_visitors_too_and_s5_reading_creates_nothing() {
    let demo = Demo::start(&[]);
    let mut browser = demo.browser();
    assert_eq!(browser.get("/data/note").status, 404);
    assert_eq!(browser.send("DELETE /data/note", &[], b"").status, 204);
    assert_eq!(browser.cookie, None);
    assert_eq!(browser.put("/data/note", "<b>grüß dich</b>").status, 204);
    let read = browser.get("/data/note");
    assert_eq!((read.status, &*read.body), (200, "<b>grüß dich</b>"));
    assert!(read.header("content-type").unwrap().starts_with("text/plain"));
    assert_eq!(read.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(browser.get("/me").reason(), (401, "none".into()), "anonymous is not logged in");

    assert_eq!(browser.login("user=ada").status, 200);
    assert_eq!(browser.get("/data/note").status, 200, "L3: a visitor's data is kept");
    assert_eq!(browser.put("/data/a%2Fb%20%C3%A9", "").status, 204);
    assert_eq!(browser.get("/data/a%2Fb%20%C3%A9").status, 200);
    assert_eq!(browser.send("DELETE /data/note", &[], b"").status, 204);
    assert_eq!(browser.get("/data/note").status, 404);
    browser.put("/data/note", "hers");
    assert_eq!(browser.login("user=bob").status, 200);
    assert_eq!(browser.get("/data/note").status, 404, "L3: another user starts empty");
}

#[test]
fn q_add_is_atomic_and_refuses_what_is_no_number() {
    let demo = Demo::start(&[]);
    let mut browser = demo.browser();
    browser.login("user=ada");
    assert_eq!(browser.post("/add/n").body, "1");
    browser.put("/data/n", "5");
    assert_eq!(browser.post("/add/n").body, "6");
    let adding: Vec<_> = (0..8)
        .map(|_| {
            let mut browser = browser.clone();
            thread::spawn(move || (0..5).for_each(|_| assert_eq!(browser.post("/add/n").status, 200)))
        })
        .collect();
    for adding in adding {
        adding.join().unwrap();
    }
    assert_eq!(browser.get("/data/n").body, "46", "S3: none is lost");
    for text in ["many", "9223372036854775807", ""] {
        browser.put("/data/n", text);
        assert_eq!(browser.post("/add/n").status, 409, "{text}");
        assert_eq!(browser.get("/data/n").body, text);
    }
    assert_eq!(demo.browser().post("/add/n").body, "1", "anonymous visitors count too");
}

#[test]
fn s3_slow_requests_that_overlap_both_keep_what_they_wrote_and_s4_a_logout_is_not_undone() {
    let demo = Demo::start(&[]);
    let mut browser = demo.browser();
    browser.login("user=ada");
    let slow = |browser: &Browser, key: &'static str| {
        let mut browser = browser.clone();
        thread::spawn(move || browser.get(&format!("/slow?ms=400&key={key}")))
    };
    for one in [slow(&browser, "a"), slow(&browser, "b")] {
        assert_eq!(one.join().unwrap().status, 200);
    }
    assert_eq!((browser.get("/data/a").body, browser.get("/data/b").body), ("slow".into(), "slow".into()));

    let late = slow(&browser, "c");
    sleep(0.1);
    let mut leaving = browser.clone();
    assert_eq!(leaving.post("/logout").status, 303);
    let answer = late.join().unwrap();
    assert_eq!((answer.status, answer.header("set-cookie")), (200, None));
    assert_eq!(browser.get("/me").reason(), (401, "signed_out".into()));
    for query in ["", "?ms=1", "?key=a", "?ms=-1&key=a", "?ms=x&key=a", "?ms=1&key=", "?ms=1&key=%ff"] {
        assert_eq!(browser.get(&format!("/slow{query}")).status, 400, "{query}");
    }
}

#[test]
fn h3_what_a_failing_request_wrote_is_dropped() {
    let demo = Demo::start(&[]);
    let mut browser = demo.browser();
    assert_eq!(browser.get("/fail").status, 500);
    assert_eq!(browser.cookie, None);
    browser.login("user=ada");
    assert_eq!(browser.get("/fail").status, 500);
    assert_eq!(browser.get("/data/fail").status, 404);
}

#[test]
fn c6_rotation_replaces_the_token_and_keeps_the_session() {
    let demo = Demo::start(&[]);
    let mut browser = demo.browser();
    let sid = browser.login("user=ada").json()["sid"].clone();
    let mut old = browser.clone();
    assert_eq!(browser.post("/rotate").status, 204);
    assert_ne!(browser.cookie, old.cookie);
    assert_eq!(browser.get("/me").json()["sid"], sid);
    assert_eq!(old.get("/me").status, 200, "in grace");
    browser.post("/logout");
    assert_eq!(old.get("/me").status, 401);
    assert_eq!(demo.browser().post("/rotate").status, 204, "nothing to rotate");
}

#[test]
fn e2_recent_needs_a_login_of_the_last_five_seconds() {
    let demo = Demo::start(&[]);
    let mut browser = demo.browser();
    assert_eq!(browser.get("/recent").reason(), (401, "none".into()));
    browser.login("user=ada");
    assert_eq!(browser.get("/recent").status, 200);
    sleep(5.05);
    assert_eq!(browser.get("/recent").reason(), (401, "step_up".into()));
    assert_eq!(browser.get("/me").status, 200);
    browser.login("user=ada");
    assert_eq!(browser.get("/recent").status, 200);
}

#[test]
fn q_public_is_outside_the_layer_and_other_routes_say_what_they_are() {
    let demo = Demo::start(&["--ephemeral-idle=1s"]);
    let mut browser = demo.browser();
    browser.login("user=ada");
    sleep(0.6);
    let public = browser.get("/public");
    assert_eq!((public.status, public.header("set-cookie"), public.header("vary")), (200, None, None));
    browser.get("/page.css");
    sleep(0.5);
    assert_eq!(browser.get("/me").status, 401, "neither was an interaction");

    assert_eq!(browser.get("/session/anything.js").status, 404);
    let script = browser.get("/session/tenure.js");
    assert!(script.status == 200 && script.header("content-type").unwrap().starts_with("text/javascript"));
    let settings = browser.get("/api/v2/tenants/settings");
    assert_eq!((settings.status, &settings.json()["statusCode"]), (401, &401.into()));
    let page = browser.get("/admin");
    assert!(page.status == 200 && page.body.contains("<h1>Sessions</h1>"), "{}", page.body);
    let policy = page.header("content-security-policy").unwrap();
    assert!(!policy.contains("unsafe") && policy.starts_with("default-src 'none'"), "{policy}");
    assert_eq!(browser.get("/api/v2/nowhere").json()["errorCode"], "not_found");
    for (line, status) in [
        ("GET /nowhere", 404),
        ("GET /data/", 404),
        ("POST /me", 405),
        ("POST /", 405),
        ("GET /logout", 405),
        ("DELETE /public", 405),
        ("POST /session/status", 405),
        ("GET /session/extend", 405),
    ] {
        assert_eq!(browser.send(line, &["Sec-Fetch-Site: same-origin"], b"").status, status, "{line}");
    }
}

#[test]
fn t1_the_endpoints_of_the_page_are_there() {
    let demo = Demo::start(&[]);
    let mut browser = demo.browser();
    browser.login("user=ada");
    let status = browser.get("/session/status");
    assert_eq!(
        (status.json()["live"].clone(), status.json()["authenticated"].clone()),
        (true.into(), true.into())
    );
    assert_eq!(status.header("cache-control"), Some("no-store"));
    assert_eq!(browser.post("/session/extend").status, 403, "who asks says nothing of its origin");
    let ours = format!("Origin: http://{}", demo.address);
    assert_eq!(browser.send("POST /session/extend", &[&ours], b"").status, 200);
    assert_eq!(browser.send("POST /session/extend", &["Origin: http://evil.example"], b"").status, 403);
    assert_eq!(browser.send("POST /session/logout", &[&ours], b"").status, 204);
    assert_eq!(browser.get("/me").reason(), (401, "none".into()));
}

#[test]
fn r1_a_logout_leads_only_where_the_lists_allow_and_always_logs_out() {
    let demo = Demo::start(&[
        "--allowed-logout-url=https://*.example.com/bye",
        "--client=shop=https://shop.example/,https://shop.example/bye",
    ]);
    for (query, status, location) in [
        ("", 303, Some("/")),
        ("?returnTo=https%3A%2F%2Fwww.example.com%2Fbye%3Fx", 303, Some("https://www.example.com/bye?x")),
        ("?client_id=shop", 303, Some("https://shop.example/")),
        ("?client_id=shop&returnTo=https://shop.example/bye", 303, Some("https://shop.example/bye")),
        ("?client_id=shop&returnTo=https://www.example.com/bye", 400, None),
        ("?client_id=other", 400, None),
        ("?returnTo=https://evil.example/", 400, None),
        ("?returnTo=/bye", 400, None),
        ("?returnTo=%ff%zz", 400, None),
    ] {
        let mut browser = demo.browser();
        browser.login("user=ada");
        let token = browser.cookie.clone();
        let answer = browser.post(&format!("/logout{query}"));
        assert_eq!((answer.status, answer.header("location")), (status, location), "{query}");
        assert_eq!(browser.cookie, None, "C4: {query}");
        browser.cookie = token;
        assert_eq!(browser.get("/me").reason(), (401, "signed_out".into()), "{query}");
    }
}

#[test]
fn t1_changes_that_another_site_asks_for_are_refused() {
    let demo = Demo::start(&[]);
    let mut browser = demo.browser();
    browser.login("user=ada");
    let ours = format!("Origin: http://{}", demo.address);
    for header in [
        "Origin: null",
        "Origin: https://evil.example",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
    ] {
        assert_eq!(browser.send("POST /logout", &[header], b"").status, 403, "{header}");
        assert_eq!(browser.send("PUT /data/x", &[header], b"x").status, 403, "{header}");
        assert_eq!(browser.send("POST /login", &[header, FORM], b"user=eve").status, 403, "{header}");
    }
    assert_eq!(browser.get("/me").json()["user"], "ada");
    assert_eq!(browser.send("POST /logout", &[&ours, "Sec-Fetch-Site: same-origin"], b"").status, 303);
}

#[test]
fn s9_a_cap_evicts_or_refuses() {
    let demo = Demo::start(&["--max-sessions=1:refuse"]);
    let (mut first, mut second) = (demo.browser(), demo.browser());
    assert_eq!(first.login("user=ada").status, 200);
    assert_eq!(second.login("user=ada").status, 403);
    assert_eq!(second.cookie, None);
    assert_eq!(first.login("user=ada").status, 200, "the one that is replaced does not count");
    assert_eq!(second.login("user=bob").status, 200);

    let demo = Demo::start(&["--max-sessions=1"]);
    let (mut first, mut second) = (demo.browser(), demo.browser());
    assert_eq!((first.login("user=ada").status, second.login("user=ada").status), (200, 200));
    assert_eq!(first.get("/me").reason(), (401, "evicted".into()));
}

#[test]
fn h4_the_stream_of_events_ends_with_the_session() {
    let demo = Demo::start(&["--idle=1500ms"]);
    let read = |browser: &Browser| {
        let mut stream = BufReader::new(browser.connect("GET /events", &[PASSIVE], b"").unwrap());
        let mut start = String::new();
        while !start.contains("event: session") {
            assert_ne!(stream.read_line(&mut start).expect("the stream starts"), 0, "{start}");
        }
        assert!(start.contains("200 OK") && start.contains("text/event-stream"), "{start}");
        thread::spawn(move || {
            let mut rest = String::new();
            stream.read_to_string(&mut rest).expect("the stream ends before the read timeout");
            rest
        })
    };
    assert_eq!(demo.browser().get("/events").reason(), (401, "none".into()));

    let mut leaving = demo.browser();
    leaving.login("user=ada");
    let stream = read(&leaving);
    sleep(0.2);
    assert!(!stream.is_finished());
    leaving.post("/logout");
    sleep(1.0);
    assert!(stream.is_finished(), "within a second of the logout");

    let mut idle = demo.browser();
    idle.login("user=ada&remember=1");
    let stream = read(&idle);
    sleep(1.2);
    assert!(!stream.is_finished(), "still live");
    sleep(1.2);
    assert!(stream.is_finished(), "a stream keeps nothing alive");
    assert!(stream.join().unwrap().contains("event: tick"));
}

/// Guards: the redirect removes the cookie from which the page could have read the reason.
#[test]
fn e1_the_login_page_says_why_it_is_shown() {
    let demo = Demo::start(&["--idle=1s"]);
    let mut browser = demo.browser();
    browser.login("user=ada&remember=1");
    sleep(1.1);
    let sent = browser.send("GET /me", &["Sec-Fetch-Mode: navigate"], b"");
    assert_eq!((sent.status, sent.header("location")), (303, Some("/?return_to=/me&reason=idle")));
    assert_eq!(browser.cookie, None);
    for reason in ["idle", "absolute", "signed_out", "revoked", "evicted", "superseded", "step_up"] {
        let page = browser.get(&format!("/?return_to=/me&reason={reason}")).body;
        let notes: Vec<_> = page.lines().filter(|line| line.contains("data-reason=")).collect();
        let shown: Vec<_> = notes.into_iter().filter(|line| !line.contains("hidden>")).collect();
        assert_eq!(shown.len(), 1, "{reason}: {shown:?}");
        assert!(shown[0].contains(&format!("data-reason=\"{reason}\"")), "{reason}: {shown:?}");
        assert!(page.contains("value=\"/me\""), "return_to is carried");
    }
    for reason in ["none", "", "%3Cscript%3E"] {
        let page = browser.get(&format!("/?reason={reason}")).body;
        assert!(
            page.lines().filter(|line| line.contains("data-reason=")).all(|line| line.contains("hidden>"))
        );
        assert!(!page.contains("<script>"));
    }
}

#[test]
fn q_the_page_works_without_a_script_and_takes_nothing_at_its_word() {
    let demo = Demo::start(&["--idle=15m"]);
    let mut browser = demo.browser();
    let page = browser.get("/?return_to=/data/x%22%3E");
    assert_eq!((page.status, page.header("set-cookie")), (200, None));
    let csp = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
        form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    assert_eq!(page.header("content-security-policy"), Some(csp));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert!(page.body.contains("value=\"/data/x&quot;&gt;\""), "return_to is carried, escaped");
    assert!(page.body.contains("<td>15 minutes</td>"), "the lifetimes are shown");

    let form = b"user=%3Cscript%3E%22%27%26%7B%7Bsid%7D%7D&remember=1";
    assert_eq!(browser.send("POST /login", &[FORM, "Accept: text/html"], form).status, 303);
    let page = browser.get("/");
    let sid = browser.get("/me").json()["sid"].as_str().unwrap().to_owned();
    assert!(page.body.contains("<h1 id=\"user-name\">&lt;script&gt;&quot;&#39;&amp;{{sid}}</h1>"));
    assert!(page.body.contains(&format!("<code id=\"sid\">{sid}</code>")));
    assert!(page.body.contains("15 minutes</p>"), "the time left is shown");
    let token = browser.cookie.as_deref().unwrap().split_once('=').unwrap().1;
    assert!(!page.body.contains(token), "H5");
    assert!(!page.body.contains("style=") && !page.body.contains("onclick"), "nothing inline");
    for (path, kind) in [("/page.css", "text/css"), ("/page.js", "text/javascript")] {
        assert!(demo.browser().get(path).header("content-type").unwrap().starts_with(kind));
    }
}

#[test]
fn q_nothing_that_a_client_sends_is_the_servers_fault() {
    let demo = Demo::start(&[]);
    let mut browser = demo.browser();
    browser.login("user=ada");
    let long = format!("/data/{}", "k".repeat(257));
    let too_much = vec![b'x'; 65_537];
    let cases: [(&str, &[u8]); 8] = [
        ("PUT /data/%ff", b"x"),
        ("PUT /data/%zz", b"x"),
        ("PUT /data/%", b"x"),
        ("PUT /data/%00", b"x"),
        ("PUT /data/x", b"\xff\xfe"),
        ("PUT /data/y", &too_much),
        ("GET /data/%e2%82", b""),
        ("POST /add/%ff", b""),
    ];
    for (line, body) in cases {
        let status = browser.send(line, &[], body).status;
        assert!((400..500).contains(&status), "{line}: {status}");
    }
    assert_eq!(browser.put(&long, "x").status, 400);
    for line in ["GET /?return_to=%ff%zz", "GET /?%", "GET /%ff%zz", "OPTIONS /me", "PATCH /data/x"] {
        assert!(
            browser.send(line, &["Accept: \u{e9}", "Cookie: __Host-id=%ff\u{1}"], b"").status < 500,
            "{line}"
        );
    }
    assert_eq!(browser.get("/me").status, 200);
}

#[test]
fn q_no_level_of_logging_prints_session_data() {
    let sqlite = Backend::sqlite("logging");
    let servers = [Kind::Redis, Kind::Cluster, Kind::Postgres].map(|kind| Backend::server(kind, "logging"));
    let others = servers.iter().flatten().chain([&sqlite]).map(Backend::url);
    for store in others.chain(["memory".to_owned()]) {
        prints_no_session_data(&store);
    }
}

fn prints_no_session_data(store: &str) {
    let mut demo = Demo::spawn(
        command(&["--listen=127.0.0.1:0", "--granularity=0s", "--store", store])
            .env(
                "RUST_LOG",
                "trace,hyper=trace,hyper_util=trace,axum=trace,tower=trace,redis=trace,tokio_postgres=trace",
            )
            .stderr(Stdio::piped()),
    );
    let mut browser = demo.browser();
    browser.login("user=hunter2-user");
    browser.put("/data/hunter2-key", "hunter2-value");
    browser.get("/data/hunter2-key");
    browser.post("/rotate");
    let token = browser.cookie.clone().unwrap();
    browser.post("/logout");
    demo.process.kill().unwrap();
    let mut log = String::new();
    demo.process.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(log.contains("session.ended"), "{store}: {log}");
    let secret = token.split_once('=').unwrap().1;
    assert!(
        !log.contains("hunter2") && !log.contains(secret) && !log.to_lowercase().contains("cookie"),
        "{store}: {log}"
    );
}

#[cfg(unix)]
#[test]
fn q_a_termination_is_orderly_also_with_a_stream_open() {
    let mut demo = Demo::start(&[]);
    let mut browser = demo.browser();
    browser.login("user=ada");
    let mut stream = browser.connect("GET /events", &[], b"").unwrap();
    stream.read_exact(&mut [0; 16]).unwrap();
    let pid = demo.process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let code = (0..40).find_map(|_| {
        sleep(0.05);
        demo.process.try_wait().unwrap()
    });
    assert_eq!(code.and_then(|code| code.code()), Some(0), "within two seconds");
}
