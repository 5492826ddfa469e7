//! A guard that is there and does not answer: no rollout waits for it for ever, everybody is told what to do, nobody
//! is restarted, and what it was asked meanwhile it does not do when it goes on.

use lockstep_tests::events::Event;
use lockstep_tests::points::Arrival;
use lockstep_tests::processes::{Process, Role};
use lockstep_tests::wait::{eventually, until};
use lockstep_tests::{Lab, Service};
use rustix::process::Signal;

fn lab() -> Lab {
    Lab::builder()
        .service(Service::acknowledged("a"))
        .service(Service::acknowledged("b"))
        .start()
}

/// The same with a reconciler that can be stopped at a point.
fn lab_with_points() -> Lab {
    let lab = lab();
    lab.stop_reconciler();
    lab.spawn_with_points(&[]);
    eventually("it answers", || lab.lockstep(&["status"]).code == Some(0));
    lab
}

fn guard(lab: &Lab) -> Process {
    let mut all = lab.processes().into_iter();
    all.find(|process| process.role == Role::Guard)
        .expect("there is one")
}

fn stop(guard: &Process) {
    guard.signal(Signal::STOP);
    eventually("the guard is stopped", || guard.is_stopped());
}

/// Who looks is told, with what to do.
#[track_caller]
fn is_told(lab: &Lab, guard: &Process) -> Event {
    let hint = format!("`kill -CONT {}`", guard.pid);
    lab.wait_status("an alarm with the next step", |status| {
        status.alarms.iter().any(|alarm| alarm.contains(&hint))
    });
    lab.wait_event("the alarm is told", |event| {
        event.kind == "Alarm" && event.message.contains(&hint)
    })
}

#[track_caller]
fn is_over(lab: &Lab) {
    lab.wait_status("no alarm any more", |status| status.alarms.is_empty());
    lab.assert_nobody_stopped();
    lab.assert_volume_whole();
}

#[test]
fn a_rollout_that_waits_for_it_before_the_pause_is_aborted_and_goes_through_later() {
    let lab = lab();
    let (before, rings) = (lab.services(), lab.ask("a").rings);
    let guard = guard(&lab);
    stop(&guard);
    let revision = lab.set(&[("a", "value = 2"), ("b", "value = 2")]);
    let aborted = lab.wait_kind("Aborted", &revision);
    assert!(
        aborted.message.contains("the guard cannot be reached"),
        "{aborted:?}"
    );
    is_told(&lab, &guard);
    assert_eq!((lab.value("a"), lab.value("b")), (1, 1));
    guard.signal(Signal::CONT);
    lab.wait_settled(&revision);
    is_over(&lab);
    assert_eq!((lab.value("a"), lab.value("b")), (2, 2));
    assert_eq!(lab.ask("a").rings, rings + 1, "it was told once");
    lab.assert_same_processes(&before);
}

#[test]
fn a_pause_that_it_does_not_make_is_given_up_and_not_made_later() {
    let lab = lab_with_points();
    let before = lab.services();
    let guard = guard(&lab);
    lab.stop_in("Pausing", 1);
    let revision = lab.set(&[("a", "value = 2"), ("b", "value = 2")]);
    assert!(matches!(lab.wait_stopped(|| false), Arrival::At(_)));
    lab.stop_nowhere();
    stop(&guard);
    lab.wake_reconciler();
    let aborted = lab.wait_kind("Aborted", &revision);
    is_told(&lab, &guard);
    assert_eq!((lab.value("a"), lab.value("b")), (1, 1));
    lab.lockstep(&["suspend", "--reason", "a look at the guard"])
        .done();
    guard.signal(Signal::CONT);
    is_over(&lab);
    // Whoever was paused by what the guard had not heard would not have answered for as long as the limit.
    assert_eq!((lab.value("a"), lab.value("b")), (1, 1));
    let log = std::fs::read_to_string(lab.state().join("guard.log")).expect("it keeps one");
    assert!(!log.contains("that asked for a pause closed"), "{log}");
    lab.lockstep(&["resume"]).done();
    lab.wait_event_after(aborted.seq, "it goes through", |event| {
        event.is("Settled", &revision)
    });
    assert_eq!((lab.value("a"), lab.value("b")), (2, 2));
    lab.assert_same_processes(&before);
}

#[test]
fn after_the_switch_the_holder_ends_the_pause_and_everybody_is_told_when_it_answers() {
    let lab = lab_with_points();
    let before = lab.services();
    let guard = guard(&lab);
    lab.stop_in("Unpausing", 1);
    let revision = lab.set(&[("a", "value = 2"), ("b", "value = 2")]);
    assert!(matches!(lab.wait_stopped(|| false), Arrival::At(_)));
    lab.stop_nowhere();
    stop(&guard);
    lab.wake_reconciler();
    eventually("the holder thaws them", || {
        lab.services().values().all(|process| !process.is_stopped())
    });
    is_told(&lab, &guard);
    guard.signal(Signal::CONT);
    lab.wait_settled(&revision);
    is_over(&lab);
    assert_eq!((lab.value("a"), lab.value("b")), (2, 2));
    lab.assert_same_processes(&before);
}

#[test]
fn one_that_hangs_with_nothing_asked_of_it_is_noticed_and_can_be_replaced() {
    let lab = lab();
    let before = lab.services();
    let guard = guard(&lab);
    stop(&guard);
    is_told(&lab, &guard);
    guard.signal(Signal::KILL);
    let next = until(lockstep_tests::wait::PATIENCE, || {
        let mut all = lab.processes().into_iter();
        all.find(|process| process.role == Role::Guard && process.pid != guard.pid)
    });
    assert!(next.is_some(), "there is another guard");
    is_over(&lab);
    let revision = lab.set(&[("a", "value = 2"), ("b", "value = 2")]);
    lab.wait_settled(&revision);
    lab.assert_same_processes(&before);
}
