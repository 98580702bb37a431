//! The user as an axum extractor.

use axum::{Router, http::StatusCode, routing::get};
use tower_tenure::{MemoryStore, SessionLayer, User};

use crate::common::{IDLE, Site, policy, usual_routes};

fn site() -> Site {
    let routes = usual_routes()
        .route("/name", get(async |User(name): User| name))
        .route("/number", get(async |User(number): User<u64>| number.to_string()))
        .route("/maybe", get(async |user: Option<User>| user.map_or("nobody".to_owned(), |user| user.0)));
    Site::over(SessionLayer::new(MemoryStore::new()), routes, |layer| layer.with_policy(policy()))
}

#[tokio::test]
async fn h1_the_user_is_the_subject_of_the_login_as_the_type_that_a_handler_asks_for() {
    let site = site();
    let browser = site.log_in("42").await;
    for (path, expected) in [("/name", "42"), ("/number", "42"), ("/maybe", "42")] {
        let reply = browser.get(path).await;
        assert_eq!((reply.status, &*reply.body), (StatusCode::OK, expected), "{path}");
    }
}

#[tokio::test]
async fn e1_without_a_user_it_is_the_401_that_says_why() {
    let site = site();
    let stranger = site.browser();
    let reply = stranger.get("/name").await;
    assert_eq!((reply.status, reply.reason().as_deref()), (StatusCode::UNAUTHORIZED, Some("none")));
    assert!(reply.headers.contains_key("www-authenticate"));
    assert_eq!(stranger.get("/maybe").await.body, "nobody");

    let visitor = site.browser();
    assert_eq!(visitor.put("/data/key", "of an anonymous session").await.status, StatusCode::OK);
    assert_eq!(visitor.get("/name").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(visitor.get("/maybe").await.body, "nobody");

    let late = site.log_in("alice").await;
    site.clock.advance(IDLE);
    assert_eq!(late.get("/name").await.reason().as_deref(), Some("idle"));
    assert_eq!(late.get("/maybe").await.body, "nobody");
}

#[tokio::test]
async fn a_subject_of_another_type_is_500_and_is_not_shown() {
    let site = site();
    let reply = site.log_in("alice").await.get("/number").await;
    assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(!reply.body.contains("alice"), "{}", reply.body);
}

#[tokio::test]
async fn without_a_layer_it_is_500_and_says_what_is_missing() {
    let routes = Router::new().route("/", get(async |User(name): User| name));
    let request = axum::http::Request::get("/").body(axum::body::Body::empty()).unwrap();
    let reply = crate::common::Reply::read(tower::ServiceExt::oneshot(routes, request).await.unwrap()).await;
    assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(reply.body.contains("SessionLayer"), "{}", reply.body);
}
