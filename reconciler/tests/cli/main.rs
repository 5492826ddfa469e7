//! What the commands print that need no reconciler: each case is compared with a file that holds the command,
//! both outputs and the exit code as a person would see them. `UPDATE=1` writes the files anew; then look at them.

#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

mod converting;
mod harness;
mod schemas;

use harness::{Folder, POLICY, Repo, SCHEMA, every_golden_file_is_used};

/// The subcommands that have a help of their own.
const COMMANDS: &[&str] = &[
    "doctor",
    "run",
    "guard",
    "down",
    "status",
    "events",
    "history",
    "at",
    "why",
    "hook",
    "init",
    "completions",
    "man",
    "plan",
    "validate",
    "explain",
    "convert",
    "schema",
    "sync",
    "wait",
    "rollback",
    "revert",
    "retry",
    "suspend",
    "resume",
    "demo",
];

#[test]
fn help_says_what_there_is() {
    Folder::new().case("help", &[&["--help"], &["-h"]]);
}

#[test]
fn each_command_explains_itself_with_examples() {
    let folder = Folder::new();
    for command in COMMANDS {
        folder.case(&format!("help-{command}"), &[&[command, "--help"]]);
    }
}

#[test]
fn what_does_not_exist_is_said_so() {
    Folder::new().case(
        "misuse",
        &[
            &["histori"],
            &["history", "--since", "yesterday"],
            &["explain", "LS9999"],
            &["explain"],
            &["wait", "--timeout", "5"],
            &["wait", "--timeout", "-5s"],
            &["suspend", "--until", "2h"],
            &["suspend", "--reason", "x", "--until", "soon"],
            &["suspend", "--reason", "x", "--until", "2020-01-01T00:00"],
            &["events", "--since", "yesterday"],
            &["revert"],
            &["validate", "--format", "junit"],
            &["validate", "--staged", "config"],
            &["validate", "nowhere"],
            &["validate", "--staged"],
        ],
    );
}

#[test]
fn a_code_is_explained_in_any_case() {
    Folder::new().case("explain", &[&["explain", "ls0111"]]);
}

#[test]
fn commands_that_need_settings_say_how_to_name_them() {
    Folder::new().case(
        "no-settings",
        &[
            &["status"],
            &["down"],
            &["--settings", "other.toml", "run"],
            &["plan"],
        ],
    );
}

#[test]
fn every_mistake_in_the_settings_is_named_at_once() {
    let folder = Folder::new();
    folder.write("lockstep.toml", SETTINGS_WITH_MISTAKES);
    folder.write("syntax.toml", "[source]\nurl = /srv/config.git\n");
    folder.write(
        "field.toml",
        "[source]\nurl = \"/srv/config.git\"\nbranches = \"main\"\n[volume]\npath = \"v\"\n",
    );
    folder.case(
        "settings",
        &[
            &["status"],
            &["--settings", "syntax.toml", "status"],
            &["--settings", "field.toml", "status"],
        ],
    );
}

const SETTINGS_WITH_MISTAKES: &str = r#"
[source]
url = "/srv/config.git"
branch = ""
interval = "1ms"

[volume]
path = "./volume"
keep = 1

[[service]]
name = "one"
process = { command = [] }
reload = { signal = "SIGNOTHING" }
verify = { tier = "probed" }

[rollout]
pause_limit = "3s"

[state]
path = "./volume/state"
"#;

const SETTINGS: &str = "[source]\nurl = \"/srv/config.git\"\npath = \"config\"\n[volume]\npath = \"./volume\"\n\
                        [state]\npath = \"./state\"\n";

#[test]
fn a_reconciler_that_does_not_run_is_exit_code_3() {
    let folder = Folder::new();
    folder.write("lockstep.toml", SETTINGS);
    folder.case(
        "unreachable",
        &[
            &["status"],
            &["status", "--watch", "--json"],
            &["events", "--follow"],
            &["sync"],
            &["wait"],
            &["rollback"],
            &["revert", "main"],
            &["retry"],
            &["suspend", "--reason", "x"],
            &["resume"],
            &["plan"],
            &["down"],
        ],
    );
}

#[test]
fn a_folder_is_judged_without_git_and_without_settings() {
    let folder = Folder::new();
    folder.write(".lockstep/policy.toml", POLICY);
    folder.write(".lockstep/schema.json", SCHEMA);
    folder.write("config/config.toml", "[limits]\nmax = 5\n");
    folder.case(
        "validate-valid",
        &[
            &["validate"],
            &["validate", "config/config.toml", "--format", "json"],
        ],
    );
}

#[test]
fn every_mistake_is_shown_in_each_format() {
    let folder = Folder::new();
    folder.write(".lockstep/policy.toml", POLICY);
    folder.write(".lockstep/schema.json", SCHEMA);
    folder.write("config/config.toml", "[limits]\nmaxx = 5\nmax = \"a\"\n");
    folder.case(
        "validate-mistakes",
        &[
            &["validate", "."],
            &["validate", ".", "--format", "json"],
            &["validate", ".", "--format", "github"],
            &["validate", ".", "--format", "sarif"],
            &["validate", "config/config.toml"],
            &["validate", ".lockstep"],
        ],
    );
}

