//! Events for changed settings.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::Engine;
use crate::{
    Timestamp,
    events::{Event, EventKind},
};

/// Settings by their names in the management API.
pub(crate) type SettingValues = Map<String, Value>;

impl Engine {
    /// Emits an event for each setting that is another after a change.
    pub(crate) fn report_changes(
        &self,
        realm: &str,
        at: Timestamp,
        by: Option<&str>,
        before: &SettingValues,
        after: &SettingValues,
    ) {
        let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        for setting in names {
            let [from, to] = [before, after].map(|values| values.get(setting).unwrap_or(&Value::Null));
            if from != to {
                let [from, to] = [from, to].map(shortened);
                let kind = EventKind::SettingChanged { setting, from: &from, to: &to };
                self.emit_event(&Event { at, realm, sid: None, subject: None, by, kind });
            }
        }
    }
}

/// A value for an event: its size instead of a long one, since observers keep and write events.
fn shortened(value: &Value) -> Value {
    const MAX_BYTES: usize = 1024;
    let length = value.to_string().len();
    if length <= MAX_BYTES { value.clone() } else { format!("{length} bytes of JSON").into() }
}
