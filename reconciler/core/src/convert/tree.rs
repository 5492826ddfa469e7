//! A configuration between two syntaxes: values in their order, with the comments around them.

use std::ops::Range;

use serde_json::Value;
use toml_edit::Datetime;

use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::document::{KeyPath, Part};

/// A whole document.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    /// Comments about the file as a whole, before the first key.
    pub(super) head: Vec<String>,
    /// The keys.
    pub(super) root: Group,
}

/// The entries of a table or a list.
#[derive(Debug, Clone, Default)]
pub(super) struct Group {
    /// In their order.
    pub(super) entries: Vec<Entry>,
    /// Whether it was written in brackets, on one line most often.
    pub(super) flow: bool,
    /// Comments after the last entry.
    pub(super) foot: Vec<String>,
}

/// A key with its value, or an entry of a list.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// The key; empty in a list.
    pub(super) key: String,
    /// Where the key stands in the YAML; in a list, where the value does.
    pub(super) key_span: Range<usize>,
    /// What is said about it.
    pub(super) comments: Comments,
    /// Its value.
    pub(super) node: Node,
}

/// The comments of an entry, each with its `#`; an empty one is a blank line.
#[derive(Debug, Clone, Default)]
pub(super) struct Comments {
    /// Lines above it.
    pub(super) head: Vec<String>,
    /// On its own line.
    pub(super) end: Option<String>,
    /// Whether a blank line comes before it and what is above it.
    pub(super) blank: bool,
}

/// A value, and where it stands in the YAML.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) content: Content,
    pub(super) span: Range<usize>,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// Which TOML does not have.
    Null,
    Scalar(Scalar),
    List(Group),
    Table(Group),
}

/// A value without parts. Numbers remember how they are written in TOML.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar {
    Boolean(bool),
    Integer(i64, String),
    Float(f64, String),
    Text(String),
    Moment(Datetime),
}

impl Scalar {
    /// An integer, written plainly.
    pub(super) fn integer(value: i64) -> Self {
        Self::Integer(value, value.to_string())
    }

    /// A float, written as short as it can be.
    pub(super) fn float(value: f64) -> Self {
        let size = value.abs();
        let written = if size != 0.0 && size.is_finite() && !(1e-6..1e17).contains(&size) {
            format!("{value:e}")
        } else {
            toml_edit::Value::from(value).to_string()
        };
        Self::Float(value, written)
    }

    /// As text, as far as a person would write it.
    pub(super) fn as_text(&self) -> String {
        match self {
            Self::Boolean(yes) => yes.to_string(),
            Self::Integer(_, written) | Self::Float(_, written) => written.clone(),
            Self::Text(text) => text.clone(),
            Self::Moment(moment) => moment.to_string(),
        }
    }
}

impl Tree {
    /// Where a value stands in the YAML.
    pub(super) fn span_of(&self, key: &KeyPath) -> Option<Range<usize>> {
        let mut group = &self.root;
        let mut span = None;
        for (at, part) in key.parts().iter().enumerate() {
            let entry = match part {
                Part::Key(key) => group.entries.iter().find(|entry| entry.key == *key)?,
                Part::Index(index) => group.entries.get(*index)?,
            };
            span = Some(entry.node.span.clone());
            match &entry.node.content {
                Content::List(inner) | Content::Table(inner) => group = inner,
                Content::Null | Content::Scalar(_) if at + 1 == key.parts().len() => {}
                Content::Null | Content::Scalar(_) => return None,
            }
        }
        span
    }

    /// Tells where nulls are: left out of a table, impossible in a list.
    pub(super) fn judge_nulls(&self, path: &str, found: &mut Vec<Diagnostic>) {
        judge_nulls(&self.root, &KeyPath::root(), false, path, found);
    }

    /// Whether a document has this tree's values, and no others.
    pub(super) fn says_the_same(&self, value: &Value) -> bool {
        same_table(&self.root, value)
    }
}

fn judge_nulls(group: &Group, at: &KeyPath, list: bool, path: &str, found: &mut Vec<Diagnostic>) {
    for (index, entry) in group.entries.iter().enumerate() {
        let key = if list { at.index(index) } else { at.key(&entry.key) };
        match &entry.node.content {
            Content::Null if list => found.push(
                Diagnostic::error(
                    Code::NoTomlValue,
                    path,
                    format!("`{key}` is null: a list in TOML cannot have an empty entry"),
                )
                .at(entry.key_span.clone())
                .about(key)
                .with_help("remove the entry from the YAML, or give it a value"),
            ),
            Content::Null => {
                let mut warning = Diagnostic::error(
                    Code::SaidDifferently,
                    path,
                    format!("`{key}` is null: TOML has no null, the key is left out"),
                )
                .at(entry.key_span.clone())
                .about(key)
                .with_help(
                    "a service then takes its default; write the value that is meant if it is another",
                );
                warning.severity = Severity::Warning;
                found.push(warning);
            }
            Content::List(inner) => judge_nulls(inner, &key, true, path, found),
            Content::Table(inner) => judge_nulls(inner, &key, false, path, found),
            Content::Scalar(_) => {}
        }
    }
}

fn same_table(group: &Group, value: &Value) -> bool {
    let Some(table) = value.as_object() else {
        return false;
    };
    let said = |entry: &&Entry| !matches!(entry.node.content, Content::Null);
    group.entries.iter().filter(said).count() == table.len()
        && group.entries.iter().filter(said).all(|entry| {
            table
                .get(&entry.key)
                .is_some_and(|value| same(&entry.node, value))
        })
}

fn same(node: &Node, value: &Value) -> bool {
    match (&node.content, value) {
        (Content::Null, value) => value.is_null(),
        (Content::Table(group), value) => same_table(group, value),
        (Content::List(group), Value::Array(items)) => {
            group.entries.len() == items.len()
                && group
                    .entries
                    .iter()
                    .zip(items)
                    .all(|(entry, item)| same(&entry.node, item))
        }
        (Content::List(_), _) => false,
        (Content::Scalar(scalar), value) => match (scalar, value) {
            (Scalar::Boolean(yes), Value::Bool(other)) => yes == other,
            (Scalar::Integer(integer, _), Value::Number(number)) => number.as_i64() == Some(*integer),
            (Scalar::Float(float, _), Value::Number(number)) => number.as_f64() == Some(*float),
            // `inf` and `nan`, dates and times are texts in a document's value.
            (Scalar::Float(float, _), Value::String(_)) => !float.is_finite(),
            (Scalar::Text(text), Value::String(other)) => text == other,
            (Scalar::Moment(_), Value::String(_)) => true,
            _ => false,
        },
    }
}
