//! Logins as applications and browsers see them (SPEC L3, L6, L7, A1, A2, S9).

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    body::Body,
    extract::Path,
    http::{Request, StatusCode},
    routing::{get, post},
};
use serde_json::{Value, json};
use tower_tenure::{
    Error, Key, Lifetimes, Login, LoginContext, LoginHook, MemoryStore, Mode, Outcome, Policy, Session,
    SessionLayer, Sessions, Timestamp,
    events::{Event, EventKind, Operation},
    policy::{Cap, Limits, Overflow, Refusal},
    record::EndReason,
    testing::{ManualClock, Probe},
};

use crate::common::{Browser, DAY, HOUR, MINUTE, Reply, Site, TICK, usual_routes};

const DATA: Key<String> = Key::new("data");

/// 1 h idle and 8 h absolute for persistent sessions, half of that for others, with limits of 3 and
/// 30 days.
fn policy() -> Policy {
    let lifetimes = |hour| Lifetimes::new(hour, 8 * hour).unwrap();
    Policy::new(lifetimes(HOUR), lifetimes(HOUR / 2)).with_limits(Limits::SELF_SERVICE)
}

fn cap(most: u32, overflow: Overflow) -> Policy {
    policy().with_cap(Some(Cap::new(most.try_into().unwrap(), overflow)))
}

/// The usual routes, `/info`, and `/ask/{user}`: a login with the overrides that the closure adds.
fn site_asking(
    asks: impl for<'a> Fn(Login<'a>, Timestamp) -> Login<'a> + Clone + Send + Sync + 'static,
) -> Site {
    let ask = move |session: Session, user: String| {
        let asks = asks.clone();
        async move {
            let now = session.now();
            asks(session.login(user), now).await
        }
    };
    site_with(|layer| layer, ask)
}

/// The usual routes, `/info`, and `/ask/{user}`, which runs the closure.
fn site_with<F>(
    set: impl FnOnce(SessionLayer) -> SessionLayer,
    ask: impl Fn(Session, String) -> F + Clone + Send + Sync + 'static,
) -> Site
where
    F: Future<Output = Result<Outcome, Error>> + Send,
{
    let asked = post(async move |session: Session, Path(user): Path<String>| {
        Ok::<_, Error>(match ask(session, user).await? {
            Outcome::Done => (StatusCode::OK, String::new()),
            Outcome::Refused(refusal) => (StatusCode::FORBIDDEN, refusal.to_string()),
        })
    });
    let routes = usual_routes().route("/info", get(info)).route("/ask/{user}", asked);
    let layer = SessionLayer::new(MemoryStore::new()).with_policy(policy());
    Site::over(layer, routes, set)
}

/// The fields that a page would show.
async fn info(session: Session) -> String {
    let Some(info) = session.info() else { return "null".to_owned() };
    let millis = |at: Timestamp| at.as_unix_millis();
    let device = &info.facts.device;
    json!({
        "sid": info.sid.to_string(),
        "user": info.subject,
        "mode": info.mode.as_str(),
        "created": millis(info.created_at),
        "authenticated": info.authenticated_at.map(millis),
        "idle": millis(info.idle_expires_at) - millis(info.created_at),
        "absolute": millis(info.expires_at) - millis(info.created_at),
        "metadata": info.facts.metadata,
        "clients": info.facts.clients,
        "methods": info.facts.authentication.iter().map(|method| &method.name).collect::<Vec<_>>(),
        "first": [json!(device.initial_ip), json!(device.initial_user_agent)],
        "last": [json!(device.last.ip), json!(device.last.user_agent)],
    })
    .to_string()
}

/// A passive request for `/info`, which changes nothing.
async fn look(browser: &Browser) -> Value {
    let request = Request::get("/info").header("session-activity", "passive").body(Body::empty()).unwrap();
    serde_json::from_str(&browser.request(request).await.body).unwrap()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap()
}

async fn asked(site: &Site) -> Value {
    let browser = site.browser();
    assert_eq!(browser.post("/ask/alice").await.status, StatusCode::OK);
    look(&browser).await
}

fn max_age(reply: &Reply) -> Option<u64> {
    let cookies = reply.set_cookies();
    cookies.first()?.split("; ").find_map(|part| part.strip_prefix("Max-Age="))?.parse().ok()
}

// L6: overrides

