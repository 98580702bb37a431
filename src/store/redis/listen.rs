//! What other nodes tell of the settings.

use std::{sync::Weak, time::Duration};

use futures_util::StreamExt;
use redis::{Client, RedisError};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

/// How long to wait before the connection is tried again, and how often it is asked whether anybody still wants to know.
const PAUSE: Duration = Duration::from_secs(1);

/// Pokes whoever waits for each message, until nobody holds the other end. With a connection of its own.
/// Of a cluster any node will do: each hears what is published on another.
pub(super) async fn listen(clients: Vec<Client>, channel: String, told: Weak<Notify>) {
    for client in clients.iter().cycle() {
        // A failure is no news: the settings are asked for every second besides.
        let _ = follow(client, &channel, &told).await;
        if told.strong_count() == 0 {
            return;
        }
        sleep(PAUSE).await;
    }
}

async fn follow(client: &Client, channel: &str, told: &Weak<Notify>) -> Result<(), RedisError> {
    let mut messages = client.get_async_pubsub().await?;
    messages.subscribe(channel).await?;
    let mut messages = messages.into_on_message();
    loop {
        match timeout(PAUSE, messages.next()).await {
            Ok(Some(_)) => {
                if let Some(told) = told.upgrade() {
                    told.notify_waiters();
                }
            }
            Err(_) if told.strong_count() > 0 => {}
            Ok(None) | Err(_) => return Ok(()),
        }
    }
}
