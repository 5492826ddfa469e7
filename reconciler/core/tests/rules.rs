//! What rules see of a document and its base, whose rules hold, and what they cannot do to who judges.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{Repo, judged};
use lockstep_core::diagnostic::{Code, Report, Severity};

const SCHEMA: &str = r#"{
    "type": "object",
    "additionalProperties": false,
    "properties": {
        "risk": { "type": "number", "default": 0.01 },
        "positions": { "type": "integer", "default": 5 },
        "mode": { "enum": ["PAPER", "LIVE"], "default": "PAPER" },
        "symbols": { "type": "array", "items": { "type": "string" }, "default": [] },
        "weights": { "type": "array", "items": { "type": "number" } },
        "start": { "type": "string" },
        "limits": { "type": "object", "additionalProperties": { "type": "integer" } },
        "nested": { "type": "object", "properties": { "deep": { "type": "integer" } } }
    }
}"#;

const DOCUMENT: &str = "version = 1\n[[document]]\npath = \"c.toml\"\nschema = \"s.json\"\n";

fn rule(name: &str, expression: &str) -> String {
    format!("[[rule]]\nname = \"{name}\"\ndocument = \"c.toml\"\nexpression = '''{expression}'''\n")
}

fn repo(rules: &str, document: &str) -> Repo {
    let mut repo = Repo::new("");
    repo.add(".lockstep/policy.toml", format!("{DOCUMENT}{rules}"))
        .add("s.json", SCHEMA)
        .add("c.toml", document);
    repo
}

fn codes(report: &Report) -> Vec<Code> {
    report.diagnostics().iter().map(|it| it.code).collect()
}

/// Whether an expression holds for a document.
#[track_caller]
fn holds(expression: &str, document: &str) -> bool {
    let report = judged(&repo(&rule("it", expression), document), None);
    match codes(&report).as_slice() {
        [] => true,
        [Code::RuleBroken] => false,
        _ => panic!("{expression}: {:?}", report.diagnostics()),
    }
}

#[test]
fn a_rule_sees_defaults_and_the_numbers_that_the_schema_means() {
    assert!(holds(
        "self.risk == 0.01 && self.positions == 5 && self.mode == 'PAPER'",
        ""
    ));
    // The schema says `number`, so half of it is no whole number.
    assert!(holds("self.risk / 2 == 0.5", "risk = 1"));
    assert!(holds("self.positions / 2 == 2", "positions = 5"));
    assert!(holds("!has(self.start) && has(self.mode)", ""));
    assert!(holds("self.symbols.size() == 0", ""));
}

#[test]
fn whole_numbers_and_floats_meet_as_people_expect() {
    for expression in [
        "self.risk * 2 <= 0.1",
        "2 * self.risk <= 0.1",
        "self.risk + 1 > 1",
        "1 - self.risk < 1",
        "1 / self.risk == 50.0",
        "self.positions * self.risk < 1",
        "self.positions > 4.5 && self.positions == 5.0",
        "self.risk <= 1",
        "self.mode + '!' == 'PAPER!'",
        "[1] + [2] == [1, 2]",
        "timestamp('2026-01-02T00:00:00Z') - timestamp('2026-01-01T00:00:00Z') == duration('24h')",
    ] {
        assert!(holds(expression, "risk = 0.02"), "{expression}");
    }
}

#[test]
fn lists_are_looked_through_and_added_up() {
    let document = "symbols = [\"AAPL\", \"MSFT\"]\nweights = [0.25, 0.75]\nlimits = { a = 1, b = 7 }";
    for expression in [
        "self.weights.sum() == 1",
        "self.weights.max() == 0.75 && self.weights.min() == 0.25",
        "[3, 1, 2].max() == 3 && [3, 1, 2].sum() == 6",
        "self.symbols.all(s, s.matches('^[A-Z]{1,5}$'))",
        "self.symbols.exists(s, s == 'MSFT') && 'AAPL' in self.symbols",
        "self.symbols.filter(s, s.startsWith('A')) == ['AAPL']",
        "self.symbols.map(s, s + s.size().string()).size() == 2",
        "self.limits.all(k, self.limits[k] < 10)",
        "self.limits[\"b\"] == 7 && self['limits'].a == 1",
        "self.symbols.map(s, [1, 2].map(n, n + 1)) == [[2, 3], [2, 3]]",
    ] {
        // `string` is a function of one argument, not called on something.
        let expression = expression.replace("s.size().string()", "string(s.size())");
        assert!(holds(&expression, document), "{expression}");
    }
    assert!(!holds("self.weights.sum() == 2", document));
}

