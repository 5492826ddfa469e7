//! Processes that somebody else started: attached, paused and told, and never started, ended or killed.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{
    Agent, Guard, Place, assert_nobody_moves, instance, is_gone, kill, probe, state, wait_until,
    wait_until_all_move,
};
use lockstep_guard::wire::{Answer, Body, Event, Exit, Foreign, Process, Refusal, SignalFault};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A process of the test's own, ended with it.
struct Own(Child);

impl Own {
    /// Starts a service of the probe's, in no session of its own.
    fn start(place: &Place, name: &str, words: &[&str]) -> Self {
        let before = place.starts(name).len();
        let mut command = Command::new(probe());
        command.arg(words[0]).arg(place.of(name)).args(&words[1..]);
        let child = command
            .env("PROBE_PLACE", place.folder.path())
            .env("PROBE_USR1", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let own = Self(child);
        place.ready(name, before + 1);
        own
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn expected(&self, name: &str) -> Foreign {
        Foreign {
            service: name.to_owned(),
            pid: self.pid(),
            start_ticks: start_ticks(self.pid()),
            user: rustix::process::geteuid().as_raw(),
            user_name: "the test's".to_owned(),
            executable: probe().canonicalize().unwrap(),
        }
    }

    fn end(&mut self) {
        let _ = self.0.kill();
        self.0.wait().unwrap();
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.end();
    }
}

fn start_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.split(' ').nth(19).unwrap().parse().unwrap()
}

fn attach(agent: &mut Agent, process: Foreign) -> Result<Process, Refusal> {
    match agent.ask(Body::Attach { process })? {
        Answer::Started { process } => Ok(process),
        other => panic!("an answer to something else: {other:?}"),
    }
}

fn why(refused: Result<Process, Refusal>) -> String {
    match refused {
        Err(Refusal::Failed { error }) => error,
        other => panic!("not refused with words: {other:?}"),
    }
}

/// A guard, and a process of the test's own that is attached to it.
fn attached(words: &[&str]) -> (Place, Guard, Agent, Own, Process) {
    let place = Place::new();
    let guard = place.guard();
    let mut agent = guard.agent();
    let own = Own::start(&place, "one", words);
    let process = attach(&mut agent, own.expected("one")).unwrap();
    (place, guard, agent, own, process)
}

#[test]
fn an_attached_tree_is_paused_and_told_like_the_guards_own() {
    let (place, _guard, mut agent, own, process) = attached(&["nest", "3"]);
    let ours = agent.run(&place, "two", &["beat"]);
    wait_until("all of them beat", || place.beats("one").len() == 4);
    for round in 0..5 {
        let both = [("one", &process), ("two", &ours)];
        let frozen = agent.freeze_for(&both, 2000, &[("one", "SIGUSR1")]).unwrap();
        assert_eq!(frozen, 5);
        assert_nobody_moves(&place, &["one", "two"]);
        assert!(!agent.thaw(&[("one", "SIGUSR1")]).0);
        wait_until_all_move(&place, &["one", "two"]);
        wait_until("the signal came", || place.usr1("one") == round + 1);
    }
    let signals = vec![(instance("one", &process), "SIGUSR1".to_owned())];
    let answer = agent.ask(Body::Signal { signals }).unwrap();
    assert_eq!(
        answer,
        Answer::Signalled {
            faults: Default::default()
        }
    );
    wait_until("the signal came", || place.usr1("one") == 6);
    let listed = agent.supervised("one");
    assert!(listed.foreign, "{listed:?}");
    assert_eq!(listed.process.unwrap().pid, own.pid());
}

#[test]
fn a_signal_that_would_kill_is_not_sent() {
    let (_place, _guard, mut agent, own, process) = attached(&["beat"]);
    let signals = vec![(instance("one", &process), "SIGHUP".to_owned())];
    let Ok(Answer::Signalled { faults }) = agent.ask(Body::Signal { signals }) else {
        panic!("no answer");
    };
    assert_eq!(faults["one"], SignalFault::WouldKill);
    assert!(!is_gone(own.pid()));
}

#[test]
fn what_is_not_as_expected_is_not_attached() {
    let place = Place::new();
    let guard = place.guard();
    let mut agent = guard.agent();
    let mut own = Own::start(&place, "one", &["beat"]);
    let right = own.expected("one");

    let mut other = right.clone();
    other.executable = PathBuf::from("/bin/sleep");
    let error = why(attach(&mut agent, other));
    assert!(
        error.contains("executes") && error.contains("/bin/sleep is expected"),
        "{error}"
    );

    let mut other = right.clone();
    (other.user, other.user_name) = (right.user + 1, "somebody".to_owned());
    let error = why(attach(&mut agent, other));
    assert!(
        error.contains("runs as user") && error.contains("somebody"),
        "{error}"
    );

    // The number was given to another process since.
    let mut other = right.clone();
    other.start_ticks += 1;
    let error = why(attach(&mut agent, other));
    assert!(error.contains("does not live any more"), "{error}");

    // Whoever stopped these would stop Lockstep itself.
    for pid in [guard.pid(), std::process::id(), 1] {
        let mut other = right.clone();
        (other.pid, other.start_ticks) = (pid, start_ticks(pid));
        let error = why(attach(&mut agent, other));
        assert!(error.contains("started Lockstep"), "{pid}: {error}");
    }

    let ours = agent.run(&place, "two", &["beat"]);
    let mut other = right.clone();
    (other.pid, other.start_ticks) = (ours.pid, ours.start_ticks);
    let error = why(attach(&mut agent, other));
    assert!(error.contains("is another service"), "{error}");

    let mut other = right.clone();
    other.service = "two".to_owned();
    let error = why(attach(&mut agent, other));
    assert!(error.contains("Lockstep started still lives"), "{error}");

    attach(&mut agent, right.clone()).unwrap();
    own.end();
    agent.list();
    let error = why(attach(&mut agent, right));
    assert!(error.contains("does not live any more"), "{error}");
}

#[test]
fn one_that_becomes_another_program_is_neither_paused_nor_told() {
    let place = Place::new();
    let guard = place.guard();
    let mut agent = guard.agent();
    // The shell is attached, and becomes something else when it is told so.
    let pipe = place.folder.path().join("go");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).unwrap();
    let child = Command::new("/bin/sh")
        .args(["-c", "trap : USR1; read x < \"$0\"; exec sleep 60"])
        .arg(&pipe)
        .spawn()
        .unwrap();
    let own = Own(child);
    let mut expected = own.expected("one");
    expected.executable = PathBuf::from("/bin/sh");
    let process = attach(&mut agent, expected).unwrap();
    std::fs::write(&pipe, "go\n").unwrap();
    wait_until("it is another program", || {
        std::fs::read_link(format!("/proc/{}/exe", own.pid()))
            .unwrap()
            .ends_with("sleep")
    });
    let Err(Refusal::Failed { error }) = agent.freeze(&[("one", &process)], 1000) else {
        panic!("it was paused");
    };
    assert!(
        error.contains("executes") && error.contains("/bin/sh is expected"),
        "{error}"
    );
    let signals = vec![(instance("one", &process), "SIGWINCH".to_owned())];
    let Ok(Answer::Signalled { faults }) = agent.ask(Body::Signal { signals }) else {
        panic!("no answer");
    };
    assert!(
        matches!(&faults["one"], SignalFault::Refused { error } if error.contains("executes")),
        "{faults:?}"
    );
}

