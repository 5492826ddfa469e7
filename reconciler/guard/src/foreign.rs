//! Processes that somebody else started and manages: attached, checked, paused and told, and never more than that.
//!
//! They are kept apart from the services that the guard starts, so that nothing here can start, end or kill one.
//! Each is known by a handle and its start time, so another process under the same pid is never meant. Whose it is
//! and what it executes is looked at when it is attached, and again before each pause and each signal: a
//! process may become another program.

use crate::guard::Guard;
use crate::processes::table::Processes;
use crate::service::Phase;
use crate::wire::{Answer, Event, Exit, Foreign, InstanceRef, Process, Refusal, Supervised};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// What the kernel adds to the name of an executed file that was replaced or removed since.
const DELETED: &str = " (deleted)";

/// An attached process.
pub(crate) struct Attached {
    pub(crate) expected: Foreign,
    pub(crate) process: Process,
    pub(crate) handle: OwnedFd,
}

impl Attached {
    /// Takes in a process, if it lives and is what it has to be.
    pub(crate) fn take(processes: &mut Processes, expected: Foreign, boot: &str) -> Result<Self, String> {
        let (pid, start_ticks) = (expected.pid, expected.start_ticks);
        let handle = processes
            .open_process(pid, start_ticks)
            .map_err(|error| format!("process {pid} cannot be looked at: {error}"))?
            .process()
            .ok_or_else(|| format!("process {pid} does not live any more"))?;
        let attached = Self {
            process: Process {
                instance: token(&expected, boot),
                pid,
                start_ticks,
            },
            expected,
            handle,
        };
        attached.is_as_expected(processes)?;
        Ok(attached)
    }

    /// Whether it still is what it has to be.
    pub(crate) fn is_as_expected(&self, processes: &mut Processes) -> Result<(), String> {
        let Foreign {
            pid,
            start_ticks,
            user,
            user_name,
            executable,
            ..
        } = &self.expected;
        check_identity(*pid, (*user, user_name), executable)?;
        let allowed = i32::try_from(*pid).ok().and_then(Pid::from_raw);
        // Whether it is gone is seen below.
        if let Some(Err(Errno::PERM)) = allowed.map(test_kill_process) {
            return Err(format!(
                "process {pid} may not be signalled by user {}: run Lockstep as root or as {user_name}",
                rustix::process::geteuid().as_raw()
            ));
        }
        // What was read was read of this process if it lives now.
        match processes.lives(*pid, *start_ticks) {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("process {pid} does not live any more")),
            Err(error) => Err(format!("process {pid} cannot be looked at: {error}")),
        }
    }

    fn describe(&self) -> Supervised {
        Supervised {
            service: self.expected.service.clone(),
            process: Some(self.process.clone()),
            restarts: 0,
            last_exit: None,
            back_off_ms: None,
            stopping: false,
            foreign: true,
        }
    }
}

/// What an attached process is called: the same for the same process, whoever asks and however often.
pub(crate) fn token(expected: &Foreign, boot: &str) -> String {
    let boot: String = boot.chars().take(8).collect();
    format!("{}-{}-{boot}", expected.pid, expected.start_ticks)
}

/// Whether a process is of this user and executes this file.
///
/// # Errors
/// With what it is instead, and the next step.
pub fn check_identity(pid: u32, (user, user_name): (u32, &str), executable: &Path) -> Result<(), String> {
    let unseen = |error: io::Error| match error.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "process {pid} may not be looked at by user {}: run Lockstep as root or as {user_name}",
            rustix::process::geteuid().as_raw()
        ),
        io::ErrorKind::NotFound => format!("process {pid} does not live any more"),
        _ => format!("process {pid} cannot be looked at: {error}"),
    };
    let users = users(pid).map_err(unseen)?;
    if let Some(other) = users.iter().find(|found| **found != user) {
        return Err(format!(
            "process {pid} runs as user {other}, and {user_name} ({user}) is expected: correct `user`, or find out who \
             wrote the pid file"
        ));
    }
    let executes = fs::read_link(format!("/proc/{pid}/exe")).map_err(unseen)?;
    let known = without_deleted(&executes);
    // A link such as /usr/bin/python3 is what people write.
    let resolved = executable.canonicalize();
    if known != executable && resolved.ok().as_deref() != Some(known) {
        return Err(format!(
            "process {pid} executes {}, and {} is expected: correct `executable` (of a script it is the interpreter), \
             or find out who wrote the pid file",
            executes.display(),
            executable.display()
        ));
    }
    Ok(())
}

