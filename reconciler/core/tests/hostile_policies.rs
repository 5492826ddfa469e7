//! A change brings its own policy: however it is made, judging it ends, in bounds that are counted and not timed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{Repo, judged};
use lockstep_core::diagnostic::{Code, LISTED, Report};
use lockstep_core::policy::Policy;
use lockstep_core::secret::Pattern;

const HEAD: &str = "version = 1\n[[document]]\npath = \"c.toml\"\nschema = \"s.json\"\n";

fn repo(policy: &str, document: &str) -> Repo {
    let mut repo = Repo::new("");
    repo.add(".lockstep/policy.toml", format!("{HEAD}{policy}"))
        .add("s.json", "{}")
        .add("c.toml", document);
    repo
}

fn codes(report: &Report) -> Vec<Code> {
    let mut codes: Vec<_> = report.diagnostics().iter().map(|it| it.code).collect();
    codes.dedup();
    codes
}

fn rules(count: usize, expression: &str) -> String {
    (0..count)
        .map(|at| {
            format!("[[rule]]\nname = \"r{at}\"\ndocument = \"c.toml\"\nexpression = \"{expression}\"\n")
        })
        .collect()
}

#[test]
fn many_rules_that_each_may_take_what_they_take_are_stopped_together() {
    let document = format!("list = {:?}", vec![1; 200]);
    // Each is below what one may take; together they are not.
    let costly = "self.list.all(a, self.list.all(b, a + b > 0))";
    assert!(judged(&repo(&rules(1, costly), &document), None).is_empty());
    let report = judged(&repo(&rules(1_000, costly), &document), None);
    assert_eq!(codes(&report), [Code::RuleEffort]);
    assert!(report.diagnostics()[0].message.contains("together"));
    // Those of which each is refused for itself come to an end as well.
    let report = judged(
        &repo(
            &rules(
                1_000,
                "self.list.all(a, self.list.all(b, self.list.all(c, true)))",
            ),
            &document,
        ),
        None,
    );
    assert_eq!(codes(&report), [Code::RuleEffort]);
    // And more than anybody writes are not read.
    assert!(codes(&judged(&repo(&rules(1_001, "true"), ""), None)).contains(&Code::WrongSize));
}

#[test]
fn texts_lists_and_numbers_that_grow_without_end_are_refused_before_they_are_made() {
    let long = format!("text = \"{}\"", "x".repeat(10_000));
    let doubled = (0..20).fold("self.text".to_owned(), |text, _| format!("({text} + {text})"));
    for expression in [
        doubled.chars().take(2_000).collect::<String>().as_str(),
        "[self.text, self.text, self.text].map(a, [a, a, a].map(b, [a + b + a, b + a + b].map(c, c + c + c + a + b))).size() > 0",
        "self.text.matches('(x+x+)+y')",
        "self.text.matches('x{1000}{1000}')",
        "9223372036854775807 + 1 > 0",
        "-9223372036854775808 / -1 > 0",
        "1e308 * 1e308 > 0.0",
        "duration('9223372036854775807s') > duration('0s')",
        "timestamp('9999-12-31T23:59:59Z') + duration('999999999s') > timestamp('2026-01-01T00:00:00Z')",
    ] {
        // Whatever the answer is, there is one, and it is short.
        let report = judged(&repo(&rules(1, expression), &long), None);
        let told = report.diagnostics();
        assert!(told.len() <= 2, "{expression}: {told:?}");
        assert!(told.iter().all(|it| it.message.len() < 2_100), "{expression}");
    }
}

#[test]
fn protections_without_end_are_told_in_bounds() {
    let keys: String = (0..20_000).map(|at| format!("k{at} = 1\n")).collect();
    let policy = "[[protect]]\nkeys = [\"*\"]\nwhen = \"self.all(a, self.all(b, a != b))\"\n".repeat(200);
    let report = judged(
        &repo(&policy, &keys.replace("= 1", "= 2")),
        Some(&repo(&policy, &keys)),
    );
    // What would take too much to tell protects.
    assert!(codes(&report).contains(&Code::ApprovalMissing));
    assert!(report.diagnostics().len() <= LISTED + 1);
    assert!(codes(&judged(&repo(&policy.repeat(2), ""), None)).contains(&Code::WrongSize));
}

#[test]
fn a_policy_that_is_deep_or_long_is_a_mistake_and_nothing_more() {
    for policy in [
        format!("version = {}1{}", "[".repeat(5_000), "]".repeat(5_000)),
        format!("version = 1\n{} = 1", ["a"; 5_000].join(".")),
        format!("version = 1\n[{}]", ["a"; 5_000].join(".")),
        format!(
            "version = 1\nlimits = {}{}",
            "{ a = ".repeat(5_000),
            "}".repeat(5_000)
        ),
        "[[rule]]\n".repeat(100_000),
        format!(
            "version = 1\n[secrets]\nallow = [{}]",
            "\"0123456789abcdef\",".repeat(20_000)
        ),
    ] {
        let (_, mistakes) = Policy::read(policy.as_bytes());
        assert!(!mistakes.is_empty());
        assert!(mistakes.len() <= 3 * LISTED, "{}", mistakes.len());
    }
}

#[test]
fn a_pattern_that_takes_more_memory_than_it_may_is_not_made() {
    let large = |regex: &str| {
        let pattern = Pattern {
            name: "a".to_owned(),
            regex: regex.to_owned(),
        };
        pattern.compile().is_err()
    };
    for regex in [
        "a{1000}{1000}",
        "(?i)\\w{500}\\W{500}",
        "((a{100}){100}){100}",
        &"(?:".repeat(500),
        ".*".repeat(3).as_str(),
    ] {
        assert!(large(regex), "{regex}");
    }
    // Fifty of the largest that are allowed are all there can be.
    let one = "{ name = \"NAME\", regex = \"[a-z]{500}\" },";
    let all: String = (0..51).map(|at| one.replace("NAME", &format!("p{at}"))).collect();
    let (_, mistakes) = Policy::read(format!("version = 1\n[secrets]\npatterns = [{all}]").as_bytes());
    assert!(mistakes.iter().any(|it| it.code == Code::WrongSize));
}
