//! A server under combined load: normal users, a flood of forged cookies, megabytes of headers,
//! slow bodies, and clients that disconnect. Memory, descriptors, tasks, rows and latency must not
//! grow (issue "proof in the open").
//!
//! `TENURE_SEARCH=75 cargo test --release --test soak -- --nocapture` runs for ten minutes, and
//! prints what it measures.

#![expect(
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "this test looks at the clock, and prints numbers"
)]

#[path = "common/search.rs"]
mod search;

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::Path,
    routing::{get, post, put},
    serve::ListenerExt,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
    time::sleep,
};
use tower_tenure::{
    Clock, Error, Key, Lifetimes, MemoryStore, Policy, RequireSession, Session, SessionLayer, SessionStore,
    SystemClock, Timestamp, store::Page,
};

const PEOPLE: usize = 8;
const FORGERS: usize = 4;
/// The number of requests that a forger sends before it reads the answers.
const BATCH: usize = 64;
/// The lifetime of each session by the layer's clock, which is 3 seconds of real time.
const LIFETIME: Duration = Duration::from_secs(300);
/// The speed of the layer's clock. Tombstones are retained for five minutes, and this removes them
/// within the test.
const FAST: u32 = 100;
/// Forged cookies a second by all forgers together: a million a minute.
const AIM: u64 = 1_000_000 / 60;

/// What the clients count, and whether they continue.
#[derive(Default)]
struct Counts {
    stop: AtomicBool,
    forged: AtomicU64,
    hostile: AtomicU64,
    /// The latencies of the users' requests.
    latencies: Mutex<Vec<Duration>>,
}

impl Counts {
    fn goes_on(&self) -> bool {
        !self.stop.load(Relaxed)
    }

    /// The median of the requests since the last call, their number, and the 99th percentile.
    fn latency(&self) -> (Duration, usize, Duration) {
        let mut all = std::mem::take(&mut *self.latencies.lock().unwrap_or_else(PoisonError::into_inner));
        all.sort_unstable();
        assert!(!all.is_empty(), "people are served");
        (all[all.len() / 2], all.len(), all[all.len() * 99 / 100])
    }
}

/// The clock of the layer.
#[derive(Debug)]
struct FastClock(Timestamp, Instant);

impl Clock for FastClock {
    fn now(&self) -> Timestamp {
        self.0 + self.1.elapsed() * FAST
    }
}

/// The client's end of a connection, on raw TCP, so that it can violate the protocol.
struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Where the next response begins.
    from: usize,
}

/// The parts of a response that a client reads.
struct Response {
    status: u16,
    cookie: Option<String>,
    body: String,
}

impl Wire {
    async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the server accepts");
        stream.set_nodelay(true).expect("an option of TCP");
        Self { stream, buffer: Vec::new(), from: 0 }
    }

    async fn ask(&mut self, request: &str) -> Option<Response> {
        self.stream.write_all(request.as_bytes()).await.ok()?;
        self.response().await
    }

    /// The head of the next response. It is parsed minimally, so that one thread can send a million
    /// requests a minute.
    async fn head(&mut self) -> Option<&str> {
        let mut seen = self.from;
        loop {
            let end = self.buffer[seen..].windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                let begin = std::mem::replace(&mut self.from, seen + end + 4);
                return str::from_utf8(&self.buffer[begin..self.from]).ok();
            }
            self.buffer.drain(..std::mem::take(&mut self.from));
            seen = self.buffer.len().saturating_sub(3);
            if !matches!(self.stream.read_buf(&mut self.buffer).await, Ok(1..)) {
                return None;
            }
        }
    }

    /// The next response; `None` if the server closed the connection.
    async fn response(&mut self) -> Option<Response> {
        let head = self.head().await?.to_owned();
        let value = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        };
        let status = head.split(' ').nth(1).expect("a status").parse().expect("a status");
        let cookie = value("set-cookie").and_then(|line| line.split(';').next()).map(str::to_owned);
        let length = value("content-length").map_or(0, |text| text.parse().expect("a length"));
        while self.buffer.len() < self.from + length {
            if !matches!(self.stream.read_buf(&mut self.buffer).await, Ok(1..)) {
                return None;
            }
        }
        let begin = self.from;
        self.from += length;
        let body = String::from_utf8_lossy(&self.buffer[begin..self.from]).into_owned();
        Some(Response { status, cookie, body })
    }
}

