//! Stopping the reconciler at a chosen point of a rollout: before an event, before a command.
//!
//! A debug build of the reconciler counts its points down in the file that `LOCKSTEP_STOP_AT` names, and at the last
//! stops itself by SIGSTOP. Only whoever is stopped at a known place can be killed there on purpose.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::Signal;

use crate::Lab;
use crate::processes::{Process, Role};
use crate::wait::{PATIENCE, eventually, until};

/// What became of a reconciler that was to stop at a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// It stands at this point: the rollout's state, `On` an event or `Before` a command.
    At(String),
    /// What ends the wait came first: there are fewer points.
    Over,
}

impl Lab {
    /// Has the reconciler stop after it passed by this many points. Counted from here on, also by one that is
    /// still to be started.
    ///
    /// # Panics
    /// When the lab's folder is not writable.
    pub fn stop_after(&self, points: u64) {
        self.stop_at(&points.to_string());
    }

    /// The same, counting only the points in this state of a rollout.
    ///
    /// # Panics
    /// When the lab's folder is not writable.
    pub fn stop_in(&self, state: &str, points: u64) {
        self.stop_at(&format!("{points} {state}"));
    }

    fn stop_at(&self, text: &str) {
        let (file, aside) = (self.root().join("stop-at"), self.root().join("stop-at.new"));
        let _ = fs::remove_file(self.root().join("stop-at.reached"));
        fs::write(&aside, text).expect("the folder is ours");
        fs::rename(aside, file).expect("the folder is ours");
    }

    /// Has it stop nowhere any more.
    pub fn stop_nowhere(&self) {
        // It is gone where the point was reached.
        let _ = fs::remove_file(self.root().join("stop-at"));
    }

    /// Waits until the reconciler has stopped, or something else is so.
    ///
    /// # Panics
    /// When neither comes, or the reconciler ends.
    pub fn wait_stopped(&self, over: impl Fn() -> bool) -> Arrival {
        let file = self.root().join("stop-at.reached");
        let arrived = until(PATIENCE, || {
            let stands = self
                .reconciler()
                .is_some_and(|reconciler| reconciler.is_stopped());
            match fs::read_to_string(&file) {
                Ok(point) if stands && !point.is_empty() => Some(Arrival::At(point)),
                Ok(_) => None,
                Err(_) => over().then_some(Arrival::Over),
            }
        });
        arrived.expect("the reconciler reaches its point, or the rollout its end")
    }

    /// Has one that knows its points go on in the place of the reconciler, which is killed.
    ///
    /// # Panics
    /// When there is no reconciler.
    pub fn restart_with_points(&self) {
        self.kill_reconciler();
        self.spawn_with_points(&[]);
    }

    /// Starts a reconciler that knows its points, and waits for nothing.
    ///
    /// # Panics
    /// When it was not built.
    pub fn spawn_with_points(&self, args: &[&str]) {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.root().join("run.log"));
        let log = log.expect("the folder is ours");
        let mut command = Command::new(self.root().join("bin/lockstep"));
        command
            .arg("run")
            .args(args)
            .arg("--settings")
            .arg(self.settings());
        command.current_dir(self.root()).env_clear().stdin(Stdio::null());
        command
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LOCKSTEP_STOP_AT", self.root().join("stop-at"))
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log);
        let child = command.spawn().expect("the program was built");
        self.commands
            .borrow_mut()
            .push(format!("lockstep run {} (with points)", args.join(" ")));
        *self.reconciler.borrow_mut() = Some(child);
    }

    /// Takes the reconciler's process out of the lab's hands.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn take_reconciler(&self) -> Taken {
        let child = self.reconciler.borrow_mut().take();
        Taken {
            child: child.expect("a reconciler was started"),
        }
    }

    /// Lets a stopped reconciler go on.
    ///
    /// # Panics
    /// When there is none.
    pub fn wake_reconciler(&self) {
        self.reconciler().expect("it lives").signal(Signal::CONT);
    }

    /// Kills whoever is named and lives, at once, and waits until they are gone. Gives how many there were.
    pub fn kill_any(&self, roles: &[Role]) -> usize {
        let all: Vec<Process> = self
            .processes()
            .into_iter()
            .filter(|process| roles.contains(&process.role))
            .collect();
        for process in &all {
            process.signal(Signal::KILL);
        }
        if roles.contains(&Role::Reconciler)
            && let Some(mut child) = self.reconciler.borrow_mut().take()
        {
            // One that ended by itself is as dead.
            let _ = child.kill();
            child.wait().expect("it is our child");
        }
        eventually("the killed are gone", || {
            all.iter().all(|process| !process.is_alive())
        });
        all.len()
    }

    /// Starts the reconciler again if it ended by itself, as a supervisor does; gives whether it had.
    pub fn revive(&self) -> bool {
        let ended = match &mut *self.reconciler.borrow_mut() {
            Some(child) => child.try_wait().expect("it is our child").is_some(),
            None => true,
        };
        if ended {
            self.spawn_with_points(&[]);
        }
        ended
    }
}

/// A reconciler that is not its lab's any more. Killed on drop.
#[derive(Debug)]
pub struct Taken {
    child: Child,
}

impl Taken {
    /// Lets it go on after a stop, and waits until it ends by itself.
    ///
    /// # Panics
    /// When it does not.
    pub fn wake_to_end(&mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, Signal::CONT).expect("it is our child");
        let ended = until(PATIENCE, || self.child.try_wait().expect("it is our child"));
        let ended = ended.expect("a deposed reconciler ends");
        assert_eq!(ended.signal(), None, "it ended by a signal");
        ended
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
