//! `lockstep down` while a reconciler is starting, ending or in a rollout: it knows of it, waits for it, and ends that too.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lockstep_tests::processes::{Process, Role};
use lockstep_tests::wait::{eventually, stays};
use lockstep_tests::{Lab, Service, failing};
use rustix::process::Signal;

fn lab() -> Lab {
    Lab::builder()
        .service(Service::acknowledged("a"))
        .unstarted()
        .start()
}

fn start(lab: &Lab, word: &str) -> Child {
    Command::new(lab.root().join("bin/lockstep"))
        .args([word, "--settings"])
        .arg(lab.settings())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program was built")
}

#[track_caller]
fn said(mut child: Child) -> String {
    let mut text = String::new();
    for stream in [
        child
            .stdout
            .take()
            .map(|out| Box::new(out) as Box<dyn std::io::Read>),
        child
            .stderr
            .take()
            .map(|err| Box::new(err) as Box<dyn std::io::Read>),
    ] {
        let mut stream = stream.expect("it is piped");
        stream.read_to_string(&mut text).expect("it says something");
    }
    let status = child.wait().expect("it is our child");
    assert!(status.success(), "{status}: {text}");
    text
}

fn reconciler(lab: &Lab) -> Option<Process> {
    let mut all = lab.processes().into_iter();
    all.find(|process| process.role == Role::Reconciler)
}

/// A reconciler that is stopped after it has entered its state folder and before it can be asked anything.
fn stopped_while_it_starts(lab: &Lab) -> (Child, Process) {
    let lock = lab.state().join("lock");
    // The file alone is there a moment before it is locked.
    let entered = || {
        let Ok(facts) = std::fs::metadata(&lock) else {
            return false;
        };
        let held = std::fs::read_to_string("/proc/locks").expect("the kernel lists them");
        held.contains(&format!(":{} ", std::os::unix::fs::MetadataExt::ino(&facts)))
    };
    // On a busy machine it may be up before it is seen to have entered.
    for _ in 0..20 {
        let mut run = start(lab, "run");
        eventually("it has entered", entered);
        let process = reconciler(lab).expect("it lives");
        process.signal(Signal::STOP);
        eventually("it is stopped", || process.is_stopped());
        if std::os::unix::net::UnixStream::connect(lab.state().join("control.sock")).is_err() {
            return (run, process);
        }
        process.signal(Signal::CONT);
        said(start(lab, "down"));
        run.wait().expect("it is our child");
    }
    panic!("it could always be asked before it was stopped");
}

#[test]
fn a_reconciler_that_starts_is_waited_for_and_ended_too() {
    let lab = lab();
    let (mut run, process) = stopped_while_it_starts(&lab);
    let mut down = start(&lab, "down");
    stays("it waits", Duration::from_secs(1), || {
        down.try_wait().expect("it is our child").is_none()
    });
    process.signal(Signal::CONT);
    let text = said(down);
    assert!(
        text.contains("all is down: reconciler, services and guard"),
        "{text}"
    );
    assert!(run.wait().expect("it is our child").success());
    assert_eq!(lab.processes(), Vec::new());
    let text = said(start(&lab, "down"));
    assert!(text.contains("nothing is running"), "{text}");
}

#[test]
fn one_that_ends_while_it_starts_leaves_nothing_to_be_waited_for() {
    let lab = lab();
    let (mut run, process) = stopped_while_it_starts(&lab);
    let mut down = start(&lab, "down");
    stays("it waits", Duration::from_secs(1), || {
        down.try_wait().expect("it is our child").is_none()
    });
    process.signal(Signal::KILL);
    said(down);
    assert!(!run.wait().expect("it is our child").success());
    eventually("nobody is left", || lab.processes().is_empty());
}

#[test]
fn nobody_starts_while_all_is_ended() {
    // It takes its time to end, and so does `down`.
    let slow = "trap 'while [ ! -e {lab}/go ]; do sleep 0.05; done; exit' TERM; echo up > {lab}/up; \
                while :; do sleep 0.05; done";
    let slow = Service::program("slow", &["/bin/sh", "-c", slow])
        .reads(&["config.toml#slow"])
        .reload("{ restart = {} }")
        .pause("none")
        .tier("running");
    let lab = Lab::builder().service(slow).start();
    eventually("it can be asked to end", || lab.root().join("lab/up").exists());
    // Only guard and service are left, so that `down` asks the guard itself.
    lab.kill_reconciler();
    let down = start(&lab, "down");
    let log = lab.state().join("guard.log");
    eventually("the guard was asked", || {
        std::fs::read_to_string(&log).is_ok_and(|log| log.contains("a shutdown was ordered"))
    });
    let refused = lab.run_to_end(&[]).failed(1);
    assert!(refused.contains("uses the state folder"), "{refused}");
    std::fs::write(lab.root().join("lab/go"), "").expect("the lab is ours");
    let text = said(down);
    assert!(text.contains("no reconciler ran"), "{text}");
    assert_eq!(lab.processes(), Vec::new());
}

#[test]
fn a_rollout_ends_before_all_does_and_nobodys_end_is_held_against_its_commit() {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .service(Service::acknowledged("b"))
        .start();
    let next = lab.set(&[("a", "value = 2\ndelay = 1500"), ("b", "value = 2")]);
    lab.wait_kind("Verifying", &next);
    lab.lockstep(&["down"]).done();
    assert_eq!(lab.processes(), Vec::new());
    lab.start_reconciler();
    let status = lab.wait_status("both run what is live", |status| {
        status.services.iter().all(|service| service.current)
    });
    assert!(status.quarantined.is_empty(), "{:?}", status.quarantined);
    assert_eq!(status.live.map(|live| live.revision), Some(next));
    assert_eq!((lab.value("a"), lab.value("b")), (2, 2));
}

#[test]
fn a_stuck_rollout_is_not_waited_for() {
    let lab = failing::with(Service::by_hand("bad").within(failing::SHORT));
    lab.set(&[("bad", "value = 2\nbehave = \"stubborn\""), ("good", "value = 2")]);
    lab.wait_event("Stuck", |event| event.kind == "Stuck");
    lab.lockstep(&["down"]).done();
    assert_eq!(lab.processes(), Vec::new());
}
