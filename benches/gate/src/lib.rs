//! Nothing but the place of the benchmark `overhead`; see `Cargo.toml`.
