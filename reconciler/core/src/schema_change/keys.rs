//! The keys of a table and the entries of a list: which are new, gone, required, or free.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::Comparing;
use super::resolve::Side;

static ANYTHING: Value = Value::Bool(true);

impl<'s> Comparing<'s> {
    /// `properties`, `required` and `additionalProperties`.
    pub(super) fn properties(&mut self, old: &Side<'s>, new: &Side<'s>, key: &str) {
        let table = |side: &Side<'s>, name: &str| side.schema.get(name).and_then(Value::as_object);
        let none = Map::new();
        let (a, b) = (table(old, "properties"), table(new, "properties"));
        let names: BTreeSet<&String> = a.into_iter().chain(b).flat_map(|table| table.keys()).collect();
        let rest = |side: &Side<'s>| Side {
            schema: side.schema.get("additionalProperties").unwrap_or(&ANYTHING),
            at: side.at.key("additionalProperties"),
        };
        let (rest_old, rest_new) = (rest(old), rest(new));
        let patterns = |side: &Side<'s>| side.schema.get("patternProperties").is_some();
        let free_of_patterns = !patterns(old) && !patterns(new);
        let required = |side: &Side<'s>| -> BTreeSet<String> {
            let list = side.schema.get("required").and_then(Value::as_array);
            list.into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect()
        };
        let (must_old, must_new) = (required(old), required(new));
        for name in names.iter().copied() {
            let below = join(key, name);
            let side = |side: &Side<'s>, table: Option<&'s Map<String, Value>>| {
                let schema = table?.get(name)?;
                Some(Side {
                    schema,
                    at: side.at.key("properties").key(name),
                })
            };
            match (side(old, a), side(new, b)) {
                (Some(one), Some(other)) => self.schemas(one, other, &below),
                (Some(one), None) if *rest_new.schema == Value::Bool(false) && free_of_patterns => {
                    let message = "the key is gone".to_owned();
                    self.tell(&below, (true, false), message, Some(one.at), None);
                }
                (Some(one), None) => {
                    let message =
                        "the key is no longer described: whatever other keys may be is taken".to_owned();
                    let at = one.at.clone();
                    if *rest_new.schema == Value::Bool(true) && free_of_patterns {
                        self.tell(&below, (false, true), message, Some(at), None);
                    } else {
                        self.tell(&below, (true, true), message, Some(at), None);
                    }
                }
                (None, Some(other)) if *rest_old.schema == Value::Bool(false) && free_of_patterns => {
                    let message = "the key is new: a service that refuses keys it does not know needs its new version first".to_owned();
                    self.tell(&below, (false, false), message, None, Some(other.at));
                }
                (None, Some(other)) => {
                    let message = "the key is described now: it could be anything before".to_owned();
                    let breaks = *rest_old.schema != Value::Bool(true) || !free_of_patterns;
                    self.tell(&below, (true, breaks), message, None, Some(other.at));
                }
                (None, None) => {}
            }
        }
        for name in must_new.difference(&must_old) {
            let described = b.unwrap_or(&none).get(name);
            let default = described.and_then(|schema| schema.get("default"));
            let hint = default.map_or_else(String::new, |default| {
                format!("; its default {default} does not help: a key that may be left out is not required")
            });
            let message = format!("the key has to be there now{hint}");
            let at = new.at.key("required");
            self.tell(&join(key, name), (true, false), message, None, Some(at));
        }
        for name in must_old.difference(&must_new) {
            let message = "the key may be missing now: services could rely on it".to_owned();
            let at = old.at.key("required");
            self.tell(&join(key, name), (false, true), message, Some(at), None);
        }
        match (rest_old.schema, rest_new.schema) {
            (one, other) if one == other && !one.is_object() => {}
            (Value::Bool(false), _) => {
                let message = "keys that are not described are taken now".to_owned();
                let breaks = (false, true);
                self.tell(key, breaks, message, Some(rest_old.at), Some(new.at.clone()));
            }
            (Value::Bool(true), Value::Bool(false)) => {
                let message = "keys that are not described are refused now".to_owned();
                let breaks = (true, false);
                self.tell(key, breaks, message, Some(old.at.clone()), Some(rest_new.at));
            }
            _ => self.schemas(rest_old, rest_new, &join(key, "*")),
        }
    }

    /// `items`.
    pub(super) fn items(&mut self, old: &Side<'s>, new: &Side<'s>, key: &str) {
        let entries = |side: &Side<'s>| match side.schema.get("items") {
            Some(schema) => Side {
                schema,
                at: side.at.key("items"),
            },
            None => Side {
                schema: &ANYTHING,
                at: side.at.key("items"),
            },
        };
        if old.schema.get("items").is_some() || new.schema.get("items").is_some() {
            self.schemas(entries(old), entries(new), &format!("{key}[]"));
        }
    }
}

fn join(above: &str, name: &str) -> String {
    let name = if name == "*" {
        name.to_owned()
    } else {
        toml_edit::Key::new(name).display_repr().into_owned()
    };
    if above.is_empty() {
        name
    } else {
        format!("{above}.{name}")
    }
}
