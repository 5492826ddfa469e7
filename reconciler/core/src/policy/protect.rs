//! `[[protect]]`: changes that take a second person.

use std::collections::BTreeSet;

use super::{KeyPattern, POLICY_PATH, Reading};
use crate::diagnostic::Code;

/// One `[[protect]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protection {
    /// The keys whose change it speaks of.
    pub keys: Vec<KeyPattern>,
    /// In which document, from the repository's root; in each if none.
    pub document: Option<String>,
    /// Under which condition, in CEL; always if none.
    pub when: Option<String>,
    /// How many people beside the author have to approve.
    pub approvals: u64,
}

/// That somebody approved of these very files. Only who can prove it makes one; what anybody can type is none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Approval {
    /// Who it was, as the author would be called.
    pub by: String,
    /// How that is proven.
    pub kind: ApprovalKind,
}

/// How an approval is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ApprovalKind {
    /// A review of the same tree at the forge.
    Review,
    /// A commit that is signed by a second key.
    Signature,
    /// Consent in the editor, in a commit that the service signs.
    Editor,
}

/// Who approved of a candidate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Approvals<'a> {
    /// It is judged ahead of time: approvals are given to what lies before people, so that one is needed is a warning.
    #[default]
    Ahead,
    /// It goes live if it passes, with the approvals that there are.
    Given {
        /// Whose change it is: nobody approves his own.
        author: &'a str,
        /// The approvals.
        by: &'a [Approval],
    },
}

impl Approvals<'_> {
    /// How many people beside the author approved.
    pub(crate) fn count(&self) -> u64 {
        match self {
            Self::Ahead => 0,
            Self::Given { author, by } => {
                let people: BTreeSet<&str> = by.iter().map(|approval| approval.by.as_str()).collect();
                people.into_iter().filter(|person| person != author).count() as u64
            }
        }
    }
}

impl Reading<'_> {
    pub(super) fn protections(&mut self) -> Vec<Protection> {
        let mut protections = Vec::new();
        for table in self.tables("protect") {
            let keys = self.key_patterns(&table.key("keys"));
            let (document_key, when_key) = (table.key("document"), table.key("when"));
            let document = self.text(&document_key).map(|(path, _)| path);
            if let Some(path) = &document
                && path != POLICY_PATH
                && !self.names_document(path)
            {
                let message = format!("`{path}` is protected, and no `[[document]]` names it");
                let help = "name it in a `[[document]]` with its schema: keys are compared with the schema's defaults";
                self.refuse(Code::PolicyPath, &document_key, message, help);
            }
            let when = self.text(&when_key).map(|(text, _)| text);
            let clear = when
                .as_ref()
                .is_none_or(|text| self.expression(&when_key, "`when` of a `[[protect]]`", text));
            let approvals = self
                .document
                .get(&table.key("approvals"))
                .and_then(serde_json::Value::as_u64)
                .unwrap_or(1);
            if !keys.is_empty() {
                protections.push(Protection {
                    keys,
                    document,
                    // What cannot be understood protects always.
                    when: when.filter(|_| clear),
                    approvals,
                });
            }
        }
        protections
    }
}
