//! The same application over several session libraries, for the benchmarks and the probes of this package.
//!
//! | file | holds |
//! |---|---|
//! | `application.rs` | the routes, and [`Sessions`]: what they ask of a library |
//! | `libraries/` | each library: how it does what the routes ask, and its layer around them |
//! | `results.rs` | the machine, the date and the versions, which go with all results |

pub mod application;
pub mod libraries;
pub mod results;

pub use application::Sessions;
