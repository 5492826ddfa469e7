//! What people see: one file a case below `diagnostics/`, the expected text beside it.
//!
//! `NAME.toml`, `NAME.yaml` and `json-NAME.json` are judged by `schema.json`; `policy-NAME.toml` is a policy over a document that is right;
//! `schema-NAME.json` is a schema for it. `UPDATE=1` writes what is missing or differs: read it, then commit it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::disallowed_methods, reason = "the cases are files")]

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use common::Repo;
use lockstep_core::diagnostic::{self, Code, Style};
use lockstep_core::validate::{Scope, Way, validate};

/// A policy for the document of a case.
fn policy(document: &str) -> String {
    format!(
        "version = 1\n\n[[document]]\npath = \"{document}\"\nschema = \".lockstep/schema/trading.json\"\n"
    )
}

const RIGHT: &str = r#"[trading]
mode = "PAPER"
max_positions = 5

[universe]
"#;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics")
}

fn cases() -> BTreeSet<String> {
    let names = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    names
        .map(|name| name.into_string().unwrap())
        .filter(|name| name != "schema.json")
        .collect()
}

fn judged(name: &str) -> Repo {
    let case = std::fs::read(folder().join(name)).unwrap();
    let schema = std::fs::read(folder().join("schema.json")).unwrap();
    let mut repo = Repo::new("config");
    let mut add = |path: &str, standard: &[u8], own: bool| {
        repo.add(path, if own { &case } else { standard });
    };
    let (policy_case, schema_case) = (name.starts_with("policy-"), name.starts_with("schema-"));
    let document = match name.rsplit_once('.').unwrap().1 {
        "json" if !schema_case => "config/config.json",
        "yaml" => "config/config.yaml",
        _ => "config/config.toml",
    };
    add(".lockstep/policy.toml", policy(document).as_bytes(), policy_case);
    add(".lockstep/schema/trading.json", &schema, schema_case);
    add(document, RIGHT.as_bytes(), !policy_case && !schema_case);
    repo
}

#[test]
fn each_case_reads_as_expected() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    // Those of whole revisions are shown in `validation.rs`; what a git tree may not hold, where trees are read:
    // `tests/tests/bad_revisions.rs` and `reconciler/tests/cli`.
    let mut shown = BTreeSet::from([
        Code::NotUtf8,
        Code::MoreMistakes,
        Code::SchemaEffort,
        Code::NotLoaded,
        Code::ApprovalMissing,
        Code::FileSize,
        Code::FileCount,
        Code::TotalSize,
        Code::NotPublishable,
        // Those of `lockstep convert`: `reconciler/tests/cli`.
        Code::YamlUnreadable,
        Code::NoTomlValue,
        Code::SaidDifferently,
        Code::MappingInvalid,
        Code::NotMapped,
        Code::NotConverted,
        Code::Differs,
        // Those of `lockstep schema diff`: `reconciler/tests/cli`.
        Code::BreaksConfigs,
        Code::BreaksServices,
    ]);
    for name in cases().iter().filter(|name| !name.ends_with(".txt")) {
        let repo = judged(name);
        let report = validate(&repo.candidate(), None, Way::default(), Scope::All);
        shown.extend(report.diagnostics().iter().map(|diagnostic| diagnostic.code));
        let text = diagnostic::text(
            &report,
            &repo.files,
            Style {
                color: false,
                width: 100,
                ..Style::default()
            },
        );
        let json = diagnostic::json(&report, &repo.files);
        for (entry, diagnostic) in json.as_array().unwrap().iter().zip(report.diagnostics()) {
            assert_eq!(
                entry["line"].is_u64(),
                diagnostic.span.is_some(),
                "{name}: {diagnostic:?}"
            );
        }
        let expected = folder().join(name).with_extension("txt");
        let before = std::fs::read_to_string(&expected).ok();
        if before.as_ref() != Some(&text) {
            if update {
                std::fs::write(&expected, &text).unwrap();
            }
            wrong.push(format!(
                "--- {name}\n{}\n+++ now\n{text}",
                before.unwrap_or("nothing expected".into())
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let missing: Vec<_> = Code::ALL.iter().filter(|code| !shown.contains(code)).collect();
    assert!(missing.is_empty(), "no case shows {missing:?}");
}

#[test]
fn each_expectation_has_its_case() {
    let cases = cases();
    let with = |name: &str, end: &str| cases.contains(&name.replace(".txt", end));
    let is_there = |name: &str| [".toml", ".json", ".yaml"].iter().any(|end| with(name, end));
    let orphans: Vec<_> = cases
        .iter()
        .filter(|name| name.ends_with(".txt") && !is_there(name))
        .collect();
    assert!(orphans.is_empty(), "{orphans:?}");
}

#[test]
fn the_template_for_a_config_repository_is_right() {
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config-repo-template");
    let mut repo = Repo::new("config");
    for path in [
        ".lockstep/policy.toml",
        ".lockstep/schema/trader.json",
        "config/config.toml",
    ] {
        repo.add(path, std::fs::read(template.join(path)).unwrap());
    }
    let report = validate(&repo.candidate(), None, Way::default(), Scope::All);
    assert!(
        report.is_empty(),
        "{}",
        diagnostic::text(&report, &repo.files, Style::default())
    );
}