#[test]
fn a_rule_about_the_old_value_is_skipped_for_a_new_document() {
    let rules = rule("doubles", "self.risk <= 2.0 * oldSelf.risk");
    let leap = repo(&rules, "risk = 0.5");
    assert_eq!(codes(&judged(&leap, None)), []);
    let mut without = Repo::new("");
    without.add("other.toml", "");
    assert_eq!(codes(&judged(&leap, Some(&without))), []);
    // The base's default counts: 0.01.
    assert_eq!(codes(&judged(&leap, Some(&repo(&rules, "")))), [Code::RuleBroken]);
    assert_eq!(codes(&judged(&leap, Some(&repo(&rules, "risk = 0.25")))), []);
}

#[test]
fn no_change_disarms_what_judges_it() {
    let strict = rule("few", "self.positions <= 5");
    let loose = rule("few", "self.positions <= 100");
    let base = repo(&strict, "");
    let report = judged(&repo(&loose, "positions = 50"), Some(&base));
    assert_eq!(codes(&report), [Code::RuleBroken]);
    let help = report.diagnostics()[0].help.clone().unwrap();
    assert!(
        help.contains("rule `few` of the base") && help.contains("holds from the next one on"),
        "{help}"
    );
    assert_eq!(
        codes(&judged(&repo("", "positions = 50"), Some(&base))),
        [Code::RuleBroken]
    );
    // The same rule twice is told once; the loosened one holds from the next change on.
    assert_eq!(
        codes(&judged(&repo(&strict, "positions = 50"), Some(&base))),
        [Code::RuleBroken]
    );
    assert_eq!(
        codes(&judged(&repo(&loose, "positions = 50"), Some(&repo(&loose, "")))),
        []
    );
    // Also where the policy is taken away as a whole.
    let mut bare = Repo::new("");
    bare.add("c.toml", "positions = 50");
    assert_eq!(codes(&judged(&bare, Some(&base))), [Code::RuleBroken]);
    bare.remove("c.toml");
    assert_eq!(codes(&judged(&bare, Some(&base))), []);
}

#[test]
fn a_document_that_does_not_fit_is_told_once_and_in_the_schemas_words() {
    let rules = rule("few", "self.positions <= 5");
    assert_eq!(
        codes(&judged(&repo(&rules, "positions = \"many\""), None)),
        [Code::WrongType]
    );
    assert_eq!(
        codes(&judged(&repo(&rules, "positions = "), None)),
        [Code::TomlSyntax]
    );
}

#[test]
fn a_warning_refuses_nothing() {
    let rules = rule("few", "self.positions <= 5") + "severity = \"warning\"\n";
    let report = judged(&repo(&rules, "positions = 6"), None);
    assert_eq!((report.has_errors(), report.count(Severity::Warning)), (false, 1));
}

#[test]
fn what_is_said_names_the_place_and_the_values() {
    let rules = rule("few", "self.positions <= 5 && self.risk < 0.5")
        + "message_expression = \"'at most 5, not ' + string(self.positions)\"\n";
    let report = judged(&repo(&rules, "# a comment\npositions = 6\n"), None);
    let it = &report.diagnostics()[0];
    assert_eq!(it.message, "at most 5, not 6");
    assert_eq!(it.span, Some(24..25), "the first key that it speaks of");
    let help = it.help.as_ref().unwrap();
    assert!(
        help.contains("`positions` is 6, `risk` is 0.01 by default; rule `few` must hold"),
        "{help}"
    );
    assert_eq!(it.related[0].path, ".lockstep/policy.toml");

    let rules = rule("few", "self.positions <= 5") + "at = \"nested.deep\"\nmessage = \"too many\"\n";
    let document = "positions = 6\n[nested]\n";
    let report = judged(&repo(&rules, document), None);
    let it = &report.diagnostics()[0];
    // It is not written: the table that would hold it.
    assert_eq!(&document[it.span.clone().unwrap()], "[nested]");
    assert_eq!(it.message, "too many");
}

