//! The road of a good commit.

use lockstep_tests::{Lab, Service};

#[test]
fn the_first_commit_starts_the_services_on_it() {
    let lab = Lab::builder()
        .service(Service::voting("a"))
        .service(Service::acknowledged("b"))
        .start();
    assert_eq!((lab.value("a"), lab.value("b")), (1, 1));
    let status = lab.status();
    assert_eq!(
        status.live.as_ref().map(|live| live.revision.clone()),
        Some(lab.origin().revision("HEAD"))
    );
    assert!(
        status.services.iter().all(|service| service.current),
        "{status:#?}"
    );
    assert_eq!((status.candidate, status.rollout), (None, None));
    lab.assert_nobody_stopped();
    lab.assert_volume_whole();
}

#[test]
fn a_change_goes_live_in_both_services_without_a_restart() {
    let lab = Lab::builder()
        .service(Service::voting("a"))
        .service(Service::acknowledged("b"))
        .start();
    let before = lab.services();
    let revision = lab.set(&[("a", "value = 2"), ("b", "value = 3")]);
    let settled = lab.wait_settled(&revision);
    assert_eq!((lab.value("a"), lab.value("b")), (2, 3));
    assert!(
        settled.pause_us.is_some_and(|pause| pause > 0 && pause < 500_000),
        "{settled:?}"
    );
    lab.assert_same_processes(&before);
    lab.assert_nobody_stopped();
    lab.assert_volume_whole();
}

#[test]
fn whoever_reads_nothing_of_a_change_is_not_told() {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .service(Service::acknowledged("b"))
        .start();
    let before = lab.services();
    let revision = lab.set(&[("b", "value = 7")]);
    lab.wait_settled(&revision);
    assert_eq!((lab.ask("a").rings, lab.ask("b").rings), (0, 1));
    assert!(lab.status().service("a").current, "what it runs is right, to it");
    lab.assert_same_processes(&before);
}
