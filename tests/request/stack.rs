//! The layer with other services: tower, hyper, axum, services that are not `Send`, and wrongly
//! built stacks (C9).

use std::{
    cell::Cell,
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, Response, StatusCode, header},
    routing::{get, post},
};
use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_tenure::{
    LoginPage, MemoryStore, MissingSessionLayer, Policy, RequestHead, RequireSession, Session, SessionLayer,
    browser::Endpoints,
    cookie::SessionCookie,
    middleware::{ResponseBody, ResponseFuture},
    policy::Activity,
    testing::{ManualClock, Probe},
};

use crate::common::{Site, usual_routes};

/// A service that must be polled ready before a call. Each clone must become ready by itself, as
/// tower requires.
struct Strict {
    id: usize,
    ready: bool,
    pends: bool,
    world: Arc<Mutex<World>>,
}

#[derive(Default)]
struct World {
    clones: usize,
    /// The instances that were polled ready, and those that were called.
    readied: Vec<usize>,
    called: Vec<usize>,
}

impl Strict {
    fn new() -> Self {
        Self { id: 0, ready: false, pends: false, world: Arc::default() }
    }
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        let mut world = self.world.lock().unwrap();
        world.clones += 1;
        Self { id: world.clones, ready: false, pends: false, world: Arc::clone(&self.world) }
    }
}

impl Service<Request<()>> for Strict {
    type Response = Response<String>;
    type Error = &'static str;
    type Future = Ready<Result<Response<String>, &'static str>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // Pending at first, which exposes a caller that ignores `Pending`.
        self.pends = !self.pends && !self.ready;
        if self.pends {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.ready = true;
        self.world.lock().unwrap().readied.push(self.id);
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without being polled ready");
        self.world.lock().unwrap().called.push(self.id);
        let session = request.extensions().get::<Session>().expect("the layer puts it there");
        let login = futures_util::FutureExt::now_or_never(session.login("alice").into_future());
        drop(login.expect("there are no hooks to wait for").unwrap());
        ready(Ok(Response::new("hello".to_owned())))
    }
}

fn cookie_of<B>(response: &Response<B>) -> String {
    let line = response.headers()[header::SET_COOKIE].to_str().unwrap();
    line.split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn the_instance_that_was_polled_ready_is_the_one_that_is_called() {
    let in_process = SessionLayer::new(MemoryStore::new());
    let remote_store = Probe::remote(MemoryStore::new());
    remote_store.pause(1);
    let remote = SessionLayer::new(remote_store);
    for layer in [in_process, remote] {
        let strict = Strict::new();
        let world = Arc::clone(&strict.world);
        let mut service = layer.layer(strict);
        let mut cookie: Option<String> = None;
        for _ in 0..4 {
            let mut request = Request::new(());
            if let Some(cookie) = &cookie {
                request.headers_mut().insert(header::COOKIE, cookie.parse().unwrap());
            }
            let response = service.ready().await.unwrap().call(request).await.unwrap();
            cookie = Some(cookie_of(&response));
        }
        let world = world.lock().unwrap();
        assert_eq!(world.called.len(), 4);
        assert_eq!(world.called, world.readied);
    }
}

/// Two calls, the second while the first is in flight. Each is made on its own instance.
#[tokio::test]
async fn calls_may_overlap_while_the_store_is_asked() {
    let store = Probe::remote(MemoryStore::new());
    let mut service = SessionLayer::new(store.clone()).layer(Strict::new());
    let first = service.ready().await.unwrap().call(Request::new(())).await.unwrap();
    let request = || Request::builder().header("cookie", cookie_of(&first)).body(()).unwrap();
    store.pause(2);
    let one = service.ready().await.unwrap().call(request());
    let two = service.ready().await.unwrap().call(request());
    let (one, two) = tokio::join!(one, two);
    assert_eq!((one.unwrap().status(), two.unwrap().status()), (StatusCode::OK, StatusCode::OK));
}

#[tokio::test]
async fn an_error_of_a_service_that_is_not_ready_comes_through() {
    #[derive(Clone)]
    struct Broken;
    impl Service<Request<()>> for Broken {
        type Response = Response<String>;
        type Error = &'static str;
        type Future = Ready<Result<Response<String>, &'static str>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Err("broken"))
        }
        fn call(&mut self, _: Request<()>) -> Self::Future {
            unreachable!("it is never ready")
        }
    }
    let mut service = SessionLayer::new(MemoryStore::new()).layer(Broken);
    assert_eq!(service.ready().await.err(), Some("broken"));
}

