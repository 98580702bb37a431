//! TLS with rustls, checked as libpq's `sslmode` says.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::ssl::{PostgresSslMode, Roots, Ssl};
use crate::{Error, ErrorKind};

/// # Errors
///
/// When no trusted certificate can be read.
pub(super) fn connector(ssl: &Ssl, is_direct: bool) -> Result<MakeRustlsConnect, Error> {
    let provider = Arc::new(ring::default_provider());
    let roots = match (&ssl.roots, ssl.mode) {
        (Roots::Unset, mode) if mode < PostgresSslMode::VerifyCa => None,
        (Roots::Unset | Roots::System, _) => Some(system()?),
        (Roots::File(path), _) => {
            let pem = std::fs::read(path).map_err(|error| {
                refuse(format!("the file of `sslrootcert` cannot be read: {}: {error}", path.display()))
            })?;
            Some(parse(&pem)?)
        }
        (Roots::Pem(pem), _) => Some(parse(pem)?),
    };
    let verifier =
        Verifier { roots, names: ssl.mode == PostgresSslMode::VerifyFull, provider: Arc::clone(&provider) };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refuse(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    if is_direct {
        // The server insists on it where the handshake comes first.
        config.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    Ok(MakeRustlsConnect::new(config))
}

fn refuse(message: String) -> Error {
    Error::new(ErrorKind::Configuration, message)
}

fn system() -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(refuse(
            "no trusted certificate was found; install the package ca-certificates".to_owned(),
        ));
    }
    Ok(roots)
}

/// The certificates of a PEM file.
pub(super) fn parse(pem: &[u8]) -> Result<RootCertStore, Error> {
    let wrong = || {
        let message = "not root certificates in PEM; the file begins with -----BEGIN CERTIFICATE-----";
        Error::new(ErrorKind::Configuration, message)
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.map_err(|_| wrong())?).map_err(|_| wrong())?;
    }
    if roots.is_empty() { Err(wrong()) } else { Ok(roots) }
}

/// Checks the chain if there are roots, and the name if asked to. In any case the server must hold
/// the key of its certificate.
#[derive(Debug)]
struct Verifier {
    roots: Option<RootCertStore>,
    names: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(roots) = &self.roots {
            let certificate = ParsedCertificate::try_from(end_entity)?;
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms)?;
            if self.names {
                verify_server_name(&certificate, server_name)?;
            }
        } else if self.names {
            return Err(CertificateError::UnknownIssuer.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
