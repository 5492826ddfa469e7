//! `lockstep demo`, as a newcomer meets it: it plays its tour, two at a time, and nothing is left when it ends, in
//! whichever way.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use lockstep_tests::wait::eventually;
use lockstep_tests::{processes, programs, run_folder};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A place of its own for one demo.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = TempDir::with_prefix("lab-demo-").expect("there is room for temporary files");
        programs::install(&folder.path().join("bin"));
        Self { folder }
    }

    fn demo(&self) -> PathBuf {
        self.folder.path().join("demo")
    }

    fn start(&self, words: &[&str]) -> Child {
        Command::new(self.folder.path().join("bin/lockstep"))
            .arg("demo")
            .args(words)
            .arg("--dir")
            .arg(self.demo())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it can be started")
    }

    #[track_caller]
    fn nothing_is_left(&self) {
        eventually("nobody is left", || processes::of(self.folder.path()).is_empty());
        eventually("the folder is gone", || !self.demo().exists());
        // By that name a service of the demo would find its own folder in there.
        let run = run_folder(&self.demo().join("state"));
        eventually("the services' own folders are gone", || !run.exists());
    }
}

/// Starts the demo, waits until it follows the events, and ends it by a signal.
#[track_caller]
fn ends_by(signal: Signal) {
    let place = Place::new();
    let mut demo = place.start(&[]);
    let mut lines = BufReader::new(demo.stdout.take().expect("it is read")).lines();
    let settled = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("Settled")));
    assert!(settled.is_some(), "the first release is live");
    assert!(place.demo().exists());
    let pid = Pid::from_child(&demo);
    kill_process(pid, signal).expect("it lives");
    lines.for_each(drop);
    let status = demo.wait().expect("it is waited for");
    assert_eq!(status.success(), signal != Signal::KILL, "{status}");
    place.nothing_is_left();
}

#[test]
fn two_tours_at_the_same_time_go_as_they_must() {
    let places = [Place::new(), Place::new()];
    let demos = places.each_ref().map(|place| place.start(&["--script"]));
    for (place, demo) in places.iter().zip(demos) {
        let output = demo.wait_with_output().expect("it is waited for");
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(output.status.success(), "{out}\n{err}");
        let good = out.lines().filter(|line| line.starts_with("ok  ")).count();
        assert_eq!(good, 10, "eight steps, the processes and the broker:\n{out}");
        assert!(out.contains("1 since the start, 0 ended"), "{out}");
        place.nothing_is_left();
    }
}

#[test]
fn ctrl_c_ends_all_of_it() {
    ends_by(Signal::INT);
}

#[test]
fn nothing_is_left_of_a_demo_that_is_killed() {
    ends_by(Signal::KILL);
}
