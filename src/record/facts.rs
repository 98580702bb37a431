//! Facts about a session for pages, hooks and the management API. No decision depends on them.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use super::user_agent;
use crate::{Error, ErrorKind, Timestamp};

/// Facts about a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Facts {
    /// Where it was used from, first and last.
    pub device: Device,
    /// The client applications that took part, in order, each once.
    pub clients: Vec<String>,
    /// How the user proved who they are.
    pub authentication: Vec<AuthenticationMethod>,
    /// What hooks and the management API attached.
    pub metadata: Metadata,
}

/// Where a session was used from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Device {
    /// The address at the login, if the layer has a function that finds it.
    pub initial_ip: Option<IpAddr>,
    /// The `User-Agent` at the login.
    pub initial_user_agent: Option<Arc<str>>,
    /// The address and `User-Agent` of the last recorded interaction.
    pub last: LastSeen,
}

impl Device {
    /// The last browser and system for people, such as "Firefox on Windows".
    ///
    /// # Example
    ///
    /// ```
    /// use tower_tenure::record::Device;
    ///
    /// let mut device = Device::default();
    /// assert_eq!(device.description(), "Unknown device");
    /// let text = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0";
    /// device.last.user_agent = Some(text.into());
    /// assert_eq!(device.description(), "Firefox on Windows");
    /// ```
    pub fn description(&self) -> String {
        user_agent::describe(self.last.user_agent.as_deref().unwrap_or_default())
    }
}

/// The address and `User-Agent` of an interaction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastSeen {
    /// The client's address.
    pub ip: Option<IpAddr>,
    /// The `User-Agent`, cut at 512 bytes.
    pub user_agent: Option<Arc<str>>,
}

/// One way in which the user proved who they are, for example `pwd` or `mfa` (RFC 8176 has the
/// usual names).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AuthenticationMethod {
    /// Its name.
    pub name: String,
    /// When it was used.
    pub at: Timestamp,
}

impl AuthenticationMethod {
    /// A method of this name, used at this moment.
    pub fn new(name: impl Into<String>, at: Timestamp) -> Self {
        Self { name: name.into(), at }
    }
}

/// Text by key, attached to a session at login or by the management API; at most 25 entries.
///
/// # Example
///
/// ```
/// use tower_tenure::record::Metadata;
///
/// let mut metadata = Metadata::default();
/// metadata.set("risk", "low")?;
/// assert_eq!(metadata.get("risk"), Some("low"));
/// assert!(metadata.set("no spaces", "x").is_err());
/// # Ok::<(), tower_tenure::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>")]
pub struct Metadata(BTreeMap<String, String>);

impl TryFrom<BTreeMap<String, String>> for Metadata {
    type Error = Error;

    fn try_from(entries: BTreeMap<String, String>) -> Result<Self, Error> {
        let mut metadata = Self::default();
        entries.iter().try_for_each(|(key, value)| metadata.set(key, value))?;
        Ok(metadata)
    }
}

impl Metadata {
    /// The maximum number of entries.
    pub const MAX_ENTRIES: usize = 25;
    /// The maximum number of characters of a key, and of a value.
    pub const MAX_CHARS: usize = 255;

    /// Sets an entry.
    ///
    /// # Errors
    ///
    /// When the key is not 1 to 255 letters, digits, `_` or `-`, when the value is over 255
    /// characters, or when it would be the 26th entry. Nothing is changed then.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), Error> {
        let refuse = |message: &'static str| Err(Error::new(ErrorKind::InvalidInput, message));
        let letters = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        if key.is_empty() || key.len() > Self::MAX_CHARS || !letters {
            return refuse("a metadata key is 1 to 255 letters, digits, `_` or `-`");
        }
        if value.chars().count() > Self::MAX_CHARS {
            return refuse("a metadata value is at most 255 characters");
        }
        if self.0.len() >= Self::MAX_ENTRIES && !self.0.contains_key(key) {
            return refuse("a session has at most 25 entries of metadata");
        }
        self.0.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    /// The value under a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Removes an entry.
    pub fn remove(&mut self, key: &str) {
        self.0.remove(key);
    }

    /// All entries, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
