//! A client of the example that keeps its cookie.

#[path = "../src/messages.rs"]
mod messages;

mod services {
    include!(concat!(env!("OUT_DIR"), "/example.Logins.rs"));
    include!(concat!(env!("OUT_DIR"), "/example.Account.rs"));
}

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use tonic::{
    Code, Request, Status,
    metadata::{AsciiMetadataValue, MetadataMap},
    transport::{Channel, Endpoint},
};

use crate::{
    messages::{Empty, User},
    services::{account_client::AccountClient, logins_client::LoginsClient},
};

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn start() -> (Running, Channel) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_grpc"));
    let mut process = command.arg("127.0.0.1:0").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let running = Running(process);
    let url = line.trim_end().strip_prefix("listening on ").unwrap().to_owned();
    (running, Endpoint::from_shared(url).unwrap().connect().await.unwrap())
}

/// The cookie that an answer sets, or the empty text with which it removes one.
fn cookie(metadata: &MetadataMap) -> AsciiMetadataValue {
    let line = metadata.get("set-cookie").expect("the answer sets a cookie").to_str().unwrap();
    assert!(line.starts_with("__Host-id=") && line.contains("HttpOnly"), "{line}");
    line.split(';').next().unwrap().parse().unwrap()
}

fn with<T>(message: T, cookie: &AsciiMetadataValue) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("cookie", cookie.clone());
    request
}

fn denied(status: &Status) -> bool {
    (status.code(), status.message()) == (Code::Unauthenticated, "log in first")
}

#[tokio::test]
async fn a_session_lasts_from_the_login_to_the_logout_and_a_stream_ends_with_it() {
    let (_running, channel) = start().await;
    let (mut logins, mut account) = (LoginsClient::new(channel.clone()), AccountClient::new(channel));
    assert!(denied(&account.who_am_i(Empty {}).await.unwrap_err()));
    assert!(denied(&account.watch(Empty {}).await.unwrap_err()));

    let answer = logins.log_in(User { name: "ada".to_owned() }).await.unwrap();
    let ada = cookie(answer.metadata());
    assert_eq!(account.who_am_i(with(Empty {}, &ada)).await.unwrap().into_inner().name, "ada");
    assert!(denied(&account.who_am_i(Empty {}).await.unwrap_err()), "without the cookie");
    let mut ticks = account.watch(with(Empty {}, &ada)).await.unwrap().into_inner();
    assert_eq!(ticks.message().await.unwrap().unwrap().count, 0);

    account.log_out(with(Empty {}, &ada)).await.unwrap();
    let status = loop {
        match ticks.message().await {
            Ok(tick) => assert!(tick.is_some(), "the stream ended as if it were complete"),
            Err(status) => break status,
        }
    };
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "signed_out"));
    let status = account.who_am_i(with(Empty {}, &ada)).await.unwrap_err();
    assert!(denied(&status));
    assert_eq!(cookie(status.metadata()), "__Host-id=", "the client can forget it");
}
