//! The holder: thaws when the guard is dead or the time is up.
//!
//! Its own program, since nothing inside the guard outlives the guard. It does as little as can be:
//! one socket, one list of handles, one deadline. It stops nobody, reads no file, writes no file, keeps
//! no name; it ends when the guard's end of the socket closes, after continuing everything that it holds.
//!
//! It is executed anew rather than forked off the guard: a fork made after the guard's start would keep
//! the guard's sockets, locks and memory, and could not have its own name in a process list. The program's
//! file is `/proc/self/exe`, so that both are one build, also after an upgrade replaced the file.
//!
//! Its standard input is the socket. Its standard output is the guard's lock file: the lock is free only
//! when guard *and* holder are gone, so that no old holder can continue what a new guard stopped.

use crate::clock::{Moment, timespec};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send};
use rustix::process::{Signal, pidfd_send_signal};
use std::io::{self, IoSliceMut, stdin};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How many handles one message carries; the kernel takes at most 253.
pub(crate) const HANDLES_PER_MESSAGE: usize = 250;

/// What the guard tells the holder: one datagram each, handles beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Hold these as well, until then. Confirmed by its number.
    Hold { number: u64, until: Moment },
    /// The pause is over: forget them all. Not confirmed.
    Forget,
}

/// The number that no order has: said by the holder when it is ready for the first.
pub(crate) const READY: u64 = 0;

/// The length of every [`Order`].
pub(crate) const ORDER: usize = 17;

impl Order {
    pub(crate) fn to_bytes(self) -> [u8; ORDER] {
        let (kind, number, until) = match self {
            Self::Hold { number, until } => (1, number, until.as_nanos()),
            Self::Forget => (0, 0, 0),
        };
        let mut bytes = [kind; ORDER];
        bytes[1..9].copy_from_slice(&number.to_le_bytes());
        bytes[9..].copy_from_slice(&until.to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (number, until) = rest.split_first_chunk::<8>()?;
        let until: [u8; 8] = until.try_into().ok()?;
        match kind {
            0 => Some(Self::Forget),
            1 => Some(Self::Hold {
                number: u64::from_le_bytes(*number),
                until: Moment::from_nanos(u64::from_le_bytes(until)),
            }),
            _ => None,
        }
    }
}

/// The life of the holder, from its start to the end of its guard.
pub(crate) fn hold() -> io::Result<()> {
    let guard = stdin();
    // It is as it will be.
    send(&guard, &READY.to_le_bytes(), SendFlags::NOSIGNAL)?;
    let mut held = Held::default();
    loop {
        let timeout = held.until.map(|until| timespec(until.since(Moment::now())));
        let mut fds = [PollFd::from_borrowed_fd(guard.as_fd(), PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => {
                held.thaw();
                return Err(error.into());
            }
        }
        if held.until.is_some_and(|until| until <= Moment::now()) {
            held.thaw();
            held.until = None;
        }
        if fds[0].revents().is_empty() {
            continue;
        }
        match receive(guard.as_fd(), &mut held.processes) {
            Ok(Some(Order::Hold { number, until })) => {
                held.until = Some(until);
                // Nobody there to be told is noticed at the next receive.
                let _ = send(guard.as_fd(), &number.to_le_bytes(), SendFlags::NOSIGNAL);
            }
            Ok(Some(Order::Forget)) => held = Held::default(),
            Ok(None) => {
                held.thaw();
                return Ok(());
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => {
                held.thaw();
                return Err(error.into());
            }
        }
    }
}

/// What would stay stopped were it not for us.
#[derive(Default)]
struct Held {
    /// Kept beyond the deadline, until the guard says otherwise: one that was on its way to stop a process
    /// when the time ran out may die right after doing so.
    processes: Vec<OwnedFd>,
    until: Option<Moment>,
}

impl Held {
    /// Children were found after their parents: they go first, so that a parent finds them running.
    fn thaw(&self) {
        for process in self.processes.iter().rev() {
            // Whoever is gone needs no help, and nothing else can be done about anybody.
            let _ = pidfd_send_signal(process, Signal::CONT);
        }
    }
}

/// The next order; none when the guard is gone. Handles go into `processes` as they come.
fn receive(guard: BorrowedFd<'_>, processes: &mut Vec<OwnedFd>) -> Result<Option<Order>, Errno> {
    let mut bytes = [0; ORDER];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDLES_PER_MESSAGE))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        guard,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(handles) = message {
            processes.extend(handles);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    // Handles that did not fit would be processes that nobody continues: better no confirmation.
    if received.flags.contains(rustix::net::ReturnFlags::CTRUNC) {
        return Err(Errno::MFILE);
    }
    Order::from_bytes(&bytes[..received.bytes])
        .map(Some)
        .ok_or(Errno::PROTO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_survive_the_road() {
        for order in [
            Order::Forget,
            Order::Hold {
                number: 7,
                until: Moment::from_nanos(u64::MAX - 1),
            },
        ] {
            assert_eq!(Order::from_bytes(&order.to_bytes()), Some(order));
        }
        assert_eq!(Order::from_bytes(&[]), None);
        assert_eq!(Order::from_bytes(&[1, 2]), None);
        assert_eq!(Order::from_bytes(&[9; ORDER]), None);
    }
}
