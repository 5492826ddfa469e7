//! Rules: what a policy demands of a document beyond its schema, in CEL, in the words of Kubernetes.
//!
//! A rule sees the document as `self` and that of the base as `oldSelf`, both with the schema's defaults and number
//! types. It comes with the change that it judges, so it must not be able to harm the judge: its text and its nesting
//! are bounded ([`expression`]), and what it would cost on these very values is known before it is evaluated
//! ([`cost`]). There is no clock in it, so every gate gets the same answer.

mod cost;
mod expression;
mod language;
mod value;

use std::ops::Range;

use serde_json::Value;

pub(crate) use expression::{Expression, Unclear};

use crate::diagnostic::{Code, Diagnostic, Related, Severity};
use crate::document::{Document, KeyPath, Part};
use crate::policy::{POLICY_PATH, Schema};
use crate::secret::kept;
use crate::validate::{nearest, plain};

/// One `[[rule]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name, by which people speak of it.
    pub name: String,
    /// The document that it judges, from the repository's root.
    pub document: String,
    /// What must be true.
    pub expression: String,
    /// Where the policy says so.
    pub expression_span: Range<usize>,
    /// What is said where it is not, as a text or as an expression that makes one.
    pub message: Option<Message>,
    /// The key at which it is said.
    pub at: Option<KeyPath>,
    /// How bad that is.
    pub severity: Severity,
}

/// What is said of a document that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// These words.
    Text(String),
    /// What an expression gives.
    Expression(String, Range<usize>),
}

impl Rule {
    /// Whether it speaks of the base's document.
    pub(crate) fn names_old(&self) -> bool {
        let names = |text: &str| Expression::parse(text).is_ok_and(|expression| expression.names_old());
        names(&self.expression) || matches!(&self.message, Some(Message::Expression(text, _)) if names(text))
    }

    /// Whether it says the same as another one, wherever the two stand.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        self.document == other.document
            && self.expression == other.expression
            && self.severity == other.severity
    }
}

/// Whose rule it is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Owner<'a> {
    /// That of the policy which is judged along with the document.
    Candidate,
    /// That of the base, which people call so.
    Base(&'a str),
    /// That of the operator's policy, which is read from this file.
    Operator(&'a str),
}

/// How many steps all rules may take together on one candidate: some seconds.
pub(crate) const MOST_TOGETHER: u64 = 10_000_000;

/// A document that fits its schema, as rules see it.
pub(crate) struct Subject<'a> {
    pub(crate) path: &'a str,
    pub(crate) document: &'a Document,
    pub(crate) schema: Option<&'a Schema>,
    /// `self`.
    pub(crate) value: Value,
    /// `oldSelf`; none for a new document.
    pub(crate) old: Option<Value>,
}

