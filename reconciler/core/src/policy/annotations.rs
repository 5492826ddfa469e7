//! What a schema says about a key besides judging it: its unit, its default, what changing it takes.
//!
//! A schema is a graph of references and alternatives. Here every alternative counts, whichever one the
//! document takes: a hint too many is harmless, and a restart too many is announced before the merge.

use std::collections::BTreeSet;

use jsonschema::Uri;
use serde_json::Value;

use super::effect::Restart;
use super::schema::Schema;
use crate::document::{KeyPath, Part};

/// A subschema and the address that its references count from.
#[derive(Clone)]
pub(super) struct Node<'s> {
    pub(super) schema: &'s Value,
    pub(super) base: Uri<String>,
}

impl Schema {
    /// What a keyword says about the value at a path; the outermost subschema that has it decides.
    pub(crate) fn annotation(&self, path: &KeyPath, keyword: &str) -> Option<&Value> {
        self.at(path)
            .into_iter()
            .find_map(|node| node.schema.get(keyword))
    }

    /// What is said of the value at a path in any case: the words of one variant may not be true of it.
    pub(crate) fn description(&self, path: &KeyPath) -> Option<&Value> {
        let nodes = match path.parts().split_last() {
            Some((last, above)) => {
                let above = self.at(&above.to_vec().into());
                self.expand_surely(above.iter().flat_map(|node| Self::below(node, last)).collect())
            }
            None => self.expand_surely(self.start()),
        };
        nodes.into_iter().find_map(|node| node.schema.get("description"))
    }

    /// The values that the schema fixes for a path, in whichever variant.
    pub(crate) fn options(&self, path: &KeyPath) -> Vec<&Value> {
        let mut found: Vec<&Value> = Vec::new();
        for node in self.at(path) {
            let listed = node
                .schema
                .get("enum")
                .and_then(Value::as_array)
                .map(Vec::as_slice)
                .unwrap_or_default();
            for value in listed.iter().chain(node.schema.get("const")) {
                if !found.contains(&value) {
                    found.push(value);
                }
            }
        }
        found
    }

    /// The keys that a table may have, as far as the schema names them.
    pub(crate) fn known_keys(&self, table: &KeyPath) -> BTreeSet<&str> {
        let nodes = self.at(table);
        let tables = nodes
            .iter()
            .filter_map(|node| node.schema.get("properties")?.as_object());
        let allowed = tables
            .flatten()
            .filter(|(_, schema)| **schema != Value::Bool(false));
        allowed.map(|(key, _)| key.as_str()).collect()
    }

    /// Who must restart when the value at a path changes from or to `value`.
    ///
    /// A subschema that says so speaks for everything in it, so those above the value count, and those
    /// inside it.
    pub(crate) fn restarts(&self, path: &KeyPath, value: Option<&Value>) -> Vec<Restart> {
        let mut found = Vec::new();
        let mut nodes = self.expand(self.start());
        collect(&nodes, &mut found);
        for part in path.parts() {
            nodes = self.step(&nodes, part);
            collect(&nodes, &mut found);
        }
        if let Some(value) = value {
            self.restarts_inside(&nodes, value, &mut found);
        }
        found
    }

    fn restarts_inside(&self, nodes: &[Node<'_>], value: &Value, found: &mut Vec<Restart>) {
        let parts: Vec<_> = match value {
            Value::Object(table) => table
                .iter()
                .map(|(key, value)| (Part::Key(key.clone()), value))
                .collect(),
            Value::Array(list) => list
                .iter()
                .enumerate()
                .map(|(at, value)| (Part::Index(at), value))
                .collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return,
        };
        for (part, value) in parts {
            let nodes = self.step(nodes, &part);
            collect(&nodes, found);
            self.restarts_inside(&nodes, value, found);
        }
    }

    pub(super) fn at(&self, path: &KeyPath) -> Vec<Node<'_>> {
        path.parts()
            .iter()
            .fold(self.expand(self.start()), |nodes, part| self.step(&nodes, part))
    }

