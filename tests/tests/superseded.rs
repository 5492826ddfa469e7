//! A rollout that is stuck and the tree that settled before: it takes the stuck one's place only once `current` is back,
//! and whoever was silent comes along, whatever the new plan says and whoever dies in between.

use std::fs;

use lockstep_protocol::Revision;
use lockstep_tests::events::Event;
use lockstep_tests::failing::{self, SHORT};
use lockstep_tests::points::Arrival;
use lockstep_tests::processes::Role;
use lockstep_tests::wait::eventually;
use lockstep_tests::{Lab, Service};
use rustix::process::Signal;

#[test]
fn a_stuck_rollout_is_not_given_up_before_current_is_back() {
    let lab = Lab::builder()
        .service(Service::by_hand("bad"))
        .service(Service::acknowledged("good"))
        .file("config/extra.txt", "extra\n")
        .start();
    let good = lab.process("good");
    lab.wait_settled(&lab.set(&[("bad", "value = 2"), ("good", "value = 2")]));
    lab.origin().remove("config/extra.txt");
    let stuck = lab.set(&[("bad", "value = 3\nbehave = \"silent\""), ("good", "value = 3")]);
    lab.wait_kind("Verifying", &stuck);

    // The way back needs the link that the switch made superfluous, and cannot have its name.
    let extra = lab.volume().join("extra.txt");
    eventually("the link is gone", || extra.symlink_metadata().is_err());
    fs::create_dir(&extra).expect("the lab is ours");
    lab.process("bad").signal(Signal::KILL);
    let told = lab.wait_event("Stuck", |event| event.kind == "Stuck");
    assert!(told.message.contains("extra.txt"), "{told:?}");
    let current = fs::read_link(lab.volume().join("current")).expect("it is a link");

    lab.origin().write_file("config/extra.txt", "extra\n");
    let first = lab.set(&[("bad", "value = 1"), ("good", "value = 1")]);
    let held = lab.wait_kind("Held", &first);
    assert!(held.message.contains("the way back is not done yet"), "{held:?}");
    assert_eq!(
        fs::read_link(lab.volume().join("current")).expect("it is a link"),
        current,
        "the failed release is what readers see"
    );
    assert_eq!(begun(&lab, &first), None);

    fs::remove_dir(&extra).expect("it is empty");
    let back = lab.wait_rolled_back(&stuck);
    let begins = lab.wait_kind("Preparing", &first);
    assert!(begins.seq > back.seq, "{begins:?} after {back:?}");
    lab.wait_settled(&first);
    assert_eq!((lab.value("bad"), lab.value("good")), (1, 1));
    assert_eq!(lab.process("good"), good);
    lab.assert_volume_whole();
    lab.assert_nobody_stopped();
}

/// A rollout that is stuck because `bad` is deaf; gives what settled before it, and before that, with no difference
/// to `bad`.
fn stuck() -> Lab {
    let lab = failing::with(Service::by_hand("bad").within(SHORT));
    lab.restart_with_points();
    lab.wait_settled(&lab.set(&[("good", "value = 2")]));
    lab.set(&[("bad", "value = 1\nbehave = \"stubborn\""), ("good", "value = 3")]);
    lab.wait_event("Stuck", |event| event.kind == "Stuck");
    lab
}

/// A tree that settled before, and leaves `bad` as it is live.
fn first(lab: &Lab) -> Revision {
    lab.set(&[("bad", "value = 1"), ("good", "value = 1")])
}

/// The tree that is live, as a commit of its own.
fn live(lab: &Lab) -> Revision {
    lab.set(&[("bad", "value = 1"), ("good", "value = 2")])
}

fn begun(lab: &Lab, revision: &Revision) -> Option<Event> {
    let mut events = lab.events().into_iter();
    events.find(|event| event.is("Preparing", revision))
}

#[track_caller]
fn assert_not_settled(lab: &Lab, revision: &Revision) {
    let settled = lab
        .events()
        .into_iter()
        .find(|event| event.is("Settled", revision));
    assert_eq!(settled, None, "bad has not said what it runs");
}

