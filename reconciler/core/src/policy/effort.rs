//! How much work a schema makes, known before the work is done.
//!
//! A schema comes with the change that it judges, so it must not be able to exhaust the judge: thirty lines
//! of references can unfold to a billion subschemas, and a chain of them can run a stack out. Nothing here
//! judges a document; it only counts what judging it would take.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::annotations::Node;
use super::schema::{Schema, from_pointer};
use crate::document::{Document, KeyPath, Part};

/// How many subschemas may be applied to a document, all values of it together.
const STEPS: u64 = 5_000_000;
/// How many of them may be nested in one another.
const NESTED: usize = 500;
/// How long the chain of references of a schema may be, counted in keywords.
const CHAIN: usize = 3_000;

/// Why a schema is not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TooMuch {
    /// It would take too many steps.
    Steps,
    /// It would nest too deeply.
    Nested,
}

impl TooMuch {
    pub(crate) fn message(self, document: &str) -> String {
        match self {
            Self::Steps => format!("judging `{document}` by this schema would take more than {STEPS} steps"),
            Self::Nested => format!("judging `{document}` by this schema would nest more than {NESTED} deep"),
        }
    }
}

impl Schema {
    /// Counts what judging a document would take.
    pub(crate) fn effort(&self, document: &Document) -> Result<u64, TooMuch> {
        let mut counting = Counting {
            schema: self,
            known: HashMap::new(),
        };
        let start = self.start();
        let total = start.iter().try_fold(0, |sum: u64, node| {
            Ok(sum.saturating_add(counting.steps(node, document.value(), 0)?))
        })?;
        if total > STEPS {
            Err(TooMuch::Steps)
        } else {
            Ok(total)
        }
    }
}

struct Counting<'s> {
    schema: &'s Schema,
    /// By subschema and value; none while it is being counted, which is how a circle shows.
    ///
    /// Values without parts all cost the same.
    known: HashMap<(*const Value, Option<*const Value>), Option<u64>>,
}

impl<'s> Counting<'s> {
    fn steps(&mut self, node: &Node<'s>, value: &Value, nested: usize) -> Result<u64, TooMuch> {
        if nested > NESTED {
            return Err(TooMuch::Nested);
        }
        if self.known.len() as u64 > STEPS {
            return Err(TooMuch::Steps);
        }
        let parts = matches!(value, Value::Object(_) | Value::Array(_)).then_some(std::ptr::from_ref(value));
        let key = (std::ptr::from_ref(node.schema), parts);
        if let Some(known) = self.known.get(&key) {
            return Ok(known.unwrap_or(0));
        }
        self.known.insert(key, None);
        let mut sum = 1_u64;
        for next in self.schema.beside(node) {
            sum = sum.saturating_add(self.steps(&next, value, nested + 1)?);
        }
        if let Some(schema) = node.schema.get("not") {
            sum = sum.saturating_add(self.steps(
                &Node {
                    schema,
                    ..node.clone()
                },
                value,
                nested + 1,
            )?);
        }
        match value {
            Value::Object(table) => {
                if let Some(schema) = node.schema.get("propertyNames") {
                    let each = self.steps(
                        &Node {
                            schema,
                            ..node.clone()
                        },
                        &Value::Null,
                        nested + 1,
                    )?;
                    sum = sum.saturating_add(each.saturating_mul(table.len() as u64));
                }
                for (key, value) in table {
                    sum = sum.saturating_add(self.part(node, &Part::Key(key.clone()), value, nested)?);
                }
            }
            Value::Array(entries) => {
                for (index, value) in entries.iter().enumerate() {
                    sum = sum.saturating_add(self.part(node, &Part::Index(index), value, nested)?);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        self.known.insert(key, Some(sum));
        Ok(sum)
    }

    fn part(&mut self, node: &Node<'s>, part: &Part, value: &Value, nested: usize) -> Result<u64, TooMuch> {
        let mut sum = 0_u64;
        for next in Schema::below(node, part) {
            sum = sum.saturating_add(self.steps(&next, value, nested + 1)?);
        }
        Ok(sum)
    }
}

/// Whether a chain of references could be too long to follow: each target at most once, and from each the
/// longest way to a further reference.
///
/// `references` are file, place and, where it leads into the repository, file and fragment.
pub(super) fn chain_too_long<'r>(
    files: &BTreeMap<String, Document>,
    references: impl Iterator<Item = (&'r str, &'r KeyPath, Option<(String, String)>)>,
) -> bool {
    let mut places: BTreeMap<&str, Vec<&KeyPath>> = BTreeMap::new();
    let mut targets = std::collections::BTreeSet::new();
    for (file, at, target) in references {
        places.entry(file).or_default().push(at);
        targets.extend(target);
    }
    if targets.len() > CHAIN {
        return true;
    }
    let longest = |(file, fragment): &(String, String)| {
        let Some(document) = files.get(file) else { return 0 };
        let target = from_pointer(document.value(), fragment);
        let below = places
            .get(file.as_str())
            .into_iter()
            .flatten()
            .filter(|at| at.starts_with(&target));
        below
            .map(|at| at.parts().len() - target.parts().len())
            .max()
            .unwrap_or(0)
    };
    targets.iter().map(|target| 1 + longest(target)).sum::<usize>() > CHAIN
}
