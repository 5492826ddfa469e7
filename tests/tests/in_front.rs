//! Services that are not the first process of their tree: a shell, `uv run` or a master of workers stands in front; or
//! that leave the foreground.

use std::fs;

use lockstep_tests::wait::eventually;
use lockstep_tests::{Lab, Service};

/// A lab in which a copy of the test service has the name of a program that is known to pass signals on.
fn behind_uv(args: &[&str]) -> Lab {
    let words: Vec<_> = ["{lab}/uv", "a", "--in-front"]
        .iter()
        .chain(args)
        .copied()
        .collect();
    let lab = Lab::builder()
        .service(Service::program("a", &words).reads(&["config.toml#a"]))
        .unstarted()
        .start();
    let place = lab.root().join("lab");
    for name in ["uv", "lab-service"] {
        fs::copy(lab.root().join("bin/lab-service"), place.join(name)).expect("the lab is ours");
    }
    lab.start_reconciler();
    lab.wait_settled(&lab.origin().revision("HEAD"));
    lab
}

#[test]
fn a_signal_to_what_passes_it_on_reaches_the_service_which_acknowledges_as_another_process() {
    let lab = behind_uv(&[]);
    let first = lab.process("a");
    let settled = lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    assert!(settled.pause_us.is_some_and(|pause| pause > 0), "{settled:?}");
    let answer = lab.ask("a");
    assert_eq!((answer.value, answer.rings), (2, 1));
    assert_ne!(answer.pid, first.pid, "the child serves");
    assert_eq!(
        lab.status().instance("a").pid,
        Some(first.pid),
        "what Lockstep knows is the first process"
    );
    lab.wait_rolled_back(&lab.set(&[("a", "value = 3\nrefuse = true")]));
    assert_eq!(
        (lab.value("a"), lab.ask("a").pid, lab.process("a")),
        (2, answer.pid, first)
    );
    lab.assert_nobody_stopped();
    // Its end by the stop signal reaches the child as well.
    lab.lockstep(&["down"]).done();
    assert!(lab.services().is_empty());
}

#[test]
fn a_signal_that_would_be_passed_on_to_one_that_it_kills_is_never_sent() {
    let lab = behind_uv(&["--reload", "never"]);
    let pid = lab.ask("a").pid;
    let aborted = lab.wait_kind("Aborted", &lab.set(&[("a", "value = 2")]));
    let words = format!("uv passes SIGUSR1 on to process {pid} (lab-service), which it would kill");
    assert!(aborted.message.contains(&words), "{aborted:?}");
    assert_eq!((lab.value("a"), lab.ask("a").pid), (1, pid));
    let said = lab.lockstep(&["doctor"]).failed(1);
    assert!(said.contains(&words), "{said}");
}

#[test]
fn a_shell_that_stays_in_front_is_not_signalled_and_exec_is_the_way_out() {
    let behind = |script: &str| Service::program("a", &["/bin/sh", "-c", script]).reads(&["config.toml#a"]);
    let lab = Lab::builder()
        .service(behind("{bin}/lab-service a; true"))
        .start();
    let shell = lab.process("a");
    let serving = lab.ask("a").pid;
    assert_ne!(serving, shell.pid);
    let aborted = lab.wait_kind("Aborted", &lab.set(&[("a", "value = 2")]));
    for words in ["SIGUSR1 would kill it: it is a shell (", "`exec ./service`"] {
        assert!(aborted.message.contains(words), "{aborted:?}");
    }
    assert_eq!(
        (lab.value("a"), lab.ask("a").pid, lab.process("a")),
        (1, serving, shell)
    );
    lab.assert_nobody_stopped();
    let said = lab.lockstep(&["doctor"]).failed(1);
    assert!(said.contains("write `exec` in front of the program"), "{said}");

    let lab = Lab::builder()
        .service(behind("true; exec {bin}/lab-service a"))
        .start();
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    assert_eq!((lab.value("a"), lab.ask("a").pid), (2, lab.process("a").pid));
}

/// A master that reads its file on SIGHUP, and has its workers read it by a signal of its own.
const MASTER: &str = r#"
import os, signal, sys, time
place, config = os.environ["LAB_PLACE"], os.environ["LOCKSTEP_CONFIG"] + "/config.toml"
def read(name):
    with open(config) as file:
        value = [line for line in file if line.startswith("value")][0].split()[2]
    with open(f"{place}/{name}", "a") as file:
        file.write(value + "\n")
workers = []
def told(number, frame):
    read("master")
    for worker in workers:
        os.kill(worker, signal.SIGUSR2)
signal.signal(signal.SIGHUP, told)
read("master")
for number in range(3):
    pid = os.fork()
    if pid == 0:
        # A signal from elsewhere would be one too many.
        signal.signal(signal.SIGHUP, lambda *_: os.abort())
        signal.signal(signal.SIGUSR2, lambda *_: read(f"worker{number}"))
        read(f"worker{number}")
        while True:
            signal.pause()
    workers.append(pid)
while True:
    signal.pause()
"#;

#[test]
fn a_master_is_told_and_tells_its_workers_which_are_frozen_with_it() {
    let service = Service::program("a", &["python3", "-c", MASTER])
        .reload("{ signal = \"SIGHUP\" }")
        .tier("running");
    let lab = Lab::builder().service(service).start();
    let tree = |lab: &Lab| {
        let mut tree: Vec<_> = lab
            .processes()
            .into_iter()
            .filter(|process| matches!(&process.role, lockstep_tests::processes::Role::Service(name) if name == "a"))
            .collect();
        tree.sort();
        tree
    };
    eventually("its workers are there", || tree(&lab).len() == 4);
    let read = |name: &str| fs::read_to_string(lab.root().join("lab").join(name)).unwrap_or_default();
    let all = ["master", "worker0", "worker1", "worker2"];
    eventually("all have read it", || all.iter().all(|name| read(name) == "1\n"));
    let before = tree(&lab);
    let settled = lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    assert!(settled.pause_us.is_some_and(|pause| pause > 0), "{settled:?}");
    eventually("all have read the next", || {
        all.iter().all(|name| read(name) == "1\n2\n")
    });
    assert_eq!(tree(&lab), before);
    lab.assert_nobody_stopped();
}

#[test]
fn a_service_that_leaves_the_foreground_is_told_to_stay_there() {
    let daemon = "{bin}/lab-service a & sleep 0.2; exit 0";
    let lab = Lab::builder()
        .service(Service::program("a", &["/bin/sh", "-c", daemon]).tier("running"))
        .unstarted()
        .start();
    lab.start_reconciler();
    let failed = lab.wait_event("it failed", |event| event.is_of("Failed", "a"));
    for words in [
        "exited with status 0 and left processes behind, which were killed",
        "stays in the foreground",
    ] {
        assert!(failed.message.contains(words), "{failed:?}");
    }
}
