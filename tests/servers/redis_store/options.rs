//! How a store is named and connected, and the messages for what is wrong (D3, D7, H5).

use std::error::Error as _;

use tower_tenure::{
    ErrorKind, SessionStore,
    store::{RedisOptions, RedisStore},
};

use super::{create, node};
use crate::common::{
    authority::Authority,
    nodes,
    servers::{self, Kind, Server},
    store::{login, second, sid, write},
};

#[tokio::test]
async fn what_is_no_server_is_refused_without_its_password() {
    for url in [
        "",
        "redis://",
        "http://me:hunter2@cache",
        "redis://me:hunter2@cache:port",
        "redis+cluster://me:hunter2@",
        "redis+cluster://me:hunter2@one:6379,two:port",
        "rediss://me:hunter2@cache/#insecure",
        "unix://",
        "unix:///run/redis.sock?db=hunter2",
        "unix+cluster:///run/redis.sock?pass=hunter2",
    ] {
        let error = RedisOptions::new(url).unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(error.kind() == ErrorKind::Configuration && !said.contains("hunter2"), "{url}: {said}");
    }
    for url in ["redis://me:hunter2@127.0.0.1:1/2", "redis+cluster://me:hunter2@127.0.0.1:1,127.0.0.1:2"] {
        let options = RedisOptions::new(url).unwrap();
        assert!(
            !format!("{options:?}").contains("hunter2") && format!("{options:?}").contains("127.0.0.1:1")
        );
        let error = options.connect().await.unwrap_err();
        assert!(error.is_store_failure() && !format!("{error:?}").contains("hunter2"), "{error:?}");
    }
    let options = RedisOptions::new("redis://127.0.0.1").unwrap();
    for prefix in ["", "a b", "{tag}", &"x".repeat(65)] {
        assert!(options.clone().with_prefix(prefix).is_err(), "{prefix}");
    }
}

