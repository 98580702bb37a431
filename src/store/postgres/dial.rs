//! Makes connections, encrypted or not: for the pool, and for the one that listens.

use std::task::{Context, Poll};

use deadpool_postgres::Connect;
use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio_postgres::{
    AsyncMessage, Client, Config, Connection, NoTls, Socket,
    config::{Host, SslMode},
    tls::NoTlsStream,
};
#[cfg(feature = "rustls")]
use tokio_postgres::{config::SslNegotiation, error::SqlState, tls::MakeTlsConnect};
#[cfg(feature = "rustls")]
use tokio_postgres_rustls::MakeRustlsConnect;

#[cfg(feature = "rustls")]
use super::ssl::PostgresSslMode;
use super::ssl::Ssl;
use crate::Error;

/// Where to connect, and how.
#[derive(Clone)]
pub(super) struct Dial {
    config: Config,
    encryption: Encryption,
}

#[derive(Clone)]
enum Encryption {
    Never,
    /// As the mode in `config` says: required, or where the server offers it.
    #[cfg(feature = "rustls")]
    Tls(MakeRustlsConnect),
    /// Where the server refuses a plain connection.
    #[cfg(feature = "rustls")]
    IfRefused(MakeRustlsConnect),
}

/// The connection of a client: nothing happens on it unless it is polled.
pub(super) enum AnyConnection {
    Plain(Box<Connection<Socket, NoTlsStream>>),
    #[cfg(feature = "rustls")]
    Tls(Box<Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>>),
}

impl Dial {
    /// The hosts and the database, without user and password.
    pub(super) fn address(&self) -> String {
        let config = &self.config;
        let ports = config.get_ports();
        let port = |at: usize| ports.get(at).or(ports.first()).copied().unwrap_or(5432);
        let hosts = config.get_hosts().iter().enumerate().map(|(at, host)| match host {
            Host::Tcp(name) if name.contains(':') => format!("[{name}]:{}", port(at)),
            Host::Tcp(name) => format!("{name}:{}", port(at)),
            #[cfg(unix)]
            Host::Unix(folder) => folder.display().to_string(),
        });
        let hosts = hosts.collect::<Vec<_>>().join(",");
        config.get_dbname().map_or_else(|| hosts.clone(), |name| format!("{hosts}/{name}"))
    }

    /// # Errors
    ///
    /// When root certificates cannot be read, or this build has no TLS and it is required.
    pub(super) fn new(mut config: Config, ssl: &Ssl) -> Result<Self, Error> {
        // As libpq: a Unix socket is never encrypted, whatever is asked.
        let is_local = config.get_hosts().iter().all(|host| !matches!(host, Host::Tcp(_)));
        let encryption = if is_local { Encryption::Never } else { Encryption::of(&config, ssl)? };
        config.ssl_mode(match &encryption {
            Encryption::Never => SslMode::Disable,
            #[cfg(feature = "rustls")]
            Encryption::Tls(_) if ssl.mode == PostgresSslMode::Prefer => SslMode::Prefer,
            #[cfg(feature = "rustls")]
            _ => SslMode::Require,
        });
        Ok(Self { config, encryption })
    }

    pub(super) const fn config(&self) -> &Config {
        &self.config
    }

    pub(super) async fn open(&self) -> Result<(Client, AnyConnection), tokio_postgres::Error> {
        match &self.encryption {
            Encryption::Never => plain(&self.config).await,
            #[cfg(feature = "rustls")]
            Encryption::Tls(connector) => encrypted(&self.config, connector).await,
            #[cfg(feature = "rustls")]
            Encryption::IfRefused(connector) => {
                let mut config = self.config.clone();
                match plain(config.ssl_mode(SslMode::Disable)).await {
                    // Such as by `hostssl` in pg_hba.conf.
                    Err(error) if error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION) => {
                        encrypted(&self.config, connector).await
                    }
                    answer => answer,
                }
            }
        }
    }
}

impl Encryption {
    #[cfg(feature = "rustls")]
    fn of(config: &Config, ssl: &Ssl) -> Result<Self, Error> {
        let is_direct = config.get_ssl_negotiation() == SslNegotiation::Direct;
        Ok(match ssl.mode {
            PostgresSslMode::Disable => Self::Never,
            PostgresSslMode::Allow => Self::IfRefused(super::tls::connector(ssl, is_direct)?),
            _ => Self::Tls(super::tls::connector(ssl, is_direct)?),
        })
    }

    #[cfg(not(feature = "rustls"))]
    fn of(_: &Config, ssl: &Ssl) -> Result<Self, Error> {
        ssl.check().map(|()| Self::Never)
    }
}

async fn plain(config: &Config) -> Result<(Client, AnyConnection), tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    Ok((client, AnyConnection::Plain(Box::new(connection))))
}

#[cfg(feature = "rustls")]
async fn encrypted(
    config: &Config,
    connector: &MakeRustlsConnect,
) -> Result<(Client, AnyConnection), tokio_postgres::Error> {
    let (client, connection) = config.connect(connector.clone()).await?;
    Ok((client, AnyConnection::Tls(Box::new(connection))))
}

impl AnyConnection {
    pub(super) fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<AsyncMessage, tokio_postgres::Error>>> {
        match self {
            Self::Plain(connection) => connection.poll_message(cx),
            #[cfg(feature = "rustls")]
            Self::Tls(connection) => connection.poll_message(cx),
        }
    }

    /// Until the client is dropped, or the connection fails, which its calls then report.
    async fn run(mut self) {
        while let Some(Ok(_)) = std::future::poll_fn(|cx| self.poll_message(cx)).await {}
    }
}

impl Connect for Dial {
    fn connect(&self, _: &Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), tokio_postgres::Error>> {
        Box::pin(async move {
            let (client, connection) = self.open().await?;
            Ok((client, tokio::spawn(connection.run())))
        })
    }
}
