//! From text to a validated view, with line and column for everything that is wrong.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::{Invalid, View};

/// Something wrong with a document, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key it is about, where one is known.
    pub key: Option<String>,
    /// What is wrong and what is expected.
    pub message: String,
    /// The line, counted from 1. None when the key is not in the text (its default is at fault).
    pub line: Option<u32>,
    /// The column in characters, counted from 1.
    pub column: Option<u32>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, "{line}:{column}: ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// Reads a view from the text of a document and validates it.
///
/// # Errors
/// All problems: what cannot be parsed at all, else every value that may not be used.
pub fn parse<V: View>(text: &str) -> Result<V, Vec<Problem>> {
    let view: V = toml::from_str(text).map_err(|error| vec![syntax(text, &error)])?;
    match view.validate() {
        Ok(()) => Ok(view),
        Err(found) => {
            let mut problems: Vec<Problem> = found.into_iter().map(|invalid| locate(text, invalid)).collect();
            // In file order; what has no place of its own comes last.
            problems.sort_by_key(|problem| (problem.line.is_none(), problem.line, problem.column));
            Err(problems)
        }
    }
}

/// All problems as one, for where there is room for one alone: the place of the first, the text of all.
#[must_use]
pub fn summary(problems: &[Problem]) -> Problem {
    let text = |problem: &Problem| match &problem.key {
        Some(key) => format!("{key}: {}", problem.message),
        None => problem.message.clone(),
    };
    let texts: Vec<String> = problems.iter().map(text).collect();
    let (line, column) = problems
        .first()
        .map_or((None, None), |first| (first.line, first.column));
    Problem {
        key: None,
        message: texts.join("; also "),
        line,
        column,
    }
}

/// Gives a finding about a key its place in the text.
#[must_use]
pub fn locate(text: &str, invalid: Invalid) -> Problem {
    let Invalid { key, message } = invalid;
    let (line, column) = span_of(text, &key).map(|span| position(text, span.start)).unzip();
    Problem {
        key: Some(key),
        message,
        line,
        column,
    }
}

fn syntax(text: &str, error: &toml::de::Error) -> Problem {
    let (line, column) = error.span().map(|span| position(text, span.start)).unzip();
    Problem {
        key: None,
        message: error.message().to_owned(),
        line,
        column,
    }
}

/// Where the value of `key` is; else where the table that lacks it begins.
fn span_of(text: &str, key: &str) -> Option<Range<usize>> {
    let document = DeTable::parse(text).ok()?;
    let mut table: &DeTable<'_> = document.get_ref();
    let mut deepest = None;
    for part in key.split('.') {
        let Some((name, value)) = table.iter().find(|(name, _)| name.get_ref() == part) else {
            return deepest;
        };
        match Spanned::get_ref(value) {
            DeValue::Table(inner) => {
                table = inner;
                deepest = Some(name.span());
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => return Some(value.span()),
        }
    }
    deepest
}

fn position(text: &str, offset: usize) -> (u32, u32) {
    let before = &text[..text.floor_char_boundary(offset)];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    let column = before[line_start..].chars().count() + 1;
    (
        u32::try_from(line).unwrap_or(u32::MAX),
        u32::try_from(column).unwrap_or(u32::MAX),
    )
}
