//! One service: what is asked of it and what is known of it.

use crate::clock::Moment;
use crate::launch::Launch;
use crate::restart::BackOff;
use crate::signal;
use crate::wire::{Definition, Exit, Process, Supervised};
use rustix::process::{Signal, pidfd_send_signal};
use std::mem::replace;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// A request that is answered later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiter {
    pub(crate) connection: u64,
    pub(crate) request: u64,
}

/// A service of the guard's table.
pub(crate) struct Service {
    pub(crate) definition: Definition,
    /// Ordered to run, and not ended for good.
    pub(crate) wanted: bool,
    pub(crate) phase: Phase,
    pub(crate) restarts: u32,
    pub(crate) back_off: BackOff,
    pub(crate) last_exit: Option<Exit>,
}

/// Where a service stands. There is a process in `Launching`, `Alive` and `Stopping`, and never a second one.
pub(crate) enum Phase {
    /// No process; none is started except on order.
    Down,
    /// No process; the restart policy starts one at this time, unless a connection holds the service.
    Due { at: Moment },
    /// A child that has not executed the command yet, and who waits for it; nobody when the restart policy
    /// started it.
    Launching { launch: Launch, waiters: Vec<Waiter> },
    /// The command runs.
    Alive(Alive),
    /// It was asked to end and has not yet.
    Stopping {
        alive: Alive,
        kill_at: Option<Moment>,
        waiters: Vec<Waiter>,
        /// Who waits for a start that follows the end; nobody when none does.
        then_start: Vec<Waiter>,
    },
}

/// A running process.
pub(crate) struct Alive {
    pub(crate) process: Process,
    pub(crate) handle: OwnedFd,
    /// Our own child tells how it ended; an adopted one only that it did.
    pub(crate) is_child: bool,
    pub(crate) since: Moment,
}

impl Service {
    pub(crate) fn new(definition: Definition) -> Self {
        Self {
            definition,
            wanted: false,
            phase: Phase::Down,
            restarts: 0,
            back_off: BackOff::default(),
            last_exit: None,
        }
    }

    /// Its process that runs the command.
    pub(crate) fn alive(&self) -> Option<&Alive> {
        match &self.phase {
            Phase::Alive(alive) | Phase::Stopping { alive, .. } => Some(alive),
            Phase::Down | Phase::Due { .. } | Phase::Launching { .. } => None,
        }
    }

    /// Its process, also before it runs the command: what the record must name.
    pub(crate) fn process(&self) -> Option<&Process> {
        match &self.phase {
            Phase::Launching { launch, .. } => Some(&launch.process),
            Phase::Alive(alive) | Phase::Stopping { alive, .. } => Some(&alive.process),
            Phase::Down | Phase::Due { .. } => None,
        }
    }

    /// Sends the stop signal to a process that runs.
    pub(crate) fn ask_to_end(&mut self, now: Moment) {
        match replace(&mut self.phase, Phase::Down) {
            Phase::Alive(alive) => {
                let signal = signal::by_name(&self.definition.stop_signal).unwrap_or(Signal::TERM);
                // Gone already is seen by its end, like any other.
                let _ = pidfd_send_signal(&alive.handle, signal);
                let kill_at = Some(now.plus(Duration::from_millis(self.definition.stop_within_ms)));
                self.phase = Phase::Stopping {
                    alive,
                    kill_at,
                    waiters: Vec::new(),
                    then_start: Vec::new(),
                };
            }
            other @ (Phase::Down | Phase::Due { .. } | Phase::Launching { .. } | Phase::Stopping { .. }) => {
                self.phase = other;
            }
        }
    }

    /// As an agent sees it. `held`: a connection holds it, so that no back-off runs.
    pub(crate) fn describe(&self, held: bool) -> Supervised {
        let back_off_ms = match &self.phase {
            Phase::Due { at } if !held => Some(whole_millis(at.since(Moment::now()))),
            Phase::Due { .. }
            | Phase::Down
            | Phase::Launching { .. }
            | Phase::Alive(_)
            | Phase::Stopping { .. } => None,
        };
        Supervised {
            service: self.definition.service.clone(),
            process: self.alive().map(|alive| alive.process.clone()),
            stopping: matches!(self.phase, Phase::Stopping { .. }),
            restarts: self.restarts,
            last_exit: self.last_exit.clone(),
            back_off_ms,
            foreign: false,
        }
    }
}

/// A duration as the wire has it.
pub(crate) fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
