//! Secrets: what is found, what is allowed and by whom, and that a value is never shown.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{Repo, judged};
use lockstep_core::diagnostic::{self, Code, Report, Style};
use lockstep_core::plan::{self, Snapshot, plan};
use lockstep_core::policy::OperatorPolicy;
use lockstep_core::secret::{Pattern, Scanner};
use lockstep_core::validate::{Scope, Way, validate};

/// Long enough, and drawn by lot.
const HEX: &str = "9f8a7c6b5d4e3f2a1b0c9d8e7f6a5b4c";

/// Letters and digits, as many as are asked for. What is put together here lies in no file of this repository.
fn lot(length: usize) -> String {
    HEX.chars().cycle().take(length).collect()
}

/// What is issued by many, and the name of its form.
fn issued() -> Vec<(&'static str, String)> {
    let upper = |length| lot(length).to_uppercase().replace(['0', '1', '8', '9'], "A");
    vec![
        ("aws-access-key", format!("AKIA{}", upper(16))),
        ("gcp-api-key", format!("AIza{}", lot(35))),
        ("gcp-oauth-token", format!("ya29.{}", lot(40))),
        ("gcp-client-secret", format!("GOCSPX-{}", lot(28))),
        ("azure-storage-key", format!("AccountKey={}==", lot(86))),
        ("azure-sas", format!("https://a.blob/x?sv=1&sig={}", lot(43))),
        ("azure-client-secret", format!("abc8Q~{}", lot(34))),
        ("github-token", format!("ghp_{}", lot(36))),
        ("github-token", format!("github_pat_{}", lot(60))),
        ("gitlab-token", format!("glpat-{}", lot(20))),
        ("slack-token", format!("xoxb-{}", lot(30))),
        (
            "slack-webhook",
            format!("https://hooks.slack.com/services/T0/B0/{}", lot(24)),
        ),
        (
            "discord-webhook",
            format!("https://discord.com/api/webhooks/1234/{}", lot(60)),
        ),
        ("telegram-token", format!("123456789:AA{}", lot(33))),
        ("stripe-key", format!("sk_live_{}", lot(24))),
        ("square-token", format!("sq0atp-{}", lot(22))),
        ("shopify-token", format!("shpat_{}", lot(32))),
        ("npm-token", format!("npm_{}", lot(36))),
        ("pypi-token", format!("pypi-AgEI{}", lot(60))),
        ("crates-io-token", format!("cio{}", lot(32))),
        ("docker-token", format!("dckr_pat_{}", lot(27))),
        ("anthropic-key", format!("sk-ant-api03-{}", lot(80))),
        ("openai-key", format!("sk-{}T3BlbkFJ{}", lot(20), lot(20))),
        ("hugging-face-token", format!("hf_{}", lot(34))),
        ("digitalocean-token", format!("dop_v1_{}", lot(64))),
        ("vault-token", format!("hvs.{}", lot(30))),
        ("terraform-token", format!("{}.atlasv1.{}", lot(14), lot(67))),
        ("databricks-token", format!("dapi{}", lot(32))),
        ("grafana-token", format!("glsa_{}_{}", lot(32), lot(8))),
        ("sendgrid-key", format!("SG.{}.{}", lot(22), lot(43))),
        ("mailgun-key", format!("key-{}", lot(32))),
        ("twilio-key", format!("SK{}", lot(32))),
        ("linear-key", format!("lin_api_{}", lot(40))),
        ("jwt", format!("eyJ{}.eyJ{}.{}", lot(20), lot(40), lot(40))),
        ("authorization", format!("Authorization: Bearer {}", lot(40))),
        ("url-password", format!("postgres://bot:{}@db/x", lot(12))),
        ("age-key", format!("AGE-SECRET-KEY-1{}", lot(58).to_uppercase())),
        (
            "private-key",
            format!("-----BEGIN {} PRIVATE KEY-----\n{}\n-----END", "OPENSSH", lot(60)),
        ),
        ("telling-key", format!("broker_password: {}", lot(9))),
    ]
}