#[test]
fn a_folder_without_a_policy_is_judged_by_syntax_alone() {
    let folder = Folder::new();
    folder.write("good.toml", "a = 1\n");
    folder.write("sub/bad.toml", "a = \n");
    folder.case(
        "validate-syntax",
        &[&["validate"], &["validate", "good.toml"], &["validate", "sub"]],
    );
}

#[test]
fn what_cannot_be_published_is_named_with_the_next_step() {
    let folder = Folder::new();
    folder.write("a.toml", "a = 1\n");
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("passwd")).unwrap();
    folder.write("current/a.toml", "a = 1\n");
    folder.case(
        "validate-unpublishable",
        &[&["validate"], &["validate", "--format", "json"]],
    );
}

#[test]
fn settings_say_which_folder_is_published() {
    let folder = Folder::new();
    folder.write("lockstep.toml", SETTINGS);
    folder.write(".lockstep/policy.toml", "version = 1\n");
    folder.write("elsewhere/a.toml", "a = 1\n");
    folder.case("validate-published", &[&["validate"]]);
}

#[test]
fn a_clone_is_judged_as_it_lies_there_as_staged_and_by_commit() {
    let repo = Repo::new();
    repo.write("config/config.toml", "[limits]\nmax = 6\n");
    repo.git(&["add", "--all"]);
    repo.write("config/config.toml", "[limits]\nmax = \"six\"\n");
    repo.case(
        "validate-clone",
        &[
            &["validate"],
            &["validate", "--staged"],
            &["validate", "HEAD"],
            &["validate", "main~1", "--base", "main"],
            &["validate", "no-such-branch"],
        ],
    );
    // Looking has left nothing behind.
    assert_eq!(repo.git(&["status", "--porcelain"]), "MM config/config.toml\n");
    assert_eq!(repo.git(&["fsck", "--unreachable", "--no-reflogs"]), "");
}

#[test]
fn a_clone_is_measured_against_its_upstream() {
    let repo = Repo::new();
    repo.git(&["branch", "upstream", "main~1"]);
    repo.git(&["branch", "--set-upstream-to=upstream"]);
    repo.case("validate-upstream", &[&["validate"]]);
}

#[test]
fn a_clone_is_planned_without_a_reconciler() {
    let repo = Repo::new();
    repo.case("plan-nothing", &[&["plan"]]);
    repo.write(
        "config/config.toml",
        "# The limits.\n[limits]\nmax = 7\nmin = 1\n",
    );
    repo.write("config/notes.txt", "New.\n");
    repo.case(
        "plan-clone",
        &[&["plan"], &["plan", "HEAD"], &["plan", "HEAD", "--json"]],
    );
    repo.write("config/config.toml", "[limits]\nmax = 0\n");
    repo.case("plan-refused", &[&["plan"], &["plan", "--json"]]);
}

#[test]
fn a_plan_is_of_what_is_staged_or_between_two_commits_and_names_rules_and_warnings() {
    let repo = Repo::new();
    let rules = "[[rule]]\nname = \"not-too-many\"\ndocument = \"config/config.toml\"\n\
                 expression = \"self.limits.max <= 6\"\nmessage = \"more than six are seldom meant\"\n\
                 at = \"limits.max\"\nseverity = \"warning\"\n";
    repo.write(".lockstep/policy.toml", &format!("{POLICY}{rules}"));
    repo.write("config/config.toml", "[limits]\nmax = 7\n");
    repo.git(&["add", "--all"]);
    repo.write("config/config.toml", "[limits]\nmax = 8\n");
    repo.case(
        "plan-staged",
        &[
            &["plan", "--staged"],
            &["plan", "--staged", "--markdown"],
            &["plan", "main~1..main"],
            &["plan", "main..main~1", "--markdown"],
            &["plan", "main..nowhere"],
        ],
    );
    repo.case("why-clone", &[&["why", "limits.max"], &["why", "limits.mux"]]);
}

#[test]
fn a_demo_without_its_programs_says_how_to_get_them() {
    let folder = Folder::new();
    folder.case_with("demo-programs", &[("LOCKSTEP_DEMO_BIN", "nowhere")], &[&["demo"]]);
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let folder = Folder::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = folder.run(&["completions", shell]);
        let script = String::from_utf8(output.stdout).unwrap();
        for command in COMMANDS {
            assert!(script.contains(command), "{shell} does not know {command}");
        }
    }
    std::fs::create_dir(folder.path().join("man")).unwrap();
    assert!(folder.run(&["man", "man"]).status.success());
    for command in COMMANDS {
        let page = std::fs::read_to_string(folder.path().join(format!("man/lockstep-{command}.1"))).unwrap();
        assert!(page.contains("Example"), "{command}");
    }
    let nowhere = folder.run(&["man", "nowhere"]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("name a folder that exists"));
}

#[test]
fn no_golden_file_is_left_over() {
    every_golden_file_is_used(concat!(
        include_str!("main.rs"),
        include_str!("converting.rs"),
        include_str!("schemas.rs"),
    ));
}
