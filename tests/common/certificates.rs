//! Certificates for servers in tests, made by `openssl`: an authority, and what it signed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

/// An authority in a directory of its own, which goes when this is dropped.
pub struct Authority {
    dir: PathBuf,
}

impl Authority {
    /// `None`, said on stderr, where `openssl` is missing; under `tests/all.sh` that is a failure.
    pub fn new(test: &str) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if Command::new("openssl").arg("version").output().is_err() {
            assert!(
                std::env::var_os("TENURE_ALL").is_none(),
                "openssl is missing, and nothing may be left out"
            );
            eprintln!("left out: {test} (needs openssl)");
            return None;
        }
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("tenure-authority-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).expect("a temporary directory can be made");
        let authority = Self { dir };
        authority.make("ca", &["-subj", &format!("/CN=authority {number} of a test")]);
        Some(authority)
    }

    /// The root certificate.
    pub fn root(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// A certificate and its key for names such as `DNS:localhost,IP:127.0.0.1`.
    pub fn sign(&self, name: &str, names: &str) -> [PathBuf; 2] {
        let (ca, key) = (self.dir.join("ca.pem"), self.dir.join("ca.key"));
        let names = format!("subjectAltName={names}");
        let [ca, key] = [&ca, &key].map(|path| path.to_str().expect("the path is UTF-8"));
        self.make(
            name,
            &[
                "-subj",
                "/CN=server of a test",
                "-addext",
                &names,
                "-addext",
                "basicConstraints=critical,CA:FALSE",
                "-CA",
                ca,
                "-CAkey",
                key,
            ],
        );
        [self.dir.join(format!("{name}.pem")), self.dir.join(format!("{name}.key"))]
    }

    fn make(&self, name: &str, arguments: &[&str]) {
        let mut make = Command::new("openssl");
        make.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        make.args(["-days", "2"]).args(arguments);
        make.arg("-keyout").arg(self.dir.join(format!("{name}.key")));
        make.arg("-out").arg(self.dir.join(format!("{name}.pem")));
        let output = make.output().expect("openssl runs");
        assert!(output.status.success(), "{make:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Gives a key to the user that PostgreSQL runs as: it wants nobody else to read it.
pub fn give_to_postgres(key: &Path) {
    let done = |command: &mut Command| command.status().is_ok_and(|status| status.success());
    assert!(done(Command::new("chmod").arg("600").arg(key)));
    if fs::read_to_string("/proc/self/status").is_ok_and(|status| status.contains("\nUid:\t0\t")) {
        assert!(done(Command::new("chown").arg("postgres").arg(key)));
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}