#[test]
fn what_cannot_be_evaluated_does_not_hold() {
    for (expression, words) in [
        ("self.nested.deep > 1", "there is no key `nested`"),
        ("1 / (self.positions - 5) > 0", "divides by zero"),
        ("self.positions.matches('a')", "no matching overload"),
        ("self.mode.matches('(')", "unclosed group"),
        ("self.mode.matches('(?:a{1000}){1000}')", "size limit"),
        ("self.weights.max() > 1.0", "there is no key `weights`"),
        ("[].max() > 1", "empty"),
        ("9223372036854775807 + self.positions > 0", "too large"),
    ] {
        let report = judged(&repo(&rule("it", expression), ""), None);
        assert_eq!(codes(&report), [Code::RuleFailed], "{expression}");
        let it = &report.diagnostics()[0];
        assert!(it.message.contains(words), "{expression}: {}", it.message);
        assert_eq!(it.path, ".lockstep/policy.toml");
    }
}

#[test]
fn a_mistake_in_a_rule_is_a_mistake_of_the_policy() {
    for (expression, words, help) in [
        ("self.positions <=", "no expression of CEL", ""),
        ("self.positions < limit", "there is no `limit`", "`self`"),
        ("slef.positions < 1", "there is no `slef`", "did you mean `self`?"),
        (
            "self.mode.startwith('P')",
            "there is no function `startwith`",
            "did you mean `startsWith`?",
        ),
        (
            "self.positons < 5",
            "speaks of `positons`",
            "did you mean `positions`?",
        ),
        (
            "has(self.positons)",
            "speaks of `positons`",
            "did you mean `positions`?",
        ),
        ("self.positions + 1", "gives a number", ""),
        ("self.symbols.map(s, s)", "gives a list", ""),
        ("Thing{a: 1} == 1", "there is no type `Thing`", ""),
    ] {
        let report = judged(&repo(&rule("it", expression), ""), None);
        assert_eq!(
            codes(&report),
            [Code::RuleInvalid],
            "{expression}: {:?}",
            report.diagnostics()
        );
        let it = &report.diagnostics()[0];
        assert!(it.message.contains(words), "{expression}: {}", it.message);
        let said = it.help.clone().unwrap_or_default();
        assert!(said.contains(help), "{expression}: {said}");
    }
    let twice = rule("it", "true") + &rule("it", "false || true");
    assert_eq!(codes(&judged(&repo(&twice, ""), None)), [Code::RuleInvalid]);
    let elsewhere = rule("it", "true").replace("c.toml", "d.toml");
    assert_eq!(codes(&judged(&repo(&elsewhere, ""), None)), [Code::PolicyPath]);
}

#[test]
fn the_place_of_a_mistake_is_found_in_the_policy() {
    let rules = rule("it", "self.positions <= 5 &&& true");
    let repo = repo(&rules, "");
    let report = judged(&repo, None);
    let it = &report.diagnostics()[0];
    let policy = std::str::from_utf8(&repo.files[".lockstep/policy.toml"]).unwrap();
    let span = it.span.clone().unwrap();
    assert!(policy[span.start..].starts_with('&'), "{}", &policy[span]);
}

/// Judges in a thread with as small a stack as any that the program has.
fn judged_on_a_small_stack(expression: String, document: String) -> Vec<Code> {
    let judge = move || codes(&judged(&repo(&rule("it", &expression), &document), None));
    let thread = std::thread::Builder::new().stack_size(2 << 20);
    thread.spawn(judge).unwrap().join().unwrap()
}

