//! Applies the schema's bounds of single values in the services.
//!
//! What a type can hold is checked when it is parsed; what the schema narrows beyond the type (`minimum`,
//! `maxItems`, …) is checked here, from the schema itself. Relations between keys are [`crate::rules`].

use serde_json::{Map, Value};

use crate::{Invalid, schema};

/// Every value below `value` that breaks a bound of its schema.
pub(crate) fn check(value: &Value) -> Vec<Invalid> {
    let mut found = Vec::new();
    walk(&mut Vec::new(), value, &mut found);
    found
}

fn walk(path: &mut Vec<String>, value: &Value, found: &mut Vec<Invalid>) {
    if let Value::Object(table) = value {
        for (key, value) in table {
            path.push(key.clone());
            walk(path, value, found);
            path.pop();
        }
    } else if let Some(schema) = schema::of_key(path)
        && let Some(message) = broken(schema, value)
    {
        found.push(Invalid {
            key: path.join("."),
            message,
        });
    }
}

fn broken(schema: &Map<String, Value>, value: &Value) -> Option<String> {
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    let unit = schema
        .get("x-unit")
        .and_then(Value::as_str)
        .map(|unit| format!(" {unit}"))
        .unwrap_or_default();
    match value {
        Value::Number(number) => {
            let number = number.as_f64()?;
            if let Some(limit) = bound("minimum").filter(|limit| number < *limit) {
                return Some(format!("{number} is too low: at least {limit}{unit} is expected"));
            }
            if let Some(limit) = bound("exclusiveMinimum").filter(|limit| number <= *limit) {
                return Some(format!(
                    "{number} is too low: more than {limit}{unit} is expected"
                ));
            }
            if let Some(limit) = bound("maximum").filter(|limit| number > *limit) {
                return Some(format!("{number} is too high: at most {limit}{unit} is expected"));
            }
            None
        }
        // JSON has no `nan` and no `inf`, TOML does: they arrive here as null.
        Value::Null => Some("a finite number is expected".to_owned()),
        Value::String(text) => {
            let short = bound("minLength").is_some_and(|least| (text.chars().count() as f64) < least);
            short.then(|| "the text must not be empty".to_owned())
        }
        Value::Array(items) => {
            if bound("minItems").is_some_and(|least| (items.len() as f64) < least) {
                return Some("at least one entry is expected".to_owned());
            }
            let unique = schema.get("uniqueItems") == Some(&Value::Bool(true));
            let twice = items
                .iter()
                .enumerate()
                .find(|(at, item)| items[..*at].contains(item));
            twice
                .filter(|_| unique)
                .map(|(_, item)| format!("{item} is listed twice"))
        }
        Value::Bool(_) | Value::Object(_) => None,
    }
}
