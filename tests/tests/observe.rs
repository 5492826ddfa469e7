//! `observe = true`: what would happen is told, and nobody is touched, until it is switched off.

use std::fs;

use lockstep_tests::wait::eventually;
use lockstep_tests::{Lab, Service};
use rustix::process::Signal;

#[test]
fn commits_are_judged_and_told_and_nobody_is_touched_until_it_is_switched_off() {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .service(Service::acknowledged("b"))
        .unstarted()
        .start();
    let settings = fs::read_to_string(lab.settings()).expect("it was written");
    let observing = settings.replace("[rollout]\n", "[rollout]\nobserve = true\n");
    assert_ne!(settings, observing);
    fs::write(lab.settings(), observing).expect("the lab's folder is writable");
    lab.start_reconciler();
    let first = lab.origin().revision("HEAD");
    let observed = lab.wait_kind("Observed", &first);
    assert!(observed.message.contains("the first release"), "{observed:?}");
    let next = lab.set(&[("b", "value = 2")]);
    let observed = lab.wait_kind("Observed", &next);
    assert_eq!(observed.message, "it would reload b");
    // It is the base of what comes now; looked at again it is still the change that it was, and told once.
    lab.lockstep(&["sync"]).done();
    let plan = lab.lockstep(&["plan"]).done();
    assert!(plan.contains("value  1 -> 2"), "{plan}");
    let told = lab.events().into_iter().filter(|event| event.kind == "Observed");
    assert_eq!(told.count(), 2);
    let broken = lab.publish(&[("config/config.toml", "[a\n")]);
    let rejected = lab.wait_kind("Rejected", &broken);
    assert!(rejected.message.contains("LS0101"), "{rejected:?}");
    let good = lab.set(&[("b", "value = 3")]);
    lab.wait_kind("Observed", &good);

    let status = lab.status();
    assert_eq!((status.live, status.services.len()), (None, 2));
    let held = status.held.expect("it is held");
    assert!(
        held.reason.contains("observe = true") && held.reason.contains("SIGHUP"),
        "{held:?}"
    );
    for words in [&["rollback"][..], &["suspend", "--reason", "x"], &["retry"]] {
        let said = lab.lockstep(words).failed(1);
        assert!(said.contains("nobody is touched"), "{said}");
    }
    assert!(!lab.volume().exists(), "the volume is not made");
    assert_eq!(
        lab.processes().len(),
        1,
        "no guard, no service: {:?}",
        lab.processes()
    );

    fs::write(lab.settings(), settings).expect("the lab's folder is writable");
    lab.hang_up();
    lab.wait_settled(&good);
    assert_eq!((lab.value("a"), lab.value("b")), (1, 3));
    let before = lab.services();
    let settings = fs::read_to_string(lab.settings()).expect("it was written");
    for (text, said) in [
        (
            settings.replace("[rollout]\n", "[rollout]\nobserve = true\n"),
            "observing",
        ),
        (settings.clone(), "term"),
    ] {
        let from = lab.now();
        fs::write(lab.settings(), text).expect("the lab's folder is writable");
        lab.hang_up();
        lab.wait_event_after(from, "it began anew", |event| {
            event.kind == "Started" && event.message.contains(said)
        });
    }
    lab.wait_settled(&lab.set(&[("a", "value = 4"), ("b", "value = 4")]));
    lab.assert_same_processes(&before);
    eventually("all is well", || lab.status().alarms.is_empty());
}

/// One that observes, and the settings with which it would not.
fn observing() -> (Lab, String) {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .unstarted()
        .start();
    let settings = fs::read_to_string(lab.settings()).expect("it was written");
    let observing = settings.replace("[rollout]\n", "[rollout]\nobserve = true\n");
    fs::write(lab.settings(), observing).expect("the lab's folder is writable");
    lab.start_reconciler();
    (lab, settings)
}

#[test]
fn one_that_was_taken_over_from_ends_and_is_in_nobodys_way() {
    let (lab, settings) = observing();
    let mut observer = lab.take_reconciler();
    fs::write(lab.settings(), settings).expect("the lab's folder is writable");
    lab.start_reconciler_with(&["--take-over"]);
    assert_eq!(observer.wake_to_end().code(), Some(1));
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    assert_eq!(lab.value("a"), 2);
}

#[test]
fn a_signal_to_one_that_was_taken_over_from_deposes_nobody() {
    let (lab, settings) = observing();
    let hanging = lab.reconciler().expect("it runs");
    hanging.signal(Signal::STOP);
    hanging.signal(Signal::HUP);
    let mut observer = lab.take_reconciler();
    fs::write(lab.settings(), settings).expect("the lab's folder is writable");
    lab.start_reconciler_with(&["--take-over"]);
    lab.wait_settled(&lab.origin().revision("HEAD"));
    assert_eq!(observer.wake_to_end().code(), Some(1));
    for value in 2..4 {
        lab.wait_settled(&lab.set(&[("a", &format!("value = {value}"))]));
    }
    assert_eq!(lab.value("a"), 3);
}