#[tokio::test]
async fn l6_the_earliest_of_several_deadlines_wins_and_may_be_later_than_the_policys() {
    let site = site_asking(|login, now| {
        login.with_expires_at(now + 3 * DAY).with_expires_at(now + 2 * DAY).with_expires_at(now + 5 * DAY)
    });
    let info = asked(&site).await;
    assert_eq!(info["absolute"], millis(2 * DAY));
    assert_eq!(info["idle"], millis(HOUR), "the idle lifetime is the policy's still");

    let site = site_asking(|login, now| login.with_expires_at(now + 10 * MINUTE));
    let browser = site.browser();
    assert_eq!(
        max_age(&browser.post("/ask/alice").await),
        Some(600),
        "the cookie goes with the nearer deadline"
    );
    site.clock.advance(10 * MINUTE - TICK);
    assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    site.clock.advance(TICK);
    assert_eq!(browser.get("/me").await.reason().as_deref(), Some("absolute"));
}

#[tokio::test]
async fn l6_the_first_idle_deadline_is_a_one_off() {
    let site = site_asking(|login, now| {
        login.with_idle_expires_at(now + 9 * MINUTE).with_idle_expires_at(now + 5 * MINUTE)
    });
    let (stays, leaves) = (site.browser(), site.browser());
    for browser in [&stays, &leaves] {
        browser.post("/ask/alice").await;
        assert_eq!(look(browser).await["idle"], millis(5 * MINUTE));
    }
    site.clock.advance(5 * MINUTE - TICK);
    let info = look(&stays).await;
    assert_eq!(info["idle"], millis(5 * MINUTE), "a passive request leaves it");
    assert_eq!(stays.get("/me").await.status, StatusCode::OK);
    assert_eq!(look(&stays).await["idle"], millis(5 * MINUTE - TICK + HOUR), "the next interaction ends it");
    site.clock.advance(TICK);
    assert_eq!(leaves.get("/me").await.reason().as_deref(), Some("idle"));
}

#[tokio::test]
async fn l6_a_first_idle_deadline_may_be_later_than_the_policys() {
    let site = site_asking(|login, now| login.with_idle_expires_at(now + 2 * HOUR));
    let browser = site.browser();
    browser.post("/ask/alice").await;
    site.clock.advance(2 * HOUR - TICK);
    assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    site.clock.advance(HOUR);
    assert_eq!(browser.get("/me").await.reason().as_deref(), Some("idle"));
}

#[tokio::test]
async fn l6_an_idle_lifetime_of_its_own_stays_with_the_session() {
    let site = site_asking(|login, _| login.with_idle_lifetime(DAY).with_idle_lifetime(2 * HOUR));
    let browser = site.browser();
    browser.post("/ask/alice").await;
    for _ in 0..3 {
        site.clock.advance(2 * HOUR - TICK);
        assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    }
    site.clock.advance(2 * HOUR - 6 * MINUTE); // not past the absolute deadline, 8 h
    assert_eq!(browser.get("/me").await.status, StatusCode::OK);
}

#[tokio::test]
async fn l6_the_last_mode_wins_picks_the_lifetimes_and_lasts() {
    let site = site_asking(|login, _| login.with_mode(Mode::Persistent).with_mode(Mode::NonPersistent));
    let browser = site.browser();
    let reply = browser.post("/ask/alice").await;
    assert_eq!(max_age(&reply), None);
    let info = look(&browser).await;
    assert_eq!(info["mode"], "non-persistent");
    assert_eq!(info["idle"], millis(HOUR / 2));
    assert_eq!(info["absolute"], millis(4 * HOUR));
    site.clock.advance(MINUTE);
    let reply = browser.post("/rotate").await;
    assert_eq!(reply.set_cookies().len(), 1);
    assert_eq!(max_age(&reply), None, "a rotation issues a cookie of the same mode");
}

