//! The Python examples take the same roads as a Rust service: the one of thirty lines, which acknowledges, and the
//! longer one, which also votes.

use std::fs;
use std::path::Path;

use lockstep_protocol::Revision;
use lockstep_tests::wait::eventually;
use lockstep_tests::{Lab, Service, failing};
use rustix::process::Signal;

/// The example that acknowledges.
const SMALL: &str = "minimal.py";
/// The example that votes as well.
const WHOLE: &str = "lockstep_service.py";

/// Runs an example unchanged in an interpreter that misbehaves where a document says so: `sleep` makes reading it slow,
/// `silent` loses what is said after it, `crash` ends the process.
const MISBEHAVING: &str = "
import os, runpy, sys, time, tomllib
load, replace, rename = tomllib.load, os.replace, os.rename
lost = False
def read(file):
    global lost
    document = load(file)
    time.sleep(document.get('sleep', 0))
    lost = document.get('silent', False)
    if document.get('crash'):
        sys.exit(9)
    return document
tomllib.load = read
os.replace = lambda *names: lost or replace(*names)
os.rename = lambda *names: lost or rename(*names)
runpy.run_path(sys.argv[1], run_name='__main__')
";

fn service(example: &str, tier: &'static str) -> Service {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../services/examples/python")
        .join(example);
    let path = path.to_str().expect("the workspace's path is UTF-8");
    Service::program("example", &["python3", "-c", MISBEHAVING, path]).tier(tier)
}

/// The example beside a Rust service that reads another part of the same document.
fn lab(example: Service) -> Lab {
    Lab::builder()
        .service(example)
        .service(Service::acknowledged("good"))
        .file("config/config.toml", document("limit = 5", 1))
        .start()
}

fn document(lines: &str, value: i64) -> String {
    format!("{lines}\n[good]\nvalue = {value}\n")
}

fn publish(lab: &Lab, lines: &str, value: i64) -> Revision {
    lab.publish(&[("config/config.toml", &document(lines, value))])
}

fn revert(lab: &Lab) -> Revision {
    lab.origin().git(&["revert", "--no-edit", "HEAD"]);
    lab.push();
    lab.origin().revision("HEAD")
}

/// Asserts that both run a release, and that the status shows it.
#[track_caller]
fn all_run(lab: &Lab, limit: i64, value: i64) {
    lab.wait_status("both are current", |status| {
        let mut services = status.services.iter();
        services.all(|service| service.current && service.instances[0].state == "applied")
    });
    let log = fs::read_to_string(lab.state().join("log/example.log")).unwrap_or_default();
    let last = log.lines().last().unwrap_or_default();
    assert!(last.ends_with(&format!("limit is {limit}")), "{log}");
    assert_eq!(lab.value("good"), value);
    lab.assert_nobody_stopped();
}

