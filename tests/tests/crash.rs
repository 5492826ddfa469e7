//! Somebody is killed at every point of a rollout, and started again, many times in a row.
//!
//! The reconciler stops itself at a chosen point (see `lockstep_tests::points`), so that each state is hit on purpose
//! and not by luck; then the victim is killed by SIGKILL. After each round both services run the last valid commit,
//! in the processes and on the connections that they had from the beginning.
//!
//! The reconciler is killed at each point; everybody else at one point of each state, chosen by dice, or at each with
//! `CRASH_POINTS=all` (`cargo e2e chaos` sets it).

use std::collections::BTreeMap;
use std::fs;

use lockstep_tests::crashes::{Change, Crashes, Victim};
use lockstep_tests::points::Arrival;
use lockstep_tests::processes::Role;
use lockstep_tests::{Lab, Service};

/// The states of a rollout, as far as a change goes through them.
fn states(change: Change) -> &'static [&'static str] {
    match change {
        Change::Taken => &[
            "Preparing",
            "Pausing",
            "Publishing",
            "Unpausing",
            "Verifying",
            "Settled",
        ],
        Change::Refused => &[
            "Preparing",
            "Pausing",
            "Publishing",
            "Unpausing",
            "Verifying",
            "Restoring",
            "RolledBack",
        ],
        Change::Invalid => &[],
    }
}

/// Kills the victim at one point and sees to the end; none where there are fewer points.
fn kill_at(crashes: &mut Crashes, victim: Victim, change: Change, stop: impl Fn(&Crashes)) -> Option<String> {
    stop(crashes);
    let began = crashes.lab().now();
    let revision = crashes.publish(change);
    let point = match crashes.lab().wait_stopped(|| crashes.ended_after(began)) {
        Arrival::At(point) => {
            eprintln!("{victim:?} is killed at: {point}");
            crashes.strike(victim);
            Some(point)
        }
        Arrival::Over => {
            crashes.lab().stop_nowhere();
            None
        }
    };
    crashes.assert_end(&revision, change);
    point
}

fn at_every_point(victim: Victim, change: Change) {
    let mut crashes = Crashes::start();
    let mut hit = BTreeMap::new();
    for number in 0.. {
        let stop = |crashes: &Crashes| crashes.lab().stop_after(number);
        match kill_at(&mut crashes, victim, change, stop) {
            Some(point) => *hit.entry(point).or_insert(0) += 1,
            None => break,
        }
    }
    eprintln!("{victim:?}, {change:?}: {hit:#?}");
    for state in states(change) {
        if hit.keys().any(|point| point.starts_with(state)) {
            continue;
        }
        // Evidence comes as it likes, so the same number may be another point the next time: a state of two points can
        // be passed over between two numbers.
        let stop = |crashes: &Crashes| crashes.lab().stop_in(state, 0);
        let point = kill_at(&mut crashes, victim, change, stop);
        assert!(point.is_some(), "{state} was not hit");
    }
    at_the_end(&mut crashes);
}

fn at_a_point_of_every_state(victim: Victim, change: Change) {
    let mut crashes = Crashes::start();
    let seed = fastrand::u64(..);
    let mut dice = fastrand::Rng::with_seed(seed);
    eprintln!("seed {seed}");
    for state in states(change) {
        let hit = [dice.u64(0..5), 0].into_iter().any(|number| {
            let stop = |crashes: &Crashes| crashes.lab().stop_in(state, number);
            kill_at(&mut crashes, victim, change, stop).is_some()
        });
        assert!(hit, "{state} was not hit");
    }
    at_the_end(&mut crashes);
}

fn at_the_end(crashes: &mut Crashes) {
    let last = crashes.publish(Change::Taken);
    crashes.assert_end(&last, Change::Taken);
    eprintln!("nobody stood still for more than {:?}", crashes.longest_pause());
}

fn at_points(victim: Victim, change: Change) {
    if std::env::var("CRASH_POINTS").is_ok_and(|points| points == "all") {
        at_every_point(victim, change);
    } else {
        at_a_point_of_every_state(victim, change);
    }
}

#[test]
fn the_reconciler_is_killed_at_every_point_of_a_change() {
    at_every_point(Victim::Reconciler, Change::Taken);
}

#[test]
fn the_reconciler_is_killed_at_every_point_of_a_change_that_is_refused() {
    at_every_point(Victim::Reconciler, Change::Refused);
}

#[test]
fn the_guard_is_killed_in_every_state_of_a_change() {
    at_points(Victim::Guard, Change::Taken);
}

#[test]
fn the_guard_is_killed_in_every_state_of_a_change_that_is_refused() {
    at_points(Victim::Guard, Change::Refused);
}

#[test]
fn the_holder_is_killed_in_every_state_of_a_change() {
    at_points(Victim::Holder, Change::Taken);
}

#[test]
fn the_holder_is_killed_in_every_state_of_a_change_that_is_refused() {
    at_points(Victim::Holder, Change::Refused);
}

#[test]
fn reconciler_and_guard_are_killed_at_once_in_every_state_of_a_change() {
    at_points(Victim::Pair, Change::Taken);
}

#[test]
fn reconciler_and_guard_are_killed_at_once_in_every_state_of_a_change_that_is_refused() {
    at_points(Victim::Pair, Change::Refused);
}

