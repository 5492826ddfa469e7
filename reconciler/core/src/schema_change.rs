//! Two versions of a JSON Schema: what the change breaks, for configs that exist and for services that read them.
//!
//! A change breaks configs if a document that the old version takes may be refused by the new one, or mean something
//! else under it. It breaks services if the new version takes what the old one refused: a service that was built for
//! the old one may then read what it does not expect. What cannot be compared counts as breaking, never as harmless.

mod bounds;
mod keys;
mod resolve;

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::document::{Document, KeyPath};
use bounds::bounds;
use resolve::{Side, resolved};

/// What a change of a schema means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The key of the config, with `[]` for the entries of a list; empty for the document.
    pub key: String,
    /// Whether configs that the old version took can be refused, or mean something else.
    pub breaks_configs: bool,
    /// Whether services built for the old version can meet what they do not expect.
    pub breaks_services: bool,
    /// What changed, as a phrase.
    pub message: String,
    /// The place in the old schema; none for what is new.
    pub before: Option<KeyPath>,
    /// The place in the new schema; none for what is gone.
    pub after: Option<KeyPath>,
}

impl Finding {
    /// Whether anything breaks.
    #[must_use]
    pub fn breaks(&self) -> bool {
        self.breaks_configs || self.breaks_services
    }
}

/// Everything that changed, breaking things first.
#[must_use]
pub fn compare(before: &Document, after: &Document) -> Vec<Finding> {
    let mut comparing = Comparing {
        before: before.value(),
        after: after.value(),
        seen: BTreeSet::new(),
        found: Vec::new(),
    };
    let root = |schema| Side {
        schema,
        at: KeyPath::root(),
    };
    comparing.schemas(root(before.value()), root(after.value()), "");
    let mut found = comparing.found;
    found.dedup();
    found.sort_by_key(|found| (!found.breaks_configs, !found.breaks_services));
    found
}

struct Comparing<'s> {
    before: &'s Value,
    after: &'s Value,
    /// Pairs that are being compared already: schemas may refer to themselves.
    seen: BTreeSet<(KeyPath, KeyPath)>,
    found: Vec<Finding>,
}

/// Says nothing of what is valid.
const SILENT: [&str; 16] = [
    "$schema",
    "$id",
    "$comment",
    "$defs",
    "$anchor",
    "$vocabulary",
    "definitions",
    "title",
    "description",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
];

/// Compared one by one, by their meaning.
const KNOWN: [&str; 23] = [
    "$ref",
    "type",
    "enum",
    "const",
    "default",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "pattern",
    "format",
    "uniqueItems",
    "required",
    "properties",
    "additionalProperties",
    "items",
];

const TYPES: [&str; 7] = [
    "null", "boolean", "object", "array", "string", "integer", "number",
];

impl<'s> Comparing<'s> {
    fn tell(
        &mut self,
        key: &str,
        breaks: (bool, bool),
        message: String,
        before: Option<KeyPath>,
        after: Option<KeyPath>,
    ) {
        self.found.push(Finding {
            key: key.to_owned(),
            breaks_configs: breaks.0,
            breaks_services: breaks.1,
            message,
            before,
            after,
        });
    }

    /// Two schemas for the same value, which is called `key`.
    fn schemas(&mut self, before: Side<'s>, after: Side<'s>, key: &str) {
        if !self.seen.insert((before.at.clone(), after.at.clone())) {
            return;
        }
        let (old, new) = (
            resolved(self.before, before.clone()),
            resolved(self.after, after.clone()),
        );
        let (Some(old), Some(new)) = (old, new) else {
            // A reference to another file, or beside other keywords: the same words mean the same.
            if before.schema != after.schema {
                let message = "it refers to something that cannot be compared, and changed".to_owned();
                self.tell(key, (true, true), message, Some(before.at), Some(after.at));
            }
            return;
        };
        let empty = Map::new();
        let table = |side: &Side<'s>| side.schema.as_object();
        match (old.schema, new.schema) {
            (Value::Bool(false), Value::Bool(false)) => return,
            (Value::Bool(false), _) => {
                let message = "nothing was allowed here, now something is".to_owned();
                return self.tell(key, (false, true), message, Some(old.at), Some(new.at));
            }
            (_, Value::Bool(false)) => {
                let message = "nothing is allowed here any more".to_owned();
                return self.tell(key, (true, false), message, Some(old.at), Some(new.at));
            }
            _ => {}
        }
        let (a, b) = (
            table(&old).unwrap_or(&empty).clone(),
            table(&new).unwrap_or(&empty).clone(),
        );
        let pair = Pair {
            key,
            a: &a,
            b: &b,
            old: &old,
            new: &new,
            defaults: [(&before, &a), (&after, &b)]
                .map(|(side, table)| side.schema.get("default").or(table.get("default"))),
        };
        match (listed(&a), listed(&b)) {
            (Some(old), Some(new)) => self.values(&pair, &old, &new),
            (old, new) => {
                self.types(&pair);
                if old.is_some() != new.is_some() {
                    self.listed(&pair, new.is_some());
                }
            }
        }
        for bound in bounds(&a, &b) {
            self.keyword(&pair, bound.keyword, bound.breaks, bound.message);
        }
        self.texts(&pair);
        self.default(&pair);
        self.others(&pair);
        self.properties(&old, &new, key);
        self.items(&old, &new, key);
    }