fn repo(policy: &str, document: &str) -> Repo {
    let mut repo = Repo::new("config");
    repo.add(".lockstep/policy.toml", format!("version = 1\n{policy}"))
        .add("config/a.txt", document);
    repo
}

fn codes(report: &Report) -> Vec<(&str, Code)> {
    let all = report.diagnostics().iter();
    all.map(|it| (it.path.as_str(), it.code)).collect()
}

/// Everything that anybody prints of a report.
fn printed(report: &Report, repo: &Repo) -> String {
    let text = diagnostic::text(report, &repo.files, Style::default());
    format!("{text}{}", diagnostic::json(report, &repo.files))
}

/// The fingerprint that a message offers.
fn offered(report: &Report) -> String {
    let help = report.diagnostics()[0].help.clone().unwrap();
    help.split('"').nth(1).unwrap().to_owned()
}

#[test]
fn each_known_form_is_found_by_its_name_and_never_shown() {
    for (name, text) in issued() {
        let document = format!("a = 1\nb = '''{text}'''\nc = 2\n");
        let found = Scanner::new([]).look(document.as_bytes());
        let names: Vec<_> = found.iter().map(|it| &*it.pattern).collect();
        assert_eq!(names, [name], "{text}");
        let repo = repo("", &document);
        let report = judged(&repo, None);
        assert_eq!(codes(&report), [("config/a.txt", Code::Secret)]);
        let shown = printed(&report, &repo);
        for at in 0..=HEX.len() - 8 {
            assert!(!shown.contains(&HEX[at..at + 8]), "{name}: {shown}");
            assert!(
                !shown.contains(&HEX.to_uppercase()[at..at + 8]),
                "{name}: {shown}"
            );
        }
    }
}

#[test]
fn what_only_looks_like_one_is_let_pass() {
    for text in [
        "password_file = \"/run/secrets/broker\"",
        "token = \"${BROKER_TOKEN}\"",
        "key = \"AKIAIOSFODNN7EXAMPLE\"",
        "url = \"https://user:${PASSWORD}@host/\"",
        "url = \"https://host:8080/a@b\"",
        "sha256 = \"9f8a7c6b5d4e3f2a1b0c9d8e7f6a5b4c9f8a7c6b5d4e3f2a1b0c9d8e7f6a5b4c\"",
        "max_tokens = 4096",
        "secret = \"prod-db-credentials-v2\"",
        "# the password is in the vault",
        "-----BEGIN PUBLIC KEY-----",
        "token_hash = \"9f8a7c6b5d4e3f2a1b0c9d8e7f6a5b4c\"",
    ] {
        let found = Scanner::new([]).look(text.as_bytes());
        assert!(found.is_empty(), "{text}: {found:?}");
    }
}

#[test]
fn a_value_is_allowed_by_its_fingerprint_and_not_by_the_change_that_brings_it() {
    let secret = format!("api_key = \"{HEX}\"\n");
    let clean = repo("", "");
    let mark = offered(&judged(&repo("", &secret), Some(&clean)));
    assert_eq!(mark.len(), 16);
    let allow = format!("[secrets]\nallow = [\"{mark}\"]\n");
    // Both at once is what nobody would notice.
    let both = judged(&repo(&allow, &secret), Some(&clean));
    assert_eq!(codes(&both), [("config/a.txt", Code::Secret)]);
    let help = both.diagnostics()[0].help.as_deref().unwrap();
    assert!(help.contains("push the allowance first"), "{help}");
    // The allowance first, then the value; and at the very first there is nobody else to ask.
    assert!(judged(&repo(&allow, ""), Some(&clean)).is_empty());
    assert!(judged(&repo(&allow, &secret), Some(&repo(&allow, ""))).is_empty());
    assert!(judged(&repo(&allow, &secret), None).is_empty());
    // Another value is another secret.
    let other = secret.replace("9f8a", "af8a");
    assert!(judged(&repo(&allow, &other), Some(&repo(&allow, ""))).has_errors());
    // Whoever takes the allowance back has to take the value out, although its file is as it was.
    assert!(judged(&repo("", &secret), Some(&repo(&allow, &secret))).has_errors());
}

