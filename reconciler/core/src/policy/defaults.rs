//! A document as its schema understands it: with the defaults of what is not written, and whole numbers as the floats
//! that they stand for where the schema says `number`.
//!
//! A default counts where the schema applies for certain: through references and `allOf`. What one of several
//! alternatives would add is not guessed.

use std::cell::Cell;

use serde_json::{Map, Number, Value};

use super::annotations::Node;
use super::schema::Schema;
use crate::document::{KeyPath, Part};

/// How many defaults are filled in at most, and how deep within one another: a default may hold a table of its own kind,
/// and so without end.
const MOST: u32 = 10_000;
const DEEPEST: u32 = 8;

/// The subschemas that apply to a value.
struct Applied<'s> {
    /// In whichever variant.
    maybe: Vec<Node<'s>>,
    /// In each of them.
    surely: Vec<Node<'s>>,
}

impl Schema {
    /// The value of a document that fits this schema, completed.
    pub(crate) fn complete(&self, value: &Value) -> Value {
        let applied = Applied {
            maybe: self.expand(self.start()),
            surely: self.expand_surely(self.start()),
        };
        self.completed(&applied, value, 0, &Cell::new(MOST))
    }

    /// Whether a table refuses a key, in all its variants.
    pub(crate) fn is_closed(&self, table: &KeyPath, key: &str) -> bool {
        let below = self.at(&table.key(key));
        !below.is_empty() && below.iter().all(|node| *node.schema == Value::Bool(false))
    }

    /// `within` counts the defaults around it, `left` those that may still be filled in.
    fn completed(&self, applied: &Applied<'_>, value: &Value, within: u32, left: &Cell<u32>) -> Value {
        match value {
            Value::Number(number) => {
                let float = number
                    .as_f64()
                    .filter(|_| !number.is_f64() && is_float(&applied.maybe));
                Value::Number(float.and_then(Number::from_f64).unwrap_or_else(|| number.clone()))
            }
            Value::Array(list) => list
                .iter()
                .enumerate()
                .map(|(at, entry)| {
                    let applied = self.below_all(applied, &Part::Index(at));
                    self.completed(&applied, entry, within, left)
                })
                .collect(),
            Value::Object(table) => {
                let mut whole: Map<String, Value> = table
                    .iter()
                    .map(|(key, value)| {
                        let applied = self.below_all(applied, &Part::Key(key.clone()));
                        (key.clone(), self.completed(&applied, value, within, left))
                    })
                    .collect();
                for key in missing(&applied.surely, table) {
                    if within >= DEEPEST || left.get() == 0 {
                        break;
                    }
                    let applied = self.below_all(applied, &Part::Key(key.to_owned()));
                    let default = applied.surely.iter().find_map(|node| node.schema.get("default"));
                    if let Some(default) = default {
                        left.set(left.get().saturating_sub(1));
                        let default = self.completed(&applied, default, within + 1, left);
                        whole.insert(key.to_owned(), default);
                    }
                }
                Value::Object(whole)
            }
            Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
        }
    }

    fn below_all<'s>(&'s self, applied: &Applied<'s>, part: &Part) -> Applied<'s> {
        let step = |nodes: &[Node<'s>]| -> Vec<Node<'s>> {
            nodes.iter().flat_map(|node| Self::below(node, part)).collect()
        };
        Applied {
            maybe: self.expand(step(&applied.maybe)),
            surely: self.expand_surely(step(&applied.surely)),
        }
    }
}

/// Whether numbers are floats, in whichever variant says something of numbers.
fn is_float(nodes: &[Node<'_>]) -> bool {
    let says = |wanted: &str| {
        nodes.iter().any(|node| match node.schema.get("type") {
            Some(Value::String(name)) => name == wanted,
            Some(Value::Array(names)) => names.iter().any(|name| name == wanted),
            _ => false,
        })
    };
    says("number") && !says("integer")
}

/// The keys that the schema names and the table does not have.
fn missing<'s>(nodes: &[Node<'s>], table: &Map<String, Value>) -> Vec<&'s str> {
    let mut found = Vec::new();
    let named = nodes
        .iter()
        .filter_map(|node| node.schema.get("properties")?.as_object())
        .flat_map(Map::keys);
    for key in named {
        if !table.contains_key(key) && !found.contains(&key.as_str()) {
            found.push(key.as_str());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::diagnostic::Sources;

    fn completed(schema: &Value, value: &Value) -> Value {
        let text: Arc<[u8]> = Arc::from(schema.to_string().into_bytes());
        let sources = Sources::from([("s.json".to_owned(), text)]);
        Schema::load("s.json", &sources).unwrap().complete(value)
    }

    #[test]
    fn what_is_not_written_is_what_the_schema_says() {
        let schema = json!({
            "$defs": { "trading": { "type": "object", "properties": {
                "positions": { "type": "integer", "default": 5 },
                "risk": { "type": "number", "default": 1 },
                "mode": { "type": "string" }
            } } },
            "properties": {
                "trading": { "$ref": "#/$defs/trading", "default": {} },
                "other": { "allOf": [{ "$ref": "#/$defs/trading" }] }
            }
        });
        let trading = json!({ "positions": 5, "risk": 1.0 });
        assert_eq!(completed(&schema, &json!({})), json!({ "trading": trading }));
        assert_eq!(
            completed(
                &schema,
                &json!({ "other": { "risk": 2 }, "trading": { "mode": "x", "positions": 1 } })
            ),
            json!({ "other": { "risk": 2.0, "positions": 5 }, "trading": { "mode": "x", "positions": 1, "risk": 1.0 } })
        );
    }

    #[test]
    fn what_one_of_several_variants_would_add_is_not_guessed() {
        let schema = json!({ "oneOf": [
            { "properties": { "a": { "default": 1 } } },
            { "properties": { "b": { "default": 1 } } }
        ] });
        assert_eq!(completed(&schema, &json!({})), json!({}));
    }

    #[test]
    fn a_whole_number_is_a_float_where_the_schema_says_number_alone() {
        let schema = json!({
            "properties": {
                "a": { "type": ["number", "null"] },
                "b": { "anyOf": [{ "type": "integer" }, { "type": "number" }] },
                "c": { "items": { "type": "number" } },
                "d": {}
            }
        });
        let value = completed(&schema, &json!({ "a": 1, "b": 1, "c": [1, 2.5], "d": 1 }));
        assert_eq!(value.to_string(), r#"{"a":1.0,"b":1,"c":[1.0,2.5],"d":1}"#);
    }

    #[test]
    fn defaults_that_hold_their_own_kind_come_to_an_end() {
        let table = |children: &[&str]| {
            let children: Map<String, Value> = children
                .iter()
                .map(|name| ((*name).to_owned(), json!({ "$ref": "#/$defs/t", "default": {} })))
                .collect();
            json!({ "$ref": "#/$defs/t", "$defs": { "t": { "type": "object", "properties": children } } })
        };
        let one = completed(&table(&["x"]), &json!({}));
        assert_eq!(one.to_string().matches('x').count(), 8);
        let many = completed(&table(&["a", "b", "c", "d", "e", "f", "g", "h"]), &json!({}));
        assert!(many.to_string().matches(':').count() <= 10_000);
    }
}