#[test]
fn no_expression_runs_the_stack_out() {
    for count in [10, 30, 60, 150, 400, 900, 5_000] {
        for text in [
            format!("1{} > 0", "+1".repeat(count)),
            format!("true{}", "&&true".repeat(count)),
            format!("true{}", "||true".repeat(count)),
            format!("{}true", "!".repeat(count)),
            format!("{}true", "! ".repeat(count)),
            format!("{}1 > 0", "-".repeat(count)),
            format!("{}true{}", "(".repeat(count), ")".repeat(count)),
            format!("{}1{} == [1]", "[".repeat(count), "]".repeat(count)),
            format!("{}1{} == {{}}", "{1:".repeat(count), "}".repeat(count)),
            format!("self{} == 1", ".a".repeat(count)),
            format!("self{} == 1", "[0]".repeat(count)),
            format!("self{} == 1", "['a']".repeat(count)),
            format!("{}true", "true?true:".repeat(count)),
            format!("true{}", "?true:true".repeat(count)),
            format!("{}1{} > 0", "size(".repeat(count), ")".repeat(count)),
            format!("self.symbols{}.size() > 0", ".map(s, s)".repeat(count)),
            format!("{}true{}", "[1].all(x, ".repeat(count), ")".repeat(count)),
            format!("{}1{} == 1", "[1].map(x, ".repeat(count), ")".repeat(count)),
            "( [ {".repeat(count),
            "'".repeat(count),
            "\\u".repeat(count),
            format!("self.mode.matches('{}')", "(".repeat(count)),
            format!("self.mode.matches('{}{}')", "(".repeat(count), ")".repeat(count)),
            format!("self.mode.matches('a{}')", "{2}".repeat(count)),
        ] {
            judged_on_a_small_stack(text, String::new());
        }
    }
}

#[test]
fn what_would_take_too_long_is_refused_before_it_is_begun() {
    let symbols: Vec<String> = (0..2_000).map(|n| format!("\"S{n}\"")).collect();
    let document = format!("symbols = [{}]", symbols.join(", "));
    for expression in [
        "self.symbols.all(a, self.symbols.exists(b, a == b))",
        "self.symbols.map(a, self.symbols).size() > 0",
        "self.symbols.map(a, self.symbols.map(b, a + b)).size() > 0",
        "self.symbols.all(a, a.matches('^[A-Z0-9]{1,5}$'))",
        "self.symbols.filter(a, true).all(a, self.symbols.filter(b, true).all(b, a != b))",
        "[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, \
         [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, [1,2,3,4,5,6,7,8,9,10].all(f, true))))))",
    ] {
        let codes = judged_on_a_small_stack(expression.to_owned(), document.clone());
        assert_eq!(codes, [Code::RuleEffort], "{expression}");
    }
    // What is linear is not.
    for expression in [
        "self.symbols.all(a, a.startsWith('S'))",
        "self.symbols.filter(a, a.size() > 3).map(a, a + '!').size() > 0",
        "self.symbols.all(a, a in ['S1', 'S2'] || a != '')",
        "self.symbols.exists(a, a == 'S1999')",
    ] {
        let codes = judged_on_a_small_stack(expression.to_owned(), document.clone());
        assert_eq!(codes, [], "{expression}");
    }
}

#[test]
fn rules_see_defaults_and_floats_in_each_syntax() {
    let rules = rule(
        "it",
        "self.risk * 2 <= 0.1 && self.positions == 5 && self.weights.sum() > 2.5",
    );
    for (name, fits, breaks) in [
        ("c.json", r#"{"weights": [1, 2]}"#, r#"{"weights": [1, 1]}"#),
        ("c.yaml", "weights: [1, 2]\n", "weights:\n- 1\n- 1\n"),
    ] {
        let judged = |text: &str| {
            let mut repo = repo(&rules, "");
            let policy = format!("{DOCUMENT}{rules}").replace("c.toml", name);
            repo.remove("c.toml")
                .add(".lockstep/policy.toml", policy)
                .add(name, text);
            judged(&repo, None)
        };
        assert_eq!(codes(&judged(fits)), [], "{name}");
        assert_eq!(codes(&judged(breaks)), [Code::RuleBroken], "{name}");
    }
}
