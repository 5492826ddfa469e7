//! What is precious: a connection that outlives every change.

use lockstep_tests::{Lab, Service, Sessions};

#[test]
fn one_tcp_connection_lives_through_two_hundred_rollouts() {
    let sessions = Sessions::listen();
    let holder = Service::acknowledged("holder").args(&["--connect", &sessions.address().to_string()]);
    let lab = Lab::builder()
        .service(holder)
        .service(Service::acknowledged("other"))
        .start();
    let before = lab.services();
    sessions.assert_one_never_dropped();
    for value in 2..=201 {
        let lines = format!("value = {value}");
        lab.wait_settled(&lab.set(&[("holder", &lines), ("other", &lines)]));
    }
    assert_eq!((lab.value("holder"), lab.value("other")), (201, 201));
    assert!(lab.ask("holder").rings >= 200);
    sessions.assert_one_never_dropped();
    lab.assert_same_processes(&before);
    lab.assert_nobody_stopped();
    let reconciler = lab.reconciler().expect("it lives");
    let open = std::fs::read_dir(format!("/proc/{}/fd", reconciler.pid))
        .expect("it is ours")
        .count();
    assert!(open < 250, "the reconciler has {open} open files");
}
