//! The state folder: its handle, its lock, its socket.
//!
//! Everything is reached through one handle on the folder, so that no path is too long for a socket and
//! a folder that is renamed takes its guard along.

use crate::clock::timespec;
use crate::error::GuardError;
use crate::processes::table::Processes;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, ftruncate, openat};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};
use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The socket's name in the state folder.
pub(crate) const SOCKET: &str = "guard.sock";
const LOCK: &str = "guard.lock";

/// How long a dead guard's holder may take to thaw and end by itself.
const HOLDER_ENDS: Duration = Duration::from_millis(500);

/// An open state folder.
pub(crate) struct StateFolder {
    pub(crate) path: PathBuf,
    pub(crate) handle: OwnedFd,
}

impl StateFolder {
    /// Opens a folder that exists.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = openat(CWD, path, flags, Mode::empty())?;
        Ok(Self {
            path: path.to_owned(),
            handle,
        })
    }

    /// Opens the folder, made if need be.
    pub(crate) fn make(path: &Path) -> Result<Self, GuardError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(GuardError::state("cannot make the folder", path))?;
        Self::open(path).map_err(GuardError::state("cannot open the folder", path))
    }

    /// A path of the socket that is short whatever the folder's own is. Good for this process alone.
    pub(crate) fn socket(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", self.handle.as_raw_fd()))
    }

    /// Takes the lock, which guard and holder share.
    pub(crate) fn lock(&self, processes: &mut Processes) -> Result<Lock, GuardError> {
        let path = self.path.join(LOCK);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        let file = openat(&self.handle, LOCK, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| GuardError::state("cannot open", &path)(error.into()))?;
        // Twice: the second time after the dead guard's holder is gone.
        for last in [false, true] {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Lock { file, path }),
                Err(Errno::WOULDBLOCK) => {}
                Err(error) => return Err(GuardError::state("cannot lock", path)(error.into())),
            }
            let owners = read_owners(&file).map_err(GuardError::state("cannot read", &path))?;
            let guard = owners.first().copied();
            let lives = guard.map(|(pid, ticks)| processes.lives(pid, ticks)).transpose();
            let lives = lives.map_err(GuardError::system("cannot read /proc"))?;
            let holder = owners.get(1).copied();
            let (Some(false), Some((pid, start_ticks)), false) = (lives, holder, last) else {
                break;
            };
            end_holder(processes, pid, start_ticks)
                .map_err(GuardError::system("cannot end the old holder"))?;
        }
        let pid = read_owners(&file)
            .ok()
            .and_then(|owners| owners.first().map(|(pid, _)| *pid));
        Err(GuardError::AlreadyRuns {
            state: self.path.clone(),
            pid,
        })
    }
}

/// The lock: this state folder is ours.
pub(crate) struct Lock {
    pub(crate) file: OwnedFd,
    path: PathBuf,
}

impl Lock {
    /// Says who has it. Not flushed: a reboot frees the lock, so that nobody reads this after one.
    pub(crate) fn name_owners(&self, owners: &[(u32, u64)]) -> Result<(), GuardError> {
        let lines: String = owners
            .iter()
            .map(|(pid, ticks)| format!("{pid} {ticks}\n"))
            .collect();
        ftruncate(&self.file, 0)
            .and_then(|()| rustix::io::pwrite(&self.file, lines.as_bytes(), 0))
            .map(|_| ())
            .map_err(|error| GuardError::state("cannot write", &self.path)(error.into()))
    }
}

/// The guard's pid and start, then the holder's.
fn read_owners(file: &OwnedFd) -> io::Result<Vec<(u32, u64)>> {
    let mut bytes = [0; 128];
    let length = rustix::io::pread(file, &mut bytes[..], 0)?;
    let text = String::from_utf8_lossy(&bytes[..length]);
    Ok(text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(pid, ticks)| Some((pid.parse().ok()?, ticks.parse().ok()?)))
        .collect())
}

/// The guard is dead, so its holder is thawing and about to end. One that does not (because it is stopped,
/// say) is killed: the new guard thaws in its place.
fn end_holder(processes: &mut Processes, pid: u32, start_ticks: u64) -> io::Result<()> {
    let Some(holder) = processes.open_process(pid, start_ticks)?.process() else {
        return Ok(());
    };
    let ended = |patience| {
        let mut fds = [PollFd::new(&holder, PollFlags::IN)];
        poll(&mut fds, Some(&timespec(patience))).map(|ready| ready > 0)
    };
    if !ended(HOLDER_ENDS)? {
        let _ = pidfd_send_signal(&holder, Signal::KILL);
        ended(HOLDER_ENDS)?;
    }
    Ok(())
}
