//! `lockstep run`: the reconciler.

use std::io::{self, IsTerminal};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::{Failure, SettingsFile, block_on};
use crate::coordinator::{self, End, Options};

/// Run the reconciler: follow the repository and take the services through each commit
///
/// Starts a guard if there is none, and leaves guard and services running when it ends; `lockstep down` ends
/// everything.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockstep run\n  lockstep run --settings /etc/lockstep.toml --log json\n  \
                        lockstep run --take-over     # another reconciler hangs: its term is fenced"
)]
pub(super) struct Run {
    /// Go on although another reconciler holds the volume; that one is fenced and ends
    #[arg(long)]
    take_over: bool,
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
        let end = block_on(async {
            coordinator::run(
                settings,
                Options {
                    take_over: self.take_over,
                },
            )
            .await
            .map_err(Failure::refused)
        })?;
        match end {
            End::Signal | End::Down => Ok(()),
            End::Deposed => Err(Failure::refused(
                "a reconciler of a higher term has taken over; this one changed nothing since and ends",
            )),
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

/// The signals that ask the program to end.
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
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for one.
    pub async fn ended(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                // A terminal that is closed ends nobody.
                _ = self.hangup.recv() => {
                    tracing::warn!("SIGHUP: the settings are read at the start only; restart `lockstep run` for new ones");
                }
            }
        }
    }
}
