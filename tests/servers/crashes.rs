//! Repeated SIGKILL of the application in the middle of writes. No acknowledged write may be lost,
//! and no ended session may be live. `TENURE_SEARCH` multiplies the number of crashes.

#![cfg(unix)]

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use crate::common::{
    backends::Backend,
    client::{self, Answer, Browser},
    demo::Demo,
    search,
    servers::Kind,
};
use crate::heavy::HEAVY;

/// The number of concurrent visitors.
const VISITORS: u64 = 4;

/// What a visitor knows of one of their sessions.
struct Known {
    cookie: Option<String>,
    /// How many of the keys k0, k1, … were acknowledged, each with its own number as the value.
    written: usize,
    ending: Ending,
    /// Whether a rotation is in flight, so that the cookie may hold the old secret.
    is_rotating: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    None,
    /// Requested, with an unknown outcome.
    Asked,
    /// The end was acknowledged.
    Acknowledged,
}

fn survives(backend: Option<Backend>) {
    let Some(backend) = backend else { return };
    let _alone = HEAVY.blocking_lock();
    let store = format!("--store={}", backend.url());
    let rounds = u64::from(search::cases(50));
    let (mut writes, mut ended, mut live) = (0, 0, 0);
    // A busy machine does less before each kill, so rounds are added until enough was observed.
    let too_few = |writes, ended, live| writes <= 100 || ended <= 20 || live <= 20;
    let mut round = 0;
    while round < rounds || (too_few(writes, ended, live) && round < 10 * rounds) {
        round += 1;
        let mut demo = Demo::start(&[&store]);
        let is_over = AtomicBool::new(false);
        let known: Vec<Known> = thread::scope(|scope| {
            let (demo_address, is_over) = (demo.browser(), &is_over);
            let visitors = (0..VISITORS).map(|visitor| {
                let browser = demo_address.clone();
                scope.spawn(move || visit(&browser, &format!("u{round}-{visitor}"), is_over))
            });
            let visitors: Vec<_> = visitors.collect();
            // The delay varies, so that the kill interrupts different operations. It grows if too
            // little was observed so far.
            thread::sleep(Duration::from_millis((30 + round * 7919 % 120) * (1 + round / (rounds + 1))));
            demo.process.kill().expect("it was running");
            demo.process.wait().expect("it ends");
            is_over.store(true, Ordering::Relaxed);
            visitors.into_iter().flat_map(|visitor| visitor.join().expect("a visitor")).collect()
        });
        drop(demo);

        let demo = Demo::start(&[&store]);
        for session in known {
            let mut browser = Browser { cookie: session.cookie.clone(), ..demo.browser() };
            let me = browser.get("/me");
            let what =
                format!("round {round}, {} written, {:?}: {}", session.written, session.ending, me.body);
            assert!(me.status == 200 || me.status == 401, "{what}");
            let is_live = me.status == 200;
            match session.ending {
                Ending::Acknowledged => assert!(!is_live, "an ended session is alive: {what}"),
                Ending::None if !session.is_rotating => assert!(is_live, "a session is lost: {what}"),
                Ending::None | Ending::Asked => {}
            }
            if is_live {
                for number in 0..session.written {
                    let read = browser.get(&format!("/data/k{number}"));
                    assert_eq!(
                        (read.status, read.body),
                        (200, number.to_string()),
                        "a write is lost: {what}"
                    );
                }
            }
            writes += session.written;
            ended += usize::from(session.ending == Ending::Acknowledged);
            live += usize::from(is_live);
        }
    }
    assert!(!too_few(writes, ended, live), "{writes} writes, {ended} ended, {live} live: too few to judge");
}

/// Logs in, writes, and sometimes rotates or logs out and in again, until the process is gone.
fn visit(somebody: &Browser, user: &str, is_over: &AtomicBool) -> Vec<Known> {
    let mut known = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let mut browser = somebody.clone();
        let login = browser.try_send("POST /login", &[client::FORM], format!("user={user}").as_bytes());
        if !is_ok(login.as_ref(), 303) {
            continue;
        }
        let cookie = browser.cookie.clone();
        known.push(Known { cookie, written: 0, ending: Ending::None, is_rotating: false });
        let Some(session) = known.last_mut() else { continue };
        for number in 0..5 + user.len() % 4 {
            let put = browser.try_send(&format!("PUT /data/k{number}"), &[], number.to_string().as_bytes());
            if !is_ok(put.as_ref(), 204) {
                break;
            }
            session.written = number + 1;
            if number == 3 {
                session.is_rotating = true;
                let rotated = browser.try_send("POST /rotate", &[], b"");
                if rotated.is_none() {
                    break;
                }
                session.cookie.clone_from(&browser.cookie);
                session.is_rotating = false;
            }
        }
        // Every second session is left live.
        if known.len() % 2 == 0 {
            let Some(session) = known.last_mut() else { continue };
            session.ending = Ending::Asked;
            if is_ok(browser.try_send("POST /logout", &[], b"").as_ref(), 303) {
                session.ending = Ending::Acknowledged;
            }
        }
    }
    known
}

fn is_ok(answer: Option<&Answer>, status: u16) -> bool {
    answer.is_some_and(|answer| {
        assert!(answer.status == status || answer.status == 503, "{}: {}", answer.status, answer.body);
        answer.status == status
    })
}

#[test]
fn s7_what_sqlite_acknowledged_survives_a_kill() {
    survives(Some(Backend::sqlite("crashes")));
}

#[test]
fn s7_what_postgres_acknowledged_survives_a_kill() {
    survives(Backend::server(Kind::Postgres, "crashes"));
}

#[test]
fn s7_what_redis_acknowledged_survives_a_kill() {
    survives(Backend::server(Kind::Redis, "crashes"));
}

#[test]
fn s7_what_valkey_acknowledged_survives_a_kill() {
    survives(Backend::server(Kind::Valkey, "crashes"));
}

#[test]
fn s7_what_a_cluster_acknowledged_survives_a_kill() {
    survives(Backend::server(Kind::Cluster, "crashes"));
}
