//! The official tenant settings that this API keeps but does not use.

use std::time::Duration;

use serde_json::{Map, Value};

use super::response::ApiError;
use crate::{Lifetimes, policy::PolicySettings};

/// The names, by the types of the official client for Node.js, 7.1.0.
const NAMES: [&str; 35] = [
    "acr_values_supported",
    "allow_organization_name_in_authentication_api",
    "authorization_response_iss_parameter_supported",
    "change_password",
    "client_id_metadata_document_supported",
    "country_codes",
    "customize_mfa_in_postlogin_action",
    "default_audience",
    "default_directory",
    "default_redirection_uri",
    "default_token_quota",
    "device_flow",
    "dynamic_client_registration_security_mode",
    "enable_ai_guide",
    "enabled_locales",
    "error_page",
    "flags",
    "friendly_name",
    "guardian_mfa_page",
    "include_session_metadata_in_tenant_logs",
    "legacy_sandbox_version",
    "local_resource_discovery",
    "mtls",
    "oidc_logout",
    "phone_consolidated_experience",
    "picture_url",
    "pushed_authorization_requests_supported",
    "resource_parameter_profile",
    "sandbox_version",
    "sandbox_versions_available",
    "security_headers",
    "sessions",
    "skip_non_verifiable_callback_uri_confirmation_prompt",
    "support_email",
    "support_url",
];

/// Where the settings keep them, beside those of this crate.
const PLACE: &str = "official_tenant_settings";

/// The maximum size of all of them together, as JSON, in bytes.
const MAX_BYTES: usize = 256 * 1024;

pub(super) fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

/// What is kept.
pub(super) fn kept(settings: &PolicySettings) -> Map<String, Value> {
    settings.other.get(PLACE).and_then(Value::as_object).cloned().unwrap_or_default()
}

/// Checks a value. Only the lifetime of anonymous sessions is used, so only that can be wrong.
pub(super) fn check(name: &str, value: &Value) -> Result<(), ApiError> {
    const LIFETIME: &str = "sessions.anonymous.lifetime_in_minutes";
    let given = (name == "sessions").then(|| value.pointer("/anonymous/lifetime_in_minutes")).flatten();
    match given {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Number(number)) if number.is_u64() || number.is_i64() => match number.as_u64() {
            Some(1..=super::tenant::MAX_MINUTES) => Ok(()),
            Some(1..) => {
                let reason = format!("Value is greater than maximum {}", super::tenant::MAX_MINUTES);
                Err(ApiError::body(&reason, LIFETIME))
            }
            _ => Err(ApiError::body("Value is less than minimum 1", LIFETIME)),
        },
        Some(_) => Err(ApiError::body("Expected type integer", LIFETIME)),
    }
}

/// Merges changes into what is kept, and applies the lifetime of anonymous sessions.
pub(super) fn apply(changes: &Map<String, Value>, settings: &mut PolicySettings) -> Result<(), ApiError> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut kept = Value::Object(kept(settings));
    let before = anonymous_minutes(&kept);
    merge(&mut kept, changes);
    if kept.to_string().len() > MAX_BYTES {
        return Err(ApiError::body("The settings are over 256 KiB", ""));
    }
    let minutes = anonymous_minutes(&kept);
    if minutes != before {
        let lifetime = minutes.map(|minutes| Duration::from_secs(minutes * 60));
        settings.anonymous = lifetime.and_then(|lifetime| Lifetimes::new(lifetime, lifetime).ok());
    }
    settings.other.insert(PLACE.to_owned(), kept);
    Ok(())
}

fn anonymous_minutes(kept: &Value) -> Option<u64> {
    kept.pointer("/sessions/anonymous/lifetime_in_minutes").and_then(Value::as_u64)
}

/// RFC 7396, section 2.
fn merge(target: &mut Value, patch: &Map<String, Value>) {
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(target) = target.as_object_mut() else { return };
    for (name, value) in patch {
        match value {
            Value::Null => drop(target.remove(name)),
            Value::Object(patch) => merge(target.entry(name).or_insert(Value::Null), patch),
            value => drop(target.insert(name.clone(), value.clone())),
        }
    }
}
