//! The demo in a real browser (SPEC C1, C2, E3, Q): headless Chromium with real cookies, including
//! a restart of the browser.
//!
//! These tests use the wall clock, because the demo and the browser are other processes. They wait
//! for conditions, not for times.

use fantoccini::Locator;

use crate::common::visit::Visit;

#[tokio::test]
async fn c2_a_persistent_session_survives_a_restart_of_the_browser() {
    let Some(mut visit) = Visit::start("a persistent session in a real browser", &[]).await else { return };
    visit.log_in("Ada", true).await.unwrap();
    let cookie = visit.client.get_named_cookie("__Host-id").await.unwrap();
    assert!(
        cookie.expires_datetime().is_some()
            && cookie.secure() == Some(true)
            && cookie.http_only() == Some(true)
    );
    visit.restart().await.unwrap();
    visit.sees("#user-name", "Ada").await.unwrap();
    visit.finish().await.unwrap();
}

#[tokio::test]
async fn c2_a_session_only_cookie_goes_with_the_browser() {
    let Some(mut visit) = Visit::start("a session-only cookie in a real browser", &[]).await else { return };
    visit.log_in("Ada", false).await.unwrap();
    let cookie = visit.client.get_named_cookie("__Host-id").await.unwrap();
    assert!(cookie.expires_datetime().is_none());
    visit.restart().await.unwrap();
    visit.sees("#signed-out h2", "Sign in").await.unwrap();
    visit.finish().await.unwrap();
}

#[tokio::test]
async fn e3_an_open_page_says_why_the_session_ended() {
    let flags = ["--ephemeral-idle=3s", "--idle=1h", "--absolute=4s"];
    let Some(visit) = Visit::start("the end of a session in a real browser", &flags).await else { return };
    visit.log_in("Ada", false).await.unwrap();
    visit.sees("#idle .left", "0:0").await.unwrap();
    visit.sees("[data-reason=idle]", "after 3 seconds without activity").await.unwrap();

    visit.log_in("Ada", true).await.unwrap();
    visit.sees("[data-reason=absolute]", "reached its maximum lifetime").await.unwrap();

    // After a reload the server says the same.
    visit.home().await.unwrap();
    visit.finish().await.unwrap();
}

#[tokio::test]
async fn q_a_person_logs_in_counts_replaces_the_token_and_logs_out() {
    let Some(visit) = Visit::start("a visit in a real browser", &[]).await else { return };
    visit.log_in("Ada <i>L</i>", true).await.unwrap();
    let click = async |id: &str| visit.client.find(Locator::Id(id)).await?.click().await;
    let before = visit.client.get_named_cookie("__Host-id").await.unwrap();
    click("add").await.unwrap();
    visit.sees("#count", "1").await.unwrap();
    click("rotate").await.unwrap();
    click("add").await.unwrap();
    visit.sees("#count", "2").await.unwrap();
    let after = visit.client.get_named_cookie("__Host-id").await.unwrap();
    assert_ne!(before.value(), after.value());
    visit.client.find(Locator::Css("#logout button")).await.unwrap().click().await.unwrap();
    visit.sees("[data-reason=signed_out], #signed-out h2", "").await.unwrap();
    assert!(visit.client.get_named_cookie("__Host-id").await.is_err(), "the cookie is removed");
    visit.finish().await.unwrap();
}
