//! `examples/streams.rs`: open streams close when the session ends.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::Command,
};

use crate::common::{
    client::Browser,
    demo::{self, Demo},
};

/// A minimal WebSocket client: frames of at most 125 bytes.
struct Socket(BufReader<TcpStream>);

impl Socket {
    fn open(browser: &Browser) -> (String, Self) {
        let origin = format!("Origin: http://{}", browser.address);
        let headers = [
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            &origin,
        ];
        Self::open_with(browser, &headers)
    }

    fn open_with(browser: &Browser, headers: &[&str]) -> (String, Self) {
        let mut stream = BufReader::new(browser.connect("GET /socket", headers, b"").unwrap());
        let head = until_blank(&mut stream);
        (head.split(' ').nth(1).unwrap().to_owned(), Self(stream))
    }

    fn send(&mut self, text: &str) {
        // Masked with zeros (RFC 6455, section 5.3), which leaves the payload unchanged.
        let head = [0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0];
        self.0.get_mut().write_all(&[&head, text.as_bytes()].concat()).unwrap();
    }

    /// The opcode and the content of the next frame.
    fn receive(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).unwrap();
        let mut content = vec![0; head[1].into()];
        self.0.read_exact(&mut content).unwrap();
        (head[0] & 0x0f, content)
    }
}

fn until_blank(stream: &mut impl BufRead) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(stream.read_line(&mut head).unwrap(), 0, "{head}");
    }
    head
}

#[test]
fn h4_the_streams_of_the_example_end_with_the_session() {
    let example = Demo::spawn(Command::new(demo::built("streams")).arg("127.0.0.1:0"));
    let (mut ada, mut bob) = (example.browser(), example.browser());
    assert_eq!(ada.get("/events").status, 401);
    assert_eq!(Socket::open(&ada).0, "401");
    ada.post("/login/ada");
    bob.post("/login/bob");

    let mut events = BufReader::new(ada.connect("GET /events", &[], b"").unwrap());
    assert!(until_blank(&mut events).contains("text/event-stream"));
    let (status, mut socket) = Socket::open(&ada);
    assert_eq!(status, "101");
    socket.send("hello");
    assert_eq!(socket.receive(), (1, b"hello".to_vec()));
    let (_, mut of_bob) = Socket::open(&bob);

    assert_eq!(ada.post("/logout").status, 200);
    let mut rest = String::new();
    events.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("data: 0"), "{rest}");
    let mut close = 1008_u16.to_be_bytes().to_vec();
    close.extend(b"signed_out");
    assert_eq!(socket.receive(), (8, close));
    of_bob.send("still here");
    assert_eq!(of_bob.receive(), (1, b"still here".to_vec()));
}

#[test]
fn h4_a_page_of_another_site_opens_no_socket_of_the_example() {
    let example = Demo::spawn(Command::new(demo::built("streams")).arg("127.0.0.1:0"));
    let mut ada = example.browser();
    ada.post("/login/ada");
    let upgrade =
        ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA=="];
    for origin in ["Origin: http://evil.example", "Origin: null", "X-Origin: none"] {
        assert_eq!(Socket::open_with(&ada, &[&upgrade[..], &[origin]].concat()).0, "403", "{origin}");
    }
}
