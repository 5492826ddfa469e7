//! Stopping whole process trees, and continuing them.
//!
//! A pause is all or none: [`freeze`] returns a [`Pause`] in which every thread of every process is
//! confirmed stopped, or a refusal after everything was continued again.
//!
//! How a tree that forks meanwhile is caught: nobody is stopped before its parent is confirmed stopped (a
//! vfork parent cannot stop while its child waits to be continued), and the search ([`census`]) is repeated
//! until one that *began after everybody known was confirmed* finds nobody new and can have missed nobody.
//!
//! No process is stopped before the holder confirmed to have its handle. Nothing here writes a file or a log.

mod census;
mod pause;

pub(crate) use pause::{Pause, Thawed};

use crate::clock::{Moment, timespec};
use crate::freeze::census::Census;
use crate::link::{Link, Lost};
use crate::processes::stat::{Stat, State};
use crate::processes::table::{Opened, Processes, Threads};
use crate::processes::tree::Root;
use crate::wire::Refusal;
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

/// How long a process that has not stopped yet is left alone before it is looked at again.
const LOOK_AGAIN: Duration = Duration::from_micros(40);

/// How long the holder may take to confirm: it has nothing else to do.
const HOLDER_PATIENCE: Duration = Duration::from_millis(250);

/// What a pause is asked for: one service.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) service: String,
    pub(crate) instance: String,
    pub(crate) pid: u32,
    pub(crate) start_ticks: u64,
    /// What will be sent to its main process before it runs again.
    pub(crate) signal: Option<(String, Signal)>,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Confirming, from the first stop.
    pub(crate) within: Duration,
    /// The whole pause, from the first stop.
    pub(crate) pause: Duration,
}

/// A process that belongs to a target.
pub(crate) struct Member {
    /// As it was when it was found.
    stat: Stat,
    /// Place in the targets.
    target: usize,
    handle: OwnedFd,
    step: Step,
}

impl Member {
    fn is(&self, pid: u32, start_ticks: u64) -> bool {
        self.stat.pid == pid && self.stat.start_ticks == start_ticks
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing was sent to it.
    Found,
    /// The stop was sent.
    Stopping,
    Stopped,
    Gone,
}

/// Why a freeze ends early; each becomes a [`Refusal`] after the thaw.
enum Failure {
    Lost,
    OutOfTime,
    Refused(Refusal),
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Freezes the targets' trees, all or none.
pub(crate) fn freeze(
    processes: &mut Processes,
    holder: &mut Link,
    targets: Vec<Target>,
    limits: Limits,
) -> Result<Pause, Refusal> {
    let roots = targets.iter().map(|target| Root {
        pid: target.pid,
        token: target.instance.clone(),
    });
    let census = Census::new(processes, roots.collect());
    let census = census.map_err(|error| Refusal::Failed {
        error: format!("/proc: {error}"),
    })?;
    let mut freezing = Freezing {
        processes,
        targets,
        census,
        members: Vec::new(),
        doubtful: Vec::new(),
        first_stop: Moment::now(),
    };
    match freezing.run(holder, limits) {
        Ok(deadline) => Ok(Pause {
            targets: freezing.targets,
            members: freezing.members,
            first_stop: freezing.first_stop,
            deadline,
            took: Moment::now().since(freezing.first_stop),
        }),
        Err(failure) => {
            let refusal = freezing.refusal(failure);
            continue_all(&freezing.members);
            holder.forget();
            Err(refusal)
        }
    }
}

struct Freezing<'a> {
    processes: &'a mut Processes,
    targets: Vec<Target>,
    census: Census,
    members: Vec<Member>,
    /// Of the last search.
    doubtful: Vec<u32>,
    /// When the first was stopped; with nobody to be stopped, when it would have been.
    first_stop: Moment,
}

/// What a search brought.
enum Search {
    /// There are new members, still to be stopped.
    Found,
    /// Nobody new was seen, yet somebody may have been missed.
    Unclear,
    /// There is nobody else.
    Complete,
}

enum Admission {
    Known,
    New,
    /// It ended while it was looked at.
    Ended,
}

impl Freezing<'_> {
    fn run(&mut self, holder: &mut Link, limits: Limits) -> Result<Moment, Failure> {
        // Before the first stop there is time: most of the reading is done here.
        self.search()?;
        for target in &self.targets {
            if !self
                .members
                .iter()
                .any(|member| member.is(target.pid, target.start_ticks))
            {
                return Err(Failure::Refused(Refusal::NotThatInstance {
                    service: target.service.clone(),
                }));
            }
        }
        // The holder must know the deadline before the first stop; the stop itself follows its confirmation.
        let begin = Moment::now();
        let deadline = begin.plus(limits.pause);
        let give_up = begin.plus(limits.within.min(limits.pause));
        loop {
            while self.stop_next(holder, deadline, give_up)? {
                self.confirm(give_up)?;
            }
            match self.search()? {
                Search::Complete => break,
                Search::Found => {}
                Search::Unclear if Moment::now() >= give_up => return Err(Failure::OutOfTime),
                Search::Unclear => {}
            }
        }
        self.judge_signals()?;
        Ok(deadline)
    }

