//! The one way to write a value, so that two that mean the same are the same bytes.

use serde_json::Value;

use super::{Document, KeyPath};

/// Writes the value at `path` as JSON without spaces and with sorted keys.
///
/// A key that is absent is `null` to whoever asks for it, and so one that is written as null is `~`.
///
/// `2` and `2.0` differ, because a service's parser may tell them apart. So does `1979-05-27` from
/// `"1979-05-27"`: what the document writes without quotes stands without quotes here.
pub(crate) fn canonical(document: &Document, path: &KeyPath) -> String {
    let mut out = String::new();
    match document.get(path) {
        Some(Value::Null) => out.push('~'),
        Some(value) => write(document, path, value, &mut out),
        None => out.push_str("null"),
    }
    out
}

fn write(document: &Document, path: &KeyPath, value: &Value, out: &mut String) {
    match value {
        Value::String(word) if document.bare(path).is_some() => out.push_str(word),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            out.push_str(&value.to_string());
        }
        Value::Array(entries) => {
            out.push('[');
            for (at, entry) in entries.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(document, &path.index(at), entry, out);
            }
            out.push(']');
        }
        Value::Object(table) => {
            let mut keys: Vec<_> = table.iter().collect();
            keys.sort_unstable_by_key(|(key, _)| key.as_str());
            out.push('{');
            for (at, (key, value)) in keys.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write(document, &path.key(key), value, out);
            }
            out.push('}');
        }
    }
}
