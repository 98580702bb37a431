//! The example of axum-login's documentation, with a store of tower-tenure instead of its own.
#![cfg(test)]

use std::{collections::HashMap, convert::Infallible};

use axum::{
    Form, Router,
    body::Body,
    http::{Request, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use axum_login::{
    AuthManagerLayerBuilder, AuthSession, AuthUser, AuthnBackend, UserId, login_required,
    tower_sessions::SessionManagerLayer,
};
use tower::ServiceExt;
use tower_tenure::{MemoryStore, TowerSessions};

#[derive(Debug, Clone)]
struct User {
    id: i64,
    pw_hash: Vec<u8>,
}

impl AuthUser for User {
    type Id = i64;

    fn id(&self) -> Self::Id {
        self.id
    }

    fn session_auth_hash(&self) -> &[u8] {
        &self.pw_hash
    }
}

#[derive(Clone, Default)]
struct Backend {
    users: HashMap<i64, User>,
}

#[derive(Clone, serde::Deserialize)]
struct Credentials {
    user_id: i64,
}

impl AuthnBackend for Backend {
    type User = User;
    type Credentials = Credentials;
    type Error = Infallible;

    async fn authenticate(&self, Credentials { user_id }: Credentials) -> Result<Option<User>, Infallible> {
        Ok(self.users.get(&user_id).cloned())
    }

    async fn get_user(&self, user_id: &UserId<Self>) -> Result<Option<User>, Infallible> {
        Ok(self.users.get(user_id).cloned())
    }
}

async fn login(mut auth: AuthSession<Backend>, Form(credentials): Form<Credentials>) -> Response {
    match auth.authenticate(credentials).await {
        Ok(Some(user)) if auth.login(&user).await.is_ok() => Redirect::to("/protected").into_response(),
        Ok(None) => StatusCode::UNAUTHORIZED.into_response(),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn logout(mut auth: AuthSession<Backend>) -> StatusCode {
    match auth.logout().await {
        Ok(_) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

async fn send(app: &Router, method: &str, path: &str, cookie: &str, body: &'static str) -> Response {
    let request = Request::builder().method(method).uri(path).header(header::COOKIE, cookie);
    let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    app.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_login_through_axum_login_is_kept_here_and_ends_with_its_logout() {
    let store = MemoryStore::new();
    let layer = SessionManagerLayer::new(TowerSessions::new(store.clone()));
    let users = HashMap::from([(7, User { id: 7, pw_hash: b"hash".to_vec() })]);
    let auth = AuthManagerLayerBuilder::new(Backend { users }, layer).build();
    let app = Router::new()
        .route(
            "/protected",
            get(async |auth: AuthSession<Backend>| format!("{:?}", auth.user.map(|user| user.id))),
        )
        .route_layer(login_required!(Backend, login_url = "/login"))
        .route("/login", post(login))
        .route("/logout", post(logout))
        .layer(auth);

    let denied = send(&app, "GET", "/protected", "", "").await;
    assert_eq!(denied.headers()[header::LOCATION], "/login?next=%2Fprotected");
    assert_eq!(send(&app, "POST", "/login", "", "user_id=8").await.status(), StatusCode::UNAUTHORIZED);
    let welcome = send(&app, "POST", "/login", "", "user_id=7").await;
    assert_eq!(welcome.status(), StatusCode::SEE_OTHER);
    let cookie =
        welcome.headers()[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    assert_eq!(store.len(), 1);

    let page = send(&app, "GET", "/protected", &cookie, "").await;
    assert_eq!(axum::body::to_bytes(page.into_body(), 100).await.unwrap(), "Some(7)");
    assert_eq!(send(&app, "POST", "/logout", &cookie, "").await.status(), StatusCode::NO_CONTENT);
    let denied = send(&app, "GET", "/protected", &cookie, "").await;
    assert_eq!(denied.headers()[header::LOCATION], "/login?next=%2Fprotected");
}
