//! The official clients of the management API, from `PyPI` and npm, against the demo
//! (MANAGEMENT-API: "by changing the base URL").

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::common::{authority::Authority, demo::Demo};

/// Where `tests/sdk/install.sh` installs them.
fn installed(name: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/sdk");
    let found = folder.join(name).exists().then_some(folder);
    if found.is_none() {
        assert!(std::env::var_os("TENURE_ALL").is_none(), "{name} is missing, and nothing may be left out");
        // Not `eprintln`, which the test harness would capture.
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

/// E12: over TLS, because the tool supports nothing else. It leaves out some flags of old
/// migrations unless the tenant has them, so the file has none of those.
#[test]
fn e12_the_official_deploy_tool_imports_a_full_tenant_file_and_exports_it_unchanged() {
    const TOKEN: &str = "root-root-root-root";
    let Some(folder) = installed("node_modules/auth0-deploy-cli") else { return };
    let authority = Authority::new();
    let [certificate, key] = authority.sign("demo", &["localhost", "127.0.0.1"]);
    let demo = Demo::start(&[&format!("--management-token={TOKEN}"), &format!("--tls={certificate},{key}")]);
    let work = PathBuf::from(authority.file("tenant"));
    let [import, export, config] = ["import", "export", "config.json"].map(|name| work.join(name));
    fs::create_dir_all(&import).unwrap();
    fs::copy("tests/sdk/tenant.json", import.join("tenant.json")).unwrap();
    let settings = json!({
        "AUTH0_DOMAIN": format!("localhost:{}", demo.address.port()),
        "AUTH0_ACCESS_TOKEN": TOKEN,
        "AUTH0_INCLUDED_ONLY": ["tenant"],
        "AUTH0_ALLOW_DELETE": false,
    });
    fs::write(&config, settings.to_string()).unwrap();
    let tool = |arguments: &[&Path]| {
        let mut command = Command::new("node");
        command
            .arg(folder.join("node_modules/.bin/a0deploy"))
            .args(arguments)
            .arg("--config_file")
            .arg(&config);
        let output = command.env("NODE_EXTRA_CA_CERTS", authority.root()).output().expect("the tool runs");
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    };
    tool(&[Path::new("import"), Path::new("--input_file"), &import]);
    let format = ["--format", "directory", "--output_folder"].map(Path::new);
    tool(&[&[Path::new("export")], &format[..], &[&export]].concat());
    let read = |path: PathBuf| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    assert_eq!(read(export.join("tenant.json")), read("tests/sdk/tenant.json".into()));
}
