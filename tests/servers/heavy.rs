//! Tests that load the whole machine, or that measure a server's times.

use tokio::sync::Mutex;

/// Such a test holds this lock, so that only one runs at a time, whatever the number of test
/// threads.
pub(crate) static HEAVY: Mutex<()> = Mutex::const_new(());
