//! The tenant's settings in the API: lifetimes in hours, or also in minutes for changes.

use std::time::Duration;

use serde_json::{Map, Number, Value, json};

use super::{official, response::ApiError};
use crate::{
    Lifetimes, Mode, Policy,
    browser::LogoutUrls,
    policy::{Cap, Overflow, PolicySettings},
};

/// One of the four lifetimes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lifetime {
    Absolute(Mode),
    Idle(Mode),
}

const LIFETIMES: [(&str, Lifetime); 4] = [
    ("session_lifetime", Lifetime::Absolute(Mode::Persistent)),
    ("idle_session_lifetime", Lifetime::Idle(Mode::Persistent)),
    ("ephemeral_session_lifetime", Lifetime::Absolute(Mode::NonPersistent)),
    ("idle_ephemeral_session_lifetime", Lifetime::Idle(Mode::NonPersistent)),
];

const HOUR: u64 = 60;

/// A year.
pub(super) const MAX_MINUTES: u64 = 8760 * HOUR;

/// The wanted fields with the values in force: a superseded value shows as the limit.
pub(super) fn write(policy: Policy, settings: &PolicySettings, is_wanted: impl Fn(&str) -> bool) -> Value {
    let mut fields = fields(policy, settings);
    fields.retain(|name, _| is_wanted(name));
    fields.into()
}

/// All settings that this API can change, the cap among them, as they are under the limits of a
/// policy.
pub(super) fn all(limits: Policy, settings: &PolicySettings) -> Map<String, Value> {
    let policy = settings.over(limits);
    let mut fields = fields(policy, settings);
    for name in ["max_sessions", "overflow"] {
        fields.insert(name.to_owned(), write_limits(policy)[name].take());
    }
    fields
}

fn fields(policy: Policy, settings: &PolicySettings) -> Map<String, Value> {
    let mut fields = official::kept(settings);
    for (name, lifetime) in LIFETIMES {
        fields.insert(name.to_owned(), hours(lifetime.of(|mode| policy.effective(mode))));
    }
    fields.insert("session_cookie".to_owned(), json!({ "mode": policy.default_mode().as_str() }));
    fields.insert("allowed_logout_urls".to_owned(), json!(settings.allowed_logout_urls));
    fields
}

/// An integer where it is one, else a fraction that rounds back to the same minute.
fn hours(lifetime: Duration) -> Value {
    const HOUR_MILLIS: u128 = 3_600_000;
    let millis = lifetime.as_millis();
    match u64::try_from(millis / HOUR_MILLIS) {
        Ok(hours) if millis.is_multiple_of(HOUR_MILLIS) => hours.into(),
        _ => Number::from_f64(lifetime.as_secs_f64() / 3600.0).map_or(Value::Null, Value::Number),
    }
}

/// What a request wants to change.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Changes {
    lifetimes: Vec<(Lifetime, Duration)>,
    mode: Option<Mode>,
    allowed_logout_urls: Option<Vec<String>>,
    official: Map<String, Value>,
}

impl Changes {
    /// Reads all changes, or none if one is invalid.
    pub(super) fn read(body: &Map<String, Value>) -> Result<Self, ApiError> {
        if body.is_empty() {
            return Err(ApiError::body("Expected at least one setting", ""));
        }
        let mut changes = Self::default();
        for (name, value) in body {
            match &**name {
                "session_cookie" => changes.mode = Some(mode(value)?),
                "allowed_logout_urls" => changes.allowed_logout_urls = Some(logout_urls(value)?),
                name if official::is_known(name) => {
                    official::check(name, value)?;
                    changes.official.insert(name.to_owned(), value.clone());
                }
                _ => {
                    let (lifetime, minutes) = lifetime(name, value)?;
                    if changes.lifetimes.iter().any(|(given, _)| *given == lifetime) {
                        let name = name.trim_end_matches(IN_MINUTES);
                        let reason = format!("Expected either {name} or {name}{IN_MINUTES}, not both");
                        return Err(ApiError::body(&reason, name));
                    }
                    changes.lifetimes.push((lifetime, minutes));
                }
            }
        }
        Ok(changes)
    }

    /// The settings with these changes.
    pub(super) fn apply(&self, settings: &mut PolicySettings) -> Result<(), ApiError> {
        for &(lifetime, value) in &self.lifetimes {
            let (Lifetime::Absolute(mode) | Lifetime::Idle(mode)) = lifetime;
            let pair = match mode {
                Mode::Persistent => &mut settings.persistent,
                Mode::NonPersistent => &mut settings.non_persistent,
            };
            let changed = match lifetime {
                Lifetime::Absolute(_) => Lifetimes::new(pair.idle(), value),
                Lifetime::Idle(_) => Lifetimes::new(value, pair.absolute()),
            };
            *pair = changed.map_err(|error| ApiError::body(&error.to_string(), ""))?;
        }
        if let Some(mode) = self.mode {
            settings.default_mode = mode;
        }
        if let Some(urls) = &self.allowed_logout_urls {
            settings.allowed_logout_urls.clone_from(urls);
        }
        official::apply(&self.official, settings)
    }
}

