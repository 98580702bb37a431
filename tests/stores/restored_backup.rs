//! The effects of a restored backup, and the remedy that the operations page describes.

use axum::http::StatusCode;
use tower_tenure::{SessionLayer, store::SqliteStore};

use crate::{
    common::{Browser, Site, TICK, usual_routes},
    folder::Folder,
};

async fn site(file: &std::path::Path) -> Site {
    let store = SqliteStore::open(file).await.unwrap();
    Site::over(SessionLayer::new(store), usual_routes(), |layer| layer)
}

async fn me(browser: &Browser, site: &Site) -> StatusCode {
    // A copy, because a response may remove its cookies.
    browser.at(site).get("/me").await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn l6_a_restored_store_is_the_past_until_everybody_is_signed_out() {
    const LIVE: StatusCode = StatusCode::OK;
    const OVER: StatusCode = StatusCode::UNAUTHORIZED;
    let folder = Folder::new();
    let (file, backup) = (folder.file(), folder.path().join("backup.db"));
    let before = site(&file).await;
    let (alice, bob, dave) =
        (before.log_in("alice").await, before.log_in("bob").await, before.log_in("dave").await);
    let visitor = before.browser();
    visitor.put("/data/cart", "3").await;
    let bobs_old_cookie = bob.copy();

    let connection = rusqlite::Connection::open(&file).unwrap();
    connection.execute("VACUUM INTO ?1", [backup.to_str().unwrap()]).unwrap();

    let alices_cookie = alice.copy();
    alice.post("/logout").await;
    bob.post("/rotate").await;
    before.sessions.revoke_all("dave", None).await.unwrap();
    let carol = before.log_in("carol").await;
    for (browser, status) in [(&alices_cookie, OVER), (&bob, LIVE), (&dave, OVER), (&carol, LIVE)] {
        assert_eq!(me(browser, &before).await, status);
    }

    let after = site(&backup).await;
    let everybody =
        [(&alices_cookie, LIVE), (&bob, OVER), (&bobs_old_cookie, LIVE), (&dave, LIVE), (&carol, OVER)];
    for (browser, status) in everybody {
        assert_eq!(me(browser, &after).await, status, "{:?}", browser.cookie_header());
    }

    after.clock.advance(TICK);
    after.sessions.revoke_everybody().await.unwrap();
    after.clock.advance(TICK);
    for (browser, _) in everybody {
        assert_eq!(me(browser, &after).await, OVER, "{:?}", browser.cookie_header());
    }
    assert_eq!(visitor.at(&after).get("/data/cart").await.body, "3", "anonymous sessions stay");
    assert_eq!(me(&after.log_in("alice").await, &after).await, LIVE);
}
