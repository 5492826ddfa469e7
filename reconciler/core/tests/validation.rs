//! What a whole revision is judged by: policy or none, limits of candidate and base, schemas in several files.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{Repo, judged};
use lockstep_core::diagnostic::{Code, Report};
use lockstep_core::policy::{gather, references};
use lockstep_core::validate::{Scope, Way, validate};

const POLICY: &str = r#"
version = 1
[[document]]
path = "config/config.toml"
schema = ".lockstep/schema/trading.json"
"#;

fn codes(report: &Report) -> Vec<(&str, Code)> {
    report
        .diagnostics()
        .iter()
        .map(|it| (it.path.as_str(), it.code))
        .collect()
}

fn with_policy(schema: &str) -> Repo {
    let mut repo = Repo::new("config");
    repo.add(".lockstep/policy.toml", POLICY);
    repo.add(".lockstep/schema/trading.json", schema);
    repo.add("config/config.toml", "port = 1\n");
    repo
}

#[test]
fn without_a_policy_each_published_toml_is_checked_for_syntax() {
    let mut repo = Repo::new("");
    repo.add("a.toml", "a = ")
        .add("sub/b.toml", "b = 1")
        .add("c.txt", "c = ")
        .add("d.toml", [0xff]);
    assert_eq!(
        codes(&judged(&repo, None)),
        [("a.toml", Code::TomlSyntax), ("d.toml", Code::NotUtf8)]
    );
}

#[test]
fn without_a_policy_an_unchanged_document_is_not_read_again() {
    let mut base = Repo::new("config");
    base.add("config/old.toml", "a = 1")
        .add("config/gone.toml", "a = 1")
        .add("config/b.toml", "b = 1");
    let mut repo = base.clone();
    repo.remove("config/gone.toml").add("config/b.toml", "b = ");
    repo.files.remove("config/old.toml");
    let base_candidate = base.candidate();
    let scope = Scope::Changed(base_candidate);
    let report = validate(&repo.candidate(), Some(&base_candidate), Way::default(), scope);
    assert_eq!(codes(&report), [("config/b.toml", Code::TomlSyntax)]);
    // With a policy in the base, its other documents were never judged: all are.
    base.add(".lockstep/policy.toml", "version = 1");
    let base_candidate = base.candidate();
    let report = validate(
        &repo.candidate(),
        Some(&base_candidate),
        Way::default(),
        Scope::Changed(base_candidate),
    );
    assert_eq!(
        codes(&report),
        [
            ("config/b.toml", Code::TomlSyntax),
            ("config/old.toml", Code::NotLoaded)
        ]
    );
}

#[test]
fn what_was_not_read_is_never_valid() {
    let mut repo = with_policy("{}");
    repo.files.remove("config/config.toml");
    assert_eq!(
        codes(&judged(&repo, None)),
        [("config/config.toml", Code::NotLoaded)]
    );
}

