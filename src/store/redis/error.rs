//! Error messages that cannot contain session data.

use redis::{ErrorKind, RedisError};

use crate::Error;

/// The text of these codes is the server's own. That of `ERR` may quote arguments, which contain
/// sessions (H5).
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

/// The server's messages for a missing permission within a script.
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

/// A script that failed. For a missing permission, the server reports the line; the script says
/// which command is on it.
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
        "the server's user lacks a permission, to run {commands} or to use its keys; the server said {code} {detail}"
    ))
}

/// A failure to connect. Nothing of a session was sent, so the message is safe to quote.
pub(super) fn not_connected(error: &RedisError) -> Error {
    let message = match (error.code(), error.detail()) {
        _ if error.is_timeout() => "the server did not answer in time".to_owned(),
        (Some(code), Some(detail)) => format!("the server said {code} {detail}"),
        _ if error.kind() == ErrorKind::AuthenticationFailed => {
            format!(
                "authentication failed, check user and password: {}",
                error.detail().unwrap_or("wrong user or password")
            )
        }
        _ => error.to_string(),
    };
    Error::store(message)
}
