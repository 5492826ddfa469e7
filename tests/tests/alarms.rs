//! An alarm that is told stands in the status as long as what it is about.

use lockstep_tests::points::Arrival;
use lockstep_tests::wait::eventually;
use lockstep_tests::{Lab, Service};

#[test]
fn what_a_rollout_alarms_about_stands_until_it_is_over() {
    let lab = Lab::builder()
        .service(Service::by_hand("a").pause("freeze").within("10s"))
        .settings("[rollout]\npause_limit = \"200ms\"")
        .unstarted()
        .start();
    lab.spawn_with_points(&[]);
    lab.wait_settled(&lab.origin().revision("HEAD"));
    lab.stop_in("Unpausing", 0);
    let revision = lab.set(&[("a", "value = 2\nbehave = \"silent\"")]);
    assert!(matches!(lab.wait_stopped(|| false), Arrival::At(_)));
    let process = lab.process("a");
    eventually("the limit ends the pause", || !process.is_stopped());
    lab.stop_nowhere();
    lab.wake_reconciler();
    let told = lab.wait_event("it is told", |event| event.kind == "Alarm");
    assert!(told.message.contains("was ended by its limit"), "{told:?}");
    lab.wait_status("it stands", |status| {
        status.rollout.is_some() && status.alarms.contains(&told.message)
    });
    lab.wait_rolled_back(&revision);
    lab.wait_status("it is over", |status| {
        status.rollout.is_none() && status.alarms.is_empty()
    });
}
