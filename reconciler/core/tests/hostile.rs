//! A change brings its own schema and policy: they cannot exhaust what judges them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::Repo;
use lockstep_core::diagnostic::{Code, LISTED, Report, Style, text};
use lockstep_core::validate::{Scope, Way, validate};

const POLICY: &str = "version = 1\n[[document]]\npath = \"c.toml\"\nschema = \"s.json\"\n";

fn judged(schema: &str, document: &str) -> Report {
    let mut repo = Repo::new("");
    repo.add(".lockstep/policy.toml", POLICY)
        .add("s.json", schema)
        .add("c.toml", document);
    validate(&repo.candidate(), None, Way::default(), Scope::All)
}

fn codes(report: &Report) -> Vec<Code> {
    report.diagnostics().iter().map(|it| it.code).collect()
}

/// A document with one table inside another, `depth` times.
fn nested(depth: usize) -> String {
    format!("a = {}1{}", "{ x = ".repeat(depth), " }".repeat(depth))
}

/// A schema of `length` definitions in which each is made of the next one by `link`.
fn chain(length: usize, link: impl Fn(String) -> String) -> String {
    let defs: Vec<_> = (0..length)
        .map(|i| {
            format!(
                "\"a{i}\": {}",
                link(format!("{{\"$ref\": \"#/$defs/a{}\"}}", i + 1))
            )
        })
        .collect();
    format!(
        "{{\"$ref\": \"#/$defs/a0\", \"$defs\": {{ {}, \"a{length}\": {{}} }} }}",
        defs.join(", ")
    )
}

#[test]
fn a_schema_that_unfolds_without_end_is_refused() {
    let schema = chain(40, |next| format!("{{\"allOf\": [{next}, {next}]}}"));
    assert_eq!(codes(&judged(&schema, "a = 1")), [Code::SchemaEffort]);
    let schema = chain(40, |next| format!("{{\"not\": {{\"anyOf\": [{next}, {next}]}}}}"));
    assert_eq!(codes(&judged(&schema, "a = 1")), [Code::SchemaEffort]);
    let inner = chain(40, |next| format!("{{\"allOf\": [{next}, {next}]}}"));
    let schema = format!(
        "{{\"propertyNames\": {{\"$ref\": \"#/$defs/a0\"}}, {}",
        inner.split_once(',').unwrap().1
    );
    assert_eq!(codes(&judged(&schema, "a = 1")), [Code::SchemaEffort]);
}

#[test]
fn a_schema_that_unfolds_with_the_document_is_refused() {
    let schema =
        r##"{"allOf": [{"additionalProperties": {"$ref": "#"}}, {"additionalProperties": {"$ref": "#"}}]}"##;
    assert_eq!(codes(&judged(schema, &nested(60))), [Code::SchemaEffort]);
    assert!(judged(schema, &nested(5)).is_empty());
}

#[test]
fn a_chain_of_references_cannot_run_the_stack_out() {
    for length in [590, 1_400, 3_000] {
        let report = judged(&chain(length, |next| next), "a = 1");
        assert!(
            report
                .diagnostics()
                .iter()
                .all(|it| it.code == Code::SchemaEffort)
        );
        let report = judged(
            &chain(length, |next| {
                format!("{{\"properties\": {{\"x\": {{\"not\": {next}}}}}}}")
            }),
            &nested(70),
        );
        assert!(
            report
                .diagnostics()
                .iter()
                .all(|it| it.code == Code::SchemaEffort)
        );
    }
    assert_eq!(
        codes(&judged(&chain(20_000, |next| next), "a = 1")),
        [Code::SchemaEffort]
    );
}

