//! Two processes on one store: what one does is in force for the other at once.

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use tower_tenure::{
    SessionStore,
    store::{PostgresStore, RedisStore, SqliteStore},
    testing::conformance,
};

use crate::common::{
    backends::Backend,
    client::{Browser, PASSIVE},
    demo::Demo,
    servers,
};

/// Runs a test on each store that several processes can share.
fn on_each(test: &str, trial: impl Fn(&str)) {
    trial(&Backend::sqlite(test).url());
    for kind in servers::KINDS {
        if let Some(backend) = Backend::server(kind, test) {
            trial(&backend.url());
        }
    }
}

fn two_nodes(url: &str, flags: &[&str]) -> [Demo; 2] {
    let store = format!("--store={url}");
    let flags = [&[&*store], flags].concat();
    [Demo::start(&flags), Demo::start(&flags)]
}

/// The same browser, connected to the other node.
fn moved(browser: &Browser, node: &Demo) -> Browser {
    Browser { address: node.address, ..browser.clone() }
}

#[test]
fn s9_a_cap_holds_over_two_nodes_under_parallel_logins() {
    on_each("node-caps", |url| {
        for cap in ["3", "3:refuse"] {
            let nodes = two_nodes(url, &[&format!("--max-sessions={cap}")]);
            let user = format!("user=alice{}", cap.len());
            let browsers: Vec<Browser> = thread::scope(|scope| {
                let logins = (0..30).map(|number| {
                    let mut browser = nodes[number % 2].browser();
                    let user = &user;
                    scope.spawn(move || {
                        let status = browser.login(user).status;
                        assert!(status == 200 || (cap != "3" && status == 403), "{url}, cap {cap}: {status}");
                        browser
                    })
                });
                let logins: Vec<_> = logins.collect();
                logins.into_iter().map(|login| login.join().expect("a login")).collect()
            });
            let refused = browsers.iter().filter(|browser| browser.cookie.is_none()).count();
            assert_eq!(
                refused,
                if cap == "3" { 0 } else { 27 },
                "{url}, cap {cap}: a node's own flags count"
            );
            for node in &nodes {
                let live = browsers.iter().filter(|browser| moved(browser, node).get("/me").status == 200);
                assert_eq!(live.count(), 3, "{url}, cap {cap}");
            }
        }
    });
}

#[test]
fn s4_m3_an_end_on_one_node_is_seen_by_the_next_request_on_the_other_and_h4_by_its_streams() {
    on_each("node-ends", |url| {
        let [here, there] = two_nodes(url, &[]);
        for _ in 0..10 {
            let mut alice = here.browser();
            assert_eq!(alice.login("user=alice").status, 200);
            let mut beside = moved(&alice, &there);
            assert_eq!(beside.get("/me").status, 200);
            alice.post("/logout");
            assert_eq!(beside.get("/me").reason(), (401, "signed_out".into()), "{url}");
        }
        let mut alice = here.browser();
        alice.login("user=alice");
        let mut beside = moved(&alice, &there);
        beside.patience = Duration::from_secs(2);
        let stream = beside.connect("GET /events", &[PASSIVE], b"").unwrap();
        let mut lines = BufReader::new(stream).lines();
        assert!(lines.any(|line| line.unwrap().starts_with("data:")), "it has begun");
        alice.post("/logout");
        ends_soon(url, lines);
    });
}

#[test]
fn s3_additions_on_two_nodes_are_all_counted() {
    on_each("node-additions", |url| {
        let nodes = two_nodes(url, &[]);
        let mut alice = nodes[0].browser();
        alice.login("user=alice");
        thread::scope(|scope| {
            for adder in 0..4 {
                let mut browser = moved(&alice, &nodes[adder % 2]);
                scope.spawn(move || {
                    for _ in 0..50 {
                        assert_eq!(browser.post("/add/count").status, 200);
                    }
                });
            }
        });
        assert_eq!(alice.get("/data/count").body, "200", "{url}");
    });
}

const ROOT: &str = "Authorization: Bearer root-root-root-root";
const JSON_BODY: &str = "Content-Type: application/json";

