//! A document: its text, its value, and where in the text each key and value stands.
//!
//! Whatever the syntax, a document becomes one JSON value and one map of places, so that schemas, `reads`
//! and the plan never ask which syntax it was. A new syntax is one more parser in this folder.
//!
//! This module judges syntax alone. It must never look at a schema, and never guess at a broken text: a
//! document exists only if its whole text was understood.

mod canonical;
mod json;
mod path;
mod toml;
mod yaml;
mod yaml_scalar;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use serde_json::Value;

pub(crate) use canonical::canonical;
pub(crate) use path::split_dots;
pub use path::{InvalidKeyPath, KeyPath, Part};

use crate::diagnostic::{Code, Diagnostic, LISTED, Lines};

/// How deep tables and lists may be nested. The parser of TOML allows 80 levels within one value.
pub const MAX_DEPTH: usize = 128;
/// How long a key may be, in bytes.
const LONGEST_KEY: usize = 1_024;
/// What all places of a document may take, in bytes: each holds its keys from the root on.
const MOST_KEYS: usize = 256 << 20;
/// How many mistakes of one document are remembered: some are merged afterwards, so more than are listed.
const MOST_MISTAKES: usize = 2 * LISTED;

/// The syntaxes that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// TOML 1.1: what documents and the policy are written in.
    Toml,
    /// JSON: what schemas are written in, and documents may be.
    Json,
    /// YAML 1.2, its core schema: what documents may be written in.
    Yaml,
}

impl Syntax {
    /// The syntax that a document of this name is written in; none if documents cannot be written so.
    #[must_use]
    pub fn of_document(path: &str) -> Option<Self> {
        match path.rsplit_once('.')?.1 {
            "toml" => Some(Self::Toml),
            "json" => Some(Self::Json),
            "yaml" | "yml" => Some(Self::Yaml),
            _ => None,
        }
    }

    /// Whether a file of this name is judged although no policy names it: other tools' files are JSON and YAML, too.
    #[must_use]
    pub fn is_always_judged(path: &str) -> bool {
        Self::of_document(path) == Some(Self::Toml)
    }
}

/// Where a key and its value stand, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The key as it is written; a list entry has none.
    pub key: Option<Range<usize>>,
    /// The value; of a table with a header that header, of one that only dotted keys imply its key, of one that has
    /// no brackets its first key.
    pub value: Range<usize>,
}

/// A document that was read whole.
#[derive(Debug, Clone)]
pub struct Document {
    syntax: Syntax,
    text: Arc<str>,
    value: Value,
    places: BTreeMap<KeyPath, Place>,
    bare: BTreeMap<KeyPath, Bare>,
}

/// What JSON has no word for, and is a string in the document's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bare {
    /// A date, a time or both.
    Datetime,
    /// `inf` or `nan`.
    NonFinite,
}

impl Document {
    /// Reads a text.
    ///
    /// # Errors
    /// With a diagnostic for each mistake that the parser finds, all in `path`.
    pub fn parse(path: &str, bytes: &[u8], syntax: Syntax) -> Result<Self, Vec<Diagnostic>> {
        let text = std::str::from_utf8(bytes).map_err(|error| vec![not_utf8(path, bytes, error)])?;
        let mut reading = Reading::new(path);
        let value = match syntax {
            Syntax::Toml => toml::read(text, &mut reading),
            Syntax::Json => json::read(text, &mut reading),
            Syntax::Yaml => yaml::read(text, &mut reading),
        };
        let Reading {
            places,
            bare,
            mut mistakes,
            ..
        } = reading;
        if mistakes.is_empty() {
            return Ok(Self {
                syntax,
                text: text.into(),
                value,
                places,
                bare,
            });
        }
        // The parser passes some mistakes twice: on a table's start and on its end.
        let mut seen = BTreeSet::new();
        mistakes.retain(|mistake| {
            seen.insert((
                mistake.span.clone().map(|span| (span.start, span.end)),
                mistake.message.clone(),
            ))
        });
        Err(mistakes)
    }

