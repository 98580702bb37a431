//! The official clients of the management API, from `PyPI` and npm, against the demo (MANAGEMENT-API: "by changing the base URL").

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use crate::common::demo::Demo;

/// Where `tests/sdk/install.sh` has put them.
fn installed(name: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/sdk");
    let found = folder.join(name).exists().then_some(folder);
    if found.is_none() {
        assert!(std::env::var_os("TENURE_ALL").is_none(), "{name} is missing, and nothing may be left out");
        // Not `eprintln`, which the test harness would keep to itself.
        let _ = writeln!(
            std::io::stderr(),
            "left out: the official client (needs tests/sdk/install.sh target/sdk)"
        );
    }
    found
}

fn run(command: &mut Command) {
    let output = command.output().expect("the client runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("all as it should be"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn demo() -> (Demo, String) {
    let demo = Demo::start(&[
        "--management-token=root-root-root-root",
        "--management-token=reader-reader-reader=read:sessions",
    ]);
    let origin = format!("http://{}", demo.address);
    (demo, origin)
}

#[test]
fn m1_the_official_python_client_works_unchanged() {
    let Some(folder) = installed("python/bin/python") else { return };
    let (_demo, origin) = demo();
    run(Command::new(folder.join("python/bin/python")).arg("tests/sdk/client.py").arg(origin));
}

#[test]
fn m1_the_official_node_client_works_unchanged() {
    let Some(folder) = installed("node_modules/auth0") else { return };
    let (_demo, origin) = demo();
    run(Command::new("node").arg("tests/sdk/client.mjs").arg(origin).arg(folder));
}