    /// A finding about a keyword, at the keyword if it is there.
    fn keyword(&mut self, pair: &Pair<'_, 's>, keyword: &str, breaks: (bool, bool), message: String) {
        let at = |table: &Map<String, Value>, side: &Side<'_>| {
            if table.contains_key(keyword) {
                side.at.key(keyword)
            } else {
                side.at.clone()
            }
        };
        let (before, after) = (at(pair.a, pair.old), at(pair.b, pair.new));
        self.tell(pair.key, breaks, message, Some(before), Some(after));
    }

    fn types(&mut self, pair: &Pair<'_, 's>) {
        let (old, new) = (types(pair.a), types(pair.b));
        let missing = |from: &BTreeSet<&'static str>, among: &BTreeSet<&'static str>| {
            let kinds = from.iter().filter(|kind| !among.contains(*kind));
            // Whole numbers are numbers.
            let kinds = kinds.filter(|kind| !(**kind == "integer" && among.contains("number")));
            kinds.copied().collect::<Vec<_>>().join(", ")
        };
        let (gone, more) = (missing(&old, &new), missing(&new, &old));
        if !gone.is_empty() {
            self.keyword(pair, "type", (true, false), format!("no longer taken: {gone}"));
        }
        if !more.is_empty() {
            self.keyword(pair, "type", (false, true), format!("taken as well now: {more}"));
        }
    }

    /// `enum` and `const`, on both sides.
    fn values(&mut self, pair: &Pair<'_, 's>, old: &[Value], new: &[Value]) {
        let missing = |from: &[Value], among: &[Value]| {
            let values = from.iter().filter(|value| !has(among, value));
            values.map(Value::to_string).collect::<Vec<_>>().join(", ")
        };
        let (gone, more) = (missing(old, new), missing(new, old));
        if !gone.is_empty() {
            self.keyword(
                pair,
                lists(pair.b),
                (true, false),
                format!("no longer taken: {gone}"),
            );
        }
        if !more.is_empty() {
            self.keyword(
                pair,
                lists(pair.b),
                (false, true),
                format!("taken as well now: {more}"),
            );
        }
    }

    /// `enum` or `const` on one side only.
    fn listed(&mut self, pair: &Pair<'_, 's>, now: bool) {
        if now {
            let message = "only listed values are taken now".to_owned();
            self.keyword(pair, lists(pair.b), (true, false), message);
        } else {
            let message = "values other than the listed ones are taken now".to_owned();
            self.keyword(pair, lists(pair.a), (false, true), message);
        }
    }

    /// `pattern`, `format` and `uniqueItems`.
    fn texts(&mut self, pair: &Pair<'_, 's>) {
        for keyword in ["pattern", "format"] {
            match (pair.a.get(keyword), pair.b.get(keyword)) {
                (old, new) if old == new => {}
                (None, Some(new)) => {
                    let message = format!("texts have to have the {keyword} {new} now");
                    self.keyword(pair, keyword, (true, false), message);
                }
                (Some(old), None) => {
                    let message = format!("texts need no longer have the {keyword} {old}");
                    self.keyword(pair, keyword, (false, true), message);
                }
                (None, None) => {}
                (Some(old), Some(new)) => {
                    let message = format!("texts have to have the {keyword} {new}, it was {old}");
                    self.keyword(pair, keyword, (true, true), message);
                }
            }
        }
        let unique = |table: &Map<String, Value>| table.get("uniqueItems") == Some(&Value::Bool(true));
        match (unique(pair.a), unique(pair.b)) {
            (false, true) => {
                self.keyword(
                    pair,
                    "uniqueItems",
                    (true, false),
                    "no entry may stand twice now".to_owned(),
                );
            }
            (true, false) => {
                self.keyword(
                    pair,
                    "uniqueItems",
                    (false, true),
                    "entries may stand twice now".to_owned(),
                );
            }
            _ => {}
        }
    }

    /// The value of a config that does not say the key. Tables are told by their keys.
    fn default(&mut self, pair: &Pair<'_, 's>) {
        if pair.a.contains_key("properties") && pair.b.contains_key("properties") {
            return;
        }
        match (pair.defaults[0], pair.defaults[1]) {
            (old, new) if old == new => {}
            (Some(old), Some(new)) if has(std::slice::from_ref(old), new) => {}
            (Some(old), Some(new)) => {
                let message =
                    format!("the default is {new}, it was {old}: configs that leave the key out change");
                self.keyword(pair, "default", (true, false), message);
            }
            (Some(old), None) => {
                let message = format!("the default {old} is gone: services have to bring one of their own");
                self.keyword(pair, "default", (true, true), message);
            }
            (None, Some(new)) => {
                self.keyword(
                    pair,
                    "default",
                    (false, false),
                    format!("the default is {new} now"),
                );
            }
            (None, None) => {}
        }
    }

    /// Keywords that are not compared by their meaning: the same words mean the same.
    fn others(&mut self, pair: &Pair<'_, 's>) {
        let names: BTreeSet<&String> = pair.a.keys().chain(pair.b.keys()).collect();
        for name in names {
            let (old, new) = (pair.a.get(name), pair.b.get(name));
            if KNOWN.contains(&name.as_str()) {
                continue;
            }
            if name.starts_with("x-") || SILENT.contains(&name.as_str()) {
                if name == "x-lockstep-effect" && old != new {
                    let said = |value: Option<&Value>| value.map_or("reload".to_owned(), Value::to_string);
                    let message = format!("a change of it means {}, it meant {}", said(new), said(old));
                    self.keyword(pair, name, (false, false), message);
                }
                continue;
            }
            let refers = [old, new]
                .into_iter()
                .flatten()
                .any(|value| value.to_string().contains("\"$"));
            if old == new && !(refers && self.definitions_differ()) {
                continue;
            }
            let message = format!("`{name}` changed, which cannot be compared: look at it");
            self.keyword(pair, name, (true, true), message);
        }
    }

    fn definitions_differ(&self) -> bool {
        ["$defs", "definitions"]
            .iter()
            .any(|name| self.before.get(name) != self.after.get(name))
    }
}

