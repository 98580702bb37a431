//! Outages of a store's server, as a visitor of the demo sees them (SPEC S6). The visitor is never
//! signed out and never gets an empty session. Answers come in time, and recovery needs no restart.

use std::{thread, time::Duration};

use crate::common::{
    client::{Browser, PASSIVE},
    demo::Demo,
    proxy::{Proxy, Weather},
    servers::{Kind, Server, until},
};

/// The timeout of a store call, plus a margin for a busy machine.
const IN_TIME: Duration = Duration::from_millis(2000 + 1500);

/// A demo on a server, through a proxy if the server has one port.
struct Place {
    server: Server,
    proxy: Option<Proxy>,
    demo: Demo,
    alice: Browser,
}

impl Place {
    fn new(kind: Kind, test: &str) -> Option<Self> {
        // With a slow disk, Redis answers before it has written, and then a kill loses acknowledged
        // writes.
        let flags: &[&str] = if kind == Kind::Postgres { &[] } else { &["--appendfsync", "no"] };
        let server = Server::start_with(kind, &format!("{test} on {kind:?}"), flags)?;
        let proxy = (kind != Kind::Cluster).then(|| Proxy::before(server.port()));
        let url = server.url_at(proxy.as_ref().map_or(server.port(), |proxy| proxy.port));
        let demo = Demo::start(&[&format!("--store={url}")]);
        let mut alice = demo.browser();
        assert_eq!(alice.login("user=alice").status, 200);
        assert_eq!(alice.put("/data/note", "hers").status, 204);
        Some(Self { server, proxy, demo, alice })
    }

    /// Checks what S6 says while the store does not answer.
    fn is_away(&self, what: &str) {
        let bob = self.demo.browser();
        let mut stranger = bob.clone();
        let requests = [
            (&self.alice, "GET /me", 503),
            (&self.alice, "GET /data/note", 503),
            (&self.alice, "PUT /data/other", 503),
            (&self.alice, "GET /session/status", 503),
            (&bob, "GET /", 200),
            (&bob, "PUT /data/note", 503),
        ];
        thread::scope(|scope| {
            for (who, line, status) in requests {
                scope.spawn(move || {
                    let mut who = Browser { patience: IN_TIME, ..who.clone() };
                    let cookie = who.cookie.clone();
                    let answer = who.try_send(line, &[PASSIVE], b"text");
                    let answer = answer.unwrap_or_else(|| panic!("{what}: no answer to {line} in time"));
                    assert_eq!(answer.status, status, "{what}: {line}: {}", answer.body);
                    assert_eq!(answer.header("set-cookie"), None, "{what}: {line}");
                    assert_eq!(who.cookie, cookie);
                });
            }
        });
        stranger.patience = IN_TIME;
        assert_eq!(stranger.login("user=stranger").status, 503, "{what}");
        assert_eq!(stranger.cookie, None, "{what}");
    }

    fn works_again(&mut self, what: &str) {
        until(&format!("{what}, it works again"), || self.alice.get("/me").status == 200);
        // Other connections of a pool may have yet to notice.
        until(&format!("{what}, all of it"), || {
            (0..8).all(|_| {
                let mut alice = self.alice.clone();
                alice.get("/data/note").body == "hers" && alice.put("/data/again", "x").status == 204
            })
        });
    }

    fn logged_in(&self) -> Browser {
        let mut browser = self.demo.browser();
        assert_eq!(browser.login("user=bob").status, 200);
        browser
    }
}

fn cannot_log_out(mut who: Browser, what: &str) {
    who.patience = IN_TIME;
    let cookie = who.cookie.clone();
    let answer = who.post("/logout");
    assert_eq!((answer.status, answer.header("set-cookie")), (503, None), "{what}");
    assert!(cookie.is_some() && who.cookie == cookie, "{what}: the cookie is kept");
}

fn goes_away(kind: Kind) {
    let Some(mut place) = Place::new(kind, "outages") else { return };
    let bob = place.logged_in();
    place.server.freeze();
    place.is_away("stopped");
    cannot_log_out(bob, "stopped");
    place.server.thaw();
    place.works_again("stopped");

    let bob = place.logged_in();
    place.server.kill();
    place.is_away("killed");
    cannot_log_out(bob.clone(), "killed");
    place.server.restart();
    place.works_again("killed");
    assert_eq!(bob.clone().get("/me").status, 200, "a logout that failed may be tried again");
    assert_eq!(bob.clone().post("/logout").status, 303);
    assert_eq!(bob.clone().get("/me").status, 401);

    place.server.replace();
    until("an empty server is used", || place.demo.browser().login("user=carol").status == 200);
    until("no session is known there", || place.alice.clone().get("/me").reason() == (401, "none".into()));
    until("new sessions work there", || {
        let mut carol = place.demo.browser();
        carol.login("user=carol").status == 200 && carol.get("/me").status == 200
    });
}

fn has_bad_weather(kind: Kind) {
    let Some(mut place) = Place::new(kind, "bad weather") else { return };
    let bad = [
        Weather::Refusing,
        Weather::Late(Duration::from_millis(2200)),
        Weather::Swallowing,
        Weather::Cutting(0),
        Weather::Cutting(7),
        Weather::Garbage,
    ];
    for weather in bad {
        let bob = place.logged_in();
        let what = format!("{kind:?} in weather {weather:?}");
        place.proxy.as_ref().expect("there is one").set(weather);
        place.is_away(&what);
        cannot_log_out(bob, &what);
        // A swallowed request gets no answer, so its connection must be closed first.
        let proxy = place.proxy.as_ref().expect("there is one");
        if weather == Weather::Swallowing {
            proxy.set(Weather::Refusing);
        }
        proxy.set(Weather::Fair);
        place.works_again(&what);
    }
}

#[test]
fn s6_redis_goes_away_and_comes_back() {
    goes_away(Kind::Redis);
}

#[test]
fn s6_valkey_goes_away_and_comes_back() {
    goes_away(Kind::Valkey);
}

#[test]
fn s6_a_cluster_goes_away_and_comes_back() {
    goes_away(Kind::Cluster);
}

#[test]
fn s6_postgres_goes_away_and_comes_back() {
    goes_away(Kind::Postgres);
}

#[test]
fn s6_between_us_and_redis_the_network_fails() {
    has_bad_weather(Kind::Redis);
}

#[test]
fn s6_between_us_and_postgres_the_network_fails() {
    has_bad_weather(Kind::Postgres);
}

#[test]
fn s6_another_process_holds_the_sqlite_file() {
    let dir = std::env::temp_dir().join(format!("tenure-outage-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join("sessions.db");
    let demo = Demo::start(&[&format!("--store=sqlite:{}", file.display())]);
    let mut alice = demo.browser();
    assert_eq!(alice.login("user=alice").status, 200);
    let holder = rusqlite::Connection::open(&file).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut impatient = Browser { patience: IN_TIME, ..alice.clone() };
    assert_eq!(impatient.put("/data/note", "x").status, 503);
    let answer = impatient.post("/logout");
    assert_eq!((answer.status, answer.header("set-cookie")), (503, None));
    assert_eq!(impatient.get("/me").status, 200, "reads do not wait for a lock");
    holder.execute_batch("ROLLBACK").unwrap();
    until("it works again", || alice.put("/data/note", "hers").status == 204);
    assert_eq!(alice.get("/data/note").body, "hers");
    assert_eq!(alice.get("/me").status, 200, "a logout that was answered 503 has not come after all");
    drop(demo);
    std::fs::remove_dir_all(&dir).unwrap();
}
