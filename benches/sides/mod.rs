//! The sides that `benches/through.rs` compares, and the meters of their CPU time.
//!
//! | file | holds |
//! |---|---|
//! | `layer.rs` | the whole layer around a small service |
//! | `redis.rs`, `postgres.rs` | bare commands by the same client library, and the server's CPU time |

pub(crate) mod layer;
pub(crate) mod postgres;
pub(crate) mod redis;

use std::fs;

use crate::load::{Served, Until, drive};

/// The kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Read,
    Write,
    Login,
}

/// A side of the comparison. Clones share everything.
pub(crate) trait Ask: Clone + Send + Sync + 'static {
    /// Numbers select a session or value. A login creates another one.
    fn ask(self, request: Request, number: u64) -> impl Future<Output = ()> + Send;
}

/// Measures a server.
pub(crate) trait Cpu {
    /// Microseconds of CPU time that it has used.
    async fn server(&self) -> f64;

    /// How often the server executed each command.
    async fn commands(&self) -> Vec<(String, f64)>;
}

/// Microseconds of CPU time that this process has used.
pub(crate) fn client() -> f64 {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().filter_map(Result::ok);
    threads.filter_map(|thread| thread.file_name().to_str()?.parse().ok()).map(on_cpu).sum()
}

/// Microseconds of CPU time of a thread, or of a process that has one.
pub(crate) fn on_cpu(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    text.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or(0.0) / 1000.0
}

/// The result of a side's turn: its speed, and the cost of a request.
pub(crate) struct Turn {
    pub(crate) served: Served,
    /// Microseconds of CPU time.
    pub(crate) server: f64,
    pub(crate) client: f64,
    /// Commands of the server.
    pub(crate) commands: String,
}

/// Runs this many callers on this side.
pub(crate) async fn run(side: &impl Ask, callers: u64, until: Until, request: Request) -> Served {
    let side = side.clone();
    drive(callers, until, move |number| side.clone().ask(request, number)).await
}

/// Like [`run`], and measures both processes.
pub(crate) async fn turn(
    side: &impl Ask,
    callers: u64,
    until: Until,
    request: Request,
    meter: &impl Cpu,
) -> Turn {
    let before = (meter.server().await, client(), meter.commands().await);
    let served = run(side, callers, until, request).await;
    let after = (meter.server().await, client(), meter.commands().await);
    let each = |before: f64, after: f64| (after - before) / served.calls as f64;
    let commands = after.2.into_iter().filter_map(|(name, calls)| {
        let before = before.2.iter().find(|(other, _)| *other == name).map_or(0.0, |(_, calls)| *calls);
        let calls = each(before, calls);
        (calls > 0.01).then(|| format!("{name} {calls:.2}"))
    });
    let commands = commands.collect::<Vec<_>>().join(", ");
    Turn { server: each(before.0, after.0), client: each(before.1, after.1), commands, served }
}

/// A value of 250 bytes that begins with this number.
pub(crate) fn value(number: u64) -> Vec<u8> {
    let mut value: Vec<u8> = (0..250_u64).map(|at| (at * 167 + number) as u8).collect();
    value[..8].copy_from_slice(&number.to_le_bytes());
    value
}
