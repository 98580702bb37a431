//! What a request may cost over bare axum, in allocations and look-ups (issue "overhead"): exact counts, so that a
//! regression fails here. `cargo bench --bench overhead` prints the same with instructions and time.

#[path = "../benches/scenarios/mod.rs"]
#[expect(dead_code, reason = "the bench compares more than what is promised")]
mod scenarios;

use allocation_counter::{AllocationInfo, measure};
use axum::body::Body;
use http::Request;

use self::scenarios::{Scenario, Stack, Visit};

const REQUESTS: usize = 200;

/// Serves requests that come from hyper, but for the wire.
fn served(stack: Stack, visit: Visit) -> AllocationInfo {
    let mut scenario = Scenario::new(stack, visit);
    let requests = scenario.requests(REQUESTS);
    serve(&mut scenario, requests)
}

/// The count is of this thread only, so other tests do not disturb it.
fn serve(scenario: &mut Scenario, requests: Vec<Request<Body>>) -> AllocationInfo {
    let info = measure(|| requests.into_iter().for_each(|request| drop(scenario.serve(request))));
    assert!(info.count_total >= 1, "the counting allocator is in place");
    info
}

/// Asserts that each request adds at most so many allocations to those of bare axum.
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
    // Its values are not shared yet, so a layer that clones one of them allocates.
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
