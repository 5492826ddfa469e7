//! The reconciler ends and starts again, with the same settings or others, on a state that is whole or not.

use std::fs;

use lockstep_tests::{Lab, Service};
use rustix::process::Signal;

fn lab() -> Lab {
    Lab::builder()
        .service(Service::acknowledged("a"))
        .service(Service::acknowledged("b"))
        .start()
}

/// Replaces a text in the settings.
fn resettle(lab: &Lab, from: &str, to: &str) {
    let settings = fs::read_to_string(lab.settings()).expect("they are there");
    assert!(settings.contains(from), "{from:?} in\n{settings}");
    fs::write(lab.settings(), settings.replacen(from, to, 1)).expect("the lab is ours");
}

#[test]
fn a_stop_in_the_middle_of_a_rollout_leaves_nobody_paused_and_the_next_start_finishes_it() {
    let lab = lab();
    let before = lab.services();
    let revision = lab.set(&[("a", "value = 2\ndelay = 800"), ("b", "value = 2")]);
    lab.wait_kind("Verifying", &revision);
    lab.stop_reconciler();
    lab.assert_nobody_stopped();
    lab.start_reconciler();
    lab.wait_settled(&revision);
    assert_eq!((lab.value("a"), lab.value("b")), (2, 2));
    lab.assert_same_processes(&before);
    lab.wait_settled(&lab.set(&[("a", "value = 3")]));
}

#[test]
fn a_service_that_is_taken_out_of_the_settings_ends_and_one_that_is_added_starts() {
    let lab = lab();
    let a = lab.process("a");
    lab.stop_reconciler();
    resettle(&lab, "name = \"b\"", "name = \"c\"");
    resettle(&lab, "\"config.toml#b\"", "\"config.toml#c\"");
    resettle(&lab, "lab-service\", \"b\"", "lab-service\", \"c\"");
    let revision = lab.set(&[("c", "value = 5")]);
    lab.start_reconciler();
    lab.wait_settled(&revision);
    lab.wait_status("c is current", |status| status.service("c").current);
    let names: Vec<_> = lab.services().into_keys().collect();
    assert_eq!(names, ["a", "c"]);
    assert_eq!((lab.value("c"), lab.process("a")), (5, a));
}

#[test]
fn settings_that_make_no_sense_are_refused_with_every_mistake() {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .unstarted()
        .start();
    resettle(&lab, "SIGUSR1", "SIGNONE");
    resettle(&lab, "within = \"10s\"", "within = \"0s\"");
    let said = lab.run_to_end(&[]).failed(2);
    for words in [
        "lockstep.toml",
        "\"SIGNONE\" is no signal",
        "within: more than 0 is expected",
    ] {
        assert!(said.contains(words), "{words:?} in {said}");
    }
    resettle(&lab, "[source]", "[sources]");
    let said = lab.run_to_end(&[]).failed(2);
    assert!(said.contains("sources") && said.contains("source"), "{said}");
}

#[test]
fn a_program_that_is_not_there_fails_the_first_release_and_is_named() {
    let lab = Lab::builder()
        .service(Service::program("a", &["/nowhere/to/be/found"]))
        .unstarted()
        .start();
    lab.start_reconciler();
    let failed = lab.wait_event("it failed", |event| event.is_of("Failed", "a"));
    assert!(failed.message.contains("/nowhere/to/be/found"), "{failed:?}");
    lab.wait_event("it is taken back", |event| event.kind == "RolledBack");
    assert!(!lab.volume().join("current").exists());
}

#[test]
fn a_service_that_dies_now_and_then_does_not_stop_changes() {
    let lab = lab();
    for value in 2..=4 {
        lab.process("b").signal(Signal::KILL);
        let revision = lab.set(&[("a", &format!("value = {value}"))]);
        lab.wait_settled(&revision);
        assert_eq!(lab.value("a"), value);
        lab.wait_status("b is back", |status| status.instance("b").state == "applied");
    }
    lab.wait_settled(&lab.set(&[("b", "value = 9")]));
    assert_eq!(lab.value("b"), 9);
}

#[test]
fn a_service_that_its_operator_has_stopped_is_named_and_not_resumed() {
    let lab = lab();
    let b = lab.process("b");
    b.signal(Signal::STOP);
    let revision = lab.set(&[("a", "value = 2"), ("b", "value = 2")]);
    let aborted = lab.wait_kind("Aborted", &revision);
    assert!(aborted.message.contains('b'), "{aborted:?}");
    assert!(b.is_stopped(), "it is somebody else's doing");
    assert!(!lab.process("a").is_stopped());
    assert_eq!(lab.value("a"), 1);
    b.signal(Signal::CONT);
    lab.wait_settled(&revision);
    assert_eq!((lab.value("a"), lab.value("b")), (2, 2));
}

#[test]
fn a_damaged_ledger_is_named_and_nothing_is_started() {
    let lab = lab();
    lab.lockstep(&["down"]).done();
    fs::write(lab.state().join("ledger.json"), "{ \"version\": 1,").expect("the lab is ours");
    let said = lab.run_to_end(&[]).failed(1);
    assert!(
        said.contains("ledger.json is damaged") && said.contains("move it away"),
        "{said}"
    );
    assert!(lab.services().is_empty());
    fs::remove_file(lab.state().join("ledger.json")).expect("the lab is ours");
    lab.start_reconciler();
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
}

#[test]
fn a_state_folder_that_is_lost_costs_no_service_its_life_when_it_was_down() {
    let lab = lab();
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    lab.lockstep(&["down"]).done();
    fs::remove_dir_all(lab.state()).expect("the lab is ours");
    lab.forget_events();
    lab.start_reconciler();
    assert_eq!(lab.value("a"), 2);
    lab.wait_settled(&lab.set(&[("a", "value = 3")]));
    assert_eq!(lab.value("a"), 3);
}

#[test]
fn a_live_release_that_is_gone_is_an_alarm_and_the_head_is_rolled_out_again() {
    let lab = lab();
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    lab.lockstep(&["down"]).done();
    let release = fs::canonicalize(lab.volume().join("current")).expect("it leads somewhere");
    fs::remove_dir_all(release).expect("the lab is ours");
    let lost = lab.now();
    lab.start_reconciler();
    lab.wait_event_after(lost, "it is rolled out again", |event| event.kind == "Settled");
    assert_eq!((lab.value("a"), lab.value("b")), (2, 1));
    lab.assert_volume_whole();
}

#[test]
fn a_volume_that_is_made_anew_gets_higher_numbers_than_before() {
    let lab = lab();
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    let before = lab.status().live.expect("it is live").switch;
    lab.lockstep(&["down"]).done();
    fs::remove_dir_all(lab.volume()).expect("the lab is ours");
    let lost = lab.now();
    lab.start_reconciler();
    lab.wait_event_after(lost, "it is rolled out again", |event| event.kind == "Settled");
    assert!(lab.status().live.expect("it is live").switch > before);
    assert_eq!((lab.value("a"), lab.value("b")), (2, 1));
}
