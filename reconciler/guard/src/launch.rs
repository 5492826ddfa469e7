//! A start, from the guard's side: a child that waits for `go`, and what it says.
//!
//! A small state machine that is driven by the poll loop and never waits: spawned, recorded, told to go,
//! executed (or not).

use crate::clock::Moment;
use crate::exec::{EXECUTING, GO, Job};
use crate::frame::encode;
use crate::processes::table::Processes;
use crate::wire::{Definition, Exit, Process};
use rustix::process::{Signal, pidfd_send_signal};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long a child may take from its spawn to its command: it opens files that may lie anywhere.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the guard was started with and its children are to have, since it changes its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inherited {
    pub(crate) open_files: Option<u64>,
    pub(crate) umask: u32,
}

/// A child that has not executed its command yet.
pub(crate) struct Launch {
    pub(crate) process: Process,
    pub(crate) handle: OwnedFd,
    pub(crate) give_up: Moment,
    /// How it ended, if it was seen to: what it said before still counts.
    pub(crate) exit: Option<Exit>,
    recorded: bool,
    socket: UnixStream,
    unsent: Vec<u8>,
    heard: Vec<u8>,
}

/// How a start stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Progress {
    Waiting,
    Executed,
    Failed(String),
}

impl Launch {
    /// Spawns the child. It executes nothing before [`Launch::go`].
    pub(crate) fn spawn(
        definition: &Definition,
        inherited: Inherited,
        processes: &mut Processes,
    ) -> io::Result<Self> {
        let instance = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?
            .trim_end()
            .to_owned();
        let mut env = definition.env.clone();
        env.insert(crate::INSTANCE.to_owned(), instance.clone());
        let job = Job {
            parent: std::process::id(),
            command: definition.command.clone(),
            cwd: definition.cwd.clone(),
            env,
            user: definition.user.clone(),
            output: definition.output.clone(),
            run_dir: definition.run_dir.clone(),
            open_files: inherited.open_files,
            umask: inherited.umask,
        };
        let unsent = encode(&job).map_err(io::Error::other)?;
        let (socket, theirs) = UnixStream::pair()?;
        socket.set_nonblocking(true)?;
        // The same build as the guard's, also when the file was replaced meanwhile.
        let child = Command::new("/proc/self/exe")
            .arg0("lockstep-child")
            .arg(crate::EXEC)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()?;
        // Nobody collects it before the poll loop does: the pid is its own until then.
        let ended = || io::Error::other("it ended at once");
        let pid = child.id();
        let start_ticks = processes.stat(pid)?.ok_or_else(ended)?.start_ticks;
        let handle = processes
            .open_process(pid, start_ticks)?
            .process()
            .ok_or_else(ended)?;
        Ok(Self {
            process: Process {
                instance,
                pid,
                start_ticks,
            },
            handle,
            give_up: Moment::now().plus(PATIENCE),
            exit: None,
            recorded: false,
            socket,
            unsent,
            heard: Vec::new(),
        })
    }

    /// The record that names this child is on disk: it may execute its command.
    pub(crate) fn go(&mut self) {
        if !self.recorded {
            self.recorded = true;
            self.unsent.push(GO);
        }
    }

    /// Whether there is something left to send.
    pub(crate) fn is_sending(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Sends and reads what can be without waiting.
    pub(crate) fn progress(&mut self) -> Progress {
        while !self.unsent.is_empty() {
            match self.socket.write(&self.unsent) {
                Ok(length) => drop(self.unsent.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Either it cannot take more now, or it is gone, and reading tells.
                Err(_) => break,
            }
        }
        let mut bytes = [0; 1024];
        loop {
            match self.socket.read(&mut bytes) {
                Ok(0) => break,
                Ok(length) => self.heard.extend_from_slice(&bytes[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Progress::Waiting,
                // It was killed with unread data on its side: the end, like any other.
                Err(_) => break,
            }
        }
        match self.heard.strip_prefix(&[EXECUTING]).unwrap_or(&self.heard) {
            [] if self.heard.is_empty() => {
                Progress::Failed("it ended before it could execute its command".into())
            }
            [] => Progress::Executed,
            reason => Progress::Failed(String::from_utf8_lossy(reason).into_owned()),
        }
    }

    /// Ends the child, whatever it is doing.
    pub(crate) fn abandon(self) -> (Process, OwnedFd) {
        let _ = pidfd_send_signal(&self.handle, Signal::KILL);
        (self.process, self.handle)
    }

    /// It became the service.
    pub(crate) fn into_process(self) -> (Process, OwnedFd) {
        (self.process, self.handle)
    }
}

impl AsFd for Launch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
