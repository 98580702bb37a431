//! Connections that are killed while answers are in flight, and slots that move (A11, S3, O2).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use futures_util::future::join_all;
use tower_tenure::{
    EndReason, SessionStore,
    record::{EndOutcome, Json, Tag},
    store::CreateOutcome,
};

use super::{KINDS, create, node, servers};
use crate::common::{
    servers::{Kind, Server},
    store::{end, login, login_of, replacing, second, sid, write},
};

/// Kills all connections repeatedly, until it is dropped.
struct Killer<'a> {
    stop: Arc<AtomicBool>,
    thread: Option<thread::ScopedJoinHandle<'a, ()>>,
}

impl<'a> Killer<'a> {
    fn of(server: &'a Server, scope: &'a thread::Scope<'a, '_>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&stop);
        let thread = scope.spawn(move || {
            // The number of kills is limited: on a busy machine connecting may take longer than the
            // time between two kills.
            for _ in 0..150 {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                for port in server.ports() {
                    server.ask_at(port, &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
                }
                thread::sleep(Duration::from_millis(100));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Killer<'_> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(thread::ScopedJoinHandle::join);
    }
}

fn tag(number: u32) -> Tag {
    let [a, b, c, d] = number.wrapping_mul(0x9e37_79b9).to_be_bytes();
    Tag::from_bytes([a, b, c, d, 7, 7])
}

#[tokio::test(flavor = "multi_thread")]
async fn a11_with_connections_killed_each_end_is_reported_once() {
    const MANY: u32 = 400;
    for server in servers(KINDS, "ends with connections killed") {
        let store = node(&server).await;
        for number in 0..MANY {
            create(&store, login_of("x", tag(number), number, second(0))).await;
        }
        let mut results = Vec::new();
        thread::scope(|scope| {
            let _killer = Killer::of(&server, scope);
            let runtime = tokio::runtime::Handle::current();
            let ends = (0..MANY).map(|number| {
                let sid = login_of("x", tag(number), number, second(0)).record.sid;
                let store = store.clone();
                runtime.spawn(async move {
                    // Two callers. Each retries with the same call id until it gets an answer.
                    let callers = [0, 1].map(|_| async {
                        let request = end(EndReason::Revoked, second(1));
                        loop {
                            if let Ok(outcome) = store.end(sid, request.clone(), None).await {
                                return outcome;
                            }
                        }
                    });
                    let outcomes = join_all(callers).await;
                    outcomes.iter().filter(|outcome| matches!(outcome, EndOutcome::Ended(_))).count()
                })
            });
            let ends: Vec<_> = ends.collect();
            results = tokio::task::block_in_place(|| runtime.block_on(join_all(ends)));
        });
        for (number, reported) in results.into_iter().enumerate() {
            assert_eq!(reported.unwrap(), 1, "the end of {number} on {:?}", server.kind);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a11_a_login_whose_answer_was_lost_is_created_once_with_the_data_it_takes() {
    for server in servers(KINDS, "logins with connections killed") {
        let store = node(&server).await;
        let mut lost = 0;
        for number in 0..60 {
            let mut old = login(2 * number, second(0));
            old.edits.set("cart", Json::from_text("1"));
            create(&store, old).await;
        }
        thread::scope(|scope| {
            let _killer = Killer::of(&server, scope);
            let runtime = tokio::runtime::Handle::current();
            tokio::task::block_in_place(|| {
                runtime.block_on(async {
                    for number in 0..60 {
                        let creation = replacing(login(2 * number + 1, second(1)), sid(2 * number));
                        match store.create(creation).await {
                            Ok(CreateOutcome::Created { record, ended }) => {
                                assert!(record.data.get("cart").is_some(), "{record:?}");
                                assert!(matches!(ended[..], [EndOutcome::Ended(_)]), "{ended:?}");
                            }
                            Ok(other) => panic!("{other:?}"),
                            Err(_) => lost += 1,
                        }
                    }
                });
            });
        });
        assert!(lost < 30, "{lost}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s7_a_slot_that_moves_to_another_master_takes_its_sessions_along() {
    let Some(server) = Server::start(Kind::Cluster, "a slot that moves") else { return };
    let store = node(&server).await;
    create(&store, login(1, second(0))).await;
    let place = server.ports().into_iter().find_map(|port| {
        let keys = server.ask_at(port, &["--scan", "--pattern", "tenure{*"]);
        (!keys.is_empty()).then_some((port, keys))
    });
    let (from, key) = place.expect("it is somewhere");
    let to = server.ports().into_iter().find(|port| *port != from).unwrap();
    let slot = server.ask(&["CLUSTER", "KEYSLOT", &key]);
    let [source, target] = [from, to].map(|port| server.ask_at(port, &["CLUSTER", "MYID"]));
    assert_eq!(server.ask_at(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source]), "OK");
    assert_eq!(server.ask_at(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target]), "OK");
    store.update(sid(1), write("before", second(1)), None).await.unwrap();
    assert_eq!(server.ask_at(from, &["MIGRATE", "127.0.0.1", &to.to_string(), &key, "0", "1000"]), "OK");
    // The source node redirects to the target node.
    assert!(store.load(sid(1)).await.unwrap().is_some());
    store.update(sid(1), write("meanwhile", second(2)), None).await.unwrap();
    for port in server.ports() {
        server.ask_at(port, &["CLUSTER", "SETSLOT", &slot, "NODE", &target]);
    }
    store.update(sid(1), write("after", second(3)), None).await.unwrap();
    let record = store.load(sid(1)).await.unwrap().unwrap();
    assert_eq!(record.data.len(), 3);
    create(&store, login(2, second(4))).await;
}