#[tokio::test]
async fn works_under_a_service_builder_with_layers_on_both_sides() {
    let service = ServiceBuilder::new()
        .map_request(|mut request: Request<()>| {
            request.extensions_mut().insert("outer");
            request
        })
        .layer(SessionLayer::new(MemoryStore::new()))
        .layer(RequireSession::new().with_anonymous())
        .service_fn(async |request: Request<()>| {
            assert_eq!(request.extensions().get(), Some(&"outer"));
            Ok::<_, Infallible>(Response::new(String::new()))
        });
    let response = service.oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn works_in_a_plain_hyper_server() {
    let layer = SessionLayer::new(MemoryStore::new());
    let service = layer.layer(service_fn(async |request: Request<hyper::body::Incoming>| {
        let session = request.extensions().get::<Session>().unwrap().clone();
        if request.uri().path() == "/login" {
            drop(session.login("alice").await.unwrap());
        }
        let text = session.subject().map_or_else(|| "nobody".to_owned(), |user| user.to_string());
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text))))
    }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = TowerToHyperService::new(service);
        auto::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service)
            .await
            .unwrap();
    });

    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut client, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut ask = async |path: &str, cookie: Option<String>| {
        let mut request = Request::builder().uri(path).header(header::HOST, "localhost");
        if let Some(cookie) = cookie {
            request = request.header(header::COOKIE, cookie);
        }
        let response = client.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts.headers, body.collect().await.unwrap().to_bytes())
    };
    let (headers, body) = ask("/login", None).await;
    assert_eq!(body, "alice");
    let cookie = headers[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    let (headers, body) = ask("/", Some(cookie)).await;
    assert_eq!(body, "alice");
    assert!(!headers.contains_key(header::SET_COOKIE));
    assert_eq!(ask("/", None).await.1, "nobody");
    drop(client);
    connection.await.unwrap().unwrap();
    server.await.unwrap();
}

#[tokio::test]
async fn works_in_axum_as_a_layer_a_route_layer_and_around_the_router() {
    let layer = || SessionLayer::new(MemoryStore::new()).with_clock(ManualClock::default());
    let routers = [
        usual_routes().layer(layer()),
        usual_routes().route_layer(layer()),
        Router::new().fallback_service(layer().layer(usual_routes())),
    ];
    let ask = async |router: &Router, path: &str, cookie: Option<&str>| {
        let method = if path == "/me" { "GET" } else { "POST" };
        let mut request = Request::builder().method(method).uri(path);
        if let Some(cookie) = cookie {
            request = request.header(header::COOKIE, cookie);
        }
        router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    };
    for (n, router) in routers.iter().enumerate() {
        let cookie = cookie_of(&ask(router, "/login/alice", None).await);
        let reply = ask(router, "/me", Some(&cookie)).await;
        assert_eq!(reply.status(), StatusCode::OK, "{n}");
        assert_eq!(to_bytes(reply.into_body(), 100).await.unwrap(), "alice", "{n}");
        assert_eq!(ask(router, "/me", None).await.status(), StatusCode::UNAUTHORIZED, "{n}");
    }
    // The same as a plain service, without axum's boxes.
    let site = Site::new();
    let browser = site.browser();
    browser.post("/login/alice").await;
    assert_eq!(browser.get("/me").await.body, "alice");
}

/// Stays on one thread: the body, the service and the future are not `Send`.
#[tokio::test]
async fn nothing_has_to_be_send() {
    let store = Probe::remote(MemoryStore::new());
    store.pause(1);
    for layer in [SessionLayer::new(MemoryStore::new()), SessionLayer::new(store)] {
        let calls = Rc::new(Cell::new(0));
        let counter = Rc::clone(&calls);
        let service = layer.layer(service_fn(move |request: Request<Rc<str>>| {
            let calls = Rc::clone(&counter);
            async move {
                let session = request.extensions().get::<Session>().unwrap().clone();
                drop(session.login(&**request.body()).await.unwrap());
                tokio::task::yield_now().await; // holds the `Rc`s over an await
                calls.set(calls.get() + 1);
                Ok::<_, Rc<str>>(Response::new(OneFrame(Some(Rc::clone(request.body())))))
            }
        }));
        let response = service.clone().oneshot(Request::new("alice".into())).await.unwrap();
        let request = Request::builder().header("cookie", cookie_of(&response)).body("bob".into()).unwrap();
        let response = service.oneshot(request).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!((&*body, calls.get()), (b"bob".as_slice(), 2));
    }
}

