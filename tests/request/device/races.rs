//! Registrations and refreshes beside other requests (SPEC B4, B7, S4, O1).

use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use tower_tenure::{
    DeviceBinding, MemoryStore, SessionLayer,
    events::{Event, EventKind, Operation},
    testing::Probe,
};

use crate::common::{
    Browser, Reply, SECOND, Site, SoftwareDevice,
    bound::{challenge_of, log_in, refresh, register, site_with},
    policy, policy_of,
};

type Events = Arc<Mutex<Vec<String>>>;

/// A site over a store whose calls can be held, and the events of device binding.
fn place() -> (Site, Probe<MemoryStore>, Events) {
    let (store, events) = (Probe::remote(MemoryStore::new()), Events::default());
    let observer = {
        let events = Arc::clone(&events);
        move |event: &Event<'_>| {
            let line = match event.kind {
                EventKind::ProofRefused { reason } => format!("proof_refused {reason}"),
                EventKind::Bound | EventKind::Rotated | EventKind::Unproven { .. } => {
                    event.kind.as_str().to_owned()
                }
                _ => return,
            };
            events.lock().unwrap().push(line);
        }
    };
    let site = site_with(store.clone(), DeviceBinding::enforce(), policy(), |layer: SessionLayer| {
        layer.with_observer_fn(observer)
    });
    (site, store, events)
}

fn take(events: &Events) -> Vec<String> {
    std::mem::take(&mut events.lock().unwrap())
}

/// Starts a registration and holds its update before the store.
async fn held(
    store: &Probe<MemoryStore>,
    browser: &Browser,
    proof: String,
) -> (tokio::task::JoinHandle<Reply>, tower_tenure::testing::Gate) {
    let gate = store.hold(Operation::Update);
    let tab = browser.copy();
    let registering = tokio::spawn(async move { register(&tab, &proof).await });
    gate.arrived().await;
    (registering, gate)
}

#[tokio::test]
async fn b4_o1_of_two_devices_at_once_the_first_is_bound_and_one_event_says_so() {
    let (site, store, events) = place();
    let browser = site.browser();
    let challenge = log_in(&browser, "alice").await;
    let [slow, fast] = [SoftwareDevice::es256(), SoftwareDevice::rs256()];
    let (registering, gate) = held(&store, &browser, slow.register(&challenge)).await;
    assert_eq!(register(&browser.copy(), &fast.register(&challenge)).await.status, StatusCode::OK);
    gate.open();
    let reply = registering.await.unwrap();
    assert_eq!((reply.status, reply.set_cookies().len()), (StatusCode::FORBIDDEN, 0), "{}", reply.body);
    assert_eq!(take(&events), ["bound", "proof_refused other_device"]);
    // The session is bound to the faster device.
    site.clock.advance(600 * SECOND);
    let sid = {
        let reply = refresh(&browser, &sid_of(&browser), None).await;
        let challenge = challenge_of(&reply);
        let refused = refresh(&browser, &sid_of(&browser), Some(&slow.refresh(&challenge))).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        refresh(&browser, &sid_of(&browser), Some(&fast.refresh(&challenge))).await
    };
    assert_eq!(sid.status, StatusCode::OK);
}

/// The session's id: the first 22 of the token's characters hold 16 bytes and two bits.
fn sid_of(browser: &Browser) -> String {
    use base64ct::{Base64UrlUnpadded, Encoding};
    let cookies = browser.cookie_header().unwrap();
    let token = cookies.split("; ").find_map(|pair| pair.strip_prefix("__Host-id=")).unwrap();
    let bytes = Base64UrlUnpadded::decode_vec(token).unwrap();
    tower_tenure::SessionId::from_bytes(bytes[..16].try_into().unwrap()).to_string()
}

/// A browser that receives no answer retries.
#[tokio::test]
async fn b4_o1_the_same_device_twice_at_once_is_bound_once() {
    let (site, store, events) = place();
    let browser = site.browser();
    let challenge = log_in(&browser, "alice").await;
    let device = SoftwareDevice::es256();
    let (registering, gate) = held(&store, &browser, device.register(&challenge)).await;
    site.clock.advance(SECOND);
    let again = register(&browser, &device.register(&challenge)).await;
    assert_eq!(again.status, StatusCode::OK);
    gate.open();
    assert_eq!(registering.await.unwrap().status, StatusCode::OK);
    assert_eq!(take(&events), ["bound"]);
}

