//! Settings that all nodes share (S7, M2).

use std::{sync::Arc, time::Duration};

use crate::store::{SettingsStore, StoredSettings};

/// The realms whose settings the checks write. Nothing else should use them.
const REALMS: [&str; 3] = ["conformance", "conformance 'two' \"%_ 🦀", "conformanc"];

/// Runs all checks of settings against two handles of one store: two nodes, or clones.
///
/// Needs a tokio runtime with timers. Leaves small documents of three realms whose names begin with
/// `conformanc`.
///
/// # Example
///
/// ```
/// use tower_tenure::{MemoryStore, testing::conformance};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let store = MemoryStore::new();
/// conformance::check_settings(&store, &store.clone()).await;
/// # }
/// ```
///
/// # Panics
///
/// When the store violates a requirement, or fails.
pub async fn check_settings<S: SettingsStore>(here: &S, there: &S) {
    for realm in REALMS {
        check_realm(here, there, realm).await;
    }
    // Realms have separate settings.
    for realm in REALMS {
        let version = load(here, realm).await.map(|stored| stored.version);
        assert!(save(there, realm, &format!("{{\"of\":{realm:?}}}"), version).await, "settings are refused");
    }
    for realm in REALMS {
        let text = load(here, realm).await.map(|stored| stored.text.to_string());
        assert_eq!(text, Some(format!("{{\"of\":{realm:?}}}")), "a realm has the settings of another");
    }
    assert_eq!(load(here, "conformance, never written").await, None, "a new realm has settings");

    // A change may or may not wake a waiter, but must not block.
    let _ = tokio::time::timeout(Duration::from_millis(10), here.settings_changed()).await;
}

async fn check_realm<S: SettingsStore>(here: &S, there: &S, realm: &str) {
    let before = load(here, realm).await;
    let mut version = before.as_ref().map(|stored| stored.version);
    assert_eq!(load(there, realm).await, before, "two nodes see different settings");

    for text in ["{}", "{\"quoted\":\"'\\u0000🦀\\\\\"}", "{}", &format!("\"{}\"", "x".repeat(100_000))] {
        assert!(
            save(here, realm, text, version).await,
            "settings in place of the version that is there are refused"
        );
        version = Some(version.unwrap_or(0) + 1);
        let wanted = Some(StoredSettings { version: version.unwrap_or(0), text: text.into() });
        assert_eq!(load(here, realm).await, wanted, "settings come back as something else");
        assert_eq!(load(there, realm).await, wanted, "another node does not see what was saved");
    }
    for stale in [None, Some(0), version.map(|version| version - 1), version.map(|version| version + 1)] {
        let before = load(there, realm).await;
        assert!(
            !save(there, realm, "{\"lost\":1}", stale).await,
            "settings in place of version {stale:?} are taken"
        );
        assert_eq!(load(there, realm).await, before, "settings that were refused changed something");
    }
}

async fn load<S: SettingsStore>(store: &S, realm: &str) -> Option<StoredSettings> {
    store.load_settings(realm).await.expect("the store loads settings")
}

async fn save<S: SettingsStore>(store: &S, realm: &str, text: &str, after: Option<u64>) -> bool {
    store.save_settings(realm, Arc::from(text), after).await.expect("the store saves settings")
}
