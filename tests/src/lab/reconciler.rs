//! Starting and ending the reconciler, and killing whoever is to be killed.

use std::fs::OpenOptions;
use std::process::{Child, Command};

use rustix::process::Signal;

use super::Lab;
use crate::processes::{Process, Role};
use crate::ran::Ran;
use crate::wait::{PATIENCE, eventually, until};

impl Lab {
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

    /// Asks the reconciler to read its settings again.
    ///
    /// # Panics
    /// When there is none.
    pub fn hang_up(&self) {
        self.reconciler().expect("it runs").signal(Signal::HUP);
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

    /// The same with more variables in its environment.
    ///
    /// # Panics
    /// When it ends instead.
    pub fn start_reconciler_in(&self, environment: &[(&str, &str)]) {
        let mut command = self.command(&["run"]);
        command.envs(environment.iter().copied());
        self.start_reconciler_by(command);
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
}
