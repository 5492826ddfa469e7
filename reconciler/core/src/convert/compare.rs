//! Two documents, value by value: what the one says and the other does not.

use serde_json::Value;

use super::TomlDocument;
use crate::diagnostic::{Code, Diagnostic, Related};
use crate::document::{Document, KeyPath};

/// Each value in which a document differs from what the YAML becomes; `path` and `yaml` name the two files.
#[must_use]
pub fn compare(path: &str, document: &Document, yaml: &str, converted: &TomlDocument) -> Vec<Diagnostic> {
    let mut comparing = Comparing {
        path,
        document,
        yaml,
        converted,
        found: Vec::new(),
    };
    let root = KeyPath::root();
    comparing.values(&root, document.value(), converted.document.value());
    let mut found = comparing.found;
    found.sort_by_key(|found| found.span.as_ref().map(|span| span.start));
    found
}

struct Comparing<'a> {
    path: &'a str,
    document: &'a Document,
    yaml: &'a str,
    converted: &'a TomlDocument,
    found: Vec<Diagnostic>,
}

impl Comparing<'_> {
    fn values(&mut self, at: &KeyPath, here: &Value, there: &Value) {
        match (here, there) {
            (Value::Object(here), Value::Object(there)) => {
                for (key, value) in here {
                    match there.get(key) {
                        Some(other) => self.values(&at.key(key), value, other),
                        None => self.only_here(&at.key(key), value),
                    }
                }
                for (key, value) in there.iter().filter(|(key, _)| !here.contains_key(*key)) {
                    self.only_there(&at.key(key), value);
                }
            }
            (Value::Array(here), Value::Array(there)) => {
                for (index, value) in here.iter().enumerate() {
                    match there.get(index) {
                        Some(other) => self.values(&at.index(index), value, other),
                        None => self.only_here(&at.index(index), value),
                    }
                }
                for (index, value) in there.iter().enumerate().skip(here.len()) {
                    self.only_there(&at.index(index), value);
                }
            }
            (here, there) if self.same(at, here, there) => {}
            (here, there) => {
                let message = format!("`{at}` is {} here and {} in the YAML", short(here), short(there));
                let span = self.document.value_span(at);
                self.tell(at, span, message);
            }
        }
    }

    /// Numbers are the same if they are as large; texts only if both are texts, or both are dates.
    fn same(&self, at: &KeyPath, here: &Value, there: &Value) -> bool {
        let bare = |document: &Document| document.bare(at);
        match (here, there) {
            (Value::Number(one), Value::Number(other)) => {
                one == other || (one.is_f64() || other.is_f64()) && one.as_f64() == other.as_f64()
            }
            (Value::String(one), Value::String(other)) => {
                one == other && bare(self.document) == bare(&self.converted.document)
            }
            (one, other) => one == other,
        }
    }

    fn only_here(&mut self, at: &KeyPath, value: &Value) {
        let message = format!("`{at}` is {} here and not in the YAML", short(value));
        let span = self.document.key_span(at);
        self.tell(at, span, message);
    }

    fn only_there(&mut self, at: &KeyPath, value: &Value) {
        let message = format!("`{at}` is missing: it is {} in the YAML", short(value));
        let span = self.document.header_span(&at.parent().unwrap_or_default());
        self.tell(at, span, message);
    }

    fn tell(&mut self, at: &KeyPath, span: std::ops::Range<usize>, message: String) {
        let mut difference = Diagnostic::error(Code::Differs, self.path, message)
            .at(span)
            .about(at.clone());
        if let Some(span) = self.converted.origin(at) {
            difference.related.push(Related {
                path: self.yaml.to_owned(),
                span,
                message: "it comes from here".to_owned(),
            });
        }
        self.found.push(difference);
    }
}

/// A value as far as it fits into a sentence.
fn short(value: &Value) -> String {
    const LONGEST: usize = 60;
    match value {
        Value::Object(table) => format!("a table of {} keys", table.len()),
        Value::Array(list) if value.to_string().len() > LONGEST => format!("a list of {}", list.len()),
        value => {
            let text = value.to_string();
            match text.char_indices().nth(LONGEST) {
                Some((at, _)) => format!("{}…", &text[..at]),
                None => text,
            }
        }
    }
}
