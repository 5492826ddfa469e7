//! What a config repository says of itself: `.lockstep/policy.toml` at its root.
//!
//! It names the documents and their schemas, how much may be published, and which keys need a restart.
//! A table that this build does not know refuses the whole policy: what is not understood is never skipped.
//! This module reads and checks the policy; it never judges a document (that is [`crate::validate`]).

mod annotations;
mod defaults;
mod effect;
mod effort;
mod gather;
mod operator;
mod protect;
mod schema;
mod secrets;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use serde_json::Value;

pub use effect::{KeyPattern, Restart};
pub use gather::gather;
pub use operator::OperatorPolicy;
pub use protect::{Approval, ApprovalKind, Approvals, Protection};
pub use schema::references;
pub(crate) use schema::{Schema, from_pointer};
pub use secrets::Secrets;

use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::document::{Document, KeyPath, Syntax};
use crate::rule::{Expression, Message, Rule};
use crate::tree::TreePath;
use crate::validate::mistakes;

/// Where the policy lies, from the repository's root.
pub const POLICY_PATH: &str = ".lockstep/policy.toml";

/// A policy as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// The documents and what judges them.
    pub documents: Vec<DocumentPolicy>,
    /// How much may be published.
    pub limits: Limits,
    /// Which keys need a restart.
    pub effects: Vec<Effect>,
    /// What must be true of the documents.
    pub rules: Vec<Rule>,
    /// What takes a second person.
    pub protections: Vec<Protection>,
    /// What is a secret, and what only looks like one.
    pub secrets: Secrets,
}

/// One `[[document]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentPolicy {
    /// The document, from the repository's root.
    pub path: String,
    /// Where the policy says so.
    pub path_span: Range<usize>,
    /// Its schema, from the repository's root.
    pub schema: String,
    /// Where the policy says so.
    pub schema_span: Range<usize>,
}

/// One `[[effect]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// The keys it speaks of, in any document.
    pub keys: Vec<KeyPattern>,
    /// Who restarts when one of them changes.
    pub restart: Restart,
}

/// How much may be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest file, in bytes.
    pub file_bytes: u64,
    /// How many files.
    pub files: u64,
    /// All files together, in bytes.
    pub total_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 10 << 20,
            files: 100_000,
            total_bytes: 256 << 20,
        }
    }
}

impl Policy {
    /// Reads a policy as well as it goes: what is wrong is reported, and what is right still holds.
    ///
    /// That second half is for a base, whose limits must go on judging even if a newer build wrote it.
    #[must_use]
    pub fn read(bytes: &[u8]) -> (Self, Vec<Diagnostic>) {
        let document = match Document::parse(POLICY_PATH, bytes, Syntax::Toml) {
            Ok(document) => document,
            Err(mistakes) => return (Self::default(), mistakes),
        };
        let mut reading = Reading {
            document: &document,
            mistakes: check(&document),
            operator: false,
        };
        let policy = Self {
            documents: reading.documents(),
            limits: reading.limits(Limits::default()),
            effects: reading.effects(),
            rules: reading.rules(),
            protections: reading.protections(),
            secrets: reading.secrets(),
        };
        (policy, reading.mistakes)
    }
}

/// What the policy's own schema finds, in this format's own words.
fn check(document: &Document) -> Vec<Diagnostic> {
    let mut mistakes = mistakes::explain(OWN.judge(document), POLICY_PATH, document, Some(&OWN));
    let version = KeyPath::root().key("version");
    for mistake in &mut mistakes {
        // The schema is part of the program: there is no line in the repository to show.
        mistake.related.clear();
        let Some(key) = &mistake.key else { continue };
        if *key == version && document.get(&version).is_some() {
            let said = document
                .get(&version)
                .map(ToString::to_string)
                .unwrap_or_default();
            mistake.code = Code::PolicyVersion;
            mistake.message = format!("this build knows version 1 of the policy, not {said}");
            mistake.help = Some("write `version = 1`, or update the program at this gate".into());
        } else if mistake.code == Code::UnknownKey && key.parts().len() == 1 {
            let name = key.name();
            mistake.code = Code::PolicyTable;
            mistake.message =
                format!("this build does not know `{name}` in a policy, so it refuses all of it");
        }
    }
    // Of another version nothing else is known.
    if let Some(version) = mistakes
        .iter()
        .find(|mistake| mistake.code == Code::PolicyVersion)
    {
        return vec![version.clone()];
    }
    mistakes
}

