//! The demo over TLS (SPEC Q).

#![expect(clippy::disallowed_methods, reason = "these tests look at the clock")]

use std::{
    fs,
    io::Write,
    net::TcpStream,
    process::Stdio,
    time::{Duration, Instant},
};

use crate::common::{
    authority::{Authority, HOST},
    client::{FORM, JSON, send_over_tls},
    demo::{Demo, command},
    servers::signal,
};

const LOGIN: (&str, &[u8]) = ("POST /login", b"user=ada");

#[test]
fn q_the_demo_serves_https_and_slow_or_broken_handshakes_delay_no_other_client() {
    let authority = Authority::new();
    let mut demo = Demo::start(&[&authority.flag()]);
    assert_eq!((&*demo.scheme, &*Demo::start(&[]).scheme), ("https", "http"));
    let (address, tls) = (demo.address, authority.client_config());
    // Clients that send nothing, send something else than TLS, or disconnect in the middle.
    let mut slow: Vec<_> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    for stream in slow.iter_mut().take(30) {
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    }
    for mut stream in slow.drain(30..60) {
        stream.write_all(b"\x16\x03\x01").unwrap();
    }
    let send = |line: &str, headers: &[&str], body: &[u8]| {
        send_over_tls(address, &tls, line, headers, body).expect("an answer")
    };
    let started = Instant::now();
    let origin = |scheme: &str| format!("Origin: {scheme}://{HOST}:{}", address.port());
    assert_eq!(send(LOGIN.0, &[FORM, JSON, &origin("http")], LOGIN.1).status, 403, "another origin");
    let answer = send(LOGIN.0, &[FORM, JSON, &origin("https")], LOGIN.1);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap();
    let me = send("GET /me", &[&format!("Cookie: {cookie}")], b"");
    assert_eq!((me.status, me.json()["user"].as_str()), (200, Some("ada")));
    let extend = |origin: &str| send("POST /session/extend", &[&format!("Cookie: {cookie}"), origin], b"");
    assert_eq!(extend(&origin("http")).status, 403);
    assert_eq!(extend(&origin("https")).status, 200);

    // Other clients can still complete the handshake.
    let asked = Instant::now();
    signal("TERM", demo.process.id());
    assert_eq!(demo.process.wait().unwrap().code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

#[test]
fn q_certificates_and_bindings_that_cannot_be_used_are_one_line_and_exit_code_2() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (cert, key) = (authority.file("site.pem"), authority.file("site.key"));
    let junk = authority.file("junk.pem");
    fs::write(&junk, "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").unwrap();
    let empty = authority.file("empty.pem");
    fs::write(&empty, "").unwrap();
    let not_a_certificate = authority.file("almost.pem");
    fs::write(&not_a_certificate, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let tls = |cert: &str, key: &str| format!("--tls={cert},{key}");
    for (flags, says) in [
        (vec!["--tls=cert.pem".to_owned()], "two PEM files"),
        (vec![tls("/no/such/cert.pem", &key)], "cannot read /no/such/cert.pem"),
        (vec![tls(&cert, "/no/such/key.pem")], "cannot read /no/such/key.pem"),
        (vec![tls("", &key)], "cannot read"),
        (vec![tls(&key, &key)], "is not a PEM file with a certificate"),
        (vec![tls(&cert, &cert)], "is not a PEM file with a private key"),
        (vec![tls(&junk, &key)], "is not a PEM file with a certificate"),
        (vec![tls(&empty, &key)], "is not a PEM file with a certificate"),
        (vec![tls(&not_a_certificate, &key)], "cannot be used"),
        (vec![tls(&cert, &other.file("site.key"))], "cannot be used"),
        (vec!["--bind=always".to_owned()], "--bind: use observe or enforce"),
        (vec!["--bind".to_owned()], "--bind"),
        (vec!["--bound-cookie=5m".to_owned()], "--bound-cookie: needs --bind"),
        (vec!["--bind=observe".to_owned(), "--bound-cookie=0s".to_owned()], "--bound-cookie"),
        (vec!["--bind=observe".to_owned(), "--bound-cookie=999ms".to_owned()], "--bound-cookie"),
        (vec!["--bind=observe".to_owned(), "--bound-cookie=25h".to_owned()], "--bound-cookie"),
        (vec!["--bound-cookie=soon".to_owned(), "--bind=observe".to_owned()], "--bound-cookie"),
    ] {
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        let output = command(&flags).stdout(Stdio::piped()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{flags:?}: {said}");
        assert!(said.contains(says) && output.stdout.is_empty(), "{flags:?}: {said}");
    }
    let output = command(&[]).env("TENURE_BOUND_COOKIE", "5m").output().unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("TENURE_BOUND_COOKIE: needs --bind"));
}
