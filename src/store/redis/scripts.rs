//! The scripts: one for each operation, called by their digest, sent whole to a server that does not know them.

use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, ToRedisArgs, Value};

use super::connection::Connection;
use crate::{Error, record::Edits};

/// All of them, with their digests.
pub(super) struct Scripts {
    pub(super) create: Script,
    pub(super) load: Script,
    pub(super) update: Script,
    pub(super) end: Script,
    pub(super) list: Script,
    pub(super) end_subject: Script,
    pub(super) sweep: Script,
    pub(super) admit: Script,
    pub(super) save_settings: Script,
}

/// An operation, after what all of them share.
macro_rules! operation {
    ($file:literal) => {
        Script::new(concat!(include_str!("scripts/common.lua"), include_str!($file)))
    };
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            create: operation!("scripts/create.lua"),
            load: operation!("scripts/load.lua"),
            update: operation!("scripts/update.lua"),
            end: operation!("scripts/end.lua"),
            list: operation!("scripts/list.lua"),
            end_subject: operation!("scripts/end_subject.lua"),
            sweep: operation!("scripts/sweep.lua"),
            admit: Script::new(include_str!("scripts/admit.lua")),
            save_settings: Script::new(include_str!("scripts/save_settings.lua")),
        }
    }
}

/// A script, and the digest that it is called by.
pub(super) struct Script {
    text: &'static str,
    digest: String,
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, digest: redis::Script::new(text).get_hash().to_owned() }
    }
}

/// A call of a script: one key, by which a cluster finds the node, and arguments.
pub(super) struct Call<'a> {
    script: &'a Script,
    by_digest: Cmd,
}

impl<'a> Call<'a> {
    pub(super) fn new(script: &'a Script, key: &str) -> Self {
        let mut by_digest = redis::cmd("EVALSHA");
        by_digest.arg(&script.digest).arg(1).arg(key);
        Self { script, by_digest }
    }

    pub(super) fn arg(mut self, argument: impl ToRedisArgs) -> Self {
        self.by_digest.arg(argument);
        self
    }

    /// Empty when there is none.
    pub(super) fn optional(self, argument: Option<impl ToRedisArgs>) -> Self {
        match argument {
            Some(argument) => self.arg(argument),
            None => self.arg(""),
        }
    }

    /// The arguments that `edit` in the scripts reads: how many are set, names and values, names to remove.
    pub(super) fn edits(mut self, edits: &Edits) -> Self {
        let set: Vec<_> = edits.iter().filter_map(|(name, value)| Some((name, value?))).collect();
        self = self.arg(set.len());
        for (name, value) in set {
            self = self.arg(name).arg(value.as_str());
        }
        for (name, _) in edits.iter().filter(|(_, value)| value.is_none()) {
            self = self.arg(name);
        }
        self
    }

    /// Runs it: in one round trip, or in two on a server that has just been started or told to forget.
    pub(super) async fn run(self, connection: &Connection) -> Result<Value, Error> {
        match connection.ask(&self.by_digest).await {
            Err(error) if is_forgotten(&error) => {
                connection.ask(&self.whole()).await.map_err(|error| failed(&error))
            }
            answer => answer.map_err(|error| failed(&error)),
        }
    }

    fn whole(&self) -> Cmd {
        let mut whole = redis::cmd("EVAL");
        whole.arg(self.script.text);
        for argument in self.by_digest.args_iter().skip(2) {
            if let redis::Arg::Simple(bytes) = argument {
                whole.arg(bytes);
            }
        }
        whole
    }
}

fn is_forgotten(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// Keeps what kind of failure it was. What the server or the driver says of it may quote a session (H5).
pub(super) fn failed(error: &RedisError) -> Error {
    match error.code() {
        Some(code) => Error::store(format!("the server said {code}")),
        None if error.is_timeout() => Error::store("the server did not answer in time"),
        None => Error::store(error.category().to_owned()),
    }
}
