//! What holds for every text and every pair of revisions.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::Repo;
use lockstep_core::diagnostic::{self, Report, Style};
use lockstep_core::document::{Document, Syntax};
use lockstep_core::plan::{PlanInput, ServiceEffect, Snapshot, plan};
use lockstep_core::reads::Reads;
use lockstep_core::validate::{Scope, Way, validate};
use proptest::collection::vec;
use proptest::prelude::*;

const SCHEMA: &str = include_str!("diagnostics/schema.json");
const POLICY: &str = "version = 1\n[[document]]\npath = \"c.toml\"\nschema = \"s.json\"\n";

/// Pieces of TOML, right and wrong, so that random texts get past the first character.
fn toml_like() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-c]{1,2}",
        "[0-9]{1,3}",
        Just("trading".to_owned()),
        Just("universe.symbols".to_owned()),
        Just("listener".to_owned()),
        Just("source".to_owned()),
        Just("kind".to_owned()),
        Just("labels".to_owned()),
        Just("\"text\"".to_owned()),
        Just("'ä\u{1F600}'".to_owned()),
        Just("\"\"\"".to_owned()),
        Just("2026-01-31".to_owned()),
        Just("inf".to_owned()),
        Just("\u{feff}".to_owned()),
        Just("\r\n".to_owned()),
        "[=\\[\\]{},.\"'# \n\\\\+-]",
        Just(" = ".to_owned()),
        Just("\n[".to_owned()),
        Just("]\n".to_owned()),
        Just("\n[[".to_owned()),
        Just("]]\n".to_owned()),
    ];
    vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Pieces of JSON and YAML, right and wrong.
fn json_and_yaml_like() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-c]{1,2}",
        "-?[0-9]{1,25}",
        Just("trading".to_owned()),
        Just("\"kind\": ".to_owned()),
        Just("\"labels\": {".to_owned()),
        Just("source: ".to_owned()),
        Just("\"t\\u00e4\"".to_owned()),
        Just("\"\\ud800\"".to_owned()),
        Just("'ä\u{1F600}'".to_owned()),
        Just("&a ".to_owned()),
        Just("*a".to_owned()),
        Just("!!str ".to_owned()),
        Just("<<: ".to_owned()),
        Just("|\n  ".to_owned()),
        Just("? ".to_owned()),
        Just("---\n".to_owned()),
        Just(".nan".to_owned()),
        Just("1e999".to_owned()),
        Just("null".to_owned()),
        Just("\u{feff}".to_owned()),
        Just("\r\n".to_owned()),
        "[\\[\\]{},:\"'# \n\t\\\\+-]",
        Just("\n- ".to_owned()),
        Just("\n  ".to_owned()),
        Just(": ".to_owned()),
        Just("}".to_owned()),
    ];
    let shape = prop_oneof![
        Just(("", "")),
        Just(("{\"a\": ", "}")),
        Just(("[", "]")),
        Just(("a: ", "\n"))
    ];
    (shape, vec(piece, 0..30)).prop_map(|((open, close), pieces)| format!("{open}{}{close}", pieces.concat()))
}

fn judged(files: &[(&str, &[u8])]) -> (Repo, Report) {
    let mut repo = Repo::new("");
    for (path, contents) in files {
        repo.add(path, contents);
    }
    let report = validate(&repo.candidate(), None, Way::default(), Scope::All);
    (repo, report)
}

