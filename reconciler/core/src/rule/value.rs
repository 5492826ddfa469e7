//! From a document's value to one of CEL, and from CEL's answer back.

use std::collections::HashMap;
use std::sync::Arc;

use cel::objects::{Key, Map};
use serde_json::Value;

/// What an expression gave.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    /// True or false.
    Bool(bool),
    /// A text.
    Text(String),
    /// Something else: what it is called.
    Other(&'static str),
}

impl Outcome {
    /// What it is called.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "true or false",
            Self::Text(_) => "a text",
            Self::Other(kind) => kind,
        }
    }
}

/// The value as CEL has it. Numbers are integers where they are written so and the schema does not say `number`.
pub(super) fn to_cel(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(bool) => cel::Value::Bool(*bool),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => cel::Value::Int(integer),
            (None, Some(float)) => cel::Value::Float(float),
            (None, None) => cel::Value::Null,
        },
        Value::String(text) => cel::Value::String(Arc::new(text.clone())),
        Value::Array(entries) => cel::Value::List(Arc::new(entries.iter().map(to_cel).collect())),
        Value::Object(table) => {
            let map: HashMap<Key, cel::Value> = table
                .iter()
                .map(|(key, value)| (Key::from(key.as_str()), to_cel(value)))
                .collect();
            cel::Value::Map(Map { map: Arc::new(map) })
        }
    }
}

/// What CEL's answer means.
pub(super) fn outcome(value: cel::Value) -> Outcome {
    match value {
        cel::Value::Bool(bool) => Outcome::Bool(bool),
        cel::Value::String(text) => Outcome::Text(text.as_ref().clone()),
        cel::Value::Int(_) | cel::Value::UInt(_) | cel::Value::Float(_) => Outcome::Other("a number"),
        cel::Value::List(_) => Outcome::Other("a list"),
        cel::Value::Map(_) | cel::Value::Struct(_) => Outcome::Other("a table"),
        cel::Value::Null => Outcome::Other("null"),
        cel::Value::Duration(_) => Outcome::Other("a duration"),
        cel::Value::Timestamp(_) => Outcome::Other("a time"),
        cel::Value::Bytes(_) => Outcome::Other("bytes"),
        cel::Value::Function(..) | cel::Value::Opaque(_) => Outcome::Other("no value"),
    }
}
