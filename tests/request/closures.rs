//! Closures as login hooks and observers, as users usually write them: without types, with and
//! without captures.

use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use tower_tenure::{Error, MemoryStore, SessionLayer, events::Event};

use crate::common::{Site, usual_routes};

#[tokio::test]
async fn o1_a_closure_observes_without_a_type_for_its_argument() {
    let seen: Arc<Mutex<Vec<&'static str>>> = Arc::default();
    let (first, second) = (Arc::clone(&seen), Arc::clone(&seen));
    let layer = SessionLayer::new(MemoryStore::new())
        .with_observer_fn(move |event| first.lock().unwrap().push(event.kind.as_str()))
        .with_observer_fn(|_| ())
        .with_observer_fn(move |event: &Event<'_>| second.lock().unwrap().push(event.kind.as_str()));
    Site::over(layer, usual_routes(), |layer| layer).log_in("alice").await;
    assert_eq!(*seen.lock().unwrap(), ["created", "created", "authenticated", "authenticated"]);
}

async fn is_blocked(user: &str) -> Result<bool, Error> {
    tokio::task::yield_now().await;
    Ok(user == "mallory")
}

#[tokio::test]
async fn a1_a_closure_is_a_login_hook() {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let names = Arc::clone(&asked);
    let layer = SessionLayer::new(MemoryStore::new())
        .with_login_hook_fn(move |login| {
            names.lock().unwrap().push(login.subject().to_owned());
            Box::pin(async move {
                if is_blocked(login.subject()).await? {
                    login.deny("blocked");
                }
                Ok(())
            })
        })
        .with_login_hook_fn(|login| Box::pin(async { login.metadata().set("seen", "yes") }));
    let site = Site::over(layer, usual_routes(), |layer| layer);
    assert_eq!(site.browser().post("/login/mallory").await.status, StatusCode::FORBIDDEN);
    site.log_in("alice").await;
    assert_eq!(*asked.lock().unwrap(), ["mallory", "alice"]);
    let sessions = site.sessions.list(None, None, 10).await.unwrap().sessions;
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0].facts.metadata.get("seen"), Some("yes"));
}