#[test]
fn d7_options_show_hosts_and_neither_user_nor_password() {
    for (url, shown) in [
        ("redis://secretuser:hunter2@cache", "cache:6379"),
        ("redis://secretuser:hunter2@cache/3", "cache:6379"),
        ("rediss://secretuser:hunter2@cache:7", "cache:7"),
        ("redis://:hunter2@cache", "cache:6379"),
        ("redis://secretuser:hunter%3A2%40x%2Fy@cache", "cache:6379"),
        ("redis+cluster://secretuser:hunter2@one,two", "two:6379"),
        ("valkey://secretuser:hunter2@[::1]", "::1"),
        ("unix:///run/redis@1.sock?user=secretuser&pass=hunter2", "/run/redis@1.sock"),
    ] {
        let debug = format!("{:?}", RedisOptions::new(url).unwrap());
        assert!(debug.contains(shown), "{debug}");
        assert!(!debug.contains("hunter") && !debug.contains("secretuser"), "{debug}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h5_what_the_server_says_of_a_failure_quotes_no_data() {
    let Some(server) = Server::start(Kind::Redis, "failures of Redis") else { return };
    let store = node(&server).await;
    create(&store, login(1, second(0))).await;
    let key = server.ask(&["KEYS", "tenure{*"]);
    let all = "local k = redis.call('HKEYS', KEYS[1]) redis.call('HSET', KEYS[1], k[1], 'hunter2')";
    server.ask(&["EVAL", all, "1", &key]);
    let error = store.load(sid(1)).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    server.ask(&["SET", &key, "hunter2"]);
    for error in [
        store.load(sid(1)).await.unwrap_err(),
        store.update(sid(1), write("hunter2", second(1)), None).await.unwrap_err(),
        store.create(login(2, second(0))).await.unwrap_err(),
    ] {
        assert!(error.is_store_failure() && !format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
}

/// The log of a failed connect.
async fn refusal(url: &str) -> String {
    let error = RedisStore::connect(url).await.unwrap_err();
    let source = error.source().map(ToString::to_string).unwrap_or_default();
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    format!("{error}: {source}")
}

#[tokio::test(flavor = "multi_thread")]
async fn d3_what_the_server_says_at_the_first_connect_is_kept() {
    for kind in [Kind::Redis, Kind::Valkey] {
        let Some(server) = Server::start(kind, "first connects") else { continue };
        let port = server.port();
        let said = refusal(&format!("redis://127.0.0.1:{port}/77")).await;
        assert!(said.contains("DB index is out of range"), "{said}");
        server.ask(&["CONFIG", "SET", "requirepass", "hunter2"]);
        let said = refusal(&format!("redis://127.0.0.1:{port}")).await;
        assert!(said.contains("NOAUTH") && said.contains("Authentication required"), "{said}");
        let said = refusal(&format!("redis://:nothunter@127.0.0.1:{port}")).await;
        assert!(said.contains("authentication failed"), "{said}");
        let said = refusal(&format!("redis://127.0.0.1:{}", servers::free_port())).await;
        assert!(said.contains("refused"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s7_a_unix_socket_is_a_server_like_any_other() {
    let socket = std::env::temp_dir().join(format!("tenure@{}.sock", std::process::id()));
    let path = socket.display().to_string();
    let flags = ["--unixsocket", &*path, "--requirepass", "hunter2"];
    for kind in [Kind::Redis, Kind::Valkey] {
        let Some(mut server) = Server::start_with_password(kind, "a Unix socket", &flags, "hunter2") else {
            continue;
        };
        for scheme in ["unix", "redis+unix"] {
            let [here, there] = [(); 2].map(|()| format!("{scheme}://{path}?db=3&pass=hunter2"));
            let here = RedisStore::connect(&here).await.unwrap();
            let there = RedisStore::connect(&there).await.unwrap();
            nodes::are_woken_by_new_settings(&here, &there).await;
        }
        let said = refusal(&format!("unix://{path}?db=3")).await;
        assert!(said.contains("Authentication required"), "{said}");
        let store = RedisStore::connect(&format!("unix://{path}?pass=hunter2")).await.unwrap();
        server.restart();
        create(&store, login(1, second(0))).await;
        assert!(store.load(sid(1)).await.unwrap().is_some(), "it has connected again");
    }
    let said = refusal(&format!("unix://{path}.missing")).await;
    assert!(said.contains("No such file"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s7_tls_by_rustls_checks_the_chain_and_the_name() {
    let (authority, other) = (Authority::new(), Authority::new());
    let [certificate, key] = authority.sign("server", &["127.0.0.1"]);
    let port = servers::free_port().to_string();
    let flags = ["--tls-port", &port, "--tls-cert-file", &certificate, "--tls-key-file", &key];
    let flags = [&flags[..], &["--tls-auth-clients", "no"]].concat();
    let Some(_server) = Server::start_with(Kind::Redis, "TLS", &flags) else { return };
    let [ours, theirs] = [&authority, &other].map(|authority| std::fs::read(authority.root()).unwrap());
    let options = |host: &str| RedisOptions::new(&format!("rediss://{host}:{port}")).unwrap();
    let trusting = |host: &str, pem: &[u8]| options(host).with_root_certificate_pem(pem).unwrap();

    let store = trusting("127.0.0.1", &ours).connect().await.unwrap();
    create(&store, login(1, second(0))).await;
    assert!(store.load(sid(1)).await.unwrap().is_some());
    for (refused, why) in [
        (options("127.0.0.1"), "the system does not know its authority"),
        (trusting("127.0.0.1", &theirs), "another authority"),
        (trusting("localhost", &ours), "another name"),
    ] {
        assert!(refused.connect().await.unwrap_err().is_store_failure(), "{why}");
    }
    assert!(options("127.0.0.1").with_root_certificate_pem(b"nonsense").is_err());
}
