//! Tests that take all of a machine, or time what a server does.

use tokio::sync::Mutex;

/// Held by such a test, so that there is one of them at a time, however many threads run tests.
pub(crate) static HEAVY: Mutex<()> = Mutex::const_new(());
