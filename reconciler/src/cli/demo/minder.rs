//! The minder: a small process that ends the demo, whatever becomes of the demo itself.
//!
//! The demo holds the writing end of a pipe and names the processes it starts. When the pipe closes, because the
//! demo ended or was killed, the minder takes everything down: the processes that were named (reconciler and
//! broker), then services and guard by `lockstep down`, then the folder. It is in a process group of its own, so that the
//! terminal's Ctrl-C does not reach it. Only who kills it together with the demo leaves something behind: then
//! `lockstep down --settings FOLDER/lockstep.toml` ends all but the broker.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::DemoError;
use super::place::Place;
use super::programs::Programs;
use crate::cli::Failure;

/// How long a process may take to end by itself when it is asked to.
const LAST_STEPS: Duration = Duration::from_secs(5);

/// Takes a demo down when its standard input closes
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Minder {
    /// The demo's folder
    #[arg(long)]
    dir: PathBuf,
    /// Leave the folder behind
    #[arg(long)]
    keep: bool,
}

impl Minder {
    pub(in crate::cli) fn execute(self) -> Result<(), Failure> {
        let mut processes = Vec::new();
        for line in BufReader::new(std::io::stdin().lock()).lines() {
            // A pipe that cannot be read any more is closed for us.
            let Ok(line) = line else { break };
            processes.extend(handle(&line));
        }
        // The reconciler, named last, first: what is then still to be ended cannot become more.
        processes.iter().rev().for_each(end);
        let settings = self.dir.join("lockstep.toml");
        let down = if settings.exists() {
            down(&settings)
        } else {
            Ok(())
        };
        if !self.keep {
            std::fs::remove_dir_all(&self.dir).map_err(|error| {
                Failure::refused(format!("{}: cannot be removed: {error}", self.dir.display()))
            })?;
        }
        down
    }
}

/// A handle of the process that the demo named: it is the demo's child or an orphan, so its pid is not another's.
fn handle(line: &str) -> Option<OwnedFd> {
    let pid = Pid::from_raw(line.trim().parse().ok()?)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

fn down(settings: &Path) -> Result<(), Failure> {
    let program = std::env::current_exe().map_err(Failure::refused)?;
    let output = Command::new(program)
        .args(["down", "--settings"])
        .arg(settings)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::refused(format!("`lockstep down` cannot be started: {error}")))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(Failure::refused(format!(
            "`lockstep down` failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
    }
}

/// Ends a process: asked first, killed then.
fn end(process: &OwnedFd) {
    for signal in [Signal::TERM, Signal::KILL] {
        // One that is gone already needs no signal.
        if pidfd_send_signal(process, signal).is_err() {
            return;
        }
        let limit = Timespec::try_from(LAST_STEPS).unwrap_or(Timespec {
            tv_sec: 5,
            tv_nsec: 0,
        });
        if poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&limit)).is_ok_and(|ended| ended > 0) {
            return;
        }
    }
}

/// The demo's side: a running minder.
pub(super) struct Minded {
    process: Child,
    pipe: ChildStdin,
}

impl Minded {
    /// Starts the minder of a folder, before anything is started that it would have to end.
    pub(super) fn start(programs: &Programs, place: &Place, keep: bool) -> Result<Self, DemoError> {
        let failed = |source| DemoError::Spawn {
            program: "the demo's minder".to_owned(),
            source,
        };
        let mut process = Command::new(&programs.lockstep)
            .arg("demo-minder")
            .arg("--dir")
            .arg(place.dir())
            .args(keep.then_some("--keep"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let pipe = process
            .stdin
            .take()
            .ok_or_else(|| failed(std::io::ErrorKind::BrokenPipe.into()))?;
        Ok(Self { process, pipe })
    }

    /// Has a process ended with the demo. One without an id has ended already.
    pub(super) fn mind(&mut self, pid: Option<u32>) -> Result<(), DemoError> {
        let Some(pid) = pid else { return Ok(()) };
        writeln!(self.pipe, "{pid}").map_err(|source| DemoError::Spawn {
            program: "the demo's minder".to_owned(),
            source,
        })
    }

    /// Ends everything, and returns when it is gone.
    pub(super) fn end(mut self) -> Result<(), Failure> {
        drop(self.pipe);
        match self.process.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Failure::refused(format!(
                "not all of the demo could be ended: its minder ended with {status}"
            ))),
            Err(error) => Err(Failure::refused(format!(
                "the demo's minder cannot be waited for: {error}"
            ))),
        }
    }
}