/// Ends the deaf process. What its successor says lets everything end, if need be when it is asked for again.
fn end_the_silence(lab: &Lab, revision: &Revision) {
    assert_not_settled(lab, revision);
    lab.process("bad").signal(Signal::KILL);
    eventually("nothing is under way, and everybody said so", || {
        let status = lab.status();
        status.rollout.is_none() && status.services.iter().all(|service| service.current)
    });
    lab.lockstep(&["retry"]).done();
    lab.wait_settled(revision);
    assert_eq!(lab.value("bad"), 1);
    lab.assert_nobody_stopped();
}

#[test]
fn the_silent_one_comes_along_although_the_new_plan_does_not_touch_it() {
    let lab = stuck();
    let first = first(&lab);
    let begins = lab.wait_kind("Preparing", &first);
    let again = lab.wait_event("it is stuck again", |event| {
        event.kind == "Stuck" && event.rollout == begins.rollout
    });
    assert!(
        again.message.contains("bad: it did not acknowledge switch"),
        "{again:?}"
    );
    end_the_silence(&lab, &first);
    assert_eq!(lab.value("good"), 1);
}

/// Kills the reconciler between the end of the stuck rollout and the intent of the next one, and starts another; gives
/// the number of the newest event before that.
fn kill_between(lab: &Lab, revision: &Revision) -> u64 {
    let begun = || lab.events().iter().any(|event| event.is("Verifying", revision));
    match lab.wait_stopped(begun) {
        Arrival::At(point) => assert!(point.starts_with("Preparing"), "{point}"),
        Arrival::Over => panic!("it has no first point"),
    }
    lab.kill_any(&[Role::Reconciler]);
    lab.now()
}

#[test]
fn the_silent_one_comes_along_also_after_the_reconciler_died() {
    let lab = stuck();
    lab.stop_in("Preparing", 0);
    let first = first(&lab);
    let killed = kill_between(&lab, &first);
    lab.start_reconciler();
    let stuck = lab.wait_event_after(killed, "stuck", |event| event.kind == "Stuck");
    assert!(
        stuck.message.contains("bad: it did not acknowledge switch"),
        "{stuck:?}"
    );
    end_the_silence(&lab, &first);
    assert_eq!(lab.value("good"), 1);
}

#[test]
fn what_is_live_does_not_settle_again_before_the_silent_one_has_spoken() {
    let lab = stuck();
    lab.stop_in("Preparing", 0);
    let first = first(&lab);
    let killed = kill_between(&lab, &first);
    let live = live(&lab);
    lab.start_reconciler();
    let stuck = lab.wait_event_after(killed, "stuck", |event| event.kind == "Stuck");
    assert!(
        stuck.message.contains("bad: it did not acknowledge switch"),
        "{stuck:?}"
    );
    end_the_silence(&lab, &live);
    assert_eq!(lab.value("good"), 2);
}

#[test]
fn one_that_took_the_failed_release_has_to_leave_it_before_anything_settles() {
    let lab = failing::with(Service::by_hand("bad").within(SHORT));
    lab.wait_settled(&lab.set(&[("good", "value = 2")]));
    lab.set(&[
        ("bad", "value = 3"),
        ("good", "value = 3\ndelay = 1500\nrefuse_late = true"),
    ]);
    eventually("bad has taken it", || lab.value("bad") == 3);
    let bad = lab.process("bad");
    bad.signal(Signal::STOP);
    let stuck = lab.wait_event("Stuck", |event| event.kind == "Stuck");
    assert!(stuck.message.contains("bad"), "{stuck:?}");

    let first = first(&lab);
    // It can neither be paused nor heard.
    let aborted = lab.wait_kind("Aborted", &first);
    assert!(aborted.message.contains("bad"), "{aborted:?}");
    assert_not_settled(&lab, &first);
    bad.signal(Signal::CONT);
    lab.wait_settled(&first);
    assert_eq!((lab.value("bad"), lab.value("good")), (1, 1));
    assert_eq!(lab.process("bad"), bad);
    lab.assert_nobody_stopped();
}