    pub(super) fn start(&self) -> Vec<Node<'_>> {
        let root = self.registry.resolver(self.base.clone()).lookup("#").ok();
        root.map(|root| Node {
            schema: root.contents(),
            base: self.base.clone(),
        })
        .into_iter()
        .collect()
    }

    /// These subschemas and all that apply to the same value, in the order they are met.
    pub(super) fn expand<'s>(&'s self, nodes: Vec<Node<'s>>) -> Vec<Node<'s>> {
        self.expanded(nodes, |_| true)
    }

    /// The same, without what applies in one variant alone.
    pub(super) fn expand_surely<'s>(&'s self, nodes: Vec<Node<'s>>) -> Vec<Node<'s>> {
        self.expanded(nodes, |keyword| {
            matches!(keyword, "$ref" | "$dynamicRef" | "$recursiveRef" | "allOf")
        })
    }

    fn expanded<'s>(&'s self, mut nodes: Vec<Node<'s>>, by: impl Fn(&str) -> bool) -> Vec<Node<'s>> {
        let mut seen = BTreeSet::new();
        let mut at = 0;
        nodes.retain(|node| seen.insert(std::ptr::from_ref(node.schema)));
        while at < nodes.len() {
            let node = nodes[at].clone();
            at += 1;
            for next in self.beside_by(&node, &by) {
                if seen.insert(std::ptr::from_ref(next.schema)) {
                    nodes.push(next);
                }
            }
        }
        nodes
    }

    /// The subschemas that a subschema applies to the same value.
    pub(super) fn beside<'s>(&'s self, node: &Node<'s>) -> Vec<Node<'s>> {
        self.beside_by(node, &|_| true)
    }

    /// Those that certain keywords apply.
    fn beside_by<'s>(&'s self, node: &Node<'s>, by: &impl Fn(&str) -> bool) -> Vec<Node<'s>> {
        let Value::Object(keywords) = node.schema else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for (keyword, value) in keywords.iter().filter(|(keyword, _)| by(keyword)) {
            match (keyword.as_str(), value) {
                ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(reference)) => {
                    let resolved = self.registry.resolver(node.base.clone()).lookup(reference);
                    // What cannot be resolved was refused when the schema was loaded.
                    if let Ok(resolved) = resolved {
                        let base = resolved.resolver().base_uri().as_ref().clone();
                        found.push(Node {
                            schema: resolved.contents(),
                            base,
                        });
                    }
                }
                ("allOf" | "anyOf" | "oneOf", Value::Array(schemas)) => {
                    found.extend(schemas.iter().map(|schema| Node {
                        schema,
                        ..node.clone()
                    }));
                }
                ("if" | "then" | "else", schema) => found.push(Node {
                    schema,
                    ..node.clone()
                }),
                // Up to draft 7 the latter holds schemas and lists of keys.
                ("dependentSchemas" | "dependencies", Value::Object(schemas)) => {
                    found.extend(schemas.values().map(|schema| Node {
                        schema,
                        ..node.clone()
                    }));
                }
                (_, _) => {}
            }
        }
        found
    }

    /// The subschemas of a part of the value, with all that they apply to it.
    fn step<'s>(&'s self, nodes: &[Node<'s>], part: &Part) -> Vec<Node<'s>> {
        self.expand(nodes.iter().flat_map(|node| Self::below(node, part)).collect())
    }

    /// The subschemas that a subschema applies to a part of its value.
    pub(super) fn below<'s>(node: &Node<'s>, part: &Part) -> Vec<Node<'s>> {
        let mut found = Vec::new();
        let get = |keyword: &str| node.schema.get(keyword);
        let mut push = |schema: Option<&'s Value>| {
            found.extend(schema.map(|schema| Node {
                schema,
                ..node.clone()
            }));
        };
        match part {
            Part::Key(key) => {
                let named = get("properties").and_then(|properties| properties.get(key));
                push(named);
                // Which pattern fits is not asked: each one's hints count, as those of alternatives do.
                if let Some(Value::Object(patterns)) = get("patternProperties") {
                    patterns.values().for_each(|schema| push(Some(schema)));
                }
                if named.is_none() {
                    push(get("additionalProperties"));
                    push(get("unevaluatedProperties"));
                }
            }
            Part::Index(index) => {
                // Before draft 2020-12 a list of schemas stood in `items`, and `additionalItems` was for the rest.
                let listed = get("items").filter(|items| items.is_array());
                let prefixed = get("prefixItems")
                    .or(listed)
                    .and_then(|schemas| schemas.get(index));
                push(prefixed);
                if prefixed.is_none() {
                    push(get(if listed.is_some() {
                        "additionalItems"
                    } else {
                        "items"
                    }));
                    push(get("unevaluatedItems"));
                }
                push(get("contains"));
            }
        }
        found
    }
}

fn collect(nodes: &[Node<'_>], found: &mut Vec<Restart>) {
    found.extend(
        nodes
            .iter()
            .filter_map(|node| Restart::from_schema(node.schema.get("x-lockstep-effect")?)),
    );
}
