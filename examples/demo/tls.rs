//! https: TLS connections for a server that takes any listener.

use std::{future, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::serve::Listener;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{
            CertificateDer, PrivateKeyDer,
            pem::{self, PemObject},
        },
    },
    server::TlsStream,
};

/// How long a client may take for its handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A certificate with its key, ready to serve with.
pub(crate) type Tls = Arc<ServerConfig>;

/// Reads the value of `--tls`: two PEM files, the certificate chain and its key.
///
/// # Errors
///
/// What is wrong with which file.
pub(crate) fn parse(value: &str) -> Result<Tls, String> {
    let (certificate, key) = value.split_once(',').ok_or("use two PEM files, such as cert.pem,key.pem")?;
    let unreadable = |file: &str, what: &str, error: pem::Error| match error {
        pem::Error::Io(error) => format!("cannot read {file}: {error}"),
        _ => format!("{file} is not a PEM file with a {what}"),
    };
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| unreadable(certificate, "certificate", error))?;
    if chain.is_empty() {
        return Err(unreadable(certificate, "certificate", pem::Error::NoItemsFound));
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, "private key", error))?;
    config(chain, key).map_err(|error| format!("the certificate and the key cannot be used: {error}"))
}

/// A configuration with this certificate. HTTP/2 is preferred.
///
/// # Errors
///
/// When the key is not that of the certificate.
pub(crate) fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Tls, tokio_rustls::rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Connections whose handshake is complete. Each handshake runs in its own task, so a slow or
/// broken one delays no other client.
pub(crate) struct TlsListener {
    connections: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
}

impl TlsListener {
    pub(crate) fn new(listener: TcpListener, address: SocketAddr, tls: Tls) -> Self {
        let (ready, connections) = mpsc::channel(64);
        tokio::spawn(shake_hands(listener, TlsAcceptor::from(tls), ready));
        Self { connections, address }
    }
}

/// Accepts connections until the receiver is gone.
async fn shake_hands(
    mut listener: TcpListener,
    acceptor: TlsAcceptor,
    ready: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    loop {
        // This `accept` waits and tries again when there are too many open files.
        let (connection, client) = tokio::select! {
            accepted = Listener::accept(&mut listener) => accepted,
            () = ready.closed() => return,
        };
        let (handshake, ready) = (acceptor.accept(connection), ready.clone());
        tokio::spawn(async move {
            match timeout(HANDSHAKE_TIMEOUT, handshake).await {
                // The server may have stopped meanwhile.
                Ok(Ok(connection)) => drop(ready.send((connection, client)).await),
                Ok(Err(error)) => tracing::debug!(%client, %error, "the TLS handshake failed"),
                Err(_) => tracing::debug!(%client, "the TLS handshake took too long"),
            }
        });
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.connections.recv().await {
            Some(accepted) => accepted,
            // The runtime is shutting down.
            None => future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}
