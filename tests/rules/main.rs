//! The pure rules against oracles, exhaustive grids and searches, and the tests that keep them
//! pure.

#[path = "../common/search.rs"]
mod search;

mod admission;
mod architecture;
mod commuting;
mod features;
mod lifetimes_exhaustive;
mod lifetimes_grid;
mod lifetimes_oracle;
mod security_page;
