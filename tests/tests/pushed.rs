//! A server's hook: real pushes of all kinds to a bare repository, those that are taken and those that are refused.
#![allow(clippy::unwrap_used, reason = "in a test the place says enough")]

use lockstep_tests::hooked::{Hooked, executable};

const POLICY: &str = ".lockstep/policy.toml";

/// A server whose hook judges what is pushed.
fn server(install: &[&str]) -> Hooked {
    let hooked = Hooked::new();
    hooked.install(&hooked.origin().bare(), install);
    hooked
}

/// What the pusher reads of the hook, line by line.
fn remote(said: &str) -> Vec<&str> {
    said.lines()
        .filter_map(|line| line.strip_prefix("remote: "))
        .map(str::trim_end)
        .collect()
}

#[test]
fn a_push_is_taken_or_refused_with_the_diagnostics() {
    let hooked = server(&[]);
    hooked.set("value = 2\n");
    let ran = hooked.push(&[]);
    assert_eq!(
        (ran.code, ran.err.as_str()),
        (Some(0), ""),
        "what is good needs no words"
    );
    let good = hooked.head();
    assert_eq!(hooked.at_server("main"), good);

    hooked.set("value = 2\nother = \n");
    let said = hooked.push(&[]).failed(1);
    let lines = remote(&said);
    assert!(
        lines.iter().any(|line| line.starts_with("error[LS0101]")),
        "{said}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line.contains("--> config/config.toml:2:")),
        "{said}"
    );
    assert!(
        lines.iter().any(|line| line.contains("main is refused")),
        "{said}"
    );
    // Within 80 columns, what git puts before it included.
    assert!(lines.iter().all(|line| line.chars().count() <= 72), "{said}");
    assert!(!said.contains('\u{1b}'), "{said:?}");
    assert_eq!(hooked.at_server("main"), good);

    hooked.set("value = 2\nother = 3\n");
    hooked.push(&[]).done();
    assert_eq!(hooked.at_server("main"), hooked.head());
}

#[test]
fn what_is_pushed_is_seen_before_it_is_taken_loose_or_packed() {
    for limit in ["1", "10000"] {
        let hooked = server(&[]);
        hooked
            .git_in(&hooked.origin().bare(), &["config", "receive.unpackLimit", limit])
            .done();
        for value in 2..6 {
            hooked.set(&format!("value = {value}\n"));
        }
        hooked.push(&[]).done();
        let good = hooked.at_server("main");
        hooked.set("value = \n");
        assert!(hooked.push(&[]).failed(1).contains("LS0101"));
        let broken = hooked.head();
        assert_eq!(hooked.at_server("main"), good);
        assert_eq!(
            hooked.at_server(&format!("{broken}^{{commit}}")),
            "",
            "nothing of it stays"
        );
    }
}

#[test]
fn other_branches_and_tags_are_not_judged_and_one_refusal_refuses_all() {
    let hooked = server(&[]);
    let good = hooked.at_server("main");
    hooked.set("value = \n");
    hooked
        .git(&["push", "-q", "origin", "HEAD:refs/heads/draft"])
        .done();
    hooked.git(&["tag", "-a", "-m", "a tag", "v1"]).done();
    hooked
        .git(&["push", "-q", "origin", "v1", "HEAD:refs/tags/light"])
        .done();
    assert_eq!(hooked.at_server("draft"), hooked.head());
    hooked
        .git(&["push", "-q", "origin", ":draft", ":refs/tags/light"])
        .done();
    // The followed branch beside others.
    let said = hooked
        .git(&["push", "origin", "HEAD:refs/heads/other", "HEAD:main"])
        .failed(1);
    assert!(said.contains("LS0101"), "{said}");
    assert_eq!(
        (hooked.at_server("other").as_str(), hooked.at_server("main")),
        ("", good)
    );
}

#[test]
fn a_new_branch_is_judged_whole_and_a_deleted_one_is_told() {
    let hooked = server(&[]);
    let bare = hooked.origin().bare();
    hooked
        .git_in(&bare, &["config", "receive.denyDeleteCurrent", "ignore"])
        .done();
    let ran = hooked.git(&["push", "origin", ":main"]);
    let said = remote(&ran.err).join(" ");
    assert!(
        said.contains("main is deleted") && said.contains("what is live stays"),
        "{}",
        ran.err
    );
    ran.done();
    hooked.set("value = \n");
    assert!(hooked.push(&[]).failed(1).contains("LS0101"));
    assert_eq!(hooked.at_server("main"), "");
    hooked.set("value = 2\n");
    hooked.push(&[]).done();
    assert_eq!(hooked.at_server("main"), hooked.head());
}

