//! An answer that comes after its rollout is over is not taken for one of the next.

use std::fs;

use lockstep_protocol::Release;
use lockstep_tests::points::Arrival;
use lockstep_tests::threads::Held;
use lockstep_tests::wait::eventually;
use lockstep_tests::{Lab, Service};
use rustix::process::Signal;

/// A lab in which the volume's thread is held still, and a first commit whose rollout was given up before its release was
/// built. None where no thread can be held.
fn given_up(a: Service) -> Option<(Lab, Held)> {
    let lab = Lab::builder()
        .service(a)
        .service(Service::acknowledged("b"))
        .start();
    lab.restart_with_points();
    eventually("the reconciler answers", || {
        lab.lockstep(&["status"]).code == Some(0)
    });
    let reconciler = lab.reconciler().expect("it lives");
    let held = Held::thread(&reconciler, "volume")?;
    let first = lab.set(&[("a", "value = 2")]);
    lab.wait_kind("Preparing", &first);
    lab.process("a").signal(Signal::KILL);
    lab.wait_kind("Aborted", &first);
    Some((lab, held))
}

#[test]
fn what_was_built_for_an_earlier_rollout_is_not_what_the_next_one_is_judged_by() {
    let check = ["/bin/sh", "-c", "! grep -q bad {candidate}/config.toml"];
    let Some((lab, held)) = given_up(Service::acknowledged("a").check(&check)) else {
        return;
    };
    let bad = lab.set(&[("a", "value = 3 # bad"), ("b", "value = 3")]);
    lab.wait_kind("Preparing", &bad);
    drop(held);
    let rejected = lab.wait_kind("Rejected", &bad);
    assert!(rejected.message.contains("its check refused"), "{rejected:?}");
    let good = lab.set(&[("a", "value = 4"), ("b", "value = 4")]);
    lab.wait_settled(&good);
    lab.wait_status("both run it", |status| {
        status.services.iter().all(|service| service.current)
    });
    assert_eq!((lab.value("a"), lab.value("b")), (4, 4));
    lab.assert_volume_whole();
}

#[test]
fn what_was_built_for_an_earlier_rollout_takes_nothing_along_that_the_next_one_needs() {
    let Some((lab, held)) = given_up(Service::acknowledged("a")) else {
        return;
    };
    lab.stop_in("Unpausing", 0);
    lab.origin().write_file("config/new.txt", "new\n");
    let next = lab.set(&[("a", "value = 3"), ("b", "value = 3")]);
    lab.wait_kind("Preparing", &next);
    drop(held);

    let settled = || lab.events().iter().any(|event| event.is("Settled", &next));
    assert_ne!(lab.wait_stopped(settled), Arrival::Over);
    // What readers find from the switch on.
    let published = fs::read_to_string(lab.volume().join("current/.lockstep/release.json"));
    let new = fs::read_to_string(lab.volume().join("new.txt"));
    lab.wake_reconciler();
    lab.wait_settled(&next);
    let published: Release =
        serde_json::from_str(&published.expect("there is a release")).expect("it is a document");
    assert_eq!(published.revision, next, "what was switched to");
    assert_eq!(new.expect("its link is there"), "new\n");
    lab.wait_status("both run it", |status| {
        status.services.iter().all(|service| service.current)
    });
    assert_eq!((lab.value("a"), lab.value("b")), (3, 3));
    lab.assert_volume_whole();
}
