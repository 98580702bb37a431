//! The cost of a request over bare axum, in allocations and store look-ups (issue "overhead"). The
//! counts are exact, so a regression fails here. `cargo bench --bench overhead` prints the same,
//! with instructions and time.

#[path = "../benches/scenarios/mod.rs"]
#[expect(dead_code, reason = "the bench compares more than what is promised")]
mod scenarios;

use allocation_counter::{AllocationInfo, measure};
use axum::body::Body;
use http::Request;

use self::scenarios::{Scenario, Stack, Visit, bound::SoftwareDevice};

const REQUESTS: usize = 200;

/// Serves requests as hyper does, without the network.
fn served(stack: Stack, visit: Visit) -> AllocationInfo {
    let mut scenario = Scenario::new(stack, visit);
    let requests = scenario.requests(REQUESTS);
    serve(&mut scenario, requests)
}

/// Only this thread's allocations are counted, so other tests do not disturb the count.
fn serve(scenario: &mut Scenario, requests: Vec<Request<Body>>) -> AllocationInfo {
    let info = measure(|| requests.into_iter().for_each(|request| drop(scenario.serve(request))));
    assert!(info.count_total >= 1, "the counting allocator is in place");
    info
}

/// Asserts that each request adds at most this many allocations to those of bare axum.
fn assert_adds_at_most(most: u64, visit: Visit) {
    let bare = served(Stack::Bare, visit).count_total;
    let ours = served(Stack::Tenure, visit).count_total;
    let requests = REQUESTS as u64;
    let added = |total: u64| total.saturating_sub(bare);
    assert!(
        added(ours) <= most * requests,
        "{}: {} allocations added by {requests} requests, at most {most} each are allowed",
        visit.name(),
        added(ours),
    );
}

#[test]
fn a_request_without_a_cookie_adds_at_most_one_allocation() {
    assert_adds_at_most(1, Visit::NoCookie);
}

#[test]
fn neither_does_one_that_was_built_by_hand() {
    // Its values are not shared yet, so the layer's first clone of one allocates.
    let build = || Request::get("/plain").header("user-agent", "curl/8.0").body(Body::empty());
    let [bare, ours] = [Stack::Bare, Stack::Tenure].map(|stack| {
        let requests = (0..REQUESTS).map(|_| build().expect("a request")).collect();
        serve(&mut Scenario::new(stack, Visit::NoCookie), requests).count_total
    });
    assert!(ours <= bare + REQUESTS as u64, "{ours} allocations, and {bare} of bare axum");
}

#[test]
fn a_live_read_only_request_adds_at_most_four_allocations() {
    for visit in [Visit::Live, Visit::LiveRead, Visit::Scattered, Visit::ScatteredRead, Visit::Persistent] {
        assert_adds_at_most(4, visit);
    }
}

#[test]
fn b6_a_live_read_of_a_bound_session_allocates_no_more_than_of_another() {
    let unbound = served(Stack::Binding, Visit::LiveRead).count_total;
    let bound = served(Stack::Binding, Visit::BoundRead).count_total;
    assert!(bound <= unbound, "{bound} allocations, and {unbound} without a binding");
}

#[test]
fn a_forged_cookie_costs_one_look_up_and_leaves_nothing_behind() {
    let mut scenario = Scenario::new(Stack::Counted, Visit::Forged);
    let (loads, records) = (scenario.store.loads(), scenario.store.len());
    let info = measure(|| (0..REQUESTS).for_each(|_| drop(scenario.visit())));
    assert_eq!(scenario.store.loads() - loads, REQUESTS as u64, "look-ups");
    assert_eq!(scenario.store.len(), records, "no id is adopted (C7)");
    assert!(info.count_total > 0, "the counting allocator is in place");
    assert_eq!((info.count_current, info.bytes_current), (0, 0), "allocations that outlive the requests");
    assert_adds_at_most(4, Visit::Forged);
}

