//! `lockstep init`: what comes out passes every gate at once, and nothing is written over.
#![allow(clippy::unwrap_used, reason = "in a test the place says enough")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lockstep_tests::Ran;
use lockstep_tests::hooked::{Hooked, every_file};

/// A new repository made from a template.
fn made(hooked: &Hooked, template: &str) -> PathBuf {
    let said = hooked
        .lockstep(hooked.root(), &["init", template, "--template", template])
        .done();
    assert!(
        said.contains(&format!("cd {template}")) && said.contains("lockstep hook install"),
        "{said}"
    );
    hooked.root().join(template)
}

/// The commands of a forge's check: the blocks that follow such a line.
fn blocks(file: &Path, begins: &str) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    let mut found = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.trim_start() != begins {
            continue;
        }
        let least = line.len() - line.trim_start().len() + 1;
        let mut block = String::new();
        while let Some(line) = lines.next_if(|line| line.len() - line.trim_start().len() >= least) {
            block.push_str(line.trim_start());
            block.push('\n');
        }
        found.push(block);
    }
    found
}

fn sh(hooked: &Hooked, folder: &Path, script: &str, base: &str) -> Ran {
    let mut command = Command::new("bash");
    command
        .args(["-eo", "pipefail", "-c", script])
        .current_dir(folder);
    for name in ["BASE", "CI_MERGE_REQUEST_DIFF_BASE_SHA"] {
        command.env(name, base);
    }
    hooked.run(command)
}

#[test]
fn a_new_repository_passes_every_gate_at_once() {
    for template in ["trader", "minimal"] {
        let hooked = Hooked::new();
        let new = made(&hooked, template);
        let git = |words: &[&str]| hooked.git_in(&new, words).done().trim().to_owned();
        assert_eq!(git(&["status", "--porcelain"]), "");
        assert_eq!(
            git(&["log", "--format=%an <%ae> %D"]),
            "Ada Byron <ada@example.org> HEAD -> main"
        );
        for words in [
            &["validate"][..],
            &["validate", "HEAD"],
            &["validate", "--staged"],
            &["plan"],
        ] {
            let said = hooked.lockstep(&new, words).done();
            assert!(!said.contains("warning"), "{template} {words:?}: {said}");
        }
        // At the server as the first push, and then by the hooks of the clone.
        let bare = hooked.root().join("server.git");
        hooked
            .git_in(
                hooked.root(),
                &["init", "-q", "--bare", "-b", "main", "server.git"],
            )
            .done();
        hooked.install(&bare, &["--path", "config"]);
        hooked.install(&new, &["--path", "config"]);
        git(&["config", "user.name", "Ada"]);
        git(&["config", "user.email", "ada@example.org"]);
        git(&["remote", "add", "origin", bare.to_str().unwrap()]);
        git(&["push", "-q", "-u", "origin", "main"]);
        let config = new.join("config/config.toml");
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, format!("{text}\n# a word\n")).unwrap();
        git(&["commit", "-q", "-a", "-m", "A word"]);
        git(&["push", "-q", "origin", "main"]);
        fs::write(&config, format!("{text}\nunknown = 1\n")).unwrap();
        assert!(
            hooked
                .git_in(&new, &["commit", "-a", "-m", "broken"])
                .failed(1)
                .contains("LS0111")
        );
    }
}

#[test]
fn the_checks_of_both_forges_let_a_good_change_pass_and_a_broken_one_not() {
    let hooked = Hooked::new();
    let new = made(&hooked, "trader");
    let github = blocks(&new.join(".github/workflows/lockstep.yml"), "run: |");
    let gitlab = blocks(&new.join(".gitlab-ci.yml"), "- |");
    assert_eq!((github.len(), gitlab.len()), (2, 2));
    let nothing = "0".repeat(40);
    for script in github.iter().chain(&gitlab) {
        sh(&hooked, &new, script, &nothing).done();
    }
    let base = hooked.git_in(&new, &["rev-parse", "HEAD"]).done();
    let config = new.join("config/config.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(
        &config,
        text.replace("risk_per_trade = 0.02", "risk_per_trade = 0.05"),
    )
    .unwrap();
    let commit = [
        "-c",
        "user.name=A",
        "-c",
        "user.email=a@b",
        "commit",
        "-q",
        "-a",
        "-m",
        "more",
    ];
    hooked.git_in(&new, &commit).done();
    let said = sh(&hooked, &new, &github[0], base.trim()).failed(1);
    assert!(said.contains("::error file=config/config.toml,line="), "{said}");
    let said = sh(&hooked, &new, &gitlab[0], base.trim()).failed(1);
    assert!(said.contains("risk-at-most-doubles"), "{said}");
}

