//! Accessibility of the pages by axe-core (WCAG 2.2 AA): no violation, in light and dark.

use std::{fs, io::Write, path::Path};

use serde_json::{Value, json};

use crate::common::{chrome, client::FORM, visit::Visit};

/// The script that `tests/sdk/install.sh` installs.
fn axe() -> Option<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/sdk/node_modules/axe-core/axe.min.js");
    let script = fs::read_to_string(file).ok();
    if script.is_none() {
        assert!(std::env::var_os("TENURE_ALL").is_none(), "axe-core is missing, and nothing may be left out");
        // Not `eprintln`, which the test harness would capture.
        let _ =
            writeln!(std::io::stderr(), "left out: accessibility (needs tests/sdk/install.sh target/sdk)");
    }
    script
}

/// In both colour schemes: no violation of WCAG 2.2 A and AA, or of axe-core's best practices.
async fn is_clean(visit: &Visit, axe: &str, what: &str) {
    for scheme in ["light", "dark"] {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        chrome::cdp(&visit.client, "Emulation.setEmulatedMedia", features).await;
        visit.client.execute(axe, vec![]).await.unwrap();
        let run = "const done = arguments[0]; axe.run().then((found) => done(
            found.violations.map((v) => [v.id, v.nodes.map((n) => [n.target, n.failureSummary])])));";
        let found = visit.client.execute_async(run, vec![]).await.unwrap();
        assert_eq!(found, Value::Array(vec![]), "{what}, {scheme}: {found:#}");
        visit.picture(&format!("{what}-{scheme}.png")).await.unwrap();
    }
}

#[tokio::test]
async fn t2_d1_the_pages_and_the_dialog_have_no_violation() {
    let Some(axe) = axe() else { return };
    let flags = ["--management-token=root-root-root-root", "--idle=24s", "--ephemeral-idle=24s"];
    let Some(visit) = Visit::start("accessibility", &flags).await else { return };
    is_clean(&visit, &axe, "login").await;
    visit.log_in("ada", false).await.unwrap();
    is_clean(&visit, &axe, "page").await;
    for agent in ["Firefox on Windows", "curl"] {
        visit.demo.browser().send("POST /login", &[FORM, &format!("User-Agent: {agent}")], b"user=ada");
    }
    visit.client.goto(&visit.url("/sessions?done=one&reason=step_up")).await.unwrap();
    visit.sees(".devices h3", "curl").await.unwrap();
    is_clean(&visit, &axe, "sessions").await;
    visit.home().await.unwrap();
    visit.sees("dialog.tenure", "Are you still there?").await.unwrap();
    is_clean(&visit, &axe, "dialog").await;
    visit.click("dialog.tenure button").await.unwrap();

    visit.client.goto(&visit.url("/admin")).await.unwrap();
    visit.sees("#enter h2", "Management token").await.unwrap();
    is_clean(&visit, &axe, "dashboard-login").await;
    visit.fill("token", "root-root-root-root").await.unwrap();
    visit.click("#enter button").await.unwrap();
    visit.sees("#rows .user", "ada").await.unwrap();
    visit.fill("session_lifetime", "0").await.unwrap();
    visit.sees("#session_lifetime-note.wrong", "").await.unwrap();
    is_clean(&visit, &axe, "dashboard").await;
    visit.click("#rows button").await.unwrap();
    visit.sees("#sure", "Revoke").await.unwrap();
    is_clean(&visit, &axe, "dashboard-dialog").await;
    visit.client.close().await.unwrap();
}
