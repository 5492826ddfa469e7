//! Nobody stays paused, whoever dies.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{
    Agent, Guard, Place, assert_nobody_moves, is_gone, kill, state, wait_until, wait_until_all_move,
};
use lockstep_guard::wire::{Answer, Body, Event, Process, Refusal};
use std::time::{Duration, Instant};

/// Two services, one of them a tree, frozen for a limit that no test waits for unless it says so.
struct Frozen {
    place: Place,
    guard: Guard,
    agent: Agent,
    one: Process,
    two: Process,
    holder: u32,
}

impl Frozen {
    fn for_ms(limit_ms: u64) -> Self {
        let place = Place::new();
        let guard = place.guard();
        let mut agent = Agent::new(&place.state);
        let holder = holder_of(&mut agent);
        let one = agent.run(&place, "one", &["beat"]);
        let two = agent.run(&place, "two", &["nest", "2"]);
        wait_until("all of two's processes beat", || place.beats("two").len() == 3);
        assert_eq!(agent.freeze(&[("one", &one), ("two", &two)], limit_ms), Ok(4));
        Self {
            place,
            guard,
            agent,
            one,
            two,
            holder,
        }
    }

    fn is_stopped(&self) -> bool {
        state(self.one.pid) == Some('T') || state(self.two.pid) == Some('T')
    }

    fn wait_until_thawed(&self) {
        wait_until("everybody is thawed", || !self.is_stopped());
        wait_until_all_move(&self.place, &["one", "two"]);
    }
}