#[test]
fn m2_a_changed_setting_is_in_force_on_the_other_node_within_two_seconds_and_l5_binds_live_sessions_there() {
    on_each("node-settings", |url| {
        let nodes = two_nodes(url, &["--management-token=root-root-root-root"]);
        let mut ada = nodes[1].browser();
        assert_eq!(ada.login("user=ada&remember=1").status, 200);
        for round in 1..=6_usize {
            let (here, there) = (&nodes[round % 2], &nodes[(round + 1) % 2]);
            let body = format!("{{\"session_lifetime\": {}}}", 160 - round);
            let changed =
                here.browser().send("PATCH /api/v2/tenants/settings", &[ROOT, JSON_BODY], body.as_bytes());
            assert_eq!(changed.status, 200, "{url}: {}", changed.body);
            let mut admin = there.browser();
            let is_seen = |_| {
                let shown = admin.send("GET /api/v2/tenants/settings", &[ROOT], b"").json();
                let is_seen = shown["session_lifetime"] == 160 - round;
                if !is_seen {
                    thread::sleep(Duration::from_millis(20));
                }
                is_seen
            };
            let polls = (0..100).position(is_seen);
            assert!(polls.is_some(), "{url}, round {round}: not within two seconds");
            let me = moved(&ada, there).get("/me").json();
            let hours = |name: &str| {
                let moment = time::OffsetDateTime::parse(
                    me[name].as_str().unwrap(),
                    &time::format_description::well_known::Rfc3339,
                );
                moment.unwrap().unix_timestamp() / 3600
            };
            let lifetime = hours("expires_at") - hours("created_at");
            assert_eq!(lifetime, i64::try_from(160 - round).unwrap(), "{url}: bound at the next request");
        }
    });
}

#[test]
fn m3_a_revocation_on_one_node_is_seen_by_the_next_request_and_by_streams_on_the_other() {
    on_each("node-revocations", |url| {
        let [here, there] = two_nodes(url, &["--management-token=root-root-root-root"]);
        let mut ada = there.browser();
        assert_eq!(ada.login("user=ada").status, 200);
        let id = ada.get("/me").json()["sid"].as_str().unwrap().to_owned();
        let stream = Browser { patience: Duration::from_secs(2), ..ada.clone() };
        let mut lines = BufReader::new(stream.connect("GET /events", &[PASSIVE], b"").unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().starts_with("data:")), "it has begun");
        let revoked = here.browser().send(&format!("POST /api/v2/sessions/{id}/revoke"), &[ROOT], b"");
        assert_eq!(revoked.status, 202, "{url}");
        assert_eq!(ada.get("/me").reason(), (401, "revoked".into()), "{url}");
        ends_soon(url, lines);

        let browsers: Vec<_> = (0..3).map(|_| there.browser()).collect();
        let mut browsers = browsers.into_iter().map(|mut browser| {
            browser.login("user=ada");
            browser
        });
        let (mut kept, mut one, mut other) =
            (browsers.next().unwrap(), browsers.next().unwrap(), browsers.next().unwrap());
        let id = kept.get("/me").json()["sid"].as_str().unwrap().to_owned();
        let others = format!("DELETE /api/v2/users/ada/sessions?except={id}");
        assert_eq!(here.browser().send(&others, &[ROOT], b"").status, 202);
        assert_eq!(one.get("/me").reason(), (401, "revoked".into()), "{url}");
        assert_eq!(other.get("/me").reason(), (401, "revoked".into()), "{url}");
        assert_eq!(kept.get("/me").status, 200, "{url}");
    });
}

/// A stream with a tick each second. Its first line has been read.
fn ends_soon(url: &str, lines: impl Iterator<Item = std::io::Result<String>>) {
    // Reading fails if no line comes for two seconds.
    let rest: Vec<_> = lines.map(|line| line.expect("the stream goes on or ends")).collect();
    let ticks = rest.iter().filter(|line| line.starts_with("data:")).count();
    assert!(ticks <= 2, "{url}: it ends within two seconds: {rest:?}");
}

/// The environment variable that gives the other process its store.
const ROLE: &str = "TENURE_TEST_CONFORMANCE";

#[test]
fn s8_the_suite_passes_in_two_processes_at_once() {
    on_each("node-conformance", |url| {
        let me = env::current_exe().expect("a test knows where it is");
        let mut other = Command::new(me);
        other.args(["--exact", "several_nodes::the_other_process"]).env(ROLE, url);
        let other = other.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        conform(url);
        let output = other.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{url}: {said}");
    });
}

/// Not a test by itself: the test above starts it as the second process.
#[test]
fn the_other_process() {
    if let Ok(url) = env::var(ROLE) {
        conform(&url);
    }
}

#[tokio::main]
async fn conform(url: &str) {
    if let Some(file) = url.strip_prefix("sqlite:") {
        all_but_sweeps(SqliteStore::open(file).await.unwrap()).await;
    } else if url.starts_with("postgres:") {
        all_but_sweeps(PostgresStore::connect(url).await.unwrap()).await;
    } else {
        all_but_sweeps(RedisStore::connect(url).await.unwrap()).await;
    }
}

/// A sweep ends a session that the other process waits for.
async fn all_but_sweeps<S: SessionStore>(store: S) {
    let store = Arc::new(store);
    for check in conformance::checks() {
        if !check.name().contains("swe") {
            check.run(&store).await;
        }
    }
}
