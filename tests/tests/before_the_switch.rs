//! What is found before the switch touches nobody.

use lockstep_tests::processes::Role;
use lockstep_tests::wait::eventually;
use lockstep_tests::{Lab, Service, failing};

#[test]
fn a_check_that_refuses_rejects_and_touches_nobody() {
    let check = ["/bin/sh", "-c", "! grep -n forbidden {candidate}/config.toml"];
    let lab = failing::with(Service::acknowledged("bad").check(&check));
    let (live, good) = (lab.status().live, lab.ask("good"));
    let revision = lab.set(&[("bad", "value = 2 # forbidden"), ("good", "value = 2")]);
    let rejected = lab.wait_kind("Rejected", &revision);
    assert!(
        rejected.message.contains("bad: its check refused the candidate"),
        "{rejected:?}"
    );
    assert!(
        rejected.message.contains("value = 2 # forbidden"),
        "what it printed: {rejected:?}"
    );
    assert_eq!((lab.status().live, lab.ask("good")), (live, good));
    lab.wait_settled(&lab.set(&[("bad", "value = 2")]));
}

#[test]
fn a_pause_that_a_watchdog_would_not_outlast_is_not_begun() {
    let watched = Service::acknowledged("bad").env("WATCHDOG_USEC", "700000");
    let lab = failing::with(watched.pause("freeze"));
    let (live, good) = (lab.status().live, lab.ask("good"));
    let revision = lab.set(&[("bad", "value = 2"), ("good", "value = 2")]);
    let aborted = lab.wait_kind("Aborted", &revision);
    assert!(
        aborted.message.contains("silent for 700ms") && aborted.message.contains("at most 350ms"),
        "{aborted:?}"
    );
    assert_eq!((lab.status().live, lab.ask("good")), (live, good));
}

#[test]
fn a_check_that_does_not_end_aborts_and_leaves_nobody_behind() {
    let forever = "{bin}/lab-service check --as-child live & wait # {candidate}";
    let bad = Service::acknowledged("bad")
        .within(failing::SHORT)
        .check(&["/bin/sh", "-c", forever]);
    let lab = Lab::builder().service(bad).unstarted().start();
    lab.start_reconciler();
    let aborted = lab.wait_event("Aborted", |event| event.kind == "Aborted");
    assert!(
        aborted.message.contains("bad: its check could not be run"),
        "{aborted:?}"
    );
    assert!(aborted.message.contains("no end within 2s"), "{aborted:?}");
    lab.kill_reconciler();
    eventually("nobody is left", || {
        lab.processes()
            .iter()
            .all(|process| matches!(process.role, Role::Guard | Role::Holder))
    });
}

#[test]
fn a_vote_against_rejects_and_touches_nobody() {
    let lab = failing::with(Service::voting("bad"));
    let (live, good) = (lab.status().live, lab.ask("good"));
    let revision = lab.set(&[("bad", "value = 2\nrefuse = true"), ("good", "value = 2")]);
    let rejected = lab.wait_kind("Rejected", &revision);
    assert!(
        rejected.message.contains("bad") && rejected.message.contains("`refuse` is set"),
        "{rejected:?}"
    );
    assert_eq!((lab.status().live, lab.ask("good")), (live, good));
    lab.assert_volume_whole();
}

#[test]
fn a_vote_that_does_not_come_or_is_for_another_rollout_aborts_and_is_asked_for_again() {
    let lab = failing::with(
        Service::by_hand("bad")
            .arg("--vote")
            .tier("voting")
            .within(failing::SHORT),
    );
    let (live, good) = (lab.status().live, lab.ask("good"));
    for vote in ["never", "astray"] {
        let revision = lab.set(&[
            ("bad", &format!("value = 2\nvote = {vote:?}")),
            ("good", "value = 2"),
        ]);
        let aborted = lab.wait_kind("Aborted", &revision);
        assert!(
            aborted.message.contains("no vote came in time from bad"),
            "{aborted:?}"
        );
        assert_eq!((lab.status().live, lab.ask("good")), (live.clone(), good.clone()));
        lab.wait_event_after(aborted.seq, "another try", |event| {
            event.is("Preparing", &revision)
        });
    }
    lab.wait_settled(&lab.set(&[("bad", "value = 2")]));
}

#[test]
fn a_signal_without_a_handler_is_never_sent() {
    let lab = failing::with(
        Service::acknowledged("bad")
            .args(&["--style", "plain", "--reload", "never"])
            .tier("running"),
    );
    let before = lab.services();
    let revision = lab.set(&[("bad", "value = 2"), ("good", "value = 2")]);
    let aborted = lab.wait_kind("Aborted", &revision);
    assert!(
        aborted.message.contains("bad: SIGUSR1 would kill it"),
        "{aborted:?}"
    );
    assert_eq!(lab.value("good"), 1);
    lab.assert_same_processes(&before);
}
