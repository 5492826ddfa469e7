//! What `--format sarif` prints is judged by the schema that is published for it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::disallowed_methods, reason = "the cases are files")]

mod common;

use std::path::Path;

use common::Repo;
use lockstep_core::diagnostic::{Code, Diagnostic, Report, Severity, Sources, sarif};
use lockstep_core::validate::{Scope, Way, validate};
use serde_json::{Value, json};

const SCHEMA: &str = include_str!("diagnostics/schema.json");

/// The mistakes that the published schema finds.
fn refused(log: &Value) -> Vec<String> {
    let mut schema: Value = serde_json::from_str(include_str!("sarif/sarif-schema-2.1.0.json")).unwrap();
    // They have a bracket too many for a strict reader of regular expressions; neither property is printed.
    for holder in ["run", "toolComponent"] {
        let language = &mut schema["definitions"][holder]["properties"]["language"];
        assert!(language.as_object_mut().unwrap().remove("pattern").is_some());
    }
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .build(&schema)
        .unwrap();
    validator
        .iter_errors(log)
        .map(|error| format!("{error} at {}", error.instance_path()))
        .collect()
}

fn judged(document: &str, text: &str) -> (Repo, Value) {
    let mut repo = Repo::new("");
    let policy = format!("version = 1\n[[document]]\npath = \"{document}\"\nschema = \"s.json\"\n");
    repo.add(".lockstep/policy.toml", policy)
        .add("s.json", SCHEMA)
        .add(document, text);
    let report = validate(&repo.candidate(), None, Way::default(), Scope::All);
    let log = sarif(&report, &repo.files);
    (repo, log)
}

fn results(log: &Value) -> &Vec<Value> {
    log["runs"][0]["results"].as_array().unwrap()
}

#[test]
fn the_published_schema_takes_each_case_and_would_refuse_a_wrong_one() {
    let cases = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics")).unwrap();
    let mut found = 0;
    for case in cases.map(|case| case.unwrap().path()) {
        let name = case.file_name().unwrap().to_str().unwrap();
        if name.ends_with(".txt") || name.starts_with("schema") || name.starts_with("policy") {
            continue;
        }
        let (_, log) = judged(name, &String::from_utf8(std::fs::read(&case).unwrap()).unwrap());
        assert_eq!(refused(&log), [""; 0], "{name}");
        found += results(&log).len();
    }
    assert!(found > 100, "{found}");
    let (_, mut log) = judged("c.toml", "x = 1");
    log["runs"][0]["results"][0]["level"] = json!("bad");
    assert_eq!(refused(&log).len(), 1);
    assert_eq!(refused(&sarif(&Report::default(), &Sources::new())), [""; 0]);
}

#[test]
fn a_result_names_its_rule_place_key_the_schemas_line_and_what_to_write() {
    let (_, log) = judged(
        "a b/ä:c.toml",
        "[trading]\nmode = \"PAPAR\"\nmax_position = 5\n[universe]\n",
    );
    let [mode, key] = &results(&log)[..] else {
        panic!("{log:#}")
    };
    let rules = &log["runs"][0]["tool"]["driver"]["rules"];
    let rule = |result: &Value| &rules[usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap()];
    assert_eq!(rule(mode)["id"], mode["ruleId"]);
    assert_eq!(rule(key)["id"], "LS0111");
    assert_eq!(rule(key)["shortDescription"]["text"], "unknown key");
    assert!(
        rule(key)["help"]["markdown"]
            .as_str()
            .unwrap()
            .contains("## What to do")
    );
    let place = &key["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "a%20b/%C3%A4%3Ac.toml");
    assert_eq!(
        place["region"],
        json!({ "startLine": 3, "startColumn": 1, "endLine": 3, "endColumn": 13 })
    );
    assert_eq!(
        key["locations"][0]["logicalLocations"][0]["fullyQualifiedName"],
        "trading.max_position"
    );
    assert_eq!(
        key["relatedLocations"][0]["physicalLocation"]["artifactLocation"]["uri"],
        "s.json"
    );
    let fix = |result: &Value| result["fixes"][0]["artifactChanges"][0]["replacements"][0].clone();
    assert_eq!(fix(key)["insertedContent"]["text"], "max_positions");
    assert_eq!(fix(key)["deletedRegion"], place["region"]);
    assert_eq!(fix(mode)["insertedContent"]["text"], "\"PAPER\"");
}

#[test]
fn what_a_fix_writes_is_right_in_each_syntax() {
    for (name, text) in [
        (
            "c.toml",
            "trading.mode = 'PAPAR'\ntrading.max_position = 5\nuniverse = {}\n",
        ),
        (
            "c.json",
            "{\"trading\": {\"mode\": \"PAPAR\", \"max_position\": 5}, \"universe\": {}}",
        ),
        (
            "c.yaml",
            "trading:\n  mode: 'PAPAR'\n  max_position: 5\nuniverse: {}\n",
        ),
    ] {
        let mut repo = Repo::new("");
        let policy = format!("version = 1\n[[document]]\npath = \"{name}\"\nschema = \"s.json\"\n");
        repo.add(".lockstep/policy.toml", policy)
            .add("s.json", SCHEMA)
            .add(name, text);
        let report = validate(&repo.candidate(), None, Way::default(), Scope::All);
        assert_eq!(report.diagnostics().len(), 2, "{name}");
        let mut mended = text.to_owned();
        for it in report.diagnostics().iter().rev() {
            mended.replace_range(it.span.clone().unwrap(), it.fix.as_ref().unwrap());
        }
        repo.add(name, &mended);
        let report = validate(&repo.candidate(), None, Way::default(), Scope::All);
        assert!(report.is_empty(), "{mended}: {report:?}");
    }
}

#[test]
fn a_fingerprint_outlives_lines_that_move_and_tells_twins_apart() {
    let prints = |text: &str| -> Vec<Value> {
        let (_, log) = judged("c.toml", text);
        let each = results(&log).iter();
        each.map(|result| result["partialFingerprints"]["lockstep/v1"].clone())
            .collect()
    };
    let text = "[trading]\nmode = 1\nlot = 1\n[universe]\n";
    assert_eq!(prints(text), prints(&format!("# moved\n\n{text}")));
    assert_ne!(prints(text), prints(&text.replace("lot = 1", "lot = 2")));
    let twin = |at: usize| Diagnostic {
        severity: Severity::Warning,
        ..Diagnostic::error(Code::RuleBroken, "a.toml", "same").at(at..at + 1)
    };
    let log = sarif(&Report::new([twin(1), twin(5)]), &Sources::new());
    let [one, two] = &results(&log)[..] else {
        panic!("{log:#}")
    };
    assert_ne!(one["partialFingerprints"], two["partialFingerprints"]);
    assert_eq!(one["level"], "warning");
    assert!(one["locations"][0]["physicalLocation"].get("region").is_none());
}
