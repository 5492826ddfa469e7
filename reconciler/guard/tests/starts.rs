//! A guard killed at any point of a start: never two processes of a service, and never one that no record names.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{Place, is_gone, wait_until};
use lockstep_guard::wire::Body;
use std::fs;
use std::process::Command;
use std::time::Instant;

/// Who runs the service's command now.
fn running(place: &Place) -> Vec<u32> {
    place
        .starts("one")
        .into_iter()
        .map(|(pid, _)| pid)
        .filter(|pid| !is_gone(*pid))
        .collect()
}

/// Whether a child still waits for a guard to tell it to go.
fn somebody_waits(guard: u32) -> bool {
    let waits =
        |pid: u32| common::command_of(pid).contains("guard-exec") && common::parent(pid) == Some(guard);
    common::pids().into_iter().any(waits)
}

#[test]
fn killed_before_the_record_is_written_nothing_was_executed() {
    let place = Place::new();
    let mut guard = place.guard();
    let mut agent = guard.agent();
    agent.define(vec![place.define("one", &["beat"])]);
    // A pipe that nobody reads: opening it for writing the next record waits for ever.
    let new = place.state.join("guard.json.new");
    let _ = fs::remove_file(&new);
    assert!(Command::new("mkfifo").arg(&new).status().unwrap().success());
    agent.send(Body::Start {
        service: "one".into(),
    });
    wait_until("the child waits", || somebody_waits(guard.pid()));
    let waiting: Vec<u32> = common::pids()
        .into_iter()
        .filter(|pid| common::parent(*pid) == Some(guard.pid()))
        .collect();
    guard.kill();
    wait_until("the child is gone", || waiting.iter().all(|pid| is_gone(*pid)));
    fs::remove_file(&new).unwrap();
    assert_eq!(place.starts("one"), []);
    let guard = place.guard();
    let mut agent = guard.agent();
    let process = agent.start("one");
    place.ready("one", 1);
    assert_eq!(running(&place), [process.pid]);
}

#[test]
fn killed_at_any_moment_of_a_start_there_is_one_process_or_none() {
    let place = Place::new();
    let mut guard = place.guard();
    let mut agent = guard.agent();
    agent.define(vec![place.define("one", &["beat"])]);
    let began = Instant::now();
    agent.start("one");
    let whole = began.elapsed();
    agent.stop("one");
    let mut adopted = 0;
    for round in 0..40 {
        agent.send(Body::Start {
            service: "one".into(),
        });
        // No synchronisation: each round kills a little later, from the very beginning to after the end.
        let until = Instant::now() + whole * round / 25;
        while Instant::now() < until {}
        guard.kill();
        drop(agent);
        guard = place.guard();
        agent = guard.agent();
        let before = agent.supervised("one").process;
        let process = match agent.ask(Body::Start {
            service: "one".into(),
        }) {
            Ok(lockstep_guard::wire::Answer::Started { process }) => process,
            other => panic!("{other:?}"),
        };
        adopted += u32::from(before.is_some());
        // One that was adopted before it was told to go ends by itself, and is nobody's second.
        wait_until("one at most", || {
            let now = running(&place);
            assert!(now.len() <= 1, "two of one service: {now:?}");
            match agent.supervised("one").process {
                Some(lives) => now == [lives.pid],
                None => now.is_empty(),
            }
        });
        assert!(running(&place).iter().all(|pid| *pid == process.pid));
        agent.stop("one");
        assert_eq!(running(&place), Vec::<u32>::new());
    }
    println!("{adopted} of 40 were adopted");
}
