//! What an expression costs on given values, known before it is evaluated.
//!
//! CEL always ends, but a few nested macros over a list of a thousand entries end next year. The expression is walked
//! once, with the lists and texts of the very values that it will see: a step is one part that is evaluated once, and
//! what is longer than a word costs by its length. Where it is not known which value a part gives, the largest that
//! it can be counts.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, operators};
use serde_json::Value;

use super::expression::{OLD, SELF};

/// The most steps that one rule may take on one document: a fraction of a second, and some megabytes.
pub(crate) const MOST: u64 = 1_000_000;
/// What a pattern costs: it is compiled each time.
const PATTERN: u64 = 2_000;
/// What each eight letters of a text cost that a pattern is looked for in: the pattern may be in many states at each.
const LETTERS: u64 = 128;
/// How many values a part may stand for before only their size is followed.
const FOLLOWED: usize = 10_000;

/// The steps that an expression takes.
pub(super) fn of(root: &IdedExpr, value: &Value, old: Option<&Value>) -> u64 {
    // They are taken over into the interpreter's own form, each part of them.
    let taken = weight(value).saturating_add(old.map_or(0, weight));
    if taken > MOST {
        return taken;
    }
    let mut names = vec![(SELF, Bound::known(vec![value]))];
    names.extend(old.map(|old| (OLD, Bound::known(vec![old]))));
    let mut walk = Walk { names, steps: taken };
    walk.part(root);
    walk.steps
}

/// What is known of the value that a part gives.
#[derive(Clone)]
struct Bound<'v> {
    /// The values that it can be; nothing where that is not followed.
    known: Option<Vec<&'v Value>>,
    /// How many entries it has at most, as a list or a table.
    entries: u64,
    /// How large it is at most, all that is in it.
    weight: u64,
    /// How large each of its entries is at most.
    each: u64,
}

impl<'v> Bound<'v> {
    fn known(values: Vec<&'v Value>) -> Self {
        let most = |size: fn(&Value) -> u64| values.iter().map(|value| size(value)).max().unwrap_or(0);
        let (entries, weight) = (most(entries), most(weight));
        let each = values.iter().flat_map(|value| children(value)).map(self::weight);
        Self {
            entries,
            weight,
            each: each.max().unwrap_or(1),
            known: (values.len() <= FOLLOWED).then_some(values),
        }
    }

    /// Something that is not followed, in which each entry is as large as all of it.
    fn sized(entries: u64, weight: u64) -> Self {
        Self {
            known: None,
            entries,
            weight,
            each: weight,
        }
    }

    fn scalar() -> Self {
        Self::sized(0, 1)
    }

