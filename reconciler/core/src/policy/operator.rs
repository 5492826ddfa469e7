//! The operator's own policy: one that no change of the repository touches, and that judges each of them as well.

use std::sync::Arc;

use super::{Limits, Policy, Reading};
use crate::diagnostic::{Code, Diagnostic, Report};
use crate::document::{Document, KeyPath, Syntax};

/// A policy beside the repository's. Documents, their schemas and effects are the repository's alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorPolicy {
    /// The file that it was read from.
    pub path: String,
    /// Its text.
    pub text: Arc<[u8]>,
    /// What it says.
    pub policy: Policy,
}

impl OperatorPolicy {
    /// Reads one.
    ///
    /// # Errors
    /// Everything that is wrong with it, at the places of this file.
    pub fn read(path: &str, text: Arc<[u8]>) -> Result<Self, Report> {
        let (policy, mut mistakes) = match Document::parse(path, &text, Syntax::Toml) {
            Ok(document) => read(&document),
            Err(mistakes) => (Policy::default(), mistakes),
        };
        if mistakes.is_empty() {
            return Ok(Self {
                path: path.to_owned(),
                text,
                policy,
            });
        }
        for mistake in &mut mistakes {
            path.clone_into(&mut mistake.path);
        }
        Err(Report::new(mistakes))
    }

    /// The documents that it judges, from the repository's root.
    pub fn documents(&self) -> impl Iterator<Item = &str> {
        let rules = self.policy.rules.iter().map(|rule| rule.document.as_str());
        let protections = self.policy.protections.iter();
        rules.chain(protections.filter_map(|it| it.document.as_deref()))
    }
}

fn read(document: &Document) -> (Policy, Vec<Diagnostic>) {
    const UNBOUNDED: Limits = Limits {
        file_bytes: u64::MAX,
        files: u64::MAX,
        total_bytes: u64::MAX,
    };
    let mut reading = Reading {
        document,
        mistakes: super::check(document),
        operator: true,
    };
    for table in ["document", "effect"] {
        let key = KeyPath::root().key(table);
        if document.get(&key).is_some() {
            let message = format!("the operator's policy has no `{table}`");
            let help = "documents, their schemas and effects are the repository's; rules, limits, protections and \
                        secrets can be the operator's";
            reading.refuse(Code::PolicyTable, &key, message, help);
        }
    }
    let policy = Policy {
        limits: reading.limits(UNBOUNDED),
        rules: reading.rules(),
        protections: reading.protections(),
        secrets: reading.secrets(),
        ..Policy::default()
    };
    (policy, reading.mistakes)
}
