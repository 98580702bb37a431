//! Proofs of devices: how many one core verifies, through the whole layer over the memory store.
//!
//! ```text
//! cargo bench --bench binding
//! ```
//!
//! A refresh without a proof gets a challenge. A refresh with a proof also verifies the signature,
//! and sets a bound cookie. `cargo bench --bench overhead` has the cost of a bound session on every
//! other request.

#![expect(clippy::disallowed_methods, reason = "a benchmark looks at the clock")]

#[path = "scenarios/mod.rs"]
#[expect(dead_code, reason = "the other bench compares more")]
mod scenarios;

use std::time::{Duration, Instant};

use axum::body::Body;
use base64ct::{Base64UrlUnpadded, Encoding};
use http::{Method, Request};
use scenarios::{
    Clockwork, Stack,
    bound::{SoftwareDevice, bind, text, value},
    counted::Counted,
    request,
};

const LENGTH: Duration = Duration::from_secs(2);

fn main() {
    // For `cargo test --benches`, which only checks that it works.
    let length = if std::env::args().any(|arg| arg == "--bench") { LENGTH } else { Duration::ZERO };
    println!("refreshes per second on one core");
    for (name, device) in [("ES256", SoftwareDevice::es256()), ("RS256, 2048", SoftwareDevice::rs256())] {
        let mut serve = Stack::Binding.service(&Clockwork::default(), &Counted::default());
        let cookies = bind(&device, &mut serve).expect("a binding is offered");
        let refused = serve(refresh(&cookies, None));
        let challenge = text(&refused, "secure-session-challenge").expect("a challenge");
        let proof = device.refresh(challenge.split('"').nth(1).expect("it is quoted"));
        for (what, proof, status) in [("with a proof", Some(&*proof), 200), ("without", None, 403)] {
            let (start, mut count) = (Instant::now(), 0_u32);
            while count == 0 || start.elapsed() < length {
                assert_eq!(serve(refresh(&cookies, proof)).status, status);
                count += 1;
            }
            println!("{name:<12} {what:<13} {:>9.0}", f64::from(count) / start.elapsed().as_secs_f64());
        }
    }
}

/// A refresh with this proof, or without one. Building it takes about a microsecond.
fn refresh(cookies: &str, proof: Option<&str>) -> Request<Body> {
    // The token is the 16 bytes of the session's id, then its secret.
    let token = Base64UrlUnpadded::decode_vec(&cookies[..64]).expect("a token");
    let sid = Base64UrlUnpadded::encode_string(&token[..16]);
    let mut refresh = request(Method::POST, "/session/refresh", Some(cookies));
    refresh.headers_mut().insert("sec-secure-session-id", value(&sid));
    if let Some(proof) = proof {
        refresh.headers_mut().insert("secure-session-response", value(proof));
    }
    refresh
}
