//! The watch over how long anybody stands still sees what it is to see, and no more.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use lockstep_tests::stillness::Stillness;
use lockstep_tests::wait::{eventually, stays};
use lockstep_tests::{Lab, Service};
use rustix::process::Signal;

const ALLOWED: Duration = Duration::from_millis(200);

#[test]
fn a_stand_that_is_too_long_is_noticed_and_many_short_ones_are_not_one() {
    let lab = Lab::builder().service(Service::acknowledged("a")).start();
    let a = lab.process("a");
    let still = Stillness::watch(&lab, ALLOWED);
    // Each runs for a moment only, in between which nobody may happen to look.
    for _ in 0..40 {
        a.signal(Signal::STOP);
        eventually("it stands", || a.is_stopped());
        stays("it stands", Duration::from_millis(10), || a.is_stopped());
        a.signal(Signal::CONT);
        assert_eq!(lab.value("a"), 1, "it runs");
    }
    still.assert_short();
    a.signal(Signal::STOP);
    eventually("it is seen", || still.longest() > ALLOWED);
    a.signal(Signal::CONT);
    let asserted = catch_unwind(AssertUnwindSafe(|| still.assert_short()));
    assert!(asserted.is_err(), "nobody said anything");
}
