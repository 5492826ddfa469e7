//! A lab: one Lockstep with everything around it, in a folder of its own, and the verbs of a test.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lockstep_protocol::Revision;
use lockstep_source::testing::{GitDaemon, Origin};
use rustix::process::Signal;
use serde::Deserialize;
use tempfile::TempDir;

use crate::events::{Event, Follower};
use crate::keeper::{self, Keeper};
use crate::processes::{self, Process, Role};
use crate::ran::{Ran, await_end};
use crate::view::Status;
use crate::wait::{PATIENCE, eventually, until};
use crate::{Builder, report};

/// One Lockstep with its repository, its services and its settings. Ends and removes all of it on drop; when the
/// test failed, everything that is known is printed first.
pub struct Lab {
    pub(crate) reconciler: RefCell<Option<Child>>,
    pub(crate) events: RefCell<Follower>,
    pub(crate) commands: RefCell<Vec<String>>,
    pub(crate) sections: RefCell<BTreeMap<String, String>>,
    pub(crate) path: String,
    pub(crate) address: Ipv4Addr,
    /// Held for its drop.
    pub(crate) _daemon: Option<GitDaemon>,
    pub(crate) origin: Origin,
    pub(crate) root: PathBuf,
    pub(crate) folder: Option<TempDir>,
    /// Held for its drop, which comes after the lab's own.
    pub(crate) _keeper: Keeper,
}

/// What a test service says of itself when it is asked: the truth of its memory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Answer {
    /// Its pid.
    pub pid: i32,
    /// The value it works with now.
    pub value: i64,
    /// The switch it was taken from; 0 for one that does not look.
    pub switch: u64,
    /// How often it was asked to reload: signals, or moves it saw.
    pub rings: u64,
}

impl Lab {
    /// Begins to set one up.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    // ---- places

    /// The lab's folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The settings file.
    #[must_use]
    pub fn settings(&self) -> PathBuf {
        self.root.join("lockstep.toml")
    }

    /// The volume.
    #[must_use]
    pub fn volume(&self) -> PathBuf {
        self.root.join("volume")
    }

    /// The state folder.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// The loopback address that is this lab's alone.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Where the reconciler keeps the folder of a service's instance.
    #[must_use]
    pub fn instance_folder(&self, service: &str) -> PathBuf {
        report::run_folder(&self.state()).join(service)
    }

