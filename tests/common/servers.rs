//! Real servers for tests. Each has a private port on the loopback and its own temporary directory,
//! and is stopped on drop.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "shared: what is dead differs from crate to crate"
)]

use std::{
    fs,
    io::Write,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

/// The kinds of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Redis,
    Valkey,
    /// Three masters without replicas.
    Cluster,
    Postgres,
}

/// All kinds.
pub const KINDS: [Kind; 4] = [Kind::Redis, Kind::Valkey, Kind::Cluster, Kind::Postgres];

impl Kind {
    fn program(self) -> Option<PathBuf> {
        match self {
            Self::Redis | Self::Cluster => which("redis-server"),
            Self::Valkey => valkey_program(),
            Self::Postgres => postgres_program("postgres"),
        }
    }

    fn may_be_missing() -> bool {
        std::env::var_os("TENURE_ALL").is_none()
    }
}

/// A running server, or the nodes of a cluster.
#[derive(Debug)]
pub struct Server {
    pub kind: Kind,
    dir: PathBuf,
    nodes: Vec<Node>,
    flags: Vec<String>,
    /// Empty for no password.
    password: String,
}

#[derive(Debug)]
struct Node {
    port: u16,
    process: Option<Child>,
}

/// The longest time that a server may take to start.
const PATIENCE: Duration = Duration::from_secs(30);

impl Server {
    /// Starts a server. `None`, with a message on stderr, if it is not installed. Under
    /// `tests/all.sh` that is a failure.
    pub fn start(kind: Kind, test: &str) -> Option<Self> {
        Self::start_with(kind, test, &[])
    }

    /// Like [`Server::start`], with more flags for each process.
    pub fn start_with(kind: Kind, test: &str, flags: &[&str]) -> Option<Self> {
        Self::start_with_password(kind, test, flags, "")
    }

