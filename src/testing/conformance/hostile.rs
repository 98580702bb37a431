//! Values that break a careless store.

use std::{net::IpAddr, time::Duration};

use super::material::json;
use crate::{
    Timestamp,
    record::{AuthenticationMethod, Device, Edits, Facts, LastSeen, Metadata},
};

/// Keys and values of session data.
pub(super) fn edits() -> Edits {
    let mut edits = Edits::default();
    for text in [
        "",
        " ",
        "'",
        "\"",
        "\\",
        "\0",
        "a\0b",
        "\r\n\t",
        "'; DROP TABLE sessions; --",
        "{\"$set\":1}",
        "%s",
        "null",
        "1:a",
    ] {
        edits.set(text, json(text));
    }
    for text in ["🦀🧑‍🔬", "é", "e\u{301}", "\u{202e}", "\u{feff}", "\u{ffff}", "日本語"] {
        edits.set(text, json(text));
    }
    edits.set("100 kB", json(&"\0\"x🦀".repeat(12_500)));
    edits
}

pub(super) fn facts(at: Timestamp) -> Facts {
    let mut metadata = Metadata::default();
    for (key, value) in [("risk", "low"), ("a-b_9", ""), ("quote", "'\"\\\0🦀")] {
        metadata.set(key, value).expect("it fits");
    }
    let seen = |ip: &str, agent: &str| LastSeen { ip: ip.parse().ok(), user_agent: Some(agent.into()) };
    Facts {
        device: Device {
            initial_ip: Some(IpAddr::from([192, 0, 2, 1])),
            initial_user_agent: Some("Mozilla/5.0 (X11; \"quoted\\\")".into()),
            last: seen("2001:db8::ffff", "curl/8"),
        },
        clients: vec!["b".into(), "a".into(), "it's".into()],
        authentication: vec![
            AuthenticationMethod { name: "pwd".into(), at },
            AuthenticationMethod { name: "mfa".into(), at: at + Duration::from_millis(1) },
        ],
        metadata,
    }
}
