//! `examples/password_login.rs` as a user sees it.

use std::process::Command;

use crate::common::{
    client::{Answer, Browser, FORM},
    demo::{self, Demo},
};

fn sign_in(browser: &mut Browser, password: &str, rest: &str) -> Answer {
    browser.send("POST /login", &[FORM], format!("name=alice&password={password}{rest}").as_bytes())
}

fn navigate(browser: &mut Browser, path: &str) -> Answer {
    browser.send(&format!("GET {path}"), &["Accept: text/html", "Sec-Fetch-Mode: navigate"], b"")
}

#[test]
fn e2_h6_the_example_signs_in_remembers_says_it_once_and_signs_out_everywhere_else() {
    let example = Demo::spawn(Command::new(demo::built("password_login")).arg("127.0.0.1:0"));
    let (mut here, mut there) = (example.browser(), example.browser());

    let sent = navigate(&mut here, "/password");
    assert_eq!((sent.status, sent.header("location")), (303, Some("/login?return_to=/password&reason=none")));
    let page = navigate(&mut here, "/login?return_to=/password&reason=idle").body;
    assert!(page.contains("without activity") && page.contains(r#"value="/password""#), "{page}");
    for hostile in ["//evil.example", "https://evil.example/", "%22%3E%3Cscript%3E"] {
        let page = navigate(&mut here, &format!("/login?return_to={hostile}")).body;
        assert!(!page.contains("evil") && !page.contains("<script>"), "{page}");
    }

    assert_eq!(sign_in(&mut here, "wrong", "").status, 401);
    assert_eq!(here.send("POST /login", &[FORM], b"name=nobody&password=wrong").status, 401);
    assert!(here.cookie.is_none());
    let signed_in = sign_in(&mut here, "correct+horse", "&return_to=/password");
    assert_eq!((signed_in.status, signed_in.header("location")), (303, Some("/password")));
    assert!(!signed_in.header("set-cookie").unwrap().contains("Expires"));
    let elsewhere = sign_in(&mut there, "correct+horse", "&remember=yes&return_to=//evil.example");
    assert_eq!(elsewhere.header("location"), Some("/"));
    assert!(elsewhere.header("set-cookie").unwrap().contains("Expires"));
    assert!(navigate(&mut there, "/").body.contains("Hello, alice."));

    let mut copied = here.clone();
    assert_eq!(here.send("POST /password", &[FORM], b"password=short").status, 422);
    let changed = here.send("POST /password", &[FORM], b"password=a+much+longer+one");
    assert_eq!((changed.status, changed.header("location")), (303, Some("/")));
    assert!(navigate(&mut here, "/").body.contains("The password is changed."));
    assert!(!navigate(&mut here, "/").body.contains("The password is changed."));
    for out in [&mut copied, &mut there] {
        assert!(navigate(out, "/").header("location").unwrap().starts_with("/login"));
    }
    assert_eq!(sign_in(&mut there, "correct+horse", "").status, 401);
    assert_eq!(sign_in(&mut there, "a+much+longer+one", "").status, 303);

    assert_eq!(here.post("/logout").header("location"), Some("/login"));
    assert!(here.cookie.is_none());
}
