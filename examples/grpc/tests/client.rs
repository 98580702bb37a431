//! A client of the example that keeps its cookie.

#[path = "../src/messages.rs"]
mod messages;

mod accounts {
    include!(concat!(env!("OUT_DIR"), "/example.Accounts.rs"));
}

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use tonic::{Code, Request, metadata::AsciiMetadataValue, transport::Channel};

use crate::{
    accounts::accounts_client::AccountsClient,
    messages::{Empty, User},
};

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn start() -> (Running, AccountsClient<Channel>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_grpc"));
    let mut process = command.arg("127.0.0.1:0").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let running = Running(process);
    let url = line.trim_end().strip_prefix("listening on ").unwrap().to_owned();
    (running, AccountsClient::connect(url).await.unwrap())
}

fn with_cookie<T>(message: T, cookie: &AsciiMetadataValue) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("cookie", cookie.clone());
    request
}

#[tokio::test]
async fn a_session_of_grpc_lasts_from_the_login_to_the_logout() {
    let (_running, mut client) = start().await;
    let status = client.who_am_i(Empty {}).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "none"));

    let answer = client.log_in(User { name: "ada".to_owned() }).await.unwrap();
    let line = answer.metadata().get("set-cookie").unwrap().to_str().unwrap();
    assert!(line.contains("HttpOnly") && line.contains("Secure"), "{line}");
    let cookie = line.split(';').next().unwrap().parse().unwrap();
    let user = client.who_am_i(with_cookie(Empty {}, &cookie)).await.unwrap().into_inner();
    assert_eq!(user.name, "ada");
    assert_eq!(client.who_am_i(Empty {}).await.unwrap_err().code(), Code::Unauthenticated, "nobody else");

    client.log_out(with_cookie(Empty {}, &cookie)).await.unwrap();
    let status = client.who_am_i(with_cookie(Empty {}, &cookie)).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "signed_out"));
}
