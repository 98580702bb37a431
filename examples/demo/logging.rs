//! Logging by `RUST_LOG`.

use std::io::{self, IsTerminal};

use tracing::{Level, Metadata};
use tracing_subscriber::{EnvFilter, filter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// Logs to stderr as `RUST_LOG` says; `info` unless it is set.
///
/// # Errors
///
/// When `RUST_LOG` cannot be parsed.
pub(crate) fn start() -> Result<(), String> {
    let wanted = EnvFilter::builder()
        .with_default_directive(Level::INFO.into())
        .from_env()
        .map_err(|error| format!("RUST_LOG: {error}; write it like info,tower_tenure=debug"))?;
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    tracing_subscriber::registry().with(wanted).with(filter::filter_fn(is_harmless)).with(lines).init();
    Ok(())
}

/// Below `info`, drivers print what they send, including cookies and session data. So `RUST_LOG`
/// does not apply to them there. This crate never prints those at any level (H5).
fn is_harmless(event: &Metadata<'_>) -> bool {
    let ours = ["tower_tenure", "demo"].iter().any(|name| event.target().split("::").next() == Some(name));
    ours || *event.level() <= Level::INFO
}
