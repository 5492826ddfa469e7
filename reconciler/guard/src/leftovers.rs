//! What a dead guard or a dead service left behind.

use crate::processes::stat::{Stat, State};
use crate::processes::table::{Carrier, Processes};
use crate::processes::tree::{Root, attribute};
use rustix::process::{Pid, Signal, kill_process_group, pidfd_send_signal};
use std::io;

/// Rounds after which a tree that makes new processes faster than they are killed is left alone. Each
/// also finds those that were killed and are not dead yet.
const ROUNDS: usize = 50;

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

/// Kills what is left of a service whose main process has ended: it would hold ports that the successor
/// needs, and no pause of the successor would stop it. True when there was somebody.
pub(crate) fn kill(processes: &mut Processes, root: &Root) -> io::Result<bool> {
    let me = std::process::id();
    for round in 0..ROUNDS {
        let left = members(processes, std::slice::from_ref(root), |stat| {
            stat.parent == 1 || stat.parent == me
        })?;
        // One that forks and ends could run ahead of us for ever, but not of a signal to its whole group. As
        // long as somebody is in the session, the kernel gives the group's number to nobody else.
        let group = i32::try_from(root.pid).ok().and_then(Pid::from_raw);
        if let Some(group) = group.filter(|_| left.iter().any(|stat| stat.session == root.pid)) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let mut sent = false;
        for stat in left.iter().filter(|stat| stat.pid != root.pid) {
            if let Some(handle) = processes.open_process(stat.pid, stat.start_ticks)?.process() {
                sent |= pidfd_send_signal(&handle, Signal::KILL).is_ok();
            }
        }
        if !sent {
            return Ok(round > 0);
        }
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