#[tokio::test]
async fn l6_what_is_above_a_limit_is_clamped_and_emitted() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let events = Arc::clone(&seen);
    let site = site_with(
        |layer| {
            layer.with_observer_fn(move |event: &Event<'_>| {
                if let EventKind::Clamped(setting) = event.kind {
                    events.lock().unwrap().push((setting.as_str(), event.sid.unwrap().to_string()));
                }
            })
        },
        async |session: Session, user: String| {
            let now = session.now();
            let login =
                session.login(user).with_expires_at(now + 31 * DAY).with_idle_expires_at(now + 4 * DAY);
            login.with_idle_lifetime(Duration::MAX).await
        },
    );
    let browser = site.browser();
    let reply = browser.post("/ask/alice").await;
    assert_eq!(max_age(&reply), Some((3 * DAY).as_secs()), "clamped at the login, not at the next request");
    let info = look(&browser).await;
    assert_eq!(info["absolute"], millis(30 * DAY));
    assert_eq!(info["idle"], millis(3 * DAY));
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    let settings: Vec<_> = seen.iter().map(|(setting, _)| *setting).collect();
    assert_eq!(settings, ["expires_at", "idle_lifetime", "idle_expires_at"]);
    assert!(seen.iter().all(|(_, sid)| info["sid"] == **sid), "the events name the session");
}

#[tokio::test]
async fn l6_a_deadline_in_the_past_refuses_the_login_and_ends_the_earlier_session() {
    type Asks = for<'a> fn(Login<'a>, Timestamp) -> Login<'a>;
    let all: [Asks; 4] = [
        |login, now| login.with_expires_at(now),
        |login, now| login.with_idle_expires_at(now - TICK),
        |login, now| login.with_not_after(now - HOUR),
        |login, now| login.with_expires_at(now + HOUR).with_expires_at(now - HOUR),
    ];
    for asks in all {
        let site = site_asking(asks);
        let browser = site.browser();
        browser.post("/login/alice").await;
        let witness = browser.copy();
        let reply = browser.post("/ask/alice").await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN);
        assert_eq!(reply.body, Refusal::DeadlinePassed.to_string());
        assert!(reply.removes_cookie());
        assert_eq!(browser.cookie_header(), None);
        assert_eq!(witness.get("/me").await.status, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn l6_wrong_arguments_are_errors_and_leave_the_earlier_session() {
    type Asks = for<'a> fn(Login<'a>, Timestamp) -> Login<'a>;
    let zero: Asks = |login, _| login.with_idle_lifetime(Duration::ZERO);
    // The first error is kept, whatever follows.
    let mended: Asks = |login, _| login.with_idle_lifetime(Duration::ZERO).with_idle_lifetime(HOUR);
    let key: Asks = |login, _| login.with_metadata("no spaces", "x");
    for asks in [zero, mended, key] {
        let site = site_asking(asks);
        let browser = site.browser();
        browser.post("/login/alice").await;
        let reply = browser.post("/ask/bob").await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{}", reply.body);
        assert_eq!(reply.set_cookies(), [""; 0]);
        assert_eq!(browser.get("/me").await.body, "alice");
    }
    let site = site_with(
        |layer| layer,
        async |session: Session, user: String| {
            session.login(if user == "empty" { String::new() } else { "x".repeat(513) }).await
        },
    );
    for user in ["empty", "long"] {
        let reply = site.browser().post(&format!("/ask/{user}")).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
        assert_eq!(reply.set_cookies(), [""; 0]);
    }
}

// L7: the identity provider's bound, and what resets the clocks

#[tokio::test]
async fn l7_the_identity_providers_expiry_is_the_least_of_all() {
    let site = site_asking(|login, now| login.with_not_after(now + 2 * HOUR).with_expires_at(now + 3 * HOUR));
    assert_eq!(asked(&site).await["absolute"], millis(2 * HOUR));
    let site = site_asking(|login, now| login.with_not_after(now + 300 * DAY));
    assert_eq!(asked(&site).await["absolute"], millis(8 * HOUR), "a bound never lengthens");
    let site = site_asking(|login, now| login.with_expires_at(now + HOUR).with_not_after(now + 2 * HOUR));
    assert_eq!(asked(&site).await["absolute"], millis(HOUR));
}

#[tokio::test]
async fn l7_a_new_login_resets_both_clocks_and_forgets_the_overrides() {
    let site = site_asking(|login, now| login.with_expires_at(now + HOUR).with_mode(Mode::NonPersistent));
    let browser = site.browser();
    browser.post("/ask/alice").await;
    site.clock.advance(29 * MINUTE);
    browser.post("/login/alice").await;
    let info = look(&browser).await;
    assert_eq!(info["absolute"], millis(8 * HOUR));
    assert_eq!(info["idle"], millis(HOUR));
    assert_eq!(info["mode"], "persistent");
}