    // ---- the reconciler

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.root.join("bin/lockstep"));
        command.args(args).arg("--settings").arg(self.settings());
        self.prepare(command)
    }

    /// A command in the lab's folder, with an environment that does not depend on the machine's.
    pub(crate) fn prepare(&self, mut command: Command) -> Command {
        command.current_dir(&self.root).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        for name in ["LOCKSTEP_LOG", "RUST_BACKTRACE"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        self.commands.borrow_mut().push(words.join(" "));
        command
    }

    fn spawn_reconciler(&self, mut command: Command) -> Child {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.root.join("run.log"));
        let log = log.expect("the folder is ours");
        let out = log.try_clone().expect("a file can be shared");
        command
            .stdout(out)
            .stderr(log)
            .spawn()
            .expect("the program was built")
    }

    /// Starts the reconciler and waits until it does its work.
    ///
    /// # Panics
    /// When it ends instead.
    pub fn start_reconciler(&self) {
        self.start_reconciler_with(&[]);
    }

    /// The same with arguments, as `--take-over`. One that runs already stays, and is no longer this lab's to kill
    /// by [`kill_reconciler`](Self::kill_reconciler).
    ///
    /// # Panics
    /// When it ends instead.
    pub fn start_reconciler_with(&self, args: &[&str]) {
        let mut words = vec!["run"];
        words.extend(args);
        self.start_reconciler_by(self.command(&words));
    }

    /// The same by a whole command.
    pub(crate) fn start_reconciler_by(&self, command: Command) {
        let started = || {
            self.events()
                .iter()
                .filter(|event| event.kind == "Started")
                .count()
        };
        let before = started();
        let mut child = self.spawn_reconciler(command);
        let up = until(PATIENCE, || {
            let ended = child.try_wait().expect("it is our child");
            assert!(ended.is_none(), "the reconciler ended: {ended:?}");
            (started() > before).then_some(())
        });
        *self.reconciler.borrow_mut() = Some(child);
        assert!(up.is_some(), "the reconciler did not start in time");
    }

    /// Runs a reconciler that is to end by itself, and gives how.
    ///
    /// # Panics
    /// When it does not end.
    pub fn run_to_end(&self, args: &[&str]) -> Ran {
        let mut words = vec!["run"];
        words.extend(args);
        self.run(&words)
    }

    /// Ends the reconciler's process at once, as a crash does.
    ///
    /// # Panics
    /// When there is none.
    pub fn kill_reconciler(&self) {
        let mut child = self
            .reconciler
            .borrow_mut()
            .take()
            .expect("a reconciler was started");
        child.kill().expect("it is our child");
        child.wait().expect("it is our child");
    }

    /// Asks the reconciler to end by SIGTERM, and waits until it did.
    ///
    /// # Panics
    /// When it does not.
    pub fn stop_reconciler(&self) {
        let mut child = self
            .reconciler
            .borrow_mut()
            .take()
            .expect("a reconciler was started");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, Signal::TERM).expect("it is our child");
        let ended = until(PATIENCE, || child.try_wait().expect("it is our child"));
        assert!(
            ended.is_some_and(|status| status.success()),
            "after SIGTERM it ended by {ended:?}"
        );
    }

    /// The pid of the reconciler that was started last, if it lives.
    #[must_use]
    pub fn reconciler(&self) -> Option<Process> {
        let pid = self.reconciler.borrow().as_ref()?.id().cast_signed();
        self.processes().into_iter().find(|process| process.pid == pid)
    }

    /// Kills the guard.
    pub fn kill_guard(&self) {
        self.kill(&Role::Guard);
    }

    /// Kills the holder.
    pub fn kill_holder(&self) {
        self.kill(&Role::Holder);
    }

    fn kill(&self, role: &Role) {
        let all: Vec<_> = self
            .processes()
            .into_iter()
            .filter(|process| process.role == *role)
            .collect();
        assert!(!all.is_empty(), "there is no {role:?}");
        for process in &all {
            process.signal(Signal::KILL);
        }
        eventually("the killed are gone", || {
            all.iter().all(|process| !process.is_alive())
        });
    }

    // ---- commands

    /// Runs a command of the program with this lab's settings.
    pub fn lockstep(&self, args: &[&str]) -> Ran {
        self.run(args)
    }

    fn run(&self, args: &[&str]) -> Ran {
        await_end(self.command(args))
    }

    /// The status.
    ///
    /// # Panics
    /// When the reconciler does not answer.
    #[must_use]
    pub fn status(&self) -> Status {
        let out = self.lockstep(&["status", "--json"]).done();
        serde_json::from_str(&out)
            .unwrap_or_else(|error| panic!("the status has another shape: {error}\n{out}"))
    }

    /// Waits until the status is as wanted, and gives it.
    ///
    /// # Panics
    /// With `what` when it is not so in time.
    pub fn wait_status(&self, what: &str, so: impl Fn(&Status) -> bool) -> Status {
        let seen = until(PATIENCE, || Some(self.status()).filter(&so));
        seen.unwrap_or_else(|| panic!("the status did not become: {what}"))
    }

    // ---- events

    /// All events so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.events.borrow_mut().look().to_vec()
    }

    /// The number of the newest event: what comes later is greater.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.events
            .borrow_mut()
            .look()
            .last()
            .map_or(0, |event| event.seq)
    }

    /// Begins anew with a file of events, after it was removed.
    pub fn forget_events(&self) {
        *self.events.borrow_mut() = Follower::new(self.state().join("events.jsonl"));
    }

    /// Waits for the first event that fits, from the beginning on.
    ///
    /// # Panics
    /// With `what` when there is none in time.
    #[track_caller]
    pub fn wait_event(&self, what: &str, fits: impl Fn(&Event) -> bool) -> Event {
        self.wait_event_after(0, what, fits)
    }

    /// Waits for the first event after a number that fits.
    ///
    /// # Panics
    /// With `what` when there is none in time.
    #[track_caller]
    pub fn wait_event_after(&self, seq: u64, what: &str, fits: impl Fn(&Event) -> bool) -> Event {
        let found = until(PATIENCE, || {
            self.events
                .borrow_mut()
                .look()
                .iter()
                .find(|event| event.seq > seq && fits(event))
                .cloned()
        });
        found.unwrap_or_else(|| panic!("this event did not come: {what}"))
    }

    /// Waits until a revision settled.
    #[track_caller]
    pub fn wait_settled(&self, revision: &Revision) -> Event {
        self.wait_kind("Settled", revision)
    }

    /// Waits for an event of a kind about a revision.
    #[track_caller]
    pub fn wait_kind(&self, kind: &str, revision: &Revision) -> Event {
        self.wait_event(&format!("{kind} of {}", revision.short()), |event| {
            event.is(kind, revision)
        })
    }

    /// Waits until a rollout of a revision ended by going back, and gives the event.
    #[track_caller]
    pub fn wait_rolled_back(&self, revision: &Revision) -> Event {
        let found = until(PATIENCE, || {
            let mut follower = self.events.borrow_mut();
            let events = follower.look();
            // What is told on the way back is about the revision before; the rollout names the one that failed.
            let of_it = |end: &&Event| {
                events
                    .iter()
                    .any(|event| event.is("Preparing", revision) && event.rollout == end.rollout)
            };
            events
                .iter()
                .filter(|event| event.kind == "RolledBack")
                .find(of_it)
                .cloned()
        });
        found.unwrap_or_else(|| panic!("{} was not rolled back", revision.short()))
    }

    // ---- processes

    /// All processes of this lab.
    #[must_use]
    pub fn processes(&self) -> Vec<Process> {
        processes::of(&self.root)
    }

    /// The processes of services: their main ones, by name.
    #[must_use]
    pub fn services(&self) -> BTreeMap<String, Process> {
        let mains = self
            .processes()
            .into_iter()
            .filter_map(|process| match &process.role {
                Role::Service(name) if process.is_leader() => Some((name.clone(), process)),
                Role::Service(_) | Role::Reconciler | Role::Guard | Role::Holder | Role::Other(_) => None,
            });
        mains.collect()
    }

    /// The main process of a service.
    ///
    /// # Panics
    /// When it does not live.
    #[must_use]
    #[track_caller]
    pub fn process(&self, service: &str) -> Process {
        self.services()
            .remove(service)
            .unwrap_or_else(|| panic!("{service} does not live"))
    }

    /// Asserts that the services' processes are those of before: none ended, none was started.
    ///
    /// # Panics
    /// When it is not so.
    #[track_caller]
    pub fn assert_same_processes(&self, before: &BTreeMap<String, Process>) {
        let ids = |services: &BTreeMap<String, Process>| -> BTreeMap<String, (i32, u64)> {
            services
                .iter()
                .map(|(name, process)| (name.clone(), (process.pid, process.start)))
                .collect()
        };
        assert_eq!(
            ids(&self.services()),
            ids(before),
            "the services' processes (pid, start)"
        );
    }

    /// Asserts that no process of this lab, nor a thread of one, is stopped.
    ///
    /// # Panics
    /// When one is.
    #[track_caller]
    pub fn assert_nobody_stopped(&self) {
        let stopped: BTreeSet<_> = self.processes().into_iter().filter(Process::is_stopped).collect();
        assert!(stopped.is_empty(), "stopped: {stopped:?}");
    }

    /// Asks a test service what it works with.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    #[track_caller]
    pub fn ask(&self, service: &str) -> Answer {
        let answer = until(PATIENCE, || self.try_ask(service));
        answer.unwrap_or_else(|| panic!("{service} does not answer"))
    }

    /// The value that a test service works with.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    #[track_caller]
    pub fn value(&self, service: &str) -> i64 {
        self.ask(service).value
    }

    fn try_ask(&self, service: &str) -> Option<Answer> {
        let stream = UnixStream::connect(self.root.join("lab").join(format!("{service}.sock"))).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }

    /// Asserts that nothing half-done lies on the volume: `current` leads to a whole release, every link of the top
    /// level leads somewhere, nothing is staged.
    ///
    /// # Panics
    /// When something does.
    #[track_caller]
    pub fn assert_volume_whole(&self) {
        self.assert_whole(&self.volume());
    }

    /// The same of a volume that is seen elsewhere.
    ///
    /// # Panics
    /// When something half-done lies there.
    #[track_caller]
    pub fn assert_whole(&self, volume: &Path) {
        report::assert_volume_whole(volume);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", report::of(self));
        }
        if let Some(mut child) = self.reconciler.borrow_mut().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let gone = keeper::end(&self.root);
        if let Some(folder) = self.folder.take() {
            let removed = folder.close();
            if !std::thread::panicking() {
                assert!(gone, "processes of the lab cannot be ended");
                assert!(removed.is_ok(), "the lab's folder cannot be removed: {removed:?}");
            }
        }
    }
}
