//! The demo and other examples as processes.

use std::{
    env,
    io::{BufRead, BufReader},
    net::SocketAddr,
    ops::{Deref, DerefMut},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    sync::OnceLock,
};

/// The built demo.
fn binary() -> PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| built("demo")).clone()
}

/// The path of an example. It is built here, because `cargo test --test NAME` does not rebuild it.
pub fn built(example: &str) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    // The environment of a test contains variables of its package. They would make cargo rebuild
    // dependencies.
    for (name, _) in env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG") || name.starts_with("CARGO_MANIFEST"))
        {
            cargo.env_remove(name);
        }
    }
    let built = cargo.args(["build", "--quiet", "--example", example]).status();
    assert!(built.is_ok_and(|status| status.success()), "{example} does not build");
    let here = env::current_exe().expect("a test knows where it is");
    let target = here.ancestors().nth(2).expect("tests are in target/PROFILE/deps");
    target.join("examples").join(format!("{example}{}", env::consts::EXE_SUFFIX))
}

pub fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(flags).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// A process that runs until it is dropped.
pub struct Running(Child);

impl Running {
    pub fn spawn(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::piped()).spawn().expect("the example starts"))
    }
}

impl Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A demo, or another example that prints its address.
pub struct Demo {
    pub process: Running,
    pub address: SocketAddr,
    pub scheme: String,
    pub out: BufReader<ChildStdout>,
}

impl Demo {
    pub fn start(flags: &[&str]) -> Self {
        Self::spawn(command(flags).arg("--listen=127.0.0.1:0").stderr(Stdio::null()))
    }

    pub fn spawn(command: &mut Command) -> Self {
        let mut process = Running::spawn(command);
        let mut out = BufReader::new(process.stdout.take().expect("stdout is piped"));
        let mut line = String::new();
        out.read_line(&mut line).expect("the demo says where it listens");
        let line = line.trim_end().strip_prefix("listening on ").expect("the line of SPEC Q");
        let (scheme, address) = line.split_once("://").expect("a scheme and an address");
        let scheme = scheme.to_owned();
        Self { address: address.parse().expect("an address with a port"), scheme, process, out }
    }
}
