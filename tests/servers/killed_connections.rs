//! Connections are killed repeatedly under load (FINDINGS A11). No acknowledged write may be lost
//! or applied twice, and every end is reported once.
//!
//! Each client atomically appends its own numbers to a list in a session, so a write that was
//! applied twice shows in the list. Then many clients on two nodes increment counters, and the sum
//! must equal the acknowledged increments. `TENURE_SEARCH=100` does a hundred times as many. A
//! million increments on each server are `TENURE_SEARCH=1042 cargo test --release --test servers
//! count_each_increment`.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Path,
    http::{Request, StatusCode, header},
    routing::post,
};
use tower::{Layer, ServiceExt};
use tower_tenure::{
    EndReason, Error, Key, RequireSession, Session, SessionId, SessionLayer, Sessions, SystemClock,
    events::{Event, EventKind},
    store::{AnyStore, PostgresOptions, RedisOptions},
};

use crate::common::{
    search,
    servers::{Kind, Server},
};
use crate::heavy::HEAVY;

const LIST: Key<Vec<u32>> = Key::new("list");
const COUNT: Key<u32> = Key::new("count");
const CLIENTS: u32 = 16;

/// A site, its administration, and the ends that were reported.
struct Place {
    site: Router,
    sessions: Sessions,
    ended: Arc<Mutex<HashMap<SessionId, Vec<EndReason>>>>,
}

