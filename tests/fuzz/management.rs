//! Calls of the management API (SPEC M1): any input gets an answer in JSON, and never a server
//! error.

use axum::{
    body::Body,
    http::{Method, Request, Uri, header},
};
use http_body_util::BodyExt;
use tower::ServiceExt;
use tower_tenure::{
    MemoryStore, Policy, SessionLayer, SharedPolicy,
    management::{Caller, Management, Scopes, StaticTokens},
};

use super::{Target, header_value, runtime};
use crate::common::{Site, usual_routes};

const TOKEN: &str = "root-token-of-the-fuzzer";
const METHODS: [Method; 6] =
    [Method::GET, Method::PATCH, Method::PUT, Method::POST, Method::DELETE, Method::HEAD];
const KINDS: [&str; 3] = ["application/json", "application/x-www-form-urlencoded", "text/plain"];

/// The input is a byte for the method, one for the body's type, a line with the target, and the
/// body. `\x01` in the target is the id of a session.
pub(crate) fn calls() -> Target {
    let runtime = runtime();
    Box::new(move |bytes| {
        let [method, kind, rest @ ..] = bytes else { return };
        let mut parts = rest.splitn(2, |byte| *byte == b'\n');
        let (target, body) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        // Each input has its own place, because an input may change settings.
        let request = async {
            let policy = SharedPolicy::open(MemoryStore::new(), Policy::default()).await.expect("settings");
            let live = policy.live();
            let layer = SessionLayer::new(MemoryStore::new());
            let site = Site::over(layer, usual_routes(), |layer| layer.with_policy(live));
            let tokens = StaticTokens::new().with(TOKEN, Caller::new(Scopes::all())).expect("a token");
            let api = Management::new(site.sessions.clone(), policy, tokens);
            site.log_in("ada").await;
            let sid = site.sessions.list(Some("ada"), None, 1).await.expect("a list").sessions[0].sid;
            let Ok(uri) = Uri::try_from(super::filled(target, &[&sid.to_string()])) else { return };
            let request = Request::builder()
                .method(METHODS[usize::from(*method) % METHODS.len()].clone())
                .uri(uri)
                .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
                .header(
                    header::CONTENT_TYPE,
                    header_value(KINDS[usize::from(*kind) % KINDS.len()].as_bytes()),
                )
                .body(Body::from(body.to_vec()))
                .expect("a request");
            let is_head = request.method() == Method::HEAD;
            let response = api.oneshot(request).await.expect("it never fails");
            let status = response.status();
            assert!(!status.is_server_error(), "{status}");
            let text = response.into_body().collect().await.expect("a body").to_bytes();
            if is_head || text.is_empty() {
                return;
            }
            let answer: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
            if status.is_client_error() {
                assert_eq!(answer["statusCode"], status.as_u16(), "{answer}");
                assert!(answer["error"].is_string() && answer["message"].is_string(), "{answer}");
            }
        };
        runtime.block_on(request);
    })
}