#[tokio::test]
async fn s4_b4_a_session_that_ends_meanwhile_is_not_bound() {
    for ended_by in ["logout", "revocation", "login"] {
        let (site, store, events) = place();
        let browser = site.browser();
        let challenge = log_in(&browser, "alice").await;
        let proof = SoftwareDevice::es256().register(&challenge);
        let (registering, gate) = held(&store, &browser, proof).await;
        match ended_by {
            "logout" => drop(browser.copy().post("/logout").await),
            "login" => drop(browser.copy().post("/login/alice").await),
            _ => site.sessions.revoke_all("alice", None).await.unwrap(),
        }
        gate.open();
        let reply = registering.await.unwrap();
        assert_eq!((reply.status, reply.set_cookies().len()), (StatusCode::UNAUTHORIZED, 0), "{ended_by}");
        assert_eq!(take(&events), [""; 0], "{ended_by}");
        assert_eq!(browser.get("/me").await.status, StatusCode::UNAUTHORIZED, "{ended_by}");
    }
}

/// Interleaving: a rotation and a registration commit in either order. Afterwards both are in
/// force.
#[tokio::test]
async fn b7_a_rotation_in_flight_and_a_registration_both_count() {
    for binds_first in [false, true] {
        let (site, store, events) = place();
        let browser = site.browser();
        let challenge = log_in(&browser, "alice").await;
        let device = SoftwareDevice::es256();
        let proof = device.register(&challenge);
        // No touch is due after the login, so the first update is the one that is held.
        let reply = if binds_first {
            let gate = store.hold(Operation::Update);
            let rotating = browser.spawn(axum::http::Method::POST, "/rotate");
            gate.arrived().await;
            let reply = register(&browser, &proof).await;
            gate.open();
            let rotated = rotating.await.unwrap();
            let line = rotated.set_cookies()[0].split(';').next().unwrap().to_owned();
            let cookies = browser.cookie_header().unwrap();
            let bound = cookies.split("; ").find(|pair| pair.starts_with("__Host-id-bound=")).unwrap();
            browser.set_cookies(Some(&format!("{line}; {bound}")));
            reply
        } else {
            let (registering, gate) = held(&store, &browser, proof).await;
            assert_eq!(browser.post("/rotate").await.status, StatusCode::OK);
            gate.open();
            registering.await.unwrap()
        };
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
        let lines = reply.set_cookies();
        assert!(lines.iter().all(|line| line.starts_with("__Host-id-bound=")), "no dying token: {lines:?}");
        let mut events = take(&events);
        events.sort_unstable();
        assert_eq!(events, ["bound", "rotated"]);
        site.clock.advance(600 * SECOND);
        let sid = sid_of(&browser);
        let proof = device.refresh(&challenge_of(&refresh(&browser, &sid, None).await));
        assert_eq!(refresh(&browser, &sid, Some(&proof)).await.status, StatusCode::OK);
        assert_eq!(browser.get("/me").await.body, "alice");
    }
}