/// A custom response body that is not `Send`.
struct OneFrame(Option<Rc<str>>);

impl http_body::Body for OneFrame {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|text| Ok(Frame::data(Bytes::copy_from_slice(text.as_bytes())))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

#[tokio::test]
async fn a_body_comes_through_as_it_is_with_its_size_and_trailers() {
    struct Trailed(usize);
    impl http_body::Body for Trailed {
        type Data = Bytes;
        type Error = &'static str;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            self.0 += 1;
            Poll::Ready(match self.0 {
                1 => Some(Ok(Frame::data(Bytes::from_static(b"abc")))),
                2 => {
                    Some(Ok(Frame::trailers(HeaderMap::from_iter([(header::EXPIRES, "x".parse().unwrap())]))))
                }
                _ => Some(Err("broken")),
            })
        }
        fn size_hint(&self) -> http_body::SizeHint {
            http_body::SizeHint::with_exact(3)
        }
    }
    let layer = SessionLayer::new(MemoryStore::new());
    let service =
        layer.layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Trailed(0)))));
    let mut body = service.oneshot(Request::new(())).await.unwrap().into_body();
    assert_eq!(http_body::Body::size_hint(&body).exact(), Some(3));
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "abc");
    assert_eq!(body.frame().await.unwrap().unwrap().into_trailers().unwrap()[header::EXPIRES], "x");
    assert_eq!(body.frame().await.unwrap().unwrap_err(), "broken");
}

/// Guards: a layer inside a nested router saw only a part of the path, and redirected to that part.
#[tokio::test]
async fn e1_a_layer_inside_a_nested_router_sees_the_target_as_the_client_sent_it() {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let note = |what: &'static str| {
        let seen = Arc::clone(&seen);
        move |head: RequestHead<'_>| seen.lock().unwrap().push(format!("{what} {}", head.uri))
    };
    let (skip, policy, realm, activity) = (note("skip"), note("policy"), note("realm"), note("activity"));
    let sessions = SessionLayer::new(MemoryStore::new())
        .with_original_uri(|extensions| {
            extensions.get::<axum::extract::OriginalUri>().map(|original| &original.0)
        })
        .with_skip(move |head| {
            skip(head);
            head.uri.path() == "/app/deep/skipped"
        })
        .with_policy_by(move |head| {
            policy(head);
            Policy::default()
        })
        .with_realm_by(move |head| {
            realm(head);
            "tenant".into()
        })
        .with_activity(move |head| {
            activity(head);
            Activity::Interaction
        })
        .with_endpoints(Endpoints::at("/app/deep/session").unwrap());
    let guard = RequireSession::new().with_login_page(LoginPage::from_static("/app/deep/login"));
    let inner = Router::new()
        .route("/account", get(async || "yours"))
        .route("/login", get(async || "who are you?"))
        .layer(guard)
        .route("/login/{user}", post(async |session: Session| drop(session.login("alice").await.unwrap())))
        .route("/skipped", get(async |session: Option<Session>| session.is_some().to_string()))
        // axum calls no layer for a path without a route.
        .route("/session/{*what}", axum::routing::any(async || "nothing"))
        .layer(sessions.with_clock(ManualClock::default()));
    let app = Router::new().nest("/app", Router::new().nest("/deep", inner));
    let send = async |method: &str, uri: &str, cookie: &str| {
        let request = Request::builder().method(method).uri(uri).header("sec-fetch-mode", "navigate");
        let request = request.header(header::COOKIE, cookie).body(Body::empty()).unwrap();
        let (parts, body) = app.clone().oneshot(request).await.unwrap().into_parts();
        let body = String::from_utf8(to_bytes(body, 10_000).await.unwrap().to_vec()).unwrap();
        (parts, body)
    };
    let (redirect, _) = send("GET", "/app/deep/account?x=1", "a=b").await;
    let login = "/app/deep/login?return_to=/app/deep/account%3Fx%3D1&reason=none";
    assert_eq!(redirect.headers[header::LOCATION], login);
    assert_eq!(send("GET", login, "a=b").await.1, "who are you?");
    assert_eq!(send("GET", "/app/deep/skipped", "a=b").await.1, "false");
    let (_, status) = send("GET", "/app/deep/session/status", "a=b").await;
    assert!(status.contains("\"live\":false"), "{status}");

    let (logged_in, _) = send("POST", "/app/deep/login/alice", "a=b").await;
    let cookie = logged_in.headers[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap();
    seen.lock().unwrap().clear();
    assert_eq!(send("GET", "/app/deep/account", cookie).await.1, "yours");
    let whole = |what: &&str| format!("{what} /app/deep/account");
    let expected: Vec<_> = ["skip", "policy", "realm", "activity"].iter().map(whole).collect();
    assert_eq!(*seen.lock().unwrap(), expected);
}

