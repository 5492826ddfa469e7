//! `lockstep run`: the reconciler.

use std::io::{self, IsTerminal};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::{Failure, SettingsFile, block_on};
use crate::coordinator::{self, End, Lasting, Options};
use crate::settings::Settings;

/// Run the reconciler: follow the repository and take the services through each commit
///
/// Starts a guard if there is none, and leaves guard and services running when it ends; `lockstep down` ends
/// everything.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockstep run\n  lockstep run --settings /etc/lockstep.toml --log json\n  \
                        lockstep run --take-over     # another reconciler hangs: its term is fenced\n  \
                        lockstep run --adopt         # files lie in the volume's folder: they are kept aside"
)]
pub(super) struct Run {
    /// Go on although another reconciler holds the volume; that one is fenced and ends
    #[arg(long)]
    take_over: bool,
    /// Take a folder as the volume in which files of somebody else lie; they are kept in it, aside
    ///
    /// Until the first release is live, whoever reads their paths still finds them. Needed once.
    #[arg(long)]
    adopt: bool,
    /// How to write the log
    #[arg(long, value_enum, default_value_t = Log::Text)]
    log: Log,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Log {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

impl Run {
    pub(super) fn execute(self, settings: &SettingsFile) -> Result<(), Failure> {
        let settings = settings.read_to_run()?;
        start_log(self.log);
        let options = Options {
            take_over: self.take_over,
            adopt: self.adopt,
            ..Options::default()
        };
        match block_on(run(settings, options))? {
            End::Signal | End::Down | End::Anew(_) => Ok(()),
            End::Deposed => Err(Failure::refused(
                "a reconciler of a higher term has taken over; this one changed nothing since and ends",
            )),
        }
    }
}

/// When a start is tried again that went wrong in a program which had run.
const AGAIN: Duration = Duration::from_secs(5);

/// Runs the coordinator, once more with each new settings.
async fn run(mut settings: Settings, mut options: Options) -> Result<End, Failure> {
    let mut lasting = Lasting::default();
    let mut before = None;
    loop {
        let refused = options.refused.clone();
        let end = coordinator::run(settings.clone(), options, &mut lasting).await;
        let anew = lasting.has_run();
        options = Options {
            anew,
            ..Options::default()
        };
        match (end, before.take()) {
            (Ok(End::Anew(new)), _) => before = Some(std::mem::replace(&mut settings, *new)),
            (Ok(end), _) => return Ok(end),
            // What they name cannot be had: those that worked until now still do.
            (Err(error), Some(old)) if error.blames_settings() => {
                settings = old;
                let refused = coordinator::refusal(&error.to_string());
                tracing::error!("{refused}");
                options.refused = Some(refused);
            }
            (Err(error), None) if !anew => return Err(Failure::refused(error)),
            // Not even those that worked, or it is not theirs: a guard that hangs, a disk that is full. Services go on,
            // and so does this.
            (Err(error), old) => {
                before = old;
                let why = format!("the reconciler cannot begin anew, and tries again: {error}");
                tracing::error!("{why}");
                options.refused = refused;
                match lasting.stand_in(&why, AGAIN).await {
                    Some(Asked::End) => return Ok(End::Signal),
                    Some(Asked::ReadSettings) => match coordinator::read_again(&settings) {
                        // They may be what mends it.
                        Ok(new) => {
                            options.refused = None;
                            before = Some(std::mem::replace(&mut settings, new));
                        }
                        Err(reason) => {
                            let refused = coordinator::refusal(&reason);
                            tracing::error!("{refused}");
                            options.refused = Some(refused);
                        }
                    },
                    None => {}
                }
            }
        }
    }
}

/// `LOCKSTEP_LOG` chooses levels, for example `debug` or `lockstep=debug,warn`.
fn start_log(log: Log) {
    let filter = EnvFilter::try_from_env("LOCKSTEP_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    match log {
        Log::Text => builder.with_target(false).init(),
        Log::Json => builder.json().init(),
    }
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// To end.
    End,
    /// To read the settings again.
    ReadSettings,
}

/// The signals that ask the program for something.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Catches them from now on.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn catch() -> io::Result<Self> {
        Self::catch_with(Self::hangups()?)
    }

    /// The same, with hangups that were caught before.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn catch_with(hangup: Signal) -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup,
        })
    }

    /// Catches hangups alone from now on.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn hangups() -> io::Result<Signal> {
        signal(SignalKind::hangup())
    }

    /// Waits for one.
    pub async fn asked(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::End,
            _ = self.interrupt.recv() => Asked::End,
            // Also when a terminal is closed, which ends nobody.
            _ = self.hangup.recv() => Asked::ReadSettings,
        }
    }

    /// Waits until a program is to end that has no settings to read again: when its terminal is closed, too.
    pub async fn ended(&mut self) {
        self.asked().await;
    }
}
