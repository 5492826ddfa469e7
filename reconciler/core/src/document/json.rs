//! JSON to a value and places.
//!
//! The parser gives each value as the piece of the text it was read from; where the piece lies in the text
//! is its place.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{KeyPath, Place, Reading};
use crate::diagnostic::Code;

/// Reads a text; what it returns counts only if no mistake was recorded.
pub(super) fn read(text: &str, reading: &mut Reading<'_>) -> Value {
    match serde_json::from_str::<Value>(text) {
        Ok(value) => {
            // The parser refuses more than 128 levels by itself, so this recursion is bounded too.
            if let Ok(raw) = serde_json::from_str::<&RawValue>(text) {
                place(text, raw, None, KeyPath::root(), reading);
            }
            value
        }
        Err(error) => {
            let at = offset(text, error.line(), error.column());
            let end = text[at..].chars().next().map_or(at, |c| at + c.len_utf8());
            if error.to_string().starts_with("recursion limit") {
                reading.too_deep(at..end);
            } else {
                let message = error.to_string();
                let message = message.split(" at line ").next().unwrap_or(&message);
                reading.mistake(Code::JsonSyntax, at..end, message, None);
            }
            Value::Null
        }
    }
}

fn place<'t>(
    text: &'t str,
    raw: &'t RawValue,
    key: Option<Range<usize>>,
    path: KeyPath,
    reading: &mut Reading<'_>,
) {
    let value = raw.get();
    // An error cannot happen: the whole text was parsed before. If it did, the parts had no places.
    match value.as_bytes().first() {
        Some(b'{') => {
            for (name, entry) in serde_json::from_str::<Entries<'t>>(value)
                .map(|all| all.0)
                .unwrap_or_default()
            {
                let key = match &name {
                    Cow::Borrowed(name) => within(text, name),
                    // A name with an escape in it was copied: its value marks it.
                    Cow::Owned(_) => None,
                };
                // With the quotes around it.
                let key = key.map(|span| span.start.saturating_sub(1)..(span.end + 1).min(text.len()));
                if reading.fits(&name, key.clone().unwrap_or(0..0)) {
                    place(text, entry, key, path.key(&name), reading);
                }
            }
        }
        Some(b'[') => {
            let entries = serde_json::from_str::<Vec<&'t RawValue>>(value).unwrap_or_default();
            for (at, entry) in entries.into_iter().enumerate() {
                place(text, entry, None, path.index(at), reading);
            }
        }
        Some(_) | None => {}
    }
    let value = within(text, value).unwrap_or(0..0);
    reading.place(path, Place { key, value });
}

/// Where a piece of the text lies in it.
fn within(text: &str, piece: &str) -> Option<Range<usize>> {
    let start = (piece.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    (start + piece.len() <= text.len()).then(|| start..start + piece.len())
}

/// The parser counts lines and bytes in them from 1.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    let mut at = (start + column.saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

struct Entries<'t>(Vec<(Cow<'t, str>, &'t RawValue)>);

impl<'t> Deserialize<'t> for Entries<'t> {
    fn deserialize<D: Deserializer<'t>>(from: D) -> Result<Self, D::Error> {
        struct All;
        impl<'t> Visitor<'t> for All {
            type Value = Entries<'t>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    entries.push((name, value));
                }
                Ok(Entries(entries))
            }
        }
        from.deserialize_map(All)
    }
}

/// A name, borrowed from the text unless it holds an escape.
struct Name<'t>(Cow<'t, str>);

impl<'t> Deserialize<'t> for Name<'t> {
    fn deserialize<D: Deserializer<'t>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'t> Visitor<'t> for Text {
            type Value = Name<'t>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_borrowed_str<E>(self, name: &'t str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(name)))
            }
            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        from.deserialize_str(Text)
    }
}