#[test]
fn reconciler_guard_and_holder_are_killed_at_once_in_every_state_of_a_change() {
    at_points(Victim::All, Change::Taken);
}

#[test]
fn reconciler_guard_and_holder_are_killed_at_once_in_every_state_of_a_change_that_is_refused() {
    at_points(Victim::All, Change::Refused);
}

/// Kills the reconciler in one state, then each of its successors one point further on its way.
fn again_and_again(crashes: &mut Crashes, state: &str, change: Change) {
    crashes.lab().stop_in(state, 0);
    let began = crashes.lab().now();
    let revision = crashes.publish(change);
    let over = || crashes.ended_after(began);
    let mut arrival = crashes.lab().wait_stopped(over);
    assert_ne!(arrival, Arrival::Over, "{state} was not hit");
    for number in 0.. {
        match arrival {
            Arrival::At(point) => eprintln!("killed at: {point}"),
            Arrival::Over => break,
        }
        crashes.lab().stop_after(number);
        crashes.strike(Victim::Reconciler);
        arrival = crashes.lab().wait_stopped(over);
    }
    crashes.lab().stop_nowhere();
    crashes.assert_end(&revision, change);
}

#[test]
fn the_reconciler_is_killed_at_every_point_of_its_recovery() {
    let mut crashes = Crashes::start();
    again_and_again(&mut crashes, "Unpausing", Change::Taken);
    again_and_again(&mut crashes, "Verifying", Change::Refused);
    again_and_again(&mut crashes, "Restoring", Change::Refused);
    again_and_again(&mut crashes, "Pausing", Change::Taken);
    at_the_end(&mut crashes);
}

/// How often the guard started a service.
fn starts(lab: &Lab, service: &str) -> usize {
    let log = fs::read_to_string(lab.state().join("guard.log")).expect("the guard writes one");
    log.matches(&format!(" {service} runs as process ")).count()
}

#[test]
fn a_service_that_is_restarted_for_a_change_is_started_once_wherever_the_reconciler_is_killed() {
    let lab = Lab::builder()
        .service(Service::restarted("r"))
        .service(Service::acknowledged("b"))
        .start();
    let before = lab.process("b");
    lab.restart_with_points();
    for number in 0_u32.. {
        let (began, started) = (lab.now(), starts(&lab, "r"));
        let value = i64::from(number) + 2;
        let line = format!("value = {value}");
        lab.stop_after(number.into());
        let revision = lab.set(&[("r", &line), ("b", &line)]);
        let over = || {
            let events = lab.events();
            events
                .iter()
                .any(|event| event.seq > began && event.kind == "Settled")
        };
        let point = match lab.wait_stopped(over) {
            Arrival::At(point) => point,
            Arrival::Over => break,
        };
        lab.kill_any(&[Role::Reconciler]);
        lab.spawn_with_points(&[]);
        lab.wait_settled(&revision);
        assert_eq!((lab.value("r"), lab.value("b")), (value, value), "after {point}");
        assert_eq!(starts(&lab, "r") - started, 1, "starts of r after {point}");
        assert_eq!(lab.process("b"), before, "b after {point}");
        lab.assert_nobody_stopped();
    }
}

#[test]
fn a_pause_that_was_ordered_before_the_guard_died_is_not_carried_out_by_its_successor() {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .service(Service::acknowledged("b"))
        .start();
    lab.restart_with_points();
    let mut points = Vec::new();
    for number in 0..7 {
        // The later ones are those of which is spoken: from the intent to the pause the reconciler waits for nobody,
        // and so it orders the pause before it hears of the death.
        lab.stop_after(number);
        let began = lab.now();
        let line = format!("value = {}", number + 2);
        let revision = lab.set(&[("a", &line), ("b", &line)]);
        let settled = || {
            lab.events()
                .iter()
                .any(|event| event.seq > began && event.kind == "Settled")
        };
        let Arrival::At(point) = lab.wait_stopped(settled) else {
            panic!("a rollout has more than {number} points");
        };
        lab.kill_guard();
        lab.wake_reconciler();
        lab.wait_settled(&revision);
        let log = fs::read_to_string(lab.state().join("guard.log")).expect("the guard writes one");
        assert!(
            !log.contains("the pause's limit passed"),
            "nobody ended the pause after {point}:\n{log}"
        );
        points.push(point);
    }
    assert!(
        points.contains(&"Preparing Before RecordIntent".to_owned()),
        "{points:?}"
    );
}

#[test]
fn an_invalid_commit_touches_nobody_whoever_is_killed_meanwhile() {
    let mut crashes = Crashes::start();
    for victim in Victim::EACH {
        // Alone, and behind a change that is under way: what comes to its end there is the change, and no more.
        let invalid = crashes.publish(Change::Invalid);
        crashes.strike(victim);
        crashes.assert_end(&invalid, Change::Invalid);
        for state in ["Unpausing", "Verifying", "Settled"] {
            crashes.lab().stop_in(state, 0);
            let began = crashes.lab().now();
            crashes.publish(Change::Taken);
            let arrival = crashes.lab().wait_stopped(|| crashes.ended_after(began));
            assert_ne!(arrival, Arrival::Over, "{state} was not hit");
            let invalid = crashes.publish(Change::Invalid);
            crashes.strike(victim);
            crashes.assert_end(&invalid, Change::Invalid);
        }
    }
    at_the_end(&mut crashes);
}
