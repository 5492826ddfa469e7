//! An expression: read, bounded, and evaluated on values.
//!
//! The parser and the interpreter go down one level of the stack for each level of the expression. Both are bounded by
//! the text's length, by the number of nodes and by their nesting, far below what a small stack of a debug build takes.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, operators};
use cel::parser::PrattParser;
use cel::{Context, ExecutionError, IdedExpr};
use serde_json::Value;

use super::cost;
use super::language::{ARITHMETIC, ENV, FUNCTIONS, TYPES};
use super::value::{Outcome, outcome, to_cel};
use crate::document::KeyPath;
use crate::validate::nearest;

/// How long an expression may be, in bytes.
pub(crate) const LONGEST: usize = 2_048;
/// How many parts it may have, macros expanded.
const MOST_NODES: usize = 600;
/// How deep they may be nested.
const DEEPEST: usize = 32;

/// The document that is judged, and that of the base.
pub(super) const SELF: &str = "self";
pub(super) const OLD: &str = "oldSelf";

/// An expression that can be evaluated.
#[derive(Debug, Clone)]
pub(crate) struct Expression {
    root: IdedExpr,
    keys: Vec<KeyPath>,
    names_old: bool,
}

/// Why an expression cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// What is wrong.
    pub(crate) message: String,
    /// Where in the expression, in bytes, if that is known.
    pub(crate) at: Option<usize>,
    /// What to do.
    pub(crate) help: Option<String>,
}

/// Why an expression gives nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unclear {
    /// It would take so many steps.
    #[error("it would take {0} steps")]
    TooMuch(u64),
    /// It came to an error.
    #[error("{0}")]
    Failed(String),
}

impl Expression {
    /// Reads an expression.
    pub(crate) fn parse(text: &str) -> Result<Self, Unreadable> {
        if text.len() > LONGEST {
            return Err(Unreadable {
                message: format!(
                    "the expression has {} bytes; at most {LONGEST} are allowed",
                    text.len()
                ),
                at: None,
                help: Some("make several rules of it".to_owned()),
            });
        }
        let parser = PrattParser::new()
            .max_recursion_depth(u16::try_from(DEEPEST).unwrap_or(u16::MAX))
            .max_expression_node_count(MOST_NODES)
            .enable_optional_syntax(false)
            .error_recovery_limit(1);
        let parsed = catch_unwind(AssertUnwindSafe(|| parser.parse(text)));
        let mut root = match parsed {
            Ok(Ok(root)) => root,
            Ok(Err(errors)) => return Err(unreadable(text, &errors)),
            Err(_) => return Err(plain("the expression cannot be read".to_owned())),
        };
        let mut reading = Reading::default();
        reading.look(&root, 1);
        if let Some(message) = reading.mistake {
            return Err(message);
        }
        meet(&mut root);
        Ok(Self {
            root,
            keys: reading.keys,
            names_old: reading.names_old,
        })
    }

    /// The keys that it speaks of, in the order in which it does.
    pub(crate) fn keys(&self) -> &[KeyPath] {
        &self.keys
    }

    /// Whether it speaks of the base's document.
    pub(crate) fn names_old(&self) -> bool {
        self.names_old
    }

    /// Whether it is true; none where that cannot be told.
    pub(crate) fn holds(&self, value: &Value, old: Option<&Value>) -> Option<bool> {
        match self.evaluate(value, old) {
            Ok(Outcome::Bool(holds)) => Some(holds),
            Ok(Outcome::Text(_) | Outcome::Other(_)) | Err(_) => None,
        }
    }

    /// How many steps that takes.
    pub(super) fn cost(&self, value: &Value, old: Option<&Value>) -> u64 {
        cost::of(&self.root, value, old)
    }