/// Two schemas without references, and where they stand.
struct Pair<'p, 's> {
    key: &'p str,
    a: &'p Map<String, Value>,
    b: &'p Map<String, Value>,
    old: &'p Side<'s>,
    new: &'p Side<'s>,
    /// Of both; one beside a reference counts for more.
    defaults: [Option<&'p Value>; 2],
}

/// The types that a schema takes, as its `type` or the values that it lists have it.
fn types(table: &Map<String, Value>) -> BTreeSet<&'static str> {
    let named = |name: &str| TYPES.iter().copied().find(|kind| *kind == name);
    if let Some(values) = listed(table) {
        return values.iter().map(kind).collect();
    }
    match table.get("type") {
        Some(Value::String(kind)) => named(kind).into_iter().collect(),
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).filter_map(named).collect(),
        _ => TYPES.into(),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Number(number) if number.as_f64().is_some_and(|number| number.fract() == 0.0) => "integer",
        Value::Number(_) => "number",
    }
}

/// The values that `enum` or `const` list, as far as the type takes them.
fn listed(table: &Map<String, Value>) -> Option<Vec<Value>> {
    let values = match (table.get("const"), table.get("enum")) {
        (Some(value), _) => vec![value.clone()],
        (None, Some(Value::Array(values))) => values.clone(),
        (None, _) => return None,
    };
    let declared = match table.get("type") {
        Some(Value::String(kind)) => vec![kind.as_str()],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => TYPES.to_vec(),
    };
    let taken = |value: &Value| {
        declared.contains(&kind(value)) || kind(value) == "integer" && declared.contains(&"number")
    };
    Some(values.into_iter().filter(taken).collect())
}

fn lists(table: &Map<String, Value>) -> &'static str {
    if table.contains_key("const") {
        "const"
    } else {
        "enum"
    }
}

/// Whether a value is among others; 1 and 1.0 are the same.
fn has(values: &[Value], value: &Value) -> bool {
    values.iter().any(|known| match (known, value) {
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        (one, other) => one == other,
    })
}
