//! Stopping whole process trees, and continuing them.
//!
//! A pause is all or none: [`freeze`] returns a [`Pause`] in which every thread of every process is
//! confirmed stopped, or a refusal after everything was continued again.
//!
//! How a tree that forks meanwhile is caught: nobody is stopped before its parent is confirmed stopped (a
//! vfork parent cannot stop while its child waits to be continued), and the search is repeated until one
//! that *began after everybody known was confirmed* finds nothing new. Whoever is stopped forks no more, so
//! there was nobody left to make a process that such a search could miss.
//!
//! No process is stopped before the holder confirmed to have its handle. Nothing here writes a file or a log.

use crate::clock::{Moment, timespec};
use crate::link::{Link, Lost};
use crate::processes::stat::{Stat, State};
use crate::processes::table::{Processes, Threads};
use crate::processes::tree::{Root, attribute};
use crate::wire::{Refusal, SignalFault};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

/// How long a process that has not stopped yet is left alone before it is looked at again.
const LOOK_AGAIN: Duration = Duration::from_micros(40);

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

/// Everything is stopped. It is the caller's duty to call [`Pause::thaw`] before the deadline; the holder
/// does when the caller is dead.
#[must_use = "whoever is stopped stays so until `thaw`"]
pub(crate) struct Pause {
    pub(crate) targets: Vec<Target>,
    members: Vec<Member>,
    first_stop: Moment,
    pub(crate) deadline: Moment,
    pub(crate) took: Duration,
}