/// The schema of the policy itself, which ships with the program.
static OWN: LazyLock<Schema> = LazyLock::new(|| {
    let name = "policy.schema.json";
    let text: Arc<[u8]> = Arc::from(include_bytes!("policy/policy.schema.json").as_slice());
    Schema::load(name, &BTreeMap::from([(name.to_owned(), text)])).expect("the policy's own schema is valid")
});

struct Reading<'d> {
    document: &'d Document,
    mistakes: Vec<Diagnostic>,
    /// Whether it is the operator's, which names no documents.
    operator: bool,
}

impl Reading<'_> {
    fn tables(&self, name: &str) -> impl Iterator<Item = KeyPath> + use<> {
        let path = KeyPath::root().key(name);
        (0..self.entries(&path)).map(move |at| path.index(at))
    }

    fn entries(&self, list: &KeyPath) -> usize {
        let list = self.document.get(list).and_then(Value::as_array);
        list.map_or(0, Vec::len)
    }

    fn text(&self, path: &KeyPath) -> Option<(String, Range<usize>)> {
        let text = self.document.get(path)?.as_str()?;
        Some((text.to_owned(), self.document.value_span(path)))
    }

    fn refuse(&mut self, code: Code, key: &KeyPath, message: String, help: &str) {
        let span = self.document.value_span(key);
        let mistake = Diagnostic::error(code, POLICY_PATH, message)
            .at(span)
            .about(key.clone());
        self.mistakes.push(mistake.with_help(help));
    }

    fn documents(&mut self) -> Vec<DocumentPolicy> {
        let mut documents: Vec<DocumentPolicy> = Vec::new();
        for table in self.tables("document") {
            let (path_key, schema_key) = (table.key("path"), table.key("schema"));
            let (Some((path, path_span)), Some((schema, schema_span))) =
                (self.text(&path_key), self.text(&schema_key))
            else {
                continue;
            };
            let clean = [self.clean(&path_key, &path), self.clean(&schema_key, &schema)];
            if clean.contains(&false) {
                continue;
            }
            if Syntax::of_document(&path).is_none() {
                let message = format!("`{path}` is neither TOML, JSON nor YAML");
                self.refuse(
                    Code::PolicyPath,
                    &path_key,
                    message,
                    "a document's name ends in `.toml`, `.json`, `.yaml` or `.yml`",
                );
                continue;
            }
            if documents.iter().any(|document| document.path == path) {
                let message = format!("`{path}` is named twice");
                self.refuse(
                    Code::DocumentTwice,
                    &path_key,
                    message,
                    "remove one of the two tables",
                );
                continue;
            }
            documents.push(DocumentPolicy {
                path,
                path_span,
                schema,
                schema_span,
            });
        }
        documents
    }

    fn clean(&mut self, key: &KeyPath, path: &str) -> bool {
        let Err(error) = TreePath::new(path) else {
            return true;
        };
        let message = format!("`{path}` is not a path in this repository: {}", error.why);
        self.refuse(
            Code::PolicyPath,
            key,
            message,
            "write it from the repository's root: `config/config.toml`",
        );
        false
    }

    fn limits(&self, default: Limits) -> Limits {
        let table = KeyPath::root().key("limits");
        let limit = |name: &str, default: u64| {
            let said = self.document.get(&table.key(name)).and_then(Value::as_u64);
            said.filter(|limit| *limit > 0).unwrap_or(default)
        };
        Limits {
            file_bytes: limit("file_bytes", default.file_bytes),
            files: limit("files", default.files),
            total_bytes: limit("total_bytes", default.total_bytes),
        }
    }

    fn effects(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        for table in self.tables("effect") {
            let Some(restart) = self
                .document
                .get(&table.key("restart"))
                .and_then(Restart::from_policy)
            else {
                continue;
            };
            let keys = self.key_patterns(&table.key("keys"));
            effects.push(Effect { keys, restart });
        }
        effects
    }

    fn key_patterns(&mut self, list: &KeyPath) -> Vec<KeyPattern> {
        let mut keys = Vec::new();
        for entry in (0..self.entries(list)).map(|at| list.index(at)) {
            let Some((text, _)) = self.text(&entry) else {
                continue;
            };
            match KeyPattern::parse(&text) {
                Ok(pattern) => keys.push(pattern),
                Err(why) => {
                    let help =
                        "keys are written as TOML writes dotted keys: `ibkr.host`, `strategy.*.min_rsi`";
                    self.refuse(Code::PolicyPath, &entry, why, help);
                }
            }
        }
        keys
    }

    fn rules(&mut self) -> Vec<Rule> {
        let mut rules: Vec<Rule> = Vec::new();
        for table in self.tables("rule") {
            let key = |name: &str| table.key(name);
            let (Some((name, _)), Some((document, _)), Some((expression, expression_span))) = (
                self.text(&key("name")),
                self.text(&key("document")),
                self.text(&key("expression")),
            ) else {
                continue;
            };
            if rules.iter().any(|rule| rule.name == name) {
                let message = format!("there are two rules `{name}`");
                self.refuse(
                    Code::RuleInvalid,
                    &key("name"),
                    message,
                    "give each rule a name of its own",
                );
            }
            if !self.names_document(&document) {
                let message = format!("rule `{name}` judges `{document}`, which no `[[document]]` names");
                let help = "name it in a `[[document]]` with its schema: a rule sees the schema's defaults";
                self.refuse(Code::PolicyPath, &key("document"), message, help);
            }
            let whose = format!("rule `{name}`");
            let mut clear = self.expression(&key("expression"), &whose, &expression);
            let message = match (self.text(&key("message")), self.text(&key("message_expression"))) {
                (Some((text, _)), None) => Some(Message::Text(text)),
                (None, Some((text, span))) => {
                    clear &= self.expression(&key("message_expression"), &whose, &text);
                    Some(Message::Expression(text, span))
                }
                (None, None) => None,
                (Some(_), Some(_)) => {
                    let message = format!("rule `{name}` has both a `message` and a `message_expression`");
                    self.refuse(
                        Code::RuleInvalid,
                        &key("message_expression"),
                        message,
                        "keep one of them",
                    );
                    None
                }
            };
            let at = self
                .text(&key("at"))
                .and_then(|(text, _)| match text.parse::<KeyPath>() {
                    Ok(at) => Some(at),
                    Err(error) => {
                        let message = format!("rule `{name}` stands at no key: {error}");
                        let help = "write the key as TOML writes dotted keys: `trading.max_positions`";
                        self.refuse(Code::PolicyPath, &key("at"), message, help);
                        None
                    }
                });
            let severity = match self.text(&key("severity")) {
                Some((word, _)) if word == "warning" => Severity::Warning,
                Some(_) | None => Severity::Error,
            };
            if clear {
                rules.push(Rule {
                    name,
                    document,
                    expression,
                    expression_span,
                    message,
                    at,
                    severity,
                });
            }
        }
        rules
    }

    fn names_document(&self, path: &str) -> bool {
        self.operator
            || self.tables("document").any(|table| {
                self.text(&table.key("path"))
                    .is_some_and(|(known, _)| known == path)
            })
    }

    /// Whether an expression can be read; where it cannot that is told, as near to the mistake as the text allows.
    fn expression(&mut self, key: &KeyPath, whose: &str, text: &str) -> bool {
        let Err(unreadable) = Expression::parse(text) else {
            return true;
        };
        let span = self.document.value_span(key);
        let written = &self.document.text()[span.clone()];
        // Escapes in the text move what follows them: then the whole text is the place.
        let at = unreadable.at.and_then(|at| {
            Some(
                span.start
                    + written.find(text)?
                    + text.floor_char_boundary(at.min(text.len().saturating_sub(1))),
            )
        });
        let mut mistake = Diagnostic::error(
            Code::RuleInvalid,
            POLICY_PATH,
            format!("{whose}: {}", unreadable.message),
        )
        .at(at.map_or(span, |at| {
            let marked = self.document.text()[at..].chars().next();
            at..at + marked.map_or(1, char::len_utf8)
        }))
        .about(key.clone());
        mistake.help = unreadable.help;
        self.mistakes.push(mistake);
        false
    }
}
