//! Several tenants on one store, chosen by the host name. Each is a realm: its cookies, lists and
//! revocations have no effect at another tenant. Each has its own policy.
//!
//! ```console
//! $ cargo run --example tenants -- 127.0.0.1:3000
//! $ curl -c bank -X POST http://bank.localhost:3000/login/ada
//! $ curl -b bank http://bank.localhost:3000/me                   # ada of bank
//! $ sed 's/bank.localhost/shop.localhost/' bank > stolen
//! $ curl -b stolen http://shop.localhost:3000/me                 # 401
//! ```
use std::{io, sync::Arc};

use axum::{
    Extension, Router,
    extract::{Path, Request},
    http::{StatusCode, header},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tower_tenure::{Error, MemoryStore, Policy, RequestHead, Session, SessionLayer, User};

/// The tenants that the application knows. A real one loads them.
#[derive(Clone, Copy)]
enum Tenant {
    Bank,
    Shop,
}

impl Tenant {
    fn of_host(host: &str) -> Option<Self> {
        let name = host.split(':').next().unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "bank.localhost" => Some(Self::Bank),
            "shop.localhost" => Some(Self::Shop),
            _ => None,
        }
    }

    const fn realm(self) -> &'static str {
        match self {
            Self::Bank => "bank",
            Self::Shop => "shop",
        }
    }

    const fn policy(self) -> Policy {
        match self {
            Self::Bank => Policy::owasp_high_value(),
            Self::Shop => Policy::auth0(),
        }
    }
}

/// Determines the tenant of a request once. An unknown host is refused here, so the session layer
/// sees only names that the application knows.
async fn choose_tenant(mut request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    // Over HTTP/2 the host is in the URI.
    match host.or_else(|| request.uri().host()).and_then(Tenant::of_host) {
        Some(tenant) => {
            request.extensions_mut().insert(tenant);
            next.run(request).await
        }
        None => (StatusCode::MISDIRECTED_REQUEST, "no tenant has this host name\n").into_response(),
    }
}

fn tenant(head: RequestHead<'_>) -> Tenant {
    *head.extensions.get().expect("choose_tenant is around the session layer")
}

async fn me(User(name): User, Extension(tenant): Extension<Tenant>) -> String {
    format!("{name} of {}\n", tenant.realm())
}

// A real login checks a password first: see `examples/password_login.rs`.
async fn login(session: Session, Path(user): Path<String>) -> Result<(), Error> {
    session.login(user).await?.accepted()
}

/// Ends the user's other sessions at this tenant. Operators have `layer.sessions_of("bank")`.
async fn sign_out_others(session: Session) -> Result<(), Error> {
    session.sign_out_others().await
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let layer = SessionLayer::new(MemoryStore::new())
        .with_realm_by(|head| Arc::from(tenant(head).realm()))
        .with_policy_by(|head| tenant(head).policy());
    let app = Router::new()
        .route("/me", get(me))
        .route("/login/{user}", post(login))
        .route("/sign_out_others", post(sign_out_others))
        .layer(layer)
        .layer(from_fn(choose_tenant)); // the last layer is the outermost

    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await
}
