//! What a dead guard or a dead service left behind.

use crate::clock::timespec;
use crate::processes::stat::{Stat, State};
use crate::processes::table::{Carrier, Processes};
use crate::processes::tree::{Root, attribute};
use crate::wire::Process;
use rustix::process::{Pid, Signal, kill_process_group, pidfd_send_signal};
use std::io;
use std::time::Duration;

/// The pid, and the session, of no process.
const NOBODY: u32 = u32::MAX;

/// Rounds after which a tree that makes new processes faster than they are killed is left alone. Each
/// also finds those that were killed and are not dead yet.
const ROUNDS: usize = 50;
const BETWEEN_ROUNDS: Duration = Duration::from_millis(1);

/// Continues everybody who is stopped and belongs to one of these. The first thing that a guard does: one
/// before it and its holder may have died in a pause. Returns how many were continued.
///
/// Somebody whom an operator stopped by hand is continued as well: nothing tells the two apart, and
/// nobody is to stay paused.
pub(crate) fn thaw(processes: &mut Processes, roots: &[Root]) -> io::Result<usize> {
    let mut continued = 0;
    for stat in members(processes, roots, |stat| stat.state == State::Stopped)? {
        // Everybody is sent it: who does not look stopped may have the stop still before it. To one that runs
        // it does nothing.
        if let Some(handle) = processes.open_process(stat.pid, stat.start_ticks)?.process() {
            let _ = pidfd_send_signal(&handle, Signal::CONT);
            continued += usize::from(stat.state == State::Stopped);
        }
    }
    Ok(continued)
}

/// Kills what is left of a service whose main process has just ended: it would hold ports that the successor
/// needs, and no pause of the successor would stop it. True when there was somebody.
pub(crate) fn kill(processes: &mut Processes, main: &Process) -> io::Result<bool> {
    // One that forks and ends could run ahead of us for ever, but not of a signal to its whole group. The
    // kernel gives the group's number to nobody else as long as somebody is in it; should nobody be, then
    // the number would have to be given out again in the moment since the main process's end.
    let other = |stat: Stat| stat.start_ticks != main.start_ticks && !stat.is_dead();
    let seen = processes.stat(main.pid)?;
    let taken = seen.is_some_and(other);
    let mut in_its_group = false;
    if let Some(group) = i32::try_from(main.pid)
        .ok()
        .and_then(Pid::from_raw)
        .filter(|_| !taken)
    {
        // While the main process is not collected it counts itself.
        in_its_group = kill_process_group(group, Signal::KILL).is_ok() && seen.is_none();
    }
    let me = std::process::id();
    let root = Root {
        pid: main.pid,
        token: main.instance.clone(),
    };
    let others = kill_all(processes, &root, |stat| stat.parent == 1 || stat.parent == me)?;
    Ok(in_its_group || others)
}

/// The same for one that ended some unknown time ago: its session's number may be somebody else's by now, so
/// that only its token tells.
pub(crate) fn kill_late(processes: &mut Processes, main: &Process) -> io::Result<bool> {
    let root = Root {
        pid: NOBODY,
        token: main.instance.clone(),
    };
    kill_all(processes, &root, |_| true)
}

fn kill_all(processes: &mut Processes, root: &Root, ask: impl Fn(&Stat) -> bool) -> io::Result<bool> {
    for round in 0..ROUNDS {
        let mut sent = false;
        for stat in members(processes, std::slice::from_ref(root), &ask)? {
            if let Some(handle) = processes.open_process(stat.pid, stat.start_ticks)?.process() {
                sent |= pidfd_send_signal(&handle, Signal::KILL).is_ok();
            }
        }
        if !sent {
            return Ok(round > 0);
        }
        // A killed process dies when it is next scheduled, which we, running first, could prevent.
        let _ = rustix::thread::nanosleep(&timespec(BETWEEN_ROUNDS));
    }
    Ok(true)
}

/// Everybody alive who belongs to one of the roots. The environment is read of those alone whom `ask` names.
fn members(processes: &mut Processes, roots: &[Root], ask: impl Fn(&Stat) -> bool) -> io::Result<Vec<Stat>> {
    let entries: Vec<String> = roots
        .iter()
        .map(|root| format!("{}={}", crate::INSTANCE, root.token))
        .collect();
    let me = std::process::id();
    let mut pids = Vec::new();
    processes.pids(&mut pids)?;
    let mut stats = Vec::with_capacity(pids.len());
    for pid in pids.into_iter().filter(|pid| *pid != me) {
        stats.extend(processes.stat(pid)?.filter(|stat| !stat.is_dead()));
    }
    let owners = attribute(
        &stats,
        roots,
        |_| None,
        |stat| {
            match ask(stat).then(|| processes.carrier_of(stat.pid, stat.start_ticks, &entries)) {
                Some(Ok(Carrier::Of(place))) => Some(place),
                // One whose environment cannot be read carries no token of ours.
                Some(Ok(Carrier::OfNone | Carrier::Unclear) | Err(_)) | None => None,
            }
        },
    );
    Ok(stats
        .into_iter()
        .zip(owners)
        .filter(|(_, owner)| owner.is_some())
        .map(|(stat, _)| stat)
        .collect())
}