/// The real, effective, saved and file system user of a process: an executable that changes its user has several.
fn users(pid: u32) -> io::Result<Vec<u32>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let users: Option<Vec<u32>> = line.and_then(|line| {
        line.split_whitespace()
            .map(|number| number.parse().ok())
            .collect()
    });
    users
        .filter(|users| !users.is_empty())
        .ok_or_else(|| io::Error::other("its status names no user"))
}

/// A program that was upgraded while it runs is still the file of that name.
fn without_deleted(path: &Path) -> &Path {
    path.to_str()
        .and_then(|text| text.strip_suffix(DELETED))
        .map_or(path, Path::new)
}

impl Guard {
    /// Attaches a process, in place of the one known of that service.
    pub(crate) fn attach(&mut self, asking: u64, expected: Foreign) -> Result<Answer, Refusal> {
        let failed = |error: String| Refusal::Failed { error };
        let name = expected.service.clone();
        if let Some(known) = self.foreign.get(&name)
            && known.expected == expected
            && known.is_as_expected(&mut self.processes).is_ok()
        {
            let process = known.process.clone();
            return Ok(Answer::Started { process });
        }
        // Whoever is recorded can be thawed after us; in a pause nothing is written.
        if self.pause.is_some() {
            return Err(Refusal::AlreadyFrozen);
        }
        match self.services.get(&name).map(|service| &service.phase) {
            Some(Phase::Down) | None => {}
            Some(Phase::Due { .. } | Phase::Launching { .. } | Phase::Alive(_) | Phase::Stopping { .. }) => {
                return Err(failed("a process of it that Lockstep started still lives".into()));
            }
        }
        let holds_us = self.is_above_us(asking, expected.pid);
        if holds_us.map_err(|error| failed(format!("/proc: {error}")))? {
            return Err(failed(format!(
                "process {} started Lockstep: stopping it would stop Lockstep as well",
                expected.pid
            )));
        }
        let mut others = self.services.values().filter_map(|service| service.process());
        let mut attached = self.foreign.iter().filter(|(other, _)| **other != name);
        if others.any(|other| other.pid == expected.pid)
            || attached.any(|(_, other)| other.process.pid == expected.pid)
        {
            let pid = expected.pid;
            return Err(failed(format!(
                "process {pid} is another service of these settings"
            )));
        }
        let attached = Attached::take(&mut self.processes, expected, &self.boot).map_err(failed)?;
        let process = attached.process.clone();
        self.services.remove(&name);
        self.log
            .line(&format!("{name} is process {}, attached", process.pid));
        self.foreign.insert(name, attached);
        self.unsaved = true;
        self.save().map_err(|error| failed(error.to_string()))?;
        Ok(Answer::Started { process })
    }

    /// Whether a process is this one, the holder's or the asking agent's, or above one of them.
    fn is_above_us(&mut self, asking: u64, pid: u32) -> io::Result<bool> {
        let holder = self.holder.as_ref().map(|holder| holder.pid);
        let agent = self.connections.get(&asking).map(|connection| connection.peer);
        let own = Some(std::process::id());
        for mut below in [own, holder, agent].into_iter().flatten() {
            // Up to the first process, whose parent is 0.
            while below != 0 {
                if below == pid {
                    return Ok(true);
                }
                below = self.processes.stat(below)?.map_or(0, |stat| stat.parent);
            }
        }
        Ok(pid == 1)
    }

