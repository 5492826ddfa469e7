//! The hooks of a clone, and how hooks are installed beside others and taken away: with real git.
#![allow(clippy::unwrap_used, reason = "in a test the place says enough")]

use std::fs;

use lockstep_tests::hooked::{Hooked, every_file, executable};

fn hooks_of_clone(hooked: &Hooked) -> std::path::PathBuf {
    hooked.origin().work().join(".git/hooks")
}

#[test]
fn a_commit_is_judged_by_what_is_staged_and_not_by_what_lies_there() {
    let hooked = Hooked::new();
    let work = hooked.origin().work();
    hooked.install(&work, &[]);
    let before = hooked.head();
    hooked.origin().write_file("config/config.toml", "value = \n");
    hooked.git(&["add", "-A"]).done();
    let said = hooked.git(&["commit", "-m", "broken"]).failed(1);
    assert!(
        said.contains("error[LS0101]") && said.contains("config/config.toml:1:"),
        "{said}"
    );
    assert!(said.contains("git commit --no-verify"), "{said}");
    assert_eq!(hooked.head(), before);
    // Good again where it lies, and still broken where it is staged.
    hooked.origin().write_file("config/config.toml", "value = 2\n");
    hooked.git(&["commit", "-m", "broken"]).failed(1);
    hooked.git(&["add", "-A"]).done();
    hooked.origin().write_file("config/config.toml", "value = \n");
    hooked.git(&["commit", "-m", "good"]).done();
    assert_ne!(hooked.head(), before);
    // What is named or `-a` takes lies in an index of its own.
    hooked.git(&["commit", "-a", "-m", "broken"]).failed(1);
    hooked
        .git(&["commit", "-m", "broken", "config/config.toml"])
        .failed(1);
    hooked
        .git(&["commit", "-a", "--no-verify", "-m", "broken"])
        .done();
    assert_eq!(
        fs::read_dir(hooked.scratch()).unwrap().count(),
        0,
        "nothing is left behind"
    );
}

#[test]
fn a_commit_is_judged_in_a_linked_work_tree_and_from_a_folder_below() {
    let hooked = Hooked::new();
    let work = hooked.origin().work();
    hooked.install(&work, &[]);
    let linked = hooked.root().join("linked");
    hooked
        .git(&["worktree", "add", "-q", linked.to_str().unwrap()])
        .done();
    for folder in [linked, work] {
        fs::write(folder.join("config/config.toml"), "value = \n").unwrap();
        let below = folder.join("config");
        hooked.git_in(&below, &["add", "."]).done();
        let said = hooked.git_in(&below, &["commit", "-m", "broken"]).failed(1);
        assert!(said.contains("error[LS0101]"), "{said}");
        fs::write(folder.join("config/config.toml"), "value = 3\n").unwrap();
        hooked.git_in(&below, &["commit", "-a", "-m", "good"]).done();
    }
}

#[test]
fn the_first_commit_of_all_is_judged() {
    let hooked = Hooked::new();
    let new = hooked.root().join("new");
    hooked.git_in(hooked.root(), &["init", "-q", "new"]).done();
    for (key, value) in [("user.name", "Ada"), ("user.email", "ada@example.org")] {
        hooked.git_in(&new, &["config", key, value]).done();
    }
    hooked.install(&new, &[]);
    fs::write(new.join("a.toml"), "= 1\n").unwrap();
    hooked.git_in(&new, &["add", "-A"]).done();
    hooked.git_in(&new, &["commit", "-m", "first"]).failed(1);
    fs::write(new.join("a.toml"), "a = 1\n").unwrap();
    hooked.git_in(&new, &["commit", "-a", "-m", "first"]).done();
}

#[test]
fn a_push_is_judged_before_it_leaves_if_it_goes_to_the_followed_branch() {
    let hooked = Hooked::new();
    hooked.install(&hooked.origin().work(), &["--pre-push"]);
    let good = hooked.at_server("main");
    hooked.set("value = \n");
    let said = hooked.push(&[]).failed(1);
    assert!(
        said.contains("error[LS0101]") && said.contains("git push --no-verify"),
        "{said}"
    );
    assert_eq!(hooked.at_server("main"), good);
    // Elsewhere it goes live nowhere.
    hooked
        .git(&[
            "push",
            "-q",
            "origin",
            "HEAD:refs/heads/draft",
            "HEAD:refs/tags/v1",
        ])
        .done();
    hooked.git(&["push", "-q", "origin", ":draft"]).done();
    hooked.set("value = 2\n");
    hooked.push(&[]).done();
    assert_eq!(hooked.at_server("main"), hooked.head());
    // Which branch it is can be said.
    hooked.git(&["config", "lockstep.branch", "live"]).done();
    hooked.set("value = \n");
    hooked.push(&[]).done();
    let said = hooked.git(&["push", "origin", "HEAD:refs/heads/live"]).failed(1);
    assert!(said.contains("would reject live"), "{said}");
}

