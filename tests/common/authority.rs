//! A certificate authority of a test, a certificate by it, and what trusts it.

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

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::CertificateDer};

/// The name of the site that the certificate is for.
pub const HOST: &str = "app.example.com";

/// A certificate authority with a folder of its own, which goes with it.
#[derive(Debug)]
pub struct Authority {
    dir: PathBuf,
    root: CertificateDer<'static>,
}

impl Authority {
    /// Makes an authority, and a certificate for [`HOST`] and `127.0.0.1`.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("tenure-authority-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).expect("a temporary directory can be made");

        let mut of_root = CertificateParams::new([]).unwrap();
        of_root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        of_root.distinguished_name.push(rcgen::DnType::CommonName, "An authority of a test");
        let root = CertifiedIssuer::self_signed(of_root, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = [HOST.to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &root).unwrap();
        for (file, content) in
            [("root.pem", root.pem()), ("cert.pem", certificate.pem()), ("key.pem", key.serialize_pem())]
        {
            fs::write(dir.join(file), content).expect("a file can be written there");
        }
        Self { root: root.der().clone(), dir }
    }

    /// One of `root.pem`, `cert.pem` and `key.pem`.
    pub fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// The demo's flag to serve with the certificate.
    pub fn flag(&self) -> String {
        format!("--tls={},{}", self.file("cert.pem"), self.file("key.pem"))
    }

    /// What a client of our own needs to trust it.
    pub fn client_config(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap();
        Arc::new(config.with_root_certificates(roots).with_no_client_auth())
    }

    /// A home for a browser that trusts it. `None`, said on stderr, where there is no `certutil`; under `tests/all.sh` that
    /// is a failure.
    pub fn home(&self, test: &str) -> Option<&Path> {
        let database = self.dir.join(".pki/nssdb");
        fs::create_dir_all(&database).expect("a temporary directory can be made");
        let certutil = |arguments: &[&str]| {
            let mut certutil = Command::new("certutil");
            certutil.arg("-d").arg(format!("sql:{}", database.display())).args(arguments).output()
        };
        let root = self.file("root.pem");
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
