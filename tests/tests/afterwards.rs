//! What comes after a failure: quarantine, Held, Stuck, services that are dead or diverged, and the ways out.

use std::collections::BTreeMap;
use std::time::Duration;

use lockstep_tests::wait::{eventually, stays};
use lockstep_tests::{Lab, Service, failing};
use rustix::process::Signal;

#[test]
fn a_quarantine_outlives_the_reconciler() {
    let lab = failing::with(Service::acknowledged("bad"));
    let before = lab.services();
    let revision = failing::goes_back(&lab, "value = 2\nrefuse = true", "`refuse` is set");
    lab.kill_reconciler();
    let restarted = lab.now();
    lab.start_reconciler();
    let status = lab.wait_status("the head is judged", |status| status.candidate.is_some());
    assert_eq!(
        status.candidate.map(|candidate| candidate.state).as_deref(),
        Some("quarantined")
    );
    lab.lockstep(&["sync"]).done();
    let tried = lab
        .events()
        .into_iter()
        .find(|event| event.seq > restarted && event.is("Preparing", &revision));
    assert_eq!(tried, None);
    lab.assert_same_processes(&before);
}

#[test]
fn stuck_outlives_the_reconciler_and_ends_as_it_would_have() {
    let lab = failing::with(Service::by_hand("bad").within(failing::SHORT));
    let revision = lab.set(&[("bad", "value = 2\nbehave = \"stubborn\""), ("good", "value = 2")]);
    lab.wait_event("Stuck", |event| event.kind == "Stuck");
    lab.kill_reconciler();
    let restarted = lab.now();
    lab.start_reconciler();
    lab.wait_event_after(restarted, "Stuck again", |event| event.kind == "Stuck");
    let bad = lab.process("bad");
    bad.signal(Signal::KILL);
    lab.wait_event_after(restarted, "RolledBack", |event| event.kind == "RolledBack");
    assert_eq!((lab.value("bad"), lab.value("good")), (1, 1));
    assert!(
        lab.status()
            .quarantined
            .iter()
            .any(|entry| entry.revision == revision)
    );
}

#[test]
fn stuck_names_who_is_silent_holds_candidates_and_ends_with_a_successor() {
    let lab = failing::with(Service::by_hand("bad").within(failing::SHORT));
    let good = lab.process("good");
    let revision = lab.set(&[("bad", "value = 2\nbehave = \"stubborn\""), ("good", "value = 2")]);
    let stuck = lab.wait_event("Stuck", |event| event.kind == "Stuck");
    assert!(stuck.message.contains("bad"), "{stuck:?}");
    let status = lab.status();
    let rollout = status.rollout.expect("it is stuck");
    assert_eq!((rollout.state.as_str(), &rollout.to), ("Stuck", &revision));
    lab.assert_nobody_stopped();

    let next = lab.set(&[("bad", "value = 3")]);
    let held = lab.wait_kind("Held", &next);
    assert!(held.message.contains("a rollout is stuck"), "{held:?}");

    lab.process("bad").signal(Signal::KILL);
    lab.wait_rolled_back(&revision);
    lab.wait_settled(&next);
    assert_eq!((lab.value("bad"), lab.process("good")), (3, good));
}

#[test]
fn the_live_tree_as_a_commit_of_its_own_does_not_end_stuck_before_everybody_is_heard() {
    let lab = failing::with(Service::by_hand("bad").within(failing::SHORT));
    lab.set(&[("bad", "value = 2\nbehave = \"stubborn\""), ("good", "value = 2")]);
    lab.wait_event("Stuck", |event| event.kind == "Stuck");
    let back = lab.set(&[("bad", "value = 1"), ("good", "value = 1")]);
    lab.lockstep(&["sync"]).done();
    stays("nobody claims that it settled", Duration::from_secs(3), || {
        lab.events().iter().all(|event| !event.is("Settled", &back))
    });
    lab.process("bad").signal(Signal::KILL);
    lab.wait_settled(&back);
    assert_eq!((lab.value("bad"), lab.value("good")), (1, 1));
}

