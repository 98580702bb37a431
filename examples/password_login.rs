//! A login with a password: a login page, "remember me", a message that shows once, and a change of
//! password that needs a fresh login and signs out everywhere else.
//!
//! `cargo run --example password_login [ADDRESS]`, then sign in as `alice` with `correct horse`.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use argon2::{
    Argon2, PasswordHash, PasswordHasher, PasswordVerifier,
    password_hash::{SaltString, rand_core::OsRng},
};
use axum::{
    Form, Router,
    extract::{Query, State},
    http::StatusCode,
    response::{Html, IntoResponse, Redirect, Response, Result},
    routing::get,
};
use serde::Deserialize;
use tokio::{net::TcpListener, sync::RwLock, task::spawn_blocking};
use tower_tenure::{
    Error, Key, LoginPage, MemoryStore, Mode, RequireSession, Session, SessionLayer, User,
    is_same_origin_path,
};

/// A message for the next page.
const FLASH: Key<String> = Key::new("flash");

/// The maximum age of a login for a change of password.
const FRESH: Duration = Duration::from_secs(300);

/// The application's users: names, and hashes of passwords.
#[derive(Clone, Default)]
struct Users(Arc<RwLock<HashMap<String, String>>>);

impl Users {
    async fn set(&self, name: &str, password: String) {
        // Hashing a password is slow by design, so it does not run on a thread that serves
        // requests.
        let hash = spawn_blocking(move || {
            let salt = SaltString::generate(&mut OsRng);
            let hash = Argon2::default().hash_password(password.as_bytes(), &salt);
            hash.expect("the parameters are good").to_string()
        });
        self.0.write().await.insert(name.to_owned(), hash.await.expect("hashing does not fail"));
    }

    async fn check(&self, name: &str, password: String) -> bool {
        // A hash is computed for an unknown name, too, so that the response time does not reveal
        // which names exist.
        const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let hash = self.0.read().await.get(name).cloned().unwrap_or_else(|| NOBODY.to_owned());
        let check = spawn_blocking(move || {
            let hash = PasswordHash::new(&hash).expect("it was made by argon2");
            Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
        });
        check.await.unwrap_or(false)
    }
}

/// The query that [`RequireSession`] adds to the URL of the login page.
#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    return_to: String,
    #[serde(default)]
    reason: String,
}

async fn login_page(Query(asked): Query<Asked>) -> Html<String> {
    let why = match &*asked.reason {
        "idle" => "You were signed out after a time without activity.",
        "absolute" => "Your session reached its maximum length.",
        "step_up" => "Please enter your password again for this.",
        "revoked" => "You were signed out from another place.",
        _ => "",
    };
    let return_to =
        if is_same_origin_path(&asked.return_to) { escaped(&asked.return_to) } else { "/".to_owned() };
    page(&format!(
        r#"<p role="status">{why}</p><form method="post">
        <input type="hidden" name="return_to" value="{return_to}">
        <label>Name <input name="name" autocomplete="username" required></label>
        <label>Password <input name="password" type="password" autocomplete="current-password" required></label>
        <label><input name="remember" type="checkbox" value="yes"> Stay signed in on this device</label>
        <button>Sign in</button></form>"#
    ))
}

#[derive(Deserialize)]
struct Credentials {
    name: String,
    password: String,
    #[serde(default)]
    remember: String,
    #[serde(default)]
    return_to: String,
}

async fn login(
    State(users): State<Users>,
    session: Session,
    Form(form): Form<Credentials>,
) -> Result<Response> {
    if !users.check(&form.name, form.password).await {
        let body = page(r#"<p role="alert">Name or password is wrong. <a href="/login">Try again</a></p>"#);
        return Ok((StatusCode::UNAUTHORIZED, body).into_response());
    }
    let mode = if form.remember.is_empty() { Mode::NonPersistent } else { Mode::Persistent };
    session.login(form.name).with_mode(mode).with_method("pwd").await?.accepted()?;
    let target = if is_same_origin_path(&form.return_to) { &form.return_to } else { "/" };
    Ok(Redirect::to(target).into_response())
}

async fn logout(session: Session) -> Result<Redirect, Error> {
    session.logout()?;
    Ok(Redirect::to("/login"))
}

async fn account(User(name): User, session: Session) -> Result<Html<String>, Error> {
    // Removing is a write, so a page without a message only reads.
    let flash = if session.get(&FLASH)?.is_some() { session.remove(&FLASH)? } else { None };
    Ok(page(&format!(
        r#"<p role="status">{}</p><p>Hello, {}.</p><p><a href="/password">Change the password</a></p>
        <form method="post" action="/logout"><button>Sign out</button></form>"#,
        flash.unwrap_or_default(),
        escaped(&name)
    )))
}

async fn password_page() -> Html<String> {
    page(
        r#"<form method="post"><label>New password
        <input name="password" type="password" autocomplete="new-password" minlength="12" required></label>
        <button>Change</button></form>"#,
    )
}

#[derive(Deserialize)]
struct NewPassword {
    password: String,
}

async fn change_password(
    State(users): State<Users>,
    User(name): User,
    session: Session,
    Form(form): Form<NewPassword>,
) -> Result<Response> {
    if form.password.chars().count() < 12 {
        let body =
            page(r#"<p role="alert">At least twelve characters, please. <a href="/password">Back</a></p>"#);
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, body).into_response());
    }
    users.set(&name, form.password).await;
    // This signs out anyone who knew the old password or has a copy of this browser's cookie.
    session.rotate_now()?;
    session.sign_out_others().await?;
    session.insert(&FLASH, "The password is changed. All other devices are signed out.")?;
    Ok(Redirect::to("/").into_response())
}

fn page(body: &str) -> Html<String> {
    Html(format!("<!doctype html><meta charset=utf-8><title>Sessions</title><main>{body}</main>"))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let users = Users::default();
    users.set("alice", "correct horse".to_owned()).await;

    let signed_in = RequireSession::new().with_login_page(LoginPage::from_static("/login"));
    let fresh = signed_in.clone().with_authentication_within(FRESH);
    let layer = SessionLayer::new(MemoryStore::new());
    tokio::spawn(layer.sessions().sweep_every(Duration::from_secs(30)));
    let app = Router::new()
        .route("/", get(account).route_layer(signed_in))
        .route("/password", get(password_page).post(change_password).route_layer(fresh))
        .route("/login", get(login_page).post(login))
        .route("/logout", axum::routing::post(logout))
        .layer(layer)
        .with_state(users);

    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await
}
