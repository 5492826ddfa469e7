//! A pause in force, and its end.

use crate::clock::{Moment, timespec};
use crate::freeze::{LOOK_AGAIN, Member, Step, Target, continue_all};
use crate::link::Link;
use crate::processes::stat::State;
use crate::processes::table::Processes;
use crate::wire::SignalFault;
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a thaw waits to see the main processes running: it only wants to know.
const TO_SEE_THEM_RUN: Duration = Duration::from_millis(5);

/// Everything is stopped. It is the caller's duty to call [`Pause::thaw`] before the deadline; the holder
/// does when the caller is dead.
#[must_use = "whoever is stopped stays so until `thaw`"]
pub(crate) struct Pause {
    pub(crate) targets: Vec<Target>,
    pub(crate) members: Vec<Member>,
    pub(crate) first_stop: Moment,
    pub(crate) deadline: Moment,
    pub(crate) took: Duration,
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
        let patience = Moment::now().plus(TO_SEE_THEM_RUN);
        for target in &self.targets {
            while target.is_stopped(processes) && Moment::now() < patience {
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
        let target = self.targets.iter().find(|target| target.service == service);
        let target = target.ok_or_else(|| refused("this connection did not freeze it".into()))?;
        let main = self.members.iter().find(|member| member.stat.pid == target.pid);
        let main = main.ok_or(SignalFault::Gone)?;
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

impl Target {
    fn is_stopped(&self, processes: &mut Processes) -> bool {
        let stat = processes.stat(self.pid).ok().flatten();
        stat.is_some_and(|stat| stat.start_ticks == self.start_ticks && stat.state == State::Stopped)
    }
}