#[test]
fn a_tree_that_settled_before_is_tried_while_a_rollout_is_stuck() {
    let lab = failing::with(Service::by_hand("bad").within(failing::SHORT));
    lab.wait_settled(&lab.set(&[("bad", "value = 2"), ("good", "value = 2")]));
    lab.set(&[("bad", "value = 3\nbehave = \"stubborn\""), ("good", "value = 3")]);
    lab.wait_event("Stuck", |event| event.kind == "Stuck");
    let back = lab.set(&[("bad", "value = 1"), ("good", "value = 1")]);
    lab.wait_kind("Preparing", &back);
    lab.process("bad").signal(Signal::KILL);
    eventually("everybody works with one of the trees that settled", || {
        let status = lab.status();
        let done = status.rollout.is_none() && status.services.iter().all(|service| service.current);
        done && lab.value("bad") == lab.value("good")
    });
    assert!([1, 2].contains(&lab.value("bad")), "{}", lab.value("bad"));
    lab.assert_nobody_stopped();
    // What is tried again by itself, or when it is asked for, ends there.
    lab.lockstep(&["retry"]).done();
    lab.wait_settled(&back);
    assert_eq!((lab.value("bad"), lab.value("good")), (1, 1));
}

#[test]
fn a_refused_candidate_does_not_stand_in_the_way_of_the_next() {
    let lab = failing::with(Service::acknowledged("bad"));
    let before = lab.services();
    let refused = failing::goes_back(&lab, "value = 2\nrefuse = true", "`refuse` is set");
    lab.wait_settled(&lab.set(&[("bad", "value = 3")]));
    assert_eq!((lab.value("bad"), lab.value("good")), (3, 2));
    lab.assert_same_processes(&before);
    let quarantined = lab.status().quarantined;
    assert!(
        quarantined.iter().any(|entry| entry.revision == refused),
        "it is remembered: {quarantined:?}"
    );
}

#[test]
fn a_commit_that_would_fail_the_same_way_is_held_until_it_changes_that_or_a_retry() {
    let lab = failing::with(Service::acknowledged("bad"));
    failing::goes_back(&lab, "value = 2\nrefuse = true", "`refuse` is set");
    let same = lab.set(&[("good", "value = 5")]);
    let held = lab.wait_kind("Held", &same);
    assert!(
        held.message.contains("it changes nothing that bad reads"),
        "{held:?}"
    );
    let status = lab.status();
    let shown = status.held.expect("it is shown");
    assert_eq!((shown.revision, shown.reason), (same.clone(), held.message));

    let tried = lab.now();
    lab.lockstep(&["retry"]).done();
    lab.wait_event_after(tried, "another try", |event| event.is("Preparing", &same));
    lab.wait_event_after(tried, "the same failure", |event| event.kind == "RolledBack");
    assert_eq!((lab.value("bad"), lab.value("good")), (1, 1));

    lab.wait_settled(&lab.set(&[("bad", "value = 2")]));
    assert_eq!((lab.value("bad"), lab.value("good")), (2, 5));
}

#[test]
fn what_failed_by_time_alone_is_tried_again_by_itself() {
    let lab = failing::with(Service::by_hand("bad").within(failing::SHORT));
    let slow = "value = 2\nbehave = \"silent-once\"";
    failing::goes_back(&lab, slow, "it did not acknowledge switch");
    // Held, for a second.
    lab.wait_settled(&lab.set(&[("good", "value = 4")]));
    assert_eq!((lab.value("bad"), lab.value("good")), (2, 4));
}

#[test]
fn a_settled_configuration_can_be_reverted_while_its_service_crash_loops() {
    let lab = failing::with(Service::acknowledged("bad"));
    let good = lab.process("good");
    let fatal = lab.set(&[("bad", "value = 2\ncrash = true"), ("good", "value = 2")]);
    lab.wait_settled(&fatal);
    let ended = lab.now();
    lab.process("bad").signal(Signal::KILL);
    lab.wait_event_after(ended, "it crashes again", |event| {
        event.is_of("Ended", "bad") && event.message.contains("exited with status 9")
    });
    lab.origin().git(&["revert", "--no-edit", "HEAD"]);
    lab.push();
    lab.wait_settled(&lab.origin().revision("HEAD"));
    assert_eq!((lab.value("bad"), lab.value("good")), (1, 1));
    assert_eq!(lab.process("good"), good);
    lab.assert_nobody_stopped();
}