#[test]
fn a_schema_that_refers_to_itself_ends() {
    assert!(judged(r##"{"$ref": "#"}"##, "a = 1").is_empty());
    assert!(
        judged(
            r##"{"anyOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"allOf": [{"$ref": "#"}]}}}"##,
            "a = 1"
        )
        .is_empty()
    );
    let list = r##"{"properties": {"x": {"$ref": "#"}, "a": {"$ref": "#"}}}"##;
    assert!(judged(list, &nested(70)).is_empty());
}

#[test]
fn a_real_schema_of_many_definitions_is_not_refused() {
    let properties: Vec<_> = (0..400)
        .map(|i| format!("\"k{i}\": {{\"$ref\": \"#/$defs/t{i}\"}}"))
        .collect();
    let defs: Vec<_> = (0..400)
        .map(|i| format!("\"t{i}\": {{\"type\": \"object\", \"properties\": {{\"x\": {{\"$ref\": \"#/$defs/t{}\"}}}}}}", (i + 1) % 400))
        .collect();
    let schema = format!(
        "{{\"properties\": {{ {} }}, \"$defs\": {{ {} }} }}",
        properties.join(", "),
        defs.join(", ")
    );
    assert!(judged(&schema, "k1 = {}\n[k2.x.x.x]\n").is_empty());
}

#[test]
fn a_flood_of_mistakes_is_cut_and_says_so() {
    let document = format!("a = [{}]", "1,".repeat(20_000));
    let report = judged(
        r#"{"properties": {"a": {"items": {"type": "string"}}}}"#,
        &document,
    );
    assert_eq!(report.diagnostics().len(), 1_001);
    let last = report.diagnostics().last().unwrap();
    assert_eq!(last.code, Code::MoreMistakes);
    assert!(
        last.message.contains("more mistakes in 1 file: c.toml"),
        "{}",
        last.message
    );
    let report = judged("{}", &"a =\n".repeat(5_000));
    assert_eq!(report.diagnostics().len(), 1_001);
}

#[test]
fn a_flood_of_files_is_cut_and_says_so() {
    let mut repo = Repo::new("");
    for at in 0..5_000 {
        repo.add(&format!("{at:04}.toml"), "a =");
    }
    let report = validate(&repo.candidate(), None, Way::default(), Scope::All);
    assert_eq!(report.diagnostics().len(), LISTED + 1);
    let last = report.diagnostics().last().unwrap();
    assert_eq!(
        last.message,
        "and 4000 more mistakes in 4000 files: 1000.toml, 1001.toml, 1002.toml, 1003.toml, 1004.toml, …"
    );
    let style = Style {
        bytes: 10_000,
        ..Style::default()
    };
    let text = text(&report, &repo.files, style);
    assert!(text.len() < 11_000, "{}", text.len());
    assert!(text.contains("and 4000 more mistakes in 4000 files"), "{text}");
    assert!(text.contains(" of these are left out here"), "{text}");
    assert!(text.contains("1001 errors; "), "{text}");
}

#[test]
fn a_long_text_of_mistakes_alone_costs_no_more_than_its_first() {
    // With a diagnostic for each of these lines, judging them would take gigabytes.
    let report = judged("{}", &"=\n".repeat(3 << 20));
    assert_eq!(codes(&report), [Code::TomlSyntax]);
}

#[test]
fn long_keys_above_many_values_are_refused() {
    // Each value's place holds the keys above it, so this text of 6 MB would take a terabyte.
    let values: String = (0..300_000).map(|at| format!("a{at} = inf\n")).collect();
    let long = format!("[{}]\n{values}", "k".repeat(3 << 20));
    assert_eq!(codes(&judged("{}", &long)), [Code::LongKeys]);
    // Here no key is too long alone.
    let deep = format!("[{}]\n{values}", vec!["k".repeat(1_000); 60].join("."));
    assert_eq!(codes(&judged("{}", &deep)), [Code::LongKeys]);
}

#[test]
fn a_pattern_that_backtracks_without_end_is_stopped() {
    let document = format!("a = \"{}!\"", "a".repeat(60));
    let report = judged(r#"{"properties": {"a": {"pattern": "^(a+)+(?=b)$"}}}"#, &document);
    assert!(report.has_errors());
}
