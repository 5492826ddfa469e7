//! Changes that take a second person: which, whose word it is, and what counts as an approval.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::Repo;
use lockstep_core::diagnostic::{self, Code, Report, Severity, Style};
use lockstep_core::policy::{Approval, ApprovalKind, Approvals, OperatorPolicy};
use lockstep_core::validate::{Scope, Way, validate};

const SCHEMA: &str = r#"{
    "type": "object",
    "properties": { "trading": { "type": "object", "default": {}, "properties": {
        "mode": { "type": "string", "default": "PAPER" }, "risk": { "type": "number", "default": 1 },
        "legs": { "type": "array" }, "token": { "type": "string" }
    } } }
}"#;

const MODE: &str = "keys = [\"trading.mode\"]";

fn repo(protect: &str, document: &str) -> Repo {
    let table = match protect {
        "" => String::new(),
        protect => format!("[[protect]]\n{protect}\n"),
    };
    let policy = format!("version = 1\n[[document]]\npath = \"c.toml\"\nschema = \"s.json\"\n{table}");
    let mut repo = Repo::new("");
    repo.add(".lockstep/policy.toml", policy)
        .add("s.json", SCHEMA)
        .add("c.toml", document);
    repo
}

fn judged(candidate: &Repo, base: &Repo, way: Way<'_>) -> Report {
    validate(&candidate.candidate(), Some(&base.candidate()), way, Scope::All)
}

/// As the reconciler judges it.
fn given<'a>(by: &'a [Approval]) -> Way<'a> {
    Way {
        approvals: Approvals::Given { author: "ann", by },
        ..Way::default()
    }
}

fn by(person: &str) -> Approval {
    Approval {
        by: person.to_owned(),
        kind: ApprovalKind::Review,
    }
}

fn keys(report: &Report) -> Vec<String> {
    let lacks = |it: &&diagnostic::Diagnostic| {
        assert_eq!(it.code, Code::ApprovalMissing, "{}", it.message);
        true
    };
    let all = report.diagnostics().iter().filter(lacks);
    all.map(|it| it.key.as_ref().unwrap().to_string()).collect()
}

