//! The JSON Schema of the document, generated from the types.
//!
//! The same schema is what a config repo carries (`.lockstep/schema/trader.json`) and what the services
//! take their bounds from, so a bound is written once.

use std::sync::LazyLock;

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::{Map, Value};

use crate::TraderConfig;

static SCHEMA: LazyLock<Value> = LazyLock::new(generate);

/// The JSON Schema (2020-12) of the document.
///
/// Beside the standard keywords it says `x-unit` (the unit of a number, for people) and `x-lockstep-effect`
/// (`"restart"`, or `{"restart": ["scanner"]}`: a change of this key restarts these services; all others are
/// reloaded).
#[must_use]
pub fn schema() -> &'static Value {
    &SCHEMA
}

/// The schema as the file in a config repo has it.
#[must_use]
pub fn schema_file() -> String {
    format!("{:#}\n", schema())
}

fn generate() -> Value {
    SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .with_transform(RecursiveTransform(plain_enums))
        .with_transform(RecursiveTransform(no_machine_formats))
        .with_transform(RecursiveTransform(in_reading_order))
        .into_generator()
        .into_root_schema_for::<TraderConfig>()
        .to_value()
}

/// Replaces a choice between described constants by `enum`, which editors and validators explain better.
fn plain_enums(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    let Some(Value::Array(branches)) = object.get("oneOf") else {
        return;
    };
    let constants: Option<Vec<Value>> = branches
        .iter()
        .map(|branch| branch.get("const").cloned())
        .collect();
    if let Some(constants) = constants {
        object.remove("oneOf");
        object.insert("type".to_owned(), "string".into());
        object.insert("enum".to_owned(), constants.into());
    }
}

/// Removes `format: uint32` and the like: they say how the services store a number, not what it may be.
fn no_machine_formats(schema: &mut Schema) {
    schema.remove("format");
}

/// Puts the keywords in one order everywhere, the one in which a person reads them.
fn in_reading_order(schema: &mut Schema) {
    const ORDER: [&str; 16] = [
        "$schema",
        "title",
        "description",
        "type",
        "enum",
        "pattern",
        "minLength",
        "minimum",
        "exclusiveMinimum",
        "maximum",
        "minItems",
        "uniqueItems",
        "x-unit",
        "x-lockstep-effect",
        "default",
        "additionalProperties",
    ];
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    let mut entries: Vec<(String, Value)> = std::mem::take(object).into_iter().collect();
    entries.sort_by_key(|(keyword, _)| {
        ORDER
            .iter()
            .position(|known| known == keyword)
            .unwrap_or(ORDER.len())
    });
    object.extend(entries);
}

/// The schema of the key at `path`, as far as the document has such a key.
pub(crate) fn of_key<'a>(path: &[String]) -> Option<&'a Map<String, Value>> {
    let mut schema = schema();
    for part in path {
        schema = schema.get("properties")?.get(part)?;
    }
    schema.as_object()
}