#[test]
fn a_force_push_is_judged_and_says_what_the_reconciler_will_do() {
    let hooked = server(&[]);
    let first = hooked.head();
    hooked.set("value = 2\n");
    hooked.push(&[]).done();
    hooked.git(&["reset", "-q", "--hard", &first]).done();
    hooked.set("value = \n");
    assert!(hooked.push(&["--force"]).failed(1).contains("LS0101"));
    hooked.git(&["reset", "-q", "--hard", &first]).done();
    hooked.set("value = 3\n");
    let ran = hooked.push(&["--force"]);
    let said = remote(&ran.err).join(" ");
    assert!(
        said.contains("main is rewound") && said.contains("rewind = \"allow\""),
        "{}",
        ran.err
    );
    ran.done();
    assert_eq!(hooked.at_server("main"), hooked.head());
    // Back by several.
    let ran = hooked.git(&["push", "--force", "origin", &format!("{first}:main")]);
    assert!(
        remote(&ran.err).join(" ").contains("main is rewound"),
        "{}",
        ran.err
    );
    ran.done();
}

#[test]
fn a_merge_is_judged_by_what_comes_out() {
    let hooked = server(&[]);
    hooked.git(&["checkout", "-q", "-b", "side"]).done();
    hooked.commit("config/other.toml", "= broken\n");
    hooked.git(&["checkout", "-q", "main"]).done();
    hooked.set("value = 2\n");
    hooked
        .git(&["merge", "-q", "--no-ff", "--no-verify", "-m", "merge", "side"])
        .done();
    let said = hooked.push(&[]).failed(1);
    assert!(said.contains("config/other.toml:1:"), "{said}");
    hooked.commit("config/other.toml", "mended = true\n");
    hooked.push(&[]).done();
}

#[test]
fn rules_about_the_old_value_are_judged_against_what_is_there() {
    let hooked = server(&[]);
    hooked.origin().write_file("schema.json", "{}");
    hooked.commit(
        POLICY,
        "version = 1\n[[document]]\npath = \"config/config.toml\"\nschema = \"schema.json\"\n[[rule]]\nname = \"doubles\"\n\
         document = \"config/config.toml\"\nexpression = \"self.value <= 2 * oldSelf.value\"\nmessage = \"at most doubles\"\n",
    );
    hooked.push(&[]).done();
    hooked.set("value = 3\n");
    let said = hooked.push(&[]).failed(1);
    assert!(
        said.contains("LS0401") && said.contains("at most doubles"),
        "{said}"
    );
    // Not by steps that are pushed at once, not by taking the rule away.
    hooked.commit(
        POLICY,
        "version = 1\n[[document]]\npath = \"config/config.toml\"\nschema = \"schema.json\"\n",
    );
    assert!(hooked.push(&[]).failed(1).contains("LS0401"));
    hooked.git(&["reset", "-q", "--hard", "origin/main"]).done();
    hooked.set("value = 2\n");
    hooked.set("value = 4\n");
    hooked.push(&[]).done();
    assert_eq!(hooked.at_server("main"), hooked.head());
}

#[test]
fn a_way_back_is_taken_whatever_the_values_were_in_between() {
    let hooked = server(&[]);
    hooked.origin().write_file("schema.json", "{}");
    hooked.origin().write_file("config/config.toml", "value = 8\n");
    hooked.commit(
        POLICY,
        "version = 1\n[[document]]\npath = \"config/config.toml\"\nschema = \"schema.json\"\n[[rule]]\nname = \"doubles\"\n\
         document = \"config/config.toml\"\nexpression = \"self.value <= 2 * oldSelf.value\"\nmessage = \"at most doubles\"\n",
    );
    hooked.push(&[]).done();
    hooked.set("value = 1\n");
    hooked.push(&[]).done();
    hooked.set("value = 7\n");
    assert!(hooked.push(&[]).failed(1).contains("LS0401"));
    hooked.git(&["reset", "-q", "--hard", "origin/main"]).done();
    let revert = [
        "-c",
        "user.name=A",
        "-c",
        "user.email=a@b",
        "revert",
        "--no-edit",
        "HEAD",
    ];
    hooked.git(&revert).done();
    hooked.push(&[]).done();
    assert_eq!(hooked.at_server("main"), hooked.head());
}

#[test]
fn limits_hold_for_all_that_is_published_and_not_only_for_what_changed() {
    let hooked = server(&["--path", "config"]);
    let policy = |limits: &str| format!("version = 1\n[limits]\n{limits}\n");
    hooked.origin().write_file("config/a/b.txt", "1234567890");
    hooked.commit(POLICY, &policy("files = 3\ntotal_bytes = 39\nfile_bytes = 20"));
    hooked.push(&[]).done();
    let refused = |path: &str, text: &str, code: &str| {
        hooked.commit(path, text);
        let said = hooked.push(&[]).failed(1);
        assert!(said.contains(code), "{path}: {said}");
        hooked.git(&["reset", "-q", "--hard", "origin/main"]).done();
    };
    refused("config/big.txt", &"x".repeat(21), "LS0301");
    refused("config/total.txt", &"x".repeat(20), "LS0303");
    refused(POLICY, &policy("files = 1"), "LS0302");
    refused(POLICY, &policy("file_bytes = 9"), "LS0301");
    // What was larger and goes makes room.
    hooked.git(&["rm", "-q", "config/a/b.txt"]).done();
    hooked.commit("config/c.txt", &"x".repeat(20));
    hooked.push(&[]).done();
    hooked.origin().write_file("outside.txt", "x".repeat(100));
    hooked.commit("config/d.txt", "");
    hooked.push(&[]).done();
    refused("config/e.txt", "", "LS0302");
    // Without a policy, documents that it did not name are judged as well.
    hooked.git(&["rm", "-q", POLICY]).done();
    hooked.commit("config/config.toml", "value = \n");
    assert!(hooked.push(&[]).failed(1).contains("LS0101"));
}