fn holder_of(agent: &mut Agent) -> u32 {
    match agent.ask(Body::Hello { term: 1 }) {
        Ok(Answer::Hello { holder, .. }) => holder,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_limit_thaws_and_whoever_froze_is_told() {
    let mut frozen = Frozen::for_ms(1500);
    assert_nobody_moves(&frozen.place, &["one", "two"]);
    assert_eq!(frozen.agent.event(), Event::FreezeExpired);
    frozen.wait_until_thawed();
    // The thaw that comes too late says so, and still sends what it was asked to.
    let (expired, pause_us) = frozen.agent.thaw(&[("one", "SIGUSR1")]);
    assert!(expired);
    assert!((1_500_000..5_000_000).contains(&pause_us), "{pause_us}");
    wait_until("the signal arrived", || frozen.place.usr1("one") == 1);
    assert_eq!(
        frozen.agent.freeze(&[("one", &frozen.one)], 2000),
        Ok(1),
        "the next pause is as good as the first"
    );
    assert!(!frozen.agent.thaw(&[]).0);
}

#[test]
fn a_connection_that_closes_thaws_what_it_froze() {
    let Frozen {
        place,
        guard,
        agent,
        one,
        two,
        ..
    } = Frozen::for_ms(2000);
    let start = Instant::now();
    drop(agent);
    wait_until("everybody is thawed", || {
        state(one.pid) != Some('T') && state(two.pid) != Some('T')
    });
    assert!(
        start.elapsed() < Duration::from_millis(1000),
        "that was the limit: {:?}",
        start.elapsed()
    );
    wait_until_all_move(&place, &["one", "two"]);
    assert_eq!(guard.agent().freeze(&[("one", &one), ("two", &two)], 2000), Ok(4));
}

#[test]
fn a_guard_killed_in_a_pause_is_outlived_by_its_holder_which_thaws() {
    let mut frozen = Frozen::for_ms(2000);
    let start = Instant::now();
    frozen.guard.kill();
    wait_until("everybody is thawed", || !frozen.is_stopped());
    println!(
        "the holder thawed {:?} after the kill was asked for",
        start.elapsed()
    );
    assert!(
        start.elapsed() < Duration::from_millis(1000),
        "that was the limit: {:?}",
        start.elapsed()
    );
    frozen.wait_until_thawed();
    wait_until("the holder ends", || is_gone(frozen.holder));
}

#[test]
fn a_guard_that_hangs_in_a_pause_is_thawed_for_by_its_holder_at_the_limit() {
    let frozen = Frozen::for_ms(1500);
    kill(frozen.guard.pid(), "STOP");
    assert_nobody_moves(&frozen.place, &["one", "two"]);
    frozen.wait_until_thawed();
    assert_eq!(state(frozen.guard.pid()), Some('T'));
    kill(frozen.guard.pid(), "CONT");
}

#[test]
fn a_holder_that_dies_ends_the_pause_and_is_replaced() {
    let mut frozen = Frozen::for_ms(2000);
    let start = Instant::now();
    kill(frozen.holder, "KILL");
    assert_eq!(frozen.agent.event(), Event::FreezeExpired);
    assert!(
        start.elapsed() < Duration::from_millis(1000),
        "that was the limit: {:?}",
        start.elapsed()
    );
    frozen.wait_until_thawed();
    assert!(frozen.agent.thaw(&[]).0);
    wait_until("there is a new holder", || {
        let holder = holder_of(&mut frozen.agent);
        holder != 0 && holder != frozen.holder
    });
    assert_eq!(frozen.agent.freeze(&[("one", &frozen.one)], 2000), Ok(1));
    frozen.agent.thaw(&[]);
}

#[test]
fn without_a_holder_that_confirms_nobody_is_stopped() {
    let mut frozen = Frozen::for_ms(2000);
    frozen.agent.thaw(&[]);
    kill(frozen.holder, "STOP");
    wait_until("the holder is stopped", || state(frozen.holder) == Some('T'));
    assert_eq!(
        frozen
            .agent
            .freeze(&[("one", &frozen.one), ("two", &frozen.two)], 2000),
        Err(Refusal::NoHolder)
    );
    frozen.wait_until_thawed();
    wait_until("the useless holder is gone", || is_gone(frozen.holder));
    wait_until("there is a new one", || {
        !matches!(holder_of(&mut frozen.agent), 0)
    });
    assert_eq!(
        frozen
            .agent
            .freeze(&[("one", &frozen.one), ("two", &frozen.two)], 2000),
        Ok(4)
    );
    frozen.agent.thaw(&[]);
}

#[test]
fn nothing_but_the_guard_s_end_or_sigkill_ends_the_holder() {
    let mut frozen = Frozen::for_ms(2000);
    for signal in ["TERM", "INT", "HUP"] {
        kill(frozen.holder, signal);
    }
    assert_nobody_moves(&frozen.place, &["one", "two"]);
    assert!(!is_gone(frozen.holder));
    assert!(!frozen.agent.thaw(&[]).0);
}

#[test]
fn guard_and_holder_killed_together_are_made_good_by_the_next_start() {
    let mut frozen = Frozen::for_ms(2000);
    // Stopped, so that it cannot thaw between the two deaths.
    kill(frozen.holder, "STOP");
    wait_until("the holder is stopped", || state(frozen.holder) == Some('T'));
    frozen.guard.kill();
    kill(frozen.holder, "KILL");
    wait_until("the holder is gone", || is_gone(frozen.holder));
    assert_nobody_moves(&frozen.place, &["one", "two"]);
    let guard = frozen.place.guard();
    frozen.wait_until_thawed();
    let mut agent = guard.agent();
    assert_eq!(agent.supervised("one").process, Some(frozen.one.clone()));
    assert_eq!(agent.supervised("two").process, Some(frozen.two.clone()));
}

#[test]
fn a_new_guard_ends_an_old_holder_that_hangs_and_thaws_in_its_place() {
    let mut frozen = Frozen::for_ms(2000);
    kill(frozen.holder, "STOP");
    wait_until("the holder is stopped", || state(frozen.holder) == Some('T'));
    frozen.guard.kill();
    let _guard = frozen.place.guard();
    assert!(is_gone(frozen.holder));
    frozen.wait_until_thawed();
}

#[test]
fn a_helper_that_left_its_service_s_session_is_thawed_by_the_next_start_too() {
    let place = Place::new();
    let mut guard = place.guard();
    let mut agent = Agent::new(&place.state);
    let holder = holder_of(&mut agent);
    let one = agent.run(&place, "one", &["stray"]);
    wait_until("both beat", || place.beats("one").len() == 2);
    assert_eq!(agent.freeze(&[("one", &one)], 2000), Ok(2));
    kill(holder, "STOP");
    wait_until("the holder is stopped", || state(holder) == Some('T'));
    guard.kill();
    kill(holder, "KILL");
    wait_until("the holder is gone", || is_gone(holder));
    assert_nobody_moves(&place, &["one"]);
    let _guard = place.guard();
    wait_until_all_move(&place, &["one"]);
}

#[test]
fn a_guard_told_to_end_in_a_pause_thaws_and_leaves_the_services_running() {
    for signal in ["TERM", "INT", "HUP"] {
        let mut frozen = Frozen::for_ms(2000);
        let start = Instant::now();
        kill(frozen.guard.pid(), signal);
        assert_eq!(frozen.guard.child.wait().unwrap().code(), Some(3));
        assert!(
            start.elapsed() < Duration::from_millis(1500),
            "that was the limit: {:?}",
            start.elapsed()
        );
        assert!(!frozen.is_stopped());
        frozen.wait_until_thawed();
        let guard = frozen.place.guard();
        assert_eq!(guard.agent().supervised("one").process, Some(frozen.one.clone()));
    }
}

#[test]
fn a_higher_term_ends_the_pause_of_a_lower_one() {
    let mut frozen = Frozen::for_ms(2000);
    let start = Instant::now();
    let mut successor = frozen.guard.agent_of_term(2);
    assert!(
        start.elapsed() < Duration::from_millis(1000),
        "that was the limit: {:?}",
        start.elapsed()
    );
    assert!(!frozen.is_stopped());
    frozen.agent.closed();
    frozen.wait_until_thawed();
    assert_eq!(successor.freeze(&[("one", &frozen.one)], 2000), Ok(1));
    successor.thaw(&[]);
}

#[test]
fn a_guard_killed_at_any_moment_of_a_pause_leaves_nobody_stopped() {
    let place = Place::new();
    let mut guard = place.guard();
    let mut agent = guard.agent();
    let one = agent.run(&place, "one", &["nest", "3"]);
    wait_until("all of them beat", || place.beats("one").len() == 4);
    for round in 0..30 {
        let body = Body::Freeze {
            instances: vec![common::instance("one", &one)],
            within_ms: 1500,
            limit_ms: 2000,
            signals: Default::default(),
        };
        agent.send(body);
        // No synchronisation: each round kills a little later in the pause.
        let until = Instant::now() + Duration::from_micros(100 * round);
        while Instant::now() < until {}
        guard.kill();
        drop(agent);
        guard = place.guard();
        wait_until_all_move(&place, &["one"]);
        agent = guard.agent();
    }
    assert_eq!(agent.supervised("one").process, Some(one));
}

#[test]
fn what_a_guard_did_not_hear_is_not_done_for_somebody_who_has_left() {
    let place = Place::new();
    let guard = place.guard();
    let mut agent = guard.agent();
    let one = agent.run(&place, "one", &["beat"]);
    agent.define(vec![place.define("two", &["beat"])]);
    kill(guard.pid(), "STOP");
    wait_until("the guard is stopped", || state(guard.pid()) == Some('T'));
    agent.send(Body::Signal {
        signals: vec![(common::instance("one", &one), "SIGUSR1".into())],
    });
    agent.send(Body::Start {
        service: "two".into(),
    });
    agent.send(Body::Stop {
        service: "one".into(),
    });
    drop(agent);
    kill(guard.pid(), "CONT");
    let mut agent = guard.agent();
    assert_eq!(
        agent.start("one"),
        one,
        "it lives, and nobody has asked it to end"
    );
    assert_eq!(agent.freeze(&[("one", &one)], 2000), Ok(1));
    agent.thaw(&[("one", "SIGUSR1")]);
    wait_until("the signal arrived", || place.usr1("one") > 0);
    assert_eq!(place.usr1("one"), 1, "the first was for nobody");
    assert_eq!(agent.supervised("two").process, None);
}
