//! The data that handlers keep in a session.

use std::{borrow::Cow, cell::Cell, cmp::Ordering, collections::BTreeMap, fmt, str, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, DeserializeOwned},
};
use smallvec::SmallVec;

use crate::{Error, ErrorKind};

/// One value of session data, as JSON text.
///
/// It stays text until it is read, so reading one key parses only that value. `Debug` shows the
/// length only.
#[derive(Clone, PartialEq, Eq)]
pub struct Json(Arc<str>);

impl Json {
    /// Writes a value as JSON.
    ///
    /// # Errors
    ///
    /// When the value's `Serialize` fails, as it does for maps with keys that are not strings.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, Error> {
        // As long as it is short it needs no allocation of its own.
        let mut text = SmallVec::<[u8; 256]>::new();
        match serde_json::to_writer(&mut text, value) {
            Ok(()) => Ok(Self(written(&text).into())),
            Err(error) => {
                Err(Error::new(ErrorKind::Data, "the value cannot be written as JSON").with_source(error))
            }
        }
    }

    /// Reads the value back.
    ///
    /// # Errors
    ///
    /// When it is not a `T`. The message quotes no content.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        // serde_json's message may quote the value, which must stay out of errors (H5): report only
        // the kind.
        serde_json::from_str(&self.0).map_err(|error| {
            let message = match error.classify() {
                serde_json::error::Category::Data => "the session value is of another type",
                _ => "the session value is not valid JSON",
            };
            Error::new(ErrorKind::Data, message)
        })
    }

    /// The JSON text, for a store.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A value from JSON text that a store kept. It is parsed when it is decoded.
    pub fn from_text(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.0.len())
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from_text)
    }
}

/// All data of a session: values by key, in the order of the keys.
///
/// One shared string, so that a clone copies nothing and a session takes few bytes. Each entry is
/// `<length>:<key><length>:<value>`, with lengths in bytes. A look-up scans the entries before it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Data(Option<Arc<str>>);

impl Data {
    /// The value under a key.
    pub fn get(&self, key: &str) -> Option<Json> {
        self.iter().find(|(known, _)| *known == key).map(|(_, value)| Json::from_text(value))
    }

    /// All keys with their values as JSON text, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = self.as_text();
        std::iter::from_fn(move || Some((take_text(&mut rest)?, take_text(&mut rest)?)))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The size in bytes, lengths included. The limit on a session's data counts these bytes.
    pub fn bytes(&self) -> usize {
        self.as_text().len()
    }

    /// Applies the edits of a request; other keys stay as they are.
    pub fn edit(&mut self, edits: &Edits) {
        if !edits.is_empty() {
            *self = self.edited(edits);
        }
    }

    /// What it is with these edits applied.
    pub(crate) fn edited(&self, edits: &Edits) -> Self {
        let mut text = SCRATCH.take();
        text.clear();
        if self.bytes() > MAX_SCRATCH / 2 {
            text.reserve_exact(self.bytes() + edits.bytes()); // in place of growing step by step
        }
        let mut rest = self.as_text();
        for (key, value) in edits.iter() {
            let (before, after) = around(rest, key);
            text.push_str(before);
            rest = after;
            if let Some(value) = value {
                put_text(&mut text, key);
                put_text(&mut text, value.as_str());
            }
        }
        text.push_str(rest);
        let edited = Self::from_checked(&text);
        if text.capacity() <= MAX_SCRATCH {
            SCRATCH.set(text);
        }
        edited
    }

    /// How many bytes it takes once these edits are applied.
    fn bytes_after(&self, edits: &Edits) -> usize {
        let kept = self.iter().filter(|(key, _)| edits.get(key).is_none());
        let set = edits.iter().filter_map(|(key, value)| Some((key, value?.as_str())));
        kept.chain(set).map(|(key, value)| text_bytes(key) + text_bytes(value)).sum()
    }

    /// Whether it takes at most so many bytes once these edits are applied.
    pub(crate) fn fits_after(&self, edits: &Edits, max: usize) -> bool {
        // Nothing is computed where it certainly fits.
        self.bytes() + edits.bytes() <= max || self.bytes_after(edits) <= max
    }

