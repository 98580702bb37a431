//! Headers of device binding: structured fields, and invalid proofs (SPEC B8).

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use tower_tenure::{DeviceBinding, MemoryStore};

use super::{Target, filled, header_value, runtime};
use crate::common::{
    SECOND, SoftwareDevice,
    bound::{Bound, log_in, site_over},
};

/// The first byte selects the request and its header. `\x01` is the session's public id, and `\x02`
/// a challenge for another purpose. With the top bit set, the rest is the header and the payload of
/// a proof in two lines, which a stranger's device signs.
pub(crate) fn proofs() -> Target {
    let (runtime, stranger) = (runtime(), SoftwareDevice::es256());
    let (site, bound, offered, challenges) = runtime.block_on(async {
        let site = site_over(MemoryStore::new(), DeviceBinding::enforce());
        let bound = Bound::new(&site, SoftwareDevice::es256()).await;
        // After the grace in which a session needs no proof.
        site.clock.advance(31 * SECOND);
        let offered = site.browser();
        let challenges = [log_in(&offered, "bob").await, bound.challenge().await];
        (site, bound, offered, challenges)
    });
    let thief = bound.without_bound_cookie();
    let mut runs = 0_u32;
    Box::new(move |bytes| {
        let Some((how, text)) = bytes.split_first() else { return };
        let at_bind = how & 1 == 0;
        let [register, refresh] = &challenges;
        let text = filled(text, &[&bound.sid, if at_bind { refresh } else { register }]);
        let text = match str::from_utf8(&text).ok().and_then(|text| text.split_once('\n')) {
            Some((header, payload)) if how & 128 != 0 => stranger.sign_text(header, payload).into_bytes(),
            _ => text,
        };
        let value = header_value(&text);
        let (browser, path, name) = match how & 7 {
            0 | 2 | 4 | 6 => (&offered, "/session/bind", "secure-session-response"),
            1 | 5 => (&thief, "/session/refresh", "secure-session-response"),
            3 => (&thief, "/session/refresh", "sec-secure-session-id"),
            _ => (&thief, "/me", "secure-session-skipped"),
        };
        let mut request = if path == "/me" { Request::get(path) } else { Request::post(path) };
        if name == "secure-session-response" {
            request = request.header("sec-secure-session-id", &bound.sid);
        }
        let request = request.header(name, value).body(Body::empty()).expect("a request");
        let reply = runtime.block_on(browser.request(request));
        assert!(matches!(reply.status.as_u16(), 200 | 400 | 401 | 403), "{reply:?}");
        assert!(reply.status != StatusCode::OK || reply.body.contains("\"continue\": false"), "{reply:?}");
        assert_eq!(reply.set_cookies(), [""; 0], "{reply:?}");
        // Checks from time to time that the sessions are unchanged, because the check costs more
        // than the target.
        runs += 1;
        if runs.is_multiple_of(64) {
            runtime.block_on(async {
                assert_eq!(thief.get("/me").await.reason().as_deref(), Some("unproven"));
                assert_eq!(offered.get("/me").await.body, "bob");
                assert_eq!(offered.get("/bound").await.status, StatusCode::UNAUTHORIZED);
                assert_eq!(site.live(None).await, 2);
            });
        }
    })
}