// L3: always a new session

#[tokio::test]
async fn l3_a_login_has_a_new_sid_a_new_cookie_and_new_times() {
    let site = site_asking(|login, _| login);
    let browser = site.browser();
    browser.post("/login/alice").await;
    let (first, old_cookie) = (look(&browser).await, browser.cookie_header());
    site.clock.advance(MINUTE);
    browser.post("/login/alice").await;
    let second = look(&browser).await;
    assert_ne!(first["sid"], second["sid"]);
    assert_ne!(old_cookie, browser.cookie_header());
    for time in ["created", "authenticated"] {
        assert_eq!(second[time], first[time].as_i64().unwrap() + millis(MINUTE));
    }

    let old = site.browser();
    old.set_cookies(old_cookie.as_deref());
    let reply = old.get("/me").await;
    assert_eq!(reply.reason().as_deref(), Some("superseded"));
}

#[tokio::test]
async fn l3_the_same_user_keeps_the_data_another_starts_empty_and_a_visitors_is_kept() {
    let site = site_asking(|login, _| login);
    let browser = site.browser();
    browser.put("/data/data", "basket").await;
    assert_eq!(look(&browser).await["user"], Value::Null);
    browser.post("/login/alice").await;
    assert_eq!(browser.get("/data/data").await.body, "basket", "a visitor's");
    browser.post("/login/alice").await;
    assert_eq!(browser.get("/data/data").await.body, "basket", "her own");
    browser.post("/login/bob").await;
    assert_eq!(browser.get("/data/data").await.status, StatusCode::NOT_FOUND, "another's");
}

#[tokio::test]
async fn l3_what_is_written_before_a_login_goes_to_who_may_have_it() {
    let site = site_with(
        |layer| layer,
        async |session: Session, user: String| {
            session.insert(&DATA, &"before".to_owned())?;
            session.login(user).await
        },
    );
    let browser = site.browser();
    browser.post("/ask/alice").await;
    assert_eq!(browser.get("/data/data").await.body, "before", "a visitor's");
    browser.post("/ask/bob").await;
    assert_eq!(browser.get("/data/data").await.status, StatusCode::NOT_FOUND, "written as alice");
}

#[tokio::test]
async fn l3_the_last_of_two_logins_in_one_request_counts() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let eyes = Arc::clone(&seen);
    let site = site_with(
        |layer| layer,
        move |session: Session, user: String| {
            let eyes = Arc::clone(&eyes);
            async move {
                let _first = session.login("alice").await?;
                session.insert(&DATA, &"of alice".to_owned())?;
                eyes.lock().unwrap().push(session.sid());
                let second = session.login(user).await?;
                eyes.lock().unwrap().push(session.sid());
                Ok(second)
            }
        },
    );
    let browser = site.browser();
    let reply = browser.post("/ask/bob").await;
    assert_eq!(reply.set_cookies().len(), 1);
    let info = look(&browser).await;
    assert_eq!(info["user"], "bob");
    assert_eq!(browser.get("/data/data").await.status, StatusCode::NOT_FOUND, "bob gets nothing of alice's");
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    assert_ne!(seen[0], seen[1]);
    assert_eq!(info["sid"], seen[1].unwrap().to_string());
    browser.post("/ask/alice").await;
    assert_eq!(browser.get("/data/data").await.body, "of alice", "she keeps what she wrote between");
}

#[tokio::test]
async fn l3_what_is_written_after_a_logout_belongs_to_a_new_session() {
    let site = site_with(
        |layer| layer,
        async |session: Session, user: String| {
            session.logout()?;
            session.insert(&Key::new("other"), &"x".to_owned())?;
            if user == "nobody" { Ok(Outcome::Done) } else { session.login(user).await }
        },
    );
    for (user, name) in [("nobody", Value::Null), ("alice", json!("alice"))] {
        let browser = site.browser();
        browser.post("/login/alice").await;
        browser.put("/data/data", "hers").await;
        let (before, witness) = (look(&browser).await, browser.copy());
        let reply = browser.post(&format!("/ask/{user}")).await;
        assert_eq!(reply.set_cookies().len(), 1);
        let after = look(&browser).await;
        assert_eq!(after["user"], name);
        assert_ne!(before["sid"], after["sid"]);
        assert_eq!(browser.get("/data/other").await.body, "x");
        assert_eq!(browser.get("/data/data").await.status, StatusCode::NOT_FOUND, "a logout drops the data");
        assert_eq!(witness.get("/me").await.reason().as_deref(), Some("signed_out"));
    }
}

