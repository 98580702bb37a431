//! Settings that all nodes share (SPEC S7, M2).

use std::{sync::Arc, time::Duration};

use crate::store::{KeptSettings, SettingsStore};

/// Runs all checks of settings against two handles of one store: two nodes, or clones. A tokio runtime with timers has to
/// be there. What the store keeps is put back at the end, in later versions.
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
/// When the store does not keep one of its promises, or fails.
pub async fn check_settings<S: SettingsStore>(here: &S, there: &S) {
    let before = load(here).await;
    let mut version = before.as_ref().map(|kept| kept.version);
    assert_eq!(load(there).await, before, "two nodes see different settings");

    for text in ["{}", "{\"quoted\":\"'\\u0000🦀\\\\\"}", "{}", &format!("\"{}\"", "x".repeat(100_000))] {
        assert!(
            save(here, text, version).await,
            "settings in place of the version that is there are refused"
        );
        version = Some(version.unwrap_or(0) + 1);
        let wanted = Some(KeptSettings { version: version.unwrap_or(0), text: text.into() });
        assert_eq!(load(here).await, wanted, "settings come back as something else");
        assert_eq!(load(there).await, wanted, "another node does not see what was saved");
    }
    for stale in [None, Some(0), version.map(|version| version - 1), version.map(|version| version + 1)] {
        let before = load(there).await;
        assert!(
            !save(there, "{\"lost\":1}", stale).await,
            "settings in place of version {stale:?} are taken"
        );
        assert_eq!(load(there).await, before, "settings that were refused changed something");
    }
    let text = before.map_or_else(|| "{}".into(), |kept| kept.text);
    assert!(save(there, &text, version).await, "the settings can not be put back");

    // A change wakes whoever waits, or nobody: but it does not hang the one who asks.
    let _ = tokio::time::timeout(Duration::from_millis(10), here.settings_changed()).await;
}

async fn load<S: SettingsStore>(store: &S) -> Option<KeptSettings> {
    store.load_settings().await.expect("the store loads settings")
}

async fn save<S: SettingsStore>(store: &S, text: &str, after: Option<u64>) -> bool {
    store.save_settings(Arc::from(text), after).await.expect("the store saves settings")
}