impl Place {
    fn new(store: AnyStore) -> Self {
        let append = post(async |session: Session, Path(number): Path<u32>| {
            let push = |list: Option<Vec<u32>>| {
                let mut list = list.unwrap_or_default();
                list.push(number);
                list
            };
            session.update(&LIST, push).await.map(|_| ())
        });
        let read = post(async |session: Session| {
            let list = session.get(&LIST)?.unwrap_or_default();
            Ok::<_, Error>(list.iter().map(u32::to_string).collect::<Vec<_>>().join(","))
        });
        let add =
            post(async |session: Session| session.update(&COUNT, |n| n.unwrap_or(0) + 1).await.map(drop));
        let count = post(async |session: Session| {
            Ok::<_, Error>(session.get(&COUNT)?.unwrap_or_default().to_string())
        });
        let routes = Router::new()
            .route("/append/{number}", append)
            .route("/add", add)
            .route("/count", count)
            .route("/read", read)
            .layer(RequireSession::new())
            .route(
                "/login/{user}",
                post(async |session: Session, Path(user): Path<String>| {
                    session.login(user).await?.accepted()
                }),
            );
        let ended = Arc::<Mutex<HashMap<_, Vec<_>>>>::default();
        let log = Arc::clone(&ended);
        let layer =
            SessionLayer::new(store).with_clock(SystemClock).with_observer_fn(move |event: &Event<'_>| {
                if let (EventKind::Ended(reason), Some(sid)) = (event.kind, event.sid) {
                    log.lock().unwrap().entry(sid).or_default().push(reason);
                }
            });
        let sessions = layer.sessions();
        Self { site: Router::new().fallback_service(layer.layer(routes)), sessions, ended }
    }

    async fn send(&self, path: &str, cookie: Option<&str>) -> (StatusCode, Option<String>, String) {
        let mut request = Request::post(path);
        if let Some(cookie) = cookie {
            request = request.header(header::COOKIE, cookie);
        }
        let response = self.site.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let cookie = response.headers().get(header::SET_COOKIE).and_then(|line| line.to_str().ok());
        let cookie = cookie.and_then(|line| line.split(';').next()).map(str::to_owned);
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, cookie, String::from_utf8_lossy(&body).into_owned())
    }

    /// Retries until the answer is not "unavailable".
    async fn insist(&self, path: &str, cookie: Option<&str>) -> (StatusCode, Option<String>, String) {
        loop {
            let answer = self.send(path, cookie).await;
            if answer.0 != StatusCode::SERVICE_UNAVAILABLE {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Kills all connections except its own, repeatedly, until it is stopped. After each kill it waits
/// for a number of acknowledged calls, because on a busy machine no call would succeed otherwise.
fn kill_connections(
    server: &Server,
    stop: &Arc<AtomicBool>,
    (acknowledged, between): (&Arc<AtomicU32>, u32),
) -> std::thread::JoinHandle<u32> {
    let (kind, ports, stop) = (server.kind, server.ports(), Arc::clone(stop));
    let acknowledged = Arc::clone(acknowledged);
    let url = server.url();
    std::thread::spawn(move || {
        let mut kills = 0;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut next = 0;
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(100));
            let so_far = acknowledged.load(Ordering::Relaxed);
            if so_far < next {
                continue;
            }
            next = so_far + between;
            if kind == Kind::Postgres {
                let kill = async {
                    let (client, connection) =
                        tokio_postgres::connect(&url, tokio_postgres::NoTls).await.ok()?;
                    let connection = tokio::spawn(connection);
                    let all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()";
                    let killed = client.simple_query(all).await.ok();
                    drop(client);
                    let _ = connection.await;
                    killed
                };
                kills += u32::from(runtime.block_on(kill).is_some());
            } else {
                for port in &ports {
                    // The default `SKIPME yes` spares the caller's connection.
                    let killed = (|| -> redis::RedisResult<()> {
                        let client = redis::Client::open(format!("redis://127.0.0.1:{port}"))?;
                        let mut connection = client.get_connection()?;
                        redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal"]).query(&mut connection)
                    })();
                    kills += u32::from(killed.is_ok());
                }
            }
        }
        kills
    })
}

async fn open(server: &Server) -> AnyStore {
    match server.kind {
        Kind::Postgres => PostgresOptions::new(&server.url()).unwrap().connect().await.unwrap().into(),
        _ => RedisOptions::new(&server.url()).unwrap().connect().await.unwrap().into(),
    }
}

async fn trial(kind: Kind, test: &str) {
    let Some(server) = Server::start(kind, test) else { return };
    let _alone = HEAVY.lock().await;
    let place = Arc::new(Place::new(open(&server).await));
    let stop = Arc::new(AtomicBool::new(false));
    let killer = kill_connections(&server, &stop, (&Arc::default(), 0));

    let appends = search::cases(60);
    let mut cookies = Vec::new();
    for user in 0..CLIENTS / 4 {
        let (_, cookie, _) = place.insist(&format!("/login/user-{user}"), None).await;
        cookies.push(cookie.expect("a login sets a cookie"));
    }
    let clients = (0..CLIENTS).map(|client| {
        let place = Arc::clone(&place);
        // Four of them share a session, so that they also compete.
        let cookie = cookies[client as usize / 4].clone();
        tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for number in 0..appends {
                let number = client * 1_000_000 + number;
                let (status, ..) = place.send(&format!("/append/{number}"), Some(&cookie)).await;
                if status == StatusCode::OK {
                    acknowledged.push(number);
                }
            }
            (cookie, acknowledged)
        })
    });
    let mut written = Vec::new();
    for client in clients.collect::<Vec<_>>() {
        written.push(client.await.unwrap());
    }
    let mut acknowledged = 0;
    for (cookie, numbers) in &written {
        let (_, _, list) = place.insist("/read", Some(cookie)).await;
        let mut counts = BTreeMap::<u32, usize>::new();
        for number in list.split(',').filter(|number| !number.is_empty()) {
            *counts.entry(number.parse().unwrap()).or_default() += 1;
        }
        acknowledged += numbers.len();
        for number in numbers {
            assert_eq!(counts.get(number), Some(&1), "{kind:?}: {number} was acknowledged");
        }
        assert!(counts.values().all(|count| *count == 1), "{kind:?}: a write took place twice: {counts:?}");
    }

    // Some answers to the revocations are lost. Each session still ends, and its end is reported
    // once.
    let mut sids = HashSet::new();
    for number in 0..search::cases(10) * 4 {
        let (_, cookie, _) = place.insist(&format!("/login/many-{number}"), None).await;
        assert!(cookie.is_some());
    }
    for number in 0..search::cases(10) * 4 {
        let page = loop {
            if let Ok(page) = place.sessions.list(Some(&format!("many-{number}")), None, 10).await {
                break page;
            }
        };
        for record in page.sessions {
            sids.insert(record.sid);
            while place.sessions.revoke(record.sid).await.is_err() {}
        }
    }
    stop.store(true, Ordering::Relaxed);
    let kills = killer.join().unwrap();
    assert!(kills > 5, "{kind:?}: only {kills} kills");
    println!("{kind:?}: {kills} kills, {acknowledged} appends acknowledged, {} revocations", sids.len());

    // A background task resolves the lost calls, which takes a while.
    let missing = || {
        let ended = place.ended.lock().unwrap();
        sids.iter().filter(|sid| ended.get(sid).is_none()).count()
    };
    for _ in 0..200 {
        if missing() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let ended = place.ended.lock().unwrap();
    for sid in &sids {
        assert_eq!(
            ended.get(sid).map(Vec::as_slice),
            Some([EndReason::Revoked].as_slice()),
            "{kind:?} {sid}"
        );
    }
    assert!(ended.values().all(|reasons| reasons.len() == 1), "{kind:?}: an end was reported twice");
}