impl Subject<'_> {
    /// How many steps a rule takes here.
    pub(crate) fn cost(&self, rule: &Rule) -> u64 {
        let expression = Expression::parse(&rule.expression);
        let steps = expression.map_or(0, |expression| expression.cost(&self.value, self.old.as_ref()));
        // Reading it and finding that out is not for nothing either, and what is too much is not begun.
        rule.expression.len() as u64
            + if steps > cost::MOST {
                cost::MOST / 100
            } else {
                steps
            }
    }

    /// What a rule finds wrong.
    pub(crate) fn judge(&self, rule: &Rule, owner: Owner<'_>) -> Option<Diagnostic> {
        // One that cannot be understood is a mistake of the policy, and was told as such.
        let expression = Expression::parse(&rule.expression).ok()?;
        if expression.names_old() && self.old.is_none() {
            return None;
        }
        if let Some((keys, help)) = self.unknown_keys(&expression) {
            let message = format!(
                "rule `{}` speaks of `{keys}`, which the schema does not know",
                rule.name
            );
            return Some(
                self.of_rule(Code::RuleInvalid, rule, owner, message)
                    .with_help(help),
            );
        }
        match expression.evaluate(&self.value, self.old.as_ref()) {
            Ok(value::Outcome::Bool(true)) => None,
            Ok(value::Outcome::Bool(false)) => Some(self.broken(rule, owner, &expression)),
            Ok(other) => {
                let message = format!(
                    "rule `{}` must give true or false, and gives {}",
                    rule.name,
                    other.kind()
                );
                Some(self.of_rule(Code::RuleInvalid, rule, owner, message))
            }
            Err(Unclear::TooMuch(cost)) => {
                let message = format!(
                    "rule `{}` would take {cost} steps on `{}`; at most {} are allowed",
                    rule.name,
                    self.path,
                    cost::MOST
                );
                let help = "nest fewer `all`, `exists`, `map` and `filter` in one another";
                Some(
                    self.of_rule(Code::RuleEffort, rule, owner, message)
                        .with_help(help),
                )
            }
            Err(unclear) => {
                let message = format!(
                    "rule `{}` cannot be evaluated on `{}`: {unclear}",
                    rule.name, self.path
                );
                let help = "ask for a key that may be missing by `has(self.key)` first; what cannot be evaluated \
                            does not hold";
                Some(
                    self.of_rule(Code::RuleFailed, rule, owner, message)
                        .with_help(help),
                )
            }
        }
    }

    /// A mistake of the rule itself, at the rule.
    fn of_rule(&self, code: Code, rule: &Rule, owner: Owner<'_>, message: String) -> Diagnostic {
        match owner {
            Owner::Candidate => {
                Diagnostic::error(code, POLICY_PATH, message).at(rule.expression_span.clone())
            }
            // Its text is not at hand in this revision.
            Owner::Base(base) => Diagnostic::error(code, self.path, format!("{message} (a rule of {base})")),
            Owner::Operator(path) => Diagnostic::error(code, path, message).at(rule.expression_span.clone()),
        }
    }

    fn broken(&self, rule: &Rule, owner: Owner<'_>, expression: &Expression) -> Diagnostic {
        let message = match &rule.message {
            Some(Message::Text(text)) => text.clone(),
            Some(Message::Expression(text, _)) => self.made(text).unwrap_or_else(|| unnamed(rule)),
            None => unnamed(rule),
        };
        let mut broken = Diagnostic::error(Code::RuleBroken, self.path, message);
        broken.severity = rule.severity;
        if let Some(key) = self.place(rule, expression) {
            broken = broken.at(self.document.value_span(&key)).about(key);
        }
        broken.help = Some(self.values(rule, owner, expression));
        let file = match owner {
            Owner::Candidate => Some(POLICY_PATH),
            Owner::Base(_) => None,
            Owner::Operator(path) => Some(path),
        };
        if let Some(file) = file {
            broken.related.push(Related {
                path: file.to_owned(),
                span: rule.expression_span.clone(),
                message: format!("rule `{}`", rule.name),
            });
        }
        broken
    }

    /// What a message's expression gives, if that is a text.
    fn made(&self, text: &str) -> Option<String> {
        let expression = Expression::parse(text).ok()?;
        match expression.evaluate(&self.value, self.old.as_ref()) {
            Ok(value::Outcome::Text(text)) => Some(text),
            Ok(_) | Err(_) => None,
        }
    }

    /// Where it is said: the rule's own place, else the first key that it speaks of, as near as the document has it.
    fn place(&self, rule: &Rule, expression: &Expression) -> Option<KeyPath> {
        let wanted = rule.at.clone().or_else(|| expression.keys().first().cloned())?;
        let mut key = wanted;
        while self.document.get(&key).is_none() {
            key = key.parent()?;
        }
        (!key.is_root()).then_some(key)
    }

    /// The values that decided, and whose rule it was.
    fn values(&self, rule: &Rule, owner: Owner<'_>, expression: &Expression) -> String {
        const SHOWN: usize = 4;
        let scalar = |key: &KeyPath, value: Option<&Value>| {
            value
                .filter(|value| !value.is_object() && !value.is_array())
                .map(|value| plain(&kept(key, value)))
        };
        let mut said: Vec<String> = Vec::new();
        for key in expression.keys() {
            let Some(now) = scalar(key, at(&self.value, key)) else {
                continue;
            };
            let before = self
                .old
                .as_ref()
                .filter(|_| expression.names_old())
                .and_then(|old| scalar(key, at(old, key)));
            let written = if self.document.get(key).is_none() {
                " by default"
            } else {
                ""
            };
            said.push(match before {
                Some(before) if before != now => format!("`{key}` is {now}{written}, before {before}"),
                Some(_) | None => format!("`{key}` is {now}{written}"),
            });
            if said.len() == SHOWN {
                break;
            }
        }
        let whose = match owner {
            Owner::Candidate => format!("rule `{}`", rule.name),
            Owner::Base(base) => format!(
                "rule `{}` of {base}, which judges this change as well: a change of the policy holds from the next one on",
                rule.name
            ),
            Owner::Operator(path) => format!("rule `{}` of the operator's policy {path}", rule.name),
        };
        match said.is_empty() {
            true => format!("{whose} must hold: {}", rule.expression),
            false => format!("{}; {whose} must hold: {}", said.join(", "), rule.expression),
        }
    }

    /// Keys that the rule speaks of and that no document of this schema can have.
    fn unknown_keys(&self, expression: &Expression) -> Option<(KeyPath, String)> {
        let schema = self.schema?;
        let unknown = expression.keys().iter().find_map(|key| {
            let mut above = KeyPath::root();
            key.parts().iter().find_map(|part| {
                let Part::Key(name) = part else {
                    return None;
                };
                let known = schema.known_keys(&above);
                let closed = schema.is_closed(&above, name);
                let here = above.key(name);
                above = here.clone();
                (closed && !known.contains(name.as_str())).then(|| {
                    let known: Vec<_> = known.into_iter().map(str::to_owned).collect();
                    (here, name.clone(), known)
                })
            })
        });
        let (key, name, known) = unknown?;
        let help = match nearest(&name, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it knows {}", known.join(", ")),
        };
        Some((key, help))
    }
}

fn unnamed(rule: &Rule) -> String {
    format!("rule `{}` does not hold", rule.name)
}

fn at<'v>(value: &'v Value, key: &KeyPath) -> Option<&'v Value> {
    key.parts().iter().try_fold(value, |value, part| match part {
        Part::Key(key) => value.get(key),
        Part::Index(index) => value.get(index),
    })
}
