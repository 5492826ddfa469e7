//! What is made from the types: the template's schema and document, and the list of keys. One command writes all of it:
//! `UPDATE=1 cargo test -p trader-config`.
#![allow(clippy::unwrap_used, reason = "in a test the place says enough")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use toml_edit::{DocumentMut, Item, Table};
use trader_config::{schema, schema_file};

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Compares a file with what it has to be, or writes it.
fn current(path: &str, expected: &str) {
    let path = file(path);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "{} is not what the types say: UPDATE=1 cargo test -p trader-config writes it",
        path.display()
    );
}

fn each_key(node: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
    match node["properties"].as_object() {
        Some(properties) => {
            for (name, node) in properties {
                let below = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                each_key(node, &below, visit);
            }
        }
        None => visit(path, node),
    }
}

#[test]
fn the_templates_schema_is_what_the_types_say() {
    current(
        "config-repo-template/.lockstep/schema/trader.json",
        &schema_file(),
    );
}

/// A new key gets its default and its unit; one that is gone goes. What people wrote about the others stays.
#[test]
fn the_templates_document_has_each_key_and_no_other() {
    let path = "config-repo-template/config/config.toml";
    let text = std::fs::read_to_string(file(path)).unwrap();
    current(path, &with_each_key(&text, schema()));
}

#[test]
fn a_new_key_comes_with_its_default_and_a_gone_one_goes() {
    let text = "# head\n[a]\nold = 1  # gone\nkept = 2  # why\n";
    let schema = serde_json::json!({ "properties": {
        "a": { "properties": { "kept": { "default": 5 }, "new": { "default": 0.5, "x-unit": "s" } } },
        "b": { "properties": { "c": { "properties": { "d": { "default": ["x"] } } } } },
    }});
    let expected = "# head\n[a]\nkept = 2  # why\nnew = 0.5  # s\n\n[b.c]\nd = [\"x\"]\n";
    assert_eq!(with_each_key(text, &schema), expected);
}

fn with_each_key(text: &str, schema: &Value) -> String {
    let mut document: DocumentMut = text.parse().unwrap();
    without_unknown(document.as_table_mut(), schema);
    each_key(schema, "", &mut |path, node| {
        let mut table = document.as_table_mut();
        let (above, name) = path.rsplit_once('.').unwrap_or(("", path));
        for part in above.split('.').filter(|part| !part.is_empty()) {
            let below = table.entry(part).or_insert_with(|| {
                let mut table = Table::new();
                table.set_implicit(true);
                Item::Table(table)
            });
            table = below.as_table_mut().unwrap();
        }
        if !table.contains_key(name) {
            let default = format!("v = {}", toml_of(&node["default"]));
            let mut value = default.parse::<DocumentMut>().unwrap()["v"]
                .as_value()
                .unwrap()
                .clone();
            let unit = node["x-unit"]
                .as_str()
                .map_or(String::new(), |unit| format!("  # {unit}"));
            value.decor_mut().set_suffix(unit);
            table.set_implicit(false);
            table.insert(name, Item::Value(value));
        }
    });
    document.to_string()
}

fn toml_of(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(toml_of).collect::<Vec<_>>().join(", ")),
        // JSON and TOML write texts, numbers and truths alike.
        value => value.to_string(),
    }
}

fn without_unknown(table: &mut Table, schema: &Value) {
    table.retain(|name, item| match (schema["properties"].get(name), item) {
        (None, _) => false,
        (Some(schema), Item::Table(inner)) if schema.get("properties").is_some() => {
            without_unknown(inner, schema);
            true
        }
        (Some(_), _) => true,
    });
}

#[test]
fn the_list_of_keys_is_what_the_types_say() {
    let mut list = String::from(
        "# Every key of the trading stack\n\nMade from the types in `services/trader-config`: do not edit it here. \
         [The trading stack](trading.md) says what each key changes\nin the running services.\n\n\
         | key | type | unit | default | may be | taken | |\n|---|---|---|---|---|---|---|\n",
    );
    each_key(schema(), "", &mut |path, node| {
        let text = |name: &str| node[name].as_str().unwrap_or_default();
        let default = match &node["default"] {
            Value::Array(items) if items.len() > 3 => format!("{} entries", items.len()),
            value => format!("`{value}`"),
        };
        let bounds = [
            ("minimum", "at least "),
            ("exclusiveMinimum", "above "),
            ("maximum", "at most "),
            ("enum", "one of "),
            ("pattern", "like "),
        ];
        let bounds: Vec<String> = bounds
            .iter()
            .filter_map(|(name, words)| node.get(name).map(|value| (words, value)))
            .map(|(words, value)| match value {
                Value::Array(values) => format!(
                    "{words}{}",
                    values
                        .iter()
                        .map(|value| format!("`{value}`"))
                        .collect::<Vec<_>>()
                        .join(" ")
                ),
                Value::String(text) => format!("{words}`{}`", text.replace('|', "\\|")),
                value => format!("{words}{value}"),
            })
            .collect();
        let taken = match &node["x-lockstep-effect"] {
            Value::Null => "hot".to_owned(),
            Value::String(_) => "restart".to_owned(),
            effect => format!(
                "restart of {}",
                effect["restart"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter_map(Value::as_str)
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        };
        writeln!(
            list,
            "| `{path}` | {} | {} | {default} | {} | {taken} | {} |",
            text("type"),
            text("x-unit"),
            bounds.join(", "),
            text("description").replace('\n', " "),
        )
        .unwrap();
    });
    current("docs/trading-keys.md", &list);
}
