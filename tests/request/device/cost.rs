//! Calls to the store that device binding costs (SPEC B5, B6, S5). `tests/budget.rs` counts
//! allocations.

use axum::http::StatusCode;
use tower_tenure::{
    DeviceBinding, MemoryStore, Mode,
    events::Operation::{Load, Update},
    testing::Probe,
};

use super::BOUND_COOKIE;
use crate::common::{
    HOUR, SoftwareDevice,
    bound::{Bound, challenge_of, log_in, refresh, register, site_with},
    policy_of,
};

#[tokio::test]
async fn b5_b6_s5_a_read_of_a_bound_session_and_a_refresh_are_one_load_and_a_registration_one_write_more() {
    for mode in [Mode::Persistent, Mode::NonPersistent] {
        let store = Probe::remote(MemoryStore::new());
        let policy = policy_of(50 * HOUR, 100 * HOUR).with_default_mode(mode);
        let site = site_with(store.clone(), DeviceBinding::enforce(), policy, |layer| layer);
        let browser = site.browser();
        let challenge = log_in(&browser, "alice").await;
        let device = SoftwareDevice::es256();
        store.take_calls();
        let junk = register(&browser, "junk").await;
        assert_eq!((junk.status, store.take_calls()), (StatusCode::BAD_REQUEST, vec![Load]));
        let reply = register(&browser, &device.register(&challenge)).await;
        assert_eq!((reply.status, store.take_calls()), (StatusCode::OK, vec![Load, Update]));
        let json: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
        let bound = Bound { sid: json["session_identifier"].as_str().unwrap().to_owned(), browser, device };

        assert_eq!(bound.browser.get("/me").await.status, StatusCode::OK);
        assert_eq!(store.take_calls(), [Load], "{mode:?}");
        site.clock.advance(BOUND_COOKIE);
        // A due touch stays due: an unproven request records nothing, and a refresh is not an
        // interaction.
        assert_eq!(bound.browser.get("/me").await.reason().as_deref(), Some("unproven"));
        assert_eq!(store.take_calls(), [Load], "{mode:?}");
        bound.browser.put("/data/k", "v").await;
        assert_eq!(store.take_calls(), [Load], "{mode:?}");
        let challenge = challenge_of(&refresh(&bound.browser, &bound.sid, None).await);
        assert_eq!(store.take_calls(), [Load], "{mode:?}");
        let reply = refresh(&bound.browser, &bound.sid, Some(&bound.device.refresh(&challenge))).await;
        assert_eq!((reply.status, store.take_calls()), (StatusCode::OK, vec![Load]), "{mode:?}");
        assert_eq!(bound.browser.get("/me").await.status, StatusCode::OK);
        assert_eq!(store.take_calls(), [Load, Update], "{mode:?}: now it is recorded");
    }
}

/// A request that cannot belong to the protocol costs no load, so its duration reveals nothing.
#[tokio::test]
async fn b5_a_request_of_another_site_or_without_an_id_asks_no_store() {
    let store = Probe::remote(MemoryStore::new());
    let site = site_with(store.clone(), DeviceBinding::enforce(), policy_of(HOUR, HOUR), |layer| layer);
    let bound = Bound::new(&site, SoftwareDevice::es256()).await;
    store.take_calls();
    for headers in [
        &[][..],
        &[("sec-secure-session-id", "x")],
        &[("sec-secure-session-id", &*bound.sid), ("sec-fetch-site", "cross-site")],
    ] {
        let reply = crate::common::bound::post(&bound.browser, "/session/refresh", headers).await;
        assert!(matches!(reply.status.as_u16(), 400 | 403));
        assert_eq!((reply.set_cookies().len(), store.take_calls()), (0, vec![]), "{headers:?}");
    }
}
