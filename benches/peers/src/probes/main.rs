//! The behaviour of each library in cases where sessions often go wrong: `benches/peers/run.sh
//! probes`.
//!
//! Each probe does the same with each library and prints the result. The same rule decides for all
//! which result is right. The program fails if tower-tenure's is wrong.

mod browser;
mod probes;
mod subjects;

use serde_json::json;
use tower_tenure_peers::results;

#[tokio::main(worker_threads = 2)]
async fn main() {
    let is_quick = std::env::args().any(|arg| arg == "--quick");
    let mut rows = Vec::new();
    let mut ours_is_right = true;
    for probe in probes::ALL {
        println!("\n{}: {}", probe.name, probe.does);
        for library in subjects::ALL {
            let Some(saw) = (probe.run)(*library).await else { continue };
            println!("  {} {:<38} {}", if saw.is_right { "+" } else { "-" }, library.name(), saw.text);
            ours_is_right &= saw.is_right || !library.is_ours();
            rows.push(json!({
                "probe": probe.name,
                "does": probe.does,
                "library": library.name(),
                "saw": saw.text,
                "right": saw.is_right,
            }));
        }
    }
    if !is_quick {
        results::write("probes", &rows);
    }
    if !ours_is_right {
        eprintln!("ours is wrong");
        std::process::exit(1);
    }
}