    /// One of its parts: those that `pick` gives of each value, or anything in it.
    fn part(&self, pick: impl Fn(&'v Value) -> Vec<&'v Value>) -> Self {
        match &self.known {
            Some(values) => Self::known(values.iter().flat_map(|value| pick(value)).collect()),
            None => Self::sized(self.each, self.each),
        }
    }

    /// One of its keys, if it is a table.
    fn keys(&self) -> Self {
        let texts = self.known.iter().flatten().filter_map(|value| value.as_object());
        let longest = texts
            .flat_map(|table| table.keys())
            .map(|key| text(key.len()))
            .max();
        match &self.known {
            Some(_) => Self::sized(0, longest.unwrap_or(1)),
            None => Self::sized(0, self.each),
        }
    }

    /// One of the two.
    fn either(self, other: Self) -> Self {
        let known = match (self.known, other.known) {
            (Some(mut values), Some(others)) => {
                values.extend(others);
                (values.len() <= FOLLOWED).then_some(values)
            }
            (_, _) => None,
        };
        Self {
            known,
            entries: self.entries.max(other.entries),
            weight: self.weight.max(other.weight),
            each: self.each.max(other.each),
        }
    }
}

fn entries(value: &Value) -> u64 {
    match value {
        Value::Array(list) => list.len() as u64,
        Value::Object(table) => table.len() as u64,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn text(length: usize) -> u64 {
    1 + length as u64 / 8
}

fn weight(value: &Value) -> u64 {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
        Value::String(string) => text(string.len()),
        Value::Array(list) => list.iter().fold(1, |sum, entry| sum + weight(entry)),
        Value::Object(table) => table
            .iter()
            .fold(1, |sum, (key, value)| sum + text(key.len()) + weight(value)),
    }
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(list) => list.iter().collect(),
        Value::Object(table) => table.values().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

struct Walk<'v, 'e> {
    names: Vec<(&'e str, Bound<'v>)>,
    steps: u64,
}

impl<'v, 'e> Walk<'v, 'e> {
    fn step(&mut self, steps: u64) {
        self.steps = self.steps.saturating_add(steps);
    }

    fn part(&mut self, node: &'e IdedExpr) -> Bound<'v> {
        self.step(1);
        match &node.expr {
            Expr::Ident(name) => {
                let known = self.names.iter().rev().find(|(known, _)| known == name);
                known.map_or_else(Bound::scalar, |(_, bound)| bound.clone())
            }
            Expr::Select(select) => {
                let of = self.part(&select.operand);
                of.part(|value| value.get(&select.field).into_iter().collect())
            }
            Expr::Literal(literal) => match literal {
                LiteralValue::String(string) => Bound::sized(0, text(string.inner().len())),
                LiteralValue::Bytes(bytes) => Bound::sized(0, text(bytes.inner().len())),
                LiteralValue::Boolean(_)
                | LiteralValue::Double(_)
                | LiteralValue::Int(_)
                | LiteralValue::Null
                | LiteralValue::UInt(_) => Bound::scalar(),
            },
            Expr::List(list) => {
                let mut whole = Bound::sized(list.elements.len() as u64, 1);
                for entry in &list.elements {
                    let weight = self.part(entry).weight;
                    whole.weight = whole.weight.saturating_add(weight);
                    whole.each = whole.each.max(weight);
                }
                whole
            }
            Expr::Map(map) => {
                let mut whole = Bound::sized(map.entries.len() as u64, 1);
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        let both = self
                            .part(&entry.key)
                            .weight
                            .saturating_add(self.part(&entry.value).weight);
                        whole.weight = whole.weight.saturating_add(both);
                        whole.each = whole.each.max(both);
                    }
                }
                whole
            }
            Expr::Comprehension(loops) => {
                let range = self.part(&loops.iter_range);
                let begin = self.part(&loops.accu_init);
                let rounds = range.entries;
                let known = self.names.len();
                // A table's macros bind its keys, a list's its entries.
                let entry = range.part(children).either(range.keys());
                if let Some(second) = &loops.iter_var2 {
                    self.names.push((second, entry.clone()));
                }
                self.names.push((&loops.iter_var, entry));
                self.names.push((&loops.accu_var, Bound::sized(0, 1)));
                let before = std::mem::take(&mut self.steps);
                self.part(&loops.loop_cond);
                let step = self.part(&loops.loop_step);
                let each = std::mem::replace(&mut self.steps, before);
                // The entry of each round is copied for it.
                let round = each.saturating_add(range.each).saturating_add(1);
                self.step(rounds.saturating_mul(round));
                let made = Bound {
                    known: None,
                    entries: begin
                        .entries
                        .saturating_add(rounds.saturating_mul(step.entries.max(1))),
                    weight: begin.weight.saturating_add(rounds.saturating_mul(step.weight)),
                    each: begin.each.max(step.each),
                };
                self.names.pop();
                self.names.push((&loops.accu_var, made));
                let result = self.part(&loops.result);
                self.names.truncate(known);
                result
            }
            Expr::Call(call) => self.call(call),
            Expr::Struct(_) | Expr::Unspecified => Bound::scalar(),
        }
    }

    fn call(&mut self, call: &'e CallExpr) -> Bound<'v> {
        let args: Vec<Bound<'v>> = call
            .target
            .as_deref()
            .into_iter()
            .chain(&call.args)
            .map(|arg| self.part(arg))
            .collect();
        let weights = args.iter().fold(0_u64, |sum, arg| sum.saturating_add(arg.weight));
        match (call.func_name.as_str(), args.as_slice()) {
            (operators::INDEX, [of, _]) => match call.args.get(1).map(|by| &by.expr) {
                Some(Expr::Literal(LiteralValue::String(key))) => {
                    of.part(|value| value.get(key.inner()).into_iter().collect())
                }
                _ => of.part(children),
            },
            (operators::CONDITIONAL, [_, one, other]) => one.clone().either(other.clone()),
            (operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT, _) => Bound::scalar(),
            ("matches", _) => {
                self.step(PATTERN.saturating_add(weights.saturating_mul(LETTERS)));
                Bound::scalar()
            }
            // Each entry may be compared as a whole.
            (operators::IN, [_, list]) => {
                self.step(list.weight.saturating_add(list.entries));
                Bound::scalar()
            }
            // Compared, measured, looked through.
            (name, _) if !name.starts_with('@') && name != operators::ADD && name != "string" => {
                self.step(weights / 4);
                Bound::scalar()
            }
            // Put together.
            (_, _) => {
                self.step(weights / 4);
                Bound {
                    known: None,
                    entries: args.iter().fold(0, |sum, arg| sum.saturating_add(arg.entries)),
                    weight: weights.saturating_add(4),
                    each: args.iter().map(|arg| arg.each).max().unwrap_or(1),
                }
            }
        }
    }
}
