//! Shared settings.

use std::sync::Arc;

use tokio::sync::Notify;

use super::{PostgresStore, listen, row};
use crate::{
    Error,
    store::{SessionStore, SettingsStore, StoreInfo, StoredSettings},
};

impl SettingsStore for PostgresStore {
    async fn load_settings(&self, realm: &str) -> Result<Option<StoredSettings>, Error> {
        let rows = self.query(&self.0.statements.load_settings, &[&realm.as_bytes()]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let version = row::get::<i64>(row, 0)?.unsigned_abs();
        let text = std::str::from_utf8(row::get(row, 1)?).map_err(|_| row::unreadable())?.into();
        Ok(Some(StoredSettings { version, text }))
    }

    async fn save_settings(&self, realm: &str, text: Arc<str>, after: Option<u64>) -> Result<bool, Error> {
        let version = i64::try_from(after.unwrap_or(0)).unwrap_or(i64::MAX);
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
            [&realm.as_bytes(), &text.as_bytes(), &version];
        Ok(!self.query(&self.0.statements.save_settings, &params).await?.is_empty())
    }

    /// Notified by `LISTEN`, on a separate connection.
    async fn settings_changed(&self) {
        let Some(dial) = &self.0.dial else { return std::future::pending().await };
        let changed = self.0.changed.get_or_init(|| {
            let changed = Arc::new(Notify::new());
            let channel = self.0.connections.schema.channel();
            tokio::spawn(listen::listen(dial.clone(), channel, Arc::downgrade(&changed)));
            changed
        });
        changed.notified().await;
    }

    fn settings_info(&self) -> StoreInfo {
        SessionStore::info(self)
    }
}
