//! A reconciler that starts hears everybody before it tries anything: who lives is no absent one, however long it has
//! lived and however soon a commit waits.

use std::time::{Duration, Instant};

use lockstep_tests::wait::eventually;
use lockstep_tests::{Lab, Service};
use rustix::process::Signal;
use serde_json::Value;

/// Long enough for everybody to be older than the time limit.
fn grow_old(lab: &Lab) {
    let old = |instance: &Value| instance["uptime"].as_f64().is_some_and(|uptime| uptime > 1.2);
    eventually("all are older than their limit", || {
        let status = lab.lockstep(&["status", "--json"]).done();
        let status: Value = serde_json::from_str(&status).expect("it is JSON");
        let services = status["services"].as_array().expect("they are listed");
        let instances = services
            .iter()
            .flat_map(|service| service["instances"].as_array());
        instances.flatten().all(old)
    });
}

fn lab(b: Service) -> Lab {
    Lab::builder()
        .service(Service::acknowledged("a").within("1s"))
        .service(b.within("1s"))
        .start()
}

#[test]
fn a_refusal_counts_that_comes_right_after_a_start() {
    let lab = lab(Service::acknowledged("b"));
    let before = lab.services();
    for round in 1..=4 {
        grow_old(&lab);
        if round % 2 == 0 {
            lab.kill_reconciler();
            lab.kill_guard();
        } else {
            lab.stop_reconciler();
        }
        let refused = lab.set(&[
            ("a", &format!("value = {round}00")),
            ("b", &format!("value = {round}00\nrefuse = true")),
        ]);
        lab.start_reconciler();
        lab.wait_rolled_back(&refused);
        lab.wait_settled(&lab.set(&[
            ("a", &format!("value = {round}")),
            ("b", &format!("value = {round}")),
        ]));
    }
    lab.assert_same_processes(&before);
}

#[test]
fn a_veto_counts_that_is_asked_for_right_after_a_start() {
    let lab = lab(Service::voting("b"));
    grow_old(&lab);
    lab.stop_reconciler();
    let refused = lab.set(&[("a", "value = 2"), ("b", "value = 2\nrefuse = true")]);
    lab.start_reconciler();
    lab.wait_kind("Rejected", &refused);
    assert_eq!((lab.value("a"), lab.value("b")), (1, 1));
}

#[test]
fn who_was_dead_is_started_on_what_settled_before_anything_is_tried() {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .service(Service::acknowledged("b"))
        .start();
    lab.kill_reconciler();
    lab.kill_guard();
    for process in lab.processes() {
        process.signal(Signal::KILL);
    }
    eventually("all are gone", || lab.processes().is_empty());
    let refused = lab.set(&[("a", "value = 2"), ("b", "value = 2\nrefuse = true")]);
    lab.start_reconciler();
    lab.wait_rolled_back(&refused);
    lab.wait_status("both run what settled", |status| {
        status.services.iter().all(|service| service.current)
    });
    assert_eq!((lab.value("a"), lab.value("b")), (1, 1));
}

#[test]
fn who_is_asked_by_a_probe_takes_part_right_after_a_start() {
    let lab = lab(Service::probed("b"));
    grow_old(&lab);
    lab.stop_reconciler();
    let next = lab.set(&[("a", "value = 2"), ("b", "value = 2")]);
    lab.start_reconciler();
    let settled = lab.wait_settled(&next);
    assert_eq!(settled.message, "", "nobody is unproven");
}

#[test]
fn who_crashes_again_and_again_is_not_waited_for() {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .service(Service::acknowledged("b").within("25s"))
        .start();
    lab.wait_settled(&lab.set(&[("b", "value = 2\ncrash = true")]));
    lab.process("b").signal(Signal::KILL);
    lab.wait_status("it crashes again and again", |status| {
        status.instance("b").restarts >= 2
    });
    lab.stop_reconciler();
    let next = lab.set(&[("a", "value = 2")]);
    let began = Instant::now();
    lab.start_reconciler();
    lab.wait_settled(&next);
    assert!(began.elapsed() < Duration::from_secs(15), "it was waited for");
}
