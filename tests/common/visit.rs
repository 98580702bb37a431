//! A demo with a real browser on its page.

use std::{net::SocketAddr, time::Duration};

use fantoccini::{Client, Locator, error::CmdError, key::Key};

use super::{
    chrome::{self, Chrome},
    demo::Demo,
};

pub(crate) type Result = std::result::Result<(), CmdError>;

const PATIENCE: Duration = Duration::from_secs(30);

/// A demo or another server, with a browser on its page.
pub(crate) struct Visit<S = Demo> {
    pub(crate) demo: S,
    pub(crate) chrome: Chrome,
    pub(crate) client: Client,
}

/// A server that a browser can visit.
pub(crate) trait Visited {
    fn address(&self) -> SocketAddr;
}

impl Visited for Demo {
    fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Visit {
    pub(crate) async fn start(test: &str, flags: &[&str]) -> Option<Self> {
        Self::start_with(test, flags, &[]).await
    }

    /// Like [`Visit::start`], with flags for the browser.
    pub(crate) async fn start_with(test: &str, flags: &[&str], browser_flags: &[&str]) -> Option<Self> {
        let chrome = Chrome::start(test)?;
        let visit = Self { demo: Demo::start(flags), client: chrome.open_with(browser_flags).await, chrome };
        visit.home().await.expect("the page opens");
        Some(visit)
    }

    /// Logs in with the form of the demo's page.
    pub(crate) async fn log_in(&self, user: &str, remember: bool) -> Result {
        self.fill("user", user).await?;
        if remember {
            self.click("#remember").await?;
        }
        self.click("#signed-out button.primary").await?;
        self.sees("#user-name", user).await
    }
}

impl<S: Visited> Visit<S> {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.demo.address())
    }

    pub(crate) async fn home(&self) -> Result {
        self.client.goto(&self.url("/")).await
    }

    /// Waits until an element is visible and contains this text.
    pub(crate) async fn sees(&self, selector: &str, text: &str) -> Result {
        let script = "const e = document.querySelector(arguments[0]);
            return !!e && e.checkVisibility() && e.textContent.includes(arguments[1]);";
        self.becomes_true(script, vec![selector.into(), text.into()]).await
    }

    pub(crate) async fn becomes_true(&self, script: &str, arguments: Vec<serde_json::Value>) -> Result {
        let what = format!("{arguments:?}");
        let waited = async {
            while self.client.execute(script, arguments.clone()).await? != serde_json::Value::Bool(true) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok(())
        };
        let seen = tokio::time::timeout(PATIENCE, waited).await;
        assert!(seen.is_ok(), "not seen: {what}\n{}", self.client.source().await?);
        seen.unwrap_or(Ok(()))
    }

    /// Saves a screenshot in the folder that `TENURE_PICTURES` names.
    pub(crate) async fn picture(&self, name: &str) -> Result {
        if let Some(folder) = std::env::var_os("TENURE_PICTURES") {
            let picture = self.client.screenshot().await?;
            std::fs::write(std::path::Path::new(&folder).join(name), picture)
                .expect("the picture is written");
        }
        Ok(())
    }

    /// Replaces the content of a field by typing this.
    pub(crate) async fn fill(&self, id: &str, text: &str) -> Result {
        let field = self.client.find(Locator::Id(id)).await?;
        field.clear().await?;
        field.send_keys(text).await
    }

    pub(crate) async fn click(&self, selector: &str) -> Result {
        self.client.find(Locator::Css(selector)).await?.click().await
    }

    /// Sends keys to the focused element.
    pub(crate) async fn press(&self, keys: &str) -> Result {
        self.client.active_element().await?.send_keys(keys).await
    }

    /// Like [`Visit::press`], for a key without a letter.
    pub(crate) async fn press_key(&self, key: Key) -> Result {
        self.press(&char::from(key).to_string()).await
    }

    /// Waits until a field contains this.
    pub(crate) async fn holds(&self, id: &str, value: &str) -> Result {
        let script = "return document.getElementById(arguments[0])?.value === arguments[1];";
        self.becomes_true(script, vec![id.into(), value.into()]).await
    }

    /// Quits the browser cleanly and starts it again with the same profile.
    pub(crate) async fn restart(&mut self) -> Result {
        self.client.clone().close().await?;
        self.client = self.chrome.open().await;
        self.home().await
    }

    /// Checks that there was no script error and no violation of the content security policy, then
    /// quits.
    pub(crate) async fn finish(self) -> Result {
        assert_eq!(chrome::complaints(&self.client).await, [] as [serde_json::Value; 0]);
        self.client.close().await
    }
}
