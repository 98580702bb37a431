//! The context of all results: the machine, the date, the versions and the command.

use std::{fs, process::Command};

use serde_json::{Value, json};

/// The packages whose versions are recorded.
const VERSIONS: [&str; 13] = [
    "tower-tenure",
    "axum",
    "axess-core",
    "axum_session",
    "axum_session_redispool",
    "axum_session_sqlx",
    "tower-sessions",
    "tower-sessions-moka-store",
    "tower-sessions-redis-store",
    "tower-sessions-sqlx-store",
    "fred",
    "redis",
    "sqlx",
];

/// Writes `rows` with their context to `results/<name>.json`.
pub fn write(name: &str, rows: &[Value]) {
    let results = json!({
        "command": command(name),
        "date": output("date", &["-u", "+%Y-%m-%d %H:%M"]),
        "commit": output("git", &["rev-parse", "--short", "HEAD"]),
        "rustc": output("rustc", &["--version"]),
        "machine": machine(),
        "load": fs::read_to_string("/proc/loadavg").unwrap_or_default().trim(),
        "versions": versions(),
        "rows": rows,
    });
    let path = format!("{}/results/{name}.json", env!("CARGO_MANIFEST_DIR"));
    // One row a line, so that a diff shows the changes.
    let rows: Vec<_> = rows.iter().map(Value::to_string).collect();
    let mut head = results;
    head["rows"] = json!([]);
    let text = format!("{head:#}\n")
        .replace("\"rows\": []", &format!("\"rows\": [\n    {}\n  ]", rows.join(",\n    ")));
    fs::write(&path, text).unwrap_or_else(|error| panic!("{path}: {error}"));
    eprintln!("written: {path}");
}

/// The command with its settings.
fn command(name: &str) -> String {
    let given = |setting: &&str| std::env::var(setting).map(|value| format!("{setting}={value} ")).ok();
    let settings: String = ["BENCH_SECONDS", "ROUNDS"].iter().filter_map(given).collect();
    format!("{settings}benches/peers/run.sh {name}")
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown CPU");
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes: u64 = memory.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0);
    let model = model.trim_start_matches([' ', '\t', ':']);
    format!("{cores} cores of {model}, {} GB, Linux {}", kilobytes / 1_000_000, output("uname", &["-r"]))
}

/// From the lock file.
fn versions() -> Value {
    let lock = include_str!("../Cargo.lock");
    let mut versions = serde_json::Map::new();
    let mut name = "";
    for line in lock.lines() {
        if let Some(found) = line.strip_prefix("name = ") {
            name = found.trim_matches('"');
        } else if let Some(version) = line.strip_prefix("version = ")
            && VERSIONS.contains(&name)
        {
            let version = version.trim_matches('"');
            let list = versions.entry(name).or_insert_with(|| json!([]));
            list.as_array_mut().expect("a list").push(json!(version));
        }
    }
    Value::Object(versions)
}
