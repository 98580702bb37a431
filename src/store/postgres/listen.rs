//! Waits for other nodes to change the settings.

use std::{future::poll_fn, sync::Weak, time::Duration};

use futures_util::future::{Either, select};
use tokio::sync::Notify;
use tokio_postgres::{AsyncMessage, Config, Connection, NoTls, Socket, tls::TlsStream};

use crate::Error;

/// How long to wait before the connection is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Wakes those that wait, for each notification, as long as the other end is held. It has a connection of its own, since one of
/// a pool is read only while it is used.
pub(super) async fn listen(config: Config, channel: String, changed: Weak<Notify>) {
    while changed.strong_count() > 0 {
        // A failure is harmless: the settings are asked for every second besides.
        let _ = connect(&config, &channel, &changed).await;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn connect(config: &Config, channel: &str, changed: &Weak<Notify>) -> Result<(), Error> {
    #[cfg(feature = "rustls")]
    if config.get_ssl_mode() == tokio_postgres::config::SslMode::Require {
        let (client, connection) = config.connect(super::tls::connector()?).await.map_err(Error::store)?;
        return follow(client, connection, channel, changed).await.map_err(Error::store);
    }
    let (client, connection) = config.connect(NoTls).await.map_err(Error::store)?;
    follow(client, connection, channel, changed).await.map_err(Error::store)
}

async fn follow<T>(
    client: tokio_postgres::Client,
    mut connection: Connection<Socket, T>,
    channel: &str,
    changed: &Weak<Notify>,
) -> Result<(), tokio_postgres::Error>
where
    T: TlsStream + Unpin,
{
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
            // Looks now and then whether the other end is still held.
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
