//! Facts as three texts of JSON: those that stay, and the two that a change replaces as a whole.

use std::{net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Error, ErrorKind,
    record::{AuthenticationMethod, Device, Facts, LastSeen, Metadata},
};

/// The facts that no change changes.
#[derive(Serialize, Deserialize)]
struct Constant {
    initial_ip: Option<IpAddr>,
    initial_user_agent: Option<Arc<str>>,
    clients: Vec<String>,
    authentication: Vec<AuthenticationMethod>,
}

/// Those that stay, where the session was seen last, and the metadata.
pub(super) fn write(facts: &Facts) -> Result<[String; 3], Error> {
    let constant = Constant {
        initial_ip: facts.device.initial_ip,
        initial_user_agent: facts.device.initial_user_agent.clone(),
        clients: facts.clients.clone(),
        authentication: facts.authentication.clone(),
    };
    Ok([to_json(&constant)?, last_seen(&facts.device.last)?, metadata(&facts.metadata)?])
}

pub(super) fn last_seen(last_seen: &LastSeen) -> Result<String, Error> {
    to_json(last_seen)
}

pub(super) fn metadata(metadata: &Metadata) -> Result<String, Error> {
    to_json(metadata)
}

pub(super) fn read([constant, last, metadata]: [&str; 3]) -> Result<Facts, Error> {
    let constant: Constant = from_json(constant)?;
    let Constant { initial_ip, initial_user_agent, clients, authentication } = constant;
    let device = Device { initial_ip, initial_user_agent, last: from_json(last)? };
    Ok(Facts { device, clients, authentication, metadata: from_json(metadata)? })
}

pub(super) fn to_json<T: Serialize>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|_| Error::store("a part of a session can not be written as JSON"))
}

/// Says nothing of what it read (H5).
pub(super) fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    let unreadable =
        || Error::new(ErrorKind::Store, "a part of a session in the store is not the JSON it was");
    serde_json::from_str(text).map_err(|_| unreadable())
}
