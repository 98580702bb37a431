//! The whole layer over each network server, compared with one bare command by the same client
//! library, in one run.
//!
//! ```text
//! cargo bench --bench through                          # about a minute for each server
//! cargo bench --bench through -- redis                 # only this; memory, near and postgres are the others
//! BENCH_SECONDS=0.1 cargo bench --bench through        # how long each side is timed in each round; 1 unless set
//! ROUNDS=15 cargo bench --bench through                # rounds; 9 unless set, 3 when they are short
//! THROUGH_CALLERS=8 cargo bench --bench through        # requests at the same time; 64 unless set
//! THROUGH_FSYNC=off cargo bench --bench through        # PostgreSQL that does not wait for the disk
//! ```
//!
//! A request goes through `SessionLayer` around a small service, in this process and without an
//! HTTP connection. 64 concurrent requests run on two Tokio threads. They are compared with a bare
//! command outside of HTTP, and with the same command in such a service. The sides take turns
//! within each round, so that other load on the machine affects both. Each ratio is the median of
//! the rounds' ratios.
//!
//! | request | bare in Redis | bare in PostgreSQL |
//! |---|---|---|
//! | read: the handler asks who it is | `GET` | `SELECT` by primary key |
//! | write: it stores one value | `GET`, then `SET` | `SELECT`, then `UPDATE` |
//! | login | `SET` of a new key | `INSERT` |
//!
//! Bare values have 250 bytes, like records. CPU is the CPU time of the server and of this process
//! in microseconds a request.

#![expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "numbers to print")]
#![expect(clippy::disallowed_methods, reason = "a benchmark looks at the clock")]

#[expect(dead_code, reason = "the benchmark of the stores uses the rest")]
mod load;
#[path = "../tests/common/servers.rs"]
mod servers;
mod sides;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use load::{Served, Until, is_wanted, median, resident, sessions::creation, setting};
use servers::{Kind, Server};
use sides::{
    Ask, Cpu, Request, Turn,
    layer::{InService, Layered},
    postgres, redis, run, turn,
};
use tower_tenure::{
    MemoryStore, SessionStore,
    store::{NearCache, PostgresStore, RedisStore},
};

/// Sessions, and bare values.
const SESSIONS: u64 = 10_000;

#[tokio::main(worker_threads = 2)]
async fn main() {
    if is_wanted("memory") {
        memory().await;
    }
    if is_wanted("redis")
        && let Some(server) = Server::start(Kind::Redis, "redis")
    {
        let layered = Layered::new(RedisStore::connect(&server.url()).await.expect("it connects"));
        let bare = redis::Bare::connect(&server.url()).await;
        let meter = redis::Meter::new(&server);
        compare("Redis", layered, bare, &meter).await;
    }
    if is_wanted("near")
        && let Some(server) = Server::start(Kind::Redis, "near")
    {
        let store = NearCache::new(RedisStore::connect(&server.url()).await.expect("it connects"));
        let bare = redis::Bare::connect(&server.url()).await;
        let meter = redis::Meter::new(&server);
        compare("Redis behind a near cache", Layered::new(store), bare, &meter).await;
        hits().await;
    }
    let fsync = format!("fsync={}", setting("THROUGH_FSYNC", "on".to_owned()));
    if is_wanted("postgres")
        && let Some(server) = Server::start_with(Kind::Postgres, "postgres", &["-c", &fsync])
    {
        let layered = Layered::new(PostgresStore::connect(&server.url()).await.expect("it connects"));
        let bare = postgres::Bare::connect(&server.url()).await;
        let meter = postgres::Meter::new(&server);
        compare(&format!("PostgreSQL, {fsync}"), layered, bare, &meter).await;
    }
}

async fn compare(server: &str, layered: Layered, bare: impl Ask, meter: &impl Cpu) {
    fill(&layered, SESSIONS).await;
    fill(&bare, SESSIONS).await;
    let in_service = InService::new(bare.clone());
    println!("\n{server}: {} requests at a time, {SESSIONS} sessions\n", callers());
    println!(
        "| request | bare/s | in a service | layer | layer / bare | layer / service | server µs: bare | layer | ratio | client µs: bare | in a service | layer | commands: bare | layer | layer: p50 µs | p99 µs | p99.9 µs |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    for request in [Request::Read, Request::Write, Request::Login] {
        let mut rounds = Vec::new();
        let until = || Until::Time(Duration::from_secs_f64(seconds()));
        for round in 0..rounds_of_each() {
            // The first side changes with each round.
            let mut sides = [None, None, None];
            for which in (0..3).map(|which| (which + round) % 3) {
                sides[which] = Some(match which {
                    0 => turn(&bare, callers(), until(), request, meter).await,
                    1 => turn(&in_service, callers(), until(), request, meter).await,
                    _ => turn(&layered, callers(), until(), request, meter).await,
                });
            }
            rounds.push(sides.map(|side| side.expect("each had its turn")));
        }
        print(request, &rounds);
    }
}

