//! Pauses of trees of every shape: all or none, and nobody moves.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{
    Agent, Guard, Place, assert_nobody_moves, instance, kill, named, pids, session, state, wait_until,
    wait_until_all_move,
};
use lockstep_guard::wire::{Answer, Body, Process, Refusal, SignalFault};
use std::collections::BTreeMap;

fn running(words: &[&str]) -> (Place, Guard, Agent, Process) {
    let place = Place::new();
    let guard = place.guard();
    let mut agent = guard.agent();
    let process = agent.run(&place, "one", words);
    (place, guard, agent, process)
}

/// Freezes again and again; nobody may move in between and all must move after.
fn freeze_repeatedly(words: &[&str], beating: usize, times: usize) {
    let (place, _guard, mut agent, process) = running(words);
    wait_until("all of them beat", || place.beats("one").len() >= beating);
    for _ in 0..times {
        let frozen = agent.freeze(&[("one", &process)], 2000).unwrap();
        assert!(frozen as usize >= 1);
        assert_nobody_moves(&place, &["one"]);
        assert!(!agent.thaw(&[]).0);
    }
    assert_eq!(agent.supervised("one").process, Some(process));
}

#[test]
fn a_chain_of_children_is_stopped_as_a_whole() {
    freeze_repeatedly(&["nest", "4"], 5, 10);
}

#[test]
fn every_thread_is_stopped() {
    freeze_repeatedly(&["threads", "20"], 21, 20);
}

#[test]
fn a_helper_that_lost_its_parent_is_found_by_its_session() {
    freeze_repeatedly(&["orphan"], 2, 10);
}

#[test]
fn a_helper_that_also_left_the_session_is_found_by_its_token() {
    freeze_repeatedly(&["stray"], 2, 10);
}

#[test]
fn a_tree_that_forks_without_a_pause_is_caught_each_time() {
    freeze_repeatedly(&["forker"], 1, 40);
}

#[test]
fn a_chain_of_forks_is_stopped_or_refused_but_never_overlooked() {
    let (place, _guard, mut agent, process) = running(&["chain"]);
    wait_until("both beat", || place.beats("one").len() == 2);
    let mut caught = 0;
    for _ in 0..20 {
        match agent.freeze(&[("one", &process)], 2000) {
            Ok(_) => {
                caught += 1;
                assert_nobody_moves(&place, &["one"]);
                agent.thaw(&[]);
            }
            // Each member of the chain lives for a few milliseconds: on a busy machine it may outrun us.
            Err(Refusal::FreezeTimedOut { services, .. }) => assert_eq!(services, ["one"]),
            Err(other) => panic!("{other:?}"),
        }
        wait_until_all_move(&place, &["one"]);
    }
    println!("caught {caught} times of 20");
}

#[test]
fn a_shell_like_service_that_executes_commands_is_caught_each_time() {
    freeze_repeatedly(&["executor"], 1, 40);
}

#[test]
fn after_a_thaw_everybody_runs_on() {
    let (place, _guard, mut agent, process) = running(&["nest", "3"]);
    wait_until("all of them beat", || place.beats("one").len() == 4);
    for _ in 0..5 {
        assert_eq!(agent.freeze(&[("one", &process)], 2000), Ok(4));
        agent.thaw(&[]);
        wait_until_all_move(&place, &["one"]);
    }
}

#[test]
fn a_helper_left_from_before_an_adoption_is_still_found() {
    let (place, mut guard, agent, process) = running(&["stray"]);
    wait_until("both beat", || place.beats("one").len() == 2);
    drop(agent);
    guard.kill();
    let guard = place.guard();
    let mut agent = guard.agent();
    assert_eq!(agent.freeze(&[("one", &process)], 2000), Ok(2));
    assert_nobody_moves(&place, &["one"]);
    agent.thaw(&[]);
}

#[test]
fn a_signal_queued_before_the_thaw_arrives_once_and_not_before() {
    let (place, _guard, mut agent, process) = running(&["beat"]);
    for round in 1..=10 {
        agent
            .freeze_for(&[("one", &process)], 2000, &[("one", "SIGUSR1")])
            .unwrap();
        assert_nobody_moves(&place, &["one"]);
        assert_eq!(place.usr1("one"), round - 1);
        agent.thaw(&[("one", "SIGUSR1")]);
        wait_until("it arrives", || place.usr1("one") == round);
    }
    wait_until_all_move(&place, &["one"]);
    assert_eq!(place.usr1("one"), 10);
}