    /// The text form, which [`Data::from_text`] reads back.
    pub(crate) fn as_text(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    fn from_checked(text: &str) -> Self {
        Self((!text.is_empty()).then(|| text.into()))
    }

    /// Reads the text form back; `None` if it is malformed.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let mut rest = text;
        let mut before: Option<&str> = None;
        while !rest.is_empty() {
            let key = take_text(&mut rest)?;
            take_text(&mut rest)?;
            if before.is_some_and(|before| before >= key) {
                return None;
            }
            before = Some(key);
        }
        Some(Self::from_checked(text))
    }
}

/// What `serde_json` has written.
fn written(json: &[u8]) -> &str {
    str::from_utf8(json).expect("JSON is text")
}

thread_local! {
    /// Data under construction: a string of its own for each write would be one more allocation, and
    /// bytes on the stack would need another check of UTF-8, which takes 150 instructions.
    static SCRATCH: Cell<String> = const { Cell::new(String::new()) };
}

/// The largest capacity that a thread keeps.
const MAX_SCRATCH: usize = 4096;

fn put_text(into: &mut String, text: &str) {
    put_number(into, text.len());
    into.push(':');
    into.push_str(text);
}

/// Without `fmt`, which takes ten times as long for a number of one digit.
fn put_number(into: &mut String, number: usize) {
    if number > 9 {
        put_number(into, number / 10);
    }
    into.push(char::from(b"0123456789"[number % 10]));
}

/// How many bytes a text takes with its length before it.
const fn text_bytes(text: &str) -> usize {
    let digits = match text.len().checked_ilog10() {
        Some(digits) => digits as usize + 1,
        None => 1,
    };
    digits + 1 + text.len()
}

/// The entries before a key, and those after it. Neither has the entry of the key itself.
fn around<'a>(entries: &'a str, key: &str) -> (&'a str, &'a str) {
    let mut rest = entries;
    loop {
        let from = rest;
        let (Some(known), Some(_)) = (take_text(&mut rest), take_text(&mut rest)) else {
            return (entries, "");
        };
        match known.cmp(key) {
            Ordering::Less => {}
            Ordering::Equal => return (&entries[..entries.len() - from.len()], rest),
            Ordering::Greater => return (&entries[..entries.len() - from.len()], from),
        }
    }
}

fn take_text<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let colon = rest.bytes().position(|byte| byte == b':')?;
    let (length, after) = (&rest[..colon], &rest[colon + 1..]);
    let length = match length.as_bytes() {
        [digit @ b'0'..=b'9'] => usize::from(digit - b'0'),
        _ => length.parse().ok()?,
    };
    let (text, after) = after.split_at_checked(length)?;
    *rest = after;
    Some(text)
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Data({} keys)", self.len())
    }
}

impl<K: Into<Cow<'static, str>>> FromIterator<(K, Json)> for Data {
    fn from_iter<I: IntoIterator<Item = (K, Json)>>(values: I) -> Self {
        let mut edits = Edits::default();
        values.into_iter().for_each(|(key, value)| edits.set(key, value));
        let mut data = Self::default();
        data.edit(&edits);
        data
    }
}