#[test]
fn a_document_outside_the_published_folder_is_judged_too() {
    let mut repo = with_policy(r#"{"required": ["host"]}"#);
    repo.prefix = "other".into();
    repo.tree = lockstep_core::tree::Tree::new();
    assert_eq!(
        codes(&judged(&repo, None)),
        [("config/config.toml", Code::MissingKey)]
    );
}

#[test]
fn a_schema_may_refer_to_files_beside_it() {
    let mut repo = with_policy(
        r#"{"$id": "https://x.example/t.json", "properties": {"port": {"$ref": "common/net.json#/$defs/port"}}}"#,
    );
    repo.add(
        ".lockstep/schema/common/net.json",
        r##"{"$defs": {"port": {"$ref": "#/$defs/high"}, "high": {"minimum": 1024, "x-unit": "(a port)"}}}"##,
    );
    let report = judged(&repo, None);
    assert_eq!(codes(&report), [("config/config.toml", Code::OutOfRange)]);
    let mistake = &report.diagnostics()[0];
    assert_eq!(mistake.message, "`port` must be at least 1024 (a port), not 1");
    assert_eq!(mistake.related[0].path, ".lockstep/schema/common/net.json");
    assert_eq!(
        references(
            ".lockstep/schema/trading.json",
            &repo.files[".lockstep/schema/trading.json"]
        ),
        [".lockstep/schema/common/net.json"]
    );
}

#[test]
fn a_reference_cannot_climb_out_of_the_repository() {
    let schema = r#"{"properties": {"port": {"$ref": "../../../../etc/passwd"}}}"#;
    assert_eq!(
        codes(&judged(&with_policy(schema), None)),
        [(".lockstep/schema/trading.json", Code::SchemaReference)]
    );
    assert_eq!(
        references(".lockstep/schema/trading.json", schema.as_bytes()),
        ["etc/passwd"]
    );
}

#[test]
fn a_broken_file_that_a_schema_refers_to_is_reported_there() {
    let mut repo = with_policy(r#"{"$ref": "other.json"}"#);
    repo.add(".lockstep/schema/other.json", "{");
    assert_eq!(
        codes(&judged(&repo, None)),
        [(".lockstep/schema/other.json", Code::SchemaSyntax)]
    );
}

#[test]
fn the_lower_of_two_limits_holds_and_is_named() {
    let limits =
        |bytes: u32| format!("version = 1\n[limits]\nfile_bytes = {bytes}\nfiles = 3\ntotal_bytes = 100\n");
    let mut base = Repo::new("config");
    base.add(".lockstep/policy.toml", limits(10))
        .add("config/a.txt", "x".repeat(10));
    let mut repo = base.clone();
    repo.add(".lockstep/policy.toml", limits(20))
        .add("config/b.txt", "x".repeat(15));
    let report = judged(&repo, Some(&base));
    assert_eq!(codes(&report), [("config/b.txt", Code::FileSize)]);
    assert_eq!(
        report.diagnostics()[0].message,
        "the file has 15 bytes; at most 10 bytes are allowed"
    );
    assert!(
        report.diagnostics()[0]
            .help
            .as_ref()
            .unwrap()
            .contains("the base")
    );
    assert!(
        judged(&repo, Some(&repo)).is_empty(),
        "raised in a change of its own, it holds from the next one on"
    );
}

#[test]
fn a_tighter_limit_judges_what_was_there_before() {
    let mut base = Repo::new("config");
    base.add("config/a.txt", "x".repeat(10));
    let mut repo = base.clone();
    repo.add(
        ".lockstep/policy.toml",
        "version = 1\n[limits]\nfile_bytes = 9\nfiles = 1\ntotal_bytes = 9\n",
    );
    repo.add("config/b.txt", "");
    assert_eq!(
        codes(&judged(&repo, Some(&base))),
        [
            ("config", Code::FileCount),
            ("config", Code::TotalSize),
            ("config/a.txt", Code::FileSize)
        ]
    );
}

#[test]
fn a_document_beyond_the_limit_is_not_parsed() {
    let mut repo = with_policy("{}");
    repo.add(
        ".lockstep/policy.toml",
        format!("{POLICY}\n[limits]\nfile_bytes = 8\n"),
    );
    repo.add("config/config.toml", "this is not toml");
    assert_eq!(
        codes(&judged(&repo, None)),
        [("config/config.toml", Code::FileSize)]
    );
}

#[test]
fn a_broken_base_policy_still_limits_and_can_be_mended() {
    let mut base = Repo::new("config");
    base.add(
        ".lockstep/policy.toml",
        "version = 1\n[limits]\nfile_bytes = 5\n[[rule]]\n",
    );
    let mut repo = base.clone();
    repo.add(".lockstep/policy.toml", "version = 1\n")
        .add("config/a.txt", "123456");
    assert_eq!(
        codes(&judged(&repo, Some(&base))),
        [("config/a.txt", Code::FileSize)]
    );
}

#[test]
fn gathering_reads_what_judging_looks_at_and_no_more() {
    let mut repo = with_policy(r#"{"$ref": "common.json"}"#);
    repo.add(".lockstep/schema/common.json", r#"{"$ref": "more.json"}"#);
    repo.add(".lockstep/schema/more.json", "{}");
    repo.add("config/other.toml", "a = 1").add("config/data.csv", "1");
    let reads = lockstep_core::reads::Reads::parse(&["oth*.toml#a".to_owned()]).unwrap();
    let mut asked = Vec::new();
    let read = |path: &str| {
        asked.push(path.to_owned());
        Ok::<_, std::convert::Infallible>(repo.files.get(path).cloned())
    };
    let Ok(sources) = gather(&repo.tree, "config", Scope::All, &[&reads], None, read);
    let expected = [
        ".lockstep/policy.toml",
        ".lockstep/schema/common.json",
        ".lockstep/schema/more.json",
        ".lockstep/schema/trading.json",
        "config/config.toml",
        "config/other.toml",
    ];
    assert_eq!(sources.keys().collect::<Vec<_>>(), expected);
    asked.sort_unstable();
    assert_eq!(asked, expected);
}

#[test]
fn gathering_does_not_follow_what_only_looks_like_a_reference() {
    let mut repo = Repo::new("");
    repo.add(
        ".lockstep/policy.toml",
        POLICY.replace("config/config.toml", "api.json"),
    );
    repo.add(".lockstep/schema/trading.json", "{}");
    repo.add("api.json", r#"{"$ref": "other.json"}"#)
        .add("other.json", "{}");
    let read = |path: &str| Ok::<_, std::convert::Infallible>(repo.files.get(path).cloned());
    let Ok(sources) = gather(&repo.tree, "", Scope::All, &[], None, read);
    assert!(sources.contains_key("api.json") && !sources.contains_key("other.json"));
    assert!(judged(&repo, None).is_empty());
}

#[test]
fn json_and_yaml_are_judged_where_a_policy_names_them_and_nowhere_else() {
    let mut repo = Repo::new("");
    for path in ["a.json", "b.yaml", "c.yml"] {
        repo.add(path, "{ port: ");
    }
    assert!(judged(&repo, None).is_empty());
    repo.add("s.json", r#"{"required": ["port"]}"#);
    let documents = ["a.json", "b.yaml", "c.yml"]
        .map(|path| format!("[[document]]\npath = \"{path}\"\nschema = \"s.json\"\n"));
    repo.add(
        ".lockstep/policy.toml",
        format!("version = 1\n{}", documents.concat()),
    );
    assert_eq!(
        codes(&judged(&repo, None)),
        [
            ("a.json", Code::JsonSyntax),
            ("b.yaml", Code::YamlSyntax),
            ("c.yml", Code::YamlSyntax)
        ]
    );
    for path in ["a.json", "b.yaml", "c.yml"] {
        repo.add(path, r#"{ "ports": 1 }"#);
    }
    assert_eq!(
        codes(&judged(&repo, None)),
        ["a.json", "b.yaml", "c.yml"].map(|path| (path, Code::MissingKey))
    );
}

#[test]
fn gathering_stops_at_references_that_go_round_or_nowhere() {
    let mut repo = with_policy(r#"{"anyOf": [{"$ref": "b.json"}, {"$ref": "gone.json"}]}"#);
    repo.add(".lockstep/schema/b.json", r#"{"$ref": "trading.json"}"#);
    let read = |path: &str| Ok::<_, std::convert::Infallible>(repo.files.get(path).cloned());
    let Ok(sources) = gather(&repo.tree, "config", Scope::All, &[], None, read);
    assert_eq!(sources.len(), 4);
}

#[test]
fn a_schema_is_read_in_the_words_of_its_draft() {
    // A list of schemas in `items` is for single entries up to 2019-09; `$ref` hides what stands beside it up to draft 7.
    let schema = |draft: &str, words: &str| format!(r#"{{"$schema": "{draft}", {words}}}"#);
    let entries =
        r#""properties": {"port": {"items": [{"type": "string"}], "additionalItems": {"type": "integer"}}}"#;
    for draft in [
        "http://json-schema.org/draft-04/schema#",
        "http://json-schema.org/draft-06/schema#",
        "http://json-schema.org/draft-07/schema",
        "https://json-schema.org/draft/2019-09/schema",
    ] {
        let mut repo = with_policy(&schema(draft, entries));
        repo.add("config/config.toml", "port = [\"a\", 1]\n");
        assert_eq!(codes(&judged(&repo, None)), [], "{draft}");
        repo.add("config/config.toml", "port = [1, \"a\"]\n");
        let wrong = ("config/config.toml", Code::WrongType);
        assert_eq!(codes(&judged(&repo, None)), [wrong, wrong], "{draft}");
    }
    let newest = with_policy(&schema("https://json-schema.org/draft/2020-12/schema", entries));
    assert_eq!(
        codes(&judged(&newest, None)),
        [(".lockstep/schema/trading.json", Code::SchemaInvalid)]
    );
    let mut old = with_policy(&schema(
        "http://json-schema.org/draft-07/schema#",
        r##""$id": "https://example.org/a.json", "properties": {"port": {"$ref": "b.json", "minimum": 5}}"##,
    ));
    // The file that it refers to says no draft: it is of the same.
    old.add(
        ".lockstep/schema/b.json",
        r#"{"type": "integer", "dependencies": {"a": ["b"]}}"#,
    );
    assert_eq!(codes(&judged(&old, None)), []);
    old.add("config/config.toml", "port = \"a\"\n");
    assert_eq!(
        codes(&judged(&old, None)),
        [("config/config.toml", Code::WrongType)]
    );
    let exclusive = schema(
        "http://json-schema.org/draft-04/schema#",
        r#""id": "https://example.org/a.json", "properties": {"port": {"minimum": 1, "exclusiveMinimum": true}}"#,
    );
    let report = judged(&with_policy(&exclusive), None);
    assert_eq!(codes(&report), [("config/config.toml", Code::OutOfRange)]);
    assert_eq!(
        report.diagnostics()[0].message,
        "`port` must be more than 1, not 1"
    );
}
