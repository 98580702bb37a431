//! Counters in sessions (SPEC S3).

use std::{convert::Infallible, sync::Arc};

use http::{Request, Response, header};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_tenure::{Key, MemoryStore, Session, SessionLayer, testing::ManualClock};

use crate::common::Door;

const COUNT: Key<u64> = Key::new("count");

/// Guards: storing a mere touch took over the record's revision without its data. The next
/// compare-and-set then compared with a revision that the request had never read.
#[tokio::test]
async fn s3_a_counter_counts_what_another_request_added_since_this_one_arrived() {
    let door = Door::new();
    let inside = door.clone();
    let handler = service_fn(move |request: Request<String>| {
        let door = inside.clone();
        async move {
            let session = request.extensions().get::<Session>().unwrap();
            match request.uri().path() {
                "/login" => {
                    let _ = session.login("ada").await.unwrap();
                    return Ok::<_, Infallible>(Response::new(String::new()));
                }
                "/late" => door.pass().await,
                _ => {}
            }
            let count = session.update(&COUNT, |count| count.unwrap_or(0) + 1).await.unwrap();
            Ok(Response::new(count.to_string()))
        }
    });
    let clock = Arc::new(ManualClock::default());
    let layer = SessionLayer::new(MemoryStore::new()).with_clock(Arc::clone(&clock));
    let mut service = layer.layer(handler);

    let login = Request::builder().uri("/login").body(String::new()).unwrap();
    let set = service.ready().await.unwrap().call(login).await.unwrap();
    let cookie = set.headers()[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    clock.advance(std::time::Duration::from_secs(1));

    let get = |path: &str| Request::get(path).header(header::COOKIE, &cookie).body(String::new()).unwrap();
    let late = tokio::spawn(service.clone().oneshot(get("/late")));
    door.arrived().await;
    service.clone().oneshot(get("/now")).await.unwrap();
    door.open();
    late.await.unwrap().unwrap();

    let response = service.oneshot(get("/now")).await.unwrap();
    let body = http_body_util::BodyExt::collect(response.into_body()).await;
    assert_eq!(body.unwrap().to_bytes(), "3");
}
