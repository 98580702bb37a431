//! The capacity of each store: `cargo bench --bench stores` prints a table.
//!
//! Fills a store with sessions of many users, and with as many of a single user. Then it times
//! requests, pages of lists, "sign out everywhere" of the single user, and the sweep that ends and
//! removes expired sessions, with concurrent requests.
//!
//! ```text
//! STORES_SESSIONS=1000000 cargo bench --bench stores     # 20,000 unless set
//! STORES_CROWD=1000000 cargo bench --bench stores        # of the single user; as many as of all others unless set
//! STORES_SWEEP_SECONDS=600 cargo bench --bench stores    # after so long a sweep is given up; 120 unless set
//! STORES_ADDRESS=false cargo bench --bench stores        # sessions that do not know the client's address
//! STORES_LOG=no cargo bench --bench stores -- redis      # without the log on disk, which is longer than the data
//! cargo bench --bench stores -- redis postgres           # only these; map, memory and sqlite are the others
//! BENCH_SECONDS=0.2 cargo bench --bench stores           # how long each kind of request is timed; 2 unless set
//! ```

#![expect(clippy::disallowed_methods, reason = "a benchmark looks at the clock")]
#![expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "numbers to print")]

mod load;
#[path = "../tests/common/servers.rs"]
mod servers;