#[test]
fn a_settled_configuration_can_be_reverted_while_its_service_is_dead() {
    let lab = failing::with(Service::acknowledged("bad").restart("never"));
    let good = lab.process("good");
    let fatal = lab.set(&[("bad", "value = 2\ncrash = true"), ("good", "value = 2")]);
    lab.wait_settled(&fatal);
    lab.process("bad").signal(Signal::KILL);
    lab.wait_event("it ended", |event| event.is_of("Ended", "bad"));
    lab.wait_status("bad is dead", |status| status.instance("bad").state == "dead");
    lab.origin().git(&["revert", "--no-edit", "HEAD"]);
    lab.push();
    lab.wait_settled(&lab.origin().revision("HEAD"));
    assert_eq!((lab.value("bad"), lab.value("good")), (1, 1), "it was started");
    assert_eq!(lab.process("good"), good);
}

#[test]
fn an_absent_service_does_not_veto_what_the_others_take() {
    let lab = failing::with(Service::acknowledged("bad").within(failing::SHORT));
    lab.wait_settled(&lab.set(&[("bad", "value = 2\ncrash = true")]));
    lab.process("bad").signal(Signal::KILL);
    lab.wait_event("it crashes again", |event| {
        event.is_of("Ended", "bad") && event.message.contains("exited with status 9")
    });
    let next = lab.set(&[("bad", "value = 3\ncrash = true"), ("good", "value = 3")]);
    let settled = lab.wait_settled(&next);
    assert!(settled.message.contains("unproven: bad"), "{settled:?}");
    assert_eq!(lab.value("good"), 3);
    lab.wait_settled(&lab.set(&[("bad", "value = 4")]));
    assert_eq!(lab.value("bad"), 4);
}

#[test]
fn a_service_that_refuses_what_it_was_not_to_read_is_diverged() {
    let watching = Service::by_hand("bad")
        .args(&["--reload", "watch", "--section", "shared"])
        .reload("{ watch = {} }");
    let lab = Lab::builder()
        .service(watching)
        .service(Service::acknowledged("good"))
        .unpublished()
        .start();
    let first = lab.set(&[("shared", "value = 1")]);
    lab.start_reconciler();
    lab.wait_settled(&first);
    let before = lab.services();

    let revision = lab.set(&[("shared", "value = 2\nrefuse = true"), ("good", "value = 2")]);
    lab.wait_settled(&revision);
    let diverged = lab.wait_event("Diverged", |event| event.is_of("Diverged", "bad"));
    assert!(diverged.message.contains("`refuse` is set"), "{diverged:?}");
    let status = lab.wait_status("bad is diverged", |status| {
        status.instance("bad").state == "diverged"
    });
    assert!(
        status
            .alarms
            .iter()
            .any(|alarm| alarm.contains("bad is diverged")),
        "{:?}",
        status.alarms
    );

    lab.wait_settled(&lab.set(&[("shared", "value = 3")]));
    let status = lab.wait_status("bad is well", |status| status.instance("bad").state == "applied");
    assert_eq!((status.alarms, lab.value("bad")), (Vec::new(), 3));
    lab.assert_same_processes(&before);
}

#[test]
fn a_first_release_that_fails_is_taken_away_again() {
    let lab = Lab::builder()
        .service(Service::acknowledged("bad").within("2s"))
        .unpublished()
        .start();
    lab.start_reconciler();
    let first = lab.set(&[("bad", "value = 1\nrefuse = true")]);
    let end = lab.wait_rolled_back(&first);
    assert!(!lab.volume().join("current").exists(), "there is no `current`");
    assert_eq!(lab.services(), BTreeMap::new(), "nobody runs");
    let status = lab.status();
    assert_eq!(status.live, None);
    assert!(failing::failure_of(&lab, &end).message.contains("bad") || !status.quarantined.is_empty());
    lab.wait_settled(&lab.set(&[("bad", "value = 2")]));
    assert_eq!(lab.value("bad"), 2);
}
