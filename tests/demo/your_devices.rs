//! `examples/your_devices.rs` as a user sees it.

use std::process::Command;

use crate::common::{
    client::{Browser, FORM},
    demo::{self, Demo},
};

fn sign_in(example: &Demo, user: &str, user_agent: &str) -> Browser {
    let mut browser = example.browser();
    let agent = format!("User-Agent: {user_agent}");
    assert_eq!(browser.send(&format!("POST /login/{user}"), &[&agent], b"").status, 200);
    browser
}

fn sids(page: &str) -> Vec<String> {
    page.split(r#"name="sid" value=""#).skip(1).map(|rest| rest[..22].to_owned()).collect()
}

/// Found by the text of its line, because logins of the same millisecond are in any order.
fn sid_of(device: &str, page: &str) -> String {
    let (_, line) = page.split_once(&format!("<li>{device}, ")).expect(page);
    sids(line).swap_remove(0)
}

#[test]
fn p1_the_example_lists_devices_and_ends_one_or_all_others_of_the_same_user() {
    let example = Demo::spawn(Command::new(demo::built("your_devices")).arg("127.0.0.1:0"));
    assert_eq!(example.browser().get("/devices").status, 401);
    let mut here = sign_in(&example, "ada", "curl/8.5.0");
    let mut lost = sign_in(&example, "ada", "Firefox/145.0 (Windows)");
    let mut odd = sign_in(&example, "ada", "<script>alert(1)</script>");
    let mut bob = sign_in(&example, "bob", "curl/8.5.0");

    let page = here.get("/devices").body;
    assert!(page.contains("<li>curl, this device</li>"), "{page}");
    assert!(page.contains("&lt;script") && !page.contains("<script"), "{page}");
    assert_eq!(sids(&page).len(), 2, "{page}");

    let one = format!("sid={}", sid_of("Firefox on Windows", &page));
    assert_eq!(bob.send("POST /devices", &[FORM], one.as_bytes()).status, 404);
    assert_eq!(lost.get("/devices").status, 200, "it is not Bob's to end");
    let ended = here.send("POST /devices", &[FORM], one.as_bytes());
    assert_eq!((ended.status, ended.header("location")), (303, Some("/devices")));
    assert_eq!(lost.get("/devices").reason(), (401, "revoked".into()));
    assert_eq!(here.send("POST /devices", &[FORM], b"sid=junk").status, 422);

    assert_eq!(here.post("/devices/others").status, 303);
    assert_eq!(odd.get("/devices").reason(), (401, "revoked".into()));
    assert!(sids(&here.get("/devices").body).is_empty());
    assert_eq!(bob.get("/devices").status, 200);
}
