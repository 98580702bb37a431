//! Failures, as far as they may be repeated.

use redis::{ErrorKind, RedisError};

use crate::Error;

/// What these codes come with is the server's own text, without anything that was sent. That of `ERR` may quote arguments,
/// and arguments are sessions (H5).
const SAFE: [&str; 12] = [
    "NOPERM",
    "NOAUTH",
    "WRONGPASS",
    "DENIED",
    "OOM",
    "READONLY",
    "LOADING",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "MISCONF",
    "NOREPLICAS",
    "BUSY",
];

/// How the server says, within a script, that its user lacks a right.
const RIGHTS: [&str; 3] =
    ["ACL failure in script", "The user executing the script can't", "This user has no permissions"];

/// A call that failed.
pub(super) fn failed(error: &RedisError) -> Error {
    let detail = error.detail().unwrap_or_default();
    Error::store(match error.code() {
        Some(code) if SAFE.contains(&code) || RIGHTS.iter().any(|text| detail.starts_with(text)) => {
            format!("the server said {code} {detail}")
        }
        Some(code) => format!("the server said {code}"),
        None if error.is_timeout() => "the server did not answer in time".to_owned(),
        None if error.is_io_error() => format!("no connection to the server: {error}"),
        None => error.category().to_owned(),
    })
}

/// A script that failed. A server says in which line its user lacks a right, and not which; we know what the line does.
pub(super) fn failed_in_script(error: &RedisError, script: &str) -> Error {
    let detail = error.detail().unwrap_or_default();
    if !RIGHTS.iter().any(|text| detail.starts_with(text)) {
        return failed(error);
    }
    let line = detail
        .rsplit_once("@user_script:")
        .and_then(|(_, line)| line.split(|c: char| !c.is_ascii_digit()).next());
    let line = line.and_then(|line| script.lines().nth(line.parse::<usize>().ok()?.checked_sub(1)?));
    let commands: Vec<_> =
        line.unwrap_or_default().split("call('").skip(1).filter_map(|call| call.split('\'').next()).collect();
    let commands =
        if commands.is_empty() { "a command of a script".to_owned() } else { commands.join(" or ") };
    let code = error.code().unwrap_or_default();
    Error::store(format!(
        "the server's user lacks a right, to run {commands} or to use its keys; it said {code} {detail}"
    ))
}

/// The first words with a server, before anything of a session was sent: they may be repeated whole.
pub(super) fn not_connected(error: &RedisError) -> Error {
    let message = match (error.code(), error.detail()) {
        _ if error.is_timeout() => "the server did not answer in time".to_owned(),
        (Some(code), Some(detail)) => format!("the server said {code} {detail}"),
        _ if error.kind() == ErrorKind::AuthenticationFailed => {
            format!(
                "the server did not let us in, authentication failed: {}",
                error.detail().unwrap_or("wrong user or password")
            )
        }
        _ => error.to_string(),
    };
    Error::store(message)
}
