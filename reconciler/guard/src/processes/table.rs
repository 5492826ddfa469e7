//! Reading `/proc`: raw calls and reused buffers, since a pause waits for it.
//!
//! A process may end between any two calls: that is `None`, never an error.

use crate::processes::awaited;
use crate::processes::stat::{Stat, State};
use crate::signal::SignalSets;
use rustix::fs::{CWD, Mode, OFlags, RawDir, SeekFrom, openat, seek};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Room for a directory's listing. Small on purpose: it stays resident.
const LISTING: usize = 16 * 1024;

/// An open `/proc` with the buffers to read it.
pub(crate) struct Processes {
    proc: OwnedFd,
    listing: Vec<u8>,
    text: Vec<u8>,
    path: String,
}

/// What a look at all threads of a process found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// Each of them is stopped or dead, and there is none that was not looked at.
    AllStopped,
    /// At least one may run.
    SomeActive,
    /// The process has ended.
    Ended,
}

/// What is behind a number.
#[derive(Debug)]
pub(crate) enum Opened {
    Process(OwnedFd),
    /// Only a thread of a process.
    Thread,
    /// Nobody any more.
    Ended,
}

impl Opened {
    /// The process, if there is one.
    pub(crate) fn process(self) -> Option<OwnedFd> {
        match self {
            Self::Process(handle) => Some(handle),
            Self::Thread | Self::Ended => None,
        }
    }
}

/// Whose token a process carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// That of the entry at this place.
    Of(usize),
    OfNone,
    /// It has ended, or its environment is not in place yet.
    Unclear,
}

