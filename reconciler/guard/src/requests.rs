//! What agents ask: each request judged and carried out.

use crate::freeze::{Limits, Target, freeze};
use crate::guard::Guard;
use crate::processes::table::Processes;
use crate::service::{Phase, Service, Waiter};
use crate::signal;
use crate::urgency;
use crate::wire::{Answer, Body, Definition, InstanceRef, Process, Refusal, SignalFault, Supervised};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};
use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

/// The longest pause that is granted, whatever is asked for.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(2);

type Result = std::result::Result<Answer, Refusal>;

impl Guard {
    /// Carries out one request. No result: it is answered later.
    pub(crate) fn carry_out(&mut self, waiter: Waiter, body: Body) -> Option<Result> {
        let said_hello = self
            .connections
            .get(&waiter.connection)
            .is_some_and(|asking| asking.term.is_some());
        if !said_hello && !matches!(body, Body::Hello { .. }) {
            return Some(Err(Refusal::NoHello));
        }
        match body {
            Body::Hello { term } => Some(self.hello(waiter.connection, term)),
            Body::Define { services } => Some(self.define(services)),
            Body::Start { service } => self.start(waiter, &service),
            Body::Attach { process } => Some(self.attach(waiter.connection, process)),
            Body::Stop { service } => {
                if self.let_go(&service) {
                    return Some(Ok(Answer::Done));
                }
                match self.services.contains_key(&service) {
                    true => {
                        self.stop(&service, Some(waiter));
                        None
                    }
                    false => Some(Err(Refusal::UnknownService { service })),
                }
            }
            Body::Hold { services } => Some(self.hold(waiter.connection, services)),
            Body::Release => {
                if let Some(connection) = self.connections.get_mut(&waiter.connection) {
                    connection.holds.clear();
                }
                Some(Ok(Answer::Done))
            }
            Body::Freeze {
                instances,
                within_ms,
                limit_ms,
                signals,
            } => {
                let limits = Limits {
                    within: Duration::from_millis(within_ms),
                    pause: Duration::from_millis(limit_ms),
                };
                Some(self.freeze(waiter.connection, instances, limits, &signals))
            }
            Body::Thaw { signals } => Some(self.thaw_for(waiter.connection, &signals)),
            Body::Signal { signals } => Some(self.signal(signals, true)),
            Body::Examine { signals } => Some(self.signal(signals, false)),
            Body::List => Some(Ok(Answer::Services {
                services: self.list(),
            })),
            Body::Shutdown => {
                self.shut_down(waiter);
                None
            }
        }
    }

