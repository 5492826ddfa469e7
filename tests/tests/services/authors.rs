//! The programs of `docs/authors.md`, as they stand there: each takes a change and its revert while it is frozen for
//! the switch; and what the page says of those that forget the handler.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lockstep_tests::examples::{Format, lab_of, publish, reverted};
use lockstep_tests::wait::eventually;
use lockstep_tests::{Lab, Service};

use super::examples::{place, succeeds, tool_of_go};

/// What stands in the line of a program that sets its handler up.
const HANDLER: &str = "first of all";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The program in this language.
fn program(language: &str) -> String {
    let page = fs::read_to_string(root().join("docs/authors.md")).expect("it is there");
    let fence = format!("\n```{language}\n");
    let mut blocks = page.split(&fence).skip(1);
    let block = blocks.next().expect("there is a program in it");
    assert_eq!(blocks.next(), None, "one program in {language}");
    let (text, _) = block.split_once("\n```\n").expect("it ends");
    format!("{text}\n")
}

/// The same without its handler.
fn forgetful(text: &str) -> String {
    let lines: Vec<_> = text.lines().filter(|line| !line.contains(HANDLER)).collect();
    assert_eq!(lines.len() + 1, text.lines().count(), "one line with {HANDLER:?}");
    lines.join("\n") + "\n"
}

/// A file with this program in a folder of its own.
fn written(folder: &str, file: &str, text: &str) -> PathBuf {
    let path = place(folder).join(file);
    fs::write(&path, text).expect("the folder is ours");
    path
}

fn service(words: &[&str]) -> Service {
    Service::program("example", words)
        .reload("{ signal = \"SIGHUP\" }")
        .tier("running")
}

fn python(folder: &str, text: &str) -> Service {
    let file = written(folder, "main.py", text);
    service(&["python3", &file.to_string_lossy()])
}

fn go(folder: &str, text: &str) -> Service {
    let file = written(folder, "main.go", text);
    let program = file.with_extension("");
    let mut build = tool_of_go("go");
    build.arg("build").arg("-o").arg(&program).arg(&file);
    succeeds(&mut build);
    service(&[&program.to_string_lossy()])
}

fn node(folder: &str, text: &str) -> Service {
    let file = written(folder, "main.js", text);
    service(&["node", &file.to_string_lossy()])
}

fn java(folder: &str, text: &str) -> Service {
    let file = written(folder, "Main.java", text);
    succeeds(Command::new("javac").arg(&file));
    let classes = file.parent().expect("it lies in a folder");
    let memory = ["-Xmx64m", "-XX:+UseSerialGC"];
    service(&[
        "java",
        memory[0],
        memory[1],
        "-cp",
        &classes.to_string_lossy(),
        "Main",
    ])
}

/// Waits until it has said this last.
#[track_caller]
fn says(lab: &Lab, limit: i64) {
    eventually(&format!("it says {limit}"), || {
        let log = fs::read_to_string(lab.state().join("log/example.log")).unwrap_or_default();
        log.lines().last() == Some(&format!("limit is {limit}"))
    });
}

#[track_caller]
fn takes_a_change_and_its_revert(service: Service, format: Format) {
    let lab = lab_of(service, format);
    says(&lab, 5);
    let before = lab.services();
    lab.wait_settled(&publish(&lab, format, &[("limit", "7")], 2));
    says(&lab, 7);
    lab.wait_settled(&reverted(&lab));
    says(&lab, 5);
    lab.assert_same_processes(&before);
    lab.assert_nobody_stopped();
}

#[test]
fn the_one_in_python() {
    takes_a_change_and_its_revert(python("page-python", &program("python")), Format::Json);
}

#[test]
fn the_one_in_go() {
    takes_a_change_and_its_revert(go("page-go", &program("go")), Format::Json);
}

#[test]
fn the_one_in_node() {
    takes_a_change_and_its_revert(node("page-node", &program("js")), Format::Json);
}

#[test]
fn the_one_in_java() {
    takes_a_change_and_its_revert(java("page-java", &program("java")), Format::Properties);
}

#[test]
fn the_one_in_rust_is_the_clients_own() {
    let own = fs::read_to_string(root().join("services/client/examples/limit.rs")).expect("it is there");
    assert_eq!(program("rust"), own);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("it lies in the target folder");
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build
        .args([
            "build",
            "--quiet",
            "--package",
            "lockstep-client",
            "--example",
            "limit",
            "--target-dir",
        ])
        .arg(target)
        .current_dir(root());
    // What cargo tells the test it runs is not meant for another cargo.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_PKG_"))
    {
        build.env_remove(name);
    }
    succeeds(&mut build);
    let program = target.join("debug/examples/limit");
    takes_a_change_and_its_revert(
        service(&[&program.to_string_lossy()]).tier("acknowledged"),
        Format::Toml,
    );
}

/// It looks as if it caught the signal, so only its death tells.
#[track_caller]
fn dies_of_its_first_signal(service: Service, format: Format) {
    let lab = lab_of(service, format);
    says(&lab, 5);
    lab.wait_rolled_back(&publish(&lab, format, &[("limit", "7")], 2));
    let reason = lab.status().quarantined[0].reason.clone();
    assert!(
        reason.contains("example: it ") && reason.contains("if it was its first SIGHUP, a handler that"),
        "{reason}"
    );
    says(&lab, 5);
    assert_eq!(lab.value("good"), 1);
}

#[test]
fn go_without_its_handler_looks_well_and_dies() {
    // With nothing that could ever wake it Go would end it at once.
    let text = forgetful(&program("go"))
        .replace("\t\"os/signal\"\n", "")
        .replace("\t\"syscall\"\n", "\t\"time\"\n")
        .replace("<-told ", "_ = told; time.Sleep(time.Hour) ");
    dies_of_its_first_signal(go("forgetful-go", &text), Format::Json);
}

#[test]
fn java_without_its_handler_looks_well_and_dies() {
    dies_of_its_first_signal(
        java("forgetful-java", &forgetful(&program("java"))),
        Format::Properties,
    );
}

#[test]
fn node_without_its_handler_is_refused_beforehand() {
    let service = node("forgetful-node", &forgetful(&program("js")));
    let lab = lab_of(service, Format::Json);
    says(&lab, 5);
    let before = lab.services();
    let revision = publish(&lab, Format::Json, &[("limit", "7")], 2);
    let aborted = lab.wait_kind("Aborted", &revision);
    assert!(aborted.message.contains("SIGHUP would kill it"), "{aborted:?}");
    lab.assert_same_processes(&before);
}
