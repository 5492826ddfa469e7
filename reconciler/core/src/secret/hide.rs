//! What people see in place of a secret: in values that messages quote, and in the lines that are shown with them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use serde_json::Value;

use super::{BUILTIN, Scanner, head, hints, telling};
use crate::diagnostic::{Diagnostic, Report, Sources};
use crate::document::{KeyPath, Part};

/// The value of a key as it may be shown: without what looks like a secret, and without any text below a telling name.
pub(crate) fn kept<'v>(key: &KeyPath, value: &'v Value) -> Cow<'v, Value> {
    let named = key.parts().iter().rev().find_map(|part| match part {
        Part::Key(name) => Some(name.as_str()),
        Part::Index(_) => None,
    });
    let telling = named.is_some_and(telling::is_telling);
    if holds(value, telling) {
        let mut value = value.clone();
        hide(&mut value, telling);
        Cow::Owned(value)
    } else {
        Cow::Borrowed(value)
    }
}

/// The value of a key as it may be shown.
#[must_use]
pub fn shown(key: &KeyPath, value: &Value) -> Value {
    kept(key, value).into_owned()
}

fn holds(value: &Value, telling: bool) -> bool {
    match value {
        Value::String(text) => telling || !spans(text.as_bytes()).is_empty(),
        Value::Array(entries) => entries.iter().any(|entry| holds(entry, telling)),
        Value::Object(table) => table.iter().any(|(name, value)| {
            holds(value, telling::is_telling(name)) || !spans(name.as_bytes()).is_empty()
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn hide(value: &mut Value, telling: bool) {
    match value {
        Value::String(text) if telling => *text = head(text),
        Value::String(text) => {
            for span in spans(text.as_bytes()).into_iter().rev() {
                let mask = head(&text[span.clone()]);
                text.replace_range(span, &mask);
            }
        }
        Value::Array(entries) => entries.iter_mut().for_each(|entry| hide(entry, telling)),
        Value::Object(table) => {
            for (name, value) in table {
                hide(value, telling::is_telling(name));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Where secrets of a known form lie, in their order.
fn spans(text: &[u8]) -> Vec<Range<usize>> {
    static KNOWN: std::sync::LazyLock<Scanner> = std::sync::LazyLock::new(|| Scanner::new([]));
    // Most texts are short, and have nothing.
    if BUILTIN.hints.find(text).is_none() {
        return Vec::new();
    }
    KNOWN.look(text).into_iter().map(|found| found.span).collect()
}

/// Where values of telling names stand, whatever they look like.
fn assigned(text: &[u8]) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut read = 0;
    for word in hints(text, 0..text.len()).1 {
        if word.start < read {
            continue;
        }
        if let Some(assignment) = telling::assignment(text, word) {
            read = assignment.end;
            found.extend(assignment.values);
        }
    }
    found
}

/// The contents that diagnostics point into, as they may be shown: each letter of a secret is covered, and everything
/// stands where it stood.
#[must_use]
pub fn hidden(report: &Report, sources: &Sources) -> Sources {
    let mut shown = sources.clone();
    let places = report.diagnostics().iter().filter(|it| it.span.is_some());
    let paths: HashSet<&str> = places.map(|it| it.path.as_str()).collect();
    for (path, contents) in sources.iter().filter(|(path, _)| paths.contains(path.as_str())) {
        let Ok(text) = std::str::from_utf8(contents) else {
            continue;
        };
        let told = report.secrets().get(path).into_iter().flatten().cloned();
        let mut hide: Vec<Range<usize>> = told
            .chain(spans(contents))
            .chain(assigned(contents))
            .filter(|span| text.is_char_boundary(span.start) && text.is_char_boundary(span.end))
            .collect();
        if hide.is_empty() {
            continue;
        }
        hide.sort_by_key(|span| span.start);
        let mut covered = String::with_capacity(text.len());
        let mut at = 0;
        for span in hide {
            let start = span.start.max(at);
            if span.end <= start {
                continue;
            }
            covered.push_str(&text[at..start]);
            covered.extend(text[start..span.end].chars().map(cover));
            at = span.end;
        }
        covered.push_str(&text[at..]);
        shown.insert(path.clone(), Arc::from(covered.into_bytes()));
    }
    shown
}

/// What is seen in place of a letter: as many bytes, so that all places stay what they are.
fn cover(letter: char) -> char {
    match (letter, letter.len_utf8()) {
        ('\n' | '\r', _) => letter,
        (_, 1) => '*',
        (_, 2) => '·',
        (_, 3) => '•',
        _ => '𐄁',
    }
}

/// Takes what was found in files out of what is said about them, wherever a message quotes a part of it.
#[derive(Default)]
pub(crate) struct Words {
    parts: HashSet<[u8; Words::PART]>,
}

impl Words {
    /// So many bytes of a secret in a row are not said.
    const PART: usize = 6;
    /// How much is kept of one file at most.
    const MOST: usize = 64 << 10;

    /// Adds the values at these places.
    pub(crate) fn of(&mut self, contents: &[u8], spans: &[Range<usize>]) {
        let values = spans.iter().filter_map(|span| contents.get(span.clone()));
        let parts = values.flat_map(|value| value.array_windows::<{ Self::PART }>());
        self.parts.extend(parts.take(Self::MOST));
    }

    /// Whether there is nothing to take out.
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The same text, or one without secrets.
    pub(crate) fn without(&self, text: &str) -> Option<String> {
        let mut covered = vec![false; text.len()];
        let mut any = false;
        for (at, part) in text.as_bytes().array_windows::<{ Self::PART }>().enumerate() {
            if self.parts.contains(part) {
                covered[at..at + Self::PART].fill(true);
                any = true;
            }
        }
        any.then(|| {
            let mut left = String::new();
            let mut hiding = false;
            for (at, letter) in text.char_indices() {
                if !covered[at] {
                    left.push(letter);
                } else if !hiding {
                    left.push_str("****");
                }
                hiding = covered[at];
            }
            left
        })
    }

    /// Takes them out of a diagnostic.
    pub(crate) fn keep_from(&self, diagnostic: &mut Diagnostic) {
        if let Some(without) = self.without(&diagnostic.message) {
            diagnostic.message = without;
        }
        if let Some(without) = diagnostic.help.as_deref().and_then(|help| self.without(help)) {
            diagnostic.help = Some(without);
        }
        if let Some(key) = &diagnostic.key
            && self.without(&key.to_string()).is_some()
        {
            // The place is still marked; its name is the secret.
            diagnostic.key = key.parent();
        }
    }
}

/// Where secrets lie, by file.
pub(crate) type Places = BTreeMap<String, Vec<Range<usize>>>;