/// A layer around a router works the same with and without the setting, because no prefix was
/// removed from the target.
#[tokio::test]
async fn e1_where_no_router_took_anything_the_target_is_the_requests() {
    let guard = RequireSession::new().with_login_page(LoginPage::from_static("/login"));
    let routes = Router::new().nest("/app", Router::new().route("/x", get(async || "yours")).layer(guard));
    let site = Site::over(SessionLayer::new(MemoryStore::new()), routes, |layer| {
        layer.with_original_uri(http::Extensions::get::<axum::http::Uri>)
    });
    let request = Request::get("/app/x").header("sec-fetch-mode", "navigate").body(Body::empty()).unwrap();
    let reply = site.send(request).await;
    assert_eq!(reply.headers[header::LOCATION], "/login?return_to=/app/x&reason=none");
}

fn named(name: &str) -> SessionLayer {
    SessionLayer::new(MemoryStore::new())
        .with_cookie(SessionCookie::builder(name).build().unwrap())
        .with_clock(ManualClock::default())
}

#[tokio::test]
async fn c9_two_layers_with_different_cookies_work_in_one_stack() {
    let both = async |session: Session| {
        let name = |session: Session| session.subject().unwrap_or_default().to_string();
        let [shop, admin] = ["__Host-shop", "__Host-admin"].map(|cookie| session.named(cookie).unwrap());
        assert!(session.named("__Host-other").is_none());
        assert_eq!(session.cookie_name(), "__Host-admin", "the innermost one is the one in the extensions");
        format!("{} {}", name(shop), name(admin))
    };
    let login = async |session: Session| {
        drop(session.named("__Host-shop").unwrap().login("alice").await);
        drop(session.login("root").await);
    };
    let routes = Router::new()
        .route("/", get(both))
        .route("/login", post(login))
        .route("/logout", post(async |session: Session| session.logout()))
        .layer(named("__Host-admin"));
    let site = Site::over(named("__Host-shop"), routes, |layer| layer);
    let browser = site.browser();
    assert_eq!(browser.get("/").await.body, " ");
    assert_eq!(browser.post("/login").await.set_cookies().len(), 2);
    assert_eq!(browser.get("/").await.body, "alice root");
    assert_eq!(browser.post("/logout").await.set_cookies().len(), 1);
    assert_eq!(browser.get("/").await.body, "alice ");
}

#[tokio::test]
async fn c9_the_same_cookie_twice_is_a_500_that_names_it_and_the_fix() {
    for between in [false, true] {
        let mut routes = usual_routes().layer(named("__Host-shop"));
        if between {
            routes = routes.layer(named("__Host-admin"));
        }
        let site = Site::over(named("__Host-shop"), routes, |layer| layer);
        for path in ["/", "/login/alice"] {
            let reply = site.browser().post(path).await;
            assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
            assert_eq!(reply.headers[header::CONTENT_TYPE], "application/problem+json");
            assert!(reply.body.contains("`__Host-shop`") && reply.body.contains("rename"), "{}", reply.body);
            assert!(reply.set_cookies().is_empty());
        }
    }
}

