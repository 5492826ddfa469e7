//! The command line: one file a subcommand.
//!
//! | module | for |
//! |---|---|
//! | [`client`] | speaking to the running reconciler |
//! | [`checkout`] | a config repository on disk, as `validate` and `plan` look at it |
//! | [`git`] | asking the program git |
//! | [`template`] | what a config repository begins with |
//! | [`output`], [`story`], [`picture`], [`moment`], [`github`] | how results are printed |
//! | [`completions`] | `completions` and `man`, made from the definition here |
//! | all others | the subcommand of the same name |
//!
//! Results go to the standard output and everything else to the error output. Exit codes: 0 done, 1 refused or
//! failed, 2 called wrongly, 3 the reconciler cannot be reached.

mod at;
mod checkout;
mod client;
mod completions;
mod convert;
mod demo;
mod doctor;
mod down;
mod events;
mod explain;
mod git;
mod github;
mod guard;
mod history;
mod hook;
mod init;
mod moment;
mod output;
mod picture;
mod plan;
mod run;
mod schema;
mod status;
mod story;
mod suspend;
mod sync;
mod template;
mod undo;
mod validate;
mod wait;
mod why;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::settings::{Reach, Settings, SettingsError};

pub use run::{Asked, Signals};

/// Transactional GitOps for live configuration: a commit reaches every running service, or none.
#[derive(Debug, Parser)]
#[command(name = "lockstep", version, max_term_width = 100)]
struct Lockstep {
    /// The settings file [default: ./lockstep.toml]
    #[arg(
        long,
        global = true,
        env = "LOCKSTEP_SETTINGS",
        value_name = "FILE",
        hide_env_values = true,
        display_order = 100
    )]
    settings: Option<PathBuf>,
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
    History(history::History),
    At(at::At),
    Why(why::Why),
    Plan(plan::Plan),
    Validate(validate::Validate),
    Hook(hook::Hook),
    Init(init::Init),
    Explain(explain::Explain),
    Convert(convert::Convert),
    Schema(schema::Schema),
    Sync(sync::Sync),
    Wait(wait::Wait),
    Rollback(undo::Rollback),
    Revert(undo::Revert),
    Retry(suspend::Retry),
    Suspend(suspend::Suspend),
    Resume(suspend::Resume),
    Demo(demo::Demo),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
    Man(completions::Man),
    #[command(hide = true)]
    DemoMinder(demo::Minder),
    #[command(hide = true)]
    DoctorPatient(doctor::Patient),
}

/// Where the settings are, and whether somebody said so.
#[derive(Debug)]
struct SettingsFile {
    path: PathBuf,
    named: bool,
}

impl SettingsFile {
    fn of(named: Option<PathBuf>) -> Self {
        Self {
            named: named.is_some(),
            path: named.unwrap_or_else(|| PathBuf::from("./lockstep.toml")),
        }
    }

    /// The settings, which must be there.
    fn read(&self) -> Result<Settings, Failure> {
        Ok(Settings::read(&self.path)?)
    }

    /// The settings, for whoever runs the services on this machine.
    fn read_to_run(&self) -> Result<Settings, Failure> {
        Ok(Settings::read_to_run(&self.path)?)
    }

    /// Where the reconciler is reached, for commands that only speak to it: also when the settings have mistakes by now.
    fn reach(&self) -> Result<Reach, Failure> {
        Ok(Reach::read(&self.path)?)
    }

    /// The settings, for commands that do without: nothing where nobody named any and none lie here.
    fn find(&self) -> Result<Option<Settings>, Failure> {
        if !self.named && !self.path.exists() {
            return Ok(None);
        }
        self.read().map(Some)
    }

    /// The folder of the repository that is published: all of it without settings.
    fn published(&self) -> Result<String, Failure> {
        Ok(self
            .find()?
            .map(|settings| settings.source.spec.path)
            .unwrap_or_default())
    }

    /// The operator's own policy, where the settings name one; that it cannot be used is told and stops nobody here.
    fn operator(&self) -> Result<Option<std::sync::Arc<lockstep_core::policy::OperatorPolicy>>, Failure> {
        let Some(settings) = self.find()? else {
            return Ok(None);
        };
        if let (Some(file), None) = (&settings.policy_file, &settings.policy) {
            output::note(format_args!(
                "the operator's policy {} cannot be used here, so it is not among what judges",
                file.display()
            ));
        }
        Ok(settings.policy)
    }
}

/// How a command failed: its exit code and its message.
#[derive(Debug)]
pub struct Failure {
    /// 1 refused or failed, 2 misuse, 3 the reconciler cannot be reached.
    pub code: u8,
    /// The message, with the next step; empty when all is said already.
    pub message: String,
}

impl Failure {
    /// The exit code when the reconciler cannot be reached.
    pub const UNREACHABLE: u8 = 3;

    /// Refused, or failed.
    pub fn refused(error: impl std::fmt::Display) -> Self {
        Self {
            code: 1,
            message: error.to_string(),
        }
    }

    /// Called wrongly.
    pub fn misuse(error: impl std::fmt::Display) -> Self {
        Self {
            code: 2,
            message: error.to_string(),
        }
    }

    /// The reconciler cannot be reached.
    pub fn unreachable(error: impl std::fmt::Display) -> Self {
        Self {
            code: Self::UNREACHABLE,
            message: error.to_string(),
        }
    }

    /// Refused, and the result that was printed says why.
    fn told() -> Self {
        Self {
            code: 1,
            message: String::new(),
        }
    }

    /// Nobody reads the output any more: no failure, but the end.
    fn unread() -> Self {
        Self {
            code: 0,
            message: String::new(),
        }
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
    let settings = SettingsFile::of(lockstep.settings);
    let result = match lockstep.command {
        Command::Run(command) => command.execute(&settings),
        Command::Guard(command) => command.execute(&settings),
        Command::Down(command) => command.execute(&settings),
        Command::Status(command) => command.execute(&settings),
        Command::Events(command) => command.execute(&settings),
        Command::History(command) => command.execute(&settings),
        Command::At(command) => command.execute(&settings),
        Command::Why(command) => command.execute(&settings),
        Command::Plan(command) => command.execute(&settings),
        Command::Validate(command) => command.execute(&settings),
        Command::Hook(command) => command.execute(&settings),
        Command::Init(command) => command.execute(),
        Command::Explain(command) => command.execute(),
        Command::Convert(command) => command.execute(&settings),
        Command::Schema(command) => command.execute(),
        Command::Sync(command) => command.execute(&settings),
        Command::Wait(command) => command.execute(&settings),
        Command::Rollback(command) => command.execute(&settings),
        Command::Revert(command) => command.execute(&settings),
        Command::Retry(command) => command.execute(&settings),
        Command::Suspend(command) => command.execute(&settings),
        Command::Resume(command) => command.execute(&settings),
        Command::Demo(command) => command.execute(),
        Command::Doctor(command) => command.execute(&settings),
        Command::Completions(command) => command.execute(),
        Command::Man(command) => command.execute(),
        Command::DemoMinder(command) => command.execute(),
        Command::DoctorPatient(command) => command.execute(),
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

/// A runtime for a command that only waits.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::refused)?
        .block_on(work)
}