// A1: hooks

struct Hook<F>(F);

impl<F> LoginHook for Hook<F>
where
    F: Fn(&mut LoginContext<'_>) -> Result<(), Error> + Send + Sync + 'static,
{
    async fn on_login(&self, login: &mut LoginContext<'_>) -> Result<(), Error> {
        tokio::task::yield_now().await; // hooks may ask others
        (self.0)(login)
    }
}

fn hook<F>(run: F) -> Hook<F>
where
    F: Fn(&mut LoginContext<'_>) -> Result<(), Error> + Send + Sync + 'static,
{
    Hook(run)
}

async fn simply(session: Session, user: String) -> Result<Outcome, Error> {
    session.login(user).await
}

#[tokio::test]
async fn a1_hooks_run_in_order_and_a_later_one_sees_what_an_earlier_one_did() {
    let site = site_with(
        |layer| {
            layer
                .with_login_hook(hook(|login| {
                    assert_eq!(login.timing().unwrap().lifetimes.idle(), HOUR);
                    let deadline = login.now() + 2 * HOUR;
                    login.overrides().expires_at(deadline);
                    let subject = login.subject().to_owned();
                    login.metadata().set("first", &subject)
                }))
                .with_login_hook(hook(|login| {
                    let timing = login.timing().unwrap();
                    assert_eq!(timing.expires_at(), login.now() + 2 * HOUR);
                    assert_eq!(timing.authenticated_at, Some(login.now()));
                    assert_eq!(login.facts().metadata.get("first"), Some("alice"));
                    assert_eq!(login.facts().metadata.get("handler"), Some("x"));
                    assert_eq!(login.facts().clients, ["web", "app"]);
                    assert_eq!(login.request().uri.path(), "/ask/alice");
                    assert_eq!(login.request().headers["x-risk"], "high");
                    let sid = login.sid().to_string();
                    login.metadata().set("sid", &sid)?;
                    login.overrides().mode(Mode::NonPersistent);
                    login.overrides().idle_lifetime(MINUTE)
                }))
        },
        async |session: Session, user: String| {
            let login =
                session.login(user).with_metadata("handler", "x").with_client("web").with_client("app");
            login.with_client("web").with_method("pwd").with_method("mfa").await
        },
    );
    let browser = site.browser();
    let request = Request::post("/ask/alice").header("x-risk", "high").body(Body::empty()).unwrap();
    assert_eq!(browser.request(request).await.status, StatusCode::OK);
    let info = look(&browser).await;
    assert_eq!(info["absolute"], millis(2 * HOUR));
    assert_eq!(info["idle"], millis(MINUTE));
    assert_eq!(info["mode"], "non-persistent");
    assert_eq!(info["metadata"], json!({"first": "alice", "handler": "x", "sid": info["sid"]}));
    assert_eq!(info["clients"], json!(["web", "app"]));
    assert_eq!(info["methods"], json!(["pwd", "mfa"]));
}

#[tokio::test]
async fn a1_a_denial_keeps_the_earlier_session_and_a_revocation_ends_it() {
    for (deny, reason) in [(true, "denied: too risky"), (false, "revoked: too risky")] {
        let later = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&later);
        let site = site_with(
            |layer| {
                layer
                    .with_login_hook(hook(move |login| {
                        match login.subject() {
                            "alice" => {}
                            _ if deny => login.deny("too risky"),
                            _ => login.revoke("too risky"),
                        }
                        Ok(())
                    }))
                    .with_login_hook(hook(move |_| {
                        *counted.lock().unwrap() += 1;
                        Ok(())
                    }))
            },
            simply,
        );
        let browser = site.browser();
        browser.post("/ask/alice").await;
        browser.put("/data/data", "hers").await;
        let witness = browser.copy();
        let reply = browser.post("/ask/bob").await;
        assert_eq!((reply.status, &*reply.body), (StatusCode::FORBIDDEN, reason));
        assert_eq!(*later.lock().unwrap(), 1, "no further hook runs");
        if deny {
            assert_eq!(reply.set_cookies(), [""; 0]);
            assert_eq!(browser.get("/me").await.body, "alice");
            assert_eq!(browser.get("/data/data").await.body, "hers");
        } else {
            assert!(reply.removes_cookie());
            assert_eq!(witness.get("/me").await.reason().as_deref(), Some("revoked"));
        }
    }
}

#[tokio::test]
async fn a1_a_hook_that_fails_or_sets_a_deadline_in_the_past_refuses_the_login() {
    let site = site_with(
        |layer| {
            layer.with_login_hook(hook(|login| match login.subject() {
                "bob" => Err(Error::store("the directory is down")),
                "carol" => {
                    let past = login.now() - TICK;
                    login.overrides().expires_at(past);
                    assert_eq!(login.timing(), Err(Refusal::DeadlinePassed));
                    Ok(())
                }
                _ => Ok(()),
            }))
        },
        simply,
    );
    let browser = site.browser();
    browser.post("/ask/alice").await;
    let reply = browser.post("/ask/bob").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(reply.set_cookies(), [""; 0]);
    assert_eq!(browser.get("/me").await.body, "alice");
    let reply = browser.post("/ask/carol").await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
    assert!(reply.removes_cookie());
}

#[tokio::test]
async fn a1_metadata_has_25_entries_at_most_of_255_characters_each() {
    let site = site_with(
        |layer| {
            layer.with_login_hook(hook(|login| {
                let long = "ü".repeat(255);
                for number in 0..24 {
                    login.metadata().set(&format!("k_-{number}"), &long)?;
                }
                login.metadata().set(&"k".repeat(255), "")?;
                for (key, value) in [("26th", "x".to_owned()), ("k_-0", "x".repeat(256))] {
                    assert!(login.metadata().set(key, &value).is_err());
                }
                for key in ["", "a b", "a.b", "ä", &"k".repeat(256)] {
                    login.metadata().remove("k_-0");
                    assert!(login.metadata().set(key, "x").is_err(), "{key:?}");
                }
                login.metadata().set("k_-0", "again")
            }))
        },
        simply,
    );
    let info = asked(&site).await;
    let metadata = info["metadata"].as_object().unwrap();
    assert_eq!(metadata.len(), 25);
    assert_eq!(metadata["k_-0"], "again");
}

// A1, A2: where the session is used from

fn from(path: &str, ip: [u8; 4], agent: &str) -> Request<Body> {
    let peer = IpAddr::V4(Ipv4Addr::from(ip));
    let builder = Request::post(path).header("user-agent", agent).header("x-forwarded-for", "203.0.113.66");
    builder.header("forwarded", "for=203.0.113.66").extension(peer).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn a1_a2_the_first_and_the_last_address_and_user_agent_are_kept() {
    let by_peer = |layer: SessionLayer| layer.with_client_ip(|head| head.extensions.get::<IpAddr>().copied());
    let site = site_with(by_peer, simply);
    let browser = site.browser();
    browser.request(from("/ask/alice", [192, 0, 2, 1], "desk")).await;
    let info = look(&browser).await;
    assert_eq!(info["first"], json!(["192.0.2.1", "desk"]));
    assert_eq!(info["last"], json!(["192.0.2.1", "desk"]));

    site.clock.advance(MINUTE);
    browser.request(from("/rotate", [198, 51, 100, 2], "pocket")).await;
    let info = look(&browser).await;
    assert_eq!(info["first"], json!(["192.0.2.1", "desk"]));
    assert_eq!(info["last"], json!(["198.51.100.2", "pocket"]), "a passive look changes nothing");
}

#[tokio::test]
async fn a2_forwarded_headers_count_only_where_the_application_reads_them() {
    let site = site_with(|layer| layer, simply);
    let browser = site.browser();
    browser.request(from("/ask/alice", [192, 0, 2, 1], "desk")).await;
    assert_eq!(
        look(&browser).await["first"],
        json!([null, "desk"]),
        "no address is found unless the application says how"
    );

    let trusting = |layer: SessionLayer| {
        layer.with_client_ip(|head| head.header("x-forwarded-for")?.rsplit(',').next()?.trim().parse().ok())
    };
    let site = site_with(trusting, simply);
    let browser = site.browser();
    browser.request(from("/ask/alice", [192, 0, 2, 1], "desk")).await;
    assert_eq!(look(&browser).await["first"], json!(["203.0.113.66", "desk"]));
}

#[tokio::test]
async fn a1_a_user_agent_is_cut_at_512_bytes_and_left_out_where_it_is_no_text() {
    let site = site_with(|layer| layer, simply);
    let browser = site.browser();
    browser.request(from("/ask/alice", [192, 0, 2, 1], &"x".repeat(600))).await;
    assert_eq!(look(&browser).await["first"][1], "x".repeat(512));
    let mut request = from("/ask/alice", [192, 0, 2, 1], "");
    let bytes = axum::http::HeaderValue::from_bytes(b"\xff\xfe").unwrap();
    request.headers_mut().insert("user-agent", bytes);
    browser.request(request).await;
    assert_eq!(look(&browser).await["first"][1], Value::Null);
}

// S9: caps

/// The usual routes under this policy. `/ask/{user}` saves at once, and writes `data` after the
/// login.
fn capped_site(policy: Policy) -> Site {
    site_with(
        |layer| layer.with_policy(policy),
        async |session: Session, user: String| {
            let Outcome::Done = session.login(user).await? else {
                unreachable!("nothing refuses this early")
            };
            session.insert(&DATA, &"of the new one".to_owned())?;
            session.save().await
        },
    )
}

#[tokio::test]
async fn s9_a_login_over_a_refusing_cap_is_refused_and_the_earlier_session_stays() {
    let site = capped_site(cap(2, Overflow::Refuse));
    let (first, second, third) = (site.browser(), site.browser(), site.browser());
    for browser in [&first, &second] {
        assert_eq!(browser.post("/login/alice").await.status, StatusCode::OK);
    }
    third.post("/login/bob").await;
    let reply = third.post("/login/alice").await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN, "the middleware says it where the handler did not ask");
    assert_eq!(reply.set_cookies(), [""; 0]);
    assert_eq!(third.get("/me").await.body, "bob");
    for browser in [&first, &second] {
        assert_eq!(browser.get("/me").await.body, "alice");
    }

    first.post("/logout").await;
    assert_eq!(third.post("/login/alice").await.status, StatusCode::OK, "there is room again");
}

#[tokio::test]
async fn s9_save_returns_the_refusal_and_nothing_of_the_login_remains() {
    let site = capped_site(cap(1, Overflow::Refuse));
    site.browser().post("/login/alice").await;
    let browser = site.browser();
    browser.post("/login/bob").await;
    let reply = browser.post("/ask/alice").await;
    assert_eq!((reply.status, &*reply.body), (StatusCode::FORBIDDEN, &*Refusal::TooManySessions.to_string()));
    assert_eq!(browser.get("/me").await.body, "bob");
    let data = browser.get("/data/data").await;
    assert_eq!(data.status, StatusCode::NOT_FOUND, "what was written for alice is not bob's: {}", data.body);

    let visitor = site.browser();
    let reply = visitor.post("/ask/alice").await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
    assert_eq!(reply.set_cookies(), [""; 0], "no anonymous session comes of what was written for alice");
}

#[tokio::test]
async fn s9_a_logout_before_a_login_that_the_cap_refuses_stands() {
    for saves in [false, true] {
        let site = site_with(
            |layer| layer.with_policy(cap(1, Overflow::Refuse)),
            move |session: Session, user: String| async move {
                session.logout()?;
                let outcome = session.login(user).await?;
                if saves { session.save().await } else { Ok(outcome) }
            },
        );
        site.browser().post("/login/alice").await;
        let browser = site.browser();
        browser.post("/login/bob").await;
        let witness = browser.copy();
        let reply = browser.post("/ask/alice").await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN);
        assert_eq!(witness.get("/me").await.reason().as_deref(), Some("signed_out"), "saves: {saves}");
        assert!(reply.removes_cookie(), "saves: {saves}");
    }
}