#[test]
fn what_cannot_be_published_is_refused_wherever_it_came_in() {
    let hooked = server(&["--path", "config"]);
    hooked.origin().symlink("config/link", "/etc/passwd");
    hooked.commit("config/A.toml", "a = 1\n");
    let said = hooked.push(&[]).failed(1);
    assert!(said.contains("config/link") && said.contains("LS0304"), "{said}");
    hooked.git(&["rm", "-q", "config/link"]).done();
    hooked.commit("config/b.toml", "b = 1\n");
    hooked.push(&[]).done();
    // A name that collides with one that is there.
    hooked.commit("config/a.toml", "a = 1\n");
    assert!(hooked.push(&[]).failed(1).contains("LS0304"));
    // The folder itself.
    hooked.git(&["reset", "-q", "--hard", "origin/main"]).done();
    hooked.git(&["mv", "config", "elsewhere"]).done();
    hooked.commit("x", "");
    let said = hooked.push(&[]).failed(1);
    assert!(said.contains("no folder `config`"), "{said}");
}

#[test]
fn the_branch_that_is_judged_is_the_one_that_is_followed() {
    let hooked = server(&["--branch", "live"]);
    hooked.set("value = \n");
    hooked.push(&[]).done();
    let said = hooked.git(&["push", "origin", "HEAD:refs/heads/live"]).failed(1);
    assert!(said.contains("live is refused"), "{said}");
    // Said by the repository instead, in which HEAD is another.
    let bare = hooked.origin().bare();
    hooked.install(&bare, &[]);
    hooked
        .git_in(&bare, &["config", "lockstep.branch", "next"])
        .done();
    hooked
        .git(&["push", "-q", "origin", "HEAD:refs/heads/live"])
        .done();
    hooked.git(&["push", "origin", "HEAD:refs/heads/next"]).failed(1);
    hooked
        .git_in(&bare, &["config", "--unset", "lockstep.branch"])
        .done();
    hooked
        .git_in(&bare, &["symbolic-ref", "HEAD", "refs/heads/trunk"])
        .done();
    hooked
        .git(&["push", "-q", "origin", "HEAD:refs/heads/next"])
        .done();
    hooked.git(&["push", "origin", "HEAD:refs/heads/trunk"]).failed(1);
}

#[test]
fn the_settings_of_the_reconciler_say_branch_and_folder_when_the_hook_is_installed() {
    let hooked = Hooked::new();
    let settings = hooked.root().join("lockstep.toml");
    let text = format!(
        "[source]\nurl = \"{}\"\nbranch = \"live\"\npath = \"config\"\n[volume]\npath = \"volume\"\n",
        hooked.origin().bare().display()
    );
    std::fs::write(&settings, text).unwrap();
    let bare = hooked.origin().bare();
    let args = ["hook", "install", "--settings", settings.to_str().unwrap()];
    hooked.lockstep(&bare, &args).done();
    std::fs::remove_file(&settings).unwrap();
    hooked.commit("broken.toml", "= not published\n");
    hooked
        .git(&["push", "-q", "origin", "HEAD:refs/heads/live"])
        .done();
    hooked.commit("config/broken.toml", "= published\n");
    hooked.git(&["push", "-q", "origin", "HEAD:main"]).done();
    hooked
        .git(&["push", "-q", "origin", "HEAD:refs/heads/live"])
        .failed(1);
}

#[test]
fn a_server_s_own_hook_is_asked_first_with_the_same_lines() {
    let hooked = Hooked::new();
    let bare = hooked.origin().bare();
    let log = hooked.root().join("log");
    let own = format!(
        "#!/bin/sh\ncat > {}\ntest ! -e {}/no\n",
        log.display(),
        hooked.root().display()
    );
    executable(&bare.join("hooks/pre-receive"), &own);
    hooked.install(&bare, &[]);
    let before = hooked.at_server("main");
    hooked.set("value = 2\n");
    hooked.push(&[]).done();
    let expected = format!("{before} {} refs/heads/main\n", hooked.head());
    assert_eq!(std::fs::read_to_string(&log).unwrap(), expected);
    std::fs::write(hooked.root().join("no"), "").unwrap();
    hooked.set("value = 3\n");
    hooked.push(&[]).failed(1);
}
