//! Changes to a session's data.

use std::{borrow::Cow, fmt, sync::Arc};

use smallvec::SmallVec;

use super::{
    Json,
    data::{Data, text_bytes},
};

/// Keys set and removed by one request; the last edit of a key wins.
///
/// Cheap to clone: clones share the edits.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Edits(Option<Arc<SmallVec<[Edit; 2]>>>);

/// In the order of the keys.
type Edit = (Cow<'static, str>, Option<Json>);

impl Edits {
    /// Sets a key.
    pub fn set(&mut self, key: impl Into<Cow<'static, str>>, value: Json) {
        self.put(key.into(), Some(value));
    }

    /// Removes a key.
    pub fn remove(&mut self, key: impl Into<Cow<'static, str>>) {
        self.put(key.into(), None);
    }

    fn put(&mut self, key: Cow<'static, str>, value: Option<Json>) {
        let edits = Arc::make_mut(self.0.get_or_insert_default());
        match edits.binary_search_by(|(known, _)| known.cmp(&key)) {
            Ok(at) => edits[at].1 = value,
            Err(at) => edits.insert(at, (key, value)),
        }
    }

    /// Says nothing of a key any more.
    pub(crate) fn forget(&mut self, key: &str) {
        self.retain(|known, _| known != key);
    }

    /// Drops the edits that are the same in `other`.
    pub(crate) fn subtract(&mut self, other: &Self) {
        if let (Some(mine), Some(theirs)) = (&self.0, &other.0)
            && Arc::ptr_eq(mine, theirs)
        {
            self.0 = None;
        } else if !other.is_empty() {
            self.retain(|key, value| other.get(key) != Some(value));
        }
    }

    /// Drops the edits that are not to be kept.
    pub(crate) fn retain(&mut self, keep: impl Fn(&str, Option<&Json>) -> bool) {
        if let Some(edits) = &mut self.0 {
            let edits = Arc::make_mut(edits);
            edits.retain(|(key, value)| keep(key, value.as_ref()));
            if edits.is_empty() {
                self.0 = None;
            }
        }
    }

    /// The edit of a key: `None` for no edit, `Some(None)` for a removal.
    pub fn get(&self, key: &str) -> Option<Option<&Json>> {
        let edits = self.edits();
        let at = edits.binary_search_by(|(known, _)| (**known).cmp(key)).ok()?;
        Some(edits[at].1.as_ref())
    }

    /// All edited keys, each with its new value, or `None` when it is removed.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&Json>)> {
        self.edits().iter().map(|(key, value)| (&**key, value.as_ref()))
    }

    /// Whether there are no edits.
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// How many bytes the values that are set take in the data.
    pub(super) fn bytes(&self) -> usize {
        let set = self.iter().filter_map(|(key, value)| Some((key, value?.as_str())));
        set.map(|(key, value)| text_bytes(key) + text_bytes(value)).sum()
    }

    fn edits(&self) -> &[Edit] {
        self.0.as_deref().map_or(&[], SmallVec::as_slice)
    }

    /// The edits that turn `from` into `to`, without the keys in `except`.
    pub(crate) fn difference(from: &Data, to: &Data, except: &Self) -> Self {
        let mut edits = Self::default();
        for (key, value) in to.iter().filter(|(key, _)| except.get(key).is_none()) {
            if from.get(key).is_none_or(|known| known.as_str() != value) {
                edits.set(key.to_owned(), Json::from_text(value));
            }
        }
        for (key, _) in from.iter().filter(|(key, _)| except.get(key).is_none()) {
            if to.get(key).is_none() {
                edits.remove(key.to_owned());
            }
        }
        edits
    }

    /// Whether any key is set, as opposed to removed.
    pub fn sets_any(&self) -> bool {
        self.iter().any(|(_, value)| value.is_some())
    }
}

impl fmt::Debug for Edits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Edits({} keys)", self.edits().len())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::record::data::tests::data;

    /// Removes the keys that have no value, and sets the others.
    pub(in crate::record) fn edits<const N: usize>(all: [(&'static str, Option<&str>); N]) -> Edits {
        let mut edits = Edits::default();
        for (key, value) in all {
            match value {
                Some(value) => edits.set(key, Json::from_text(value)),
                None => edits.remove(key),
            }
        }
        edits
    }

    #[test]
    fn s3_only_what_is_stored_is_taken_from_the_edits_that_wait() {
        let stored = edits([("a", Some("1")), ("b", Some("2")), ("c", None)]);
        let mut since = stored.clone();
        since.set("b", Json::from_text("3"));
        since.remove("d");
        since.subtract(&stored);
        assert!(since == edits([("b", Some("3")), ("d", None)]));
        since.subtract(&Edits::default());
        assert!(!since.is_empty(), "nothing was stored");

        let mut same = edits([("a", Some("1")), ("b", Some("2")), ("c", None)]);
        same.subtract(&stored);
        assert!(same.is_empty(), "nothing waits any more");
    }

    #[test]
    fn a_difference_leads_from_one_to_the_other_but_for_the_exceptions() {
        let from = data([("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")]);
        let to = data([("a", "1"), ("b", "2"), ("e", "1"), ("f", "1")]);
        let except = edits([("d", None), ("f", None)]);
        let expected = edits([("b", Some("2")), ("c", None), ("e", Some("1"))]);
        assert!(Edits::difference(&from, &to, &except) == expected);
    }
}
