//! The pre-commit framework itself runs our hooks: those of this repository, and those that the template brings.
//!
//! Run by `cargo e2e precommit`, because it needs the framework.
#![allow(clippy::unwrap_used, reason = "in a test the place says enough")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use lockstep_source::testing::git;
use lockstep_tests::Ran;
use lockstep_tests::hooked::Hooked;

/// Runs a command with the framework on its PATH and a cache of its own.
fn run(hooked: &Hooked, mut command: Command) -> Ran {
    let home = hooked.root().join("home");
    command
        .env("PRE_COMMIT_HOME", home.join("cache"))
        .env("HOME", home);
    hooked.run(command)
}

fn framework(hooked: &Hooked, folder: &Path, words: &[&str]) -> Ran {
    let program = std::env::var_os("LOCKSTEP_PRE_COMMIT").expect("`cargo e2e precommit` names it");
    let mut command = Command::new(program);
    command.args(words).current_dir(folder);
    command
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    run(hooked, command)
}

fn git_in(hooked: &Hooked, folder: &Path, words: &[&str]) -> Ran {
    let mut command = git(folder);
    command
        .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org"])
        .args(words);
    run(hooked, command)
}

/// Breaks the document, which neither can be committed nor pushed, and mends it.
fn is_judged(hooked: &Hooked, folder: &Path, document: &Path) {
    let good = fs::read_to_string(document).unwrap();
    fs::write(document, format!("{good}\nbroken = \n")).unwrap();
    let said = git_in(hooked, folder, &["commit", "-q", "-a", "-m", "broken"]).failed(1);
    assert!(
        said.contains("error[LS0101]") && said.contains("git commit --no-verify"),
        "{said}"
    );
    // What is staged is judged, not what lies there.
    git_in(hooked, folder, &["add", "-A"]).done();
    fs::write(document, &good).unwrap();
    git_in(hooked, folder, &["commit", "-q", "-m", "broken"]).failed(1);
    git_in(hooked, folder, &["commit", "-q", "--no-verify", "-m", "broken"]).done();
    let said = git_in(hooked, folder, &["push", "-q", "origin", "HEAD:main"]).failed(1);
    assert!(
        said.contains("error[LS0101]") && said.contains("git push --no-verify"),
        "{said}"
    );
    git_in(hooked, folder, &["push", "-q", "origin", "HEAD:refs/heads/draft"]).done();
    fs::write(document, format!("{good}\n# mended\n")).unwrap();
    git_in(hooked, folder, &["commit", "-q", "-a", "-m", "mended"]).done();
    git_in(hooked, folder, &["push", "-q", "origin", "HEAD:main"]).done();
}

#[test]
fn the_hooks_of_this_repository_are_installed_without_compiling_and_judge() {
    let hooked = Hooked::new();
    // What the framework needs of our repository is this file.
    let ours = hooked.root().join("lockstep");
    fs::create_dir(&ours).unwrap();
    let hooks = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.pre-commit-hooks.yaml");
    fs::copy(hooks, ours.join(".pre-commit-hooks.yaml")).unwrap();
    for words in [
        &["init", "-q"][..],
        &["add", "-A"],
        &["commit", "-q", "-m", "ours"],
        &["tag", "v1"],
    ] {
        git_in(&hooked, &ours, words).done();
    }
    let work = hooked.origin().work();
    let config = format!(
        "repos:\n  - repo: {}\n    rev: v1\n    hooks:\n      - id: lockstep-pre-commit\n      - id: lockstep-pre-push\n",
        ours.display()
    );
    hooked.commit(".pre-commit-config.yaml", &config);
    hooked.push(&[]).done();
    let began = Instant::now();
    let types = ["install", "--install-hooks", "-t", "pre-commit", "-t", "pre-push"];
    framework(&hooked, &work, &types).done();
    framework(&hooked, &work, &["run", "--all-files"]).done();
    println!("installed and run after {} ms", began.elapsed().as_millis());
    is_judged(&hooked, &work, &work.join("config/config.toml"));
}

#[test]
fn the_template_brings_its_own() {
    let hooked = Hooked::new();
    hooked.lockstep(hooked.root(), &["init", "new"]).done();
    let new = hooked.root().join("new");
    framework(&hooked, &new, &["install", "--install-hooks"]).done();
    hooked
        .git_in(
            hooked.root(),
            &["init", "-q", "--bare", "-b", "main", "server.git"],
        )
        .done();
    git_in(&hooked, &new, &["remote", "add", "origin", "../server.git"]).done();
    git_in(&hooked, &new, &["push", "-q", "origin", "HEAD:main"]).done();
    is_judged(&hooked, &new, &new.join("config/config.toml"));
}

#[test]
fn a_hook_of_ours_goes_on_under_the_framework_and_the_other_way_round() {
    for ours_first in [true, false] {
        let hooked = Hooked::new();
        hooked.lockstep(hooked.root(), &["init", "new"]).done();
        let new = hooked.root().join("new");
        let ours = || drop(hooked.install(&new, &["--path", "config"]));
        let theirs = || drop(framework(&hooked, &new, &["install"]).done());
        if ours_first {
            ours();
            theirs();
        } else {
            theirs();
            ours();
        }
        let document = new.join("config/config.toml");
        let good = fs::read_to_string(&document).unwrap();
        fs::write(&document, format!("{good}\nbroken = \n")).unwrap();
        git_in(&hooked, &new, &["commit", "-q", "-a", "-m", "broken"]).failed(1);
        fs::write(&document, format!("{good}\n# good\n")).unwrap();
        git_in(&hooked, &new, &["commit", "-q", "-a", "-m", "good"]).done();
    }
}
