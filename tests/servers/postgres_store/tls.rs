//! `sslmode` and `sslrootcert` against servers with and without TLS (FINDINGS D4).

use std::{fs, process::Command};

use tower_tenure::{
    Error, ErrorKind,
    store::{PostgresOptions, PostgresSslMode, PostgresStore},
};

use crate::common::{
    authority::Authority,
    nodes,
    servers::{Kind, Server},
};

/// A server with a certificate for `localhost` only.
fn encrypted(authority: &Authority, test: &str) -> Option<Server> {
    let [certificate, key] = authority.sign("server", &["localhost"]);
    give_to_postgres(&key);
    let certificate = format!("ssl_cert_file={certificate}");
    let key = format!("ssl_key_file={key}");
    Server::start_with(Kind::Postgres, test, &["-c", "ssl=on", "-c", &certificate, "-c", &key])
}

/// Gives a key to the user that PostgreSQL runs as. PostgreSQL refuses a key that other users can
/// read.
fn give_to_postgres(key: &str) {
    let done = |command: &mut Command| command.status().is_ok_and(|status| status.success());
    assert!(done(Command::new("chmod").arg("600").arg(key)));
    if fs::read_to_string("/proc/self/status").is_ok_and(|status| status.contains("\nUid:\t0\t")) {
        assert!(done(Command::new("chown").arg("postgres").arg(key)));
    }
}

/// Connects by the name in the certificate, or by the address, which is not in it.
fn url(server: &Server, host: &str, query: &str) -> String {
    format!("postgres://postgres:hunter2@{host}:{}/postgres?{query}", server.port())
}

/// Whether the store's connections are encrypted.
async fn connect(server: &Server, host: &str, query: &str) -> Result<bool, Error> {
    let store = PostgresOptions::new(&url(server, host, query))?.connect().await?;
    let encrypted = is_encrypted(server);
    drop(store);
    Ok(encrypted)
}

fn is_encrypted(server: &Server) -> bool {
    let count = |what: &str| {
        server.ask(&[&format!(
            "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
             WHERE application_name = 'tower-tenure' AND {what}"
        )])
    };
    let (with, without) = (count("ssl"), count("NOT ssl"));
    assert!(with == "0" || without == "0", "{with} are encrypted, {without} are not");
    assert_ne!(with, without, "there is a connection");
    without == "0"
}

/// A failure with its causes, in one line.
fn said(error: &dyn std::error::Error) -> String {
    let said = match error.source() {
        Some(source) => format!("{error}: {}", said(source)),
        None => error.to_string(),
    };
    assert!(!said.contains("hunter2") && !said.contains('\n'), "{said}");
    said
}

fn root(path: &str) -> String {
    format!("sslrootcert={path}")
}

