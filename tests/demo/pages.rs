//! A site with a test's own pages and the warning script, in a real browser.

use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{Path as Name, Request},
    http::StatusCode,
    middleware::{Next, from_fn},
    response::{Html, IntoResponse},
    routing::{get, post},
};
use serde_json::json;
use tokio::task::JoinHandle;
use tower::Layer;
use tower_tenure::{
    MemoryStore, Session, SessionLayer,
    browser::{Endpoints, Scheme},
};

use super::warning::DIALOG;
use crate::common::{
    HOUR, chrome,
    chrome::Chrome,
    policy_of,
    visit::{Result, Visit, Visited},
};

/// The one script tag that a page needs.
pub(super) const TAG: &str = "<script src=/session/tenure.js defer></script>";

/// A site with a test's own pages behind a session layer.
pub(super) struct Pages {
    pub(super) address: SocketAddr,
    server: JoinHandle<()>,
    /// The number of requests for the status.
    asked: Arc<AtomicUsize>,
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Visited for Pages {
    fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Pages {
    /// Serves these pages. Each has a path, the contents of its head and body, and a content
    /// security policy.
    async fn start(idle: Duration, pages: &[(&'static str, &str, &str, &'static str)]) -> Self {
        let pages: HashMap<_, _> = pages
            .iter()
            .map(|(path, head, body, csp)| {
                let page = format!(
                    "<!doctype html><html lang=en><head><meta charset=utf-8><title>{path}</title>\
                     <link rel=icon href='data:,'>{head}</head><body>{body}</body></html>"
                );
                (path.trim_start_matches('/').to_owned(), (page, *csp))
            })
            .collect();
        let page = async move |Name(path): Name<String>| match pages.get(&path) {
            Some((page, "")) => Html(page.clone()).into_response(),
            Some((page, csp)) => ([("content-security-policy", *csp)], Html(page.clone())).into_response(),
            None => Html("<title>another page</title>").into_response(),
        };
        let layer = SessionLayer::new(MemoryStore::new())
            .with_policy(policy_of(idle, HOUR).with_granularity(Duration::ZERO))
            .with_endpoints(Endpoints::at("/session").unwrap().with_scheme(Scheme::Http));
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let counted = from_fn(move |request: Request, next: Next| {
            if request.uri().path() == "/session/status" {
                count.fetch_add(1, Ordering::Relaxed);
            }
            next.run(request)
        });
        let log_in = async |session: Session| session.login("ada").await.map(|_| "logged in");
        let site =
            Router::new().route("/login", post(log_in)).route("/{*page}", get(page)).route("/", get("home"));
        let app = Router::new()
            .route("/lib/{name}", get(async |Name(name): Name<String>| library(&name)))
            .route("/poll", get("nothing new"))
            .fallback_service(layer.layer(site))
            .layer(counted);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, server, asked }
    }
}

/// A library from npm that swaps the body of a page.
fn library(name: &str) -> impl IntoResponse + use<> {
    let file = fs::read(library_file(name));
    file.map(|script| ([("content-type", "text/javascript")], script)).map_err(|_| StatusCode::NOT_FOUND)
}

/// Where `tests/pages/install.sh` installs it.
pub(super) fn library_file(name: &str) -> PathBuf {
    let file = match name {
        "turbo" => "@hotwired/turbo/dist/turbo.es2017-umd.js",
        "htmx-2" => "htmx-2/dist/htmx.min.js",
        _ => "htmx.org/dist/htmx.min.js",
    };
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pages/node_modules").join(file)
}

impl Visit<Pages> {
    /// Opens the first of these pages in a browser.
    pub(super) async fn pages(
        test: &str,
        idle: Duration,
        pages: &[(&'static str, &str, &str, &'static str)],
    ) -> Option<Self> {
        let chrome = Chrome::start(test)?;
        let client = chrome.open_with(&["--host-resolver-rules=MAP *.test 127.0.0.1"]).await;
        let visit = Self { demo: Pages::start(idle, pages).await, chrome, client };
        visit.open(pages[0].0).await.unwrap();
        Some(visit)
    }

    pub(super) async fn open(&self, path: &str) -> Result {
        self.client.goto(&self.url(path)).await
    }

    /// Logs in without a page load.
    pub(super) async fn fetch_login(&self) {
        let fetch = "const done = arguments[0]; fetch(`${origin}/login`, { method: 'POST' }).then((r) => done(r.status));";
        assert_eq!(self.client.execute_async(fetch, vec![]).await.unwrap(), 200);
    }

    pub(super) async fn log_in_on(&self, path: &str) {
        self.fetch_login().await;
        self.open(path).await.unwrap();
        self.knows_the_session().await;
    }

    pub(super) async fn knows_the_session(&self) {
        self.becomes_true("return !!globalThis.tenure?.status()?.live;", vec![]).await.unwrap();
    }

    /// Logs out, and waits until the page says so.
    pub(super) async fn is_over(&self) {
        let logout = "const done = arguments[0];
            fetch(`${origin}/session/logout`, { method: 'POST' }).then(() => tenure.refresh()).then(() => done(1));";
        self.client.execute_async(logout, vec![]).await.unwrap();
        self.sees(DIALOG, "You are signed out").await.unwrap();
    }

    /// How often the console showed the hint.
    pub(super) async fn hints(&self) -> usize {
        let log = chrome::log(&self.client).await;
        log.iter().filter(|entry| entry["message"].to_string().contains("drop Secure cookies")).count()
    }

    pub(super) fn asked(&self) -> usize {
        self.demo.asked.load(Ordering::Relaxed)
    }

    /// The number of requests for the status that the script causes within half a second.
    pub(super) async fn asks(&self, script: &str) -> usize {
        let before = self.asked();
        self.run(script).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        self.asked() - before
    }

    /// Checks that there is one modal dialog, whose labels refer to existing elements.
    pub(super) async fn has_one_dialog(&self) {
        self.sees(DIALOG, "Are you still there?").await.unwrap();
        let facts = "return [document.querySelectorAll('dialog').length, document.querySelectorAll('#tenure-title').length,
            document.querySelector('dialog.tenure').matches(':modal'), document.activeElement.textContent];";
        assert_eq!(self.run(facts).await, json!([1, 1, true, "Stay signed in"]));
    }

    pub(super) async fn stays(&self) {
        self.click(".tenure-main").await.unwrap();
        self.no_dialog().await.unwrap();
    }
}