#[tokio::test]
async fn s9_the_least_recently_active_is_evicted_and_its_user_sees_the_reason() {
    let site = capped_site(cap(2, Overflow::Evict));
    let (first, second, third) = (site.browser(), site.browser(), site.browser());
    for browser in [&first, &second] {
        browser.post("/login/alice").await;
        site.clock.advance(MINUTE);
    }
    first.get("/").await;
    site.clock.advance(MINUTE);
    assert_eq!(third.post("/login/alice").await.status, StatusCode::OK);
    let reply = second.get("/me").await;
    assert_eq!(reply.reason().as_deref(), Some("evicted"));
    assert!(reply.removes_cookie());
    for browser in [&first, &third] {
        assert_eq!(browser.get("/me").await.body, "alice");
    }
}

#[tokio::test]
async fn s9_the_session_that_a_login_replaces_and_those_that_are_over_do_not_count() {
    for overflow in [Overflow::Refuse, Overflow::Evict] {
        let site = capped_site(cap(2, overflow));
        let (first, second, third) = (site.browser(), site.browser(), site.browser());
        for browser in [&first, &second] {
            browser.post("/login/alice").await;
        }
        for _ in 0..3 {
            assert_eq!(first.post("/login/alice").await.status, StatusCode::OK);
        }
        assert_eq!(second.get("/me").await.status, StatusCode::OK);

        site.clock.advance(HOUR - TICK);
        second.get("/").await;
        site.clock.advance(TICK); // the first one is over, and no request has seen that yet
        assert_eq!(third.post("/login/alice").await.status, StatusCode::OK);
        assert_eq!(second.get("/me").await.status, StatusCode::OK);
        assert_eq!(first.get("/me").await.reason().as_deref(), Some("idle"));
    }
}