#[test]
fn a_push_onto_a_tip_that_is_not_here_says_what_is_not_judged() {
    let hooked = Hooked::new();
    let other = hooked.root().join("other");
    let bare = hooked.origin().bare();
    hooked
        .git_in(hooked.root(), &["clone", "-q", bare.to_str().unwrap(), "other"])
        .done();
    hooked.set("value = 2\n");
    hooked.push(&[]).done();
    hooked.install(&other, &[]);
    let push = [
        "-c",
        "user.name=A",
        "-c",
        "user.email=a@b",
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        "mine",
    ];
    hooked.git_in(&other, &push).done();
    let ran = hooked.git_in(&other, &["push", "-q", "--force", "origin", "HEAD:main"]);
    assert!(
        ran.err.contains("not in this clone") && ran.err.contains("git fetch"),
        "{}",
        ran.err
    );
    ran.done();
}

#[test]
fn a_hook_that_was_there_is_asked_first_and_comes_back_byte_for_byte() {
    let hooked = Hooked::new();
    let (work, hooks) = (hooked.origin().work(), hooks_of_clone(&hooked));
    let log = hooked.root().join("log");
    let script = |name: &str| {
        format!(
            "#!/bin/sh\n# mine\necho \"{name} $@\" >> {log}\n[ \"$1\" ] && cat >> {log}\n[ ! -e {root}/refuse ] || exit 7\n",
            log = log.display(),
            root = hooked.root().display()
        )
    };
    executable(&hooks.join("pre-commit"), &script("pre-commit"));
    executable(&hooks.join("pre-push"), &script("pre-push"));
    let before = every_file(&hooks);
    let said = hooked.install(&work, &[]);
    assert!(
        said.contains("pre-commit.before-lockstep and asked first"),
        "{said}"
    );
    let installed = every_file(&hooks);
    let said = hooked.install(&work, &[]);
    assert!(said.contains("up to date"), "{said}");
    assert_eq!(every_file(&hooks), installed, "twice is once");

    hooked.origin().write_file("config/config.toml", "value = 2\n");
    hooked.git(&["commit", "-q", "-a", "-m", "good"]).done();
    hooked.push(&[]).done();
    let text = fs::read_to_string(&log).unwrap();
    let server = hooked.origin().bare();
    assert!(text.starts_with("pre-commit \npre-push origin "), "{text}");
    assert!(text.contains(server.to_str().unwrap()), "its arguments: {text}");
    assert!(text.contains(" refs/heads/main "), "its input: {text}");
    // Either may refuse.
    hooked.origin().write_file("config/config.toml", "value = \n");
    assert!(
        hooked
            .git(&["commit", "-a", "-m", "broken"])
            .failed(1)
            .contains("LS0101")
    );
    fs::write(hooked.root().join("refuse"), "").unwrap();
    hooked.origin().write_file("config/config.toml", "value = 3\n");
    let said = hooked.git(&["commit", "-a", "-m", "good"]).failed(1);
    assert!(!said.contains("lockstep"), "nobody else is asked then: {said}");
    fs::remove_file(hooked.root().join("refuse")).unwrap();

    let said = hooked.lockstep(&work, &["hook", "uninstall"]).done();
    assert!(said.contains("the hook from before is back"), "{said}");
    assert_eq!(every_file(&hooks), before);
    let said = hooked.lockstep(&work, &["hook", "uninstall"]).done();
    assert!(said.contains("no hook of Lockstep"), "{said}");
    assert_eq!(every_file(&hooks), before);
}

#[test]
fn hooks_come_and_go_one_by_one() {
    let hooked = Hooked::new();
    let (work, hooks) = (hooked.origin().work(), hooks_of_clone(&hooked));
    let before = every_file(&hooks);
    hooked.install(&work, &["--pre-commit", "--pre-push"]);
    hooked
        .lockstep(&work, &["hook", "uninstall", "--pre-push"])
        .done();
    assert!(hooks.join("pre-commit").exists() && !hooks.join("pre-push").exists());
    // What nobody put there is nobody's of ours.
    executable(&hooks.join("pre-push"), "#!/bin/sh\n");
    hooked
        .lockstep(hooked.root(), &["hook", "uninstall", work.to_str().unwrap()])
        .done();
    assert!(hooks.join("pre-push").exists());
    fs::remove_file(hooks.join("pre-push")).unwrap();
    assert_eq!(every_file(&hooks), before);
}

