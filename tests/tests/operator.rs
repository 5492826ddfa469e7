//! What an operator installs beside the binary, judged by the programs that will read it: units by systemd, rules and
//! metrics by Prometheus' own tool.
//!
//! Run by `cargo e2e operator`, because it needs both.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lockstep_tests::{Lab, Service};

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging")
}

/// Runs a program to its end, and gives all that it said.
#[track_caller]
fn succeeds(command: &mut Command) -> String {
    let output = command.output().expect("it can be run");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

/// What the web port of a lab in which something happened exports.
fn exported() -> String {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .unstarted()
        .start();
    let port = std::net::TcpListener::bind((lab.address(), 0))
        .and_then(|listener| listener.local_addr())
        .expect("there are ports");
    let settings = fs::read_to_string(lab.settings()).expect("it was written");
    fs::write(
        lab.settings(),
        format!("{settings}\n[web]\nlisten = \"{port}\"\n"),
    )
    .expect("the folder is the lab's");
    lab.start_reconciler();
    lab.wait_settled(&lab.origin().revision("HEAD"));
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    let mut stream = TcpStream::connect(port).expect("it listens");
    stream
        .write_all(b"GET /metrics HTTP/1.0\r\n\r\n")
        .expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("it is HTTP");
    assert!(head.contains(" 200 "), "{head}");
    body.to_owned()
}

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'));
    words
        .filter(|word| word.starts_with("lockstep_"))
        .map(|word| word.trim_end_matches("_bucket").to_owned())
        .collect()
}

#[test]
fn systemd_understands_the_units() {
    let place = tempfile::tempdir().expect("there is room");
    let mut verify = Command::new("systemd-analyze");
    verify.args(["--man=no", "verify"]);
    for name in ["lockstep.service", "lockstep-guard.service"] {
        let unit = fs::read_to_string(packaging().join("systemd").join(name)).expect("it is there");
        // Verifying looks for the program, which is not installed here.
        let unit = unit.replace("/usr/local/bin/lockstep", "/bin/true");
        let path = place.path().join(name);
        fs::write(&path, unit).expect("there is room");
        verify.arg(path);
    }
    let said = succeeds(&mut verify);
    // Of the units of this machine others may be named; of ours nothing is to be said.
    let ours: Vec<_> = said.lines().filter(|line| line.contains("lockstep")).collect();
    assert_eq!(ours, Vec::<&str>::new());
}

#[test]
fn the_alert_rules_do_what_their_tests_say() {
    let place = packaging().join("prometheus");
    succeeds(
        Command::new("promtool")
            .args(["check", "rules", "lockstep.rules.yml"])
            .current_dir(&place),
    );
    succeeds(
        Command::new("promtool")
            .args(["test", "rules", "lockstep.rules.test.yml"])
            .current_dir(&place),
    );
    let rules = fs::read_to_string(place.join("lockstep.rules.yml")).expect("it is there");
    let tests = fs::read_to_string(place.join("lockstep.rules.test.yml")).expect("it is there");
    for rule in rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
    {
        assert!(tests.contains(rule), "{rule} has no test");
    }
}

#[test]
fn prometheus_takes_the_metrics_and_rules_and_dashboard_name_no_others() {
    let exported = exported();
    let mut check = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it can be run");
    // Its linter reads the older text format, in which the end is not marked.
    let text = exported.replace("# EOF\n", "");
    std::io::Write::write_all(&mut check.stdin.take().expect("it is piped"), text.as_bytes())
        .expect("it reads");
    let output = check.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("error while linting"), "{said}");

    let known = names(&exported);
    for file in ["prometheus/lockstep.rules.yml", "grafana/lockstep.json"] {
        let text = fs::read_to_string(packaging().join(file)).expect("it is there");
        let unknown: Vec<_> = names(&text)
            .into_iter()
            // It is there only while the repository fails.
            .filter(|name| name != "lockstep_source_failing" && !known.contains(name))
            .collect();
        assert_eq!(unknown, Vec::<String>::new(), "{file}");
    }
    let dashboard = fs::read_to_string(packaging().join("grafana/lockstep.json")).expect("it is there");
    serde_json::from_str::<serde_json::Value>(&dashboard).expect("it is JSON");
}
