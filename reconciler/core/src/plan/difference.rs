//! What differs between two documents, key by key.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::document::{Document, KeyPath, canonical};

/// A key and its value on both sides; at least one has it.
pub(super) struct Difference {
    pub(super) key: KeyPath,
    pub(super) old: Option<Value>,
    pub(super) new: Option<Value>,
}

/// The keys that differ, sorted. A side that is no document has no keys.
///
/// Tables are broken down. A list is one value, unless both sides hold equally many tables.
pub(super) fn between(old: Option<&Document>, new: Option<&Document>) -> Vec<Difference> {
    let mut found = Vec::new();
    let sides = Sides { old, new };
    let empty = Value::Object(serde_json::Map::new());
    let root = |document: Option<&Document>| document.map_or(&empty, Document::value).clone();
    sides.walk(KeyPath::root(), Some(&root(old)), Some(&root(new)), &mut found);
    found
}

struct Sides<'d> {
    old: Option<&'d Document>,
    new: Option<&'d Document>,
}

impl Sides<'_> {
    fn walk(&self, at: KeyPath, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<Difference>) {
        match (old, new) {
            (None, None) => {}
            (Some(Value::Object(old)), Some(Value::Object(new))) => {
                let keys: BTreeSet<_> = old.keys().chain(new.keys()).collect();
                for key in keys {
                    self.walk(at.key(key), old.get(key), new.get(key), found);
                }
            }
            (Some(Value::Object(table)), None) if !table.is_empty() => {
                for (key, value) in table {
                    self.walk(at.key(key), Some(value), None, found);
                }
            }
            (None, Some(Value::Object(table))) if !table.is_empty() => {
                for (key, value) in table {
                    self.walk(at.key(key), None, Some(value), found);
                }
            }
            (Some(Value::Array(old)), Some(Value::Array(new)))
                if old.len() == new.len() && old.iter().chain(new).all(Value::is_object) =>
            {
                for (index, (old, new)) in old.iter().zip(new).enumerate() {
                    self.walk(at.index(index), Some(old), Some(new), found);
                }
            }
            (old, new) => {
                if old.is_none() || new.is_none() || self.differ(&at) {
                    found.push(Difference {
                        key: at,
                        old: old.cloned(),
                        new: new.cloned(),
                    });
                }
            }
        }
    }

    fn differ(&self, at: &KeyPath) -> bool {
        let text = |document: Option<&Document>| document.map(|document| canonical(document, at));
        text(self.old) != text(self.new)
    }
}
