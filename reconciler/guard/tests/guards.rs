//! The guard itself: who may speak, what the next one finds, how it comes and goes.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{Agent, Place, is_gone, kill, probe, session, state, wait_until};
use lockstep_guard::wire::{Answer, Body, Event, Exit, Refusal, RestartPolicy};
use lockstep_guard::{Decoder, GuardError, connect, spawn};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

#[test]
fn a_lower_term_is_refused_also_by_a_guard_that_was_started_since() {
    let place = Place::new();
    let mut guard = place.guard();
    let mut old = guard.agent_of_term(4);
    let mut new = Agent::new(&place.state);
    assert_eq!(new.ask(Body::List), Err(Refusal::NoHello));
    let Ok(Answer::Hello {
        highest_term, pid, ..
    }) = new.ask(Body::Hello { term: 7 })
    else {
        panic!("no hello");
    };
    assert_eq!((highest_term, pid), (4, guard.pid()));
    old.closed();
    for round in 0..2 {
        let mut late = Agent::new(&place.state);
        assert_eq!(
            late.ask(Body::Hello { term: 6 }),
            Err(Refusal::Deposed { highest_term: 7 }),
            "{round}"
        );
        assert_eq!(late.ask(Body::List), Err(Refusal::NoHello));
        guard.kill();
        guard = place.guard();
    }
    guard.agent_of_term(7);
}

#[test]
fn a_killed_guard_s_services_are_adopted_with_their_pids_and_connections() {
    let place = Place::new();
    let mut guard = place.guard();
    let mut agent = guard.agent();
    let mut definition = place.define("echo", &["echo"]);
    definition.restart = RestartPolicy::Always;
    agent.define(vec![definition]);
    let process = agent.start("echo");
    place.ready("echo", 1);
    let port: u16 = fs::read_to_string(place.of("echo").join("port"))
        .unwrap()
        .parse()
        .unwrap();
    let mut peer = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut answered = |byte: u8| {
        peer.write_all(&[byte]).unwrap();
        let mut back = [0];
        peer.read_exact(&mut back).unwrap();
        assert_eq!(back, [byte]);
    };
    for round in 0..5 {
        answered(round);
        guard.kill();
        answered(100 + round);
        guard = place.guard();
        assert_eq!(guard.agent().supervised("echo").process, Some(process.clone()));
    }
    let mut agent = guard.agent();
    assert_eq!(agent.freeze(&[("echo", &process)], 2000), Ok(1));
    agent.thaw(&[]);
    answered(99);
    // Its end is seen although it is not our child; how it ended is not known.
    kill(process.pid, "TERM");
    let Event::Ended {
        exit, back_off_ms, ..
    } = agent.event()
    else {
        panic!("no end");
    };
    assert_eq!((exit, back_off_ms), (Exit::Unknown, Some(1000)));
    assert!(matches!(agent.event(), Event::Started { .. }));
}

#[test]
fn an_adopted_service_can_be_stopped() {
    let place = Place::new();
    let mut guard = place.guard();
    let process = guard.agent().run(&place, "one", &["nest", "2"]);
    guard.kill();
    let guard = place.guard();
    let mut agent = guard.agent();
    agent.stop("one");
    assert!(is_gone(process.pid));
    wait_until("its tree is gone", || place.services_alive().is_empty());
    assert_eq!(agent.supervised("one").process, None);
}

#[test]
fn one_that_ended_while_there_was_no_guard_is_treated_by_its_policy() {
    let place = Place::new();
    let mut guard = place.guard();
    let mut agent = guard.agent();
    let mut always = place.define("always", &["nest", "1"]);
    always.restart = RestartPolicy::Always;
    agent.define(vec![always, place.define("never", &["beat"])]);
    let processes = [agent.start("always"), agent.start("never")];
    place.ready("always", 1);
    place.ready("never", 1);
    guard.kill();
    for process in &processes {
        kill(process.pid, "KILL");
        wait_until("it is gone", || is_gone(process.pid));
    }
    let guard = place.guard();
    let mut agent = guard.agent();
    assert!(agent.supervised("always").back_off_ms.is_some());
    assert_eq!(agent.supervised("never").back_off_ms, None);
    assert_eq!(agent.supervised("never").last_exit, Some(Exit::Unknown));
    assert!(matches!(agent.event(), Event::Started { service, .. } if service == "always"));
    wait_until("the dead one's child is gone", || {
        place.services_alive().len() == 2
    });
}

#[test]
fn there_is_one_guard_for_a_state_folder() {
    let place = Place::new();
    let guard = place.guard();
    let second = Command::new(probe())
        .args(["guard", "--state"])
        .arg(&place.state)
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let text = String::from_utf8(second.stderr).unwrap();
    assert!(text.contains(&format!("as process {}", guard.pid())), "{text}");
    guard.agent();
    let Err(GuardError::DidNotStart { reason, .. }) = spawn(&place.state, &probe()) else {
        panic!("a second guard");
    };
    assert!(
        reason.contains(&format!("as process {}", guard.pid())),
        "{reason}"
    );
}

#[test]
fn a_state_path_longer_than_any_socket_s_works() {
    let mut place = Place::new();
    place.state = place.folder.path().join("d".repeat(100)).join("e".repeat(100));
    let guard = place.guard();
    let mut agent = guard.agent();
    agent.run(&place, "one", &["beat"]);
    let socket = fs::metadata(place.state.join("guard.sock")).unwrap();
    assert_eq!(
        socket.permissions().mode() & 0o777 & 0o077,
        0,
        "for its user alone"
    );
    let record = fs::metadata(place.state.join("guard.json")).unwrap();
    assert_eq!(record.permissions().mode() & 0o777, 0o600);
}