/// A map in human-readable formats, one string in others.
impl Serialize for Data {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_map(self.iter())
        } else {
            serializer.serialize_str(self.as_text())
        }
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return Ok(BTreeMap::<String, Json>::deserialize(deserializer)?.into_iter().collect());
        }
        Self::from_text(&String::deserialize(deserializer)?)
            .ok_or_else(|| de::Error::custom("not session data"))
    }
}

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

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// How many bytes the values that are set take in the data.
    fn bytes(&self) -> usize {
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
mod tests {
    use super::*;

    #[test]
    fn data_behaves_like_a_map_whatever_the_keys_and_values_hold() {
        let mut data = Data::default();
        let mut oracle = BTreeMap::<String, String>::new();
        let keys = ["", "1:", "a", "a:b", "12:34", "🦀", "z\0"];
        for round in 0..500_usize {
            let key = keys[round * 7 % keys.len()];
            let mut edits = Edits::default();
            if round % 3 == 0 {
                edits.remove(key);
                oracle.remove(key);
            } else {
                let value = format!("\"{}:{key}\"", round % 11);
                edits.set(key, Json::from_text(value.as_str()));
                oracle.insert(key.to_owned(), value);
            }
            let bytes = data.bytes_after(&edits);
            data.edit(&edits);
            assert_eq!(data.bytes(), bytes);
            let found: Vec<_> = data.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
            assert_eq!(found, oracle.clone().into_iter().collect::<Vec<_>>());
            assert_eq!(Data::from_text(data.as_text()), Some(data.clone()));
        }
    }

    #[test]
    fn several_edits_at_once_do_what_they_do_one_after_another() {
        let keys = ["a", "b", "c", "d"];
        // Each key is set, removed or left alone, in data that has every second one.
        for choice in 0..3_usize.pow(4) {
            let mut at_once: Data = [("b", "1"), ("d", "22")]
                .map(|(key, value)| (key, Json::from_text(value)))
                .into_iter()
                .collect();
            let (mut singly, mut all) = (at_once.clone(), Edits::default());
            for (at, key) in (0..).zip(keys) {
                let mut one = Edits::default();
                for edits in [&mut one, &mut all] {
                    match choice / 3_usize.pow(at) % 3 {
                        0 => edits.set(key, Json::from_text("333")),
                        1 => edits.remove(key),
                        _ => {}
                    }
                }
                singly.edit(&one);
            }
            at_once.edit(&all);
            assert_eq!(at_once.as_text(), singly.as_text(), "{choice}");
        }
    }

    #[test]
    fn a_thread_keeps_room_for_small_data_and_not_for_large() {
        let room_after = |bytes| {
            let mut edits = Edits::default();
            edits.set("key", Json::from_text("x".repeat(bytes)));
            Data::default().edit(&edits);
            SCRATCH.take().capacity()
        };
        assert!((100..=MAX_SCRATCH).contains(&room_after(100)));
        assert_eq!(room_after(MAX_SCRATCH + 1), 0);
    }

    #[test]
    fn a_text_that_is_no_data_is_refused() {
        for text in ["x", "1:", "1:a", "1:a9:b", "1:b1:x1:a1:y", "1:a1:x1:a1:y"] {
            assert_eq!(Data::from_text(text), None, "{text}");
        }
    }

    fn edits<const N: usize>(all: [(&'static str, Option<&str>); N]) -> Edits {
        let mut edits = Edits::default();
        for (key, value) in all {
            match value {
                Some(value) => edits.set(key, Json::from_text(value)),
                None => edits.remove(key),
            }
        }
        edits
    }

    fn data<const N: usize>(all: [(&'static str, &str); N]) -> Data {
        all.into_iter().map(|(key, value)| (key, Json::from_text(value))).collect()
    }

    #[test]
    fn a_length_has_no_more_digits_than_it_needs() {
        let text = "x".repeat(101);
        for (length, bytes) in [(9, 14), (10, 16), (99, 105), (100, 107)] {
            let data = data([("a", &text[..length])]);
            assert_eq!(data.as_text(), format!("1:a{length}:{}", &text[..length]));
            assert_eq!(data.bytes(), bytes);
        }
        assert_eq!(data([("a", "1"), ("b", "2")]).len(), 2);
        assert_eq!(Data::default().len(), 0);
    }

    #[test]
    fn s13_what_is_replaced_does_not_count_against_the_limit() {
        let data = data([("a", "1234"), ("b", "1")]);
        assert_eq!(data.bytes(), 15);
        for (edits, after) in
            [(edits([("c", Some("1"))]), 21), (edits([("a", Some("12345"))]), 16), (edits([("a", None)]), 6)]
        {
            assert!(data.fits_after(&edits, after) && !data.fits_after(&edits, after - 1), "{after}");
        }
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

    #[test]
    fn h5_a_value_that_cannot_be_read_says_whether_it_is_json_and_nothing_of_itself() {
        let message = |text: &str| Json::from_text(text).decode::<u8>().unwrap_err().to_string();
        assert_eq!(message("\"secret\""), "the session value is of another type");
        assert_eq!(message("secret"), "the session value is not valid JSON");
    }
}