#[test]
fn a_malformed_cookie_reaches_no_store_and_leaves_nothing_behind() {
    let mut scenario = Scenario::new(Stack::Counted, Visit::Malformed);
    let loads = scenario.store.loads();
    let info = measure(|| (0..REQUESTS).for_each(|_| drop(scenario.visit())));
    assert_eq!(scenario.store.loads(), loads, "look-ups");
    assert_eq!((info.count_current, info.bytes_current), (0, 0), "allocations that outlive the requests");
}

/// B6: the cost that binding adds to a request, with both cookies and after the grace.
#[test]
fn a_live_read_of_a_bound_session_adds_no_allocation() {
    let [plain, bound] = [false, true].map(|binds| {
        let (mut serve, cookies) = bound_site(binds);
        let request =
            || Request::get("/plain").header("cookie", &cookies).body(Body::empty()).expect("a request");
        let requests: Vec<_> = (0..REQUESTS).map(|_| request()).collect();
        (0..100).for_each(|_| drop(serve(request())));
        measure(|| {
            for request in requests {
                assert_eq!(serve(request).status, http::StatusCode::OK);
            }
        })
        .count_total
    });
    assert_eq!(bound, plain, "allocations of {REQUESTS} requests");
}

type Serve = Box<dyn FnMut(Request<Body>) -> http::response::Parts>;

/// A site with a session, and its cookies. The session is bound to a device, or has cookies of the
/// same form.
fn bound_site(binds: bool) -> (Serve, String) {
    use std::{convert::Infallible, time::Duration};

    use axum::{Router, routing};
    use futures_util::FutureExt;
    use http_body_util::BodyExt;
    use tower::{Layer, ServiceExt};
    use tower_tenure::{
        DeviceBinding, MemoryStore, RequireSession, Session, SessionLayer, browser::Endpoints,
        testing::ManualClock,
    };

    let clock = ManualClock::default();
    let login = async |session: Session| session.login("alice").await.map(drop);
    let guarded = Router::new().route("/plain", routing::get(async || "hello")).layer(RequireSession::new());
    let routes = guarded.route("/login", routing::post(login));
    let endpoints = Endpoints::at("/session").expect("a path").with_device_binding(DeviceBinding::enforce());
    let layer = SessionLayer::new(MemoryStore::new()).with_clock(clock.clone()).with_endpoints(endpoints);
    let service = layer.layer(routes);
    let serve = move |request: Request<Body>| {
        let response: Result<_, Infallible> =
            service.clone().oneshot(request).now_or_never().expect("at once");
        let (parts, body) = response.expect("infallible").into_parts();
        drop(body.collect().now_or_never().expect("at once"));
        parts
    };
    let pair = |parts: &http::response::Parts| {
        let line = parts.headers[http::header::SET_COOKIE].to_str().expect("ASCII");
        line.split(';').next().expect("a pair").to_owned()
    };
    let post = |path: &str, headers: &[(&str, &str)]| {
        let request =
            headers.iter().fold(Request::post(path), |request, (name, value)| request.header(*name, *value));
        request.body(Body::empty()).expect("a request")
    };
    let reply = serve(post("/login", &[]));
    let offer = reply.headers["secure-session-registration"].to_str().expect("ASCII");
    let challenge =
        offer.split("challenge=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a challenge");
    let mut cookies = pair(&reply);
    if binds {
        let proof = SoftwareDevice::es256().register(challenge);
        let reply =
            serve(post("/session/bind", &[("cookie", &cookies), ("secure-session-response", &proof)]));
        assert_eq!(reply.status, http::StatusCode::OK);
        cookies = format!("{cookies}; {}", pair(&reply));
        clock.advance(Duration::from_secs(31));
        let bare = cookies.split(';').next().expect("a pair").to_owned();
        assert_eq!(
            serve(Request::get("/plain").header("cookie", bare).body(Body::empty()).expect("a request"))
                .status,
            401
        );
    } else {
        cookies = format!("{cookies}; __Host-id-bound={}", "A".repeat(54));
        clock.advance(Duration::from_secs(31));
    }
    (Box::new(serve), cookies)
}
