//! The stores that outlive the demo's process, as values of `--store`.

use std::{env, fs, path::PathBuf, process};

use super::servers::{Kind, Server};

/// A store with its server or folder, which is removed on drop.
pub enum Backend {
    Sqlite(PathBuf),
    Server(Server),
}

impl Backend {
    pub fn sqlite(test: &str) -> Self {
        let dir = env::temp_dir().join(format!("tenure-{test}-{}", process::id()));
        fs::create_dir_all(&dir).expect("a temporary directory can be made");
        Self::Sqlite(dir)
    }

    /// `None`, with a message on stderr, if the server is not installed.
    pub fn server(kind: Kind, test: &str) -> Option<Self> {
        Server::start(kind, &format!("{test} on {kind:?}")).map(Self::Server)
    }

    /// The value of `--store`.
    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(dir) => format!("sqlite:{}", dir.join("sessions.db").display()),
            Self::Server(server) => server.url(),
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Self::Sqlite(dir) = self {
            let _ = fs::remove_dir_all(dir);
        }
    }
}