    /// Like [`Server::start_with`], with flags that set a password.
    pub fn start_with_password(kind: Kind, test: &str, flags: &[&str], password: &str) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if kind.program().is_none() {
            assert!(Kind::may_be_missing(), "{kind:?} is missing, and nothing may be left out");
            // Not `eprintln`, which the test harness would capture.
            let _ = writeln!(std::io::stderr(), "left out: {test} (needs {kind:?}; see tests/all.sh)");
            return None;
        }
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("tenure-{kind:?}-{}-{number}", std::process::id()));
        let nodes = if kind == Kind::Cluster { 3 } else { 1 };
        let nodes = (0..nodes).map(|_| Node { port: 0, process: None }).collect();
        let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        let mut server = Self { kind, dir, nodes, flags, password: password.to_owned() };
        server.begin();
        Some(server)
    }

    /// The URL for clients. For a cluster, that of the first node.
    pub fn url(&self) -> String {
        self.url_at(self.port())
    }

    /// Like [`Server::url`], with another port, such as a proxy's.
    pub fn url_at(&self, port: u16) -> String {
        match self.kind {
            Kind::Redis | Kind::Valkey => format!("redis://127.0.0.1:{port}"),
            Kind::Cluster => format!("redis+cluster://127.0.0.1:{port}"),
            Kind::Postgres => format!("postgres://postgres@127.0.0.1:{port}/postgres"),
        }
    }

    pub fn port(&self) -> u16 {
        self.nodes[0].port
    }

    /// The ports of all nodes.
    pub fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.port).collect()
    }

    /// The server's temporary directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Kills the server, which loses what it has only in memory.
    pub fn kill(&mut self) {
        for node in &mut self.nodes {
            if let Some(mut process) = node.process.take() {
                for pid in family(process.id()) {
                    signal("KILL", pid);
                }
                let _ = process.wait();
            }
        }
    }

    /// Freezes the server's processes: connections stay open but get no answers.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Resumes the frozen processes.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// Restarts the server on the same port with its data on disk.
    pub fn restart(&mut self) {
        self.kill();
        for index in 0..self.nodes.len() {
            self.run(index);
        }
        self.wait_until_ready(false);
    }

    /// Replaces the server by an empty one on the same port.
    pub fn replace(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.dir);
        self.prepare();
        for index in 0..self.nodes.len() {
            self.run(index);
        }
        self.wait_until_ready(false);
    }

    /// Runs a command in the server's own client (`redis-cli` arguments, or SQL), and returns its
    /// output.
    pub fn ask(&self, arguments: &[&str]) -> String {
        self.ask_at(self.port(), arguments)
    }

    /// Like [`Server::ask`], on one node of a cluster.
    pub fn ask_at(&self, port: u16, arguments: &[&str]) -> String {
        let port = port.to_string();
        let mut command = match self.kind {
            Kind::Postgres => {
                let mut command = Command::new(postgres_program("psql").expect("psql is beside postgres"));
                command.args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-AtX"]);
                command.args(arguments.iter().flat_map(|sql| ["-c", sql]));
                command
            }
            Kind::Redis | Kind::Valkey | Kind::Cluster => {
                let mut command = redis_cli("redis-cli", &port, arguments);
                if !self.password.is_empty() {
                    command.env("REDISCLI_AUTH", &self.password);
                }
                command
            }
        };
        let output = command.output().expect("the client of the server runs");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    fn signal(&self, name: &str) {
        for process in self.nodes.iter().filter_map(|node| node.process.as_ref()) {
            for pid in family(process.id()) {
                signal(name, pid);
            }
        }
    }

    fn begin(&mut self) {
        for node in &mut self.nodes {
            node.port = free_port();
        }
        self.prepare();
        for index in 0..self.nodes.len() {
            self.run(index);
        }
        self.wait_until_ready(true);
    }

    fn prepare(&self) {
        fs::create_dir_all(&self.dir).expect("a temporary directory can be made");
        if self.kind == Kind::Postgres {
            if is_root() {
                done(Command::new("chown").arg("postgres").arg(&self.dir));
            }
            let initdb = postgres_program("initdb").expect("initdb is beside postgres");
            let data = format!("--pgdata={}", self.dir.join("data").display());
            done(as_postgres(&initdb).args([&*data, "--username=postgres", "--auth=trust", "--no-sync"]));
        }
    }

    fn run(&mut self, index: usize) {
        let port = self.nodes[index].port.to_string();
        let program = self.kind.program().expect("it was there before");
        let mut command = if self.kind == Kind::Postgres {
            let mut command = as_postgres(&program);
            command.arg("-D").arg(self.dir.join("data")).args(["-p", &port, "-h", "127.0.0.1"]);
            command.arg("-k").arg(&self.dir);
            command.args(["-c", "fsync=off", "-c", "max_connections=200"]);
            command
        } else {
            let dir = self.dir.join(&port);
            fs::create_dir_all(&dir).expect("a temporary directory can be made");
            let mut command = Command::new(program);
            command.args(["--port", &port, "--bind", "127.0.0.1", "--appendonly", "yes", "--save", ""]);
            command.arg("--dir").arg(dir);
            if self.kind == Kind::Cluster {
                let bus = free_port().to_string();
                command.args(["--cluster-enabled", "yes", "--cluster-port", &bus]);
            }
            command
        };
        command.args(&self.flags).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.nodes[index].process = Some(command.spawn().expect("the server starts"));
    }

    /// `is_new`: no client knows its ports yet, so they may change.
    fn wait_until_ready(&mut self, is_new: bool) {
        for index in 0..self.nodes.len() {
            until("the server answers", || {
                // A process or a connection of a killed server may occupy the port for a moment.
                let process = self.nodes[index].process.as_mut();
                if process.is_some_and(|process| matches!(process.try_wait(), Ok(Some(_)))) {
                    // Or another server took the port, and stays.
                    if is_new {
                        self.nodes[index].port = free_port();
                    }
                    self.run(index);
                }
                match self.kind {
                    Kind::Postgres => self.ask(&["select 'ready'"]) == "ready",
                    _ => self.ask_at(self.nodes[index].port, &["PING"]) == "PONG",
                }
            });
        }
        if self.kind == Kind::Cluster {
            self.join_cluster();
        }
    }

    fn join_cluster(&self) {
        if self.ask(&["CLUSTER", "INFO"]).contains("cluster_slots_assigned:0") {
            let mut create = Command::new("redis-cli");
            create.args(["--cluster", "create"]);
            create.args(self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)));
            done(create.args(["--cluster-yes"]));
        }
        for node in &self.nodes {
            until("the cluster is whole", || {
                self.ask_at(node.port, &["CLUSTER", "INFO"]).contains("cluster_state:ok")
            });
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Polls a condition every few milliseconds until it is true.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    const PAUSE: Duration = Duration::from_millis(20);
    let mut waited = Duration::ZERO;
    while !is_so() {
        assert!(waited < PATIENCE, "{what}: not after {PATIENCE:?}");
        thread::sleep(PAUSE);
        waited += PAUSE;
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("the loopback has a free port");
    listener.local_addr().expect("it has an address").port()
}

/// Debian 12 has no package of Valkey. `tests/valkey/install.sh target/valkey` installs it.
fn valkey_program() -> Option<PathBuf> {
    let named = std::env::var_os("TENURE_VALKEY").map(PathBuf::from);
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/valkey/valkey-server");
    named.or_else(|| which("valkey-server")).or(Some(installed)).filter(|file| file.is_file())
}

fn redis_cli(program: &str, port: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(["-p", port]).args(arguments);
    command
}

fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let places = std::env::split_paths(&path).chain(["/usr/bin".into(), "/usr/sbin".into()]);
    places.map(|place| place.join(program)).find(|file| file.is_file())
}

/// Debian installs the programs of each version in a separate directory. The newest version is
/// used.
fn postgres_program(name: &str) -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.filter_map(Result::ok);
    let mut versions: Vec<_> = versions.map(|entry| entry.path()).collect();
    versions.sort_by_key(|path| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()));
    versions.iter().rev().map(|path| path.join("bin").join(name)).find(|file| file.is_file())
}

/// PostgreSQL refuses to run as root.
fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
    command.current_dir("/tmp"); // it cannot read root's checkout
    command
}

fn is_root() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| status.contains("\nUid:\t0\t"))
}

/// A process and its children. PostgreSQL has one process for each connection, each in its own
/// group.
fn family(pid: u32) -> Vec<u32> {
    let mut pids = vec![pid];
    for entry in fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok) {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The state and the parent follow the name, which may contain any characters.
        let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1));
        if parent.is_some_and(|parent| parent == pid.to_string()) {
            pids.push(child);
        }
    }
    pids
}

pub fn signal(name: &str, pid: u32) {
    let _ = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).stderr(Stdio::null()).status();
}

fn done(command: &mut Command) {
    let output = command.output().expect("the command runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
