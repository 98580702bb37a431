//! Settings that all nodes share.

use std::sync::Arc;

use crate::Error;

/// Keeps one document of settings beside the sessions, the same for every node (SPEC S7, M2).
///
/// A store decides nothing here either: the document is text that [`SharedPolicy`](crate::SharedPolicy) reads and writes.
/// Its version counts the writes, so that of two nodes that change the settings at the same time one is told to look again.
///
/// # Example
///
/// See [`SharedPolicy`](crate::SharedPolicy).
pub trait SettingsStore: Send + Sync + 'static {
    /// The document; `None` when nothing was ever kept.
    fn load_settings(&self) -> impl Future<Output = Result<Option<KeptSettings>, Error>> + Send;

    /// Puts `text` in place of the version `after` (`None`: of nothing), under the next version (1 in place of nothing).
    /// `false`, and nothing is changed, when another version is in place.
    fn save_settings(
        &self,
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
pub struct KeptSettings {
    /// Counts the writes, from 1.
    pub version: u64,
    /// JSON text.
    pub text: Arc<str>,
}

/// A shared store is a store.
impl<S: SettingsStore> SettingsStore for Arc<S> {
    fn load_settings(&self) -> impl Future<Output = Result<Option<KeptSettings>, Error>> + Send {
        (**self).load_settings()
    }

    fn save_settings(
        &self,
        text: Arc<str>,
        after: Option<u64>,
    ) -> impl Future<Output = Result<bool, Error>> + Send {
        (**self).save_settings(text, after)
    }

    fn settings_changed(&self) -> impl Future<Output = ()> + Send {
        (**self).settings_changed()
    }
}