#[test]
fn a_hook_that_took_the_place_of_ours_is_not_overwritten() {
    let hooked = Hooked::new();
    let (work, hooks) = (hooked.origin().work(), hooks_of_clone(&hooked));
    executable(&hooks.join("pre-commit"), "#!/bin/sh\n# first\n");
    hooked.install(&work, &["--pre-commit"]);
    executable(&hooks.join("pre-commit"), "#!/bin/sh\n# second\n");
    let before = every_file(&hooks);
    for what in ["install", "uninstall"] {
        let said = hooked.lockstep(&work, &["hook", what]).failed(1);
        assert!(said.contains("keep one of the two"), "{said}");
        assert_eq!(every_file(&hooks), before);
    }
}

#[test]
fn a_folder_for_hooks_of_this_repository_is_used_and_one_of_all_is_refused() {
    let hooked = Hooked::new();
    let work = hooked.origin().work();
    // `--local`, counted from where hooks run.
    hooked.git(&["config", "core.hooksPath", ".githooks"]).done();
    hooked.install(&work.join("config"), &["--pre-commit"]);
    assert!(work.join(".githooks/pre-commit").is_file());
    hooked.origin().write_file("config/config.toml", "value = \n");
    hooked.git(&["commit", "-a", "-m", "broken"]).failed(1);
    hooked.lockstep(&work, &["hook", "uninstall"]).done();
    hooked.git(&["config", "--unset", "core.hooksPath"]).done();

    let shared = hooked.root().join("shared hooks");
    fs::create_dir(&shared).unwrap();
    let global = hooked.root().join("gitconfig");
    fs::write(&global, format!("[core]\n\thooksPath = {}\n", shared.display())).unwrap();
    let said = hooked
        .lockstep_with(&work, &["hook", "install"], &[("GIT_CONFIG_GLOBAL", &global)])
        .failed(1);
    assert!(
        said.contains("shared hooks") && said.contains("gitconfig") && said.contains("core.hooksPath"),
        "{said}"
    );
    assert_eq!(every_file(&shared), []);
    // What it says to do is done.
    let command = said
        .lines()
        .find(|line| line.trim_start().starts_with("git -C"))
        .unwrap();
    let done = std::process::Command::new("sh")
        .arg("-c")
        .arg(command)
        .status()
        .unwrap();
    assert!(done.success());
    hooked
        .lockstep_with(&work, &["hook", "install"], &[("GIT_CONFIG_GLOBAL", &global)])
        .done();
    assert!(hooks_of_clone(&hooked).join("pre-commit").is_file());
}

#[test]
fn a_hook_whose_program_is_gone_says_so_and_refuses() {
    let hooked = Hooked::new();
    let (work, bare) = (hooked.origin().work(), hooked.origin().bare());
    hooked.install(&work, &[]);
    hooked.install(&bare, &[]);
    let away = hooked.root().join("moved");
    fs::rename(hooked.root().join("bin"), &away).unwrap();
    hooked.origin().write_file("config/config.toml", "value = 2\n");
    let said = hooked.git(&["commit", "-a", "-m", "good"]).failed(1);
    let program = hooked.program();
    for words in [
        program.to_str().unwrap(),
        "lockstep hook install",
        "git commit --no-verify",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    hooked.git(&["commit", "-a", "--no-verify", "-m", "good"]).done();
    assert!(hooked.push(&[]).failed(1).contains("git push --no-verify"));
    let said = hooked.push(&["--no-verify"]).failed(1);
    assert!(
        said.contains("remote: lockstep:") && said.contains("nothing is taken here"),
        "{said}"
    );
    // Another one on the PATH will do.
    let path = format!("{}:{}", away.display(), std::env::var("PATH").unwrap());
    let mut push = lockstep_source::testing::git(&work);
    push.args(["push", "-q", "origin", "HEAD:main"]).env("PATH", path);
    assert!(push.status().unwrap().success());
}

#[test]
fn what_does_not_fit_the_place_is_said() {
    let hooked = Hooked::new();
    let bare = hooked.origin().bare();
    let said = hooked
        .lockstep(&bare, &["hook", "install", "--pre-commit"])
        .failed(2);
    assert!(said.contains("--pre-receive"), "{said}");
    let nowhere = hooked.root().join("nowhere");
    fs::create_dir(&nowhere).unwrap();
    let said = hooked.lockstep(&nowhere, &["hook", "install"]).failed(1);
    assert!(said.contains("not a git repository"), "{said}");
}
