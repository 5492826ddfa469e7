//! Which of several variants a value was meant to be, when it fits none.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::types::JsonType;
use serde_json::Value;

use super::words;
use crate::document::Syntax;

/// What to say about a value that fits no variant.
pub(super) enum Verdict {
    /// It was meant to be this variant: its own mistakes are the ones to report.
    Branch(usize),
    /// The value itself is none of those that the variants want: in words, and as values where they are fixed.
    Wanted { words: Vec<String>, options: Vec<Value> },
    /// The key that tells the variants apart has none of their values.
    Discriminator { pointer: String, options: Vec<Value> },
}

/// Decides from each variant's own errors. `at` is the value's pointer, and the words are for a document of this syntax.
pub(super) fn decide(branches: &[Vec<ValidationError<'_>>], at: &str, syntax: Syntax) -> Verdict {
    // A variant of another type was not meant, unless all are.
    let mut open: Vec<usize> = (0..branches.len())
        .filter(|i| !wrong_type(&branches[*i], at))
        .collect();
    if open.is_empty() {
        open = (0..branches.len()).collect();
    }
    if let Some(wanted) = wanted(branches, at, syntax) {
        return wanted;
    }
    if let Some(pointer) = discriminator(branches, &open, at) {
        let fits: Vec<_> = open
            .iter()
            .copied()
            .filter(|i| !rejects(&branches[*i], &pointer))
            .collect();
        if !fits.is_empty() {
            open = fits;
        } else if let Some(options) = options(branches, &open, &pointer) {
            return Verdict::Discriminator { pointer, options };
        }
    }
    let nearest = open.into_iter().min_by_key(|i| branches[*i].len());
    Verdict::Branch(nearest.unwrap_or(0))
}

/// All variants refuse the value as such, each with one reason: then one sentence names what is wanted.
fn wanted(branches: &[Vec<ValidationError<'_>>], at: &str, syntax: Syntax) -> Option<Verdict> {
    let (mut words, mut options) = (Vec::new(), Vec::new());
    for branch in branches {
        let error = branch.iter().find(|error| error.instance_path().as_str() == at)?;
        match error.kind() {
            ValidationErrorKind::Type {
                kind: TypeKind::Single(JsonType::Null),
            } if syntax == Syntax::Toml => {}
            ValidationErrorKind::Type { kind } => words.push(words::of_types(kind, syntax)),
            _ => {
                let fixed = fixed(error)?;
                words.extend(
                    fixed
                        .iter()
                        .map(|value| format!("`{}`", words::written(value, syntax))),
                );
                options.extend(fixed);
            }
        }
    }
    words.dedup();
    (words.len() > 1).then_some(Verdict::Wanted { words, options })
}

/// The key below `at` that most variants want another value of.
fn discriminator(branches: &[Vec<ValidationError<'_>>], open: &[usize], at: &str) -> Option<String> {
    let below = |error: &&ValidationError<'_>| {
        let pointer = error.instance_path().as_str();
        pointer
            .strip_prefix(at)
            .and_then(|rest| rest.strip_prefix('/'))
            .is_some_and(|rest| !rest.contains('/'))
    };
    let mut counts: Vec<(String, usize)> = Vec::new();
    for branch in open {
        for error in branches[*branch]
            .iter()
            .filter(below)
            .filter(|error| fixed(error).is_some())
        {
            let pointer = error.instance_path().as_str();
            match counts.iter_mut().find(|(known, _)| known == pointer) {
                Some((_, count)) => *count += 1,
                None => counts.push((pointer.to_owned(), 1)),
            }
        }
    }
    let (pointer, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    // A value that only one of many variants refuses tells nothing apart.
    (count + 1 >= open.len()).then_some(pointer)
}

fn rejects(branch: &[ValidationError<'_>], pointer: &str) -> bool {
    branch
        .iter()
        .any(|error| error.instance_path().as_str() == pointer && fixed(error).is_some())
}

fn options(branches: &[Vec<ValidationError<'_>>], open: &[usize], pointer: &str) -> Option<Vec<Value>> {
    let mut options = Vec::new();
    for branch in open {
        let error = branches[*branch]
            .iter()
            .find(|error| error.instance_path().as_str() == pointer)?;
        options.extend(fixed(error)?);
    }
    Some(options)
}

fn wrong_type(branch: &[ValidationError<'_>], at: &str) -> bool {
    branch.iter().any(|error| {
        error.instance_path().as_str() == at && matches!(error.kind(), ValidationErrorKind::Type { .. })
    })
}

/// The values that a variant fixes, if that is what the error is about.
fn fixed(error: &ValidationError<'_>) -> Option<Vec<Value>> {
    match error.kind() {
        ValidationErrorKind::Constant { expected_value } => Some(vec![expected_value.as_ref().clone()]),
        ValidationErrorKind::Enum { options } => options.as_array().cloned(),
        _ => None,
    }
}