#[test]
fn a_signal_that_would_kill_refuses_the_pause_and_touches_nobody() {
    let (place, _guard, mut agent, one) = running(&["beat"]);
    let two = agent.run(&place, "two", &["beat"]);
    let both = [("one", &one), ("two", &two)];
    let refusal = agent
        .freeze_for(&both, 2000, &[("one", "SIGUSR1"), ("two", "SIGUSR2")])
        .unwrap_err();
    assert_eq!(
        refusal,
        Refusal::SignalWouldKill {
            service: "two".into(),
            signal: "SIGUSR2".into()
        }
    );
    wait_until_all_move(&place, &["one", "two"]);
    assert_eq!(agent.freeze_for(&both, 2000, &[("one", "SIGUSR1")]), Ok(2));
    // One that was not judged when it was frozen is judged before it is sent.
    let answer = agent.ask(Body::Thaw {
        signals: named(&[("one", "SIGUSR1"), ("two", "SIGUSR2")]),
    });
    let Ok(Answer::Thawed {
        unsent,
        expired: false,
        ..
    }) = answer
    else {
        panic!("{answer:?}");
    };
    assert_eq!(unsent, BTreeMap::from([("two".into(), SignalFault::WouldKill)]));
    wait_until("one's signal arrived", || place.usr1("one") == 1);
    wait_until_all_move(&place, &["one", "two"]);
}

#[test]
fn a_signal_blocked_in_all_threads_is_survived_and_may_be_sent() {
    let place = Place::new();
    let guard = place.guard();
    let mut agent = guard.agent();
    let mut definition = place.define("one", &["blocks-usr1"]);
    definition.env.remove("PROBE_USR1");
    agent.define(vec![definition]);
    let process = agent.start("one");
    place.ready("one", 1);
    assert_eq!(
        agent.freeze_for(&[("one", &process)], 2000, &[("one", "SIGUSR1")]),
        Ok(1)
    );
    agent.thaw(&[("one", "SIGUSR1")]);
    wait_until_all_move(&place, &["one"]);
}

#[test]
fn signals_outside_a_pause_are_judged_each_for_itself() {
    let (place, _guard, mut agent, one) = running(&["beat"]);
    let two = agent.run(&place, "two", &["beat"]);
    let mut ghost = instance("two", &two);
    ghost.instance.push('x');
    let ask = |body: Body, agent: &mut Agent| match agent.ask(body).unwrap() {
        Answer::Signalled { faults } => faults,
        other => panic!("{other:?}"),
    };
    let signals = vec![
        (instance("one", &one), "SIGUSR1".into()),
        (instance("two", &two), "SIGUSR2".into()),
    ];
    let would_kill = BTreeMap::from([("two".to_owned(), SignalFault::WouldKill)]);
    assert_eq!(
        ask(
            Body::Examine {
                signals: signals.clone()
            },
            &mut agent
        ),
        would_kill
    );
    assert_eq!(place.usr1("one"), 0);
    assert_eq!(ask(Body::Signal { signals }, &mut agent), would_kill);
    wait_until("one's signal arrived", || place.usr1("one") == 1);
    let faults = ask(
        Body::Signal {
            signals: vec![(ghost, "SIGUSR1".into())],
        },
        &mut agent,
    );
    assert_eq!(faults, BTreeMap::from([("two".to_owned(), SignalFault::Gone)]));
    let faults = ask(
        Body::Examine {
            signals: vec![(instance("one", &one), "SIGNOTHING".into())],
        },
        &mut agent,
    );
    assert!(matches!(&faults["one"], SignalFault::Refused { error } if error.contains("SIGNOTHING")));
    wait_until_all_move(&place, &["one", "two"]);
}

#[test]
fn one_that_cannot_be_stopped_in_time_is_named_and_everybody_runs_on() {
    let (place, _guard, mut agent, stuck) = running(&["unstoppable"]);
    let two = agent.run(&place, "two", &["beat"]);
    let body = Body::Freeze {
        instances: vec![instance("one", &stuck), instance("two", &two)],
        within_ms: 100,
        limit_ms: 2000,
        signals: BTreeMap::new(),
    };
    match agent.ask(body) {
        Err(Refusal::FreezeTimedOut {
            unconfirmed,
            services,
        }) => {
            assert_eq!(services, ["one"]);
            assert!(
                unconfirmed.contains(&format!("{} (probe)", stuck.pid)),
                "{unconfirmed:?}"
            );
        }
        other => panic!("{other:?}"),
    }
    wait_until_all_move(&place, &["one", "two"]);
}

