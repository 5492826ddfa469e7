//! The state folder: its handle, its lock, its socket.
//!
//! Everything is reached through one handle on the folder, so that no path is too long for a socket and
//! a folder that is renamed takes its guard along.

use crate::clock::{Moment, timespec};
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

/// How long a lock may be kept by nobody who is known to live, and how often it is tried meanwhile: the kernel
/// can tell of a lock that became free only to one who waits without a limit.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
const LOCK_AGAIN: Duration = Duration::from_millis(1);

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
        let give_up = Moment::now().plus(LOCK_PATIENCE);
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Lock { file, path }),
                Err(Errno::WOULDBLOCK) => {}
                Err(error) => return Err(GuardError::state("cannot lock", path)(error.into())),
            }
            let owners = read_owners(&file).map_err(GuardError::state("cannot read", &path))?;
            let mut lives = |place: usize| {
                let owner = owners
                    .get(place)
                    .map(|(pid, ticks)| processes.lives(*pid, *ticks))
                    .transpose();
                owner
                    .map(|lives| lives == Some(true))
                    .map_err(GuardError::system("cannot read /proc"))
            };
            if lives(0)? || Moment::now() >= give_up {
                let pid = owners.first().map(|(pid, _)| *pid);
                return Err(GuardError::AlreadyRuns {
                    state: self.path.clone(),
                    pid,
                });
            }
            match owners.get(1) {
                Some((pid, start_ticks)) if lives(1)? => end_holder(processes, *pid, *start_ticks)
                    .map_err(GuardError::system("cannot end the old holder"))?,
                // Who has it is a child of a guard that was killed while that child was about to be executed
                // (then its handles close), or a guard that has not said yet who it is.
                Some(_) | None => {
                    let _ = rustix::thread::nanosleep(&timespec(LOCK_AGAIN));
                }
            }
        }
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
