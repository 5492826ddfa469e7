//! An answer that comes after its rollout is over is not taken for one of the next.

use std::fs;

use lockstep_protocol::Release;
use lockstep_tests::points::Arrival;
use lockstep_tests::threads::Held;
use lockstep_tests::wait::eventually;
use lockstep_tests::{Lab, Service};
use rustix::process::Signal;

#[test]
fn a_release_that_was_built_for_an_earlier_rollout_is_not_published_by_the_next() {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .service(Service::acknowledged("b"))
        .start();
    lab.kill_reconciler();
    lab.spawn_with_points(&[]);
    eventually("the reconciler answers", || {
        lab.lockstep(&["status"]).code == Some(0)
    });
    let reconciler = lab.reconciler().expect("it lives");
    let Some(held) = Held::thread(&reconciler, "volume") else {
        return;
    };
    let first = lab.set(&[("a", "value = 2")]);
    lab.wait_kind("Preparing", &first);
    // Its rollout is given up while its release is still being built.
    lab.process("a").signal(Signal::KILL);
    lab.wait_kind("Aborted", &first);
    lab.stop_in("Unpausing", 0);
    lab.origin().write_file("config/new.txt", "new\n");
    let next = lab.set(&[("a", "value = 3"), ("b", "value = 3")]);
    lab.wait_kind("Preparing", &next);
    drop(held);

    let settled = || lab.events().iter().any(|event| event.is("Settled", &next));
    assert_ne!(lab.wait_stopped(settled), Arrival::Over);
    let published = lab.volume().join("current/.lockstep/release.json");
    let published = fs::read_to_string(published).expect("there is a release");
    let published: Release = serde_json::from_str(&published).expect("it is a document");
    assert_eq!(published.revision, next, "what was switched to");
    assert_eq!(
        fs::read_to_string(lab.volume().join("new.txt")).expect("its link is there from the switch on"),
        "new\n"
    );
    lab.wake_reconciler();
    lab.wait_settled(&next);
    lab.wait_status("both run it", |status| {
        status.services.iter().all(|service| service.current)
    });
    assert_eq!((lab.value("a"), lab.value("b")), (3, 3));
    lab.assert_volume_whole();
}