    /// Looks for processes that belong to a target.
    fn search(&mut self) -> Result<Search, Failure> {
        let known: Vec<(Stat, usize)> = self
            .members
            .iter()
            .map(|member| (member.stat, member.target))
            .collect();
        let sighting = self.census.look(self.processes, &known)?;
        self.doubtful = sighting.doubtful;
        let mut result = match self.doubtful.is_empty() && sighting.all_tried {
            true => Search::Complete,
            false => Search::Unclear,
        };
        for (stat, target) in &sighting.found {
            match (self.admit(stat, *target)?, &result) {
                (Admission::Known, _) | (Admission::Ended, Search::Found) => {}
                (Admission::New, _) => result = Search::Found,
                // What it made before its end may not be among those found.
                (Admission::Ended, Search::Unclear | Search::Complete) => result = Search::Unclear,
            }
        }
        Ok(result)
    }

    /// Takes a process that belongs to a target among the members.
    fn admit(&mut self, stat: &Stat, target: usize) -> Result<Admission, Failure> {
        if self
            .members
            .iter()
            .any(|member| member.is(stat.pid, stat.start_ticks))
        {
            return Ok(Admission::Known);
        }
        let expected = &self.targets[target];
        if stat.pid == expected.pid && stat.start_ticks != expected.start_ticks {
            return Err(Failure::Refused(Refusal::NotThatInstance {
                service: expected.service.clone(),
            }));
        }
        let handle = match self.processes.open_process(stat.pid, stat.start_ticks)? {
            Opened::Process(handle) => handle,
            // It is stopped with its process.
            Opened::Thread => return Ok(Admission::Known),
            Opened::Ended => return Ok(Admission::Ended),
        };
        // Nothing of ours is stopped outside a pause. To continue it later could undo what somebody meant,
        // not to continue it would leave a service half paused.
        if stat.state == State::Stopped {
            let error = format!(
                "process {} of service {} was stopped by somebody else: continue it (kill -CONT {}) or end it first",
                self.processes.describe(stat.pid),
                expected.service,
                stat.pid
            );
            return Err(Failure::Refused(Refusal::Failed { error }));
        }
        self.members.push(Member {
            stat: *stat,
            target,
            handle,
            step: Step::Found,
        });
        Ok(Admission::New)
    }

    /// Stops those whose parents are confirmed; false when there is nobody left to stop.
    fn stop_next(&mut self, holder: &mut Link, deadline: Moment, give_up: Moment) -> Result<bool, Failure> {
        let waiting = |pid: u32| {
            let parent = self.members.iter().find(|member| member.stat.pid == pid);
            parent.is_some_and(|parent| matches!(parent.step, Step::Found | Step::Stopping))
        };
        let next: Vec<usize> = (0..self.members.len())
            .filter(|place| {
                self.members[*place].step == Step::Found && !waiting(self.members[*place].stat.parent)
            })
            .collect();
        let handles: Vec<BorrowedFd<'_>> = next
            .iter()
            .map(|place| self.members[*place].handle.as_fd())
            .collect();
        let patience = Moment::now().plus(HOLDER_PATIENCE).min(deadline);
        match holder.hold(&handles, deadline, patience) {
            Err(Lost) if Moment::now() < deadline => return Err(Failure::Lost),
            Ok(()) | Err(Lost) => {}
        }
        if Moment::now() >= give_up {
            return Err(Failure::OutOfTime);
        }
        if self.members.iter().all(|member| member.step == Step::Found) {
            self.first_stop = Moment::now();
        }
        for place in &next {
            let member = &mut self.members[*place];
            member.step = match pidfd_send_signal(&member.handle, Signal::STOP) {
                Ok(()) => Step::Stopping,
                Err(Errno::SRCH) => Step::Gone,
                Err(error) => {
                    let error = format!(
                        "process {} of service {} cannot be stopped: {error}",
                        member.stat.pid, self.targets[member.target].service
                    );
                    return Err(Failure::Refused(Refusal::Failed { error }));
                }
            };
        }
        Ok(!next.is_empty())
    }

