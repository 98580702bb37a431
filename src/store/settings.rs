//! Settings that all nodes share.

use std::{pin::Pin, sync::Arc};

use super::StoreInfo;
use crate::Error;

/// Keeps one settings document per realm, which all nodes share.
///
/// A document is text that [`SharedPolicy`](crate::SharedPolicy) reads and writes. Its version
/// counts the writes, so of two nodes that change it at the same time, one must read again.
///
/// # Example
///
/// See [`SharedPolicy`](crate::SharedPolicy).
pub trait SettingsStore: Send + Sync + 'static {
    /// The document of a realm; `None` when none was ever stored.
    fn load_settings(
        &self,
        realm: &str,
    ) -> impl Future<Output = Result<Option<StoredSettings>, Error>> + Send;

    /// Replaces version `after` by `text`, under the next version. `None` means that there is no
    /// document yet; the new version is then 1.
    ///
    /// Returns `false`, and changes nothing, when another version is stored.
    fn save_settings(
        &self,
        realm: &str,
        text: Arc<str>,
        after: Option<u64>,
    ) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Resolves soon after another node has changed the settings. It may resolve without a change
    /// and may miss one: the caller also polls every second.
    fn settings_changed(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// What the store is and where, for events.
    fn settings_info(&self) -> StoreInfo {
        StoreInfo::new("custom")
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

    fn settings_info(&self) -> StoreInfo {
        (**self).settings_info()
    }
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// [`SettingsStore`], object-safe.
pub(crate) trait DynSettings: Send + Sync {
    fn load<'a>(&'a self, realm: &'a str) -> Boxed<'a, Result<Option<StoredSettings>, Error>>;
    fn save<'a>(
        &'a self,
        realm: &'a str,
        text: Arc<str>,
        after: Option<u64>,
    ) -> Boxed<'a, Result<bool, Error>>;
    fn changed(&self) -> Boxed<'_, ()>;
    fn info(&self) -> StoreInfo;
}

impl<S: SettingsStore> DynSettings for S {
    fn load<'a>(&'a self, realm: &'a str) -> Boxed<'a, Result<Option<StoredSettings>, Error>> {
        Box::pin(self.load_settings(realm))
    }

    fn save<'a>(
        &'a self,
        realm: &'a str,
        text: Arc<str>,
        after: Option<u64>,
    ) -> Boxed<'a, Result<bool, Error>> {
        Box::pin(self.save_settings(realm, text, after))
    }

    fn changed(&self) -> Boxed<'_, ()> {
        Box::pin(self.settings_changed())
    }

    fn info(&self) -> StoreInfo {
        self.settings_info()
    }
}
