//! Bounded work: large places, many expired sessions, and bytes per session (S10, S14, A6).

use std::{collections::BTreeSet, sync::Arc};

use futures_util::future::join_all;
use tower_tenure::{
    EndReason, SessionId, SessionStore, Timestamp,
    record::{Data, Json, LastSeen, Record, SecretHash, Tag},
    store::{CreateOutcome, Creation, Page, RedisStore, Sweep},
};

use super::{create, node, servers};
use crate::common::{
    servers::{Kind, Server},
    store::{REALM, SUBJECT, TAG, all, end, login, login_of, revocation, second, sid, sid_at, touch},
};
use crate::heavy::HEAVY;

async fn fill(store: &RedisStore, creations: impl Iterator<Item = Creation>) {
    let mut creations = creations.peekable();
    while creations.peek().is_some() {
        join_all(creations.by_ref().take(200).map(|creation| create(store, creation))).await;
    }
}

fn page(after: Option<(Timestamp, SessionId)>, limit: usize) -> Page {
    Page { after, limit, ..all() }
}

fn everybody(after: Option<(Timestamp, SessionId)>, limit: usize) -> Page {
    Page { subject: None, ..page(after, limit) }
}

fn position(record: &Record) -> (Timestamp, SessionId) {
    (record.timing.created_at, record.sid)
}

/// The longest time that the server spent on one call, in microseconds, among calls that took
/// longer than ten milliseconds.
fn slowest(server: &Server) -> u64 {
    let log = server.ask(&["--json", "SLOWLOG", "GET", "128"]);
    let entries: serde_json::Value = serde_json::from_str(&log).unwrap_or_default();
    let times = entries.as_array().into_iter().flatten().filter_map(|entry| entry.get(2)?.as_u64());
    times.max().unwrap_or_default()
}