    /// Evaluates it.
    pub(super) fn evaluate(&self, value: &Value, old: Option<&Value>) -> Result<Outcome, Unclear> {
        let cost = self.cost(value, old);
        if cost > cost::MOST {
            return Err(Unclear::TooMuch(cost));
        }
        let mut context = Context::with_env(ENV.clone());
        context.add_variable_from_value(SELF, to_cel(value));
        if let Some(old) = old {
            context.add_variable_from_value(OLD, to_cel(old));
        }
        // A fault of the interpreter must not end who judges.
        match catch_unwind(AssertUnwindSafe(|| cel::Value::resolve(&self.root, &context))) {
            Ok(Ok(value)) => Ok(outcome(value)),
            Ok(Err(error)) => Err(Unclear::Failed(phrase(&error))),
            Err(_) => Err(Unclear::Failed("the interpreter failed".to_owned())),
        }
    }
}

fn plain(message: String) -> Unreadable {
    Unreadable {
        message,
        at: None,
        help: None,
    }
}

/// What an error of the interpreter means for whoever wrote the rule.
fn phrase(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("there is no key `{key}`"),
        ExecutionError::UndeclaredReference(name) => format!("there is no `{name}`"),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            "it divides by zero".to_owned()
        }
        ExecutionError::Overflow(..) => "a number is too large".to_owned(),
        ExecutionError::NoSuchOverload(error) => error.to_string(),
        ExecutionError::FunctionError { message, .. } => message.clone(),
        other => other.to_string(),
    }
}

/// The parser's first mistake.
fn unreadable(text: &str, errors: &cel::ParseErrors) -> Unreadable {
    let first = errors
        .errors
        .iter()
        .find(|error| error.pos.0 > 0)
        .or_else(|| errors.errors.first());
    let Some(first) = first else {
        return plain("it is no expression of CEL".to_owned());
    };
    let deep = errors
        .errors
        .iter()
        .any(|error| error.msg.contains("recursion limit"));
    if deep {
        return plain(format!("the expression is nested more than {DEEPEST} deep"));
    }
    let (line, column) = first.pos;
    let at = usize::try_from(line).ok().filter(|line| *line > 0).map(|line| {
        let start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
        let rest = &text[start..];
        let column = usize::try_from(column).unwrap_or(1).saturating_sub(1);
        let within = rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at);
        start + within
    });
    let message = first.msg.trim_start_matches("Syntax error: ");
    Unreadable {
        message: format!("it is no expression of CEL: {message}"),
        at,
        help: None,
    }
}

/// What is looked for in an expression before it is taken.
#[derive(Default)]
struct Reading {
    keys: Vec<KeyPath>,
    names_old: bool,
    /// Names that macros have bound.
    bound: Vec<String>,
    nodes: usize,
    mistake: Option<Unreadable>,
}

impl Reading {
    fn refuse(&mut self, message: String, help: Option<String>) {
        self.mistake.get_or_insert(Unreadable {
            message,
            at: None,
            help,
        });
    }

