//! Beginning anew with other settings, where something stands in the way: whoever asks is answered or told that nobody
//! is there, and nothing is done that was said not to have been done.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use lockstep_tests::wait::eventually;
use lockstep_tests::{Lab, Service, tables};
use rustix::process::Signal;

fn lab() -> Lab {
    Lab::builder()
        .service(Service::acknowledged("a"))
        .service(Service::acknowledged("b"))
        .start()
}

/// Has the settings read again, and waits until the reconciler has begun anew with them.
fn begin_anew(lab: &Lab) {
    let before = lab.now();
    lab.hang_up();
    lab.wait_event_after(before, "it began anew", |event| event.kind == "Started");
}

fn log(lab: &Lab) -> String {
    fs::read_to_string(lab.root().join("run.log")).unwrap_or_default()
}

/// A command that is not waited for, with what it prints.
struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Running {
    fn start(lab: &Lab, args: &[&str]) -> Self {
        let mut child = Command::new(lab.root().join("bin/lockstep"))
            .args(args)
            .arg("--settings")
            .arg(lab.settings())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it can be run");
        let out = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// Waits for a line.
    fn says(&self, word: &str) {
        let limit = Duration::from_secs(60);
        while !self.lines.recv_timeout(limit).expect("it says it").contains(word) {}
    }

    fn code(mut self) -> Option<i32> {
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn while_it_cannot_begin_anew_nobody_waits_and_a_further_signal_is_heard() {
    let lab = lab();
    let (a, good) = (
        lab.process("a"),
        fs::read_to_string(lab.settings()).expect("it was written"),
    );
    // The guard hears the new term and cannot note it, as on a full disk.
    let in_the_way: PathBuf = lab.state().join("guard.json.new");
    fs::create_dir(&in_the_way).expect("the state folder is ours");
    fs::write(
        lab.settings(),
        good.replace("interval = \"1s\"", "interval = \"900ms\""),
    )
    .expect("the lab's folder is writable");
    lab.hang_up();
    eventually("it is said", || log(&lab).contains("cannot begin anew"));
    let said = lab.lockstep(&["status"]).failed(3);
    assert!(
        said.contains("cannot begin anew, and tries again") && said.contains("guard.json"),
        "{said}"
    );
    let said = lab.run_to_end(&[]).failed(1);
    assert!(
        said.contains("another reconciler uses the state folder"),
        "{said}"
    );
    let tries = || log(&lab).matches("cannot begin anew").count();
    let before = tries();
    lab.hang_up();
    eventually("it is tried again", || tries() > before);
    // What is read now is taken as soon as it can be, and the program is still the one that held the term before.
    fs::write(lab.settings(), tables::without(&good, "b")).expect("the lab's folder is writable");
    fs::remove_dir(&in_the_way).expect("it is ours");
    lab.hang_up();
    eventually("it is back", || {
        lab.lockstep(&["status", "--json"]).code == Some(0)
    });
    lab.wait_status("b is not in it", |status| status.services.len() == 1);
    eventually("b is stopped", || !lab.services().contains_key("b"));
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    assert_eq!(lab.process("a"), a);
}

#[test]
fn a_service_that_was_put_back_before_it_had_ended_is_started_again() {
    let slow = "trap 'touch {lab}/asked; while ! test -e {lab}/end; do sleep 0.05; done; exit 0' TERM; while :; do sleep \
                0.05; done";
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .service(
            Service::program("b", &["/bin/sh", "-c", slow])
                .pause("none")
                .tier("running")
                .reload("{ watch = {} }"),
        )
        .start();
    let b = lab.process("b");
    let whole = fs::read_to_string(lab.settings()).expect("it was written");
    fs::write(lab.settings(), tables::without(&whole, "b")).expect("the lab's folder is writable");
    begin_anew(&lab);
    eventually("b is asked to end", || lab.root().join("lab/asked").exists());
    fs::write(lab.settings(), whole).expect("the lab's folder is writable");
    begin_anew(&lab);
    assert_eq!(lab.process("b"), b, "it has not ended yet");
    fs::write(lab.root().join("lab/end"), "").expect("the lab's folder is writable");
    eventually("another b runs", || {
        lab.services().get("b").is_some_and(|now| now.pid != b.pid)
    });
    lab.wait_status("both run what is live", |status| {
        status.services.len() == 2 && status.services.iter().all(|service| service.current)
    });
}

#[test]
fn a_commit_that_is_said_to_have_failed_was_not_pushed() {
    let lab = lab();
    let before = lab.services();
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    let head = || lab.origin().list_commits().len();
    for round in 0..12 {
        let known = head();
        let reconciler = lab.reconciler().expect("it runs");
        let rollback = Running::start(&lab, &["rollback", "-m", "undo"]);
        // Sooner or later while it is being answered.
        thread::sleep(Duration::from_millis(2 * round));
        reconciler.signal(Signal::HUP);
        let code = rollback.code();
        assert_eq!(code == Some(0), head() != known, "it ended with {code:?}");
        lab.lockstep(&["wait"]).done();
    }
    lab.assert_same_processes(&before);
}

#[test]
fn whoever_waits_or_follows_does_so_over_a_new_beginning() {
    let lab = lab();
    let events = Running::start(&lab, &["events", "--follow"]);
    let status = Running::start(&lab, &["status", "--watch", "--json"]);
    let next = lab.edit(&[("a", "value = 2")]);
    let wait = Running::start(&lab, &["wait", next.as_str(), "--timeout", "60s"]);
    status.says("\"live\"");
    begin_anew(&lab);
    begin_anew(&lab);
    events.says("Started");
    events.says("Started");
    lab.push();
    lab.wait_settled(&next);
    assert_eq!(wait.code(), Some(0));
    events.says("Settled");
    status.says(next.as_str());
    lab.stop_reconciler();
    assert_eq!((events.code(), status.code()), (Some(3), Some(3)));
}

#[test]
fn settings_that_are_broken_by_now_keep_nobody_from_asking_who_runs() {
    let lab = lab();
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    let good = fs::read_to_string(lab.settings()).expect("it was written");
    fs::write(lab.settings(), good.replace("[source]", "[source")).expect("the lab's folder is writable");
    for command in [
        &["status"][..],
        &["events"],
        &["history"],
        &["sync"],
        &["wait"],
        &["suspend", "--reason", "a test"],
        &["resume"],
        &["retry"],
        &["rollback"],
    ] {
        let ran = lab.lockstep(command);
        assert_eq!(ran.code, Some(0), "{command:?}: {ran:?}");
    }
    let said = lab.lockstep(&["status"]);
    assert!(
        said.err.contains("goes on with the settings that it read before") && said.err.contains("[source"),
        "{said:?}"
    );
    let said = lab.lockstep(&["doctor"]).failed(2);
    assert!(said.contains("cannot be understood"), "{said}");
    lab.lockstep(&["down"]).done();
    assert_eq!(lab.processes(), Vec::new());
    let said = lab.lockstep(&["status"]).failed(2);
    assert!(said.contains("cannot be understood"), "{said}");
    assert!(lab.lockstep(&["down"]).done().contains("nothing is running"));
}

#[test]
fn one_that_cannot_begin_anew_ends_by_down() {
    let lab = lab();
    let in_the_way = lab.state().join("guard.json.new");
    fs::create_dir(&in_the_way).expect("the state folder is ours");
    lab.hang_up();
    eventually("it is said", || log(&lab).contains("cannot begin anew"));
    let mut ended = lab.take_reconciler();
    lab.lockstep(&["down"]).done();
    assert_eq!(ended.wake_to_end().code(), Some(0));
    assert_eq!(lab.processes(), Vec::new());
}

#[test]
fn a_damaged_file_that_may_hide_its_state_folder_asks_nobody_elses_reconciler() {
    let lab = lab();
    let good = fs::read_to_string(lab.settings()).expect("it was written");
    // The rest of the file becomes a text, so that its own state folder is not seen.
    let (head, tail) = good.split_once("url = \"").expect("it names a repository");
    let other = lab.root().join("other.toml");
    let damaged = format!("{head}url = \"\"\"{tail}\n[state]\npath = \"other\"\n");
    fs::write(&other, &damaged).expect("the lab's folder is writable");
    for command in [
        &["status"][..],
        &["down"],
        &["suspend", "--reason", "x"],
        &["rollback"],
    ] {
        let ran = Command::new(lab.root().join("bin/lockstep"))
            .args(command)
            .arg("--settings")
            .arg(&other)
            .output()
            .expect("it can be run");
        let said = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(2), "{command:?}: {said}");
        assert!(said.contains("cannot be understood"), "{command:?}: {said}");
    }
    assert!(lab.status().suspended.is_none());
    // The reconciler of the usual place was started with this file: it is the one that is meant.
    fs::write(lab.settings(), damaged).expect("the lab's folder is writable");
    lab.lockstep(&["status"]).done();
}

#[test]
fn a_signal_that_comes_while_it_starts_does_not_end_it() {
    let lab = lab();
    lab.stop_reconciler();
    let mut starting = Command::new(lab.root().join("bin/lockstep"))
        .args(["run", "--settings"])
        .arg(lab.settings())
        .stderr(Stdio::null())
        .spawn()
        .expect("it can be run");
    let pid = rustix::process::Pid::from_child(&starting);
    // From the moment on in which it catches them, far before it is up.
    let catches = || {
        let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        caught.is_some_and(|set| u64::from_str_radix(set.trim(), 16).is_ok_and(|set| set & 1 != 0))
    };
    eventually("it catches SIGHUP", catches);
    for _ in 0..20 {
        rustix::process::kill_process(pid, Signal::HUP).expect("it is our child");
    }
    eventually("it is up", || lab.lockstep(&["status"]).code == Some(0));
    assert!(starting.try_wait().expect("it is our child").is_none());
    rustix::process::kill_process(pid, Signal::TERM).expect("it is our child");
    assert!(starting.wait().expect("it ends").success());
}