fn watch_for_slow_calls(server: &Server) {
    server.ask(&["CONFIG", "SET", "slowlog-log-slower-than", "10000"]);
    server.ask(&["SLOWLOG", "RESET"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn s14_a_subject_with_very_many_sessions_is_listed_page_by_page_in_order() {
    const MANY: u32 = 20_000;
    let _alone = HEAVY.lock().await;
    for server in servers([Kind::Redis, Kind::Valkey], "very many sessions") {
        let store = node(&server).await;
        // The sessions are not stored in the order of their creation times.
        fill(&store, (0..MANY).map(|number| login(number, second(number.wrapping_mul(7919) % 5000)))).await;
        watch_for_slow_calls(&server);
        let mut after = None;
        let mut seen = Vec::new();
        loop {
            let records = store.list(page(after, 997)).await.unwrap();
            seen.extend(records.iter().map(position));
            after = seen.last().copied();
            if records.len() < 997 {
                break;
            }
        }
        assert!(seen.is_sorted() && seen.len() == MANY as usize);
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), seen.len());

        // A login, an end, a cap and a revocation in this large place.
        create(&store, login(MANY, second(6000))).await;
        store.end(sid(5), end(EndReason::SignedOut, second(6001)), None).await.unwrap();
        let capped = Creation { cap: Some(3.try_into().unwrap()), ..login(MANY + 1, second(6002)) };
        let CreateOutcome::Full { count, sessions } = store.create(capped).await.unwrap() else { panic!() };
        assert_eq!((count, sessions.len()), (MANY as usize, CreateOutcome::MAX_CANDIDATES));
        store.revoke(revocation(second(6003), Some(sid(9)))).await.unwrap();
        assert!(store.load(sid(8)).await.unwrap().unwrap().revoked_at.is_some());
        assert_eq!(store.load(sid(9)).await.unwrap().unwrap().revoked_at, None);

        // The sweep finds the revoked sessions in batches. Afterwards only the excepted session is
        // left in the place, and the order is gone.
        let sweep = Sweep { realm: None, now: second(6004), limit: 500 };
        let mut ended = 0;
        loop {
            let swept = store.sweep(sweep.clone()).await.unwrap();
            assert!(swept.found.len() <= 500);
            let requests = swept.found.iter().map(|found| (found.sid, end(EndReason::Revoked, second(6004))));
            ended += store.end_many(requests.collect()).await.unwrap().len();
            if swept.finished {
                break;
            }
        }
        assert_eq!(ended, MANY as usize - 1);
        assert_eq!(store.list(all()).await.unwrap().len(), 1);
        assert_eq!(server.ask(&["--raw", "EXISTS", &format!("tenure{{{}}}o", tag_text())]), "0");
        let slow = slowest(&server);
        assert!(slow < 100_000, "the server did nothing else for {slow} µs");
    }
}

/// The text of [`TAG`] in the keys.
fn tag_text() -> String {
    // An id's text begins with the text of its tag: 6 bytes are 8 characters.
    sid(0).to_string()[..8].to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn s14_an_order_is_built_when_a_place_grows_and_dropped_when_it_shrinks() {
    for server in servers([Kind::Redis, Kind::Cluster], "orders") {
        let store = node(&server).await;
        let order = format!("tenure{{{}}}o", tag_text());
        let size = || {
            server
                .ports()
                .iter()
                .map(|port| server.ask_at(*port, &["ZCARD", &order]))
                .find_map(|n| n.parse::<u32>().ok().filter(|n| *n > 0))
                .unwrap_or(0)
        };
        fill(&store, (0..256).map(|number| login(number, second(number)))).await;
        assert_eq!(size(), 0);
        create(&store, login(256, second(256))).await;
        assert_eq!(size(), 257);
        create(&store, login(257, second(257))).await;
        assert_eq!(size(), 258);
        for number in 0..194 {
            store.end(sid(number), end(EndReason::SignedOut, second(300)), None).await.unwrap();
        }
        assert_eq!(size(), 64);
        create(&store, login(300, second(300))).await;
        assert_eq!(size(), 65, "a creation keeps it up to date while it is there");
        for number in 194..196 {
            store.end(sid(number), end(EndReason::SignedOut, second(300)), None).await.unwrap();
        }
        assert_eq!(size(), 0);
        let listed = store.list(all()).await.unwrap();
        assert_eq!(listed.len(), 63);
        assert!(listed.is_sorted_by_key(position));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a6_a_page_of_the_list_is_cheap_beside_very_many_that_are_over() {
    const MANY: u32 = 20_000;
    let _alone = HEAVY.lock().await;
    for server in servers([Kind::Redis, Kind::Valkey], "sessions that are over") {
        let store = node(&server).await;
        let tag = |number: u32| {
            Tag::from_bytes([
                1,
                2,
                number.to_be_bytes()[0],
                number.to_be_bytes()[1],
                number.to_be_bytes()[2],
                number.to_be_bytes()[3],
            ])
        };
        let over = (0..MANY)
            .map(|number| login_of(&format!("user{number}"), tag(number), number, second(number / 100)));
        fill(&store, over).await;
        // Half of them are ended, and half are expired but not swept.
        let ends = (0..MANY)
            .step_by(2)
            .map(|number| (sid_at(tag(number), number), end(EndReason::SignedOut, second(300))));
        store.end_many(ends.collect()).await.unwrap();
        create(&store, login(7, second(1000))).await;

        watch_for_slow_calls(&server);
        let first = store.list(everybody(None, 50)).await.unwrap();
        let after = Some((second(900), SessionId::from_bytes([0; 16])));
        let newest = store.list(everybody(after, 50)).await.unwrap();
        assert_eq!((first.len(), newest.len()), (50, 1));
        assert_eq!(slowest(&server), 0, "no call takes the server ten milliseconds");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s14_entries_of_an_index_whose_session_is_gone_are_dropped() {
    for server in servers([Kind::Redis, Kind::Cluster], "stale entries") {
        let store = node(&server).await;
        fill(&store, (0..100).map(|number| login(number, second(number)))).await;
        let place = format!("tenure{{{}}}", tag_text());
        for port in server.ports() {
            server.ask_at(port, &["DEL", &place]);
        }
        let sizes = || {
            let keys = [format!("tenure:all:{REALM}"), format!("tenure:due:{REALM}")];
            keys.map(|key| {
                server
                    .ports()
                    .iter()
                    .filter_map(|port| server.ask_at(*port, &["ZCARD", &key]).parse::<u32>().ok())
                    .sum::<u32>()
            })
        };
        assert_eq!(sizes(), [100, 100]);
        assert_eq!(store.list(everybody(None, 10)).await.unwrap(), []);
        let sweep = Sweep { realm: Some(REALM.into()), now: second(10_000_000), limit: 1000 };
        assert!(store.sweep(sweep).await.unwrap().finished);
        crate::common::servers::until("both are empty", || sizes() == [0, 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn o2_a_touch_changes_no_index_and_an_earlier_deadline_does() {
    let Some(server) = Server::start(Kind::Redis, "touches") else { return };
    let store = node(&server).await;
    create(&store, login(1, second(0))).await;
    let due = format!("tenure:due:{REALM}");
    let due_at = || {
        let shown = server.ask(&["ZRANGE", &due, "0", "-1", "WITHSCORES"]);
        shown.lines().last().unwrap().parse::<i64>().unwrap()
    };
    let before = due_at();
    store.update(sid(1), touch(second(5000)), None).await.unwrap();
    assert_eq!(due_at(), before);
    let lifetimes = tower_tenure::Lifetimes::from_minutes(1, 600);
    let lowering =
        tower_tenure::record::Lowering { lifetimes, one_off_idle: tower_tenure::record::Millis::new(60_000) };
    let mut change = touch(second(5001));
    change.timing.lowering = Some(lowering);
    store.update(sid(1), change, None).await.unwrap();
    let sooner = second(5061).as_unix_millis();
    assert_eq!(due_at(), sooner);
}

/// One session per user, with two small values and a typical user agent. The bytes include the
/// place, its expiry and the indexes.
#[tokio::test(flavor = "multi_thread")]
async fn s14_a_session_takes_at_most_800_bytes() {
    const MANY: u32 = 20_000;
    for server in servers([Kind::Redis, Kind::Valkey], "bytes") {
        let store = node(&server).await;
        let used = || {
            let info = server.ask(&["INFO", "memory"]);
            info.lines()
                .find_map(|line| line.strip_prefix("used_memory:"))
                .unwrap()
                .trim()
                .parse::<u32>()
                .unwrap()
        };
        let before = used();
        fill(&store, (0..MANY).map(usual)).await;
        let bytes = (used() - before) / MANY;
        assert!(bytes <= 800, "{bytes} bytes a session on {:?}", server.kind);
    }
}

fn usual(number: u32) -> Creation {
    // Well distributed, and no more compressible than real data.
    let random = |salt: u64| {
        use std::hash::{BuildHasher, Hasher};
        let mut hasher = std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default().build_hasher();
        hasher.write_u64(u64::from(number) << 32 | salt);
        hasher.finish().to_be_bytes()
    };
    let mut tag = [0; Tag::BYTES];
    tag.copy_from_slice(&random(0)[..6]);
    let mut creation =
        login_of(&format!("auth0|{number:024}"), Tag::from_bytes(tag), number, second(number % 1000));
    let record = &mut creation.record;
    let mut bytes = *record.sid.as_bytes();
    bytes[6..14].copy_from_slice(&random(1));
    record.sid = SessionId::from_bytes(bytes);
    let secret: Vec<u8> = (2..6).flat_map(random).collect();
    record.secret = SecretHash::from_bytes(secret.try_into().unwrap());
    let user_agent: Arc<str> =
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
        Chrome/130.0.0.0 Safari/537.36"
            .into();
    let ip = Some(std::net::IpAddr::from([203, 0, random(7)[0], random(7)[1]]));
    let last = LastSeen { ip, user_agent: Some(Arc::clone(&user_agent)) };
    let facts = Arc::make_mut(&mut record.facts);
    (facts.device.initial_ip, facts.device.initial_user_agent, facts.device.last) =
        (ip, Some(user_agent), last);
    record.data = [("cart", Json::from_text("[17,4]")), ("theme", Json::from_text("\"dark\""))]
        .into_iter()
        .collect::<Data>();
    assert_ne!(record.subject.as_deref(), Some(SUBJECT));
    assert_ne!(record.sid.tag(), TAG);
    creation
}
