//! Settings that all nodes share.

use std::sync::Arc;

use crate::Error;

/// Keeps documents of settings beside the sessions, one per realm, the same for every node.
///
/// A store decides nothing here either: a document is text that [`SharedPolicy`](crate::SharedPolicy) reads and writes.
/// Its version counts the writes, so that of two nodes that change the settings at the same time one has to read again.
///
/// # Example
///
/// See [`SharedPolicy`](crate::SharedPolicy).
pub trait SettingsStore: Send + Sync + 'static {
    /// The document of a realm; `None` when nothing was ever stored.
    fn load_settings(
        &self,
        realm: &str,
    ) -> impl Future<Output = Result<Option<StoredSettings>, Error>> + Send;

    /// Puts `text` in place of the version `after` (`None`: of nothing), under the next version (1 in place of nothing).
    /// `false`, and nothing is changed, when another version is in place.
    fn save_settings(
        &self,
        realm: &str,
        text: Arc<str>,
        after: Option<u64>,
    ) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Resolves soon after another node has changed the settings. It may resolve for no reason, and it may miss a change:
    /// whoever waits for it asks every second besides.
    fn settings_changed(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

/// A document of settings, as a [`SettingsStore`] keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSettings {
    /// Counts the writes, from 1.
    pub version: u64,
    /// JSON text.
    pub text: Arc<str>,
}

/// A shared store is a store.
impl<S: SettingsStore> SettingsStore for Arc<S> {
    fn load_settings(
        &self,
        realm: &str,
    ) -> impl Future<Output = Result<Option<StoredSettings>, Error>> + Send {
        (**self).load_settings(realm)
    }

    fn save_settings(
        &self,
        realm: &str,
        text: Arc<str>,
        after: Option<u64>,
    ) -> impl Future<Output = Result<bool, Error>> + Send {
        (**self).save_settings(realm, text, after)
    }

    fn settings_changed(&self) -> impl Future<Output = ()> + Send {
        (**self).settings_changed()
    }
}
