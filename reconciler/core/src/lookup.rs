//! A key as people name it, found in a revision's documents: `trading.mode`, or `config.toml#trading.mode` where more
//! than one document has it.

use serde_json::Value;

use crate::document::{Document, InvalidKeyPath, KeyPath, Part};
use crate::plan::Snapshot;
use crate::tree::TreePath;
use crate::validate::nearest;

/// A key that was found, and what the schema tells about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Found<'a> {
    /// Its document, from the published folder.
    pub path: &'a TreePath,
    /// The key.
    pub key: KeyPath,
    /// Its value; none where it is absent and its default holds.
    pub value: Option<&'a Value>,
    /// What holds where it is absent.
    pub default: Option<&'a Value>,
    /// What it is counted in.
    pub unit: Option<&'a str>,
    /// What it is for.
    pub description: Option<&'a str>,
}

/// Why a text names no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// It is no key path.
    #[error(transparent)]
    Key(#[from] InvalidKeyPath),
    /// It names a document that is not there.
    #[error("there is no document {path:?} among what is published: {there}")]
    NoDocument {
        /// The document.
        path: String,
        /// Which there are, as a phrase.
        there: String,
    },
    /// No document has it, and no schema knows it.
    #[error("no published document has the key `{key}`, and no schema has a default for it{meant}")]
    Unknown {
        /// The key.
        key: KeyPath,
        /// Which is near, as the end of the sentence.
        meant: String,
    },
    /// More than one document has it.
    #[error("more than one document has the key `{key}`: name one of {which}")]
    Several {
        /// The key.
        key: KeyPath,
        /// As they would be named.
        which: String,
    },
}

/// Finds the key that a text names.
///
/// # Errors
/// When it names none, or more than one.
pub fn find<'a>(snapshot: &'a Snapshot, text: &str) -> Result<Found<'a>, LookupError> {
    let (file, key) = match text.split_once('#') {
        Some((file, key)) => (Some(file), key),
        None => (None, text),
    };
    let key: KeyPath = key.parse()?;
    let documents = snapshot.published().documents;
    let named = |path: &&TreePath| file.is_none_or(|file| path.as_str() == file);
    let looked_at: Vec<_> = documents.keys().filter(named).collect();
    if let (Some(file), true) = (file, looked_at.is_empty()) {
        let paths: Vec<_> = documents.keys().map(TreePath::as_str).collect();
        let there = match nearest(file, paths.iter().copied()) {
            Some(near) => format!("did you mean {near:?}?"),
            None if paths.is_empty() => "there are none".to_owned(),
            None => format!("there are {}", paths.join(", ")),
        };
        return Err(LookupError::NoDocument {
            path: file.to_owned(),
            there,
        });
    }
    let found = |path: &'a TreePath| {
        let note = |keyword| snapshot.annotation(path, &key, keyword);
        let value = documents.get(path).and_then(|document| document.get(&key));
        let default = note("default");
        (value.is_some() || default.is_some()).then(|| Found {
            path,
            key: key.clone(),
            value,
            default,
            unit: note("x-unit").and_then(Value::as_str),
            description: note("description").and_then(Value::as_str),
        })
    };
    let mut all: Vec<_> = looked_at.iter().filter_map(|path| found(path)).collect();
    // A document that has it comes before those whose schema alone knows it.
    if all.iter().any(|found| found.value.is_some()) {
        all.retain(|found| found.value.is_some());
    }
    match (all.pop(), all.as_slice()) {
        (Some(found), []) => Ok(found),
        (None, _) => {
            let meant = looked_at
                .iter()
                .filter_map(|path| near(documents.get(*path)?, &key))
                .next()
                .map(|near| format!("; did you mean `{near}`?"))
                .unwrap_or_default();
            Err(LookupError::Unknown { key, meant })
        }
        (Some(last), others) => {
            let which = others.iter().chain([&last]);
            let which: Vec<_> = which.map(|found| format!("{}#{key}", found.path)).collect();
            Err(LookupError::Several {
                key,
                which: which.join(", "),
            })
        }
    }
}

/// The key of a document that somebody most likely meant: the same steps but for one that is misspelt.
fn near(document: &Document, key: &KeyPath) -> Option<KeyPath> {
    let mut value = document.value();
    let mut path = KeyPath::root();
    for part in key.parts() {
        match (part, value) {
            (Part::Key(name), Value::Object(table)) => {
                let name = match table.contains_key(name) {
                    true => name,
                    false => nearest(name, table.keys().map(String::as_str))?,
                };
                value = table.get(name)?;
                path = path.key(name);
            }
            (Part::Index(index), Value::Array(list)) => {
                value = list.get(*index)?;
                path = path.index(*index);
            }
            (Part::Key(_) | Part::Index(_), _) => return None,
        }
    }
    (path != *key).then_some(path)
}