    fn look(&mut self, node: &IdedExpr, depth: usize) {
        self.nodes += 1;
        if depth > DEEPEST {
            return self.refuse(
                format!("the expression is nested more than {DEEPEST} deep"),
                Some("make several rules of it, or join parts by && and ||".to_owned()),
            );
        }
        if self.nodes > MOST_NODES {
            return self.refuse(
                format!("the expression has more than {MOST_NODES} parts"),
                Some("make several rules of it".to_owned()),
            );
        }
        if let Some((root, key)) = chain(&node.expr) {
            return self.chain(root, key);
        }
        match &node.expr {
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => self.look(&select.operand, depth + 1),
            Expr::Call(call) => {
                self.call(call);
                let target = call.target.as_deref();
                for part in target.into_iter().chain(&call.args) {
                    self.look(part, depth + 1);
                }
            }
            Expr::List(list) => list.elements.iter().for_each(|entry| self.look(entry, depth + 1)),
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.look(&entry.key, depth + 1);
                        self.look(&entry.value, depth + 1);
                    }
                }
            }
            Expr::Comprehension(loops) => {
                self.look(&loops.iter_range, depth + 1);
                self.look(&loops.accu_init, depth + 1);
                let known = self.bound.len();
                self.bound.push(loops.accu_var.clone());
                self.bound.push(loops.iter_var.clone());
                self.bound.extend(loops.iter_var2.clone());
                self.look(&loops.loop_cond, depth + 1);
                self.look(&loops.loop_step, depth + 1);
                self.look(&loops.result, depth + 1);
                self.bound.truncate(known);
            }
            Expr::Struct(made) => self.refuse(format!("there is no type `{}`", made.type_name), None),
            Expr::Literal(_) => {}
            Expr::Unspecified => self.refuse("a part of the expression is missing".to_owned(), None),
        }
    }

    /// A name with the keys that are taken from it.
    fn chain(&mut self, root: &str, key: KeyPath) {
        if self.bound.iter().any(|bound| bound == root) {
            return;
        }
        match root {
            SELF => {}
            OLD => self.names_old = true,
            name => return self.name(name),
        }
        if key.parts().len() > DEEPEST {
            return self.refuse(
                format!("the expression takes more than {DEEPEST} keys from one another"),
                None,
            );
        }
        if !key.is_root() && !self.keys.contains(&key) {
            self.keys.push(key);
        }
    }

    fn name(&mut self, name: &str) {
        let known = [SELF, OLD].contains(&name)
            || TYPES.contains(&name)
            || self.bound.iter().any(|bound| bound == name);
        if !known {
            let names = [SELF, OLD]
                .into_iter()
                .chain(self.bound.iter().map(String::as_str));
            let help = match nearest(name, names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "the document is `self`, that of the base is `oldSelf`; a text stands in quotes"
                    .to_owned(),
            };
            self.refuse(format!("there is no `{name}`"), Some(help));
        }
    }

    fn call(&mut self, call: &CallExpr) {
        let name = call.func_name.as_str();
        let operator = !name.starts_with(|first: char| first.is_ascii_alphabetic());
        if !operator && !FUNCTIONS.contains(&name) {
            let help = match nearest(name, FUNCTIONS.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!(
                    "there are {}, and the macros has, all, exists, exists_one, map, filter",
                    FUNCTIONS.join(", ")
                ),
            };
            self.refuse(format!("there is no function `{name}`"), Some(help));
        }
    }
}

/// `self.a.b`, `self["a"].b` and so on, as a name and the keys that are taken from it.
fn chain(expr: &Expr) -> Option<(&str, KeyPath)> {
    match expr {
        Expr::Ident(name) => Some((name, KeyPath::root())),
        Expr::Select(select) => {
            let (root, key) = chain(&select.operand.expr)?;
            Some((root, key.key(&select.field)))
        }
        Expr::Call(call) if call.func_name == operators::INDEX => {
            let [of, by] = call.args.as_slice() else {
                return None;
            };
            let (root, key) = chain(&of.expr)?;
            match &by.expr {
                Expr::Literal(LiteralValue::String(name)) => Some((root, key.key(name.inner()))),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Has arithmetic done by the functions in which integers and floats meet.
fn meet(node: &mut IdedExpr) {
    match &mut node.expr {
        Expr::Call(call) => {
            let meant = ARITHMETIC
                .iter()
                .find(|(operator, _)| *operator == call.func_name);
            // What `map` and `filter` collect stays as it is: the interpreter knows how to append to a list. Nobody can
            // write such a name.
            let collects = matches!(call.args.first().map(|one| &one.expr), Some(Expr::Ident(name)) if name.starts_with('@'));
            if let (Some((_, function)), 2, false) = (meant, call.args.len(), collects) {
                (*function).clone_into(&mut call.func_name);
            }
            call.target.as_deref_mut().into_iter().for_each(meet);
            call.args.iter_mut().for_each(meet);
        }
        Expr::Select(select) => meet(&mut select.operand),
        Expr::List(list) => list.elements.iter_mut().for_each(meet),
        Expr::Map(map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    meet(&mut entry.key);
                    meet(&mut entry.value);
                }
            }
        }
        Expr::Comprehension(loops) => {
            meet(&mut loops.iter_range);
            meet(&mut loops.loop_step);
            meet(&mut loops.result);
        }
        Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) | Expr::Unspecified => {}
    }
}