#[tokio::test]
async fn a_missing_layer_is_a_500_that_names_the_fix() {
    let outside = Router::new()
        .route("/required", get(async || "secret").layer(RequireSession::new()))
        .route("/extracted", get(async |_: Session| "secret"));
    for path in ["/required", "/extracted"] {
        let reply = outside.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(reply.status(), StatusCode::INTERNAL_SERVER_ERROR, "{path}");
        let body = to_bytes(reply.into_body(), 10_000).await.unwrap();
        let body = String::from_utf8_lossy(&body).into_owned();
        assert!(body.contains("SessionLayer") && body.contains("outside"), "{path} {body}");
        assert!(!body.contains("secret"), "{path}");
    }
    assert!(MissingSessionLayer.to_string().contains("add a SessionLayer outside this route"));
}

#[tokio::test]
async fn an_optional_session_is_none_without_a_layer_and_where_it_skips() {
    let routes =
        Router::new().route("/", get(async |session: Option<Session>| session.is_some().to_string()));
    let reply = routes.clone().oneshot(Request::new(Body::empty())).await.unwrap();
    assert_eq!(to_bytes(reply.into_body(), 10).await.unwrap(), "false");

    let skip = |layer: SessionLayer| layer.with_skip(|head| head.header("x-skip").is_some());
    let site = Site::over(SessionLayer::new(MemoryStore::new()), routes, skip);
    assert_eq!(site.send(Request::new(Body::empty())).await.body, "true");
    let skipped = Request::builder().header("x-skip", "1").body(Body::empty()).unwrap();
    assert_eq!(site.send(skipped).await.body, "false");
}

/// Guards: the shared part of a handle is reused. A handle that outlives its request must return an
/// error, not another user's session.
#[tokio::test]
async fn h4_a_handle_kept_after_its_request_is_closed_and_stays_its_own() {
    let kept: Arc<Mutex<Option<Session>>> = Arc::default();
    let keep = Arc::clone(&kept);
    let routes = Router::new().route(
        "/{user}",
        post(async move |session: Session, axum::extract::Path(user): axum::extract::Path<String>| {
            drop(session.login(user).await.unwrap());
            keep.lock().unwrap().get_or_insert(session);
        }),
    );
    let site = Site::over(SessionLayer::new(MemoryStore::new()), routes, |layer| layer);
    site.browser().post("/alice").await;
    for _ in 0..100 {
        site.browser().post("/bob").await;
    }
    let session = kept.lock().unwrap().take().unwrap();
    assert_eq!(session.subject().as_deref(), Some("alice"));
    assert_eq!(session.logout().unwrap_err().kind(), tower_tenure::ErrorKind::Closed);
}

fn is_send<T: Send>() {}
fn is_sync<T: Sync>() {}
fn is_clone<T: Clone>() {}
fn is_static<T: 'static>() {}

/// A failure of this test is a compile error.
#[test]
fn h1_what_has_to_cross_threads_can() {
    type Inner = tower::util::BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;
    is_send::<Session>();
    is_sync::<Session>();
    is_clone::<Session>();
    is_static::<Session>();
    is_send::<SessionLayer>();
    is_sync::<SessionLayer>();
    is_clone::<SessionLayer>();
    is_send::<tower_tenure::SessionService<Inner>>();
    is_sync::<tower_tenure::SessionService<Inner>>();
    is_send::<ResponseFuture<Inner, Body, Body>>();
    is_send::<ResponseBody<Body>>();
    is_send::<tower_tenure::RequireSessionFuture<ResponseFuture<Inner, Body, Body>>>();
    is_send::<tower_tenure::Login<'_>>();
    is_send::<tower_tenure::Sessions>();
    is_sync::<tower_tenure::Sessions>();
    is_send::<tower_tenure::Error>();
    is_sync::<tower_tenure::Error>();
}

/// The futures of a handle can be spawned.
#[tokio::test]
async fn h1_a_handle_can_be_used_in_a_task_of_its_own() {
    let routes = Router::new().route(
        "/",
        post(async |session: Session| {
            tokio::spawn(async move {
                drop(session.login("alice").await?);
                session.save().await
            })
            .await
            .unwrap()
            .map(drop)
        }),
    );
    let site = Site::over(SessionLayer::new(Probe::remote(MemoryStore::new())), routes, |layer| {
        layer.with_store_budget(Duration::from_secs(5))
    });
    assert_eq!(site.browser().post("/").await.set_cookies().len(), 1);
}
