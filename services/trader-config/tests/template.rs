//! The config repo that users copy agrees with the types.
#![allow(clippy::unwrap_used, reason = "in a test the place says enough")]

use std::path::{Path, PathBuf};

use serde_json::Value;
use trader_config::{TraderConfig, View, parse, schema};

fn template(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../config-repo-template")
        .join(path)
}

fn read(path: &str) -> String {
    let path = template(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_document_lists_every_key_with_its_default() {
    let text = read("config/config.toml");
    let parsed: TraderConfig = parse(&text).unwrap();
    assert_eq!(parsed, TraderConfig::default());

    let written: Value = serde_json::to_value(toml::from_str::<toml::Table>(&text).unwrap()).unwrap();
    let defaults = serde_json::to_value(TraderConfig::default()).unwrap();
    assert_eq!(keys(&written), keys(&defaults));
}

#[test]
fn the_schema_is_valid_and_accepts_the_document() {
    let validator = jsonschema::draft202012::new(schema()).unwrap();
    let document: toml::Table = toml::from_str(&read("config/config.toml")).unwrap();
    let document = serde_json::to_value(document).unwrap();
    assert!(validator.is_valid(&document));
    for refused in [
        "[trading]\nmode = \"DEMO\"",
        "[tradign]",
        "[universe]\nsymbols = [\"aapl\"]",
    ] {
        let document = serde_json::to_value(toml::from_str::<toml::Table>(refused).unwrap()).unwrap();
        assert!(!validator.is_valid(&document), "{refused}");
        assert!(parse::<TraderConfig>(refused).is_err(), "{refused}");
    }
}

#[test]
fn the_policy_names_files_that_exist() {
    let policy: toml::Table = toml::from_str(&read(".lockstep/policy.toml")).unwrap();
    for document in policy["document"].as_array().unwrap() {
        for key in ["path", "schema"] {
            let path = document[key].as_str().unwrap();
            assert!(template(path).is_file(), "{path}");
        }
    }
}

#[test]
fn every_key_has_a_title_a_description_and_a_default() {
    let mut leaves = 0;
    each_leaf(schema(), &mut Vec::new(), &mut |path, leaf| {
        leaves += 1;
        for keyword in ["title", "description"] {
            assert!(
                leaf.get(keyword)
                    .and_then(Value::as_str)
                    .is_some_and(|text| !text.is_empty()),
                "{path} {keyword}"
            );
        }
        assert!(leaf.get("default").is_some(), "{path} has no default");
        assert!(leaf.get("type").is_some(), "{path} has no type");
    });
    assert_eq!(
        leaves,
        keys(&serde_json::to_value(TraderConfig::default()).unwrap()).len()
    );
}

#[test]
fn only_these_keys_need_a_restart() {
    let mut restart = Vec::new();
    each_leaf(schema(), &mut Vec::new(), &mut |path, leaf| {
        if let Some(effect) = leaf.get("x-lockstep-effect") {
            restart.push(format!("{path} {effect}"));
        }
    });
    let expected = [
        r#"ibkr.host "restart""#,
        r#"ibkr.port "restart""#,
        r#"ibkr.client_id "restart""#,
        r#"data.cache_dir "restart""#,
        r#"scanner.port {"restart":["scanner"]}"#,
    ];
    assert_eq!(restart, expected);
}

/// A bound is written once, in the schema; a service must not accept what the gate refuses.
#[test]
fn a_service_refuses_every_number_that_the_schema_refuses() {
    let mut bounds = 0;
    each_leaf(schema(), &mut Vec::new(), &mut |path, leaf| {
        let integer = leaf["type"] == "integer";
        let step = if integer { 1.0 } else { 0.001 };
        for (keyword, outside) in [
            ("minimum", leaf["minimum"].as_f64().map(|limit| limit - step)),
            ("exclusiveMinimum", leaf["exclusiveMinimum"].as_f64()),
            ("maximum", leaf["maximum"].as_f64().map(|limit| limit + step)),
        ] {
            let Some(outside) = outside else { continue };
            bounds += 1;
            let value = if integer {
                format!("{outside:.0}")
            } else {
                format!("{outside:?}")
            };
            let text = format!("{path} = {value}\n");
            let refused = parse::<TraderConfig>(&text).expect_err(&format!("{keyword}: {text}"));
            assert_eq!(refused[0].line, Some(1), "{text}");
        }
    });
    assert!(bounds > 50, "{bounds}");
}

#[test]
fn defaults_pass_their_own_rules() {
    TraderConfig::default().validate().unwrap();
}

fn keys(value: &Value) -> Vec<String> {
    fn walk(value: &Value, path: &mut Vec<String>, found: &mut Vec<String>) {
        match value.as_object() {
            Some(table) => {
                for (key, value) in table {
                    path.push(key.clone());
                    walk(value, path, found);
                    path.pop();
                }
            }
            None => found.push(path.join(".")),
        }
    }
    let mut found = Vec::new();
    walk(value, &mut Vec::new(), &mut found);
    found.sort();
    found
}

fn each_leaf(schema: &Value, path: &mut Vec<String>, visit: &mut impl FnMut(&str, &Value)) {
    match schema.get("properties").and_then(Value::as_object) {
        Some(properties) => {
            for (key, schema) in properties {
                path.push(key.clone());
                each_leaf(schema, path, visit);
                path.pop();
            }
        }
        None => visit(&path.join("."), schema),
    }
}
