//! The commands of each call (S5), as `MONITOR` shows them, without those within scripts.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use tower_tenure::{
    EndReason, SessionStore,
    store::{CreateOutcome, Creation},
};

use super::{create, node, servers};
use crate::common::{
    servers::{Kind, Server, until},
    store::{all, end, login, login_of, replacing, revocation, second, sid, touch, write},
};

/// Monitors all nodes of a server.
struct Monitor<'a> {
    server: &'a Server,
    nodes: Vec<(u16, Child, std::path::PathBuf)>,
    read: usize,
}

impl<'a> Monitor<'a> {
    fn of(server: &'a Server) -> Self {
        let nodes = server.ports().into_iter().map(|port| {
            let path = server.dir().join(format!("monitor-{port}"));
            let file = fs::File::create(&path).unwrap();
            let mut command = Command::new("redis-cli");
            command.args(["-p", &port.to_string(), "monitor"]).stdin(Stdio::null()).stdout(file);
            let child = command.spawn().unwrap();
            until("the monitor listens", || fs::read_to_string(&path).is_ok_and(|text| text.contains("OK")));
            (port, child, path)
        });
        Self { server, nodes: nodes.collect(), read: 0 }
    }

    /// The names of the commands since the last call, of all clients except the monitor's own.
    fn commands(&mut self) -> Vec<String> {
        self.read += 1;
        let mark = format!("mark-{}", self.read);
        let before = format!("mark-{}", self.read - 1);
        let mut commands = Vec::new();
        for (port, _, path) in &self.nodes {
            self.server.ask_at(*port, &["ECHO", &mark]);
            let text = || String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
            until("the monitor has heard it", || text().contains(&mark));
            let text = text();
            let new = text.split_once(&before).map_or(text.as_str(), |(_, new)| new);
            // 1700000000.123456 [0 127.0.0.1:1234] "HMGET" … or [0 lua] within a script.
            let lines = new.lines().filter(|line| line.contains("] \"") && !line.contains(" lua] "));
            let names =
                lines.filter_map(|line| Some(line.split_once("] \"")?.1.split_once('"')?.0.to_uppercase()));
            commands.extend(names.filter(|name| name != "ECHO" && name != "CLUSTER" && name != "PING"));
        }
        commands
    }
}

impl Drop for Monitor<'_> {
    fn drop(&mut self) {
        for (_, child, _) in &mut self.nodes {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s5_each_call_takes_the_round_trips_that_the_rule_allows_also_on_a_cluster() {
    for server in servers([Kind::Redis, Kind::Valkey, Kind::Cluster], "round trips") {
        let store = node(&server).await;
        // From now on the server has cached the scripts.
        for number in 0..3 {
            create(&store, login(number, second(0))).await;
        }
        create(&store, replacing(login(9, second(1)), sid(0))).await;
        store.update(sid(1), touch(second(1)), None).await.unwrap();
        store.end(sid(9), end(EndReason::SignedOut, second(1)), None).await.unwrap();
        store.list(all()).await.unwrap();
        let other = login_of("bob", tower_tenure::record::Tag::from_bytes(*b"bobbob"), 1, second(0));
        let bob = other.record.sid;
        create(&store, other).await;
        let elsewhere = tower_tenure::record::Tag::from_bytes(*b"carola");
        let subject = Some((elsewhere, "carola".into()));
        store
            .revoke(tower_tenure::store::Revocation { subject, ..revocation(second(0), None) })
            .await
            .unwrap();

        let mut monitor = Monitor::of(&server);
        monitor.commands();
        let mut check = |what: &str, expected: &[&str]| {
            let commands = monitor.commands();
            // No call waits for the updates of a cluster's indexes.
            let beside = ["ZADD", "ZREM", "SADD"];
            let is_beside = |name: &&String| server.kind == Kind::Cluster && beside.contains(&name.as_str());
            let waited: Vec<_> = commands.iter().filter(|name| !is_beside(name)).collect();
            assert_eq!(waited, expected, "{what} on {:?}", server.kind);
        };

        let seen = store.load(sid(1)).await.unwrap().unwrap();
        check("a load", &["HMGET"]);
        store.update(sid(1), write("a", second(2)), Some(seen)).await.unwrap();
        check("a write of what was seen", &["EVALSHA"]);
        let seen = store.load(sid(2)).await.unwrap().unwrap();
        check("a load", &["HMGET"]);
        store.end(sid(2), end(EndReason::SignedOut, second(2)), Some(seen)).await.unwrap();
        check("a logout", &["EVALSHA"]);
        assert!(store.load(sid(2)).await.unwrap().unwrap().ended.is_some());
        check("a load of a tombstone", &["HMGET", "GET"]);
        create(&store, Creation { cap: Some(1000.try_into().unwrap()), ..login(20, second(2)) }).await;
        check("a login under a cap", &["EVALSHA"]);
        create(
            &store,
            Creation { cap: Some(1000.try_into().unwrap()), ..replacing(login(21, second(2)), sid(20)) },
        )
        .await;
        check("a login that replaces another", &["EVALSHA", "EVALSHA"]);
        let capped = |creation| Creation { cap: Some(2.try_into().unwrap()), ..creation };
        let full = store.create(capped(login(22, second(3)))).await.unwrap();
        assert!(matches!(full, CreateOutcome::Full { count: 2, .. }), "{full:?}");
        check("a login that the cap holds back", &["EVALSHA"]);
        let mut evicting = capped(login(22, second(3)));
        evicting.ends.push((sid(21), end(EndReason::Evicted, second(3))));
        create(&store, evicting).await;
        check("a login that evicts", &["EVALSHA", "EVALSHA"]);
        assert_eq!(store.list(all()).await.unwrap().len(), 2);
        check("a list of a user", &["EVALSHA"]);
        store.revoke(revocation(second(4), None)).await.unwrap();
        check("a first revocation of all", &["EVALSHA"]);
        store.revoke(revocation(second(5), None)).await.unwrap();
        check("another", &["EVALSHA", "EVALSHA"]);
        create(&store, login(23, second(6))).await;
        check("a login after a revocation", &["EVALSHA", "EVALSHA"]);
        let seen = store.load(sid(23)).await.unwrap().unwrap();
        check("a load after a revocation", &["HMGET"]);
        store.update(sid(23), touch(second(7)), Some(seen)).await.unwrap();
        check("a touch after a revocation", &["EVALSHA"]);
        store.not_before("x").await.unwrap();
        check("a look at the realm", &["HGET"]);
        store.load(bob).await.unwrap().unwrap();
        check("a load elsewhere", &["HMGET"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s5_scripts_that_the_server_has_forgotten_are_sent_again() {
    for server in servers([Kind::Redis, Kind::Cluster], "forgotten scripts") {
        let store = node(&server).await;
        create(&store, login(1, second(0))).await;
        for port in server.ports() {
            server.ask_at(port, &["SCRIPT", "FLUSH"]);
        }
        let mut monitor = Monitor::of(&server);
        monitor.commands();
        create(&store, login(2, second(0))).await;
        create(&store, login(3, second(0))).await;
        let mut commands = monitor.commands();
        commands.retain(|name| name.starts_with("EVAL"));
        assert_eq!(commands, ["EVALSHA", "EVAL", "EVALSHA"]);
    }
}
