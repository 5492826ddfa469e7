//! A service that ended for good, by its restart policy, is not started by a reconciler that comes back to it.

use std::fs;

use lockstep_tests::failing::SHORT;
use lockstep_tests::wait::eventually;
use lockstep_tests::{Lab, Service};
use rustix::process::Signal;

/// How often the guard started a service.
fn starts(lab: &Lab, service: &str) -> usize {
    let log = fs::read_to_string(lab.state().join("guard.log")).expect("the guard writes one");
    log.matches(&format!(" {service} runs as process ")).count()
}

/// A change of somebody else goes through, and this one is still dead.
#[track_caller]
fn assert_left_alone(lab: &Lab, service: &str) {
    // Whoever is to be started is started before anything is tried.
    lab.wait_settled(&lab.set(&[("other", "value = 2")]));
    assert_eq!(lab.status().instance(service).state, "dead");
    assert_eq!(starts(lab, service), 1, "starts of {service}");
    assert!(!lab.services().contains_key(service));
}

#[test]
fn what_is_never_started_again_stays_down_after_the_reconciler_was_away() {
    let lab = Lab::builder()
        .service(Service::acknowledged("once").restart("never"))
        .service(Service::acknowledged("other"))
        .start();
    lab.stop_reconciler();
    lab.process("once").signal(Signal::KILL);
    eventually("it is gone", || !lab.services().contains_key("once"));
    lab.start_reconciler();
    assert_left_alone(&lab, "once");
    // A change of its own starts it.
    lab.wait_settled(&lab.set(&[("once", "value = 2")]));
    assert_eq!(lab.value("once"), 2);
}

#[test]
fn what_ended_well_and_is_started_on_failure_stays_down_after_the_reconciler_was_away() {
    let until = "while [ ! -e {lab}/end ]; do sleep 0.05; done";
    let once = Service::program("once", &["/bin/sh", "-c", until])
        .reads(&["config.toml#once"])
        .reload("{ restart = {} }")
        .pause("none")
        .tier("running")
        .restart("on-failure");
    let lab = Lab::builder()
        .service(once)
        .service(Service::acknowledged("other"))
        .start();
    lab.stop_reconciler();
    let end = lab.root().join("lab/end");
    fs::write(&end, "").expect("the lab is ours");
    eventually("it is gone", || !lab.services().contains_key("once"));
    fs::remove_file(&end).expect("it is there");
    lab.start_reconciler();
    assert_left_alone(&lab, "once");
}

#[test]
fn what_ends_while_a_rollout_is_taken_up_stays_down_after_it() {
    let lab = Lab::builder()
        .service(Service::by_hand("bad").within(SHORT))
        .service(Service::acknowledged("once").restart("never"))
        .service(Service::acknowledged("other"))
        .start();
    let revision = lab.set(&[("bad", "value = 2\nbehave = \"stubborn\"")]);
    lab.wait_event("Stuck", |event| event.kind == "Stuck");
    lab.kill_reconciler();
    let killed = lab.now();
    lab.start_reconciler();
    lab.wait_event_after(killed, "Stuck again", |event| event.kind == "Stuck");
    lab.process("once").signal(Signal::KILL);
    lab.wait_status("its end is known", |status| {
        status.instance("once").state == "dead"
    });
    lab.process("bad").signal(Signal::KILL);
    lab.wait_rolled_back(&revision);
    lab.edit(&[("bad", "value = 3")]);
    assert_left_alone(&lab, "once");
    assert_eq!(lab.value("bad"), 3);
}