/// Makes a test of each scenario for each example.
macro_rules! scenarios {
    ($($name:ident)*) => {
        mod the_small_one { $( #[test] fn $name() { super::$name(super::SMALL) } )* }
        mod the_whole_one { $( #[test] fn $name() { super::$name(super::WHOLE) } )* }
    };
}

scenarios! {
    takes_a_change_and_its_revert
    refuses_after_the_switch_and_everybody_goes_back
    is_silent_and_everybody_goes_back
    answers_late_and_its_old_answer_does_not_count
    is_restarted_while_live
    is_revived_by_a_revert
    goes_on_through_a_crash_of_the_reconciler
}

fn takes_a_change_and_its_revert(example: &str) {
    let lab = lab(service(example, "acknowledged"));
    let before = lab.services();
    all_run(&lab, 5, 1);
    lab.wait_settled(&publish(&lab, "limit = 7", 2));
    all_run(&lab, 7, 2);
    lab.wait_settled(&revert(&lab));
    all_run(&lab, 5, 1);
    lab.assert_same_processes(&before);
}

fn refuses_after_the_switch_and_everybody_goes_back(example: &str) {
    let lab = lab(service(example, "acknowledged"));
    let before = lab.services();
    lab.wait_rolled_back(&publish(&lab, "limit = \"many\"", 2));
    let reason = lab.status().quarantined[0].reason.clone();
    assert!(
        reason.contains("`limit` must be a whole number above 0"),
        "{reason}"
    );
    all_run(&lab, 5, 1);
    lab.wait_settled(&publish(&lab, "limit = 8", 3));
    all_run(&lab, 8, 3);
    lab.assert_same_processes(&before);
}

fn is_silent_and_everybody_goes_back(example: &str) {
    let lab = lab(service(example, "acknowledged").within(failing::SHORT));
    let before = lab.services();
    lab.wait_rolled_back(&publish(&lab, "limit = 7\nsilent = true", 2));
    let reason = lab.status().quarantined[0].reason.clone();
    assert!(
        reason.contains("example: it did not acknowledge switch"),
        "{reason}"
    );
    all_run(&lab, 5, 1);
    lab.assert_same_processes(&before);
}

fn answers_late_and_its_old_answer_does_not_count(example: &str) {
    let lab = lab(service(example, "acknowledged").within(failing::SHORT));
    let before = lab.services();
    let slow = publish(&lab, "limit = 7\nsleep = 5", 2);
    lab.wait_rolled_back(&slow);
    all_run(&lab, 5, 1);
    // What it read meanwhile is of the past, and it says nothing of it.
    let quarantined = lab.status().quarantined;
    assert_eq!(quarantined[0].revision, slow);
    lab.wait_settled(&publish(&lab, "limit = 8", 3));
    all_run(&lab, 8, 3);
    lab.assert_same_processes(&before);
}

fn is_restarted_while_live(example: &str) {
    let lab = lab(service(example, "acknowledged"));
    lab.wait_settled(&publish(&lab, "limit = 7", 2));
    let before = lab.process("example");
    let ended = lab.now();
    before.signal(Signal::KILL);
    lab.wait_event_after(ended, "it ended", |event| event.is_of("Ended", "example"));
    eventually("it lives again", || {
        lab.services().get("example").is_some_and(|now| *now != before)
    });
    all_run(&lab, 7, 2);
    lab.wait_settled(&publish(&lab, "limit = 8", 3));
    all_run(&lab, 8, 3);
}

fn is_revived_by_a_revert(example: &str) {
    let lab = lab(service(example, "acknowledged").restart("never"));
    let good = lab.process("good");
    // It is taken while it is dead: by nobody, so it does not veto it.
    lab.process("example").signal(Signal::KILL);
    lab.wait_status("it is dead", |status| status.instance("example").state == "dead");
    lab.wait_settled(&publish(&lab, "limit = 7\ncrash = true", 2));
    lab.wait_status("it is dead", |status| status.instance("example").state == "dead");
    lab.wait_settled(&revert(&lab));
    all_run(&lab, 5, 1);
    assert_eq!(lab.process("good"), good);
}

fn goes_on_through_a_crash_of_the_reconciler(example: &str) {
    let lab = lab(service(example, "acknowledged"));
    let before = lab.services();
    let revision = publish(&lab, "limit = 7\nsleep = 1", 2);
    lab.wait_kind("Verifying", &revision);
    lab.kill_reconciler();
    lab.assert_nobody_stopped();
    lab.start_reconciler();
    lab.wait_settled(&revision);
    all_run(&lab, 7, 2);
    lab.assert_same_processes(&before);
}

#[test]
fn the_whole_one_votes_and_a_vote_against_rejects() {
    let lab = lab(service(WHOLE, "voting"));
    let before = lab.services();
    lab.wait_settled(&publish(&lab, "limit = 7", 2));
    let refused = publish(&lab, "limit = 0", 3);
    let rejected = lab.wait_kind("Rejected", &refused);
    assert!(
        rejected
            .message
            .contains("`limit` must be a whole number above 0"),
        "{rejected:?}"
    );
    all_run(&lab, 7, 2);
    assert_eq!(lab.ask("good").rings, 1, "nobody was told");
    lab.assert_same_processes(&before);
}

#[test]
fn the_small_one_has_thirty_lines_and_needs_nothing() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../services/examples/python")
        .join(SMALL);
    let text = fs::read_to_string(path).expect("it is there");
    assert!(text.lines().count() <= 30, "{}", text.lines().count());
    let imports: Vec<_> = text.lines().filter(|line| line.contains("import ")).collect();
    assert_eq!(imports, ["import datetime, json, os, signal, tomllib"]);
}
