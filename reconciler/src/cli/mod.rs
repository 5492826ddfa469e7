//! The command line: one file a subcommand.

mod client;
mod down;
mod events;
mod guard;
mod moment;
mod output;
mod run;
mod status;
mod story;
mod sync;
mod wait;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::settings::{Settings, SettingsError};

pub use run::Signals;

/// Transactional GitOps for live configuration: a commit reaches every running service, or none.
#[derive(Debug, Parser)]
#[command(name = "lockstep", version, max_term_width = 100)]
struct Lockstep {
    /// The settings file
    #[arg(long, global = true, env = "LOCKSTEP_SETTINGS", default_value = "./lockstep.toml", value_name = "FILE")]
    settings: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Guard(guard::Guard),
    Down(down::Down),
    Status(status::Status),
    Events(events::Events),
    Sync(sync::Sync),
    Wait(wait::Wait),
}

/// How a command failed: its exit code and its message.
#[derive(Debug)]
pub struct Failure {
    /// 1 refused or failed, 2 misuse, 3 the reconciler cannot be reached.
    pub code: u8,
    /// The message, with the next step.
    pub message: String,
}

impl Failure {
    /// The exit code when the reconciler cannot be reached.
    pub const UNREACHABLE: u8 = 3;

    /// Refused, or failed.
    pub fn refused(error: impl std::fmt::Display) -> Self {
        Self { code: 1, message: error.to_string() }
    }

    /// Nobody reads the output any more: no failure, but the end.
    fn unread() -> Self {
        Self { code: 0, message: String::new() }
    }

    /// Called wrongly.
    pub fn misuse(error: impl std::fmt::Display) -> Self {
        Self { code: 2, message: error.to_string() }
    }

    /// The reconciler cannot be reached.
    pub fn unreachable(error: impl std::fmt::Display) -> Self {
        Self { code: Self::UNREACHABLE, message: error.to_string() }
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::misuse(error)
    }
}

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    // The guard's own processes come first: they must have no other thread and touch as little as possible.
    if let Some(code) = guard::hidden() {
        return code;
    }
    let lockstep = Lockstep::parse();
    let result = match lockstep.command {
        Command::Run(command) => command.execute(&lockstep.settings),
        Command::Guard(command) => command.execute(&lockstep.settings),
        Command::Down(command) => command.execute(&lockstep.settings),
        Command::Status(command) => command.execute(&lockstep.settings),
        Command::Events(command) => command.execute(&lockstep.settings),
        Command::Sync(command) => command.execute(&lockstep.settings),
        Command::Wait(command) => command.execute(&lockstep.settings),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                output::note(format_args!("lockstep: {}", failure.message));
            }
            ExitCode::from(failure.code)
        }
    }
}

/// Reads the settings for a command.
fn settings(path: &std::path::Path) -> Result<Settings, Failure> {
    Ok(Settings::read(path)?)
}

/// A runtime for a command that only waits.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::refused)?
        .block_on(work)
}
