//! Requests through each session layer over Redis and PostgreSQL, compared with one bare command by
//! the same client: `benches/peers/run.sh network`.
//!
//! Like `benches/through.rs` of the crate, whose bare commands and meters it shares. 64 concurrent
//! requests run on two Tokio threads, in this process and without an HTTP connection. The sides
//! take turns within each round. A ratio is the median of the rounds' ratios.
//!
//! ```text
//! BENCH_SECONDS=1 ROUNDS=15 benches/peers/run.sh network     # how long and how often; half a second, 9 unless set
//! ```

#![expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "numbers to print")]

#[path = "../../../load/mod.rs"]
#[expect(dead_code, reason = "the benchmarks of the crate use the rest")]
mod load;
mod peers;
#[path = "../../../../tests/common/servers.rs"]
mod servers;
#[path = "../../../sides/mod.rs"]
#[expect(dead_code, reason = "the benchmarks of the crate use the rest")]
mod sides;
mod sqlx;

use std::time::Duration;

use load::{Until, median, setting};
use peers::Named;
use serde_json::{Value, json};
use servers::{Kind, Server};
use sides::{Cpu, Request, Turn, postgres, redis, run, turn};
use tower_tenure_peers::results;

/// Concurrent requests.
const CALLERS: u64 = 64;

/// Sessions, and bare values.
const SESSIONS: u64 = 10_000;

#[tokio::main(worker_threads = 2)]
async fn main() {
    let mut rows = Vec::new();
    if let Some(server) = Server::start(Kind::Redis, "redis") {
        let sides = peers::over_redis(&server.url()).await;
        rows.extend(compare("Redis", &sides, &redis::Meter::new(&server)).await);
    }
    if let Some(server) = Server::start_with(Kind::Postgres, "postgres", &["-c", "fsync=on"]) {
        let sides = peers::over_postgres(&server.url()).await;
        rows.extend(compare("PostgreSQL", &sides, &postgres::Meter::new(&server)).await);
    }
    results::write("network", &rows);
}

async fn compare(server: &str, sides: &[Named], meter: &impl Cpu) -> Vec<Value> {
    for named in sides {
        run(&named.side, CALLERS, Until::Calls(SESSIONS), Request::Login).await;
        run(&named.side, CALLERS, Until::Calls(SESSIONS), Request::Read).await;
    }
    let mut rows = Vec::new();
    for request in [Request::Read, Request::Write, Request::Login] {
        let mut turns: Vec<Vec<Turn>> = sides.iter().map(|_| Vec::new()).collect();
        for round in 0..setting("ROUNDS", 9) {
            // The first side changes with each round.
            for which in (0..sides.len()).map(|which| (which + round) % sides.len()) {
                let until = Until::Time(Duration::from_secs_f64(setting("BENCH_SECONDS", 0.5)));
                turns[which].push(turn(&sides[which].side, CALLERS, until, request, meter).await);
            }
        }
        for (which, named) in sides.iter().enumerate() {
            let of = |number: &dyn Fn(&Turn) -> f64| median(turns[which].iter().map(number).collect());
            let ratio = named.bare.map(|bare| {
                let rounds = std::iter::zip(&turns[which], &turns[bare]);
                median(
                    rounds.map(|(side, bare)| side.served.per_second() / bare.served.per_second()).collect(),
                )
            });
            let row = json!({
                "kind": "network",
                "server": server,
                "request": format!("{request:?}").to_lowercase(),
                "side": named.name,
                "rate": of(&|turn| turn.served.per_second()).round(),
                "ratio": ratio,
                "p99_us": of(&|turn| turn.served.p99.as_secs_f64() * 1e6),
                "server_us": of(&|turn| turn.server),
                "client_us": of(&|turn| turn.client),
                "commands": turns[which].last().map(|turn| turn.commands.as_str()),
            });
            eprintln!("{row}");
            rows.push(row);
        }
    }
    rows
}