#[test]
fn the_template_s_rules_are_those_a_trader_expects() {
    let hooked = Hooked::new();
    let new = made(&hooked, "trader");
    let config = new.join("config/config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let live = ("mode = \"PAPER\"", "mode = \"LIVE\"");
    let account = ("account = \"\"", "account = \"U1234567\"");
    let port = ("port = 7497 ", "port = 4001 ");
    let cases: [(&[(&str, &str)], &str); 9] = [
        (
            &[("risk_per_trade = 0.02", "risk_per_trade = 0.041")],
            "risk-at-most-doubles",
        ),
        (&[("risk_per_trade = 0.02", "risk_per_trade = 0.04")], ""),
        (&[("min_dte = 30", "min_dte = 45")], "days-to-expiry-in-order"),
        (&[("max_delta = 0.50", "max_delta = 0.30")], "delta-in-order"),
        (
            &[("trading_end = \"16:00\"", "trading_end = \"09:00\"")],
            "trading-hours-in-order",
        ),
        (&[live, port], "live-needs-an-account"),
        (&[live, account], "live-needs-a-live-port"),
        (
            &[live, account, port, ("read_only = false  ", "read_only = true  ")],
            "live-sends-orders",
        ),
        (&[live, account, port], ""),
    ];
    for (edits, rule) in cases {
        let edited = edits.iter().fold(text.clone(), |text, (old, new)| {
            assert_eq!(text.matches(old).count(), 1, "{old}");
            text.replace(old, new)
        });
        fs::write(&config, edited).unwrap();
        let ran = hooked.lockstep(&new, &["validate"]);
        if rule.is_empty() {
            ran.done();
        } else {
            let said = ran.failed(1);
            assert!(said.contains(&format!("rule `{rule}`")), "{edits:?}: {said}");
            assert!(said.contains("1 error;"), "one message a mistake: {said}");
        }
    }
}

#[test]
fn the_clone_of_an_empty_repository_is_filled() {
    let hooked = Hooked::new();
    hooked
        .git_in(
            hooked.root(),
            &["init", "-q", "--bare", "-b", "trunk", "empty.git"],
        )
        .done();
    hooked
        .git_in(hooked.root(), &["clone", "-q", "empty.git", "clone"])
        .done();
    let clone = hooked.root().join("clone");
    let said = hooked.lockstep(&clone, &["init", "--template", "minimal"]).done();
    assert!(said.contains("git push -u origin trunk"), "{said}");
    hooked
        .git_in(&clone, &["push", "-q", "-u", "origin", "trunk"])
        .done();
    let said = hooked.lockstep(&clone, &["init"]).failed(1);
    assert!(said.contains("nothing is overwritten"), "{said}");
}

#[test]
fn nothing_is_written_where_something_is_or_for_nobody() {
    let hooked = Hooked::new();
    let used = hooked.root().join("used");
    fs::create_dir(&used).unwrap();
    fs::write(used.join("README.md"), "mine").unwrap();
    let before = every_file(&used);
    let said = hooked.lockstep(hooked.root(), &["init", "used"]).failed(1);
    assert!(
        said.contains("README.md") && said.contains("lockstep init DIR"),
        "{said}"
    );
    assert_eq!(every_file(&used), before);

    let inside = hooked.origin().work().join("inside/deep");
    let said = hooked
        .lockstep(hooked.root(), &["init", inside.to_str().unwrap()])
        .failed(1);
    assert!(said.contains("lies in the git repository"), "{said}");
    assert!(!inside.parent().unwrap().exists());

    let nobody = hooked.root().join("nobody");
    fs::write(&nobody, "[user]\n\tuseConfigOnly = true\n").unwrap();
    let said = hooked
        .lockstep_with(hooked.root(), &["init", "new"], &[("GIT_CONFIG_GLOBAL", &nobody)])
        .failed(1);
    assert!(said.contains("git config --global user.name"), "{said}");
    assert!(!hooked.root().join("new").exists());

    hooked.git_in(hooked.root(), &["init", "-q", "committed"]).done();
    let committed = hooked.root().join("committed");
    let commit = [
        "-c",
        "user.name=A",
        "-c",
        "user.email=a@b",
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        "x",
    ];
    hooked.git_in(&committed, &commit).done();
    let said = hooked.lockstep(&committed, &["init"]).failed(1);
    assert!(said.contains("has commits already"), "{said}");
}
