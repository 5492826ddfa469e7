//! `lockstep schema diff`: what it says of a change, in words and in JSON.

use crate::harness::{Folder, Repo, SCHEMA};

const OLD: &str = r#"{
  "type": "object",
  "properties": {
    "mode": { "enum": ["PAPER", "LIVE"], "default": "PAPER" },
    "max": { "type": "integer", "minimum": 1, "maximum": 100, "default": 5 },
    "share": { "type": "number", "exclusiveMinimum": 0, "maximum": 1 },
    "legacy": { "type": "string" },
    "names": { "type": "array", "items": { "type": "string", "pattern": "^[A-Z]+$" }, "uniqueItems": true }
  },
  "required": ["mode"],
  "additionalProperties": false
}
"#;

const NEW: &str = r#"{
  "type": "object",
  "properties": {
    "mode": { "enum": ["PAPER", "LIVE", "REPLAY"], "default": "LIVE" },
    "max": { "type": "integer", "minimum": 1, "maximum": 50, "default": 5, "title": "Most" },
    "share": { "type": "number", "minimum": 0, "maximum": 1 },
    "names": { "type": "array", "items": { "type": "string" }, "uniqueItems": true },
    "account": { "type": "string" },
    "note": { "type": "string", "default": "" }
  },
  "required": ["account"],
  "additionalProperties": false
}
"#;

#[test]
fn each_change_is_told_with_its_place_and_whom_it_breaks() {
    let folder = Folder::new();
    folder.write("old.json", OLD);
    folder.write("new.json", NEW);
    folder.write(
        "more.json",
        &OLD.replace(
            "\"legacy\"",
            "\"note\": { \"type\": \"string\" },\n    \"legacy\"",
        ),
    );
    folder.write("broken.json", "{");
    folder.case(
        "schema-diff",
        &[
            &["schema", "diff", "old.json", "new.json"],
            &["schema", "diff", "old.json", "new.json", "--json"],
            &["schema", "diff", "old.json", "more.json"],
            &["schema", "diff", "old.json", "old.json"],
            &["schema", "diff", "old.json", "broken.json"],
            &["schema", "diff", "none.json", "old.json"],
            &["schema", "diff", "HEAD:none.json", "old.json"],
            &["schema", "diff", "--help"],
        ],
    );
}

#[test]
fn a_schema_is_found_in_a_revision() {
    let repo = Repo::new();
    repo.write(
        ".lockstep/schema.json",
        &SCHEMA.replace("\"minimum\": 1", "\"minimum\": 2"),
    );
    repo.case(
        "schema-diff-revision",
        &[
            &[
                "schema",
                "diff",
                "HEAD:.lockstep/schema.json",
                ".lockstep/schema.json",
            ],
            &["schema", "diff", "HEAD:none.json", ".lockstep/schema.json"],
        ],
    );
}
