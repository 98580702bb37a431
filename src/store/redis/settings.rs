//! Shared settings, and notifications of their changes.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::StreamExt;
use redis::{Client, RedisError, Value};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::{
    RedisStore,
    reply::{bytes, number, several, unreadable},
};
use crate::{
    Error,
    store::{SessionStore, SettingsStore, StoreInfo, StoredSettings},
};

/// How long to wait before reconnecting, and how often to check whether a task still waits.
const PAUSE: Duration = Duration::from_secs(1);

impl SettingsStore for RedisStore {
    async fn load_settings(&self, realm: &str) -> Result<Option<StoredSettings>, Error> {
        let mut command = redis::cmd("HMGET");
        command.arg(self.0.keys.settings(realm)).arg("version").arg("text");
        let [version, text] = several(self.ask(&command).await?)?;
        if version == Value::Nil {
            return Ok(None);
        }
        let version = u64::try_from(number(&version)?).map_err(|_| unreadable())?;
        let text = String::from_utf8(bytes(text)?).map_err(|_| unreadable())?;
        Ok(Some(StoredSettings { version, text: text.into() }))
    }

    async fn save_settings(&self, realm: &str, text: Arc<str>, after: Option<u64>) -> Result<bool, Error> {
        let key = self.0.keys.settings(realm);
        let next = after.unwrap_or(0) + 1;
        let call = self.0.scripts.save.call(&[key.as_bytes()]).optional(after).arg(next).arg(&*text);
        let answer = call.run(&self.0.connection).await?;
        let mut is_saved = answer.value == Value::Int(1);
        if !is_saved && answer.is_repeated {
            // The first attempt may have run, and only its reply was lost.
            is_saved = self.load_settings(realm).await? == Some(StoredSettings { version: next, text });
        }
        if is_saved {
            self.announce().await;
        }
        Ok(is_saved)
    }

    /// Notified by `SUBSCRIBE`, on a separate connection.
    async fn settings_changed(&self) {
        if self.0.clients.is_empty() {
            return std::future::pending().await;
        }
        let changed = {
            let mut listening = self.0.listening.lock().await;
            if let Some(changed) = listening.upgrade() {
                changed
            } else {
                let changed = Arc::new(Notify::new());
                *listening = Arc::downgrade(&changed);
                let clients = self.0.clients.clone();
                tokio::spawn(listen(clients, self.0.keys.channel(), Arc::downgrade(&changed)));
                changed
            }
        };
        changed.notified().await;
    }

    fn settings_info(&self) -> StoreInfo {
        SessionStore::info(self)
    }
}

impl RedisStore {
    /// The settings are stored. Without the right to publish, other nodes only notice a second
    /// later.
    async fn announce(&self) {
        let mut command = redis::cmd("PUBLISH");
        command.arg(self.0.keys.channel()).arg("");
        if let Err(error) = self.ask(&command).await {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            tracing::warn!(
                channel = self.0.keys.channel(),
                cause,
                "changed settings could not be published; other nodes see them within a second"
            );
        }
    }
}

/// Wakes the waiting tasks at each message, until their end is dropped. Uses a separate connection.
/// Any node of a cluster will do, since each forwards messages of the others.
async fn listen(clients: Vec<Client>, channel: String, changed: Weak<Notify>) {
    for client in clients.iter().cycle() {
        // A failure is not reported: the settings are also polled every second.
        let _ = follow(client, &channel, &changed).await;
        if changed.strong_count() == 0 {
            return;
        }
        sleep(PAUSE).await;
    }
}

async fn follow(client: &Client, channel: &str, changed: &Weak<Notify>) -> Result<(), RedisError> {
    let mut messages = client.get_async_pubsub().await?;
    messages.subscribe(channel).await?;
    let mut messages = messages.into_on_message();
    loop {
        match timeout(PAUSE, messages.next()).await {
            Ok(Some(_)) => {
                if let Some(changed) = changed.upgrade() {
                    changed.notify_waiters();
                }
            }
            Err(_) if changed.strong_count() > 0 => {}
            Ok(None) | Err(_) => return Ok(()),
        }
    }
}
