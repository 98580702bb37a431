//! The data that handlers keep in a session.

use std::{borrow::Cow, cell::Cell, cmp::Ordering, collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Edits, Json};

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

    /// Whether there are no keys.
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

thread_local! {
    /// Data under construction: a string of its own for each write would be one more allocation,
    /// and bytes on the stack would need another check of UTF-8, which takes 150 instructions.
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
pub(super) const fn text_bytes(text: &str) -> usize {
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::record::edits::tests::edits;

    pub(in crate::record) fn data<const N: usize>(all: [(&'static str, &str); N]) -> Data {
        all.into_iter().map(|(key, value)| (key, Json::from_text(value))).collect()
    }

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
}
