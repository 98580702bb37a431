//! A session in the API.

use serde::Serialize;
use serde_json::{Map, Value};

use super::response::ApiError;
use crate::{
    Policy, Timestamp,
    record::{Metadata, Record},
};

/// All fields of a session except the data of handlers.
#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the names of the API")]
pub(super) struct Session {
    id: String,
    user_id: Option<String>,
    created_at: String,
    updated_at: String,
    authenticated_at: Option<String>,
    idle_expires_at: String,
    expires_at: String,
    last_interacted_at: String,
    device: Device,
    clients: Vec<Client>,
    authentication: Authentication,
    cookie: Cookie,
    session_metadata: Option<Map<String, Value>>,
}

/// Autonomous systems are not looked up; the fields are there because clients read them.
#[derive(Serialize)]
struct Device {
    initial_user_agent: Option<String>,
    initial_ip: Option<String>,
    initial_asn: Option<String>,
    last_user_agent: Option<String>,
    last_ip: Option<String>,
    last_asn: Option<String>,
    /// Beyond the official API: the last user agent, readable.
    description: String,
    /// Beyond the official API: whether the session is bound to its device.
    bound: bool,
}

#[derive(Serialize)]
struct Client {
    client_id: String,
}

#[derive(Serialize)]
struct Authentication {
    methods: Vec<Method>,
}

#[derive(Serialize)]
struct Method {
    name: String,
    timestamp: String,
}

#[derive(Serialize)]
struct Cookie {
    mode: &'static str,
}

impl Session {
    /// The session as this policy judges it, which may be lower than the one of its last request.
    pub(super) fn new(record: &Record, policy: &Policy) -> Self {
        let (timing, facts) = (&record.timing_under(policy), &record.facts);
        let device = &facts.device;
        let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
        let metadata = facts.metadata.iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
        Self {
            id: record.sid.to_string(),
            user_id: text(&record.subject),
            created_at: timing.created_at.to_string(),
            updated_at: record.updated_at.to_string(),
            authenticated_at: timing.authenticated_at.as_ref().map(Timestamp::to_string),
            idle_expires_at: timing.idle_expires_at().to_string(),
            expires_at: timing.expires_at().to_string(),
            last_interacted_at: timing.last_interaction_at.to_string(),
            device: Device {
                initial_user_agent: text(&device.initial_user_agent),
                initial_ip: device.initial_ip.map(|ip| ip.to_string()),
                initial_asn: None,
                last_user_agent: text(&device.last.user_agent),
                last_ip: device.last.ip.map(|ip| ip.to_string()),
                last_asn: None,
                description: device.description(),
                bound: record.bound_device().is_some(),
            },
            clients: facts.clients.iter().cloned().map(|client_id| Client { client_id }).collect(),
            authentication: Authentication {
                methods: facts
                    .authentication
                    .iter()
                    .map(|method| Method { name: method.name.clone(), timestamp: method.at.to_string() })
                    .collect(),
            },
            cookie: Cookie { mode: timing.mode.as_str() },
            session_metadata: Some(metadata).filter(|metadata: &Map<_, _>| !metadata.is_empty()),
        }
    }
}

/// Signing everybody out needs a body that says so: a path that lost its id is not enough.
pub(super) fn check_everybody(body: &Map<String, Value>) -> Result<(), ApiError> {
    const NAME: &str = "everybody";
    match (body.get(NAME), body.len()) {
        (Some(Value::Bool(true)), 1) => Ok(()),
        (Some(Value::Bool(true)), _) => Err(ApiError::body("Additional properties not allowed", "")),
        _ => Err(ApiError::body("Expected true, to sign everybody out", NAME)),
    }
}

/// The metadata that replaces the old.
pub(super) fn metadata(body: &Map<String, Value>) -> Result<Metadata, ApiError> {
    const NAME: &str = "session_metadata";
    if let Some(name) = body.keys().find(|name| *name != NAME) {
        return Err(ApiError::body("Additional properties not allowed", name));
    }
    let entries = match body.get(NAME) {
        None => return Err(ApiError::body("Missing required property: session_metadata", "")),
        Some(Value::Null) => return Ok(Metadata::default()),
        Some(Value::Object(entries)) => entries,
        Some(_) => return Err(ApiError::body("Expected type object or null", NAME)),
    };
    let mut metadata = Metadata::default();
    for (key, value) in entries {
        let Some(value) = value.as_str() else { return Err(ApiError::body("Expected type string", NAME)) };
        metadata.set(key, value).map_err(|error| ApiError::body(&error.to_string(), NAME))?;
    }
    Ok(metadata)
}
