//! The guard is dead and cannot be started again: nothing begins, nobody is touched, nothing is claimed; when it is back
//! all goes on.

use std::fs;
use std::time::Duration;

use lockstep_protocol::Revision;
use lockstep_tests::processes::Role;
use lockstep_tests::wait::{eventually, stays};
use lockstep_tests::{Lab, Service};

fn lab() -> Lab {
    Lab::builder()
        .service(Service::acknowledged("a"))
        .service(Service::acknowledged("b"))
        .start()
}

/// Kills the guard, whose successor cannot read the record; gives what lies in there.
fn lose_guard(lab: &Lab) -> String {
    let (record, log) = (lab.state().join("guard.json"), lab.root().join("run.log"));
    let right = fs::read_to_string(&record).expect("the guard keeps one");
    fs::write(&record, "{").expect("the lab is ours");
    lab.kill_any(&[Role::Guard, Role::Holder]);
    eventually("the reconciler knows it", || {
        let log = fs::read_to_string(&log).expect("it was written");
        log.contains("no guard") && log.contains("guard.json")
    });
    right
}

/// Lets the guard come up again.
fn bring_back(lab: &Lab, record: &str) {
    let (aside, path) = (
        lab.state().join("guard.json.right"),
        lab.state().join("guard.json"),
    );
    fs::write(&aside, record).expect("the lab is ours");
    fs::rename(aside, path).expect("the lab is ours");
    eventually("there is a guard", || {
        lab.processes().iter().any(|process| process.role == Role::Guard)
    });
}

/// Asserts for a while that no rollout of a revision begins.
fn does_not_begin(lab: &Lab, revision: &Revision, after: u64) {
    stays("no rollout begins", Duration::from_secs(2), || {
        let mut later = lab.events().into_iter().filter(|event| event.seq > after);
        !later.any(|event| event.is("Preparing", revision))
    });
    lab.assert_nobody_stopped();
    assert_eq!((lab.value("a"), lab.value("b")), (1, 1));
}

#[test]
fn a_commit_waits_for_the_guard_and_goes_through_when_it_is_back() {
    let lab = lab();
    let before = lab.services();
    let record = lose_guard(&lab);
    let revision = lab.set(&[("a", "value = 2"), ("b", "value = 2")]);
    lab.lockstep(&["sync"]).done();
    does_not_begin(&lab, &revision, 0);
    bring_back(&lab, &record);
    lab.wait_settled(&revision);
    assert_eq!((lab.value("a"), lab.value("b")), (2, 2));
    lab.assert_same_processes(&before);
    lab.assert_nobody_stopped();
    lab.assert_volume_whole();
}

#[test]
fn a_rollout_that_has_touched_nobody_is_aborted_and_begins_again_when_the_guard_is_back() {
    let wait = "while [ ! -e {lab}/go ]; do sleep 0.05; done # {candidate}";
    let lab = Lab::builder()
        .service(Service::acknowledged("a").check(&["/bin/sh", "-c", wait]))
        .service(Service::acknowledged("b"))
        .unstarted()
        .start();
    fs::write(lab.root().join("lab/go"), "").expect("the lab is ours");
    lab.start_reconciler();
    lab.wait_settled(&lab.origin().revision("HEAD"));
    fs::remove_file(lab.root().join("lab/go")).expect("it is there");
    let before = lab.services();
    let revision = lab.set(&[("a", "value = 2"), ("b", "value = 2")]);
    lab.wait_kind("Preparing", &revision);
    let record = lose_guard(&lab);
    let aborted = lab.wait_kind("Aborted", &revision);
    assert!(
        aborted.message.contains("the guard cannot be reached"),
        "{aborted:?}"
    );
    fs::write(lab.root().join("lab/go"), "").expect("the lab is ours");
    does_not_begin(&lab, &revision, aborted.seq);
    bring_back(&lab, &record);
    lab.wait_settled(&revision);
    assert_eq!((lab.value("a"), lab.value("b")), (2, 2));
    lab.assert_same_processes(&before);
}

#[test]
fn down_says_that_services_may_live_and_fails() {
    let lab = lab();
    let before = lab.services();
    let record = lose_guard(&lab);
    let said = lab.lockstep(&["down"]).failed(1);
    assert!(
        said.contains("the guard cannot be reached") && said.contains("may live"),
        "{said}"
    );
    lab.assert_same_processes(&before);
    assert!(lab.reconciler().is_some(), "it goes on");
    bring_back(&lab, &record);
    lab.lockstep(&["down"]).done();
    assert_eq!(lab.processes(), Vec::new());
}

#[test]
fn down_ends_whom_a_dead_guard_left_behind_or_says_that_they_may_live() {
    let lab = lab();
    let before = lab.services();
    let record = lose_guard(&lab);
    lab.kill_reconciler();
    let said = lab.lockstep(&["down"]).failed(1);
    assert!(said.contains("guard.json") && said.contains("may live"), "{said}");
    lab.assert_same_processes(&before);
    fs::write(lab.state().join("guard.json"), record).expect("the lab is ours");
    lab.lockstep(&["down"]).done();
    assert_eq!(lab.processes(), Vec::new());
    let said = lab.lockstep(&["down"]).done();
    assert!(said.contains("nothing is running"), "{said}");
}

#[test]
fn down_fails_at_once_when_the_guard_dies_in_the_middle() {
    let deaf = "trap '' TERM; echo deaf > {lab}/deaf; while :; do sleep 0.05; done";
    let deaf = Service::program("deaf", &["/bin/sh", "-c", deaf])
        .reads(&["config.toml#deaf"])
        .reload("{ restart = {} }")
        .pause("none")
        .tier("running");
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .service(deaf)
        .start();
    eventually("it is deaf", || lab.root().join("lab/deaf").exists());
    let mut down = std::process::Command::new(lab.root().join("bin/lockstep"))
        .args(["down", "--settings"])
        .arg(lab.settings())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the program was built");
    // Whoever listens has ended, and the deaf one has some seconds left.
    eventually("a is down", || !lab.services().contains_key("a"));
    lab.kill_any(&[Role::Guard, Role::Holder]);
    let mut said = String::new();
    let mut err = down.stderr.take().expect("it is piped");
    std::io::Read::read_to_string(&mut err, &mut said).expect("it says something");
    let ended = down.wait().expect("it is our child");
    assert_eq!(ended.code(), Some(1), "{said}");
    assert!(
        said.contains("the guard was lost while it ended everything"),
        "{said}"
    );
    lab.lockstep(&["down"]).done();
    assert_eq!(lab.processes(), Vec::new());
}
