//! What `benches/through.rs` compares, and what it costs whom.
//!
//! | file | holds |
//! |---|---|
//! | `layer.rs` | the whole layer around a small service |
//! | `redis.rs`, `postgres.rs` | bare commands by the same client library, and the server's CPU time |

pub(crate) mod layer;
pub(crate) mod postgres;
pub(crate) mod redis;

use std::fs;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Read,
    Write,
    Login,
}

/// A side of the comparison. Clones are the same one.
pub(crate) trait Ask: Clone + Send + Sync + 'static {
    /// Numbers say which session or value; a login makes another one.
    fn ask(self, request: Request, number: u64) -> impl Future<Output = ()> + Send;
}

/// Measures a server.
pub(crate) trait Cpu {
    /// Microseconds of CPU time that it has used.
    async fn server(&self) -> f64;

    /// How often it carried out each command.
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

/// A value of 250 bytes that begins with this number.
pub(crate) fn value(number: u64) -> Vec<u8> {
    let mut value: Vec<u8> = (0..250_u64).map(|at| (at * 167 + number) as u8).collect();
    value[..8].copy_from_slice(&number.to_le_bytes());
    value
}