#[test]
fn a_protected_change_is_refused_with_both_values_and_what_to_do() {
    let base = repo(MODE, "[trading]\nmode = \"PAPER\"\n");
    let candidate = repo(MODE, "[trading]\nmode = \"LIVE\"\nrisk = 2\n");
    let report = judged(&candidate, &base, given(&[]));
    assert!(report.has_errors());
    let text = diagnostic::text(&report, &candidate.files, Style::default());
    for words in [
        "LS0402",
        "c.toml:2:8",
        "`trading.mode` changes from \"PAPER\" to \"LIVE\", which takes the approval of somebody beside its author",
        "0 of 1 so far",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    // Ahead of time nobody can have approved yet: the same words, as a warning.
    let ahead = judged(&candidate, &base, Way::default());
    assert_eq!(keys(&ahead), ["trading.mode"]);
    assert!(!ahead.has_errors() && ahead.count(Severity::Warning) == 1);
    assert_eq!(ahead.diagnostics()[0].message, report.diagnostics()[0].message);
}

#[test]
fn so_many_people_beside_the_author_approve() {
    let protect = format!("{MODE}\napprovals = 2");
    let base = repo(&protect, "");
    let candidate = repo(&protect, "trading.mode = \"LIVE\"");
    for (approvals, enough) in [
        (vec![], false),
        (vec![by("ben")], false),
        (vec![by("ben"), by("ann")], false),
        (vec![by("ben"), by("ben")], false),
        (vec![by("ben"), by("cas")], true),
    ] {
        let report = judged(&candidate, &base, given(&approvals));
        assert_eq!(report.has_errors(), !enough, "{approvals:?}");
    }
}

#[test]
fn no_change_takes_off_its_own_protection() {
    let candidate = |protect| repo(protect, "trading.mode = \"LIVE\"");
    let base = repo(MODE, "");
    for protect in [
        "",
        "keys = [\"trading.risk\"]",
        "keys = [\"trading.mode\"]\nwhen = \"false\"",
    ] {
        let report = judged(&candidate(protect), &base, given(&[]));
        assert_eq!(keys(&report), ["trading.mode"], "{protect}");
    }
    // One that the change brings holds for it already, and without any it passes.
    assert!(judged(&candidate(MODE), &repo("", ""), given(&[])).has_errors());
    assert!(judged(&candidate(""), &repo("", ""), given(&[])).is_empty());
    // Nor by taking the document out of the policy, making it unreadable, or away.
    let mut sly = candidate("");
    sly.add(".lockstep/policy.toml", "version = 1");
    assert_eq!(keys(&judged(&sly, &base, given(&[]))), ["trading.mode"]);
    sly.add("c.toml", "trading = ");
    let before = repo(MODE, "trading.mode = \"LIVE\"");
    assert_eq!(keys(&judged(&sly, &before, given(&[]))), ["trading.mode"]);
    sly.remove("c.toml");
    assert_eq!(keys(&judged(&sly, &before, given(&[]))), ["trading.mode"]);
}

#[test]
fn what_holds_is_compared_and_not_what_is_written() {
    let base = repo(MODE, "");
    // As the default has it.
    assert!(judged(&repo(MODE, "trading.mode = \"PAPER\""), &base, given(&[])).is_empty());
    // A default that changes.
    let mut other = repo(MODE, "");
    other.add("s.json", SCHEMA.replace("PAPER", "LIVE"));
    assert_eq!(keys(&judged(&other, &base, given(&[]))), ["trading.mode"]);
    // What lies below a key, and in lists.
    let legs = "keys = [\"trading.legs.*.size\"]";
    let list = |size: u32| {
        repo(
            legs,
            &format!("[[trading.legs]]\nsize = {size}\nnote = \"{size}\"\n"),
        )
    };
    assert_eq!(
        keys(&judged(&list(2), &list(1), given(&[]))),
        ["trading.legs[0].size"]
    );
    let gone = repo(legs, "");
    assert_eq!(keys(&judged(&gone, &list(1), given(&[]))), ["trading.legs"]);
}

#[test]
fn a_condition_says_when_and_what_cannot_be_told_protects() {
    let when = |text: &str| format!("{MODE}\nwhen = \"{text}\"");
    let lacks = |text: &str, from: &str, to: &str| {
        let of = |mode: &str| repo(&when(text), &format!("trading.mode = \"{mode}\""));
        judged(&of(to), &of(from), given(&[])).has_errors()
    };
    let live = "self.trading.mode == 'LIVE'";
    assert!(lacks(live, "PAPER", "LIVE") && !lacks(live, "LIVE", "PAPER"));
    let first = "oldSelf.trading.mode == 'PAPER'";
    assert!(lacks(first, "PAPER", "LIVE") && !lacks(first, "LIVE", "PAPER"));
    assert!(lacks("self.nothing.there > 1", "PAPER", "LIVE"));
    assert!(lacks("'text'", "PAPER", "LIVE"));
    // It would take more steps than it may.
    let costly = format!(
        "[1,2].all(a, {}true{})",
        "[1,2,3,4,5,6,7,8,9].all(x, ".repeat(12),
        ")".repeat(12)
    );
    assert!(lacks(&costly, "PAPER", "LIVE"));
}

#[test]
fn a_way_back_takes_no_approval_but_what_protects_the_policy_does() {
    let base = repo(MODE, "trading.mode = \"LIVE\"");
    let candidate = repo(MODE, "");
    let back = Way {
        settled_before: true,
        ..given(&[])
    };
    assert!(judged(&candidate, &base, back).is_empty());
    assert!(judged(&candidate, &base, given(&[])).has_errors());
    let policy = "keys = [\"protect\"]\ndocument = \".lockstep/policy.toml\"";
    let report = judged(&repo("", ""), &repo(policy, ""), back);
    assert_eq!(keys(&report), ["protect"]);
}

#[test]
fn the_operators_protection_judges_as_well_and_is_named() {
    let text = format!("version = 1\n[[protect]]\n{MODE}\ndocument = \"c.toml\"\n");
    let operator = OperatorPolicy::read("/etc/lockstep/policy.toml", text.as_bytes().into()).unwrap();
    let way = Way {
        operator: Some(&operator),
        ..given(&[])
    };
    let report = judged(&repo("", "trading.mode = \"LIVE\""), &repo("", ""), way);
    assert_eq!(keys(&report), ["trading.mode"]);
    let help = report.diagnostics()[0].help.clone().unwrap();
    assert!(
        help.contains("/etc/lockstep/policy.toml of the operator"),
        "{help}"
    );
}

#[test]
fn a_secret_that_is_protected_is_not_shown() {
    let protect = "keys = [\"trading.token\"]";
    let of = |value: &str| repo(protect, &format!("trading.token = \"{value}\""));
    let report = judged(&of("hunter3"), &of("hunter2"), given(&[]));
    assert_eq!(keys(&report), ["trading.token"]);
    assert!(!format!("{report:?}").contains("hunter"), "{report:?}");
}

#[test]
fn the_first_revision_changes_nothing() {
    let candidate = repo(MODE, "trading.mode = \"LIVE\"");
    assert!(validate(&candidate.candidate(), None, given(&[]), Scope::All).is_empty());
}