#[test]
fn the_operator_allows_what_no_change_does() {
    let secret = repo("", &format!("api_key = \"{HEX}\"\n"));
    let mark = offered(&judged(&secret, None));
    let text = format!("version = 1\n[secrets]\nallow = [\"{mark}\"]\n");
    let operator = OperatorPolicy::read("/etc/lockstep/policy.toml", text.as_bytes().into()).unwrap();
    let way = Way {
        operator: Some(&operator),
        ..Way::default()
    };
    assert!(validate(&secret.candidate(), None, way, Scope::All).is_empty());
}

#[test]
fn a_pattern_of_the_policy_judges_the_change_that_removes_it() {
    let pattern = "[secrets]\npatterns = [{ name = \"broker\", regex = \"BRK(-[0-9]{8})\" }]\n";
    let base = repo(pattern, "");
    for own in [pattern, ""] {
        let candidate = repo(own, "x BRK-12345678 y\n");
        let report = judged(&candidate, Some(&base));
        assert_eq!(codes(&report), [("config/a.txt", Code::Secret)]);
        assert!(report.diagnostics()[0].message.contains("`broker`"));
        // The group is the secret, and its form is nobody's but this policy's.
        let shown = printed(&report, &candidate);
        assert!(
            shown.contains("BRK*********") && !shown.contains("12345"),
            "{shown}"
        );
    }
    // One that is new looks at what was there already.
    let before = repo("", "x BRK-12345678 y\n");
    assert!(judged(&repo(pattern, "x BRK-12345678 y\n"), Some(&before)).has_errors());
}

#[test]
fn only_what_changed_is_looked_at() {
    let secret = format!("api_key = \"{HEX}\"\n");
    let base = repo("", &secret);
    let mut candidate = base.clone();
    candidate.add("config/b.txt", "b");
    assert!(judged(&candidate, Some(&base)).is_empty());
    candidate.add("config/b.txt", secret);
    assert_eq!(
        codes(&judged(&candidate, Some(&base))),
        [("config/b.txt", Code::Secret)]
    );
}

#[test]
fn the_policy_and_what_lies_beside_it_are_looked_at_too() {
    let mut candidate = repo(&format!("# token = \"{HEX}\"\n"), "");
    let report = judged(&candidate, None);
    assert_eq!(codes(&report), [(".lockstep/policy.toml", Code::Secret)]);
    assert!(!printed(&report, &candidate).contains("8a7c6b5d"));
    candidate
        .add(
            ".lockstep/policy.toml",
            "version = 1\n[[document]]\npath = \"config/a.toml\"\nschema = \"s.json\"\n",
        )
        .add("config/a.toml", "")
        .add(
            "s.json",
            format!("{{\"properties\": {{\"api_key\": {{\"examples\": [\"x\"], \"secret\": \"{HEX}\"}}}}}}"),
        );
    assert_eq!(codes(&judged(&candidate, None)), [("s.json", Code::Secret)]);
}

#[test]
fn a_plan_shows_that_a_secret_changes_and_not_what_to() {
    let side = |value: &str| {
        let mut repo = Repo::new("");
        repo.add(
            "a.toml",
            format!(
                "password = \"{value}\"\nurl = \"https://me:{value}@host/\"\n[db]\ntokens = [\"{value}\"]\n"
            ),
        );
        repo
    };
    let (old, new) = (side("hunter2hunter2"), side("Tr0ub4dor&3x"));
    let (old, new) = (
        Snapshot::of(&old.candidate(), None),
        Snapshot::of(&new.candidate(), None),
    );
    let plan = plan(Some(&old), &new, &[]);
    assert_eq!(plan.changes.len(), 3);
    let shown = format!("{}{}", plan::text(&plan), serde_json::to_string(&plan).unwrap());
    assert!(!shown.contains("hunter2") && !shown.contains("Tr0ub"), "{shown}");
    assert!(shown.contains("****"), "{shown}");
}

