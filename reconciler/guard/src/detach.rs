//! Leaving a guard behind: from the call in a terminal or a reconciler to a process that belongs to nobody.
//!
//! The caller's process executes the program once more and waits for its word. The new one has its own
//! session, `/` for its folder and `guard.log` for its output; its standard input is a socket over which it
//! says [`READY`], or why it cannot. The caller then ends, so that the guard is nobody's child that has to
//! be waited for.

use crate::error::GuardError;
use crate::guard::ExitReason;
use crate::start;
use crate::state::StateFolder;
use rustix::fs::{Mode, OFlags, openat};
use std::io::{ErrorKind, Read as _, Write as _, stdin};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const LOG: &str = "guard.log";
/// The one byte that is no text: the guard listens.
const READY: u8 = 0;

/// How long it may take to listen: it reads a small record and flushes one. Longer, and its disk hangs, or it is
/// stopped; it is left to itself then, and whoever asked is told.
const LISTENS_WITHIN: Duration = Duration::from_secs(30);

/// Starts the guard and returns when it listens.
pub(crate) fn leave_behind(state: &Path) -> Result<ExitReason, GuardError> {
    let_go_of_inherited();
    let state = std::path::absolute(state).map_err(GuardError::state("cannot resolve", state))?;
    let folder = StateFolder::make(&state)?;
    let path = state.join(LOG);
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC;
    let log = openat(&folder.handle, LOG, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|error| GuardError::state("cannot open", &path)(error.into()))?;
    let log_too = log.try_clone().map_err(GuardError::state("cannot use", path))?;
    let (mut ours, theirs) = UnixStream::pair().map_err(GuardError::system("cannot make a socket"))?;
    let program = PathBuf::from("/proc/self/exe");
    Command::new(&program)
        .arg0("lockstep-guard")
        .args([crate::GUARD, "--detached", "--state"])
        .arg(&state)
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::from(log))
        .stderr(Stdio::from(log_too))
        .spawn()
        .map_err(GuardError::system("cannot execute the guard"))?;
    ours.set_read_timeout(Some(LISTENS_WITHIN))
        .map_err(GuardError::system("cannot wait for the guard"))?;
    let mut word = [0];
    let mut reason = String::new();
    match ours.read(&mut word) {
        Ok(1) if word == [READY] => Ok(ExitReason::Detached),
        Ok(length) => {
            // What it says is text from the first byte on.
            reason.push_str(&String::from_utf8_lossy(&word[..length]));
            let _ = ours.read_to_string(&mut reason);
            Err(GuardError::DidNotStart { program, reason })
        }
        Err(error) => Err(GuardError::DidNotStart {
            program,
            reason: match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => format!(
                    "it does not listen after {} s: is the disk of the state folder slow, or the process stopped? Its \
                     log is {LOG} there",
                    LISTENS_WITHIN.as_secs()
                ),
                _ => error.to_string(),
            },
        }),
    }
}

/// Sees to it that nothing which our caller left open lives on in the guard, the holder and the services: a pipe
/// that is held open keeps its reader waiting for as long as they live.
fn let_go_of_inherited() {
    const FIRST: libc::c_uint = 3;
    // SAFETY: it changes a flag of this process's handles, and no memory. A kernel before 5.11 refuses, and then
    // they stay open as they were.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            FIRST,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        );
    }
}

/// The life of a guard that was left behind.
pub(crate) fn run_detached(state: &Path) -> Result<ExitReason, GuardError> {
    rustix::process::setsid().map_err(|error| GuardError::system("cannot have a session")(error.into()))?;
    let caller = stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(GuardError::system("cannot use standard input"))?;
    let mut caller = UnixStream::from(caller);
    let mut failing = caller
        .try_clone()
        .map_err(GuardError::system("cannot use standard input"))?;
    // Who does not listen any more needs no word.
    let result = start::guard(state, move || drop(caller.write_all(&[READY])));
    if let Err(error) = &result {
        let _ = failing.write_all(error.to_string().as_bytes());
    }
    result
}
