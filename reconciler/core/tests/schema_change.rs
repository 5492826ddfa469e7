//! What `schema diff` calls harmless is harmless: no document shows the contrary.
#![allow(clippy::unwrap_used, reason = "in a test the place says enough")]

use lockstep_core::document::{Document, Syntax};
use lockstep_core::schema_change::{Finding, compare};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

fn findings(before: &Value, after: &Value) -> Vec<Finding> {
    let read =
        |schema: &Value| Document::parse("s.json", schema.to_string().as_bytes(), Syntax::Json).unwrap();
    compare(&read(before), &read(after))
}

fn scalar_schema() -> BoxedStrategy<Value> {
    let number = (
        select(vec!["integer", "number"]),
        proptest::option::of(-2..3),
        proptest::option::of(1..4),
        any::<bool>(),
    )
        .prop_map(|(kind, low, high, open)| {
            let mut schema = json!({ "type": kind });
            if let Some(low) = low {
                schema[if open { "exclusiveMinimum" } else { "minimum" }] = json!(low);
            }
            if let Some(high) = high {
                schema["maximum"] = json!(high);
            }
            schema
        });
    let text = (
        proptest::option::of(0..3),
        proptest::option::of(select(vec!["^x", "y$"])),
    )
        .prop_map(|(length, pattern)| {
            let mut schema = json!({ "type": "string" });
            if let Some(length) = length {
                schema["maxLength"] = json!(length);
            }
            if let Some(pattern) = pattern {
                schema["pattern"] = json!(pattern);
            }
            schema
        });
    let listed = proptest::sample::subsequence(
        vec![json!(1), json!(1.5), json!("x"), json!(true), json!(null)],
        1..4,
    )
    .prop_map(|values| json!({ "enum": values }));
    let steps = (1..4).prop_map(|step| json!({ "type": "integer", "multipleOf": step }));
    prop_oneof![
        number,
        text,
        listed,
        steps,
        Just(json!({ "type": ["string", "null"] })),
        Just(json!({ "type": "boolean" })),
        Just(json!({ "const": 1 })),
        Just(json!({ "anyOf": [{ "type": "string" }, { "type": "integer" }] })),
        Just(json!({ "$ref": "#/$defs/t" })),
        Just(json!(true)),
        Just(json!(false)),
    ]
    .boxed()
}

fn schema() -> BoxedStrategy<Value> {
    scalar_schema()
        .prop_recursive(2, 12, 3, |inner| {
            let rest = prop_oneof![Just(None), Just(Some(json!(false))), inner.clone().prop_map(Some)];
            let table = (
                proptest::collection::vec((select(vec!["a", "b", "c"]), inner.clone()), 0..3),
                proptest::sample::subsequence(vec!["a", "b", "c"], 0..2),
                rest,
            );
            let table = table.prop_map(|(properties, required, rest)| {
                let properties: Map<_, _> = properties
                    .into_iter()
                    .map(|(key, schema)| (key.to_owned(), schema))
                    .collect();
                let mut schema = json!({ "type": "object", "properties": properties });
                if !required.is_empty() {
                    schema["required"] = json!(required);
                }
                if let Some(rest) = rest {
                    schema["additionalProperties"] = rest;
                }
                schema
            });
            let list =
                (inner, any::<bool>(), proptest::option::of(0..3)).prop_map(|(items, unique, most)| {
                    let mut schema = json!({ "type": "array", "items": items, "uniqueItems": unique });
                    if let Some(most) = most {
                        schema["maxItems"] = json!(most);
                    }
                    schema
                });
            prop_oneof![3 => table, 1 => list, 1 => scalar_schema()]
        })
        .boxed()
}

fn document() -> impl Strategy<Value = Value> {
    let scalar = select(vec![
        json!(null),
        json!(true),
        json!(-2),
        json!(0),
        json!(1),
        json!(1.0),
        json!(1.5),
        json!(2),
        json!(3),
        json!(4),
        json!(""),
        json!("x"),
        json!("xy"),
        json!("y"),
        json!("zzz"),
    ]);
    scalar.prop_recursive(2, 10, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map(select(vec!["a", "b", "c", "d"]), inner, 0..4)
                .prop_map(|table| json!(table)),
        ]
    })
}

