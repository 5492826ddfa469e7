//! The guard: its state and its one loop.
//!
//! One thread, one `poll`. Whatever happens is a handle that becomes readable or a moment that comes; each
//! turn of the loop first brings the outside in step with the table (record, `go`, due starts), then waits,
//! then handles what woke it. What woke it carries no authority: the handlers look again.
//!
//! Nothing in the loop waits, except for two things with limits of their own: a freeze (at most its
//! `within_ms`) and, outside a pause, the flush of the record.

use crate::clock::{Moment, timespec};
use crate::connection::{Connection, Incoming};
use crate::dispositions::{RECORD, asks_to_end};
use crate::error::GuardError;
use crate::foreign::Attached;
use crate::freeze::{Pause, Thawed};
use crate::launch::Inherited;
use crate::link::{HOLDER_AT_MOST_EVERY, Link};
use crate::log::Log;
use crate::processes::table::Processes;
use crate::record::{Record, Recorded};
use crate::service::{Phase, Service, Waiter};
use crate::state::{Lock, SOCKET, StateFolder};
use crate::urgency;
use crate::wire::{Answer, Event, Message, Refusal};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{AtFlags, unlinkat};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Signal, Uid, WaitOptions, geteuid, wait};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::time::Duration;

/// How long the last answer may take to leave when the guard ends.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why the guard ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitReason {
    /// A client ordered it: all services were stopped.
    Shutdown,
    /// A signal ordered it: services run on, and the next guard adopts them.
    Signalled,
    /// Another process was left behind that is the guard.
    Detached,
}

/// Everything the guard knows.
pub(crate) struct Guard {
    pub(crate) state: StateFolder,
    pub(crate) lock: Lock,
    pub(crate) boot: String,
    pub(crate) log: Log,
    pub(crate) processes: Processes,
    pub(crate) inherited: Inherited,
    pub(crate) signals: OwnedFd,
    pub(crate) listener: UnixListener,
    pub(crate) connections: BTreeMap<u64, Connection>,
    pub(crate) last_connection: u64,
    pub(crate) holder: Option<Link>,
    pub(crate) holder_started: Moment,
    /// The highest term that any connection spoke of.
    pub(crate) term: u64,
    pub(crate) services: BTreeMap<String, Service>,
    /// Processes that somebody else started: only paused and told.
    pub(crate) foreign: BTreeMap<String, Attached>,
    /// What is frozen, and the connection that asked for it.
    pub(crate) pause: Option<(u64, Pause)>,
    /// The record on disk is not what it should be.
    pub(crate) unsaved: bool,
    /// Who ordered the shutdown.
    pub(crate) ending: Option<Waiter>,
    pub(crate) asked_to_end: bool,
}

/// What can wake the loop.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// A child ended, or an end was asked for.
    Signals,
    Listener,
    /// Its socket says nothing but that it died.
    Holder,
    Connection(u64),
    /// A child on its way to its command.
    Launch(String),
    /// An adopted process ended.
    Adopted(String),
    /// An attached process ended.
    Attached(String),
}

impl Guard {
    /// Runs until an end is ordered.
    pub(crate) fn run(mut self) -> Result<ExitReason, GuardError> {
        loop {
            self.keep_in_step();
            if let Some(reason) = self.finished() {
                self.leave();
                return Ok(reason);
            }
            let woken = self.wait()?;
            // A pause that is over comes before everything else.
            self.expire();
            for source in woken {
                self.handle(source);
            }
            self.close_broken();
        }
    }

    /// What can be done without being asked.
    fn keep_in_step(&mut self) {
        if self.pause.is_none() {
            if self.unsaved {
                self.save_and_go();
            }
            self.start_due();
            // A start has changed what the record must say.
            if self.unsaved {
                self.save_and_go();
            }
        }
        self.give_up_launches();
        self.kill_overdue();
        self.replace_holder();
    }

    fn finished(&mut self) -> Option<ExitReason> {
        if self.asked_to_end {
            self.thaw(&BTreeMap::new());
            self.log.line("ends as it was told; services run on");
            return Some(ExitReason::Signalled);
        }
        let waiter = self.ending?;
        if !self
            .services
            .values()
            .all(|service| matches!(service.phase, Phase::Down))
        {
            return None;
        }
        self.log.line("all services are stopped: ends");
        self.answer(waiter, Ok(Answer::Done));
        Some(ExitReason::Shutdown)
    }

    /// Lets the last answers out and takes the socket away. The lock is free when this process ends.
    fn leave(&mut self) {
        let until = Moment::now().plus(LAST_WORDS);
        for connection in self.connections.values_mut() {
            while connection.is_sending() && !connection.broken && Moment::now() < until {
                let left = timespec(until.since(Moment::now()));
                let _ = poll(&mut [PollFd::new(connection, PollFlags::OUT)], Some(&left));
                connection.flush();
            }
        }
        let _ = unlinkat(&self.state.handle, SOCKET, AtFlags::empty());
    }