/// Clients of two nodes increment counters in sessions, with two clients of each node in each
/// session.
async fn count(kind: Kind, test: &str) {
    const SESSIONS: u32 = 8;
    let Some(server) = Server::start(kind, test) else { return };
    let _alone = HEAVY.lock().await;
    let nodes = [Arc::new(Place::new(open(&server).await)), Arc::new(Place::new(open(&server).await))];
    let stop = Arc::new(AtomicBool::new(false));
    let acknowledged = Arc::new(AtomicU32::new(0));
    // At each kill, one call of each of the 32 clients may be in flight. A long search kills about
    // 480 times, whatever its length, so that it does not spend most of its time on new
    // connections.
    let killer = kill_connections(&server, &stop, (&acknowledged, search::cases(2).max(64)));

    let mut clients = Vec::new();
    let mut cookies = Vec::new();
    for session in 0..SESSIONS {
        let (_, cookie, _) = nodes[0].insist(&format!("/login/user-{session}"), None).await;
        let cookie = cookie.expect("a login sets a cookie");
        for place in nodes.iter().chain(&nodes) {
            let (place, cookie, adds) = (Arc::clone(place), cookie.clone(), search::cases(30));
            let acknowledged = Arc::clone(&acknowledged);
            clients.push(tokio::spawn(async move {
                let (mut done, mut unknown) = (0, 0);
                for _ in 0..adds {
                    match place.send("/add", Some(&cookie)).await.0 {
                        StatusCode::OK => {
                            done += 1;
                            acknowledged.fetch_add(1, Ordering::Relaxed);
                        }
                        StatusCode::SERVICE_UNAVAILABLE => unknown += 1,
                        status => panic!("{kind:?}: {status}"),
                    }
                }
                (session, done, unknown)
            }));
        }
        cookies.push(cookie);
    }
    let mut sums = [(0_u32, 0_u32); SESSIONS as usize];
    for client in clients {
        let (session, done, unknown) = client.await.unwrap();
        let sum = &mut sums[session as usize];
        *sum = (sum.0 + done, sum.1 + unknown);
    }
    stop.store(true, Ordering::Relaxed);
    let kills = killer.join().unwrap();
    let (mut all_done, mut all_unknown) = (0, 0);
    for (cookie, (done, unknown)) in cookies.iter().zip(sums) {
        let (_, _, count) = nodes[1].insist("/count", Some(cookie)).await;
        let count: u32 = count.parse().unwrap();
        assert!(
            (done..=done + unknown).contains(&count),
            "{kind:?}: {count}, with {done} acknowledged and {unknown} unanswered"
        );
        (all_done, all_unknown) = (all_done + done, all_unknown + unknown);
    }
    println!("{kind:?}: {kills} kills, {all_done} increments acknowledged, {all_unknown} unanswered");
    assert!(all_done > all_unknown, "{kind:?}: most increments should get through");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a11_killed_connections_count_each_increment_once_on_postgres() {
    count(Kind::Postgres, "increments with connections of PostgreSQL killed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a11_killed_connections_count_each_increment_once_on_redis() {
    count(Kind::Redis, "increments with connections of Redis killed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a11_killed_connections_count_each_increment_once_on_a_cluster() {
    count(Kind::Cluster, "increments with connections of a Redis Cluster killed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a11_killed_connections_count_each_increment_once_on_valkey() {
    count(Kind::Valkey, "increments with connections of Valkey killed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a11_killed_connections_lose_and_repeat_nothing_on_postgres() {
    trial(Kind::Postgres, "killed connections on PostgreSQL").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a11_killed_connections_lose_and_repeat_nothing_on_redis() {
    trial(Kind::Redis, "killed connections on Redis").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a11_killed_connections_lose_and_repeat_nothing_on_a_cluster() {
    trial(Kind::Cluster, "killed connections on a Redis Cluster").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a11_killed_connections_lose_and_repeat_nothing_on_valkey() {
    trial(Kind::Valkey, "killed connections on Valkey").await;
}
