//! A real browser: headless Chromium, driven through `chromedriver`, both from Debian packages.

use std::{
    fs,
    io::{self, BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use fantoccini::{Client, ClientBuilder, wd::WebDriverCompatibleCommand};
use serde_json::{Value, json};

use super::authority::Authority;

/// A `chromedriver` on its own port, with its own profile, which survives a restart of the browser.
pub(crate) struct Chrome {
    driver: Child,
    address: SocketAddr,
    profile: PathBuf,
}

impl Chrome {
    /// Starts the driver. `None`, with a message on stderr, if there is no Chromium. Under
    /// `tests/all.sh` that is a failure.
    pub(crate) fn start(test: &str) -> Option<Self> {
        Self::run(test, &mut Command::new("chromedriver"))
    }

    /// Like [`Chrome::start`], for browsers that trust the certificates of this authority.
    pub(crate) fn trusting(authority: &Authority, test: &str) -> Option<Self> {
        Self::run(test, Command::new("chromedriver").env("HOME", authority.home(test)?))
    }

    fn run(test: &str, driver: &mut Command) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let started = driver.args(["--port=0"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(mut driver) = started else {
            assert!(
                std::env::var_os("TENURE_ALL").is_none(),
                "chromedriver is missing, and nothing may be left out"
            );
            // Not `eprintln`, which the test harness would capture.
            let _ = writeln!(
                std::io::stderr(),
                "left out: {test} (needs chromium and chromedriver; see tests/all.sh)"
            );
            return None;
        };
        let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.map_while(Result::ok).find_map(|line| {
            let (_, port) = line.split_once("was started successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let profile = std::env::temp_dir().join(format!("tenure-chrome-{}-{number}", std::process::id()));
        let address = (Ipv4Addr::LOCALHOST, port.expect("chromedriver prints its port")).into();
        Some(Self { driver, address, profile })
    }

    /// Opens a browser window. Closing the client quits the browser cleanly, and opening again is a
    /// restart.
    pub(crate) async fn open(&self) -> Client {
        self.open_with(&[]).await
    }

    /// Like [`Chrome::open`], with more flags.
    pub(crate) async fn open_with(&self, flags: &[&str]) -> Client {
        let profile = format!("--user-data-dir={}", self.profile.display());
        let args = [
            "--headless=new",
            "--no-sandbox", // the sandbox does not work for root or in containers, and all pages are ours
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1100,900",
            &profile,
        ];
        let args = [&args, flags].concat();
        let options = json!({
            "goog:chromeOptions": { "args": args },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let Value::Object(options) = options else { unreachable!() };
        ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
            .capabilities(options)
            .connect(&format!("http://{}", self.address))
            .await
            .expect("a browser session starts")
    }
}

/// Terminates the driver instead of killing it. Then it also quits the browsers that a failed test
/// left open.
impl Drop for Chrome {
    fn drop(&mut self) {
        let asked = TcpStream::connect(self.address).and_then(|mut driver| {
            driver.set_read_timeout(Some(Duration::from_secs(10)))?;
            write!(driver, "GET /shutdown HTTP/1.1\r\nHost: {}\r\n\r\n", self.address)?;
            io::copy(&mut driver, &mut io::sink())
        });
        if asked.is_err() {
            let _ = self.driver.kill();
        }
        let _ = self.driver.wait();
        let _ = fs::remove_dir_all(&self.profile);
    }
}

/// The page's errors: script errors, failed requests, and violations of the content security
/// policy.
pub(crate) async fn complaints(client: &Client) -> Vec<Value> {
    let severe = |entry: &Value| entry["level"] == "SEVERE" || entry["source"] == "security";
    log(client).await.into_iter().filter(severe).collect()
}

/// The new entries of the browser's log.
pub(crate) async fn log(client: &Client) -> Vec<Value> {
    let log = client.issue_cmd(BrowserLog).await.expect("chromedriver returns the browser's log");
    log.as_array().cloned().unwrap_or_default()
}

/// `POST /session/{id}/se/log`, for which fantoccini has no method.
#[derive(Debug)]
struct BrowserLog;

impl WebDriverCompatibleCommand for BrowserLog {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(json!({ "type": "browser" }).to_string()))
    }
}

/// A command of the Chrome `DevTools` protocol, for which `WebDriver` has no command.
pub(crate) async fn cdp(client: &Client, name: &str, parameters: Value) -> Value {
    client
        .issue_cmd(Cdp(json!({ "cmd": name, "params": parameters })))
        .await
        .expect("chromedriver passes it on")
}

/// `POST /session/{id}/goog/cdp/execute`.
#[derive(Debug)]
struct Cdp(Value);

impl WebDriverCompatibleCommand for Cdp {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.0.to_string()))
    }
}
