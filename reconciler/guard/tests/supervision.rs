//! Starting, ending, starting again.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{Place, instance, is_gone, kill, probe, session, wait_until};
use lockstep_guard::wire::{Answer, Body, Event, Exit, Refusal, RestartPolicy};
use std::fs;
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
    let scheduling = |pid: &str| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        // The real-time priority and the policy: proc(5)'s fields 40 and 41.
        let fields: Vec<String> = stat[stat.rfind(')').unwrap() + 2..]
            .split(' ')
            .map(str::to_owned)
            .collect();
        (fields[37].clone(), fields[38].clone())
    };
    assert_eq!(scheduling(&process.pid.to_string()), scheduling("self"));
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
fn a_guard_that_is_not_root_starts_nobody_as_another_user() {
    if !rustix::process::geteuid().is_root() {
        println!("needs root: nothing was tested");
        return;
    }
    let place = Place::new();
    std::os::unix::fs::chown(place.folder.path(), Some(65534), Some(65534)).unwrap();
    // A copy: what is built may lie where this user may not look.
    let program = place.folder.path().join("probe-of-nobody");
    fs::copy(probe(), &program).unwrap();
    let mut command = Command::new(program);
    command.args(["guard", "--state"]).arg(&place.state);
    command.uid(65534).gid(65534);
    let guard = place.guard_by(command);
    let mut agent = guard.agent();
    let mut definition = place.define("one", &["beat"]);
    definition.command = vec!["/bin/sleep".into(), "600".into()];
    definition.cwd = "/".into();
    let mut start = |user: &str| {
        definition.user = Some(user.into());
        agent.define(vec![definition.clone()]);
        agent.ask(Body::Start {
            service: "one".into(),
        })
    };
    match start("root") {
        Err(Refusal::CannotStart { error, .. }) => assert!(
            error.contains("the guard may not become user root: run it as root or as that user"),
            "{error}"
        ),
        other => panic!("{other:?}"),
    }
    assert!(matches!(start("nobody"), Ok(Answer::Started { .. })));
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
            left_behind: false,
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
    // An end that was ordered says nothing about the service.
    assert_eq!(supervised.last_exit, None);
    assert_eq!((supervised.process, supervised.back_off_ms), (None, None));
}

#[test]
fn a_start_while_it_is_stopped_follows_its_end_unless_a_further_stop_comes() {
    let place = Place::new();
    let guard = place.guard();
    let mut agent = guard.agent();
    let mut definition = place.define("deaf", &["deaf"]);
    definition.stop_within_ms = 300;
    agent.define(vec![definition]);
    let service = || "deaf".to_owned();
    let first = agent.start("deaf");
    place.ready("deaf", 1);
    let stop = agent.send(Body::Stop { service: service() });
    let start = agent.send(Body::Start { service: service() });
    assert!(agent.supervised("deaf").stopping);
    assert_eq!(agent.answer_to(stop), Ok(Answer::Done));
    let second = match agent.answer_to(start) {
        Ok(Answer::Started { process }) => process,
        other => panic!("{other:?}"),
    };
    assert!(second.instance != first.instance && is_gone(first.pid));
    assert!(!agent.supervised("deaf").stopping);
    place.ready("deaf", 2);
    agent.send(Body::Stop { service: service() });
    let start = agent.send(Body::Start { service: service() });
    let stop = agent.send(Body::Stop { service: service() });
    match agent.answer_to(start) {
        Err(Refusal::CannotStart { error, .. }) => assert!(error.contains("stopped before"), "{error}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(agent.answer_to(stop), Ok(Answer::Done));
    assert_eq!(agent.supervised("deaf").process, None);
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