#[test]
fn its_end_is_told_and_nobody_is_started_in_its_place() {
    let (place, _guard, mut agent, mut own, process) = attached(&["orphan"]);
    wait_until("both beat", || place.beats("one").len() == 2);
    own.end();
    let ended = Event::Ended {
        instance: instance("one", &process),
        exit: Exit::Unknown,
        back_off_ms: None,
        left_behind: false,
    };
    assert_eq!(agent.event(), ended);
    assert!(agent.list().is_empty());
    // What it left behind is its manager's business.
    wait_until_all_move_on(&place);
    let refused = agent.ask(Body::Start {
        service: "one".into(),
    });
    assert_eq!(
        refused,
        Err(Refusal::UnknownService {
            service: "one".into()
        })
    );
    assert_eq!(
        agent.freeze(&[("one", &process)], 1000),
        Err(Refusal::UnknownService {
            service: "one".into()
        })
    );
}

/// Somebody of `one` still beats.
fn wait_until_all_move_on(place: &Place) {
    let before = place.beats("one");
    wait_until("somebody beats on", || place.beats("one") != before);
}

#[test]
fn a_successor_takes_the_place_of_the_process_before() {
    let (place, _guard, mut agent, first, process) = attached(&["beat"]);
    let second = Own::start(&place, "one", &["beat"]);
    let successor = attach(&mut agent, second.expected("one")).unwrap();
    assert_ne!(successor.instance, process.instance);
    assert_eq!(
        agent.freeze(&[("one", &process)], 1000),
        Err(Refusal::NotThatInstance {
            service: "one".into()
        })
    );
    assert_eq!(agent.freeze(&[("one", &successor)], 1000), Ok(1));
    assert_eq!(state(second.pid()), Some('T'));
    assert_ne!(state(first.pid()), Some('T'));
    agent.thaw(&[]);
}

#[test]
fn stopping_it_and_ending_the_guard_let_it_go() {
    let (_place, mut guard, mut agent, own, _) = attached(&["beat"]);
    agent.stop("one");
    assert!(agent.list().is_empty());
    attach(&mut agent, own.expected("one")).unwrap();
    assert_eq!(agent.ask(Body::Shutdown), Ok(Answer::Done));
    guard.child.wait().unwrap();
    assert!(!is_gone(own.pid()));
}

#[test]
fn the_next_guard_thaws_it_first_and_knows_it_again() {
    let (place, mut guard, mut agent, own, process) = attached(&["nest", "2"]);
    wait_until("all of them beat", || place.beats("one").len() == 3);
    assert_eq!(agent.freeze(&[("one", &process)], 2000), Ok(3));
    // Guard and holder are killed in one moment: nobody is left to thaw.
    let Ok(Answer::Hello { holder, .. }) = agent.ask(Body::Hello { term: 1 }) else {
        panic!("no hello");
    };
    kill(holder, "KILL");
    guard.kill();
    wait_until("the holder is gone", || is_gone(holder));
    let guard = place.guard();
    wait_until_all_move(&place, &["one"]);
    let mut agent = guard.agent_of_term(2);
    assert_eq!(agent.supervised("one").process, Some(process));
    assert!(!is_gone(own.pid()));
}

#[test]
fn nothing_is_attached_while_somebody_is_paused() {
    let (place, _guard, mut agent, _own, process) = attached(&["beat"]);
    let other = Own::start(&place, "two", &["beat"]);
    agent.freeze(&[("one", &process)], 2000).unwrap();
    assert_eq!(
        attach(&mut agent, other.expected("two")),
        Err(Refusal::AlreadyFrozen)
    );
    agent.thaw(&[]);
    attach(&mut agent, other.expected("two")).unwrap();
}
