//! The trading stack's orchestrator: holds one broker session, asks the scanner, sizes what it finds.
//!
//! | module | what it is for |
//! |---|---|
//! | `config` | what is accepted of the document, and what is said when it is not |
//! | `session`, `accounts` | the one broker session, and what it tells of its accounts |
//! | `rounds`, `scanner` | when the scanner is asked, and how |
//! | `schedule`, `pace`, `contracts`, `sizing` | hours, request rate, spreads and limits: pure |
//! | `decisions` | what was decided, in a file |
//! | `clock` | the only place that asks for the time of day |
//!
//! Two tasks, `session::hold` and `rounds::run`, share three values: the configuration (replaced by the client's
//! thread on SIGUSR1), the session that is up (set by the first, read by the second and by the client's checks), and a
//! counter of changes, which wakes both and carries nothing. It places no order, and a reload never touches a session.

mod accounts;
mod clock;
mod config;
mod contracts;
mod decisions;
mod pace;
mod rounds;
mod scanner;
mod schedule;
mod session;
mod sizing;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use jiff::{SignedDuration, Timestamp};
use lockstep_client::{Builder, Client, EnvError, Refusal, Signal, Snapshot, StartError, Trigger};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use trader_config::log::{Log, LogError};

use crate::clock::Clock;
use crate::config::{Config, judge_account};
use crate::session::Up;

/// The trading stack's orchestrator. Its configuration comes from Lockstep, else from the file in CONFIG_PATH.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// How often the scanner is asked, within trading hours.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = period)]
    scan_every: Duration,
    /// How often the broker is asked for the time, to know that the session lives.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = period)]
    heartbeat_every: Duration,
    /// Write decisions to this file as well, one JSON object a line. It is set aside when it is full, as `[logging]`
    /// says of the log.
    #[arg(long, value_name = "FILE")]
    decisions: Option<PathBuf>,
    /// Begin at this moment instead of now, as in 2026-07-01T15:00:00Z: schedule and decisions go by it.
    #[arg(long, value_name = "TIME")]
    as_of: Option<Timestamp>,
    /// Judge this file as the orchestrator would, say what is wrong with it, and end.
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
}

fn period(text: &str) -> Result<Duration, String> {
    let parsed: SignedDuration = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    let period = Duration::try_from(parsed).map_err(|_| "a time above zero is expected".to_owned())?;
    if period.is_zero() {
        Err("a time above zero is expected".to_owned())
    } else {
        Ok(period)
    }
}

/// What the tasks and the client's checks share.
struct Shared {
    session: watch::Sender<Option<Arc<Up>>>,
    changes: watch::Sender<u64>,
}

/// Why the orchestrator cannot start or go on.
#[derive(Debug, thiserror::Error)]
enum OrchestratorError {
    #[error(transparent)]
    Env(#[from] EnvError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("the runtime cannot be started: {0}")]
    Runtime(io::Error),
    #[error("SIGTERM cannot be caught: {0}")]
    Signal(io::Error),
}

fn main() -> ExitCode {
    let log = Arc::new(Log::install("orchestrator"));
    let shared = Arc::new(Shared {
        session: watch::Sender::new(None),
        changes: watch::Sender::new(0),
    });
    // Before anything that takes time: a reload signal that nobody catches would kill.
    let client = client(&log, &shared);
    let args = Args::parse();
    if let Some(file) = &args.check {
        return check(file);
    }
    match run(&args, client, &log, &shared) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn client(log: &Arc<Log>, shared: &Arc<Shared>) -> Builder<Config> {
    let (log, changing, offered) = (Arc::clone(log), Arc::clone(shared), Arc::clone(shared));
    Client::builder(config::load)
        .on_change(move |old, new| {
            judge_account(new, changing.session.borrow().as_deref())?;
            log.apply(&new.view.logging).map_err(Refusal::new)?;
            describe(new);
            let (was, is) = (&old.view.ibkr, &new.view.ibkr);
            if (&was.host, was.port, was.client_id) != (&is.host, is.port, is.client_id) {
                tracing::warn!("ibkr.host, ibkr.port and ibkr.client_id are taken by the next session");
            }
            changing.changes.send_modify(|count| *count += 1);
            Ok(())
        })
        .on_offer(move |_, new| judge_account(new, offered.session.borrow().as_deref()))
        .trigger(Trigger::Signal(Signal::Usr1))
        .vote(true)
}

fn check(file: &Path) -> ExitCode {
    let text = match Snapshot::of_file(file).and_then(|snapshot| snapshot.text(snapshot.document())) {
        Ok(text) => text,
        Err(refusal) => {
            complain(&refusal.to_string());
            return ExitCode::FAILURE;
        }
    };
    let problems = config::read(&text).err().unwrap_or_default();
    for problem in &problems {
        complain(&format!("{}:{problem}", file.display()));
    }
    if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// To the error output; that nobody reads it changes nothing about the exit code.
fn complain(line: &str) {
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{line}\n").as_bytes());
}

fn describe(config: &Config) {
    let switch = config.switch.map(|switch| switch.0);
    tracing::info!(
        switch,
        risk_per_trade = config.view.trading.risk_per_trade,
        "config applied"
    );
}

fn run(args: &Args, client: Builder<Config>, log: &Log, shared: &Shared) -> Result<(), OrchestratorError> {
    let config = client.from_env()?.start()?;
    log.apply(&config.current().view.logging)?;
    describe(&config.current());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(OrchestratorError::Runtime)?;
    runtime.block_on(serve(args, &config, shared))
}

async fn serve(args: &Args, config: &Client<Config>, shared: &Shared) -> Result<(), OrchestratorError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(OrchestratorError::Signal)?;
    let (changes, sessions) = (&shared.changes, &shared.session);
    let session = session::hold(config, sessions, changes.subscribe(), args.heartbeat_every);
    let settings = rounds::Settings {
        every: args.scan_every,
        clock: Clock::new(args.as_of),
        decisions: args.decisions.clone(),
    };
    let rounds = rounds::run(config, sessions.subscribe(), changes.subscribe(), settings);
    tokio::select! {
        // Both go on for ever.
        never = session => match never {},
        never = rounds => match never {},
        // Asked to end: the session is closed by dropping it.
        _ = terminate.recv() => tracing::info!("ending"),
    }
    Ok(())
}