    fn hello(&mut self, id: u64, term: u64) -> Result {
        let highest_term = self.term;
        if term < highest_term {
            return Err(Refusal::Deposed { highest_term });
        }
        let lower = |other: Option<u64>| other.is_some_and(|other| other < term);
        let deposed: Vec<u64> = self
            .connections
            .iter()
            .filter(|(other, connection)| **other != id && lower(connection.term))
            .map(|(other, _)| *other)
            .collect();
        for other in deposed {
            self.close(other);
        }
        // Only a pause of the same term is left, and that one must not wait for a disk.
        if term > highest_term {
            if self.pause.is_some() {
                return Err(Refusal::AlreadyFrozen);
            }
            self.term = term;
            self.unsaved = true;
        }
        if self.unsaved
            && self.pause.is_none()
            && let Err(error) = self.save()
        {
            let error = error.to_string();
            // A term that could be forgotten is not granted. Whoever has this one already is spoken to also while the
            // disk is full: all can be ended still.
            if term > highest_term {
                return Err(Refusal::Failed { error });
            }
            self.log.line(&error);
        }
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.term = Some(term);
        }
        Ok(Answer::Hello {
            pid: std::process::id(),
            holder: self.holder.as_ref().map_or(0, |holder| holder.pid),
            highest_term,
            services: self.list(),
        })
    }

    fn list(&self) -> Vec<Supervised> {
        self.services
            .iter()
            .map(|(name, service)| service.describe(self.is_held(name)))
            .chain(self.list_attached())
            .collect()
    }

    fn define(&mut self, definitions: Vec<Definition>) -> Result {
        for definition in &definitions {
            check_definition(definition).map_err(|reason| Refusal::Failed {
                error: format!("service {}: {reason}", definition.service),
            })?;
        }
        for definition in definitions {
            self.let_go(&definition.service);
            match self.services.get_mut(&definition.service) {
                Some(service) => service.definition = definition,
                None => {
                    self.services
                        .insert(definition.service.clone(), Service::new(definition));
                }
            }
        }
        self.unsaved = true;
        // What was answered is kept; in a pause nothing is written, and it is kept once that is over.
        if self.pause.is_none() {
            self.save().map_err(|error| Refusal::Failed {
                error: error.to_string(),
            })?;
        }
        Ok(Answer::Done)
    }

    fn start(&mut self, waiter: Waiter, name: &str) -> Option<Result> {
        if self.ending.is_some() {
            let error = "the guard is ending: start another one".to_owned();
            return Some(Err(Refusal::CannotStart {
                service: name.to_owned(),
                error,
            }));
        }
        let Some(service) = self.services.get_mut(name) else {
            return Some(Err(Refusal::UnknownService {
                service: name.to_owned(),
            }));
        };
        match &mut service.phase {
            Phase::Alive(alive) => Some(Ok(Answer::Started {
                process: alive.process.clone(),
            })),
            Phase::Launching { waiters, .. } => {
                waiters.push(waiter);
                None
            }
            Phase::Stopping { then_start, .. } => {
                then_start.push(waiter);
                None
            }
            Phase::Down | Phase::Due { .. } => {
                self.launch(name, vec![waiter]);
                None
            }
        }
    }

    fn hold(&mut self, id: u64, services: Vec<String>) -> Result {
        let is_known = |name: &String| self.services.contains_key(name) || self.foreign.contains_key(name);
        if let Some(service) = services.iter().find(|name| !is_known(name)) {
            return Err(Refusal::UnknownService {
                service: service.clone(),
            });
        }
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.holds.extend(services);
        }
        Ok(Answer::Done)
    }

    fn freeze(
        &mut self,
        id: u64,
        instances: Vec<InstanceRef>,
        limits: Limits,
        signals: &BTreeMap<String, String>,
    ) -> Result {
        if self.pause.is_some() {
            return Err(Refusal::AlreadyFrozen);
        }
        if limits.pause.is_zero() || limits.pause > LONGEST_PAUSE {
            let error = format!(
                "a pause of {} ms is not granted: ask for more than none and at most {} ms",
                limits.pause.as_millis(),
                LONGEST_PAUSE.as_millis()
            );
            return Err(Refusal::Failed { error });
        }
        let mut targets: Vec<Target> = Vec::with_capacity(instances.len());
        for instance in instances {
            if targets.iter().any(|target| target.service == instance.service) {
                let error = format!("service {} is named twice", instance.service);
                return Err(Refusal::Failed { error });
            }
            targets.push(self.target(instance, signals)?);
        }
        let Some(holder) = &mut self.holder else {
            return Err(Refusal::NoHolder);
        };
        // What was promised before is written now: while somebody is stopped nothing is.
        self.log.pause();
        urgency::raise();
        match freeze(&mut self.processes, holder, targets, limits) {
            Ok(pause) => {
                let (processes, took) = (pause.processes(), pause.took);
                self.pause = Some((id, pause));
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.expired = None;
                }
                Ok(Answer::Frozen {
                    processes,
                    took_us: whole_micros(took),
                })
            }
            Err(refusal) => {
                urgency::lower();
                self.log.resume();
                if refusal == Refusal::NoHolder {
                    self.lose_holder("did not confirm a pause");
                }
                Err(refusal)
            }
        }
    }

    fn target(
        &mut self,
        instance: InstanceRef,
        signals: &BTreeMap<String, String>,
    ) -> std::result::Result<Target, Refusal> {
        let InstanceRef {
            service: name,
            instance,
        } = instance;
        if !self.services.contains_key(&name) && !self.foreign.contains_key(&name) {
            return Err(Refusal::UnknownService { service: name });
        }
        let signal = signals
            .get(&name)
            .map(|signal| named(signal).map(|known| (signal.clone(), known)));
        let signal = signal.transpose().map_err(|error| Refusal::Failed { error })?;
        match self.living(&name, &instance) {
            Some(Ok((process, _))) => Ok(Target {
                service: name,
                instance,
                pid: process.pid,
                start_ticks: process.start_ticks,
                signal,
            }),
            Some(Err(error)) => Err(Refusal::Failed {
                error: format!("{name}: {error}"),
            }),
            None => Err(Refusal::NotThatInstance { service: name }),
        }
    }

    /// The living process of an instance with its handle, or why it must not be touched. None: it is not there.
    fn living(
        &mut self,
        service: &str,
        instance: &str,
    ) -> Option<std::result::Result<(Process, BorrowedFd<'_>), String>> {
        let is_meant = |process: &Process| process.instance == instance;
        if let Some(attached) = self.foreign.get(service).filter(|known| is_meant(&known.process)) {
            let judged = attached.is_as_expected(&mut self.processes);
            return Some(judged.map(|()| (attached.process.clone(), attached.handle.as_fd())));
        }
        let alive = self.services.get(service).and_then(Service::alive)?;
        is_meant(&alive.process).then(|| Ok((alive.process.clone(), alive.handle.as_fd())))
    }

    fn thaw_for(&mut self, id: u64, signals: &BTreeMap<String, String>) -> Result {
        let mut known = BTreeMap::new();
        let mut unsent = BTreeMap::new();
        for (service, name) in signals {
            // An unknown name must not keep anybody paused.
            match named(name) {
                Ok(signal) => drop(known.insert(service.clone(), (name.clone(), signal))),
                Err(error) => drop(unsent.insert(service.clone(), SignalFault::Refused { error })),
            }
        }
        if self.pause.as_ref().is_some_and(|(owner, _)| *owner == id)
            && let Some(thawed) = self.thaw(&known)
        {
            unsent.extend(thawed.unsent);
            return Ok(Answer::Thawed {
                pause_us: whole_micros(thawed.pause),
                expired: false,
                unsent,
            });
        }
        let Some(pause) = self
            .connections
            .get_mut(&id)
            .and_then(|connection| connection.expired.take())
        else {
            return Err(Refusal::Failed {
                error: "this connection has frozen nothing".into(),
            });
        };
        // The pause ended without the signals: they are still sent, to processes that run.
        for (service, (name, signal)) in known {
            let alive = self.services.get(&service).and_then(Service::alive);
            let attached = self.foreign.get(&service).map(|attached| &attached.process);
            let process = alive.map(|alive| &alive.process).or(attached);
            let instance = process.map(|process| process.instance.clone());
            let instance = InstanceRef {
                instance: instance.unwrap_or_default(),
                service,
            };
            if let Err(fault) = self.signal_one(&instance, &name, signal, true) {
                unsent.insert(instance.service, fault);
            }
        }
        Ok(Answer::Thawed {
            pause_us: whole_micros(pause),
            expired: true,
            unsent,
        })
    }

    fn signal(&mut self, signals: Vec<(InstanceRef, String)>, send: bool) -> Result {
        let mut faults = BTreeMap::new();
        for (instance, name) in signals {
            let sent = named(&name)
                .map_err(|error| SignalFault::Refused { error })
                .and_then(|signal| self.signal_one(&instance, &name, signal, send));
            if let Err(fault) = sent {
                faults.insert(instance.service, fault);
            }
        }
        Ok(Answer::Signalled { faults })
    }

    /// Looks whether the signal would kill, and sends it if it would not.
    fn signal_one(
        &mut self,
        instance: &InstanceRef,
        name: &str,
        signal: Signal,
        send: bool,
    ) -> std::result::Result<(), SignalFault> {
        let refused = |error: String| SignalFault::Refused {
            error: format!("{name}: {error}"),
        };
        let (process, handle) = self
            .living(&instance.service, &instance.instance)
            .ok_or(SignalFault::Gone)?
            .map_err(|error| SignalFault::Refused { error })?;
        // Looking at it goes on without it: the handle stays that process's whatever becomes of the table.
        let handle = handle
            .try_clone_to_owned()
            .map_err(|error| refused(error.to_string()))?;
        let processes: &mut Processes = &mut self.processes;
        let (pid, start_ticks) = (process.pid, process.start_ticks);
        let sets = processes
            .signal_sets(pid)
            .map_err(|error| refused(error.to_string()))?;
        let lives = processes
            .lives(pid, start_ticks)
            .map_err(|error| refused(error.to_string()))?;
        let sets = sets.filter(|_| lives).ok_or(SignalFault::Gone)?;
        if sets.would_kill(signal) {
            return Err(SignalFault::WouldKill);
        }
        if !send {
            return Ok(());
        }
        match pidfd_send_signal(&handle, signal) {
            Ok(()) => Ok(()),
            Err(Errno::SRCH) => Err(SignalFault::Gone),
            Err(error) => Err(refused(error.to_string())),
        }
    }

    fn shut_down(&mut self, waiter: Waiter) {
        self.log.line("a shutdown was ordered");
        self.thaw(&BTreeMap::new());
        if let Some(earlier) = self.ending.replace(waiter) {
            let error = "somebody else ordered the shutdown, too".to_owned();
            self.answer(earlier, Err(Refusal::Failed { error }));
        }
        let names: Vec<String> = self.services.keys().cloned().collect();
        for name in names {
            self.stop(&name, None);
        }
    }
}

fn named(name: &str) -> std::result::Result<Signal, String> {
    signal::by_name(name).ok_or_else(|| format!("there is no signal {name:?}: write it as in SIGUSR1"))
}

fn check_definition(definition: &Definition) -> std::result::Result<(), String> {
    if definition.command.first().is_none_or(String::is_empty) {
        return Err("its command is empty".into());
    }
    named(&definition.stop_signal)?;
    for (what, path) in [
        ("cwd", &definition.cwd),
        ("output", &definition.output),
        ("run_dir", &definition.run_dir),
    ] {
        // The guard's own folder is `/`: a relative path would mean something else than its writer thought.
        if !path.is_absolute() {
            return Err(format!(
                "{what} is {}: it must be an absolute path",
                path.display()
            ));
        }
    }
    Ok(())
}

fn whole_micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
