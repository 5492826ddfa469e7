//! Starting, ending, starting again; who may speak; what a new guard finds.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{Agent, Place, instance, is_gone, kill, probe, session, state, wait_until};
use lockstep_guard::wire::{Answer, Body, Event, Exit, Refusal, RestartPolicy};
use lockstep_guard::{Decoder, GuardError, connect, spawn};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

#[test]
fn a_service_gets_its_environment_its_folder_and_a_file_for_its_output() {
    let place = Place::new();
    let guard = place.guard();
    let mut agent = guard.agent();
    let process = agent.run(&place, "one", &["beat"]);
    let environment = fs::read(format!("/proc/{}/environ", process.pid)).unwrap();
    let environment = String::from_utf8_lossy(&environment).replace('\0', "\n");
    assert!(
        environment.contains(&format!("LOCKSTEP_INSTANCE={}\n", process.instance)),
        "{environment}"
    );
    assert_eq!(
        environment.lines().count(),
        4,
        "nothing but what was defined: {environment}"
    );
    let link = |name: &str| fs::read_link(format!("/proc/{}/{name}", process.pid)).unwrap();
    assert_eq!(link("cwd"), place.folder.path());
    assert_eq!(link("fd/0").to_str(), Some("/dev/null"));
    assert_eq!(link("fd/1"), place.folder.path().join("one.out"));
    assert_eq!(link("fd/2"), link("fd/1"));
    assert_eq!(fs::read_to_string(link("fd/1")).unwrap(), "probe is ready\n");
    let run_dir = fs::metadata(place.folder.path().join("run/one")).unwrap();
    assert_eq!(run_dir.permissions().mode() & 0o7777, 0o700);
    assert_eq!(session(process.pid), Some(process.pid));
    // Neither what the guard blocks nor what it ignores, its limit of open files or its mask is handed on.
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap();
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap()
            .trim()
            .to_owned()
    };
    assert_eq!(field("SigBlk:"), "0000000000000000");
    let own = fs::read_to_string("/proc/self/status").unwrap();
    assert_eq!(
        own.lines()
            .find_map(|line| line.strip_prefix("Umask:"))
            .unwrap()
            .trim(),
        field("Umask:")
    );
    let limit = |pid: &str| {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        limits
            .lines()
            .find(|line| line.starts_with("Max open files"))
            .unwrap()
            .to_owned()
    };
    assert_eq!(limit(&process.pid.to_string()), limit("self"));
}