#[tokio::test]
async fn s9_a_cap_holds_under_parallel_logins_through_the_layer() {
    let store = MemoryStore::new();
    let layer = SessionLayer::new(store).with_policy(cap(3, Overflow::Evict));
    let mut sessions: Option<Sessions> = None;
    let site = Site::over(layer, usual_routes(), |layer| {
        sessions = Some(layer.sessions());
        layer
    });
    let logins = (0..20).map(|_| {
        let browser = site.browser();
        tokio::spawn(async move { browser.post("/login/alice").await.status })
    });
    for login in logins.collect::<Vec<_>>() {
        assert_eq!(login.await.unwrap(), StatusCode::OK);
    }
    assert_eq!(sessions.unwrap().list(Some("alice"), None, 100).await.unwrap().sessions.len(), 3);
}

#[tokio::test]
async fn s9_anonymous_sessions_have_no_cap() {
    let site = capped_site(cap(1, Overflow::Refuse));
    let browsers = [site.browser(), site.browser(), site.browser()];
    for browser in &browsers {
        browser.put("/data/data", "basket").await;
    }
    for browser in &browsers {
        assert_eq!(browser.get("/data/data").await.body, "basket");
    }
}

#[tokio::test]
async fn l3_the_end_of_a_replaced_session_is_emitted_once() {
    let ends = Arc::new(Mutex::new(Vec::new()));
    let events = Arc::clone(&ends);
    let site = site_with(
        |layer| {
            layer.with_observer_fn(move |event: &Event<'_>| {
                if let EventKind::Ended(reason) = event.kind {
                    events.lock().unwrap().push(reason);
                }
            })
        },
        simply,
    );
    let browser = site.browser();
    browser.post("/ask/alice").await;
    browser.post("/ask/alice").await;
    browser.post("/logout").await;
    assert_eq!(*ends.lock().unwrap(), [EndReason::Superseded, EndReason::SignedOut]);
}

// S4: a login whose answer was lost

#[tokio::test]
async fn s4_a_login_that_was_revoked_before_its_second_try_issues_no_cookie() {
    let store = Probe::remote(MemoryStore::new());
    let all = SessionLayer::new(store.clone()).with_clock(ManualClock::default()).sessions();
    let login = post(async move |session: Session| {
        let _planned = session.login("alice").await?;
        let lost = session.save().await;
        assert!(lost.is_err_and(|error| error.is_store_failure()));
        all.revoke_all("alice", None).await
    });
    let layer = SessionLayer::new(store.clone()).with_policy(policy());
    let site = Site::over(layer, usual_routes().route("/log-in-and-revoke", login), |layer| layer);
    store.lose_answers(Operation::Create, 1);
    let browser = site.browser();
    let reply = browser.post("/log-in-and-revoke").await;
    assert_eq!(store.take_calls().iter().filter(|call| **call == Operation::Create).count(), 2);
    assert_eq!(reply.set_cookies(), [""; 0]);
    assert_eq!(browser.get("/me").await.status, StatusCode::UNAUTHORIZED);
}
