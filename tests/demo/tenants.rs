//! `examples/tenants.rs` as users of two tenants see it.

use std::process::Command;

use crate::common::demo::{self, Demo};

#[test]
fn c10_a_cookie_of_one_tenant_of_the_example_is_nothing_at_another() {
    let example = Demo::spawn(Command::new(demo::built("tenants")).arg("127.0.0.1:0"));
    let browser = |host| {
        let mut browser = example.browser();
        browser.host = Some(format!("{host}:{}", example.address.port()));
        browser
    };
    let (mut bank, mut shop) = (browser("bank.localhost"), browser("shop.localhost"));
    for browser in [&mut bank, &mut shop] {
        assert_eq!(browser.post("/login/ada").status, 200);
    }
    assert_eq!(bank.get("/me").body, "ada of bank\n");
    assert_eq!(shop.get("/me").body, "ada of shop\n");

    let mut stolen = browser("shop.localhost");
    stolen.cookie.clone_from(&bank.cookie);
    assert_eq!(stolen.get("/me").reason(), (401, "none".into()));
    assert_eq!(bank.get("/me").status, 200, "and nothing happened to the session");

    let mut elsewhere = browser("BANK.localhost");
    assert_eq!(elsewhere.post("/login/ada").status, 200);
    assert_eq!(elsewhere.post("/sign_out_others").status, 200);
    assert_eq!(bank.get("/me").reason(), (401, "revoked".into()));
    assert_eq!(shop.get("/me").status, 200, "Ada of the shop is somebody else");

    for host in ["evil.example", "bank.localhost.evil.example", ""] {
        assert_eq!(browser(host).get("/me").status, 421, "{host}");
    }
}
