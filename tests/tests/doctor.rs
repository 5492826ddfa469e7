//! `lockstep doctor`: what is fit is said to be, and what is not comes with the next step.

use std::fs;

use lockstep_tests::{Lab, Service};
use serde_json::Value;

/// What it found of something: its level, and the whole of it.
fn found(lab: &Lab, code: i32, what: &str) -> (String, String) {
    let ran = lab.lockstep(&["doctor", "--json"]);
    let text = if code == 0 { ran.done() } else { ran.failed(code) };
    let start = text.find('[').expect("it is a list");
    let all: Vec<Value> = serde_json::Deserializer::from_str(&text[start..])
        .into_iter()
        .next()
        .expect("there is one document")
        .expect("it is JSON");
    let finding = all
        .iter()
        .find(|finding| finding["what"] == what)
        .unwrap_or_else(|| panic!("nothing of {what} in {text}"));
    (
        finding["level"].as_str().unwrap_or_default().to_owned(),
        finding.to_string(),
    )
}

#[test]
fn a_machine_on_which_all_is_well_has_no_problem() {
    let lab = Lab::builder().service(Service::acknowledged("a")).start();
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    let before = lab.services();
    let text = lab.lockstep(&["doctor"]).done();
    assert!(text.contains("\n0 problems, "), "{text}");
    for what in [
        "pausing",
        "volume",
        "state",
        "repository",
        "clock",
        "a, program",
        "a, process",
    ] {
        assert_eq!(found(&lab, 0, what).0, "ok", "{what}: {text}");
    }
    lab.assert_same_processes(&before);
    lab.assert_volume_whole();
}

#[test]
fn files_of_somebody_else_on_the_volume_are_found_before_the_first_start() {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .unstarted()
        .start();
    fs::create_dir(lab.volume()).expect("the lab is ours");
    fs::write(lab.volume().join("mine.toml"), "").expect("the lab is ours");
    let (level, text) = found(&lab, 1, "volume, files");
    assert_eq!(level, "problem");
    assert!(
        text.contains("mine.toml") && text.contains("run --adopt"),
        "{text}"
    );
    assert_eq!(fs::read_dir(lab.volume()).expect("it is there").count(), 1);
}

#[test]
fn a_service_without_its_handler_is_found_before_a_commit_is_aborted() {
    let lab = Lab::builder()
        .service(
            Service::acknowledged("bad")
                .args(&["--style", "plain", "--reload", "never"])
                .tier("running"),
        )
        .start();
    let (level, text) = found(&lab, 1, "bad, process");
    assert_eq!(level, "problem");
    assert!(
        text.contains("no handler for SIGUSR1") && text.contains("next"),
        "{text}"
    );
}

#[test]
fn what_is_not_there_is_named_with_the_next_step() {
    let lab = Lab::builder()
        .service(Service::program("none", &["no-such-program"]))
        .unstarted()
        .start();
    let settings = fs::read_to_string(lab.settings()).expect("it was written");
    let settings = settings.replace("[source]\n", "[source]\nbranch = \"elsewhere\"\n");
    fs::write(lab.settings(), settings).expect("the lab's folder is writable");
    fs::write(lab.state(), "no folder").expect("the lab's folder is writable");
    for (what, words) in [
        ("none, program", "no-such-program is in none of"),
        ("repository", "no branch elsewhere; it has main"),
        ("state", "is no folder"),
    ] {
        let (level, text) = found(&lab, 1, what);
        assert_eq!(level, "problem", "{text}");
        assert!(text.contains(words), "{text}");
    }
    assert_eq!(found(&lab, 1, "reconciler").0, "warning");
}
