//! The layers and the routes.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{ConnectInfo, DefaultBodyLimit},
    http::StatusCode,
    middleware::{from_fn_with_state, map_response},
    routing::{get, post},
};
use tokio::sync::watch;
use tower::Layer;
use tower_tenure::{
    Dashboard, Error, LivePolicy, LoginPage, RequireSession, SessionLayer,
    browser::{Endpoints, LogoutUrls, Scheme},
    cookie::SessionCookie,
    events::RecentEvents,
    management::Management,
    policy::PolicySettings,
};

use crate::{auth, data, flags::Flags, page, reply, sessions, site, store, stream};

/// The state of handlers.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) policy: LivePolicy,
    pub(crate) logout_urls: Arc<dyn Fn() -> LogoutUrls + Send + Sync>,
    /// Whether sessions are bound to the device of their browser.
    pub(crate) binds: bool,
    pub(crate) stopped: watch::Receiver<bool>,
}

/// The maximum age of a login for `/recent`.
const RECENT: Duration = Duration::from_secs(5);

/// The pause between sweeps. An expired session becomes an event within this time.
const SWEEP_PAUSE: Duration = Duration::from_secs(20);

/// How many events the dashboard shows.
const KEPT_EVENTS: usize = 200;

/// The maximum size of a request's body in bytes.
const MOST_BODY: usize = 64 * 1024;

/// The site, with the session layer around the routes that need it.
///
/// # Errors
///
/// When the store cannot be opened. Parsing has checked the flags.
pub(crate) async fn router(flags: Flags, stopped: watch::Receiver<bool>) -> Result<Router, Error> {
    let tokens = flags.management_tokens()?;
    let seed = PolicySettings { allowed_logout_urls: flags.allowed_logout_urls, ..flags.policy.into() };
    let realm = flags.realm.unwrap_or_else(|| SessionCookie::default().name().to_owned());
    let (store, shared) = store::open(flags.store, &realm, flags.policy, seed).await?;
    let policy = shared.live();
    tokio::spawn(shared.clone().follow());
    let logout_urls = {
        let (policy, clients) = (shared.clone(), flags.logout_urls);
        move || {
            let tenant = policy.settings().allowed_logout_urls;
            clients.clone().with_tenant_list(tenant.iter().map(String::as_str))
        }
    };
    let scheme = if flags.tls.is_some() { Scheme::Https } else { Scheme::Http };
    let mut endpoints =
        Endpoints::at("/session")?.with_scheme(scheme).with_logout_urls_from(logout_urls.clone());
    if let Some(binding) = flags.binding {
        endpoints = endpoints.with_device_binding(binding);
    }
    let mut logged_in = RequireSession::new();
    if let Some(url) = flags.public_url {
        endpoints = endpoints.with_public_url(&url);
        logged_in = logged_in.with_public_url(&url);
        site::publish(url);
    }
    let client_ip_header = flags.client_ip_header;
    let recent = RecentEvents::new(KEPT_EVENTS);
    let sessions = SessionLayer::new(store)
        .with_realm(realm)
        .with_policy(policy.clone())
        .with_client_ip(move |head| match &client_ip_header {
            Some(name) => head.header(name.as_str())?.parse().ok(),
            None => Some(head.extensions.get::<ConnectInfo<SocketAddr>>()?.0.ip()),
        })
        .with_observer(recent.clone())
        .with_endpoints(endpoints);
    let management = Management::new(sessions.sessions(), shared, tokens).with_recent_events(recent).nested();

    tokio::spawn(sessions.sessions().sweep_every(SWEEP_PAUSE));

    let me = logged_in.clone().with_login_page(LoginPage::new(site::path("/"))?);
    // An old login is redirected to the list, which asks to sign in again.
    let sign_out = logged_in
        .clone()
        .with_authentication_within(sessions::WITHIN)
        .with_login_page(LoginPage::new(site::path("/sessions"))?);
    let logged_in_just_now = RequireSession::new().with_authentication_within(RECENT);
    let pages = Router::new()
        .route("/", get(page::home))
        .route("/login", post(auth::login))
        .route("/logout", post(auth::logout))
        .route("/sessions", get(sessions::list).route_layer(me.clone()))
        .route("/sessions/end", post(sessions::end).route_layer(sign_out).route_layer(me.clone()))
        .route("/rotate", post(auth::rotate))
        .route("/me", get(auth::me).route_layer(me))
        .route("/recent", get(auth::recent).route_layer(logged_in_just_now))
        .route("/events", get(stream::events).route_layer(logged_in))
        .route("/data/{key}", get(data::read).put(data::write).delete(data::remove))
        .route("/add/{key}", post(data::add))
        .route("/slow", get(data::slow))
        .route("/fail", get(data::fail))
        .fallback(reply::not_found)
        .with_state(App {
            policy,
            logout_urls: Arc::new(logout_urls),
            binds: flags.binding.is_some(),
            stopped,
        })
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .layer(from_fn_with_state(scheme, reply::refuse_cross_site));

    Ok(Router::new()
        .route("/public", get(async || "Anyone may read this, and no session is looked at.\n"))
        .route("/favicon.ico", get(StatusCode::NO_CONTENT)) // pages have an inline icon
        .route("/page.css", get(page::style))
        .route("/page.js", get(page::script))
        .nest_service("/api/v2", management)
        .nest_service("/admin", Dashboard::at("/admin")?)
        .fallback_service(sessions.layer(pages))
        .layer(map_response(reply::guard)))
}
