//! What the kernel lets us do with processes: tried on a child of our own.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, waitpid};
use rustix::thread::{CapabilitySet, capabilities};

use super::Finding;
use crate::cli::Failure;

/// Slower than this, a pause takes longer than it has to.
const SLOW: Duration = Duration::from_millis(50);

pub(super) fn look() -> Vec<Finding> {
    vec![stopping(), handles(), priority()]
}

/// Is stopped and continued by doctor, and ends when its standard input closes: this program itself, so that nothing
/// else has to be on the machine
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Patient {}

impl Patient {
    pub(in crate::cli) fn execute(self) -> Result<(), Failure> {
        std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())
            .map(drop)
            .map_err(Failure::refused)
    }
}

/// A child that is stopped and continued, as a service is.
fn stopping() -> Finding {
    let what = "pausing";
    let child = std::env::current_exe().and_then(|this| {
        Command::new(this)
            .arg("doctor-patient")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
    });
    let child = match child {
        Ok(child) => child,
        Err(error) => {
            return Finding::problem(
                what,
                format!("no child process can be started: {error}"),
                "see `ulimit -u` and the container's limits",
            );
        }
    };
    let mut child = Ended(child);
    match stopped_and_continued(&child.0) {
        Ok(took) if took > SLOW => Finding::warning(
            what,
            format!(
                "a process was stopped and continued, which took {} ms",
                took.as_millis()
            ),
            "the machine is very busy: pauses will be long",
        ),
        Ok(took) => Finding::ok(
            what,
            format!("a process was stopped and continued in {} µs", took.as_micros()),
        ),
        Err(error) => {
            // Only said once the child is gone for sure.
            child.end();
            Finding::problem(
                what,
                format!("a process could not be stopped and continued: {error}"),
                "a sandbox (gVisor, seccomp) may forbid signals: run it where SIGSTOP and SIGCONT work",
            )
        }
    }
}

/// A child that does not outlive the look.
struct Ended(Child);

impl Ended {
    fn end(&mut self) {
        // One that is gone is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.end();
    }
}

fn stopped_and_continued(child: &Child) -> rustix::io::Result<Duration> {
    let pid = Pid::from_child(child);
    let began = Instant::now();
    kill_process(pid, Signal::STOP)?;
    // Returns once the kernel has stopped it.
    waitpid(Some(pid), WaitOptions::UNTRACED)?;
    kill_process(pid, Signal::CONT)?;
    waitpid(Some(pid), WaitOptions::CONTINUED)?;
    Ok(began.elapsed())
}

fn handles() -> Finding {
    let what = "process handles";
    match pidfd_open(rustix::process::getpid(), PidfdFlags::empty()) {
        Ok(_) => Finding::ok(what, "the kernel has them"),
        Err(error) => Finding::problem(
            what,
            format!("the kernel has none: {error}"),
            "Linux 5.4 or newer is needed, and a sandbox that allows pidfd_open",
        ),
    }
}

fn priority() -> Finding {
    let what = "priority";
    match capabilities(None) {
        Ok(sets) if sets.effective.contains(CapabilitySet::SYS_NICE) => Finding::ok(
            what,
            "guard and holder may run before others while somebody is paused",
        ),
        Ok(_) | Err(_) => Finding::warning(
            what,
            "guard and holder run as anybody does: on a busy machine a pause may be given up",
            "give the unit CAP_SYS_NICE if pauses are aborted under load",
        ),
    }
}