impl Lifetime {
    fn of(self, pair: impl Fn(Mode) -> Lifetimes) -> Duration {
        match self {
            Self::Absolute(mode) => pair(mode).absolute(),
            Self::Idle(mode) => pair(mode).idle(),
        }
    }
}

const IN_MINUTES: &str = "_in_minutes";

fn lifetime(name: &str, value: &Value) -> Result<(Lifetime, Duration), ApiError> {
    let (field, unit) = name.strip_suffix(IN_MINUTES).map_or((name, HOUR), |field| (field, 1));
    let known = LIFETIMES.iter().find(|(known, _)| *known == field);
    let Some((_, lifetime)) = known else {
        return Err(ApiError::body("Additional properties not allowed", name));
    };
    let Some(number) = value.as_number().filter(|number| number.is_u64() || number.is_i64()) else {
        return Err(ApiError::body("Expected type integer", name));
    };
    let Some(number) = number.as_u64().filter(|&number| number >= 1) else {
        return Err(ApiError::body("Value is less than minimum 1", name));
    };
    match number.checked_mul(unit).filter(|&minutes| minutes <= MAX_MINUTES) {
        Some(minutes) => Ok((*lifetime, Duration::from_secs(minutes * 60))),
        None => Err(ApiError::body(&format!("Value is greater than maximum {}", MAX_MINUTES / unit), name)),
    }
}

/// Null resets to the default.
fn mode(value: &Value) -> Result<Mode, ApiError> {
    let name = "session_cookie";
    let fields = match value {
        Value::Null => return Ok(Policy::default().default_mode()),
        Value::Object(fields) => fields,
        _ => return Err(ApiError::body("Expected type object or null", name)),
    };
    if fields.keys().any(|key| key != "mode") {
        return Err(ApiError::body("Additional properties not allowed", name));
    }
    let mode = fields.get("mode").and_then(Value::as_str).and_then(|mode| mode.parse().ok());
    mode.ok_or_else(|| ApiError::body("Expected persistent or non-persistent", "session_cookie.mode"))
}

fn logout_urls(value: &Value) -> Result<Vec<String>, ApiError> {
    let name = "allowed_logout_urls";
    let Some(urls) = value.as_array() else { return Err(ApiError::body("Expected type array", name)) };
    let check = |(index, url): (usize, &Value)| {
        let place = format!("{name}[{index}]");
        let Some(url) = url.as_str() else { return Err(ApiError::body("Expected type string", &place)) };
        match LogoutUrls::new().allow(url) {
            Ok(_) => Ok(url.to_owned()),
            Err(error) => Err(ApiError::body(&error.to_string(), &place)),
        }
    };
    urls.iter().enumerate().map(check).collect()
}

/// The limits of the lifetimes and the cap on a user's sessions; null for no limit.
pub(super) fn write_limits(policy: Policy) -> Value {
    let limits = policy.limits().as_lifetimes();
    let minutes = |lifetime: Duration| lifetime.as_secs() / 60;
    let cap = policy.cap();
    json!({
        "max_sessions": cap.map(|cap| cap.most()),
        "overflow": cap.map_or(Overflow::Evict, |cap| cap.overflow()).as_str(),
        "max_idle_lifetime_in_minutes": minutes(limits.idle()),
        "max_lifetime_in_minutes": minutes(limits.absolute()),
    })
}

/// `{"max_sessions": 3, "overflow": "evict"}`, with null for no cap.
pub(super) fn read_cap(body: &Map<String, Value>) -> Result<Option<Cap>, ApiError> {
    if let Some(name) = body.keys().find(|name| !["max_sessions", "overflow"].contains(&name.as_str())) {
        return Err(ApiError::body("Additional properties not allowed", name));
    }
    let overflow = match body.get("overflow") {
        None => Overflow::Evict,
        Some(text) => {
            let overflow = text.as_str().and_then(|text| text.parse().ok());
            overflow.ok_or_else(|| ApiError::body("Expected evict or refuse", "overflow"))?
        }
    };
    match body.get("max_sessions") {
        None => Err(ApiError::body("Missing required property: max_sessions", "")),
        Some(Value::Null) => Ok(None),
        Some(most) => {
            let most = most.as_u64().and_then(|most| u32::try_from(most).ok()?.try_into().ok());
            let most =
                most.ok_or_else(|| ApiError::body("Expected an integer from 1, or null", "max_sessions"))?;
            Ok(Some(Cap::new(most, overflow)))
        }
    }
}
