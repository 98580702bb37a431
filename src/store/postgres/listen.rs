//! Waits for other nodes to change the settings.

use std::{future::poll_fn, sync::Weak, time::Duration};

use futures_util::future::{Either, select};
use tokio::sync::Notify;
use tokio_postgres::AsyncMessage;

use super::dial::Dial;

/// How long to wait before reconnecting.
const PAUSE: Duration = Duration::from_secs(1);

/// Wakes the waiting tasks at each notification, until their end is dropped. Uses a separate
/// connection, since a pooled one is read only while it is in use.
pub(super) async fn listen(dial: Dial, channel: String, changed: Weak<Notify>) {
    while changed.strong_count() > 0 {
        // A failure is harmless: the settings are also polled every second.
        let _ = follow(&dial, &channel, &changed).await;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn follow(dial: &Dial, channel: &str, changed: &Weak<Notify>) -> Result<(), tokio_postgres::Error> {
    let (client, mut connection) = dial.open().await?;
    let listen = format!("LISTEN {channel}");
    let mut listening = Some(Box::pin(client.batch_execute(&listen)));
    loop {
        let message = Box::pin(poll_fn(|cx| connection.poll_message(cx)));
        let message = match listening.take() {
            Some(asked) => match select(asked, message).await {
                Either::Left((answer, _)) => {
                    answer?;
                    continue;
                }
                Either::Right((message, asked)) => {
                    listening = Some(asked);
                    message
                }
            },
            // Checks regularly whether the other end is dropped.
            None => match tokio::time::timeout(PAUSE, message).await {
                Ok(message) => message,
                Err(_) if changed.strong_count() > 0 => continue,
                Err(_) => return Ok(()),
            },
        };
        match message.transpose()? {
            Some(AsyncMessage::Notification(_)) => {
                if let Some(changed) = changed.upgrade() {
                    changed.notify_waiters();
                }
            }
            Some(_) => {}
            None => return Ok(()),
        }
    }
}