use std::{
    collections::HashMap,
    env, fs,
    ops::Range,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use load::{
    Served, Until, drive, each, is_wanted, median, resident,
    sessions::{LATER, REALM, START, creation, sid, subject},
    setting,
};
use servers::{Kind, Server};
use tower_tenure::{
    MemoryStore, SessionId, SessionStore,
    record::{CallId, Change, EndReason, EndRequest, Record, TimingChange},
    store::{CreateOutcome, Page, PlaceKey, PostgresStore, RedisStore, Revocation, SqliteStore, Sweep},
};

/// The number of the first user's sessions.
const OF_FIRST_USER: u64 = 1000;

/// The user who has as many sessions as there are others.
const CROWD: &str = "crowd";

/// The size of the small store whose loads are compared with those of the full one.
const FEW: u64 = 10_000;

/// The measurements of one store: names and texts.
type Column = Vec<(&'static str, String)>;

#[tokio::main(worker_threads = 2)]
async fn main() {
    let sessions: u64 = setting("STORES_SESSIONS", 20_000);
    let mut columns = Vec::new();
    if is_wanted("map") {
        columns.push(("bare map", bare_map(sessions)));
    }
    if is_wanted("memory") {
        let before = resident();
        let size = || resident().saturating_sub(before);
        columns.push(("memory", measure(MemoryStore::new(), MemoryStore::new(), sessions, size).await));
    }
    if is_wanted("sqlite") {
        let dir = env::temp_dir().join(format!("tenure-stores-{}", std::process::id()));
        let few = dir.join("few");
        fs::create_dir_all(&few).expect("a directory");
        let store = SqliteStore::open(dir.join("sessions.db")).await.expect("it opens");
        let few = SqliteStore::open(few.join("sessions.db")).await.expect("it opens");
        columns.push(("SQLite", measure(store, few, sessions, || folder(&dir)).await));
        fs::remove_dir_all(&dir).expect("a directory");
    }
    let log = setting("STORES_LOG", "yes".to_owned());
    let log = ["--appendonly", &log];
    if is_wanted("redis")
        && let Some(server) = Server::start_with(Kind::Redis, "redis", &log)
        && let Some(other) = Server::start_with(Kind::Redis, "redis", &log)
    {
        let used = || {
            let info = server.ask(&["INFO", "memory"]);
            let used = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
            used.and_then(|used| used.trim().parse().ok()).expect("Redis says what it uses")
        };
        let before: u64 = used();
        let store = RedisStore::connect(&server.url()).await.expect("it connects");
        let few = RedisStore::connect(&other.url()).await.expect("it connects");
        columns.push(("Redis", measure(store, few, sessions, || used() - before).await));
    }
    let fsync = ["-c", "fsync=on"];
    if is_wanted("postgres")
        && let Some(server) = Server::start_with(Kind::Postgres, "postgres", &fsync)
        && let Some(other) = Server::start_with(Kind::Postgres, "postgres", &fsync)
    {
        let size = || {
            let tables = "select sum(pg_total_relation_size(oid)) from pg_class where relkind = 'r' and relnamespace = 'tower_tenure'::regnamespace";
            server.ask(&[tables]).parse().expect("PostgreSQL says how large it is")
        };
        let store = PostgresStore::connect(&server.url()).await.expect("it connects");
        let few = PostgresStore::connect(&other.url()).await.expect("it connects");
        columns.push(("PostgreSQL", measure(store, few, sessions, size).await));
    }
    print(sessions, &columns);
}

fn print(sessions: u64, columns: &[(&str, Column)]) {
    println!(
        "\n{sessions} sessions of {} users, the first with {OF_FIRST_USER}, and {} of one user; a third are over. Requests: (p50, p99, p99.9).\n",
        sessions / 5,
        crowd(sessions)
    );
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in columns.iter().flat_map(|(_, column)| column) {
        if !names.contains(name) {
            names.push(name);
        }
    }
    print!("| |");
    for (store, _) in columns {
        print!(" {store} |");
    }
    println!("\n|---|{}", "---|".repeat(columns.len()));
    for name in names {
        print!("| {name} |");
        for (_, column) in columns {
            let text = column.iter().find(|(named, _)| *named == name).map_or("", |(_, text)| text);
            print!(" {text} |");
        }
        println!();
    }
}

async fn measure<S: SessionStore>(store: S, few: S, sessions: u64, size: impl Fn() -> u64) -> Column {
    let (store, few, crowded) = (Arc::new(store), Arc::new(few), crowd(sessions));
    let timed = || Until::Time(Duration::from_secs_f64(setting("BENCH_SECONDS", 2.0)));
    let mut column = Column::new();
    let mut note = |name, text: String| {
        eprintln!("{}: {name}: {text}", std::any::type_name::<S>().rsplit("::").next().unwrap_or_default());
        column.push((name, text));
    };

    let tenths = fill(&store, 0..sessions, user).await;
    let rates: Vec<_> = tenths.iter().map(Served::per_second).collect();
    let (first, last) = (tenths.first().expect("ten"), tenths.last().expect("ten"));
    note("logins/s: median of ten tenths", format!("{:.0}", median(rates)));
    note("logins/s: first tenth", first.to_string());
    note("logins/s: last tenth", last.to_string());
    note("bytes a session", (size() / sessions).to_string());

    let key = store.place_key();
    let sids = scattered(&store, sessions);
    fill(&few, 0..FEW, user).await;
    let (beside_few, beside_all, ratio) = compare(&few, &store, &sids).await;
    note("loads/s", beside_all.to_string());
    note("loads/s beside 10,000", beside_few.to_string());
    note("time of a load: ratio to 10,000 sessions", format!("{ratio:.2}"));
    drop(few);
    let touches = {
        let (store, sids) = (Arc::clone(&store), Arc::clone(&sids));
        drive(callers::<S>(), timed(), move |number| touch(Arc::clone(&store), at(&sids, number))).await
    };
    note("touches/s", touches.to_string());

    let crowd = fill(&store, sessions..sessions + crowded, |_| CROWD.to_owned()).await;
    note("logins/s of one user: last tenth", crowd.last().expect("ten").to_string());

    let page = |subject| Page { realm: REALM.into(), subject, after: None, limit: 50 };
    let middle = creation(key, sessions + crowded / 2, CROWD).record;
    let middle = Some((middle.timing.created_at, middle.sid));
    note("page of a user's 1,000", pages(&store, page(Some(subject(key, "user 0"))), 50).await);
    note("page of a user's many", pages(&store, page(Some(subject(key, CROWD))), 50).await);
    note(
        "… in their middle",
        pages(&store, Page { after: middle, ..page(Some(subject(key, CROWD))) }, 50).await,
    );
    note("page of everybody's", pages(&store, page(None), 50).await);
    note("… in their middle", pages(&store, Page { after: middle, ..page(None) }, 50).await);

    let full = size();
    note("sign out everywhere: one user's many", revoke(&store, CROWD).await);
    let one = store.load(sid(key, sessions, CROWD)).await.expect("it loads").expect("it is there");
    assert!(one.revoked_at.is_some(), "it is over at once");
    note("… and a page of them", pages(&store, page(Some(subject(key, CROWD))), 50).await);

    let done = Arc::new(AtomicBool::new(false));
    let beside = tokio::spawn({
        let (store, sids, done) = (Arc::clone(&store), Arc::clone(&sids), Arc::clone(&done));
        let load = move |number| {
            let (store, sid) = (Arc::clone(&store), at(&sids, number));
            // The sweep removes some of them meanwhile.
            async move { drop(store.load(sid).await.expect("it loads")) }
        };
        async move { drive(callers::<S>(), Until::Set(done), load).await }
    });
    let ended = sweep_ends(&store, crowded + sessions / 3, &mut note).await;
    note("page of everybody's, beside the ended", pages(&store, page(None), 50).await);
    note("page of a user's many ended", pages(&store, page(Some(subject(key, CROWD))), 0).await);
    sweep_tombstones(&store, ended, &mut note).await;
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    note("loads/s beside the sweep", beside.await.expect("they load").to_string());
    note(
        "bytes of all: before and after the sweep",
        format!("{:.0} MB, {:.0} MB", full as f64 / 1e6, size() as f64 / 1e6),
    );
    column
}

fn user(number: u64) -> String {
    format!("user {}", if number < OF_FIRST_USER { 0 } else { number / 5 })
}

/// The number of concurrent requests.
fn callers<S: SessionStore>() -> u64 {
    if S::IN_PROCESS { 2 } else { 64 }
}

/// The number of the single user's sessions.
fn crowd(sessions: u64) -> u64 {
    setting("STORES_CROWD", sessions)
}

fn longest_sweep() -> Duration {
    Duration::from_secs(setting("STORES_SWEEP_SECONDS", 120))
}

/// Performs logins with these numbers, timed in ten steps.
async fn fill<S: SessionStore>(store: &Arc<S>, numbers: Range<u64>, user: fn(u64) -> String) -> Vec<Served> {
    let key = store.place_key();
    let (first, sessions) = (numbers.start, numbers.end - numbers.start);
    let mut tenths = Vec::new();
    for tenth in 0..10 {
        let from = first + sessions * tenth / 10;
        let to = first + sessions * (tenth + 1) / 10;
        let store = Arc::clone(store);
        let login = move |number| {
            let (store, number) = (Arc::clone(&store), from + number);
            async move {
                let created = store.create(creation(key, number, &user(number))).await;
                assert!(matches!(created.expect("it is stored"), CreateOutcome::Created { .. }));
            }
        };
        tenths.push(drive(callers::<S>(), Until::Calls(to - from), login).await);
    }
    tenths
}

/// The ids of the first sessions, ordered by their random bits, so that memory is accessed in a
/// scattered order.
fn scattered<S: SessionStore>(store: &Arc<S>, sessions: u64) -> Arc<[SessionId]> {
    let key = store.place_key();
    let mut sids: Vec<_> = (0..sessions).map(|number| sid(key, number, &user(number))).collect();
    sids.sort_unstable_by(|one, other| one.as_bytes()[8..].cmp(&other.as_bytes()[8..]));
    sids.into()
}

fn at(sids: &[SessionId], number: u64) -> SessionId {
    sids[number as usize % sids.len()]
}

async fn loads<S: SessionStore>(store: &Arc<S>, sids: &Arc<[SessionId]>, until: Until) -> Served {
    let (store, sids) = (Arc::clone(store), Arc::clone(sids));
    let load = move |number| {
        let (store, sid) = (Arc::clone(&store), at(&sids, number));
        async move { assert!(store.load(sid).await.expect("it loads").is_some()) }
    };
    drive(callers::<S>(), until, load).await
}

async fn touch<S: SessionStore>(store: Arc<S>, sid: SessionId) {
    let at = START + Duration::from_secs(2);
    let change =
        Change { timing: TimingChange { interaction_at: Some(at), lowering: None }, ..Change::at(at) };
    store.update(sid, change, None).await.expect("it is updated");
}

/// The time of a page.
async fn pages<S: SessionStore>(store: &Arc<S>, page: Page, least: usize) -> String {
    let (median, longest) = each(21, async || {
        let found = store.list(page.clone()).await.expect("it lists").len();
        assert!(found >= least, "{found}");
    })
    .await;
    format!("{median:.1?} (at most {longest:.1?})")
}

/// The time to sign a user out everywhere: the first time, and again.
async fn revoke<S: SessionStore>(store: &Arc<S>, user: &str) -> String {
    let key = store.place_key();
    let revocation = Revocation {
        realm: REALM.into(),
        subject: Some(subject(key, user)),
        at: LATER,
        except: None,
        keep_until: LATER + Duration::from_secs(36_000),
    };
    let once = async || store.revoke(revocation.clone()).await.expect("it is revoked");
    let (first, _) = each(1, once).await;
    let (again, longest) = each(21, once).await;
    format!("{first:.1?}, then {again:.1?} (at most {longest:.1?})")
}

/// Ends the expired sessions. Returns their number.
async fn sweep_ends<S: SessionStore>(
    store: &Arc<S>,
    least: u64,
    note: &mut impl FnMut(&'static str, String),
) -> u64 {
    let (begun, mut ended, mut batches) = (Instant::now(), 0, Vec::new());
    let mut is_all = false;
    while !is_all && begun.elapsed() < longest_sweep() {
        let batch = Instant::now();
        let sweep = Sweep { realm: Some(REALM.into()), now: LATER, limit: 1000 };
        let swept = store.sweep(sweep).await.expect("it sweeps");
        is_all = swept.finished;
        let request = |record: &tower_tenure::record::Record| {
            let reason = if record.revoked_at.is_some() { EndReason::Revoked } else { EndReason::Idle };
            let request = EndRequest::new(reason, LATER, CallId::new(ended + 1));
            (record.sid, EndRequest { retention: Duration::from_secs(600).into(), ..request })
        };
        let requests: Vec<_> = swept.found.iter().map(request).collect();
        ended += requests.len() as u64;
        store.end_many(requests).await.expect("they end");
        batches.push(batch.elapsed().as_secs_f64());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let rate = ended as f64 / begun.elapsed().as_secs_f64();
    let longest = batches.iter().copied().fold(0.0, f64::max) * 1000.0;
    let all = if is_all { "all" } else { "not all" };
    note("sweep: ends/s", format!("{rate:.0} ({ended}, {all}; a batch at most {longest:.0} ms)"));
    assert!(!is_all || ended + 1 >= least, "{ended} of {least}");
    ended
}

/// Removes the tombstones.
async fn sweep_tombstones<S: SessionStore>(
    store: &Arc<S>,
    least: u64,
    note: &mut impl FnMut(&'static str, String),
) {
    let (begun, mut removed, mut passes) = (Instant::now(), 0, 0);
    // The first pass may have begun in the middle, so there is a second one.
    while passes < 2 && removed < least && begun.elapsed() < longest_sweep() {
        let now = LATER + Duration::from_secs(1200);
        // A realm without sessions, because the other sessions must stay.
        let swept =
            store.sweep(Sweep { realm: Some("none".into()), now, limit: 1000 }).await.expect("it sweeps");
        removed += swept.removed as u64;
        passes += usize::from(swept.finished);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let rate = removed as f64 / begun.elapsed().as_secs_f64();
    note("sweep: tombstones removed/s", format!("{rate:.0} ({removed})"));
    assert!(removed >= least || begun.elapsed() >= longest_sweep(), "{removed} of {least}");
}

/// Loads from the small and the full store, in turn. Returns the median round of each, and the
/// median ratio of their times.
async fn compare<S: SessionStore>(
    few: &Arc<S>,
    store: &Arc<S>,
    sids: &Arc<[SessionId]>,
) -> (Served, Served, f64) {
    let few_sids = scattered(few, FEW);
    let time = Duration::from_secs_f64(setting("BENCH_SECONDS", 2.0) / 4.0);
    let (mut beside_few, mut beside_all, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..9 {
        let few = loads(few, &few_sids, Until::Time(time)).await;
        let all = loads(store, sids, Until::Time(time)).await;
        ratios.push(few.per_second() / all.per_second());
        beside_few.push(few);
        beside_all.push(all);
    }
    let middle = |mut rounds: Vec<Served>| {
        rounds.sort_unstable_by(|one, other| one.per_second().total_cmp(&other.per_second()));
        rounds.swap_remove(rounds.len() / 2)
    };
    (middle(beside_few), middle(beside_all), median(ratios))
}

/// The minimum for a store in memory: a hash map from ids to boxed records, and a copy of the
/// record. It shows the effect of the CPU caches on any such store as it grows.
fn bare_map(sessions: u64) -> Column {
    type Map = HashMap<SessionId, Box<Record>>;
    const TURN: usize = 50_000;
    let key = PlaceKey::random();
    let filled = |sessions: u64| -> (Map, Vec<SessionId>) {
        let record = |number| creation(key, number, &user(number)).record;
        let map: Map = (0..sessions).map(record).map(|record| (record.sid, record)).collect();
        let mut sids: Vec<_> = map.keys().copied().collect();
        sids.sort_unstable_by(|one, other| one.as_bytes()[8..].cmp(&other.as_bytes()[8..]));
        (map, sids)
    };
    let turn = |(map, sids): &(Map, Vec<SessionId>), round: usize| {
        let begun = Instant::now();
        for sid in sids.iter().cycle().skip(round * TURN % sids.len()).take(TURN) {
            std::hint::black_box(map[sid].clone());
        }
        TURN as f64 / begun.elapsed().as_secs_f64()
    };
    let (few, all) = (filled(FEW), filled(sessions));
    let rates: Vec<_> = (0..99).map(|round| (turn(&few, round), turn(&all, round))).collect();
    let middle = |pick: fn(&(f64, f64)) -> f64| median(rates.iter().map(pick).collect());
    vec![
        ("loads/s", format!("{:.0}/s", middle(|rates| rates.1))),
        ("loads/s beside 10,000", format!("{:.0}/s", middle(|rates| rates.0))),
        ("time of a load: ratio to 10,000 sessions", format!("{:.2}", middle(|rates| rates.0 / rates.1))),
    ]
}

fn folder(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum()
}