/// B2: each response that sets the cookie of a login has an offer for exactly that session. No
/// other response has one.
#[tokio::test]
async fn b2_the_offer_goes_with_the_cookie_of_a_login_and_with_nothing_else() {
    use axum::routing::{get, post};
    use tower_tenure::{
        Session,
        policy::{Cap, Overflow},
    };
    let routes = |routes: axum::Router| {
        let saved = post(async |session: Session| {
            session.login("alice").await.unwrap().accepted().unwrap();
            session.save().await.unwrap().accepted().unwrap();
            StatusCode::INTERNAL_SERVER_ERROR
        });
        let failed = post(async |session: Session| {
            session.login("alice").await.unwrap().accepted().unwrap();
            StatusCode::INTERNAL_SERVER_ERROR
        });
        let rotated = post(async |session: Session| {
            session.login("alice").await.unwrap().accepted().unwrap();
            session.save().await.unwrap().accepted().unwrap();
            session.rotate_now().unwrap();
        });
        let twice = post(async |session: Session| {
            session.login("bob").await.unwrap().accepted().unwrap();
            session.login("alice").await.unwrap().accepted().unwrap();
        });
        let routes = routes.route("/saved", saved).route("/failed", failed).route("/rotated", rotated);
        routes
            .route("/twice", twice)
            .route("/look", get(async |session: Session| format!("{:?}", session.sid())))
    };
    let site = crate::common::bound::site_routed(
        Probe::remote(MemoryStore::new()),
        DeviceBinding::enforce(),
        routes,
    );
    let offer = |reply: &Reply| {
        let mut lines = reply.headers.get_all("secure-session-registration").iter();
        let offer =
            lines.next().map(|line| crate::common::bound::parameter(line.to_str().unwrap(), "challenge"));
        assert!(lines.next().is_none());
        offer
    };
    for (path, status, is_offered) in [
        ("/saved", 500, true),
        ("/failed", 500, false),
        ("/rotated", 200, true),
        ("/twice", 200, true),
        ("/data/x", 404, false),
        ("/logout", 200, false),
        ("/login/alice", 200, true),
    ] {
        let browser = site.browser();
        let method = if path == "/data/x" { axum::http::Method::GET } else { axum::http::Method::POST };
        let reply = browser.send(method, path).await;
        assert_eq!((reply.status.as_u16(), offer(&reply).is_some()), (status, is_offered), "{path}");
        if let Some(challenge) = offer(&reply) {
            let reply = register(&browser, &SoftwareDevice::es256().register(&challenge)).await;
            assert_eq!(reply.status, StatusCode::OK, "{path}: {}", reply.body);
            assert_eq!(browser.get("/bound").await.body, "bound");
            for reply in
                [browser.get("/look").await, browser.post("/rotate").await, browser.put("/data/k", "v").await]
            {
                assert_eq!(offer(&reply), None, "only a login offers");
            }
        }
    }

    // A session without a registered device gets no offer either, because its cookie may be a copy.
    let browser = site.browser();
    assert!(offer(&browser.post("/login/alice").await).is_some());
    for reply in
        [browser.get("/look").await, browser.post("/rotate").await, browser.put("/data/k", "v").await]
    {
        assert_eq!((reply.status, offer(&reply)), (StatusCode::OK, None), "only a login offers");
    }

    let one = policy_of(60 * SECOND, 600 * SECOND)
        .with_cap(Some(Cap::new(1.try_into().unwrap(), Overflow::Refuse)));
    let site = site_with(MemoryStore::new(), DeviceBinding::enforce(), one, |layer| layer);
    let first = site.log_in("alice").await;
    assert_eq!(first.get("/me").await.body, "alice");
    let reply = site.browser().post("/login/alice").await;
    assert_eq!((reply.status, offer(&reply)), (StatusCode::FORBIDDEN, None), "refused by the cap");
}

/// S9: after a double click the session of the last answer is kept, and its offer is valid.
#[tokio::test]
async fn b2_s9_of_a_double_click_the_offer_that_comes_with_a_cookie_is_good() {
    let (site, store, _) = place();
    let browser = site.log_in("alice").await;
    let gate = store.hold(Operation::Create);
    let slow = browser.spawn(axum::http::Method::POST, "/login/alice");
    gate.arrived().await;
    let fast = browser.copy();
    let first = log_in(&fast, "alice").await;
    gate.open();
    let reply = slow.await.unwrap();
    let line = reply.set_cookies().first().map(|line| line.split(';').next().unwrap().to_owned());
    let offer = crate::common::bound::text(&reply.headers, "secure-session-registration");
    assert_eq!(line.is_some(), offer.is_some());
    let device = SoftwareDevice::es256();
    let (winner, challenge) = match (line, offer) {
        (Some(line), Some(offer)) => {
            let winner = site.browser();
            winner.set_cookies(Some(&line));
            (winner, crate::common::bound::parameter(offer, "challenge"))
        }
        _ => (fast, first),
    };
    assert_eq!(register(&winner, &device.register(&challenge)).await.status, StatusCode::OK);
    assert_eq!(site.live(Some("alice")).await, 1);
}
