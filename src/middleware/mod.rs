//! The layer that keeps sessions around a service.
//!
//! For each request it reads the cookie, finds the session in the store and judges it, hands a
//! [`Session`] to the inner service, and when that has answered stores what changed and sets or
//! removes the cookie:
//!
//! ```text
//! request ─ skip? ─ cookie ─ load ─ decide ─ inner service ─ commit ─ Set-Cookie ─ response
//!             │               │                                │
//!             └─ untouched    └─ store fails: 503              └─ store fails: 503; a mere touch: response stands
//! ```
//!
//! # Example
//!
//! Around any tower service:
//!
//! ```
//! use http::{Request, Response};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_tenure::{MemoryStore, Session, SessionLayer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let service = ServiceBuilder::new().layer(SessionLayer::new(MemoryStore::new())).service_fn(
//!     async |request: Request<()>| {
//!         let session = request.extensions().get::<Session>().expect("the layer puts it there");
//!         session.login("alice").await?.accepted()?;
//!         Ok::<_, tower_tenure::Error>(Response::new(String::new()))
//!     },
//! );
//! let response = service.oneshot(Request::new(())).await?;
//! assert!(response.headers()["set-cookie"].to_str()?.starts_with("__Host-id="));
//! # Ok(())
//! # }
//! ```

// layer.rs        the layer and its settings
// service.rs      from a request to its future
// future.rs       load, call, commit, respond
// extensions.rs   room for the handle in a request

mod extensions;
mod future;
mod layer;
mod service;

#[expect(unused_imports, reason = "named in the documentation")]
use crate::Session;

pub use self::{future::ResponseFuture, layer::SessionLayer, service::SessionService};
pub use crate::web::ResponseBody;