#[tokio::test(flavor = "multi_thread")]
async fn d4_each_sslmode_against_a_server_with_tls() {
    let (authority, other) = (Authority::new(), Authority::new());
    let Some(server) = encrypted(&authority, "TLS of PostgreSQL") else { return };
    let (good, wrong) = (root(&authority.root()), root(&other.root()));
    let with = |mode: &str, root: &str| format!("sslmode={mode}&{root}");

    for (host, query, expected) in [
        ("localhost", String::new(), Ok(true)), // prefer
        ("127.0.0.1", "sslmode=disable".into(), Ok(false)),
        ("127.0.0.1", "sslmode=allow".into(), Ok(false)),
        ("127.0.0.1", "sslmode=prefer".into(), Ok(true)),
        ("127.0.0.1", "sslmode=require".into(), Ok(true)),
        ("localhost", "sslmode=require&channel_binding=prefer".into(), Ok(true)),
        // With root certificates, `require` checks the chain, and no name.
        ("127.0.0.1", with("require", &good), Ok(true)),
        ("127.0.0.1", with("require", &wrong), Err("UnknownIssuer")),
        ("127.0.0.1", with("verify-ca", &good), Ok(true)),
        ("localhost", with("verify-ca", &wrong), Err("UnknownIssuer")),
        ("localhost", with("verify-full", &good), Ok(true)),
        ("127.0.0.1", with("verify-full", &good), Err("not valid for name")),
        ("localhost", with("verify-full", &wrong), Err("UnknownIssuer")),
        // Without a file the system's certificates count, which do not include this authority.
        ("localhost", "sslmode=verify-ca".into(), Err("UnknownIssuer")),
        ("localhost", "sslmode=verify-full".into(), Err("UnknownIssuer")),
        ("localhost", "sslrootcert=system".into(), Err("UnknownIssuer")),
        // A man in the middle must not be able to turn the checks off.
        ("localhost", with("prefer", &wrong), Err("UnknownIssuer")),
        ("localhost", with("verify-ca", "sslrootcert=/nowhere.pem"), Err("/nowhere.pem")),
        (
            "localhost",
            with("verify-ca", &root(&server.dir().join("data/PG_VERSION").display().to_string())),
            Err("in PEM"),
        ),
    ] {
        match (connect(&server, host, &query).await, expected) {
            (Ok(encrypted), Ok(expected)) => assert_eq!(encrypted, expected, "{host} {query}"),
            (Err(error), Err(expected)) => {
                let said = said(&error);
                assert!(said.contains(expected), "{host} {query}: {said}");
            }
            (answer, _) => panic!("{host} {query}: {answer:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d4_each_sslmode_against_a_server_without_tls() {
    let Some(server) = Server::start(Kind::Postgres, "PostgreSQL without TLS") else { return };
    for query in ["", "sslmode=disable", "sslmode=allow", "sslmode=prefer"] {
        assert!(!connect(&server, "127.0.0.1", query).await.unwrap(), "{query}");
    }
    for mode in ["require", "verify-ca", "verify-full"] {
        let error = connect(&server, "localhost", &format!("sslmode={mode}")).await.unwrap_err();
        let said = said(&error);
        assert!(error.is_store_failure() && said.contains("does not support TLS"), "{mode}: {said}");
    }
    // As in libpq, a Unix socket is not encrypted, whatever the mode.
    let socket = server.dir().display().to_string().replace('/', "%2F");
    let url = format!("postgres://postgres@{socket}:{}/postgres?sslmode=verify-full", server.port());
    PostgresStore::connect(&url).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn d4_allow_encrypts_where_the_server_insists_and_every_connection_is_encrypted() {
    let authority = Authority::new();
    let Some(server) = encrypted(&authority, "TLS by options") else { return };
    let hba = server.dir().join("data/pg_hba.conf");
    let lines = format!(
        "COPY (SELECT unnest(ARRAY['hostssl all all 127.0.0.1/32 trust', 'local all all trust'])) TO '{}'",
        hba.display()
    );
    server.ask(&[&lines, "SELECT pg_reload_conf()"]);
    crate::common::servers::until("the server insists on TLS", || {
        server.ask(&["SELECT 1"]) == "1" && std::fs::read_to_string(&hba).unwrap().starts_with("hostssl")
    });
    assert!(connect(&server, "127.0.0.1", "sslmode=allow").await.unwrap());
    let error = connect(&server, "127.0.0.1", "sslmode=disable").await.unwrap_err();
    assert!(said(&error).contains("no encryption"), "{}", said(&error));

    let pem = std::fs::read(authority.root()).unwrap();
    let options = PostgresOptions::new(&url(&server, "localhost", "")).unwrap();
    let options = options.with_ssl_mode(PostgresSslMode::VerifyFull).with_root_certificate_pem(&pem).unwrap();
    assert_eq!(options.clone().with_root_certificate_pem(b"").unwrap_err().kind(), ErrorKind::Configuration);
    let [here, there] = [options.clone().connect().await.unwrap(), options.connect().await.unwrap()];
    // The same holds for the listening connection.
    nodes::are_woken_by_new_settings(&here, &there).await;
    assert!(is_encrypted(&server));
}