struct Member {
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
enum Step {
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

impl From<Lost> for Failure {
    fn from(Lost: Lost) -> Self {
        Self::Lost
    }
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
    let mut freezing = Freezing::new(processes, targets);
    match freezing.run(holder, limits) {
        Ok((first_stop, deadline)) => Ok(Pause {
            targets: freezing.targets,
            members: freezing.members,
            first_stop,
            deadline,
            took: Moment::now().since(first_stop),
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
    roots: Vec<Root>,
    /// What the environment of a process that carries a target's token holds.
    entries: Vec<String>,
    members: Vec<Member>,
    /// Pids that an earlier search saw and that belong to nobody here, ascending.
    strangers: Vec<u32>,
    /// The pid given out last before the first search: what was given out since is looked at whether its
    /// number was a stranger's or not.
    last_pid: u32,
    pids: Vec<u32>,
}

impl<'a> Freezing<'a> {
    fn new(processes: &'a mut Processes, targets: Vec<Target>) -> Self {
        let roots: Vec<Root> = targets
            .iter()
            .map(|target| Root {
                pid: target.pid,
                token: target.instance.clone(),
            })
            .collect();
        let entries = roots
            .iter()
            .map(|root| format!("{}={}", crate::INSTANCE, root.token))
            .collect();
        Self {
            processes,
            targets,
            roots,
            entries,
            members: Vec::new(),
            strangers: Vec::new(),
            last_pid: 0,
            pids: Vec::new(),
        }
    }

    fn run(&mut self, holder: &mut Link, limits: Limits) -> Result<(Moment, Moment), Failure> {
        // Before the first stop there is time: most of the reading is done here.
        self.last_pid = self.processes.last_pid()?;
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
        let first_stop = Moment::now();
        let deadline = first_stop.plus(limits.pause);
        let give_up = first_stop.plus(limits.within.min(limits.pause));
        loop {
            while self.stop_next(holder, deadline, give_up)? {
                self.confirm(give_up)?;
            }
            if !self.search()? {
                break;
            }
        }
        self.judge_signals()?;
        Ok((first_stop, deadline))
    }

    /// Looks for processes that belong to a target; true when there are new ones.
    fn search(&mut self) -> Result<bool, Failure> {
        let mut pids = std::mem::take(&mut self.pids);
        self.processes.pids(&mut pids)?;
        let last_pid = self.processes.last_pid()?;
        let me = std::process::id();
        let mut looked_at: Vec<Stat> = Vec::with_capacity(pids.len());
        for pid in &pids {
            let fresh = given_out(*pid, self.last_pid, last_pid);
            if *pid == me || (!fresh && self.strangers.binary_search(pid).is_ok()) {
                continue;
            }
            if let Some(member) = self
                .members
                .iter()
                .find(|member| !fresh && member.stat.pid == *pid)
            {
                looked_at.push(member.stat);
                continue;
            }
            looked_at.extend(self.processes.stat(*pid)?.filter(|stat| !stat.is_dead()));
        }
        self.pids = pids;

        let members = &self.members;
        let known = |stat: &Stat| {
            members
                .iter()
                .find(|member| member.is(stat.pid, stat.start_ticks))
                .map(|member| member.target)
        };
        // Orphans are handed to the guard (their nearest reaper) or to whoever reaps in its place; an
        // adopted main process has such a reaper for its parent.
        let mut reapers = vec![1, me];
        let mains = looked_at
            .iter()
            .filter(|stat| self.roots.iter().any(|root| root.pid == stat.pid));
        reapers.extend(mains.map(|stat| stat.parent));
        let (processes, entries, mut fault) = (&mut *self.processes, &self.entries, None);
        let owners = attribute(&looked_at, &self.roots, known, |stat| {
            if !reapers.contains(&stat.parent) {
                return None;
            }
            processes
                .environment_holds(stat.pid, entries)
                .unwrap_or_else(|error| {
                    fault = Some(error);
                    None
                })
        });
        if let Some(error) = fault {
            return Err(error.into());
        }

        let mut new = false;
        for (stat, owner) in looked_at.iter().zip(owners) {
            match owner {
                Some(target) => new |= self.admit(stat, target)?,
                None => {
                    if let Err(place) = self.strangers.binary_search(&stat.pid) {
                        self.strangers.insert(place, stat.pid);
                    }
                }
            }
        }
        Ok(new)
    }

    /// Takes a process that belongs to a target among the members; true when it is new.
    fn admit(&mut self, stat: &Stat, target: usize) -> Result<bool, Failure> {
        if self
            .members
            .iter()
            .any(|member| member.is(stat.pid, stat.start_ticks))
        {
            return Ok(false);
        }
        let expected = &self.targets[target];
        if stat.pid == expected.pid && stat.start_ticks != expected.start_ticks {
            return Err(Failure::Refused(Refusal::NotThatInstance {
                service: expected.service.clone(),
            }));
        }
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
        let Some(handle) = self.processes.open_process(stat.pid, stat.start_ticks)? else {
            return Ok(false);
        };
        self.members.push(Member {
            stat: *stat,
            target,
            handle,
            step: Step::Found,
        });
        Ok(true)
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
        holder.hold(&handles, deadline, give_up)?;
        if Moment::now() >= give_up {
            return Err(Failure::OutOfTime);
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
                let unconfirmed = pids.into_iter().map(|pid| self.processes.describe(pid)).collect();
                Refusal::FreezeTimedOut {
                    unconfirmed,
                    services,
                }
            }
        }
    }
}

/// Whether this pid may have been given out after `from` and up to `to`: the kernel counts up and begins
/// again at the low end.
fn given_out(pid: u32, from: u32, to: u32) -> bool {
    if from <= to {
        pid > from && pid <= to
    } else {
        pid > from || pid <= to
    }
}

/// Children were found after their parents: they go first, so that a parent finds them running.
fn continue_all(members: &[Member]) {
    for member in members.iter().rev().filter(|member| member.step != Step::Found) {
        // Whoever is gone needs no help.
        let _ = pidfd_send_signal(&member.handle, Signal::CONT);
    }
}

/// What a thaw was.
pub(crate) struct Thawed {
    pub(crate) pause: Duration,
    pub(crate) unsent: BTreeMap<String, SignalFault>,
}

impl Pause {
    /// How many processes are stopped.
    pub(crate) fn processes(&self) -> u32 {
        let stopped = self
            .members
            .iter()
            .filter(|member| member.step == Step::Stopped)
            .count();
        u32::try_from(stopped).unwrap_or(u32::MAX)
    }

    /// Queues the signals for the main processes, then continues everybody.
    ///
    /// A signal that was not judged by the freeze is judged now.
    pub(crate) fn thaw(
        self,
        processes: &mut Processes,
        holder: Option<&mut Link>,
        signals: &BTreeMap<String, (String, Signal)>,
    ) -> Thawed {
        let mut unsent = BTreeMap::new();
        for (service, (name, signal)) in signals {
            if let Err(fault) = self.queue(processes, service, name, *signal) {
                unsent.insert(service.clone(), fault);
            }
        }
        continue_all(&self.members);
        // The kernel sets them going within the call; this only proves it.
        for target in &self.targets {
            let stopped = |processes: &mut Processes| {
                let stat = processes.stat(target.pid).ok().flatten();
                stat.is_some_and(|stat| {
                    stat.start_ticks == target.start_ticks && stat.state == State::Stopped
                })
            };
            let patience = Moment::now().plus(Duration::from_millis(5));
            while stopped(processes) && Moment::now() < patience {
                let _ = rustix::thread::nanosleep(&timespec(LOOK_AGAIN));
            }
        }
        let pause = Moment::now().since(self.first_stop);
        if let Some(holder) = holder {
            holder.forget();
        }
        Thawed { pause, unsent }
    }

    fn queue(
        &self,
        processes: &mut Processes,
        service: &str,
        name: &str,
        signal: Signal,
    ) -> Result<(), SignalFault> {
        let refused = |error: String| SignalFault::Refused { error };
        let place = self.targets.iter().position(|target| target.service == service);
        let place = place.ok_or_else(|| refused("this connection did not freeze it".into()))?;
        let target = &self.targets[place];
        let main = self
            .members
            .iter()
            .find(|member| member.is(target.pid, target.start_ticks))
            .ok_or(SignalFault::Gone)?;
        if target.signal.as_ref().is_none_or(|(judged, _)| judged != name) {
            let sets = processes
                .signal_sets(target.pid)
                .map_err(|error| refused(error.to_string()))?;
            if sets.ok_or(SignalFault::Gone)?.would_kill(signal) {
                return Err(SignalFault::WouldKill);
            }
        }
        match pidfd_send_signal(&main.handle, signal) {
            Ok(()) => Ok(()),
            Err(Errno::SRCH) => Err(SignalFault::Gone),
            Err(error) => Err(refused(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_counts_as_given_out_also_when_the_numbers_began_again() {
        assert!(given_out(11, 10, 12));
        assert!(given_out(12, 10, 12));
        assert!(!given_out(10, 10, 12));
        assert!(!given_out(13, 10, 12));
        assert!(given_out(32_000, 31_000, 300));
        assert!(given_out(300, 31_000, 300));
        assert!(!given_out(301, 31_000, 300));
        assert!(!given_out(5, 10, 10));
    }
}
