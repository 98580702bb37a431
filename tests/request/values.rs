//! Values of a session: `insert`, `remove`, `clear`, and fallible updates.

use axum::{
    http::StatusCode,
    routing::{get, post},
};
use tower_tenure::{
    Error, ErrorKind, Key, MemoryStore, Session, SessionLayer,
    events::Operation::{Load, Update},
    testing::Probe,
};

use crate::common::{Door, Site, soon, usual_routes};

const NAME: Key<String> = Key::new("name");
const COUNT: Key<u32> = Key::new("count");
const LIST: Key<Vec<u8>> = Key::new("list");

/// An error type of the application that wraps ours.
#[derive(Debug, PartialEq)]
enum Refusal {
    Ours(ErrorKind),
    TooMany,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Ours(error.kind())
    }
}

async fn count_to_two(session: Session) -> String {
    let change = |count: Option<u32>| {
        let next = count.unwrap_or(0) + 1;
        if next > 2 { Err(Refusal::TooMany) } else { Ok(next) }
    };
    format!("{:?}", session.try_update(&COUNT, change).await)
}

async fn fill(session: Session) -> Result<(), Error> {
    session.insert(&NAME, "text")?;
    session.insert(&NAME, &"text".to_owned())?;
    session.insert(&COUNT, &7)?;
    session.insert(&LIST, &vec![1, 2])
}

async fn take(session: Session) -> String {
    let name = session.remove(&NAME).unwrap();
    let again = session.remove(&NAME).unwrap();
    let other = session.remove(&Key::<String>::new("count")).map_err(|error| error.kind());
    format!("{name:?} {again:?} {other:?} {:?}", session.get(&COUNT).unwrap())
}

async fn seen(session: Session) -> String {
    let (name, count) = (session.get(&NAME).unwrap(), session.get(&COUNT).unwrap());
    format!("{name:?} {count:?} {:?} {}", session.get(&LIST).unwrap(), session.is_of("alice"))
}

fn site(door: Door) -> (Site, Probe<MemoryStore>) {
    let clear = async move |session: Session| {
        door.pass().await;
        session.insert(&COUNT, &1)?;
        session.clear()?;
        session.insert(&LIST, &vec![9])?;
        Ok::<_, Error>(format!("{:?} {:?}", session.get(&NAME)?, session.get(&COUNT)?))
    };
    let routes = usual_routes()
        .route("/fill", post(fill))
        .route("/take", post(take))
        .route("/clear", post(clear))
        .route("/count", post(count_to_two))
        .route("/seen", get(seen));
    let store = Probe::remote(MemoryStore::new());
    (Site::over(SessionLayer::new(store.clone()), routes, |layer| layer), store)
}

#[tokio::test]
async fn h2_remove_returns_what_was_there_and_removes_it_also_if_it_is_of_another_type() {
    let (site, _) = site(Door::new());
    let browser = site.log_in("alice").await;
    assert_eq!(browser.post("/fill").await.status, StatusCode::OK);
    assert_eq!(browser.get("/seen").await.body, r#"Some("text") Some(7) Some([1, 2]) true"#);
    assert_eq!(browser.post("/take").await.body, r#"Some("text") None Err(Data) None"#);
    assert_eq!(browser.get("/seen").await.body, "None None Some([1, 2]) true");
}

/// Interleaving: another request stores a value under the key after this request loaded the
/// session.
#[tokio::test]
async fn s3_a_removal_is_stored_even_if_nothing_was_there() {
    let (site, store) = site(Door::new());
    let browser = site.log_in("alice").await;
    store.take_calls();
    assert_eq!(browser.send(axum::http::Method::DELETE, "/data/nothing").await.status, StatusCode::OK);
    assert_eq!(store.take_calls(), [Load, Update]);
}

#[tokio::test]
async fn h2_clear_removes_all_values_and_what_was_planned_and_nothing_that_comes_later() {
    let door = Door::new();
    let (site, _) = site(door.clone());
    let browser = site.log_in("alice").await;
    browser.post("/fill").await;
    let clearing = browser.spawn(axum::http::Method::POST, "/clear");
    door.arrived().await;
    // Interleaving: a concurrent request adds a key, which `clear` must not remove.
    assert_eq!(browser.put("/data/beside", "kept").await.status, StatusCode::OK);
    door.open();
    assert_eq!(soon(clearing).await.unwrap().body, "None None");
    assert_eq!(browser.get("/seen").await.body, "None None Some([9]) true");
    assert_eq!(browser.get("/data/beside").await.body, "kept");
}

#[tokio::test]
async fn h2_clear_starts_no_session_for_a_stranger() {
    let (site, store) = site(Door::new());
    let stranger = site.browser();
    let request = async |session: Session| session.clear();
    let layer = SessionLayer::new(store.clone());
    let other = Site::over(layer, axum::Router::new().route("/", post(request)), |layer| layer);
    let reply = stranger.at(&other).post("/").await;
    assert_eq!((reply.status, reply.set_cookies()), (StatusCode::OK, vec![]));
    assert_eq!(store.take_calls(), []);
}

#[tokio::test]
async fn s3_a_change_that_fails_stores_nothing_and_says_why() {
    let (site, store) = site(Door::new());
    let browser = site.log_in("alice").await;
    for expected in ["Ok(1)", "Ok(2)"] {
        assert_eq!(browser.post("/count").await.body, expected);
    }
    store.take_calls();
    assert_eq!(browser.post("/count").await.body, "Err(TooMany)");
    assert_eq!(store.take_calls(), [Load], "nothing was written");
    assert_eq!(browser.get("/seen").await.body, "None Some(2) None true");
    store.fail(Update, 1);
    let other = site.log_in("bob").await;
    assert_eq!(other.post("/count").await.body, "Err(Ours(Store))");
}
