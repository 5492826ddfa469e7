//! The mapping file: which key of the YAML becomes which of the TOML, and what happens to its value.

use std::ops::Range;

use serde_json::Value;

use super::change::{self, Change, KINDS, ROUNDS, UNITS};
use crate::diagnostic::{Code, Diagnostic};
use crate::document::{Document, KeyPath, Part, Syntax, split_dots};
use crate::validate::nearest;

/// Which key becomes which.
#[derive(Debug, Clone)]
pub struct Mapping {
    pub(super) unmapped: Unmapped,
    pub(super) keys: Vec<Mapped>,
}

/// What happens to keys that the mapping does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmapped {
    /// There is no result, and each is told.
    Refuse,
    /// They keep their names.
    Keep,
    /// They are left out.
    Drop,
}

/// One line of it.
#[derive(Debug, Clone)]
pub(super) struct Mapped {
    /// The old key, as written.
    pub(super) name: String,
    pub(super) from: Vec<Step>,
    /// The new key; none if it is left out.
    pub(super) to: Option<Vec<Step>>,
    pub(super) change: Change,
}

/// A part of a key: a name, or `*` for whichever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Any,
}

const FIELDS: [&str; 9] = [
    "to", "drop", "values", "split", "multiply", "divide", "round", "duration", "type",
];

impl Mapping {
    /// Reads a mapping file.
    ///
    /// # Errors
    /// With a diagnostic for each mistake in it.
    pub fn read(path: &str, bytes: &[u8]) -> Result<Self, Vec<Diagnostic>> {
        let document = Document::parse(path, bytes, Syntax::Toml)?;
        let mut reading = Reading {
            path,
            document: &document,
            keys: Vec::new(),
            mistakes: Vec::new(),
        };
        let unmapped = reading.top();
        reading.keys(&KeyPath::root().key("keys"), &mut Vec::new());
        if reading.mistakes.is_empty() {
            Ok(Self {
                unmapped,
                keys: reading.keys,
            })
        } else {
            Err(reading.mistakes)
        }
    }
}

struct Reading<'a> {
    path: &'a str,
    document: &'a Document,
    keys: Vec<Mapped>,
    mistakes: Vec<Diagnostic>,
}

