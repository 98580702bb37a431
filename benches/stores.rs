//! How far each store goes: `cargo bench --bench stores`, then a table.
//!
//! Fills a store with sessions, tells how long that took and how large each is, and times requests: alone, and while a sweep
//! removes a third of all. `STORES_SESSIONS` says how many (20,000; the numbers of the guide are from 1,000,000), and names
//! after `--` choose the stores (`memory`, `sqlite`, `redis`, `postgres`).

#![expect(clippy::disallowed_methods, reason = "a benchmark looks at the clock")]

#[path = "../tests/common/servers.rs"]
mod servers;

use std::{
    env, fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use servers::{Kind, Server};
use tower_tenure::{
    Lifetimes, MemoryStore, SessionId, SessionStore, Timestamp,
    policy::{Overrides, Policy, open},
    record::{Change, Edits, Json, Record, SecretHash, TimingChange},
    store::{Creation, Page, PostgresStore, RedisStore, SqliteStore},
    testing,
};

const START: Timestamp = Timestamp::from_unix_millis(1_700_000_000_000);

/// Requests at the same time.
const CALLERS: u64 = 32;

/// How long each kind of request is timed.
const TIMED: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() {
    let sessions = env::var("STORES_SESSIONS").map_or(20_000, |text| text.parse().expect("a number"));
    let wanted: Vec<_> = env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    println!(
        "{sessions} sessions, a third of them over; {CALLERS} callers at a time; one user has up to 1,000 of them\n"
    );
    println!(
        "| store | creations/s | bytes a session | loads/s | p50 | p99 | touches/s | p50 | p99 | list of a user | sweep | loads/s beside it | p50 | p99 |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    if is_wanted("memory") {
        let before = resident();
        measure("memory", MemoryStore::new(), sessions, || resident() - before).await;
    }
    if is_wanted("sqlite") {
        let dir = env::temp_dir().join(format!("tenure-stores-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory");
        let store = SqliteStore::open(dir.join("sessions.db")).await.expect("it opens");
        measure("SQLite", store, sessions, || folder(&dir)).await;
        fs::remove_dir_all(&dir).expect("a directory");
    }
    if is_wanted("redis")
        && let Some(server) = Server::start(Kind::Redis, "redis")
    {
        let used = || {
            let info = server.ask(&["INFO", "memory"]);
            let used = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
            used.and_then(|used| used.trim().parse().ok()).unwrap_or(0)
        };
        let before = used();
        let store = RedisStore::connect(&server.url()).await.expect("it connects");
        measure("Redis", store, sessions, || used() - before).await;
    }
    if is_wanted("postgres")
        && let Some(server) = Server::start_with(Kind::Postgres, "postgres", &["-c", "fsync=on"])
    {
        let size = || {
            let tables = "select sum(pg_total_relation_size(oid)) from pg_class where relkind = 'r' and relnamespace = 'tower_tenure'::regnamespace";
            server.ask(&[tables]).parse().unwrap_or(0)
        };
        let store = PostgresStore::connect(&server.url()).await.expect("it connects");
        measure("PostgreSQL", store, sessions, size).await;
    }
}

async fn measure<S: SessionStore>(name: &str, store: S, sessions: u64, size: impl Fn() -> u64) {
    let store = Arc::new(store);
    let filling = Instant::now();
    let next = Arc::new(AtomicU64::new(0));
    let callers = (0..CALLERS).map(|_| {
        let (store, next) = (Arc::clone(&store), Arc::clone(&next));
        tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= sessions {
                    return;
                }
                store.create(creation(number, sessions)).await.expect("it is created");
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.expect("a caller");
    }
    let creations = per_second(sessions, filling.elapsed());
    let bytes = size() / sessions;
    let loads = timed(&store, sessions, Request::Load).await;
    let touches = timed(&store, sessions, Request::Touch).await;

    let listing = Instant::now();
    let user: Arc<str> = "user 0".into();
    let page = Page { subject: Some(user), after: None, limit: 50, now: START + Duration::from_secs(2) };
    let listed = store.list(page).await.expect("it lists").len();
    assert!(listed == 50 || sessions < 1000, "{listed}");
    let listing = listing.elapsed();

    let sweeping = Instant::now();
    let done = Arc::new(AtomicBool::new(false));
    let sweeper = tokio::spawn({
        let (store, done) = (Arc::clone(&store), Arc::clone(&done));
        async move {
            let mut removed = 0;
            loop {
                let swept = store.sweep(START + Duration::from_secs(60), 1000).await.expect("it sweeps");
                removed += swept.removed;
                if swept.finished {
                    done.store(true, Ordering::Relaxed);
                    return (removed, sweeping.elapsed());
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    let is_done = move || done.load(Ordering::Relaxed);
    let beside = timed_until(&store, sessions, Request::Load, is_done).await;
    let (removed, sweeping) = sweeper.await.expect("the sweeper");
    assert!(removed as u64 >= sessions / 3 - 1, "{removed}");
    println!(
        "| {name} | {creations} | {bytes} | {loads} | {touches} | {listing:.1?} | {removed} in {sweeping:.1?} | {beside} |"
    );
}

/// A third of them are over soon.
fn creation(number: u64, sessions: u64) -> Creation {
    let lifetimes = if number.is_multiple_of(3) {
        Lifetimes::new(Duration::from_secs(10), Duration::from_secs(20)).expect("they are good")
    } else {
        Lifetimes::from_minutes(60, 600)
    };
    let timing =
        open(&Policy::new(lifetimes, lifetimes), START, &Overrides::default()).expect("a login").timing;
    let mut edits = Edits::default();
    edits.set("cart", Json::encode(&[number, 2, 3]).expect("JSON"));
    edits.set("theme", Json::encode("dark").expect("JSON"));
    // One user has a thousand, the others five each.
    let user = if number < 1000.min(sessions / 2) { 0 } else { number / 5 };
    let mut facts = tower_tenure::record::Facts::default();
    facts.device.initial_user_agent =
        Some("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140".into());
    facts.device.last.user_agent.clone_from(&facts.device.initial_user_agent);
    facts.device.last.ip = Some([192, 0, 2, 1].into());
    let record = Record {
        sid: sid(number),
        secret: SecretHash::from_bytes([9; 32]),
        subject: Some(format!("user {user}").into()),
        facts: Arc::new(facts),
        ..testing::record(timing)
    };
    Creation { record, edits, replaces: None, cap: None }
}

/// Scattered, as random ids are.
fn sid(number: u64) -> SessionId {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = [0; SessionId::BYTES];
    bytes[..8].copy_from_slice(&mixed.rotate_left(29).to_be_bytes());
    bytes[8..].copy_from_slice(&mixed.to_le_bytes());
    SessionId::from_bytes(bytes)
}

#[derive(Clone, Copy)]
enum Request {
    Load,
    Touch,
}

async fn timed<S: SessionStore>(store: &Arc<S>, sessions: u64, request: Request) -> String {
    let start = Instant::now();
    timed_until(store, sessions, request, move || start.elapsed() > TIMED).await
}

/// Requests per second, and the times that half and 99 % of them stay under.
async fn timed_until<S: SessionStore>(
    store: &Arc<S>,
    sessions: u64,
    request: Request,
    is_over: impl Fn() -> bool + Clone + Send + 'static,
) -> String {
    let start = Instant::now();
    let callers = (0..CALLERS).map(|caller| {
        let (store, is_over) = (Arc::clone(store), is_over.clone());
        tokio::spawn(async move {
            let mut times = Vec::new();
            let mut number = caller;
            while !is_over() || times.is_empty() {
                number = number.wrapping_add(7_919 * CALLERS) % sessions;
                let begun = Instant::now();
                visit(&*store, sid(number), request).await;
                times.push(begun.elapsed());
                if S::IN_PROCESS {
                    tokio::task::yield_now().await;
                }
            }
            times
        })
    });
    let mut times = Vec::new();
    for caller in callers.collect::<Vec<_>>() {
        times.extend(caller.await.expect("a caller"));
    }
    let rate = per_second(times.len() as u64, start.elapsed());
    times.sort_unstable();
    format!("{rate} | {:.0?} | {:.0?}", times[times.len() / 2], times[times.len() * 99 / 100])
}

async fn visit<S: SessionStore>(store: &S, sid: SessionId, request: Request) {
    let at = START + Duration::from_secs(1);
    match request {
        Request::Load => drop(store.load(sid).await.expect("it loads")),
        Request::Touch => {
            let timing = TimingChange { interaction_at: Some(at), lowering: None };
            let change = Change { timing, ..Change::at(at) };
            let _ = store.update(sid, change).await.expect("it is updated");
        }
    }
}

fn per_second(number: u64, time: Duration) -> u64 {
    number * 1000 / u64::try_from(time.as_millis()).unwrap_or(1).max(1)
}

/// Bytes of this process in memory.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn folder(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum()
}
