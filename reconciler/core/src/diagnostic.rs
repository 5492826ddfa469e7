//! What is wrong with a candidate, as values: every gate shows the same ones, each in its own way.
//!
//! Rules return diagnostics and never print. Renderers print and never decide.

mod code;
mod json;
mod place;
mod report;
mod sarif;
mod text;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;

pub use code::{Code, UnknownCode, explain};
pub use json::json;
pub use place::{LineColumn, Lines};
pub use report::{Findings, LISTED, Report};
pub use sarif::sarif;
pub use text::{Style, text};

use crate::document::KeyPath;

/// Whether a candidate with this diagnostic may be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It is refused.
    Error,
    /// It is published; somebody should look.
    Warning,
}

impl Severity {
    /// The word that people read.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Which kind of mistake it is.
    pub code: Code,
    /// Whether it refuses the candidate.
    pub severity: Severity,
    /// The file, counted from the repository's root.
    pub path: String,
    /// The offending key or value, in bytes; none if the file as a whole is meant.
    pub span: Option<Range<usize>>,
    /// The offending key; none outside documents.
    pub key: Option<KeyPath>,
    /// What is wrong: a phrase, without a full stop.
    pub message: String,
    /// What to do next.
    pub help: Option<String>,
    /// What to write in place of what is marked, where that is obvious.
    pub fix: Option<String>,
    /// Other places that explain it: the line of the schema that decided.
    pub related: Vec<Related>,
}

/// Another place that a diagnostic speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Related {
    /// The file, counted from the repository's root.
    pub path: String,
    /// The place in it, in bytes.
    pub span: Range<usize>,
    /// What is to be seen there, as a phrase.
    pub message: String,
}

impl Diagnostic {
    /// An error that means a file as a whole.
    #[must_use]
    pub fn error(code: Code, path: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            path: path.to_owned(),
            span: None,
            key: None,
            message: message.into(),
            help: None,
            fix: None,
            related: Vec::new(),
        }
    }

    /// The same, at a place of the file.
    #[must_use]
    pub fn at(mut self, span: Range<usize>) -> Self {
        self.span = Some(span);
        self
    }

    /// The same, about a key.
    #[must_use]
    pub fn about(mut self, key: KeyPath) -> Self {
        self.key = Some(key);
        self
    }

    /// The same, with advice.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The files that diagnostics speak of, by their path from the repository's root.
pub type Sources = BTreeMap<String, Arc<[u8]>>;

/// The text of a file, if it is one.
fn source<'s>(sources: &'s Sources, path: &str) -> Option<&'s str> {
    std::str::from_utf8(sources.get(path)?).ok()
}