/// Another schema that is close to the first: most often one thing in it is another.
fn changed(schema: &Value, other: &Value, choice: usize) -> Value {
    let mut schema = schema.clone();
    let mut at = &mut schema;
    let mut choice = choice;
    // Down to some part, which the other schema's replaces.
    loop {
        let into = choice % 4;
        choice /= 4;
        let next = match into {
            0 => "properties",
            1 => "items",
            2 => "additionalProperties",
            _ => break,
        };
        if !at.get(next).is_some_and(Value::is_object) {
            break;
        }
        at = &mut at[next];
        if next == "properties" {
            let keys: Vec<String> = at.as_object().unwrap().keys().cloned().collect();
            let Some(key) = keys.get(choice % 3) else {
                let _ = at.as_object_mut().unwrap().insert("a".to_owned(), other.clone());
                return schema;
            };
            let key = key.clone();
            at = &mut at[key.as_str()];
        }
    }
    // A bound that moves by one.
    if choice.is_multiple_of(2)
        && let Some(table) = at.as_object_mut()
        && let Some((_, bound)) = table.iter_mut().find(|(_, value)| value.is_i64())
    {
        *bound = json!(bound.as_i64().unwrap() + if choice.is_multiple_of(4) { 1 } else { -1 });
        return schema;
    }
    match (at.as_object_mut(), other.as_object()) {
        // A keyword of the other one, or one less.
        (Some(table), Some(keywords)) if choice.is_multiple_of(3) => {
            if let Some((name, value)) = keywords.iter().nth(choice % 2) {
                table.insert(name.clone(), value.clone());
            }
        }
        (Some(table), _) if choice % 3 == 1 && !table.contains_key("$ref") => {
            let name = table.keys().nth(choice % 4).cloned();
            name.map(|name| table.remove(&name));
        }
        _ => *at = other.clone(),
    }
    schema
}

fn rooted(schema: &Value, definition: &Value) -> Value {
    json!({ "properties": { "root": schema }, "$defs": { "t": definition } })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_is_called_harmless_refuses_no_document_and_takes_none_more(
        first in schema(),
        other in schema(),
        definitions in (scalar_schema(), scalar_schema()),
        same in any::<bool>(),
        choice in any::<u16>(),
        documents in proptest::collection::vec(document(), 60),
    ) {
        let plain = |schema: Value| if schema.to_string().contains("$ref") { json!({ "type": "string" }) } else { schema };
        let (one, two) = (plain(definitions.0), plain(definitions.1));
        let before = rooted(&first, &one);
        let after = rooted(&changed(&first, &other, usize::from(choice)), if same { &one } else { &two });
        let (Ok(old), Ok(new)) = (jsonschema::draft202012::new(&before), jsonschema::draft202012::new(&after)) else {
            return Ok(());
        };
        let found = findings(&before, &after);
        for document in documents {
            let document = json!({ "root": document });
            let (took, takes) = (old.is_valid(&document), new.is_valid(&document));
            if took && !takes {
                prop_assert!(found.iter().any(|found| found.breaks_configs), "{before}\n{after}\n{document}");
            }
            if takes && !took {
                // A new key breaks only services that refuse what they do not know, and is told.
                prop_assert!(
                    found.iter().any(|found| found.breaks_services || found.message.starts_with("the key is new")),
                    "{before}\n{after}\n{document}"
                );
            }
        }
        prop_assert_eq!(findings(&before, &before), Vec::new());
    }
}

fn breaks(before: Value, after: Value) -> Vec<(String, bool, bool)> {
    let found = findings(&before, &after);
    found
        .into_iter()
        .map(|found| (found.key, found.breaks_configs, found.breaks_services))
        .collect()
}

#[test]
fn a_change_behind_a_reference_is_told_at_the_key() {
    let schema = |most: i32| {
        json!({
            "properties": { "a": { "$ref": "#/$defs/n", "default": most }, "b": { "items": { "$ref": "#/$defs/n" } } },
            "$defs": { "n": { "maximum": most } },
        })
    };
    let found = breaks(schema(5), schema(4));
    assert_eq!(
        found,
        [
            ("a".to_owned(), true, false),
            ("a".to_owned(), true, false),
            ("b[]".to_owned(), true, false)
        ]
    );
}

#[test]
fn words_for_people_break_nothing() {
    let found = breaks(
        json!({ "title": "A", "description": "x", "x-unit": "s", "examples": [1] }),
        json!({ "title": "B", "x-lockstep-effect": "restart" }),
    );
    assert_eq!(found, [(String::new(), false, false)]);
}

#[test]
fn schemas_that_refer_to_themselves_come_to_an_end() {
    let tree = |most: i32| {
        json!({
            "$ref": "#/$defs/node",
            "$defs": { "node": { "maxProperties": most, "properties": { "left": { "$ref": "#/$defs/node" } } } },
        })
    };
    assert!(breaks(tree(2), tree(2)).is_empty());
    assert!(breaks(tree(2), tree(1)).iter().all(|found| found.1));
    let endless = json!({ "$ref": "#" });
    assert!(breaks(endless.clone(), endless).is_empty());
}