impl Processes {
    pub(crate) fn open() -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            proc: openat(CWD, "/proc", flags, Mode::empty())?,
            listing: Vec::with_capacity(LISTING),
            text: Vec::with_capacity(4096),
            path: String::with_capacity(64),
        })
    }

    /// All pids, ascending. One that exists from before this call until after it is never missed: the
    /// kernel walks the pids in order.
    pub(crate) fn pids(&mut self, pids: &mut Vec<u32>) -> io::Result<()> {
        seek(&self.proc, SeekFrom::Start(0))?;
        list_numbers(self.proc.as_fd(), &mut self.listing, pids)
    }

    /// One process.
    pub(crate) fn stat(&mut self, pid: u32) -> io::Result<Option<Stat>> {
        self.path.clear();
        write!(self.path, "{pid}/stat").map_err(io::Error::other)?;
        self.read_stat()
    }

    /// Whether this process lives and is the one that started then.
    pub(crate) fn lives(&mut self, pid: u32, start_ticks: u64) -> io::Result<bool> {
        Ok(self
            .stat(pid)?
            .is_some_and(|stat| stat.start_ticks == start_ticks && !stat.is_dead()))
    }

    /// A handle on this process. The start is compared after opening: a handle never points to a successor of
    /// the same pid.
    pub(crate) fn open_process(&mut self, pid: u32, start_ticks: u64) -> io::Result<Opened> {
        let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
            return Ok(Opened::Ended);
        };
        match pidfd_open(raw, PidfdFlags::empty()) {
            Ok(handle) if self.lives(pid, start_ticks)? => Ok(Opened::Process(handle)),
            Ok(_) | Err(Errno::SRCH) => Ok(Opened::Ended),
            // The number of a thread that is not its process's first one: the first from old kernels.
            Err(Errno::INVAL | Errno::NOENT) => Ok(Opened::Thread),
            Err(error) => Err(error.into()),
        }
    }

    /// Looks at each thread.
    pub(crate) fn threads(&mut self, pid: u32, start_ticks: u64) -> io::Result<Threads> {
        let Some(stat) = self
            .stat(pid)?
            .filter(|stat| stat.start_ticks == start_ticks && !stat.is_dead())
        else {
            return Ok(Threads::Ended);
        };
        if stat.is_wholly_stopped() {
            return Ok(Threads::AllStopped);
        }
        if stat.state == State::Active {
            return Ok(Threads::SomeActive);
        }
        let mut threads = Vec::with_capacity(stat.threads as usize);
        if !self.thread_ids(pid, &mut threads)? {
            return Ok(Threads::Ended);
        }
        for thread in &threads {
            self.path.clear();
            write!(self.path, "{pid}/task/{thread}/stat").map_err(io::Error::other)?;
            if self.read_stat()?.is_some_and(|stat| stat.state == State::Active) {
                return Ok(Threads::SomeActive);
            }
        }
        // A thread may have made another one after the listing and before it stopped. Now that all the
        // listed ones are stopped, the count tells.
        match self.stat(pid)? {
            Some(stat) if stat.threads as usize <= threads.len() => Ok(Threads::AllStopped),
            Some(_) => Ok(Threads::SomeActive),
            None => Ok(Threads::Ended),
        }
    }

    /// What the process does with signals, its blocked set over all threads; `None` when it has ended.
    pub(crate) fn signal_sets(&mut self, pid: u32) -> io::Result<Option<SignalSets>> {
        let mut threads = Vec::new();
        if !self.thread_ids(pid, &mut threads)? {
            return Ok(None);
        }
        let mut all: Option<SignalSets> = None;
        for thread in threads {
            let Some(mut sets) = self.signal_sets_of(pid, thread)? else {
                continue;
            };
            if self.text_says_asleep() {
                // It may be asleep in a wait for signals, which hides them from its blocked set.
                let awaited = awaited::by(pid, thread);
                // If it was and no longer is, the set shows them again.
                let again = match awaited {
                    0 => self.signal_sets_of(pid, thread)?.map_or(0, |sets| sets.blocked),
                    _ => 0,
                };
                sets.blocked |= awaited | again;
            }
            all = Some(all.map_or(sets, |known| known.with_thread(sets)));
        }
        Ok(all)
    }

    /// What one thread says; `None` when it has ended.
    fn signal_sets_of(&mut self, pid: u32, thread: u32) -> io::Result<Option<SignalSets>> {
        self.path.clear();
        write!(self.path, "{pid}/task/{thread}/status").map_err(io::Error::other)?;
        if self.read()? != Read::Text {
            return Ok(None);
        }
        SignalSets::parse(&self.text)
            .map(Some)
            .ok_or_else(|| io::Error::other(format!("/proc/{} names no signal sets", self.path)))
    }

    /// Whether the status that was read last is that of a thread which sleeps and can be woken.
    fn text_says_asleep(&self) -> bool {
        self.text
            .split(|byte| *byte == b'\n')
            .any(|line| line.starts_with(b"State:\tS"))
    }

    /// Which of these entries (`NAME=value`) the environment holds that this process was executed with.
    /// One that may not be read holds none.
    pub(crate) fn carrier_of(
        &mut self,
        pid: u32,
        start_ticks: u64,
        entries: &[String],
    ) -> io::Result<Carrier> {
        self.path.clear();
        write!(self.path, "{pid}/environ").map_err(io::Error::other)?;
        match self.read()? {
            Read::Text if self.text.is_empty() => return self.without_environment(pid, start_ticks),
            Read::Text => {}
            Read::Forbidden => return Ok(Carrier::OfNone),
            Read::Gone => return Ok(Carrier::Unclear),
        }
        for variable in self.text.split(|byte| *byte == 0) {
            if let Some(place) = entries.iter().position(|entry| entry.as_bytes() == variable) {
                return Ok(Carrier::Of(place));
            }
        }
        Ok(Carrier::OfNone)
    }

    /// Somebody's environment is empty: on purpose, or because it is executing a command this moment and its
    /// new one is not in place yet, or because it has ended.
    fn without_environment(&mut self, pid: u32, start_ticks: u64) -> io::Result<Carrier> {
        if !self.lives(pid, start_ticks)? {
            return Ok(Carrier::Unclear);
        }
        // Still the text of its stat: proc(5) has its memory's size as field 23, its environment's start and end
        // as fields 50 and 51 of 52. One without memory runs no more, and makes nobody.
        let mut fields = self.text.trim_ascii_end().split(|byte| *byte == b' ');
        let end = fields.nth_back(1);
        let start = fields.next_back();
        let size = fields.nth_back(26);
        let is_empty = size == Some(b"0") || (start == end && end != Some(b"0"));
        Ok(if is_empty {
            Carrier::OfNone
        } else {
            Carrier::Unclear
        })
    }

    /// The pid that was given out last in this pid namespace.
    pub(crate) fn last_pid(&mut self) -> io::Result<u32> {
        self.path.clear();
        self.path.push_str("loadavg");
        self.read()?;
        let text = String::from_utf8_lossy(&self.text);
        let last = text
            .split_whitespace()
            .next_back()
            .and_then(|field| field.parse().ok());
        last.ok_or_else(|| io::Error::other(format!("/proc/loadavg holds no last pid but {text:?}")))
    }

    /// One more than the highest pid there can be.
    pub(crate) fn pid_max(&mut self) -> io::Result<u32> {
        self.path.clear();
        self.path.push_str("sys/kernel/pid_max");
        self.read()?;
        let text = String::from_utf8_lossy(&self.text);
        text.trim()
            .parse()
            .map_err(|_| io::Error::other(format!("/proc/{} holds {text:?}", self.path)))
    }

    /// `pid (command)`, for messages.
    pub(crate) fn describe(&mut self, pid: u32) -> String {
        self.path.clear();
        let _ = write!(self.path, "{pid}/comm");
        match self.read() {
            Ok(Read::Text) => format!("{pid} ({})", String::from_utf8_lossy(&self.text).trim_end()),
            Ok(Read::Gone | Read::Forbidden) | Err(_) => format!("{pid} (ended)"),
        }
    }

    fn thread_ids(&mut self, pid: u32, threads: &mut Vec<u32>) -> io::Result<bool> {
        self.path.clear();
        write!(self.path, "{pid}/task").map_err(io::Error::other)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match openat(&self.proc, self.path.as_str(), flags, Mode::empty()) {
            Ok(directory) => {
                list_numbers(directory.as_fd(), &mut self.listing, threads)?;
                Ok(!threads.is_empty())
            }
            Err(error) if is_gone(error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn read_stat(&mut self) -> io::Result<Option<Stat>> {
        if self.read()? != Read::Text {
            return Ok(None);
        }
        let stat = Stat::parse(&self.text);
        stat.map(Some)
            .ok_or_else(|| io::Error::other(format!("/proc/{} is not as proc(5) says", self.path)))
    }

    /// Reads the file at `self.path` into `self.text`.
    fn read(&mut self) -> io::Result<Read> {
        self.text.clear();
        let file = match openat(
            &self.proc,
            self.path.as_str(),
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        ) {
            Ok(file) => file,
            Err(error) => return Read::without(error),
        };
        loop {
            if self.text.spare_capacity_mut().len() < 1024 {
                self.text.reserve(4096);
            }
            let room = self.text.spare_capacity_mut().len();
            match rustix::io::read(&file, rustix::buffer::spare_capacity(&mut self.text)) {
                Ok(0) => return Ok(Read::Text),
                // The short files come whole in the first read; a second one would only say so.
                Ok(length) if length < room && self.text.ends_with(b"\n") => return Ok(Read::Text),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Read::without(error),
            }
        }
    }
}

/// How reading a file went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    /// The text is there.
    Text,
    /// There is no such process any more.
    Gone,
    /// It is somebody else's secret.
    Forbidden,
}

impl Read {
    fn without(error: Errno) -> io::Result<Self> {
        match error {
            Errno::NOENT | Errno::SRCH => Ok(Self::Gone),
            Errno::ACCESS | Errno::PERM => Ok(Self::Forbidden),
            error => Err(error.into()),
        }
    }
}

fn is_gone(error: Errno) -> bool {
    [Errno::NOENT, Errno::SRCH].contains(&error)
}

fn list_numbers(directory: BorrowedFd<'_>, buffer: &mut Vec<u8>, numbers: &mut Vec<u32>) -> io::Result<()> {
    numbers.clear();
    buffer.clear();
    let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        match entry {
            Ok(entry) => {
                let name = entry.file_name().to_str().ok();
                numbers.extend(name.and_then(|name| name.parse::<u32>().ok()));
            }
            // The process ended during the listing.
            Err(error) if is_gone(error) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_process_and_its_threads_are_seen() {
        let mut processes = Processes::open().unwrap();
        let me = std::process::id();
        let mut pids = Vec::new();
        for _ in 0..2 {
            processes.pids(&mut pids).unwrap();
            assert!(pids.contains(&me));
            assert!(pids.is_sorted());
        }
        let stat = processes.stat(me).unwrap().unwrap();
        assert!(processes.lives(me, stat.start_ticks).unwrap());
        assert!(!processes.lives(me, stat.start_ticks + 1).unwrap());
        assert!(
            processes
                .open_process(me, stat.start_ticks)
                .unwrap()
                .process()
                .is_some()
        );
        assert!(
            processes
                .open_process(me, stat.start_ticks + 1)
                .unwrap()
                .process()
                .is_none()
        );
        assert_eq!(
            processes.threads(me, stat.start_ticks).unwrap(),
            Threads::SomeActive
        );
        assert!(processes.signal_sets(me).unwrap().is_some());
        assert!(processes.describe(me).starts_with(&format!("{me} (")));
    }

    #[test]
    fn the_environment_tells_whose_token_a_process_carries() {
        let mut processes = Processes::open().unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .env("WHO", "me")
            .spawn()
            .unwrap();
        let entries = ["WHO=you".to_owned(), "WHO=me".to_owned()];
        let start_ticks = processes.stat(child.id()).unwrap().unwrap().start_ticks;
        // A spawn returns before the new environment is in place.
        let mut found = Carrier::Unclear;
        while found == Carrier::Unclear {
            found = processes.carrier_of(child.id(), start_ticks, &entries).unwrap();
        }
        let none = processes
            .carrier_of(child.id(), start_ticks, &entries[..1])
            .unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let gone = processes.carrier_of(child.id(), start_ticks, &entries).unwrap();
        assert_eq!(
            (found, none, gone),
            (Carrier::Of(1), Carrier::OfNone, Carrier::Unclear)
        );
    }

    #[test]
    fn the_last_pid_is_read() {
        assert!(Processes::open().unwrap().last_pid().unwrap() > 0);
    }
}
