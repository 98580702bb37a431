//! Synthetic sessions with two values and a user agent of about 100 bytes.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use super::setting;
use tower_tenure::{
    Lifetimes, SessionId, Timestamp,
    policy::{Overrides, Policy, open},
    record::{Edits, Facts, Json, Record, SecretHash, Tag},
    store::{Creation, PlaceKey},
    testing,
};

pub(crate) const START: Timestamp = Timestamp::from_unix_millis(1_700_000_000_000);

/// When a third of the sessions has expired.
pub(crate) const LATER: Timestamp = Timestamp::from_unix_millis(1_700_000_060_000);

pub(crate) const REALM: &str = "__Host-id";

/// A subject and the tag of its sessions.
pub(crate) fn subject(place_key: PlaceKey, name: &str) -> (Tag, Arc<str>) {
    (place_key.tag(REALM, name), name.into())
}

/// Whether sessions have the client's address. They do not if the layer has no client IP source.
static WITH_ADDRESS: LazyLock<bool> = LazyLock::new(|| setting("STORES_ADDRESS", true));

/// The subject's session with this number. A third of them expire soon.
pub(crate) fn creation(place_key: PlaceKey, number: u64, subject: &str) -> Creation {
    let lifetimes = if number.is_multiple_of(3) {
        Lifetimes::new(Duration::from_secs(10), Duration::from_secs(20)).expect("they are good")
    } else {
        Lifetimes::from_minutes(60, 600)
    };
    let policy = Policy::both(lifetimes);
    // Distinct times, so that the sessions have an order.
    let created_at = START + Duration::from_millis(number % 1000);
    let timing = open(&policy, created_at, &Overrides::default()).expect("a login").timing;
    let mut edits = Edits::default();
    edits.set("cart", Json::encode(&[number, 2, 3]).expect("JSON"));
    edits.set("theme", Json::encode("dark").expect("JSON"));
    let mut facts = Facts::default();
    facts.device.initial_user_agent = Some(user_agent(number).into());
    facts.device.last.user_agent.clone_from(&facts.device.initial_user_agent);
    if *WITH_ADDRESS {
        facts.device.last.ip = Some([192, 0, 2, (number % 251) as u8].into());
    }
    let mut secret = [0; 32];
    secret.chunks_mut(8).zip(0..).for_each(|(bytes, part)| bytes.copy_from_slice(&mixed(4 * number + part)));
    let record = Record {
        sid: sid(place_key, number, subject),
        realm: REALM.into(),
        secret: SecretHash::from_bytes(secret),
        subject: Some(subject.into()),
        facts: Arc::new(facts),
        ..testing::record(timing)
    };
    Creation { edits, ..Creation::new(record) }
}

/// Its id, which is random except for the tag.
pub(crate) fn sid(place_key: PlaceKey, number: u64, subject: &str) -> SessionId {
    let mut bytes = [0; SessionId::BYTES];
    bytes[..8].copy_from_slice(&mixed(!number));
    bytes[8..].copy_from_slice(&mixed(number));
    place_key.place(SessionId::from_bytes(bytes), REALM, subject)
}

/// User agents of 101 to 117 bytes, as current browsers send.
pub(crate) fn user_agent(number: u64) -> String {
    const SYSTEMS: [&str; 4] = [
        "X11; Linux x86_64",
        "Windows NT 10.0; Win64; x64",
        "Macintosh; Intel Mac OS X 10_15_7",
        "Linux; Android 10; K",
    ];
    let (system, version) = (SYSTEMS[(number % 4) as usize], 120 + number / 4 % 25);
    format!(
        "Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{version}.0.0.0 Safari/537.36"
    )
}

/// `SplitMix64`: pseudorandom, and each number occurs once.
fn mixed(number: u64) -> [u8; 8] {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)).to_be_bytes()
}