impl Reading<'_> {
    fn refuse(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.mistakes.push(
            Diagnostic::error(Code::MappingInvalid, self.path, message)
                .at(span)
                .with_help(help),
        );
    }

    fn top(&mut self) -> Unmapped {
        let known = ["version", "unmapped", "keys"];
        let root = KeyPath::root();
        let names = self.document.value().as_object().into_iter().flatten();
        for name in names.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            if !known.contains(&name.as_str()) {
                let span = self.document.key_span(&root.key(&name));
                let help = nearest(&name, known).map_or_else(
                    || "a mapping has `version`, `unmapped` and the table `[keys]`".to_owned(),
                    |meant| format!("did you mean `{meant}`?"),
                );
                self.refuse(span, format!("`{name}` means nothing in a mapping"), help);
            }
        }
        let version = root.key("version");
        if self.document.get(&version) != Some(&Value::from(1)) {
            let span = self.document.value_span(&version);
            self.refuse(span, "the version of the mapping is 1", "write `version = 1`");
        }
        let unmapped = root.key("unmapped");
        match self.document.get(&unmapped).map(Value::as_str) {
            None | Some(Some("refuse")) => Unmapped::Refuse,
            Some(Some("keep")) => Unmapped::Keep,
            Some(Some("drop")) => Unmapped::Drop,
            Some(_) => {
                let span = self.document.value_span(&unmapped);
                let help = "`refuse` tells each of them, `keep` keeps their names, `drop` leaves them out";
                self.refuse(span, "`unmapped` is none of `refuse`, `keep` and `drop`", help);
                Unmapped::Refuse
            }
        }
    }

    /// The lines below a table, whose own names come before.
    fn keys(&mut self, at: &KeyPath, before: &mut Vec<String>) {
        let Some(table) = self.document.get(at) else {
            if before.is_empty() {
                self.refuse(
                    0..0,
                    "the mapping has no `[keys]`",
                    "write `[keys]` and below it `OLD = \"new\"`",
                );
            }
            return;
        };
        let Some(table) = table.as_object().cloned() else {
            let span = self.document.value_span(at);
            self.refuse(
                span,
                "`keys` is a table",
                "write `[keys]` and below it `OLD = \"new\"`",
            );
            return;
        };
        for (name, value) in &table {
            let key = at.key(name);
            before.push(name.clone());
            match value {
                Value::String(to) => self.line(&key, before, Some(to), Change::default()),
                Value::Object(fields) if fields.contains_key("to") || fields.contains_key("drop") => {
                    self.fields(&key, before);
                }
                // Dots without quotes make tables.
                Value::Object(_) => self.keys(&key, before),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                    let span = self.document.value_span(&key);
                    let help = "write the new key, or a table: `{ to = \"new.key\", divide = 100 }`, `{ drop = true }`";
                    self.refuse(span, format!("what becomes of `{name}` is not said"), help);
                }
            }
            before.pop();
        }
    }

    fn fields(&mut self, key: &KeyPath, before: &[String]) {
        let fields = self
            .document
            .get(key)
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        for name in fields.keys() {
            if !FIELDS.contains(&name.as_str()) {
                let span = self.document.key_span(&key.key(name));
                let help = nearest(name, FIELDS).map_or_else(
                    || format!("there are {}", FIELDS.join(", ")),
                    |meant| format!("did you mean `{meant}`?"),
                );
                self.refuse(span, format!("`{name}` means nothing here"), help);
            }
        }
        let to = fields.get("to").and_then(Value::as_str).map(str::to_owned);
        let drop = fields.get("drop") == Some(&Value::Bool(true));
        if drop == to.is_some() {
            let help = "either `to` with the new key, as a text, or `drop = true`";
            self.refuse(
                self.document.value_span(key),
                "where this key goes is not clear",
                help,
            );
            return;
        }
        let mut change = Change {
            split: fields.get("split").and_then(Value::as_str).map(str::to_owned),
            multiply: self.factor(key, "multiply"),
            divide: self.factor(key, "divide"),
            round: self.word(key, "round", &ROUNDS),
            duration: self.word(key, "duration", &UNITS),
            kind: self.word(key, "type", &KINDS),
            values: Vec::new(),
        };
        if change.split.as_deref() == Some("") || change.split.is_none() && fields.contains_key("split") {
            let span = self.document.value_span(&key.key("split"));
            self.refuse(
                span,
                "`split` is the text between the entries",
                "for instance `split = \",\"`",
            );
        }
        if let Some(values) = fields.get("values") {
            let pairs = values.as_object().map(|values| {
                let pairs = values
                    .iter()
                    .map(|(old, new)| Some((old.clone(), change::of_json(new)?)));
                pairs.collect::<Option<Vec<_>>>()
            });
            match pairs.flatten() {
                Some(pairs) => change.values = pairs,
                None => {
                    let span = self.document.value_span(&key.key("values"));
                    let help = "write `values = { old = \"new\" }`";
                    self.refuse(span, "`values` is a table of old and new values", help);
                }
            }
        }
        self.line(key, before, to.as_deref(), change);
    }

    fn factor(&mut self, key: &KeyPath, name: &str) -> Option<f64> {
        let at = key.key(name);
        let value = self.document.get(&at)?;
        let factor = value
            .as_f64()
            .filter(|factor| factor.is_finite() && *factor != 0.0);
        if factor.is_none() {
            let span = self.document.value_span(&at);
            self.refuse(
                span,
                format!("`{name}` is a number other than 0"),
                "for instance `divide = 100`",
            );
        }
        factor
    }

    fn word<T: Copy>(&mut self, key: &KeyPath, name: &str, words: &[(&str, T)]) -> Option<T> {
        let at = key.key(name);
        let text = self.document.get(&at)?.as_str().unwrap_or_default();
        let found = words
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, meaning)| *meaning);
        if found.is_none() {
            let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let help = nearest(text, names.iter().copied()).map_or_else(
                || format!("one of {}", names.join(", ")),
                |meant| format!("did you mean `{meant}`?"),
            );
            let span = self.document.value_span(&at);
            self.refuse(span, format!("`{name}` cannot be {text:?}"), help);
        }
        found
    }

    fn line(&mut self, key: &KeyPath, before: &[String], to: Option<&str>, change: Change) {
        let span = self.document.key_span(key);
        let mut from = Vec::new();
        for name in before {
            // A quoted name may have dots in it: they part keys, unless they are quoted once more.
            match steps(name) {
                Ok(more) => from.extend(more),
                Err(why) => {
                    return self.refuse(
                        span,
                        format!("`{name}` is no key: {why}"),
                        "write `\"A.B\"` for B in A",
                    );
                }
            }
        }
        let target = match to.map(steps).transpose() {
            Ok(target) => target,
            Err(why) => {
                let to = to.unwrap_or_default();
                let help = "keys are joined by dots, as in `trading.max_positions`";
                return self.refuse(
                    self.document.value_span(key),
                    format!("`{to}` is no key: {why}"),
                    help,
                );
            }
        };
        let stars = |steps: &[Step]| steps.iter().filter(|step| **step == Step::Any).count();
        if target
            .as_ref()
            .is_some_and(|target| stars(target) != stars(&from))
        {
            let help = "each `*` of the old key stands for one name, which the new key takes in its own `*`";
            return self.refuse(span, "the two keys have not as many `*`", help);
        }
        if target.is_none() && from.last() == Some(&Step::Any) {
            return self.refuse(span, "`*` at the end cannot be dropped", "drop the key above it");
        }
        if self.keys.iter().any(|known| known.from == from) {
            return self.refuse(span, "this key is mapped twice", "keep one of the lines");
        }
        self.keys.push(Mapped {
            name: before.join("."),
            from,
            to: target,
            change,
        });
    }
}

fn steps(text: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    for piece in split_dots(text) {
        if piece == "*" {
            steps.push(Step::Any);
            continue;
        }
        let path: KeyPath = piece
            .parse()
            .map_err(|error: crate::document::InvalidKeyPath| error.why)?;
        match path.parts() {
            [Part::Key(key)] => steps.push(Step::Key(key.clone())),
            _ => return Err("entries of a list are written as `*`".to_owned()),
        }
    }
    Ok(steps)
}
