//! A test's certificate authority, its certificates, and clients that trust it.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

/// The name of the site that [`Authority::flag`] serves.
pub const HOST: &str = "app.example.com";

/// A certificate authority with its own folder, which is removed on drop.
#[derive(Debug)]
pub struct Authority {
    dir: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// Makes an authority, and `site.pem` and `site.key` for [`HOST`] and `127.0.0.1`.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("tenure-authority-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).expect("a temporary directory can be made");

        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, format!("Authority {number} of a test"));
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { dir, issuer };
        authority.write("root.pem", &authority.issuer.pem());
        authority.sign("site", &[HOST, "127.0.0.1"]);
        authority
    }

    /// Writes a certificate for these names and addresses, and its key: `name.pem` and `name.key`.
    pub fn sign(&self, name: &str, hosts: &[&str]) -> [String; 2] {
        let key = KeyPair::generate().unwrap();
        let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        let certificate = CertificateParams::new(hosts).unwrap().signed_by(&key, &self.issuer).unwrap();
        [("pem", certificate.pem()), ("key", key.serialize_pem())]
            .map(|(ending, content)| self.write(&format!("{name}.{ending}"), &content))
    }

    fn write(&self, name: &str, content: &str) -> String {
        fs::write(self.dir.join(name), content).expect("a file can be written there");
        self.file(name)
    }

    /// The certificate that a client has to trust.
    pub fn root(&self) -> String {
        self.file("root.pem")
    }

    /// The path of a file in the authority's folder.
    pub fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// The demo's flag for serving with the certificate.
    pub fn flag(&self) -> String {
        format!("--tls={},{}", self.file("site.pem"), self.file("site.key"))
    }

    /// The TLS configuration of a client that trusts the authority.
    pub fn client_config(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap();
        Arc::new(config.with_root_certificates(roots).with_no_client_auth())
    }

    /// A home directory for a browser that trusts the authority. `None`, with a message on stderr,
    /// if there is no `certutil`. Under `tests/all.sh` that is a failure.
    pub fn home(&self, test: &str) -> Option<&Path> {
        let database = self.dir.join(".pki/nssdb");
        fs::create_dir_all(&database).expect("a temporary directory can be made");
        let certutil = |arguments: &[&str]| {
            let mut certutil = Command::new("certutil");
            certutil.arg("-d").arg(format!("sql:{}", database.display())).args(arguments).output()
        };
        let root = self.root();
        let Ok(made) = certutil(&["-N", "--empty-password"]) else {
            assert!(
                std::env::var_os("TENURE_ALL").is_none(),
                "certutil is missing, and nothing may be left out"
            );
            let _ = writeln!(
                std::io::stderr(),
                "left out: {test} (needs certutil of libnss3-tools; see tests/all.sh)"
            );
            return None;
        };
        assert!(made.status.success(), "{made:?}");
        let added = certutil(&["-A", "-n", "test", "-t", "C,,", "-i", &root]).unwrap();
        assert!(added.status.success(), "{added:?}");
        Some(&self.dir)
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}
