//! What the book says of a restored backup (`book::operations`): it is the past, until everybody is signed out.

use axum::http::StatusCode;
use rusqlite::Connection;
use tower_tenure::{SessionLayer, store::SqliteStore};

use crate::{
    common::{Browser, SECOND, Site, usual_routes},
    folder::Folder,
};

fn visit(site: &Site, browser: &Browser) -> Browser {
    let here = site.browser();
    here.set_cookies(browser.cookie_header().as_deref());
    here
}

#[tokio::test]
async fn l14_in_a_restored_backup_ended_sessions_live_until_everybody_is_signed_out() {
    let folder = Folder::new();
    let site = Site::over(SessionLayer::new(folder.open().await), usual_routes(), |layer| layer);
    let (signed_out, rotated, stays) =
        (site.log_in("alice").await, site.log_in("bob").await, site.log_in("carol").await);
    let (cookie_of_alice, old_cookie_of_bob) = (signed_out.copy(), rotated.copy());
    let copy = folder.path().join("backup.db");
    Connection::open(folder.file()).unwrap().execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();

    signed_out.post("/logout").await;
    assert_eq!(visit(&site, &cookie_of_alice).get("/me").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(rotated.post("/rotate").await.status, StatusCode::OK);
    let later = site.log_in("dave").await;

    let layer = SessionLayer::new(SqliteStore::open(copy).await.unwrap());
    let restored = Site::over(layer, usual_routes(), |layer| layer.with_clock(site.clock.clone()));
    site.clock.advance(SECOND);
    for live in [&cookie_of_alice, &old_cookie_of_bob, &stays] {
        assert_eq!(visit(&restored, live).get("/me").await.status, StatusCode::OK, "as in the backup");
    }
    for unknown in [&rotated, &later] {
        assert_eq!(visit(&restored, unknown).get("/me").await.status, StatusCode::UNAUTHORIZED);
    }
    restored.sessions.revoke_everybody().await.unwrap();
    for over in [&cookie_of_alice, &old_cookie_of_bob, &stays] {
        let reply = visit(&restored, over).get("/me").await;
        assert_eq!(reply.reason().as_deref(), Some("revoked"));
    }
}
