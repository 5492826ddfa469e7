//! The operator's own policy: it judges beside the repository's, and no change touches it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::sync::Arc;

use common::Repo;
use lockstep_core::diagnostic::{self, Code, Style};
use lockstep_core::policy::OperatorPolicy;
use lockstep_core::validate::{Scope, Way, asks_for_way, validate};

const PATH: &str = "/etc/lockstep/policy.toml";

fn operator(text: &str) -> OperatorPolicy {
    OperatorPolicy::read(PATH, Arc::from(format!("version = 1\n{text}").as_bytes())).unwrap()
}

/// What is said of a revision, with the lines that are pointed at.
fn judged(repo: &Repo, operator: &OperatorPolicy) -> (Vec<Code>, String) {
    let way = Way {
        operator: Some(operator),
        ..Way::default()
    };
    let report = validate(&repo.candidate(), None, way, Scope::All);
    let mut files = repo.files.clone();
    files.insert(PATH.to_owned(), Arc::clone(&operator.text));
    let codes = report.diagnostics().iter().map(|it| it.code).collect();
    (codes, diagnostic::text(&report, &files, Style::default()))
}

#[test]
fn its_rules_judge_with_no_policy_in_the_repository_and_name_their_file() {
    let rule = "[[rule]]\nname = \"few\"\ndocument = \"a.toml\"\nexpression = \"self.n <= 3\"\n";
    let mut repo = Repo::new("");
    repo.add("a.toml", "n = 5");
    let (codes, text) = judged(&repo, &operator(rule));
    assert_eq!(codes, [Code::RuleBroken]);
    for words in [
        "a.toml:1:5",
        "rule `few` at /etc/lockstep/policy.toml:5:14",
        "of the operator's policy",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    // A rule that cannot be evaluated is told at its own line.
    let (codes, text) = judged(&repo, &operator(&rule.replace("self.n <=", "self.m <=")));
    assert_eq!(codes, [Code::RuleFailed]);
    assert!(text.contains("/etc/lockstep/policy.toml:5:14"), "{text}");
    let old = operator(&rule.replace("<= 3", "<= oldSelf.n"));
    assert!(asks_for_way(&repo.candidate(), &repo.candidate(), Some(&old)));
}

#[test]
fn the_stricter_limit_wins_and_what_it_does_not_say_is_not_limited() {
    let mut repo = Repo::new("");
    repo.add(
        ".lockstep/policy.toml",
        "version = 1\n[limits]\nfile_bytes = 20_000_000\n",
    )
    .add("a.bin", vec![0; 11 << 20])
    .add("b.bin", "b");
    assert_eq!(judged(&repo, &operator("")).0, []);
    let (codes, text) = judged(&repo, &operator("[limits]\nfiles = 1\nfile_bytes = 10\n"));
    assert_eq!(codes, [Code::FileCount, Code::FileSize]);
    assert!(
        text.contains("`limits.files` of the operator's policy /etc/lockstep/policy.toml"),
        "{text}"
    );
    // Where the repository's is stricter, that one is named.
    repo.add(
        ".lockstep/policy.toml",
        "version = 1\n[limits]\nfile_bytes = 10\n",
    );
    let (codes, text) = judged(&repo, &operator("[limits]\nfile_bytes = 1000\n"));
    assert_eq!(codes, [Code::FileSize]);
    assert!(
        text.contains("raise `limits.file_bytes` in .lockstep/policy.toml"),
        "{text}"
    );
}

#[test]
fn its_patterns_look_for_secrets_too() {
    let mut repo = Repo::new("");
    repo.add("a.txt", "BRK-12345678");
    let own = operator("[secrets]\npatterns = [{ name = \"broker\", regex = \"BRK-[0-9]{8}\" }]\n");
    assert_eq!(judged(&repo, &own).0, [Code::Secret]);
}

#[test]
fn a_damaged_one_is_refused_with_its_places() {
    for (text, words) in [
        ("version = ", "/etc/lockstep/policy.toml:1:"),
        ("version = 2", "this build knows version 1"),
        (
            "version = 1\n[[document]]\npath = \"a.toml\"\nschema = \"s.json\"",
            "the operator's policy has no `document`",
        ),
        (
            "version = 1\n[[rule]]\nname = \"a\"\ndocument = \"a.toml\"\nexpression = \"self.\"",
            "/etc/lockstep/policy.toml:5:",
        ),
        (
            "version = 1\n[secrets]\npatterns = [{ name = \"a\", regex = \"(\" }]",
            "LS0214",
        ),
    ] {
        let bytes: Arc<[u8]> = Arc::from(text.as_bytes());
        let report = OperatorPolicy::read(PATH, Arc::clone(&bytes)).unwrap_err();
        let files = [(PATH.to_owned(), bytes)].into();
        let told = diagnostic::text(&report, &files, Style::default());
        assert!(told.contains(words), "{words}: {told}");
    }
}