#[test]
fn another_user_is_turned_away() {
    if !rustix::process::geteuid().is_root() {
        println!("needs root: nothing was tested");
        return;
    }
    let place = Place::new();
    let _guard = place.guard();
    for folder in [place.folder.path(), &place.state] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let socket = place.state.join("guard.sock");
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    // Nothing but the check of the peer's credentials is left.
    let knock = place.folder.path().join("knock");
    fs::copy(probe(), &knock).unwrap();
    let status = Command::new(knock)
        .arg("knock")
        .arg(&socket)
        .uid(65534)
        .gid(65534)
        .status()
        .unwrap();
    assert!(status.success());
    assert!(place.log().contains("turned away"), "{}", place.log());
}

#[test]
fn a_detached_guard_belongs_to_nobody_and_ends_with_its_shutdown() {
    let place = Place::new();
    spawn(&place.state, &probe()).unwrap();
    let mut agent = Agent::new(&place.state);
    let Ok(Answer::Hello { pid, holder, .. }) = agent.ask(Body::Hello { term: 1 }) else {
        panic!("no hello");
    };
    assert_eq!((session(pid), session(holder)), (Some(pid), Some(holder)));
    assert_ne!(session(pid), session(std::process::id()));
    assert_eq!(
        fs::read_link(format!("/proc/{pid}/cwd")).unwrap().to_str(),
        Some("/")
    );
    assert_eq!(
        fs::read_link(format!("/proc/{holder}/cwd")).unwrap().to_str(),
        Some("/")
    );
    let name = fs::read_to_string(format!("/proc/{holder}/cmdline")).unwrap();
    assert!(name.starts_with("lockstep-holder\0"), "{name:?}");
    let process = agent.run(&place, "one", &["beat"]);
    assert_eq!(agent.ask(Body::Shutdown), Ok(Answer::Done));
    assert!(is_gone(process.pid));
    wait_until("both are gone", || is_gone(pid) && is_gone(holder));
    assert!(connect(&place.state).is_err());
    assert!(
        fs::read_to_string(place.state.join("guard.log"))
            .unwrap()
            .contains("one runs as process")
    );
}

#[test]
fn a_shutdown_stops_all_services_at_once_and_ends_guard_and_holder() {
    let place = Place::new();
    let mut guard = place.guard();
    let mut agent = guard.agent();
    let processes: Vec<_> = (0..5)
        .map(|n| agent.run(&place, &format!("s{n}"), &["nest", "1"]))
        .collect();
    let mut deaf = place.define("deaf", &["deaf"]);
    deaf.stop_within_ms = 200;
    agent.define(vec![deaf]);
    let deaf = agent.start("deaf");
    assert_eq!(agent.ask(Body::Shutdown), Ok(Answer::Done));
    assert!(processes.iter().all(|process| is_gone(process.pid)) && is_gone(deaf.pid));
    assert!(guard.child.wait().unwrap().success());
    wait_until("nobody is left", || place.services_alive().is_empty());
    // And the next guard starts nobody by itself.
    let guard = place.guard();
    let mut agent = guard.agent();
    assert!(
        agent
            .list()
            .iter()
            .all(|service| service.process.is_none() && service.back_off_ms.is_none())
    );
}

#[test]
fn a_request_that_is_not_understood_is_answered_and_one_without_an_id_ends_the_connection() {
    let place = Place::new();
    let guard = place.guard();
    let mut agent = guard.agent();
    let frame = |text: &str| [&u32::try_from(text.len()).unwrap().to_le_bytes(), text.as_bytes()].concat();
    agent
        .stream
        .write_all(&frame(r#"{"id":77,"ask":"dance"}"#))
        .unwrap();
    match agent.answer_to(77) {
        Err(Refusal::Failed { error }) => assert!(error.contains("dance"), "{error}"),
        other => panic!("{other:?}"),
    }
    let mut stream = connect(&place.state).unwrap();
    stream.write_all(&frame("nonsense")).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(
        Decoder::default()
            .next_document::<serde_json::Value>()
            .unwrap()
            .is_none()
            && rest.is_empty()
    );
    assert_eq!(agent.list(), []);
}

#[test]
fn guard_and_holder_together_stay_below_four_megabytes_of_memory_of_their_own() {
    let place = Place::new();
    let guard = place.guard();
    let mut agent = Agent::new(&place.state);
    let Ok(Answer::Hello { pid, holder, .. }) = agent.ask(Body::Hello { term: 1 }) else {
        panic!("no hello");
    };
    assert_eq!(pid, guard.pid());
    let process = agent.run(&place, "one", &["pool", "40"]);
    wait_until("all of them beat", || place.beats("one").len() == 41);
    for _ in 0..20 {
        assert_eq!(agent.freeze(&[("one", &process)], 2000), Ok(41));
        agent.thaw(&[]);
    }
    let anonymous = |pid: u32| -> u64 {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"))
            .unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    };
    let (own, holders) = (anonymous(pid), anonymous(holder));
    println!("guard {own} kB, holder {holders} kB");
    assert!(own + holders < 4096, "guard {own} kB, holder {holders} kB");
    assert_ne!(state(pid), Some('T'));
}
