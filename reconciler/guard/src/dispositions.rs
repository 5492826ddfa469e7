//! This process's own signals. What `rustix` does not offer (masks, signalfd) is asked of libc here.

use std::io;
use std::mem::zeroed;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::ptr::null_mut;

/// What asks a process to end.
const ENDS: [i32; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];

/// Makes this process deaf to everything that asks it to end; only SIGKILL and SIGSTOP are left.
pub(crate) fn block_ends() -> io::Result<()> {
    block(&ENDS).map(|_| ())
}

/// A handle that becomes readable when this process is asked to end or when a child of it has ended.
pub(crate) fn ends_and_children() -> io::Result<OwnedFd> {
    let mask = block(&[&ENDS[..], &[libc::SIGCHLD]].concat())?;
    // SAFETY: the mask is initialised and lives through the call; -1 asks for a new handle, which nobody
    // else owns.
    unsafe {
        match libc::signalfd(-1, &mask, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            handle => Ok(OwnedFd::from_raw_fd(handle)),
        }
    }
}

/// What was read from such a handle: whether an end was asked for.
pub(crate) fn asks_to_end(record: &[u8]) -> bool {
    let number = record.first_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes));
    number.is_some_and(|number| ENDS.iter().any(|end| end.unsigned_abs() == number))
}

/// The length of one record on such a handle.
pub(crate) const RECORD: usize = size_of::<libc::signalfd_siginfo>();

fn block(signals: &[i32]) -> io::Result<libc::sigset_t> {
    // SAFETY: the set is emptied before anything reads it; the numbers are valid ones. No other thread
    // exists that would keep its own mask.
    unsafe {
        let mut mask: libc::sigset_t = zeroed();
        libc::sigemptyset(&mut mask);
        for signal in signals {
            libc::sigaddset(&mut mask, *signal);
        }
        match libc::sigprocmask(libc::SIG_BLOCK, &mask, null_mut()) {
            0 => Ok(mask),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Everything as a program expects to find it: what this process blocks and ignores for its own purposes
/// must not be inherited by a command that it executes.
pub(crate) fn reset() {
    // SAFETY: SIG_DFL runs no code of ours; a number that is invalid or cannot be changed makes the call
    // fail and change nothing. The set is emptied before it is read. No other thread exists.
    unsafe {
        for signal in 1..=libc::SIGRTMAX() {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, null_mut());
    }
}