#[test]
fn a_process_stopped_by_somebody_else_refuses_the_pause_and_stays_as_it_is() {
    let (place, _guard, mut agent, one) = running(&["beat"]);
    let two = agent.run(&place, "two", &["beat"]);
    kill(two.pid, "STOP");
    wait_until("it is stopped", || state(two.pid) == Some('T'));
    match agent.freeze(&[("one", &one), ("two", &two)], 2000) {
        Err(Refusal::Failed { error }) => {
            assert!(error.contains(&format!("kill -CONT {}", two.pid)), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(state(two.pid), Some('T'));
    wait_until_all_move(&place, &["one"]);
    kill(two.pid, "CONT");
    assert_eq!(agent.freeze(&[("one", &one), ("two", &two)], 2000), Ok(2));
    agent.thaw(&[]);
}

#[test]
fn only_the_instance_that_lives_can_be_frozen_and_only_once_at_a_time() {
    let (_place, guard, mut agent, process) = running(&["beat"]);
    let mut ghost = process.clone();
    ghost.instance.push('x');
    let refusal = agent.freeze(&[("one", &ghost)], 2000).unwrap_err();
    assert_eq!(
        refusal,
        Refusal::NotThatInstance {
            service: "one".into()
        }
    );
    let refusal = agent.freeze(&[("nobody", &process)], 2000).unwrap_err();
    assert_eq!(
        refusal,
        Refusal::UnknownService {
            service: "nobody".into()
        }
    );
    assert!(matches!(
        agent.freeze(&[("one", &process)], 2001),
        Err(Refusal::Failed { .. })
    ));
    assert!(matches!(
        agent.freeze(&[("one", &process)], 0),
        Err(Refusal::Failed { .. })
    ));
    assert!(matches!(
        agent.ask(Body::Thaw {
            signals: BTreeMap::new()
        }),
        Err(Refusal::Failed { .. })
    ));

    assert_eq!(agent.freeze(&[("one", &process)], 2000), Ok(1));
    let mut other = guard.agent();
    assert_eq!(
        other.freeze(&[("one", &process)], 2000),
        Err(Refusal::AlreadyFrozen)
    );
    assert!(matches!(
        other.ask(Body::Thaw {
            signals: BTreeMap::new()
        }),
        Err(Refusal::Failed { .. })
    ));
    assert_eq!(state(process.pid), Some('T'));
    assert!(!agent.thaw(&[]).0);
    assert_eq!(agent.freeze(&[], 2000), Ok(0), "a pause of nobody is one");
    assert!(!agent.thaw(&[]).0);
}

#[test]
fn a_main_process_killed_in_the_pause_is_told_and_the_others_are_thawed() {
    let (place, _guard, mut agent, one) = running(&["beat"]);
    let two = agent.run(&place, "two", &["beat"]);
    agent
        .freeze_for(&[("one", &one), ("two", &two)], 2000, &[("one", "SIGUSR1")])
        .unwrap();
    kill(one.pid, "KILL");
    wait_until("the guard saw it", || agent.supervised("one").process.is_none());
    let answer = agent.ask(Body::Thaw {
        signals: named(&[("one", "SIGUSR1")]),
    });
    let Ok(Answer::Thawed {
        unsent,
        expired: false,
        ..
    }) = answer
    else {
        panic!("{answer:?}");
    };
    assert_eq!(unsent, BTreeMap::from([("one".into(), SignalFault::Gone)]));
    wait_until_all_move(&place, &["two"]);
}

#[test]
fn many_processes_are_frozen_together() {
    let (place, _guard, mut agent, process) = running(&["pool", "60"]);
    wait_until("all of them beat", || place.beats("one").len() == 61);
    for _ in 0..5 {
        assert_eq!(agent.freeze(&[("one", &process)], 2000), Ok(61));
        let of_it = |pid: &u32| session(*pid) == Some(process.pid);
        assert!(
            pids()
                .iter()
                .filter(|pid| of_it(pid))
                .all(|pid| state(*pid) == Some('T'))
        );
        assert_nobody_moves(&place, &["one"]);
        agent.thaw(&[]);
    }
}