/// Pseudorandom numbers, not for secrets.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A token of the right form.
    fn token(&mut self) -> String {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        (0..64).map(|_| char::from(ALPHABET[(self.roll() >> 20) as usize % 64])).collect()
    }
}

/// Logs in, writes, reads what it wrote, rotates, logs out, and begins again.
async fn person(number: usize, address: SocketAddr, counts: Arc<Counts>) {
    let mut wire = Wire::connect(address).await;
    let mut round = 0_u64;
    while counts.goes_on() {
        round += 1;
        let login = Instant::now();
        let mut cookie = String::new();
        let value = format!("{number}-{round}");
        let length = value.len();
        let read = format!("/data/{}", round % 7);
        for (method, path, body, expected) in [
            ("POST", &*format!("/login/person-{number}"), "", ""),
            ("PUT", &*read, &*value, ""),
            ("GET", &*read, "", &*value),
            ("GET", "/me", "", &*format!("person-{number}")),
            ("POST", "/rotate", "", ""),
            ("GET", &*read, "", &*value),
            ("POST", "/logout", "", ""),
        ] {
            // Some rounds leave their session to its timeout.
            if path == "/logout" && round.is_multiple_of(4) {
                continue;
            }
            let length = if body.is_empty() { 0 } else { length };
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: soak\r\nCookie: {cookie}\r\nContent-Length: {length}\r\n\r\n{body}"
            );
            let begun = Instant::now();
            let response = wire.ask(&request).await.expect("a person's connection stays");
            counts.latencies.lock().unwrap_or_else(PoisonError::into_inner).push(begun.elapsed());
            // On a busy machine the session may have expired meanwhile.
            if login.elapsed() * FAST > LIFETIME / 2 {
                break;
            }
            assert_eq!(
                (response.status, &*response.body),
                (200, expected),
                "{method} {path} of person {number}"
            );
            if let Some(new) = response.cookie {
                cookie = new;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Sends forged cookies: malformed, well-formed, and with the public id of a live session.
async fn forger(number: usize, address: SocketAddr, genuine: String, counts: Arc<Counts>) {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ (number as u64 + 1));
    // Two halves of existing tokens make another one, which is cheaper than generating one.
    let tokens: Vec<_> = (0..512).map(|_| dice.token()).collect();
    let mut wire = Wire::connect(address).await;
    let begun = Instant::now();
    let mut sent = 0_u64;
    while counts.goes_on() {
        let mut batch = String::new();
        for _ in 0..BATCH {
            let [first, second, kind] = [dice.roll() >> 20, dice.roll() >> 20, dice.roll() >> 20];
            let [first, second] = [first, second].map(|at| &*tokens[at as usize % tokens.len()]);
            let (head, tail) = (&first[..24], &second[24..]);
            let cookie = match kind % 4 {
                0 => format!("__Host-id={tail}"),
                1 => format!("__Host-id={head}{tail}"),
                2 => format!("__Host-id={}{tail}", &genuine[..24]),
                _ => format!("__Host-id={first}; __Host-id={head}{tail}; __Host-id=%00"),
            };
            batch.extend(["HEAD /me HTTP/1.1\r\nHost: soak\r\nCookie: ", &cookie, "\r\n\r\n"]);
        }
        wire.stream.write_all(batch.as_bytes()).await.expect("the server reads");
        for _ in 0..BATCH {
            let head = wire.head().await.expect("the server answers junk, too");
            assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
            let removed =
                head.split_once("set-cookie: ").is_none_or(|(_, line)| line.starts_with("__Host-id=;"));
            assert!(removed, "a forged cookie earns none: {head}");
        }
        sent += BATCH as u64;
        counts.forged.fetch_add(BATCH as u64, Relaxed);
        // Not faster than the target rate, so that the latency belongs to a known load.
        let due = Duration::from_secs_f64(sent as f64 * FORGERS as f64 / AIM as f64);
        sleep(due.saturating_sub(begun.elapsed())).await;
    }
}

/// A megabyte of headers, a slow body, a client that disconnects in the middle, and one that does
/// not read.
async fn nuisance(number: usize, address: SocketAddr, counts: Arc<Counts>) {
    let megabyte = "junk=0123456789; ".repeat((1 << 20) / 17);
    let mut dice = Dice(number as u64 + 77);
    while counts.goes_on() {
        let mut wire = Wire::connect(address).await;
        match (number as u64 + dice.roll()) % 4 {
            0 => {
                // The server may stop reading, and then writing fails.
                let request = format!("GET /me HTTP/1.1\r\nHost: soak\r\nCookie: {megabyte}\r\n\r\n");
                if let Some(response) = wire.ask(&request).await {
                    assert!(response.status < 500);
                }
            }
            1 => {
                let head = "PUT /swallow HTTP/1.1\r\nHost: soak\r\nContent-Length: 40\r\n\r\n";
                let _ = wire.stream.write_all(head.as_bytes()).await;
                for _ in 0..40 {
                    sleep(Duration::from_millis(10)).await;
                    let _ = wire.stream.write_all(b"x").await;
                }
                let response = wire.response().await.expect("a slow body is a body");
                assert_eq!(response.status, 200);
            }
            2 => {
                let head = format!(
                    "PUT /swallow HTTP/1.1\r\nHost: soak\r\nCookie: __Host-id={}\r\nContent-Length: 99\r\n\r\nx",
                    dice.token()
                );
                let _ = wire.stream.write_all(head.as_bytes()).await;
                sleep(Duration::from_millis(20)).await;
            }
            _ => {
                // Disconnects while the handler of a login runs.
                let head = "POST /login/hasty HTTP/1.1\r\nHost: soak\r\n\r\n";
                let _ = wire.stream.write_all(head.as_bytes()).await;
            }
        }
        drop(wire);
        counts.hostile.fetch_add(1, Relaxed);
        sleep(Duration::from_millis(5)).await;
    }
}

fn routes() -> Router {
    let me = get(async |session: Session| session.subject().unwrap_or_default().to_string());
    let log_in = async |session: Session, Path(user): Path<String>| session.login(user).await.map(drop);
    let read = async |session: Session, Path(key): Path<String>| -> Result<String, Error> {
        Ok(session.get(&Key::<String>::named(key))?.unwrap_or_default())
    };
    let write = async |session: Session, Path(key): Path<String>, value: String| {
        session.insert(&Key::<String>::named(key), &value)
    };
    Router::new()
        .route("/me", me)
        .layer(RequireSession::new())
        .route("/login/{user}", post(log_in))
        .route("/logout", post(async |session: Session| session.logout()))
        .route("/rotate", post(async |session: Session| session.rotate()))
        .route("/data/{key}", get(read).merge(put(write)))
        .route("/swallow", put(async |_: Session, _: String| ()))
}

/// The measures that must not grow.
#[derive(Debug)]
struct Footprint {
    kilobytes: u64,
    descriptors: usize,
    tasks: usize,
    rows: usize,
}

fn footprint(server: &Runtime, store: &MemoryStore) -> Footprint {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    Footprint {
        kilobytes: line.trim().trim_end_matches(" kB").parse().expect("a number"),
        descriptors: fs::read_dir("/proc/self/fd").expect("Linux").count(),
        tasks: server.metrics().num_alive_tasks(),
        rows: store.len(),
    }
}

/// Waits for a condition, which may take a while after the load.
fn eventually(is_so: impl Fn() -> bool) -> bool {
    (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        is_so()
    })
}

#[test]
#[cfg(target_os = "linux")]
fn nothing_grows_under_forgeries_and_rude_clients_and_people_are_served() {
    let server = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let clients = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let store = MemoryStore::new();
    let second = Duration::from_secs(1);
    let lifetimes = Lifetimes::new(LIFETIME, LIFETIME).expect("a lifetime that is not zero");
    let policy = Policy::both(lifetimes);
    // Short retention, so that intentionally kept tombstones do not hide a leak.
    let layer = SessionLayer::new(store.clone())
        .with_policy(policy)
        .with_end_reason_retention(LIFETIME)
        .with_clock(FastClock(SystemClock.now(), Instant::now()));
    let sessions = layer.sessions();
    let address = server.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        // Without `TCP_NODELAY` a batch of answers waits 40 ms for the client's acknowledgement of
        // the first.
        let listener = listener.tap_io(|stream| stream.set_nodelay(true).expect("an option of TCP"));
        tokio::spawn(sessions.clone().sweep_every(second));
        let service = routes().layer(layer);
        tokio::spawn(async move { axum::serve(listener, service).await });
        address
    });
    std::thread::sleep(second);
    let at_rest = footprint(&server, &store);

    let counts = Arc::new(Counts::default());
    let mut tasks: Vec<_> =
        (0..PEOPLE).map(|number| clients.spawn(person(number, address, Arc::clone(&counts)))).collect();
    std::thread::sleep(second);
    let _ = counts.latency();
    std::thread::sleep(2 * second);
    let (idle, requests, slow) = counts.latency();
    println!("idle: {requests} requests, median {idle:?}, p99 {slow:?}");

    // A session that stays live throughout, whose public id the forgers know.
    let genuine = clients.block_on(async {
        let mut wire = Wire::connect(address).await;
        let login = "POST /login/person-0 HTTP/1.1\r\nHost: soak\r\nContent-Length: 0\r\n\r\n";
        let cookie = wire.ask(login).await.and_then(|response| response.cookie).expect("a cookie");
        cookie.trim_start_matches("__Host-id=").to_owned()
    });
    let rude: Vec<_> = (0..FORGERS)
        .map(|number| clients.spawn(forger(number, address, genuine.clone(), Arc::clone(&counts))))
        .chain((0..8).map(|number| clients.spawn(nuisance(number, address, Arc::clone(&counts)))))
        .collect();
    tasks.extend(rude);

    let length = 8 * second * search::cases(1);
    // Allocators and tables reach their final size first.
    let warm_up = length / 2;
    std::thread::sleep(warm_up);
    let _ = counts.latency();
    let (warm, forged, begun) = (footprint(&server, &store), counts.forged.load(Relaxed), Instant::now());
    println!("warm: {warm:?}");
    let (mut medians, mut samples, mut answered) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..5 {
        std::thread::sleep((length - warm_up) / 5);
        let (median, requests, slow) = counts.latency();
        let now = footprint(&server, &store);
        println!("storm: {requests} requests of people, median {median:?}, p99 {slow:?}; {now:?}");
        medians.push(median);
        answered.push(requests);
        samples.push(now);
    }
    let forged = counts.forged.load(Relaxed) - forged;
    let rate = forged as f64 / begun.elapsed().as_secs_f64();
    let hostile = counts.hostile.load(Relaxed);
    medians.sort_unstable();
    let times = medians[2].as_secs_f64() / idle.as_secs_f64();
    println!(
        "{rate:.0} forged cookies a second, {hostile} rude clients; people's median is {times:.1} times that of idle"
    );

    counts.stop.store(true, Relaxed);
    clients.block_on(async {
        for task in tasks {
            task.await.expect("no client saw anything wrong");
        }
    });

    assert!(
        forged > 100 && hostile > 20,
        "there was a storm: {forged} forged cookies, {hostile} rude clients"
    );
    // The smallest of the later samples: a leak raises all of them, but a burst of large headers
    // only some.
    let least = samples.iter().map(|now| now.kilobytes).min().expect("samples");
    assert!(
        least <= warm.kilobytes + warm.kilobytes / 5 + 8 * 1024,
        "memory grew from {warm:?}: {samples:?}"
    );
    let rows = samples.iter().map(|now| now.rows).max().expect("samples");
    // Eight users at fewer than 30 rounds a second leave sessions for 3 seconds each, and
    // tombstones for the same time.
    assert!(rows < 5_000, "{rows} rows");
    assert!(answered.iter().all(|requests| *requests > 0), "users are served throughout: {answered:?}");
    // Only in a long search: the short one runs beside other work, which changes the latency more
    // than the storm does.
    assert!(
        search::cases(1) == 1 || medians[2] <= 10 * idle + Duration::from_millis(20),
        "people wait {:?}, idle {idle:?}",
        medians[2]
    );
    let everybody = Page { realm: "__Host-id".into(), subject: None, after: None, limit: 10_000 };
    for record in clients.block_on(store.list(everybody)).expect("a list") {
        let subject = record.subject.expect("no forgery made an anonymous session");
        assert!(subject.starts_with("person-") || &*subject == "hasty", "{subject}");
    }
    assert!(eventually(|| store.is_empty()), "all sessions end, and are forgotten: {}", store.len());
    let is_as_before = || {
        let now = footprint(&server, &store);
        now.descriptors <= at_rest.descriptors + 1 && now.tasks <= at_rest.tasks
    };
    assert!(eventually(is_as_before), "{:?} at rest, now {:?}", at_rest, footprint(&server, &store));
    println!("after it: {:?}, before it: {at_rest:?}", footprint(&server, &store));
}
