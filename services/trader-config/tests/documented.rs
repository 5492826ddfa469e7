//! `docs/trading.md` says of every key what it is, as the schema has it, and which test shows what it does.
#![allow(clippy::unwrap_used, reason = "in a test the place says enough")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use trader_config::{OrchestratorView, ScannerView, View, schema};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The rows of the table of keys: its cells by key.
fn rows() -> BTreeMap<String, Vec<String>> {
    let text = std::fs::read_to_string(root().join("docs/trading.md")).unwrap();
    let (_, table) = text.split_once("## Every key").unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let mut found = BTreeMap::new();
    for row in rows {
        let cells: Vec<String> = row
            .trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().replace('`', ""))
            .collect();
        let before = found.insert(cells[0].clone(), cells);
        assert!(before.is_none(), "twice: {row}");
    }
    found
}

/// The schema of each key.
fn keys() -> BTreeMap<String, Value> {
    fn walk(path: &str, node: &Value, found: &mut BTreeMap<String, Value>) {
        match node["properties"].as_object() {
            Some(properties) => {
                for (name, node) in properties {
                    let path = if path.is_empty() {
                        name.clone()
                    } else {
                        format!("{path}.{name}")
                    };
                    walk(&path, node, found);
                }
            }
            None => {
                found.insert(path.to_owned(), node.clone());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk("", schema(), &mut found);
    found
}

fn reads<V: View>(key: &str) -> bool {
    V::READS.iter().any(|part| {
        let part = part.split_once('#').unwrap().1;
        key == part || key.starts_with(&format!("{part}."))
    })
}

/// How a change of the key is taken, in the table's words.
fn taken(key: &str, schema: &Value) -> String {
    let readers = [
        ("scanner", reads::<ScannerView>(key)),
        ("orchestrator", reads::<OrchestratorView>(key)),
    ];
    let readers: Vec<&str> = readers
        .iter()
        .filter(|(_, reads)| *reads)
        .map(|(name, _)| *name)
        .collect();
    assert!(!readers.is_empty(), "nobody reads {key}");
    match &schema["x-lockstep-effect"] {
        Value::Null => "hot".to_owned(),
        Value::String(effect) if effect == "restart" => format!("restart: {}", readers.join(", ")),
        effect => {
            let restarted: Vec<&str> = effect["restart"]
                .as_array()
                .unwrap()
                .iter()
                .map(|name| name.as_str().unwrap())
                .collect();
            assert!(
                restarted.iter().all(|name| readers.contains(name)),
                "{key}: {effect}"
            );
            format!("restart: {}", restarted.join(", "))
        }
    }
}

/// The tests of this workspace's trading stack, as far as they are run: a function below a line `#[test]`.
fn tests() -> Vec<String> {
    let files = [
        "services/scanner/tests/keys.rs",
        "services/orchestrator/tests/keys.rs",
        "tests/tests/trading.rs",
    ];
    let mut found = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(root().join(file)).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.windows(2) {
            let name = pair[1]
                .trim_start_matches("async ")
                .strip_prefix("fn ")
                .and_then(|rest| rest.split('(').next());
            if let (true, Some(name)) = (
                pair[0].starts_with("#[test]") || pair[0].starts_with("#[tokio::test"),
                name,
            ) {
                found.push(name.to_owned());
            }
        }
    }
    assert!(found.len() > 20, "{found:?}");
    found
}

#[test]
fn every_key_is_in_the_table_with_its_unit_default_effect_and_a_test() {
    let (rows, keys, tests) = (rows(), keys(), tests());
    for (key, schema) in &keys {
        let row = rows
            .get(key)
            .unwrap_or_else(|| panic!("{key} is missing in docs/trading.md"));
        let [_, unit, default, what, effect, test] = row.as_slice() else {
            panic!("six cells are expected: {row:?}")
        };
        assert_eq!(
            unit,
            schema["x-unit"].as_str().unwrap_or_default(),
            "the unit of {key}"
        );
        let expected = match schema["default"].as_array() {
            Some(symbols) => format!("{} symbols", symbols.len()),
            None => schema["default"].to_string(),
        };
        assert_eq!(*default, expected, "the default of {key}");
        assert!(!what.is_empty(), "{key} changes nothing?");
        assert_eq!(*effect, taken(key, schema), "how {key} is taken");
        assert!(tests.contains(test), "{key}: there is no test {test:?}");
    }
    let stale: Vec<&String> = rows.keys().filter(|key| !keys.contains_key(*key)).collect();
    assert!(stale.is_empty(), "no such keys: {stale:?}");
}

/// A test that is named for a key mentions it: by its whole name, or by its own below its section's.
#[test]
fn the_test_of_a_key_changes_that_key() {
    let files = [
        "services/scanner/tests/keys.rs",
        "services/orchestrator/tests/keys.rs",
        "tests/tests/trading.rs",
    ];
    let texts = files.map(|file| std::fs::read_to_string(root().join(file)).unwrap());
    for (key, row) in rows() {
        let (test, name) = (row.last().unwrap(), key.rsplit('.').next().unwrap());
        let whole = format!("fn {test}(");
        let body = texts.iter().find_map(|text| text.split_once(&whole)).unwrap().1;
        let body = body
            .split("\n#[test]")
            .next()
            .unwrap()
            .split("\n#[tokio::test")
            .next()
            .unwrap();
        assert!(body.contains(name), "{test} says nothing of {key}");
    }
}
