//! A client of the demo: plain HTTP and a jar for one cookie.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};

use super::{authority::HOST, demo::Demo};

impl Demo {
    pub fn browser(&self) -> Browser {
        Browser::at(self.address)
    }
}

/// A client with a jar for one cookie.
#[derive(Clone)]
pub struct Browser {
    pub address: SocketAddr,
    pub cookie: Option<String>,
    /// The `Host` of its requests, if it differs from the address.
    pub host: Option<String>,
    /// How long it waits for an answer.
    pub patience: Duration,
}

pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// Reads from a connection until it is closed. `None` without a complete head.
    fn parse(raw: Vec<u8>) -> Option<Self> {
        let raw = String::from_utf8(raw).ok()?;
        let (head, body) = raw.split_once("\r\n\r\n")?;
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        Some(Self { status, headers, body: body.to_owned() })
    }

    pub fn header(&self, wanted: &str) -> Option<&str> {
        self.headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| &**value)
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.body))
    }

    pub fn reason(&self) -> (u16, String) {
        (self.status, self.json()["reason"].as_str().unwrap_or_default().to_owned())
    }
}

/// Sends one request over TLS to the site of [`HOST`], which is at this address.
///
/// # Errors
///
/// If the server cannot be reached or is not trusted.
pub fn send_over_tls(
    address: SocketAddr,
    tls: &Arc<ClientConfig>,
    line: &str,
    headers: &[&str],
    body: &[u8],
) -> io::Result<Answer> {
    let host = ServerName::try_from(HOST).expect("a name");
    let connection = ClientConnection::new(Arc::clone(tls), host).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, TcpStream::connect(address)?);
    stream.sock.set_read_timeout(Some(Duration::from_secs(15)))?;
    let (host, length) =
        (format!("Host: {HOST}:{}", address.port()), format!("Content-Length: {}", body.len()));
    let first = format!("{line} HTTP/1.1");
    let lines = [&[&*first, &*host, &*length], headers, &["Connection: close", "", ""]].concat();
    stream.write_all(lines.join("\r\n").as_bytes())?;
    stream.write_all(body)?;
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw)?;
    Answer::parse(raw).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

pub const FORM: &str = "Content-Type: application/x-www-form-urlencoded";
pub const JSON: &str = "Accept: application/json";
pub const PASSIVE: &str = "Session-Activity: passive";

impl Browser {
    pub const fn at(address: SocketAddr) -> Self {
        Self { address, cookie: None, host: None, patience: Duration::from_secs(15) }
    }

    /// Sends a request and returns the raw response.
    pub fn connect(&self, line: &str, headers: &[&str], body: &[u8]) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(self.patience))?;
        let host = self.host.clone().unwrap_or_else(|| self.address.to_string());
        let mut head = format!("{line} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n", body.len());
        if let Some(cookie) = &self.cookie {
            head += "Cookie: ";
            head += cookie;
            head += "\r\n";
        }
        for header in headers {
            head += header;
            head += "\r\n";
        }
        head += "Connection: close\r\n\r\n";
        // A server that refuses a long body may close the connection before it has read it.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        Ok(stream)
    }

    /// `None` without a complete head: the server is gone or took too long.
    pub fn try_send(&mut self, line: &str, headers: &[&str], body: &[u8]) -> Option<Answer> {
        let mut raw = Vec::new();
        let _ = self.connect(line, headers, body).ok()?.read_to_end(&mut raw);
        let answer = Answer::parse(raw)?;
        for (_, set) in answer.headers.iter().filter(|(name, _)| name == "set-cookie") {
            let pair = set.split(';').next().unwrap_or_default().to_owned();
            self.cookie = (!pair.ends_with('=')).then_some(pair);
        }
        Some(answer)
    }

    pub fn send(&mut self, line: &str, headers: &[&str], body: &[u8]) -> Answer {
        self.try_send(line, headers, body).unwrap_or_else(|| panic!("no answer to {line}"))
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.send(&format!("GET {path}"), &[], b"")
    }

    pub fn post(&mut self, path: &str) -> Answer {
        self.send(&format!("POST {path}"), &[], b"")
    }

    pub fn login(&mut self, form: &str) -> Answer {
        self.send("POST /login", &[FORM, JSON], form.as_bytes())
    }

    pub fn put(&mut self, path: &str, text: &str) -> Answer {
        self.send(&format!("PUT {path}"), &[], text.as_bytes())
    }
}