    /// Waits until something happens or a moment comes.
    fn wait(&self) -> Result<Vec<Source>, GuardError> {
        let mut sources = vec![Source::Signals, Source::Listener];
        let mut fds = vec![
            PollFd::new(&self.signals, PollFlags::IN),
            PollFd::new(&self.listener, PollFlags::IN),
        ];
        if let Some(holder) = &self.holder {
            sources.push(Source::Holder);
            fds.push(PollFd::new(holder, PollFlags::IN));
        }
        for (id, connection) in &self.connections {
            sources.push(Source::Connection(*id));
            fds.push(PollFd::new(connection, in_and(connection.is_sending())));
        }
        for (name, service) in &self.services {
            match &service.phase {
                Phase::Launching { launch, .. } => {
                    sources.push(Source::Launch(name.clone()));
                    fds.push(PollFd::new(launch, in_and(launch.is_sending())));
                }
                Phase::Alive(alive) | Phase::Stopping { alive, .. } if !alive.is_child => {
                    sources.push(Source::Adopted(name.clone()));
                    fds.push(PollFd::new(&alive.handle, PollFlags::IN));
                }
                Phase::Alive(_) | Phase::Stopping { .. } | Phase::Down | Phase::Due { .. } => {}
            }
        }
        for (name, attached) in &self.foreign {
            sources.push(Source::Attached(name.clone()));
            fds.push(PollFd::new(&attached.handle, PollFlags::IN));
        }
        let timeout = self
            .next_moment()
            .map(|moment| timespec(moment.since(Moment::now())));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(GuardError::system("cannot wait")(error.into())),
        }
        let woken = sources
            .into_iter()
            .zip(&fds)
            .filter(|(_, fd)| !fd.revents().is_empty());
        Ok(woken.map(|(source, _)| source).collect())
    }

    /// When the loop must turn although nothing happens.
    fn next_moment(&self) -> Option<Moment> {
        let services = self
            .services
            .iter()
            .filter_map(|(name, service)| match &service.phase {
                Phase::Due { at } if self.pause.is_none() && self.ending.is_none() && !self.is_held(name) => {
                    Some(*at)
                }
                Phase::Stopping { kill_at, .. } => *kill_at,
                Phase::Launching { launch, .. } => Some(launch.give_up),
                Phase::Due { .. } | Phase::Down | Phase::Alive(_) => None,
            });
        let pause = self.pause.as_ref().map(|(_, pause)| pause.deadline);
        let holder = self
            .holder
            .is_none()
            .then(|| self.holder_started.plus(HOLDER_AT_MOST_EVERY));
        services.chain(pause).chain(holder).min()
    }

    fn handle(&mut self, source: Source) {
        match source {
            Source::Signals => {
                let mut record = [0; RECORD];
                while let Ok(length) = rustix::io::read(&self.signals, &mut record) {
                    self.asked_to_end |= asks_to_end(&record[..length]);
                }
                self.collect_children();
            }
            Source::Listener => self.accept(),
            Source::Holder => self.hear_holder(),
            Source::Connection(id) => self.serve(id),
            Source::Launch(name) => self.follow_launch(&name),
            Source::Adopted(name) => self.look_at_adopted(&name),
            Source::Attached(name) => self.look_at_attached(&name),
        }
    }

    fn accept(&mut self) {
        let stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => {
                if error.kind() != std::io::ErrorKind::WouldBlock {
                    self.log
                        .line(&format!("a connection cannot be accepted: {error}"));
                }
                return;
            }
        };
        let peer = match socket_peercred(&stream) {
            Ok(peer) => peer,
            Err(error) => {
                self.log
                    .line(&format!("a connection does not tell whose it is: {error}"));
                return;
            }
        };
        if peer.uid != geteuid() && peer.uid != Uid::ROOT {
            let (pid, uid) = (peer.pid, peer.uid.as_raw());
            self.log.line(&format!(
                "process {pid} of user {uid} was turned away: only root and our own user may"
            ));
            return;
        }
        match Connection::new(stream, peer.pid.as_raw_nonzero().get().unsigned_abs()) {
            Ok(connection) => {
                self.last_connection += 1;
                self.connections.insert(self.last_connection, connection);
            }
            Err(error) => self.log.line(&format!("a connection cannot be used: {error}")),
        }
    }

    fn serve(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.flush();
        let open = connection.read();
        while let Some(connection) = self.connections.get_mut(&id) {
            // Whoever has left asks anew, of what is then: we may have been stopped for long, and to pause, to tell or
            // to stop somebody now would be for nobody.
            if connection.is_left() {
                return self.close(id);
            }
            match connection.next() {
                Ok(Some(Incoming::Request(request))) => {
                    let waiter = Waiter {
                        connection: id,
                        request: request.id,
                    };
                    if let Some(result) = self.carry_out(waiter, request.body) {
                        self.answer(waiter, result);
                    }
                }
                Ok(Some(Incoming::Unclear { id: request, error })) => {
                    self.answer(
                        Waiter {
                            connection: id,
                            request,
                        },
                        Err(Refusal::Failed { error }),
                    );
                }
                Ok(None) => break,
                Err(error) => {
                    self.log.line(&format!("a connection broke the rules: {error}"));
                    connection.broken = true;
                    break;
                }
            }
        }
        if !open {
            self.close(id);
        }
    }

    /// Ends a connection, and everything that it is answerable for.
    pub(crate) fn close(&mut self, id: u64) {
        self.connections.remove(&id);
        if self.pause.as_ref().is_some_and(|(owner, _)| *owner == id) {
            self.log
                .line("the connection that asked for a pause closed: thawed");
            self.thaw(&BTreeMap::new());
        }
    }

    fn close_broken(&mut self) {
        let broken = |(id, connection): (&u64, &Connection)| connection.broken.then_some(*id);
        let ids: Vec<u64> = self.connections.iter().filter_map(broken).collect();
        for id in ids {
            self.close(id);
        }
    }

    /// Answers a request, if who asked is still there.
    pub(crate) fn answer(&mut self, waiter: Waiter, result: Result<Answer, Refusal>) {
        if let Some(connection) = self.connections.get_mut(&waiter.connection) {
            connection.say(&Message::Answer {
                id: waiter.request,
                result,
            });
        }
    }

    /// Tells all who said hello.
    pub(crate) fn tell_all(&mut self, event: &Event) {
        for connection in self
            .connections
            .values_mut()
            .filter(|connection| connection.term.is_some())
        {
            connection.say(&Message::Event { event: event.clone() });
        }
    }

    /// Whether a connection holds this service.
    pub(crate) fn is_held(&self, service: &str) -> bool {
        self.connections
            .values()
            .any(|connection| connection.holds.contains(service))
    }

    /// Thaws what is frozen, if anything is.
    pub(crate) fn thaw(&mut self, signals: &BTreeMap<String, (String, Signal)>) -> Option<Thawed> {
        let (_, pause) = self.pause.take()?;
        let thawed = pause.thaw(&mut self.processes, self.holder.as_mut(), signals);
        urgency::lower();
        self.log.resume();
        Some(thawed)
    }

    /// Ends a pause that nobody ended in time.
    fn expire(&mut self) {
        if self
            .pause
            .as_ref()
            .is_some_and(|(_, pause)| pause.deadline <= Moment::now())
        {
            self.break_off("the pause's limit passed");
        }
    }

    /// Ends a pause against the will of who asked for it, and tells.
    pub(crate) fn break_off(&mut self, why: &str) {
        let owner = self.pause.as_ref().map(|(owner, _)| *owner);
        let (Some(owner), Some(thawed)) = (owner, self.thaw(&BTreeMap::new())) else {
            return;
        };
        self.log
            .line(&format!("{why}: thawed after {} us", thawed.pause.as_micros()));
        if let Some(connection) = self.connections.get_mut(&owner) {
            connection.expired = Some(thawed.pause);
            connection.say(&Message::Event {
                event: Event::FreezeExpired,
            });
        }
    }

    /// Collects every child that has ended: services, holders, and orphans that were handed to us.
    fn collect_children(&mut self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let pid = pid.as_raw_nonzero().get().unsigned_abs();
            let service = self
                .services
                .iter()
                .find(|(_, service)| service.process().is_some_and(|process| process.pid == pid));
            if let Some(name) = service.map(|(name, _)| name.clone()) {
                self.collected(&name, status);
            } else if self.holder.as_ref().is_some_and(|holder| holder.pid == pid) {
                self.lose_holder("died");
            }
        }
    }

    /// Writes the record. Never called inside a pause.
    pub(crate) fn save(&mut self) -> Result<(), GuardError> {
        let mut record = Record::new(self.boot.clone());
        record.term = self.term;
        record.services = self
            .services
            .values()
            .map(|service| Recorded {
                definition: service.definition.clone(),
                wanted: service.wanted,
                process: service.process().cloned(),
            })
            .collect();
        record.foreign = self
            .foreign
            .values()
            .map(|attached| attached.expected.clone())
            .collect();
        record.save(&self.state)?;
        self.unsaved = false;
        Ok(())
    }
}

fn in_and(sending: bool) -> PollFlags {
    if sending {
        PollFlags::IN | PollFlags::OUT
    } else {
        PollFlags::IN
    }
}
