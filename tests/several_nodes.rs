//! Two processes on one store: what one does holds for the other at once.

#[path = "common/backends.rs"]
mod backends;
#[path = "common/client.rs"]
mod client;
#[path = "common/demo.rs"]
mod process;
#[path = "common/servers.rs"]
mod servers;

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use backends::Backend;
use client::{Browser, PASSIVE};
use process::Demo;
use tower_tenure::{
    SessionStore,
    store::{PostgresStore, RedisStore, SqliteStore},
    testing::conformance,
};

/// Runs a trial on each store that several processes can share.
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

/// The same browser, at the other node.
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
        // A tick comes each second, and nothing but a line for two seconds fails the reading.
        let rest: Vec<_> = lines.map(|line| line.expect("the stream goes on or ends")).collect();
        let ticks = rest.iter().filter(|line| line.starts_with("data:")).count();
        assert!(ticks <= 2, "{url}: it ends within two seconds: {rest:?}");
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

/// The role of the other process: which store to try.
const ROLE: &str = "TENURE_TEST_CONFORMANCE";

#[test]
fn s8_the_suite_passes_in_two_processes_at_once() {
    on_each("node-conformance", |url| {
        let me = env::current_exe().expect("a test knows where it is");
        let mut other = Command::new(me);
        other.args(["--exact", "the_other_process"]).env(ROLE, url);
        let other = other.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        conform(url);
        let output = other.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{url}: {said}");
    });
}

/// Nothing of its own: what the test above starts a second time.
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

/// A sweep reaches what the other process is looking at.
async fn all_but_sweeps<S: SessionStore>(store: S) {
    let store = Arc::new(store);
    for check in conformance::checks() {
        if !check.name().contains("swe") {
            check.run(&store).await;
        }
    }
}
