//! The thin road: start, freeze, thaw with a signal, stop.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{Place, is_gone, session, state, wait_until};
use lockstep_guard::wire::{Answer, Body};

#[test]
fn a_service_is_started_frozen_thawed_with_a_signal_and_stopped() {
    let place = Place::new();
    let mut guard = place.guard();
    let mut agent = guard.agent();
    let one = agent.run(&place, "one", &["beat"]);
    let two = agent.run(&place, "two", &["nest", "2"]);
    wait_until("all of two's processes beat", || place.beats("two").len() == 3);
    assert_eq!(place.starts("one"), [(one.pid, one.instance.clone())]);
    for process in [&one, &two] {
        assert_eq!(session(process.pid), Some(process.pid), "a session of its own");
    }

    let frozen = agent.freeze_for(&[("one", &one), ("two", &two)], 2000, &[("one", "SIGUSR1")]);
    assert_eq!(frozen, Ok(4));
    assert_eq!((state(one.pid), state(two.pid)), (Some('T'), Some('T')));
    let (expired, _) = agent.thaw(&[("one", "SIGUSR1")]);
    assert!(!expired);
    assert_ne!(state(one.pid), Some('T'));
    wait_until("the signal arrived", || place.usr1("one") == 1);

    agent.stop("one");
    assert!(is_gone(one.pid));
    // An end that was ordered says nothing about the service.
    assert_eq!(agent.supervised("one").last_exit, None);
    assert_eq!(agent.ask(Body::Shutdown), Ok(Answer::Done));
    assert!(is_gone(two.pid));
    assert!(guard.child.wait().unwrap().success());
    assert_eq!(place.services_alive(), Vec::<u32>::new());
}