    /// Waits until every thread of everybody who was told to stop is seen stopped.
    fn confirm(&mut self, give_up: Moment) -> Result<(), Failure> {
        loop {
            let mut waiting = false;
            for member in self
                .members
                .iter_mut()
                .filter(|member| member.step == Step::Stopping)
            {
                match self.processes.threads(member.stat.pid, member.stat.start_ticks)? {
                    Threads::AllStopped => member.step = Step::Stopped,
                    Threads::Ended => member.step = Step::Gone,
                    Threads::SomeActive => waiting = true,
                }
            }
            if !waiting {
                return Ok(());
            }
            if Moment::now() >= give_up {
                return Err(Failure::OutOfTime);
            }
            // The kernel tells nobody but a parent when a process has stopped, and most of these are not
            // our children: looking again is the only way.
            let _ = rustix::thread::nanosleep(&timespec(LOOK_AGAIN));
        }
    }

    /// Looks whether what will be sent would kill. Stopped as they are, it cannot change any more.
    fn judge_signals(&mut self) -> Result<(), Failure> {
        for target in &self.targets {
            let Some((name, signal)) = &target.signal else {
                continue;
            };
            let sets = self.processes.signal_sets(target.pid)?;
            match sets {
                Some(sets) if sets.would_kill(*signal) => {
                    let (service, signal) = (target.service.clone(), name.clone());
                    return Err(Failure::Refused(Refusal::SignalWouldKill { service, signal }));
                }
                Some(_) => {}
                None => {
                    let service = target.service.clone();
                    return Err(Failure::Refused(Refusal::NotThatInstance { service }));
                }
            }
        }
        Ok(())
    }

    fn refusal(&mut self, failure: Failure) -> Refusal {
        match failure {
            Failure::Lost => Refusal::NoHolder,
            Failure::Refused(refusal) => refusal,
            Failure::Io(error) => Refusal::Failed {
                error: format!("/proc or a process handle: {error}"),
            },
            Failure::OutOfTime => {
                let late = self
                    .members
                    .iter()
                    .filter(|member| matches!(member.step, Step::Found | Step::Stopping));
                let mut services: Vec<String> = late
                    .clone()
                    .map(|member| self.targets[member.target].service.clone())
                    .collect();
                services.sort();
                services.dedup();
                let pids: Vec<u32> = late.map(|member| member.stat.pid).collect();
                let mut unconfirmed: Vec<String> =
                    pids.into_iter().map(|pid| self.processes.describe(pid)).collect();
                // All known ones are stopped, and it was never sure that these are all.
                if unconfirmed.is_empty() {
                    unconfirmed = self
                        .doubtful
                        .iter()
                        .map(|pid| self.processes.describe(*pid))
                        .collect();
                    unconfirmed.push("processes that come and go faster than they can be looked at".into());
                    services = self.targets.iter().map(|target| target.service.clone()).collect();
                }
                Refusal::FreezeTimedOut {
                    unconfirmed,
                    services,
                }
            }
        }
    }
}

/// Children were found after their parents: they go first, so that a parent finds them running.
fn continue_all(members: &[Member]) {
    for member in members.iter().rev().filter(|member| member.step != Step::Found) {
        // Whoever is gone needs no help.
        let _ = pidfd_send_signal(&member.handle, Signal::CONT);
    }
}