    /// What it is written in.
    #[must_use]
    pub fn syntax(&self) -> Syntax {
        self.syntax
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The value. Dates and times, `inf` and `nan` are strings in it.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The value at a path.
    #[must_use]
    pub fn get(&self, path: &KeyPath) -> Option<&Value> {
        path.parts()
            .iter()
            .try_fold(&self.value, |value, part| match part {
                Part::Key(key) => value.get(key),
                Part::Index(index) => value.get(index),
            })
    }

    /// Where a value stands. The document itself begins at its first byte.
    #[must_use]
    pub fn place(&self, path: &KeyPath) -> Option<&Place> {
        self.places.get(path)
    }

    /// The span of a value, or of the nearest table around it that has one.
    #[must_use]
    pub fn value_span(&self, path: &KeyPath) -> Range<usize> {
        self.nearest(path, |place| place.value.clone())
    }

    /// The span of a key; of a list entry, that of its value.
    #[must_use]
    pub fn key_span(&self, path: &KeyPath) -> Range<usize> {
        self.nearest(path, |place| {
            place.key.clone().unwrap_or_else(|| place.value.clone())
        })
    }

    /// The span that stands for a table as a whole: its header, else its key; the document's start for the root.
    #[must_use]
    pub fn header_span(&self, path: &KeyPath) -> Range<usize> {
        self.nearest(path, |place| match &place.key {
            Some(key) if !self.text[place.value.clone()].starts_with('[') => key.clone(),
            None if self.text[place.value.clone()].starts_with('{') => {
                place.value.start..place.value.start + 1
            }
            Some(_) | None => place.value.clone(),
        })
    }

    fn nearest(&self, path: &KeyPath, span: impl Fn(&Place) -> Range<usize>) -> Range<usize> {
        let mut at = Some(path.clone());
        while let Some(path) = at {
            if let Some(place) = self.places.get(&path) {
                return span(place);
            }
            at = path.parent();
        }
        0..0
    }

    /// Whether a value is a string only because JSON has no word for it.
    pub(crate) fn bare(&self, path: &KeyPath) -> Option<Bare> {
        self.bare.get(path).copied()
    }

    /// The `inf` and `nan` in it, which no schema can judge.
    pub(crate) fn non_finite(&self) -> impl Iterator<Item = &KeyPath> {
        self.bare
            .iter()
            .filter(|(_, bare)| matches!(bare, Bare::NonFinite))
            .map(|(path, _)| path)
    }
}

/// What a parser fills while it reads.
struct Reading<'a> {
    path: &'a str,
    places: BTreeMap<KeyPath, Place>,
    bare: BTreeMap<KeyPath, Bare>,
    mistakes: Vec<Diagnostic>,
    /// What the places take so far, in bytes.
    keys: usize,
}

impl<'a> Reading<'a> {
    fn new(path: &'a str) -> Self {
        Self {
            path,
            places: BTreeMap::new(),
            bare: BTreeMap::new(),
            mistakes: Vec::new(),
            keys: 0,
        }
    }

    /// Says where a value stands.
    fn place(&mut self, path: KeyPath, place: Place) {
        let take = |part: &Part| {
            std::mem::size_of::<Part>()
                + match part {
                    Part::Key(key) => key.len(),
                    Part::Index(_) => 0,
                }
        };
        self.keys += path.parts().iter().map(take).sum::<usize>();
        if self.keys > MOST_KEYS {
            let span = place.key.unwrap_or(place.value);
            self.too_long(span, "the keys of this document are too long together");
        } else {
            self.places.insert(path, place);
        }
    }

    /// Says that JSON has no word for a value.
    fn bare(&mut self, path: &KeyPath, bare: Bare) {
        if self.keys <= MOST_KEYS {
            self.bare.insert(path.clone(), bare);
        }
    }

    /// Says the same of a value that repeats another one.
    fn bare_again(&mut self, from: &KeyPath, to: &KeyPath) {
        let below = self
            .bare
            .range(from.clone()..)
            .take_while(|(path, _)| path.starts_with(from));
        let again: Vec<_> = below
            .map(|(path, bare)| (to.below(&path.parts()[from.parts().len()..]), *bare))
            .collect();
        self.bare.extend(again);
    }

    /// Whether a key is short enough to be taken down once for each value below it.
    fn fits(&mut self, key: &str, span: Range<usize>) -> bool {
        let fits = key.len() <= LONGEST_KEY;
        if !fits {
            self.too_long(span, "a key may have at most 1,024 bytes");
        }
        fits
    }

    fn mistake(&mut self, code: Code, span: Range<usize>, message: impl Into<String>, help: Option<&str>) {
        if self.mistakes.len() < MOST_MISTAKES {
            let mut mistake = Diagnostic::error(code, self.path, message).at(span);
            mistake.help = help.map(str::to_owned);
            self.mistakes.push(mistake);
        }
    }

    /// Says once that the text is nested too deeply; whoever reads stops there.
    fn too_deep(&mut self, span: Range<usize>) {
        let help = "flatten the document: no service needs this";
        self.once(
            Code::TooDeep,
            span,
            "tables and lists are nested too deeply",
            help,
        );
    }

    fn too_long(&mut self, span: Range<usize>, message: &str) {
        let help = "shorten the keys, or nest them less deeply";
        self.once(Code::LongKeys, span, message, help);
    }

    fn once(&mut self, code: Code, span: Range<usize>, message: &str, help: &str) {
        if !self.mistakes.iter().any(|mistake| mistake.code == code) {
            self.mistake(code, span, message, Some(help));
        }
    }
}

fn not_utf8(path: &str, bytes: &[u8], error: std::str::Utf8Error) -> Diagnostic {
    let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    let message = if utf16 {
        "the file is UTF-16, not UTF-8".to_owned()
    } else {
        let right = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        let at = Lines::of(&right).at(right.len());
        format!(
            "the file is not UTF-8: it goes wrong in line {}, column {}",
            at.line, at.column
        )
    };
    Diagnostic::error(Code::NotUtf8, path, message)
        .with_help("save it as UTF-8; a binary file cannot be a document")
}
