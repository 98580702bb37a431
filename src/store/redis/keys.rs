//! The names of the keys.

use base64ct::{Base64UrlUnpadded, Encoding};

use crate::record::{SessionId, Tag};

/// The keys of one store: all begin with its prefix.
///
/// The part in braces decides the slot of a cluster, so a place, its tombstones and its order share
/// one. It is text, since raw bytes may contain a closing brace.
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) const fn new(prefix: String) -> Self {
        Self { prefix }
    }

    /// The hash of all sessions of a tag.
    pub(super) fn place(&self, tag: Tag) -> Vec<u8> {
        let mut text = [0; 8];
        let text = Base64UrlUnpadded::encode(tag.as_bytes(), &mut text).unwrap_or_default();
        let mut key = Vec::with_capacity(self.prefix.len() + 2 + 8 + 10);
        key.extend_from_slice(self.prefix.as_bytes());
        key.push(b'{');
        key.extend_from_slice(text.as_bytes());
        key.push(b'}');
        key
    }

    /// The tombstone of a session: place and field. The scripts build the same name.
    pub(super) fn tombstone(&self, sid: SessionId) -> Vec<u8> {
        let mut key = self.place(sid.tag());
        key.extend_from_slice(field(&sid));
        key
    }

    /// All sessions of a realm that have not ended, by creation and id.
    pub(super) fn all(&self, realm: &str) -> String {
        format!("{}:all:{realm}", self.prefix)
    }

    /// Sessions of a realm by due time, and tags by the time of a mark.
    pub(super) fn due(&self, realm: &str) -> String {
        format!("{}:due:{realm}", self.prefix)
    }

    /// Tombstones by when they may be removed.
    pub(super) fn tombstones(&self) -> String {
        format!("{}:tombstones", self.prefix)
    }

    /// The names of all realms.
    pub(super) fn realms(&self) -> String {
        format!("{}:realms", self.prefix)
    }

    /// The moments at which everybody was signed out, by realm.
    pub(super) fn not_before(&self) -> String {
        format!("{}:not-before", self.prefix)
    }

    /// The version of the schema, and the key of the place tags.
    pub(super) fn meta(&self) -> String {
        format!("{}:meta", self.prefix)
    }

    /// The settings of a realm.
    pub(super) fn settings(&self, realm: &str) -> String {
        format!("{}:settings:{realm}", self.prefix)
    }

    /// The channel that announces changed settings.
    pub(super) fn channel(&self) -> String {
        format!("{}:settings", self.prefix)
    }

    /// Keys that a store of the first schema had: its partitions' sets of sessions, and its
    /// settings.
    pub(super) fn of_first_schema(&self) -> Vec<String> {
        let partitions = (0..64).map(|partition| format!("{}{{{partition}}}:all", self.prefix));
        partitions.chain([format!("{}{{settings}}", self.prefix)]).collect()
    }
}

/// The field of a session in its place: the id without its tag.
pub(super) fn field(sid: &SessionId) -> &[u8] {
    &sid.as_bytes()[Tag::BYTES..]
}

/// The id of a field.
pub(super) fn sid(tag: Tag, field: &[u8]) -> Option<SessionId> {
    let random: [u8; SessionId::BYTES - Tag::BYTES] = field.try_into().ok()?;
    let mut bytes = [0; SessionId::BYTES];
    bytes[Tag::BYTES..].copy_from_slice(&random);
    Some(SessionId::from_bytes(bytes).with_tag(tag))
}
