//! Device binding on real stores: two nodes in turn, and outages of the store (SPEC B4, B5, S6).

use std::time::Duration;

use axum::http::StatusCode;
use tower_tenure::{
    DeviceBinding, Mode,
    store::{AnyStore, PostgresStore, RedisStore, SqliteStore},
    testing::ManualClock,
};

use crate::common::{
    Browser, HOUR, Reply, Site, SoftwareDevice,
    backends::Backend,
    bound::{Bound, challenge_of, log_in, refresh, register, site_with},
    policy_of,
    servers::{KINDS, Kind, Server},
};

const BOUND_COOKIE: Duration = Duration::from_secs(600);

async fn open(url: &str) -> AnyStore {
    if let Some(path) = url.strip_prefix("sqlite:") {
        SqliteStore::open(path).await.unwrap().into()
    } else if url.starts_with("postgres:") {
        PostgresStore::connect(url).await.unwrap().into()
    } else {
        RedisStore::connect(url).await.unwrap().into()
    }
}

async fn node(url: &str, clock: &ManualClock) -> Site {
    let policy = policy_of(HOUR, 100 * HOUR).with_default_mode(Mode::Persistent);
    site_with(open(url).await, DeviceBinding::enforce(), policy, |layer| {
        layer.with_clock(clock.clone()).with_store_budget(Duration::from_millis(500))
    })
}

/// Moves the browser to the other node, with its cookies.
fn moved(bound: Bound, node: &Site) -> Bound {
    Bound { browser: bound.browser.at(node), ..bound }
}

/// Registered on one node, refreshed on two in turn, used on both, and ended on one.
async fn in_turn(url: &str, device: SoftwareDevice) {
    let clock = ManualClock::default();
    let nodes = [node(url, &clock).await, node(url, &clock).await];
    let browser = nodes[0].browser();
    let challenge = log_in(&browser, "alice").await;
    // Offered by one node, registered at the other.
    let reply = register(&browser.at(&nodes[1]), &device.register(&challenge)).await;
    assert_eq!(reply.status, StatusCode::OK, "{url}: {}", reply.body);
    let json: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    let mut bound = Bound { sid: json["session_identifier"].as_str().unwrap().to_owned(), browser, device };
    let other = register(&bound.browser, &SoftwareDevice::es256().register(&challenge)).await;
    assert_eq!(other.status, StatusCode::FORBIDDEN, "{url}: the first one wins");
    for turn in 0..6 {
        clock.advance(BOUND_COOKIE);
        bound = moved(bound, &nodes[turn % 2]);
        assert_eq!(bound.browser.get("/me").await.reason().as_deref(), Some("unproven"), "{url}");
        // The challenge of one node, answered at the other.
        let proof = bound.device.refresh(&bound.challenge().await);
        bound = moved(bound, &nodes[(turn + 1) % 2]);
        assert_eq!(refresh(&bound.browser, &bound.sid, Some(&proof)).await.status, StatusCode::OK, "{url}");
        for node in &nodes {
            assert_eq!(bound.browser.at(node).get("/bound").await.body, "bound", "{url}");
        }
        // A rotation keeps the binding, on every node.
        assert_eq!(bound.browser.post("/rotate").await.status, StatusCode::OK, "{url}");
    }
    let stays = bound.browser.copy();
    bound.browser.post("/logout").await;
    for node in &nodes {
        let reply = refresh(&stays.at(node), &bound.sid, None).await;
        assert_eq!((reply.status, &*reply.body), (StatusCode::OK, r#"{"continue": false}"#), "{url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b4_b5_a_device_registers_and_refreshes_on_two_nodes_in_turn_on_every_store() {
    let mut backends = vec![Backend::sqlite("device")];
    backends.extend(KINDS.into_iter().filter_map(|kind| Backend::server(kind, "device")));
    for backend in &backends {
        for device in [SoftwareDevice::es256(), SoftwareDevice::rs256()] {
            in_turn(&backend.url(), device).await;
        }
    }
}

/// Two devices register concurrently, on two nodes: one is bound, and the other one is refused.
#[tokio::test(flavor = "multi_thread")]
async fn b4_of_parallel_registrations_on_two_nodes_one_wins_on_every_store() {
    let mut backends = vec![Backend::sqlite("devices")];
    backends.extend(KINDS.into_iter().filter_map(|kind| Backend::server(kind, "devices")));
    for backend in &backends {
        let (url, clock) = (backend.url(), ManualClock::default());
        let nodes = [node(&url, &clock).await, node(&url, &clock).await];
        for round in 0..10 {
            let browser = nodes[0].browser();
            let challenge = log_in(&browser, &format!("user{round}")).await;
            let devices = [SoftwareDevice::es256(), SoftwareDevice::es256()];
            let [here, there] = [0, 1].map(|n| (browser.at(&nodes[n]), devices[n].register(&challenge)));
            let (one, two) = tokio::join!(register(&here.0, &here.1), register(&there.0, &there.1));
            let mut statuses = [one.status.as_u16(), two.status.as_u16()];
            let winner = usize::from(two.status == StatusCode::OK);
            statuses.sort_unstable();
            assert_eq!(statuses, [200, 403], "{url}");
            let sid: serde_json::Value =
                serde_json::from_str(if winner == 0 { &one.body } else { &two.body }).unwrap();
            let sid = sid["session_identifier"].as_str().unwrap();
            let challenge = challenge_of(&refresh(&browser, sid, None).await);
            for (number, device) in devices.iter().enumerate() {
                let reply = refresh(&browser, sid, Some(&device.refresh(&challenge))).await;
                assert_eq!(reply.status == StatusCode::OK, number == winner, "{url}");
            }
        }
    }
}

fn assert_away(reply: &Reply) {
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{}", reply.body);
    assert_eq!(reply.set_cookies(), [""; 0]);
}

/// Retries until the store answers.
async fn until_answered(send: impl AsyncFn() -> Reply) -> Reply {
    for _ in 0..60 {
        let reply = send().await;
        if reply.status != StatusCode::SERVICE_UNAVAILABLE {
            return reply;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the store does not come back")
}

#[tokio::test(flavor = "multi_thread")]
async fn s6_b5_a_server_that_stands_still_costs_no_binding() {
    for kind in [Kind::Redis, Kind::Postgres] {
        let Some(server) = Server::start(kind, "a device and a server that stands still") else { continue };
        let site = node(&server.url(), &ManualClock::default()).await;
        let bound = Bound::new(&site, SoftwareDevice::es256()).await;
        let (browser, device): (Browser, _) = (site.browser(), SoftwareDevice::es256());
        let proof = device.register(&log_in(&browser, "bob").await);
        let again = bound.device.refresh(&bound.challenge().await);
        server.freeze();
        let (one, two, three, four) = tokio::join!(
            register(&browser, &proof),
            refresh(&bound.browser, &bound.sid, None),
            refresh(&bound.browser, &bound.sid, Some(&again)),
            bound.browser.get("/me"),
        );
        [one, two, three, four].iter().for_each(assert_away);
        server.thaw();
        let reply = until_answered(async || register(&browser, &proof).await).await;
        assert_eq!(reply.status, StatusCode::OK, "{kind:?}: {}", reply.body);
        assert_eq!(browser.get("/bound").await.body, "bound");
        let reply = until_answered(async || refresh(&bound.browser, &bound.sid, Some(&again)).await).await;
        assert_eq!(reply.status, StatusCode::OK, "{kind:?}: {}", reply.body);
        assert_eq!(bound.browser.get("/me").await.body, "alice");
    }
}
