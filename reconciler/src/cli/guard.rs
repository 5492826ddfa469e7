//! `lockstep guard`, and the hidden forms in which the guard starts its own processes.

use std::path::PathBuf;
use std::process::ExitCode;

use lockstep_guard::{EXEC, GuardOptions, HOLDER, Mode};

use super::{Failure, SettingsFile};

/// Run the guard: the parent of supervised services, which outlives the reconciler
///
/// `lockstep run` starts one by itself. Run it in a unit of its own under systemd, so that a restart of the
/// reconciler's unit leaves the services alone.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lockstep guard\n  lockstep guard --state /var/lib/lockstep")]
pub(super) struct Guard {
    /// The state folder; the one of the settings if none
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
    /// Leave the guard behind and return when it answers
    #[arg(long)]
    detach: bool,
    /// The guard that was left behind
    #[arg(long, hide = true)]
    detached: bool,
}

impl Guard {
    pub(super) fn execute(self, settings: &SettingsFile) -> Result<(), Failure> {
        let state = match self.state {
            Some(state) => state,
            None => settings.reach()?.state,
        };
        let mode = match (self.detach, self.detached) {
            (false, false) => Mode::Foreground,
            (_, true) => Mode::Detached,
            (true, false) => Mode::Detach,
        };
        lockstep_guard::run(&GuardOptions { state, mode })
            .map(drop)
            .map_err(Failure::refused)
    }
}

/// The holder and the child before its command: no argument parsing, no allocation that can be left out.
pub(super) fn hidden() -> Option<ExitCode> {
    let command = std::env::args_os().nth(1)?;
    if command == HOLDER {
        return Some(match lockstep_guard::holder() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        });
    }
    if command == EXEC {
        return Some(ExitCode::from(
            u8::try_from(lockstep_guard::guard_exec()).unwrap_or(1),
        ));
    }
    None
}