#[test]
fn a_rule_quotes_no_secret() {
    let mut repo = Repo::new("");
    repo.add(
        ".lockstep/policy.toml",
        "version = 1\n[[document]]\npath = \"a.toml\"\nschema = \"s.json\"\n[[rule]]\nname = \"same\"\ndocument = \"a.toml\"\n\
         expression = \"self.password == self.url\"\nmessage_expression = \"'not ' + self.url + ' nor ' + self.key\"\n",
    )
    .add("s.json", "{}")
    .add(
        "a.toml",
        format!("password = \"hunter2\"\nurl = \"https://me:{HEX}@host/\"\nkey = \"AKIA{}\"\n", "A2B3".repeat(4)),
    );
    let report = judged(&repo, None);
    assert!(report.diagnostics().iter().any(|it| it.code == Code::RuleBroken));
    let shown = printed(&report, &repo);
    for secret in ["hunter2", "9f8a7c6b", "A2B3A2B3"] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
}

#[test]
fn one_huge_line_and_bytes_that_are_no_text_are_looked_through() {
    let form = format!("ghp_{}", lot(36));
    // Wherever it stands: also where two pieces meet.
    for before in [
        0,
        65_500,
        65_536 - 8_192 - 20,
        65_536 - 8_192,
        131_072 - 20,
        3 << 20,
    ] {
        let text = format!("{} {form} {}", "x".repeat(before), "y".repeat(200_000));
        let found = Scanner::new([]).look(text.as_bytes());
        assert_eq!(found.len(), 1, "{before}");
        assert_eq!(found[0].span.start, before + 1);
    }
    let mut bytes = vec![0xff, 0xfe, 0];
    bytes.extend(form.as_bytes());
    assert_eq!(Scanner::new([]).look(&bytes).len(), 1);
    let mut repo = repo("", "");
    repo.add("config/x.bin", &bytes);
    let report = judged(&repo, None);
    assert_eq!(codes(&report), [("config/x.bin", Code::Secret)]);
    assert!(!printed(&report, &repo).contains(&lot(8)));
}

#[test]
fn hostile_files_and_patterns_are_told_in_bounds() {
    // Of each form so many are told; the rest of a file cannot make the report longer.
    let text = format!("ghp_{} ", lot(36)).repeat(5_000);
    assert_eq!(Scanner::new([]).look(text.as_bytes()).len(), 100);
    // Words of telling names without end, and values that never close.
    for hostile in [
        "token",
        "token=",
        "token=\"",
        "token=[",
        "secret:'''",
        "password = [\"",
        "://:",
        "eyJ",
        "sig=",
    ] {
        let text = hostile.repeat((512 << 10) / hostile.len());
        assert!(Scanner::new([]).look(text.as_bytes()).len() <= 200, "{hostile}");
    }
    // This one goes to the end of what it is given, and back, for each letter.
    let backwards = Pattern {
        name: "backwards".into(),
        regex: ".*[^a]|a".into(),
    };
    let found = Scanner::new([&backwards]).look("a".repeat(1 << 20).as_bytes());
    assert_eq!(found.len(), 100);
    // What would take more memory than it may is refused before it is looked for.
    for regex in [
        "(?:[a-z]{1000}){1000}",
        "(?:(?:(?:\\w{50}){50}){50}){50}",
        &"(".repeat(1_000),
    ] {
        let pattern = Pattern {
            name: "large".into(),
            regex: regex.to_owned(),
        };
        assert!(pattern.compile().is_err(), "{regex}");
    }
}
