//! A failure after the switch: everybody goes back, and the revision is quarantined.

use lockstep_tests::{Lab, Service, failing};

#[test]
fn a_refusal_sends_everybody_back() {
    let lab = failing::with(Service::acknowledged("bad"));
    let before = lab.services();
    failing::goes_back(&lab, "value = 2\nrefuse = true", "config.toml: `refuse` is set");
    lab.assert_same_processes(&before);
}

#[test]
fn a_refusal_after_a_favourable_vote_sends_everybody_back() {
    let lab = failing::with(Service::voting("bad"));
    let before = lab.services();
    failing::goes_back(&lab, "value = 2\nrefuse_late = true", "`refuse_late` is set");
    lab.assert_same_processes(&before);
}

#[test]
fn a_probe_that_fails_while_baking_sends_everybody_back() {
    let lab = Lab::builder()
        .service(Service::probed("bad"))
        .service(Service::acknowledged("good"))
        .settings("[rollout]\nbake = \"4s\"")
        .start();
    let before = lab.services();
    failing::goes_back(&lab, "value = 2\nsicken = 1500", "its probe failed while baking");
    lab.assert_same_processes(&before);
}

#[test]
fn silence_sends_everybody_back() {
    let lab = failing::with(Service::by_hand("bad").within(failing::SHORT));
    let before = lab.services();
    failing::goes_back(
        &lab,
        "value = 2\nbehave = \"silent\"",
        "it did not acknowledge switch",
    );
    lab.assert_same_processes(&before);
}

#[test]
fn a_service_that_dies_of_its_signal_is_started_on_what_was_live() {
    let lab = failing::with(Service::by_hand("bad"));
    for (behave, words) in [
        ("exit", "exited with status 3"),
        ("raise", "was killed by SIGUSR1"),
    ] {
        let before = lab.process("bad");
        failing::goes_back(&lab, &format!("value = 2\nbehave = {behave:?}"), words);
        assert_ne!(lab.process("bad"), before);
    }
}

#[test]
fn a_service_that_only_runs_fails_by_dying_of_a_signal_that_it_seemed_to_handle() {
    let lab = failing::with(Service::running("bad").arg("--fragile"));
    let before = lab.process("bad");
    let revision = failing::goes_back(&lab, "value = 2", "exited with status 4");
    assert_ne!(lab.process("bad"), before);
    let quarantined = lab.status().quarantined;
    let reason = &quarantined
        .iter()
        .find(|entry| entry.revision == revision)
        .expect("it is named")
        .reason;
    assert!(
        reason.contains("its first SIGHUP"),
        "the usual cause is named: {reason}"
    );
}

#[test]
fn a_service_that_does_not_come_up_after_its_restart_sends_everybody_back() {
    let lab = failing::with(Service::restarted("bad").within("5s"));
    failing::goes_back(&lab, "value = 2\ncrash = true", "exited with status 9");
}

#[test]
fn a_watching_service_that_refuses_or_is_silent_sends_everybody_back() {
    let lab = failing::with(Service::watching("bad"));
    let before = lab.services();
    failing::goes_back(&lab, "value = 2\nrefuse = true", "`refuse` is set");
    lab.assert_same_processes(&before);
    let silent = Service::by_hand("bad")
        .args(&["--reload", "watch"])
        .reload("{ watch = {} }")
        .within(failing::SHORT);
    let lab = failing::with(silent);
    let before = lab.services();
    failing::goes_back(
        &lab,
        "value = 2\nbehave = \"silent\"",
        "it did not acknowledge switch",
    );
    lab.assert_same_processes(&before);
}

#[test]
fn all_who_fail_are_named() {
    let lab = Lab::builder()
        .service(Service::by_hand("one").within(failing::SHORT))
        .service(Service::by_hand("two").within(failing::SHORT))
        .service(Service::acknowledged("good"))
        .start();
    let silent = "value = 2\nbehave = \"silent\"";
    let revision = lab.set(&[("one", silent), ("two", silent), ("good", "value = 2")]);
    lab.wait_rolled_back(&revision);
    let reason = lab.status().quarantined[0].reason.clone();
    assert!(reason.contains("one: ") && reason.contains("two: "), "{reason}");
}

#[test]
fn a_failing_probe_sends_everybody_back() {
    let lab = failing::with(Service::probed("bad").within(failing::SHORT));
    let before = lab.services();
    failing::goes_back(&lab, "value = 2\nunhealthy = true", "503");
    lab.assert_same_processes(&before);
}

#[test]
fn a_statement_about_anything_else_than_this_switch_counts_for_nothing() {
    let lab = failing::with(Service::by_hand("bad").within(failing::SHORT));
    let before = lab.services();
    for behave in [
        "old-switch",
        "next-switch",
        "other-digest",
        "other-token",
        "refuse-earlier",
    ] {
        failing::goes_back(
            &lab,
            &format!("value = 2\nbehave = {behave:?}"),
            "it did not acknowledge switch",
        );
        lab.assert_same_processes(&before);
    }
}

#[test]
fn what_lies_in_the_status_files_place_is_ignored_and_named() {
    let lab = failing::with(Service::by_hand("bad").within(failing::SHORT));
    let before = lab.services();
    for (behave, words) in [
        ("half", "is not a status document"),
        ("fifo", "is a named pipe"),
        ("link", "is a symbolic link"),
        ("folder", "is a folder"),
        ("huge", "more than 65536 are not read"),
    ] {
        failing::goes_back(
            &lab,
            &format!("value = 2\nbehave = {behave:?}"),
            "it did not acknowledge switch",
        );
        lab.assert_same_processes(&before);
        let log = std::fs::read_to_string(lab.root().join("run.log")).unwrap();
        assert!(log.contains(words), "the log does not say {words:?}");
    }
}

#[test]
fn an_answer_that_comes_after_the_others_were_restored_does_not_count() {
    let lab = failing::with(Service::by_hand("bad").within(failing::SHORT));
    let before = lab.services();
    let revision = lab.set(&[("bad", "value = 2\ndelay = 7000"), ("good", "value = 2")]);
    let restoring = lab.wait_event("Restoring", |event| event.kind == "Restoring");
    lab.wait_event_after(restoring.seq, "the other is restored", |event| {
        event.is_of("Reached", "good")
    });
    assert_eq!(
        (lab.value("good"), lab.value("bad")),
        (1, 1),
        "bad is still at it"
    );
    let stuck = lab.wait_event_after(restoring.seq, "Stuck", |event| event.kind == "Stuck");
    assert!(stuck.message.contains("bad"), "{stuck:?}");
    let end = lab.wait_rolled_back(&revision);
    let settled = lab.events().iter().any(|event| event.is("Settled", &revision));
    assert!(!settled && end.seq > stuck.seq);
    assert_eq!((lab.value("good"), lab.value("bad")), (1, 1));
    lab.assert_same_processes(&before);
}