/// Spans lie inside their text at character boundaries, and every renderer copes.
fn sound(repo: &Repo, report: &Report) {
    for it in report.diagnostics() {
        if let Some(span) = &it.span {
            let text = std::str::from_utf8(&repo.files[&it.path]).unwrap();
            assert!(
                span.start <= span.end && text.get(span.clone()).is_some(),
                "{it:?} in {text:?}"
            );
        }
        for related in &it.related {
            let text = std::str::from_utf8(&repo.files[&related.path]).unwrap();
            assert!(text.get(related.span.clone()).is_some(), "{related:?}");
        }
        assert!(!it.message.is_empty() && !it.message.ends_with('.'), "{it:?}");
    }
    let text = diagnostic::text(
        report,
        &repo.files,
        Style {
            color: true,
            width: 80,
            ..Style::default()
        },
    );
    assert_eq!(text.is_empty(), report.is_empty());
    let json = diagnostic::json(report, &repo.files);
    assert_eq!(json.as_array().unwrap().len(), report.diagnostics().len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn no_document_breaks_validation(text in toml_like()) {
        let (repo, report) =
            judged(&[(".lockstep/policy.toml", POLICY.as_bytes()), ("s.json", SCHEMA.as_bytes()), ("c.toml", text.as_bytes())]);
        sound(&repo, &report);
    }

    #[test]
    fn no_json_and_no_yaml_breaks_validation(text in json_and_yaml_like()) {
        for name in ["c.json", "c.yaml"] {
            let policy = POLICY.replace("c.toml", name);
            let (repo, report) =
                judged(&[(".lockstep/policy.toml", policy.as_bytes()), ("s.json", SCHEMA.as_bytes()), (name, text.as_bytes())]);
            sound(&repo, &report);
        }
    }

    #[test]
    fn json_is_read_as_its_parser_reads_it_and_yaml_reads_it_the_same(text in json_and_yaml_like()) {
        let read = |name, syntax| Document::parse(name, text.as_bytes(), syntax).ok();
        let json = read("c.json", Syntax::Json);
        let expected = serde_json::from_str::<serde_json::Value>(&text).ok();
        // Duplicates and numbers beyond 64 bits are refused here alone.
        if let Some(json) = &json {
            prop_assert_eq!(Some(json.value()), expected.as_ref());
        }
        if let (Some(json), Some(yaml)) = (json, read("c.yaml", Syntax::Yaml)) {
            prop_assert_eq!(json.value(), yaml.value());
        }
    }

    #[test]
    fn no_bytes_break_validation(bytes in vec(any::<u8>(), 0..200)) {
        let (repo, report) = judged(&[("c.toml", &bytes)]);
        sound(&repo, &report);
        let (repo, report) = judged(&[(".lockstep/policy.toml", &bytes), ("c.toml", b"")]);
        sound(&repo, &report);
        let (repo, report) = judged(&[(".lockstep/policy.toml", POLICY.as_bytes()), ("s.json", &bytes), ("c.toml", b"")]);
        sound(&repo, &report);
    }

    #[test]
    fn no_policy_breaks_validation(text in toml_like(), tail in toml_like()) {
        let policy = format!("version = 1\n{text}\n[[document]]\npath = \"c.toml\"\n{tail}");
        let (repo, report) = judged(&[(".lockstep/policy.toml", policy.as_bytes()), ("c.toml", b"a = 1")]);
        sound(&repo, &report);
    }

    #[test]
    fn each_key_and_value_stands_where_it_is_said_to(text in toml_like()) {
        if let Ok(document) = Document::parse("c.toml", text.as_bytes(), Syntax::Toml) {
            for key in document.value().as_object().unwrap().keys() {
                let path = lockstep_core::document::KeyPath::root().key(key);
                let written = &text[document.key_span(&path)];
                prop_assert!(written.contains(key.as_str()) || written.contains(['"', '\'', '\\']), "{key} at {written:?}");
            }
        }
    }
}

/// A small document whose values come from few choices, so that two of them often agree.
fn document() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just("1"),
        Just("1.0"),
        Just("2"),
        Just("\"1\""),
        Just("[1, 2]"),
        Just("[1, 3]"),
        Just("{}"),
        Just("{ p = 1 }"),
        Just("{ p = 2 }"),
        Just("[{ p = 1 }]"),
        Just("2026-01-31"),
        Just("\"2026-01-31\""),
        Just("inf"),
        Just("-0.0"),
        Just("0.0"),
    ];
    let line = (
        "[abc]",
        prop_oneof![Just(""), Just(".x"), Just(".y")],
        value,
        prop_oneof![Just(""), Just(" # note")],
    );
    vec(line, 0..5).prop_map(|lines| {
        lines
            .into_iter()
            .map(|(key, below, value, note)| format!("{key}{below} = {value}{note}\n"))
            .collect()
    })
}

fn revision() -> impl Strategy<Value = Repo> {
    (document(), document(), proptest::option::of("[xy]{0,2}"), any::<bool>()).prop_map(|(one, two, data, policy)| {
        let mut repo = Repo::new("");
        repo.add("one.toml", one).add("sub/two.toml", two);
        if let Some(data) = data {
            repo.add("sub/data.csv", data);
        }
        if policy {
            let effects = "[[effect]]\nkeys = [\"a\", \"*.x\"]\nrestart = [\"s0\"]\n[[effect]]\nkeys = [\"b\"]\nrestart = true\n";
            repo.add(".lockstep/policy.toml", format!("version = 1\n{effects}"));
        }
        repo
    })
}

fn all_reads() -> Vec<Reads> {
    let entries: [&[&str]; 7] = [
        &["**"],
        &["one.toml#a"],
        &["one.toml#a.x", "sub/*.csv"],
        &["*.toml#b"],
        &["**/*.toml#c.y"],
        &["sub/**"],
        &["absent.toml", "sub/two.toml#a", "one.toml#b.p"],
    ];
    entries
        .iter()
        .map(|entries| Reads::parse(&entries.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()).unwrap())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_service_is_unaffected_exactly_when_what_it_reads_is_the_same(from in revision(), to in revision()) {
        let live = Snapshot::of(&from.candidate(), None);
        let candidate = Snapshot::of(&to.candidate(), Some(&live));
        let reads = all_reads();
        let names: Vec<_> = (0..reads.len()).map(|at| format!("s{at}")).collect();
        let services: Vec<_> = reads
            .iter()
            .zip(&names)
            .map(|(reads, name)| PlanInput { name, reads, reload_is_restart: false })
            .collect();
        let there = plan(Some(&live), &candidate, &services);
        for (planned, reads) in there.services.iter().zip(&reads) {
            let same = reads.digest(live.published()) == reads.digest(candidate.published());
            prop_assert_eq!(planned.effect == ServiceEffect::Unaffected, same, "{:?} {:?}", reads, there);
        }
        // A key that changed is a key that differs, and one that did not is not listed.
        for change in &there.changes {
            prop_assert!(change.old.is_some() || change.new.is_some());
        }
        // The way back touches the same services.
        let back = plan(Some(&candidate), &live, &services);
        prop_assert_eq!(there.undo, lockstep_core::plan::Undo::Release { services: back.services });
        let _ = lockstep_core::plan::text(&plan(None, &candidate, &services));
    }

    #[test]
    fn a_plan_from_a_revision_to_itself_touches_nobody(revision in revision()) {
        let one = Snapshot::of(&revision.candidate(), None);
        let again = Snapshot::of(&revision.candidate(), Some(&one));
        let reads = all_reads();
        let services: Vec<_> =
            reads.iter().map(|reads| PlanInput { name: "s", reads, reload_is_restart: true }).collect();
        for (from, to) in [(&one, &one), (&one, &again), (&again, &one)] {
            let plan = plan(Some(from), to, &services);
            prop_assert!(plan.changes.is_empty() && plan.files.is_empty());
            prop_assert!(plan.services.iter().all(|service| service.effect == ServiceEffect::Unaffected));
        }
    }
}
