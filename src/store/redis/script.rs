//! The scripts: called by digest, and sent whole to a server that does not know them.

use redis::{Cmd, ToRedisArgs, Value};

use super::{
    connection::{Connection, ServerReply},
    error::failed_in_script,
    marks::stamp_bytes,
};
use crate::Error;

/// All of them.
pub(super) struct Scripts {
    pub(super) create: Script,
    pub(super) commit: Script,
    pub(super) write: Script,
    pub(super) end: Script,
    pub(super) list: Script,
    pub(super) mark: Script,
    pub(super) schedule: Script,
    pub(super) forward: Script,
    pub(super) save: Script,
    pub(super) meta: Script,
}

/// A script that uses what `place.lua` defines.
macro_rules! about_a_place {
    ($file:literal) => {
        Script::new(concat!(include_str!("scripts/place.lua"), include_str!($file)))
    };
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            create: about_a_place!("scripts/create.lua"),
            commit: about_a_place!("scripts/commit.lua"),
            write: Script::new(include_str!("scripts/write.lua")),
            end: about_a_place!("scripts/end.lua"),
            list: about_a_place!("scripts/list.lua"),
            mark: about_a_place!("scripts/mark.lua"),
            schedule: Script::new(include_str!("scripts/schedule.lua")),
            forward: Script::new(include_str!("scripts/forward.lua")),
            save: Script::new(include_str!("scripts/save.lua")),
            meta: Script::new(include_str!("scripts/meta.lua")),
        }
    }
}

/// A script and its digest.
pub(super) struct Script {
    text: &'static str,
    digest: String,
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, digest: redis::Script::new(text).get_hash().to_owned() }
    }

    /// A call with these keys. The first key selects the node of a cluster.
    pub(super) fn call(&self, keys: &[&[u8]]) -> ScriptCall<'_> {
        let mut command = Cmd::with_capacity(16, 512);
        command.arg("EVALSHA").arg(&self.digest).arg(keys.len());
        for key in keys {
            command.arg(*key);
        }
        ScriptCall { script: self, command }
    }
}

/// A call of a script.
#[must_use]
pub(super) struct ScriptCall<'a> {
    script: &'a Script,
    command: Cmd,
}

impl ScriptCall<'_> {
    pub(super) fn arg(mut self, argument: impl ToRedisArgs) -> Self {
        self.command.arg(argument);
        self
    }

    /// The stamp of marks.
    pub(super) fn stamp(self, stamp: u32) -> Self {
        self.arg(stamp_bytes(&stamp.to_be_bytes()))
    }

    /// Empty for `None`.
    pub(super) fn optional(self, argument: Option<impl ToRedisArgs>) -> Self {
        match argument {
            Some(argument) => self.arg(argument),
            None => self.arg(""),
        }
    }

    /// Runs it in one round trip, or in two if the server does not have the script yet.
    pub(super) async fn run(self, connection: &Connection) -> Result<ServerReply, Error> {
        let refused = |error| failed_in_script(&error, self.script.text);
        let answer = connection.ask(&self.command).await.map_err(refused)?;
        let Value::ServerError(_) = answer.value else { return Ok(answer) };
        // The server has forgotten the script, or never knew it: once after a start.
        let whole = self.whole();
        let again = Box::pin(connection.ask(&whole)).await.map_err(refused)?;
        Ok(ServerReply { is_repeated: again.is_repeated || answer.is_repeated, ..again })
    }

    fn whole(&self) -> Cmd {
        let mut whole = redis::cmd("EVAL");
        whole.arg(self.script.text);
        for argument in self.command.args_iter().skip(2) {
            if let redis::Arg::Simple(bytes) = argument {
                whole.arg(bytes);
            }
        }
        whole
    }
}