#[test]
fn a_service_runs_as_its_user() {
    if !rustix::process::geteuid().is_root() {
        println!("needs root: nothing was tested");
        return;
    }
    let place = Place::new();
    fs::set_permissions(place.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let guard = place.guard();
    let mut agent = guard.agent();
    let mut definition = place.define("one", &["beat"]);
    definition.user = Some("nobody".into());
    definition.command = vec!["/bin/sleep".into(), "600".into()];
    definition.cwd = "/".into();
    agent.define(vec![definition.clone()]);
    let process = agent.start("one");
    let nobody = Command::new("id").args(["-u", "nobody"]).output().unwrap().stdout;
    let nobody: u32 = String::from_utf8(nobody).unwrap().trim().parse().unwrap();
    assert_eq!(
        fs::metadata(format!("/proc/{}", process.pid)).unwrap().uid(),
        nobody
    );
    assert_eq!(fs::metadata(&definition.run_dir).unwrap().uid(), nobody);
    definition.user = Some("nobody-of-this-name".into());
    definition.service = "two".into();
    agent.define(vec![definition]);
    match agent.ask(Body::Start {
        service: "two".into(),
    }) {
        Err(Refusal::CannotStart { error, .. }) => assert!(error.contains("nobody-of-this-name"), "{error}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_command_that_cannot_be_executed_is_refused_with_the_reason() {
    let place = Place::new();
    let guard = place.guard();
    let mut agent = guard.agent();
    type Spoil = fn(&mut lockstep_guard::wire::Definition);
    let cases: [(Spoil, &str); 4] = [
        (
            |definition| definition.command = vec!["/no/such/program".into()],
            "/no/such/program",
        ),
        (
            |definition| definition.command[0] = "/etc/passwd".into(),
            "/etc/passwd",
        ),
        (
            |definition| definition.cwd = "/no/such/folder".into(),
            "/no/such/folder",
        ),
        (
            |definition| definition.output = "/proc/no-such-place/file".into(),
            "/proc/no-such-place",
        ),
    ];
    for (spoil, named) in cases {
        let mut definition = place.define("one", &["beat"]);
        spoil(&mut definition);
        agent.define(vec![definition]);
        match agent.ask(Body::Start {
            service: "one".into(),
        }) {
            Err(Refusal::CannotStart { service, error }) => {
                assert_eq!(service, "one");
                assert!(error.contains(named), "{error}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(agent.supervised("one").process, None);
    }
    // A pipe for the output: its reader may die.
    let pipe = place.folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
    let mut definition = place.define("one", &["beat"]);
    definition.output = pipe;
    agent.define(vec![definition]);
    assert!(matches!(
        agent.ask(Body::Start {
            service: "one".into()
        }),
        Err(Refusal::CannotStart { .. })
    ));
    assert_eq!(place.starts("one"), []);
}

#[test]
fn definitions_that_make_no_sense_are_refused_as_a_whole() {
    let place = Place::new();
    let guard = place.guard();
    let mut agent = guard.agent();
    let good = place.define("good", &["beat"]);
    let mut bad = place.define("bad", &["beat"]);
    bad.stop_signal = "SIGNOTHING".into();
    match agent.ask(Body::Define {
        services: vec![good, bad],
    }) {
        Err(Refusal::Failed { error }) => {
            assert!(error.contains("bad") && error.contains("SIGNOTHING"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(agent.list(), []);
    let mut relative = place.define("relative", &["beat"]);
    relative.cwd = "here".into();
    assert!(matches!(
        agent.ask(Body::Define {
            services: vec![relative]
        }),
        Err(Refusal::Failed { .. })
    ));
    assert_eq!(
        agent.ask(Body::Start {
            service: "nobody".into()
        }),
        Err(Refusal::UnknownService {
            service: "nobody".into()
        })
    );
}

#[test]
fn a_start_of_one_that_lives_answers_with_the_facts_of_the_living() {
    let place = Place::new();
    let guard = place.guard();
    let mut agent = guard.agent();
    agent.define(vec![place.define("one", &["beat"])]);
    let ids: Vec<u64> = (0..3)
        .map(|_| {
            agent.send(Body::Start {
                service: "one".into(),
            })
        })
        .collect();
    let answers: Vec<_> = ids.into_iter().map(|id| agent.answer_to(id).unwrap()).collect();
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    let process = agent.start("one");
    assert_eq!(answers[0], Answer::Started { process });
    place.ready("one", 1);
    assert_eq!(place.starts("one").len(), 1);
}

#[test]
fn the_restart_policy_decides_who_is_started_again() {
    let place = Place::new();
    let guard = place.guard();
    let mut agent = guard.agent();
    let cases = [
        ("always-0", RestartPolicy::Always, "0", true),
        ("failure-0", RestartPolicy::OnFailure, "0", false),
        ("failure-7", RestartPolicy::OnFailure, "7", true),
        ("never-7", RestartPolicy::Never, "7", false),
    ];
    for (name, policy, code, again) in cases {
        let mut definition = place.define(name, &["end", code]);
        definition.restart = policy;
        agent.define(vec![definition]);
        let first = agent.start(name);
        let Event::Ended {
            instance: ended,
            exit,
            back_off_ms,
        } = agent.event()
        else {
            panic!("not the end of {name}");
        };
        assert_eq!(
            (ended, exit),
            (instance(name, &first), Exit::Code(code.parse().unwrap()))
        );
        assert_eq!(back_off_ms, again.then_some(1000), "{name}");
        if again {
            assert!(agent.supervised(name).back_off_ms.is_some());
            let Event::Started { service, process } = agent.event() else {
                panic!("{name} was not started again");
            };
            assert_eq!(service, name);
            assert_ne!(process.instance, first.instance);
            assert_eq!(agent.supervised(name).restarts, 1);
            // The second end waits twice as long.
            assert!(matches!(
                agent.event(),
                Event::Ended {
                    back_off_ms: Some(2000),
                    ..
                }
            ));
        }
        agent.stop(name);
        assert_eq!(agent.supervised(name).back_off_ms, None);
    }
}

#[test]
fn a_start_on_order_breaks_a_back_off_and_a_hold() {
    let place = Place::new();
    let guard = place.guard();
    let mut agent = guard.agent();
    let mut definition = place.define("one", &["beat"]);
    definition.restart = RestartPolicy::Always;
    agent.define(vec![definition]);
    let first = agent.start("one");
    assert_eq!(
        agent.ask(Body::Hold {
            services: vec!["one".into()]
        }),
        Ok(Answer::Done)
    );
    kill(first.pid, "KILL");
    let Event::Ended {
        exit, back_off_ms, ..
    } = agent.event()
    else {
        panic!("no end");
    };
    assert_eq!(
        (exit, back_off_ms),
        (Exit::Signal("SIGKILL".into()), None),
        "held: not by itself"
    );
    assert_eq!(agent.supervised("one").back_off_ms, None);
    let second = agent.start("one");
    assert_ne!(second, first);
    assert_eq!(agent.supervised("one").restarts, 0);

    // When the hold goes, the policy applies again.
    kill(second.pid, "KILL");
    assert!(matches!(
        agent.event(),
        Event::Ended {
            back_off_ms: None,
            ..
        }
    ));
    let mut other = guard.agent();
    drop(agent);
    let Event::Started { process, .. } = other.event() else {
        panic!("not started when the hold went");
    };
    assert_ne!(process.instance, second.instance);
}

#[test]
fn one_that_does_not_end_when_asked_is_killed() {
    let place = Place::new();
    let guard = place.guard();
    let mut agent = guard.agent();
    let mut definition = place.define("deaf", &["deaf"]);
    definition.stop_within_ms = 100;
    definition.restart = RestartPolicy::Always;
    agent.define(vec![definition]);
    let process = agent.start("deaf");
    place.ready("deaf", 1);
    agent.stop("deaf");
    assert!(is_gone(process.pid));
    let supervised = agent.supervised("deaf");
    assert_eq!(supervised.last_exit, Some(Exit::Signal("SIGKILL".into())));
    assert_eq!((supervised.process, supervised.back_off_ms), (None, None));
}

#[test]
fn what_a_dead_service_leaves_behind_is_killed_before_its_successor_starts() {
    let place = Place::new();
    let guard = place.guard();
    let mut agent = guard.agent();
    for shape in [&["orphan"][..], &["stray"], &["nest", "3"], &["chain"]] {
        let name = shape[0];
        let process = agent.run(&place, name, shape);
        wait_until("the helper beats", || place.beats(name).len() >= 2);
        kill(process.pid, "KILL");
        assert!(matches!(agent.event(), Event::Ended { .. }));
        wait_until("nobody is left", || place.services_alive().is_empty());
        // A chain of forks could be on no list at any time; but not stand still.
        common::assert_nobody_moves(&place, &[name]);
    }
}

#[test]
fn orphans_are_collected_and_leave_no_zombies() {
    let place = Place::new();
    let guard = place.guard();
    let mut agent = guard.agent();
    agent.run(&place, "one", &["chain"]);
    wait_until("a hundred ended", || {
        place.beats("one")["beat-chain"].parse::<u32>().unwrap() > 100
    });
    let path = format!("/proc/{0}/task/{0}/children", guard.pid());
    wait_until("few are left", || {
        fs::read_to_string(&path).unwrap().split_whitespace().count() < 10
    });
}

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
