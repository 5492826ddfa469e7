//! The guard's end of the holder.
//!
//! What is promised here: when [`Link::hold`] returns well, the holder has the handles and the deadline.
//! Nobody may be stopped before that.

use crate::clock::{Moment, timespec};
use crate::guard::Guard;
use crate::holder::{HANDLES_PER_MESSAGE, Order, READY};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    recv, send, sendmsg, socketpair,
};
use rustix::process::{Signal, kill_process};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A holder that dies sooner than this after its start is not replaced before this time is over.
pub(crate) const HOLDER_AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// A running holder.
pub(crate) struct Link {
    pub(crate) pid: u32,
    socket: OwnedFd,
    /// Of the last order: a confirmation of an earlier one is not taken for this one's.
    number: u64,
}

/// The holder is dead, or too slow to be relied on.
#[derive(Debug)]
pub(crate) struct Lost;

impl Link {
    /// Starts a holder that keeps `lock` as long as it lives.
    pub(crate) fn start(lock: &OwnedFd) -> io::Result<Self> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let child = Command::new("/proc/self/exe")
            .arg0("lockstep-holder")
            .arg(crate::HOLDER)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::from(lock.try_clone()?))
            .spawn()?;
        Ok(Self {
            pid: child.id(),
            socket: ours,
            number: 0,
        })
    }

    /// Waits until the holder is ready, at most until `give_up`.
    pub(crate) fn ready(&self, give_up: Moment) -> Result<(), Lost> {
        self.confirmed(READY, give_up)
    }

    /// Gives the holder these processes and the time until which they may stay stopped, and waits for its
    /// confirmation, at most until `give_up`.
    pub(crate) fn hold(
        &mut self,
        processes: &[BorrowedFd<'_>],
        until: Moment,
        give_up: Moment,
    ) -> Result<(), Lost> {
        for some in processes.chunks(HANDLES_PER_MESSAGE) {
            self.number += 1;
            let order = Order::Hold {
                number: self.number,
                until,
            };
            self.give(order, some, give_up)?;
            self.confirmed(self.number, give_up)?;
        }
        Ok(())
    }

    /// Tells the holder that everything was thawed. If it cannot be told it is dead, and that is noticed
    /// by its end of the socket.
    pub(crate) fn forget(&mut self) {
        let _ = send(
            &self.socket,
            &Order::Forget.to_bytes(),
            SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
        );
    }

    fn give(&self, order: Order, processes: &[BorrowedFd<'_>], give_up: Moment) -> Result<(), Lost> {
        let bytes = order.to_bytes();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDLES_PER_MESSAGE))];
        loop {
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !control.push(SendAncillaryMessage::ScmRights(processes)) {
                return Err(Lost);
            }
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut control, flags) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT, give_up)?,
                Err(_) => return Err(Lost),
            }
        }
    }

    fn confirmed(&self, number: u64, give_up: Moment) -> Result<(), Lost> {
        let mut bytes = [0; 8];
        loop {
            match recv(&self.socket, &mut bytes, RecvFlags::DONTWAIT) {
                Ok((8, _)) if u64::from_le_bytes(bytes) == number => return Ok(()),
                Ok((8, _)) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait(PollFlags::IN, give_up)?,
                Ok(_) | Err(_) => return Err(Lost),
            }
        }
    }

    fn wait(&self, flags: PollFlags, give_up: Moment) -> Result<(), Lost> {
        let left = give_up.since(Moment::now());
        let mut fds = [PollFd::new(&self.socket, flags)];
        match poll(&mut fds, Some(&timespec(left))) {
            Ok(0) => Err(Lost),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(_) => Err(Lost),
        }
    }
}

impl AsFd for Link {
    /// Closed by the other side when the holder is dead; readable for no other reason outside [`Link::hold`].
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Guard {
    /// The holder's socket is readable: it died, or confirms what nobody waits for any more.
    pub(crate) fn hear_holder(&mut self) {
        let Some(holder) = &self.holder else {
            return;
        };
        let mut bytes = [0; 8];
        match recv(holder, &mut bytes, RecvFlags::DONTWAIT) {
            Ok((length, _)) if length > 0 => {}
            Err(Errno::AGAIN | Errno::INTR) => {}
            Ok(_) | Err(_) => self.lose_holder("died"),
        }
    }

    /// Without its holder a pause must not go on.
    pub(crate) fn lose_holder(&mut self, how: &str) {
        let Some(holder) = self.holder.take() else {
            return;
        };
        self.break_off(&format!("the holder {how}"));
        self.log
            .line(&format!("the holder (process {}) {how}", holder.pid));
        // It may live and be of no use, stopped by somebody for instance. It is our child, not collected yet.
        let pid = i32::try_from(holder.pid)
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        let _ = pid.map(|pid| kill_process(pid, Signal::KILL));
        drop(holder);
        self.replace_holder();
    }

    pub(crate) fn replace_holder(&mut self) {
        let now = Moment::now();
        if self.holder.is_some() || now < self.holder_started.plus(HOLDER_AT_MOST_EVERY) {
            return;
        }
        self.holder_started = now;
        match Link::start(&self.lock.file) {
            Ok(holder) => {
                let owners: Vec<(u32, u64)> = [std::process::id(), holder.pid]
                    .into_iter()
                    .filter_map(|pid| Some((pid, self.processes.stat(pid).ok()??.start_ticks)))
                    .collect();
                self.holder = Some(holder);
                if let Err(error) = self.lock.name_owners(&owners) {
                    self.log.line(&error.to_string());
                }
            }
            Err(error) => self.log.line(&format!(
                "no holder can be started, so nobody can be frozen: {error}"
            )),
        }
    }
}