    /// Lets a process go; it runs on. False when none is attached.
    pub(crate) fn let_go(&mut self, name: &str) -> bool {
        let known = self.foreign.remove(name).is_some();
        self.unsaved |= known;
        known
    }

    /// An attached process may have ended.
    pub(crate) fn look_at_attached(&mut self, name: &str) {
        let Some(attached) = self.foreign.get(name) else {
            return;
        };
        let (pid, start_ticks) = (attached.process.pid, attached.process.start_ticks);
        match self.processes.lives(pid, start_ticks) {
            Ok(true) => {}
            Ok(false) => {
                let instance = InstanceRef {
                    service: name.to_owned(),
                    instance: attached.process.instance.clone(),
                };
                self.let_go(name);
                self.log.line(&format!("{name} (process {pid}, attached) ended"));
                self.tell_all(&Event::Ended {
                    instance,
                    exit: Exit::Unknown,
                    back_off_ms: None,
                    left_behind: false,
                });
            }
            Err(error) => self
                .log
                .line(&format!("process {pid} cannot be looked at: {error}")),
        }
    }

    /// All of them, as an agent sees them.
    pub(crate) fn list_attached(&self) -> impl Iterator<Item = Supervised> {
        self.foreign.values().map(Attached::describe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn own() -> (u32, PathBuf) {
        let user = rustix::process::geteuid().as_raw();
        (user, std::env::current_exe().unwrap())
    }

    #[test]
    fn a_process_is_known_by_its_user_and_its_executable() {
        let me = std::process::id();
        let (user, executable) = own();
        assert_eq!(check_identity(me, (user, "me"), &executable), Ok(()));
        let other = check_identity(me, (user + 1, "somebody"), &executable).unwrap_err();
        assert!(
            other.contains(&format!("runs as user {user}")) && other.contains("somebody"),
            "{other}"
        );
        let other = check_identity(me, (user, "me"), Path::new("/bin/nothing")).unwrap_err();
        assert!(
            other.contains("executes") && other.contains("/bin/nothing is expected"),
            "{other}"
        );
        let gone = check_identity(u32::MAX, (user, "me"), &executable).unwrap_err();
        assert!(gone.contains("does not live"), "{gone}");
    }

    #[test]
    fn a_link_to_the_executable_and_a_file_that_was_replaced_are_the_same_executable() {
        let folder = tempfile::tempdir().unwrap();
        let (user, executable) = own();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&executable, &link).unwrap();
        assert_eq!(check_identity(std::process::id(), (user, "me"), &link), Ok(()));

        let copy = folder.path().join("sleeper");
        fs::copy("/bin/sleep", &copy).unwrap();
        let mut child = std::process::Command::new(&copy).arg("60").spawn().unwrap();
        fs::remove_file(&copy).unwrap();
        let seen = check_identity(child.id(), (user, "me"), &copy);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(seen, Ok(()));
    }

    #[test]
    fn a_process_is_attached_under_its_own_start_alone_and_always_by_the_same_name() {
        let mut processes = Processes::open().unwrap();
        let me = std::process::id();
        let (user, executable) = own();
        let start_ticks = processes.stat(me).unwrap().unwrap().start_ticks;
        let expected = Foreign {
            service: "a".into(),
            pid: me,
            start_ticks,
            user,
            user_name: "me".into(),
            executable,
        };
        let mut take = |expected: &Foreign| {
            Attached::take(&mut processes, expected.clone(), "boot").map(|attached| attached.process)
        };
        let first = take(&expected).unwrap();
        assert_eq!(take(&expected).unwrap(), first);
        let later = Foreign {
            start_ticks: start_ticks + 1,
            ..expected
        };
        assert!(take(&later).unwrap_err().contains("does not live any more"));
    }
}