/// Concurrent requests.
fn callers() -> u64 {
    setting("THROUGH_CALLERS", 64)
}

fn seconds() -> f64 {
    setting("BENCH_SECONDS", 1.0)
}

fn rounds_of_each() -> usize {
    setting("ROUNDS", if seconds() < 0.5 { 3 } else { 9 })
}

async fn fill(side: &impl Ask, sessions: u64) {
    run(side, callers(), Until::Calls(sessions), Request::Login).await;
    run(side, callers(), Until::Calls(sessions), Request::Read).await;
}

fn print(request: Request, rounds: &[[Turn; 3]]) {
    let of = |number: &dyn Fn(&[Turn; 3]) -> f64| median(rounds.iter().map(number).collect());
    let rate = |which: usize| of(&|sides| sides[which].served.per_second());
    let client = |which: usize| of(&|sides| sides[which].client);
    let micros = |time: &dyn Fn(&Served) -> Duration| of(&|sides| 1e6 * time(&sides[2].served).as_secs_f64());
    let ratio = |which: usize| of(&|sides| sides[2].served.per_second() / sides[which].served.per_second());
    let commands = |which: usize| rounds.last().map_or("", |sides| &sides[which].commands);
    println!(
        "| {request:?} | {:.0} | {:.0} | {:.0} | **{:.2}** | {:.2} | {:.1} | {:.1} | **{:.2}** | {:.1} | {:.1} | {:.1} | {} | {} | {:.0} | {:.0} | {:.0} |",
        rate(0),
        rate(1),
        rate(2),
        ratio(0),
        ratio(1),
        of(&|sides| sides[0].server),
        of(&|sides| sides[2].server),
        of(&|sides| sides[2].server / sides[0].server),
        client(0),
        client(1),
        client(2),
        commands(0),
        commands(2),
        micros(&|served| served.p50),
        micros(&|served| served.p99),
        micros(&|served| served.p999),
    );
}

/// The time to find and copy a session in a near cache, on one thread.
async fn hits() {
    let store = NearCache::new(MemoryStore::new());
    let mut sids = Vec::new();
    for number in 0..SESSIONS {
        let creation = creation(store.place_key(), number, &format!("user {number}"));
        sids.push(creation.record.sid);
        store.create(creation).await.expect("it is stored");
    }
    let mut nanos = Vec::new();
    for _ in 0..rounds_of_each() {
        for sid in &sids {
            store.load(*sid).await.expect("it answers");
        }
        let start = Instant::now();
        let found = sids.iter().filter(|sid| black_box(store.recent(**sid)).is_some()).count();
        nanos.push(start.elapsed().as_nanos() as f64 / sids.len() as f64);
        assert_eq!(found, sids.len(), "all of them are a second old at most");
    }
    println!("\nA hit among {SESSIONS} copies, scattered: **{:.0} ns**", median(nanos));
}

/// Logins and reads through the layer over the memory store, with few sessions and with many.
async fn memory() {
    let many = setting("STORES_SESSIONS", 100_000).max(SESSIONS);
    let few = Layered::new(MemoryStore::new());
    run(&few, 2, Until::Calls(SESSIONS), Request::Login).await;
    let before = resident();
    let crowded = Layered::new(MemoryStore::new());
    let filling = run(&crowded, 2, Until::Calls(many), Request::Login).await;
    let bytes = (resident() - before) / many;
    println!(
        "\nMemory: {many} logins, {:.0}/s; {bytes} bytes a session with its cookie's 64 here\n",
        filling.per_second()
    );
    println!("| request | /s beside {SESSIONS} | /s beside {many} | time: ratio |\n|---|---|---|---|");
    for request in [Request::Login, Request::Read] {
        let (mut rates, mut ratios) = (Vec::new(), Vec::new());
        for _ in 0..rounds_of_each() {
            let until = || match request {
                // Few logins, so that the small store stays small.
                Request::Login => Until::Calls(2000),
                _ => Until::Time(Duration::from_secs_f64(seconds() / 2.0)),
            };
            let beside_few = run(&few, 2, until(), request).await.per_second();
            let beside_many = run(&crowded, 2, until(), request).await.per_second();
            rates.push((beside_few, beside_many));
            ratios.push(beside_few / beside_many);
        }
        let (few, many): (Vec<_>, Vec<_>) = rates.into_iter().unzip();
        println!("| {request:?} | {:.0} | {:.0} | **{:.2}** |", median(few), median(many), median(ratios));
    }
}
