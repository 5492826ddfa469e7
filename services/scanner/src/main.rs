//! The trading stack's scanner: answers scans over gRPC and takes new configuration without a restart.
//!
//! | module | what it is for |
//! |---|---|
//! | `config` | what is accepted of the document, and what is said when it is not |
//! | `bars`, `options` | bars and option chains, and the CSV of both: pure |
//! | `generate` | the one generator of market data, by seed and symbol: pure |
//! | `folder` | the files of market data |
//! | `market` | both as one, each kept until it expires |
//! | `indicators`, `universe`, `strategies` | RSI and ATR, the filter, the four strategies: pure |
//! | `scan` | one pass |
//! | `limit` | at most so many calls at one time |
//! | `serve` | the gRPC side |
//!
//! Two sides meet in one value: the client's thread replaces the configuration (it watches the volume), scans read
//! it. Beside it they share what is kept of the market. Serving never writes anything but log and status.

mod bars;
mod config;
mod folder;
mod generate;
mod indicators;
mod limit;
mod market;
mod options;
mod scan;
mod serve;
mod strategies;
mod universe;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use lockstep_client::{Builder, Client, EnvError, Refusal, Signal, Snapshot, StartError, Trigger};
use scanner_api::ScannerServer;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use trader_config::log::{Log, LogError};

use crate::config::{Config, Taken};
use crate::limit::Limit;
use crate::serve::Service;

/// The most that `scanner.max_concurrency` may be.
const MOST_CALLS: usize = 1000;
/// How long scans that are under way may take when the scanner is told to end.
const LAST_SCANS: Duration = Duration::from_secs(2);

/// The trading stack's scanner. Its configuration comes from Lockstep, else from the file in CONFIG_PATH.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Where scans are served, instead of the loopback address and the port in `scanner.port`.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Judge this file as the scanner would, say what is wrong with it, and end.
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// Fill this folder with generated market data, for `data.cache_dir`, and end.
    #[arg(long, value_name = "FOLDER")]
    make_data: Option<PathBuf>,
    /// What the generated data depends on besides the symbol. Without files, the scanner makes that of seed 0.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, requires = "make_data")]
    seed: u64,
}

/// Why the scanner cannot start or go on.
#[derive(Debug, thiserror::Error)]
enum ScannerError {
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
    #[error("{address} cannot be listened on: {source}; choose another scanner.port, or --listen")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("serving ended: {0}")]
    Serve(#[from] tonic::transport::Error),
}

fn main() -> ExitCode {
    let log = Arc::new(Log::install("scanner"));
    let limit = Arc::new(Limit::default());
    // Before anything that takes time: a reload signal that nobody catches would kill.
    let client = client(&log, &limit);
    let args = Args::parse();
    if let Some(file) = &args.check {
        return check(file);
    }
    if let Some(folder) = &args.make_data {
        return made(folder::make(folder, args.seed));
    }
    match run(&args, client, limit, &log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn client(log: &Arc<Log>, limit: &Arc<Limit>) -> Builder<Config> {
    let (log, limit) = (Arc::clone(log), Arc::clone(limit));
    let taken = Taken::new();
    Client::builder(move |snapshot| config::load(snapshot, &taken))
        .on_change(move |old, new| {
            log.apply(&new.view.logging).map_err(Refusal::new)?;
            describe(old, new);
            limit.changed();
            Ok(())
        })
        // Watching is enough by itself; the signal is for whoever prefers to be asked.
        .trigger(Trigger::Watch)
        .trigger(Trigger::Signal(Signal::Usr1))
        .vote(true)
}

fn made(outcome: Result<(), folder::Damaged>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(damaged) => {
            complain(&damaged.to_string());
            ExitCode::FAILURE
        }
    }
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

fn run(args: &Args, client: Builder<Config>, limit: Arc<Limit>, log: &Log) -> Result<(), ScannerError> {
    let config = client.from_env()?.start()?;
    log.apply(&config.current().view.logging)?;
    let port = config.current().view.scanner.port;
    let address = args.listen.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, port).into());
    let service = Service { config, limit };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // A call at work has a thread of its own, and the limit of calls is the configuration's.
        .max_blocking_threads(MOST_CALLS)
        .build()
        .map_err(ScannerError::Runtime)?;
    runtime.block_on(serve(address, service))
}

fn describe(old: &Config, new: &Config) {
    let switch = new.switch.map(|switch| switch.0);
    let min_rsi = new.view.strategy.high_base.min_rsi;
    tracing::info!(
        switch,
        symbols = new.view.universe.symbols.len(),
        min_rsi,
        "config applied"
    );
    let (was, is) = (&old.view, &new.view);
    if was.scanner.port != is.scanner.port || was.data.cache_dir != is.data.cache_dir {
        tracing::warn!("scanner.port and data.cache_dir are taken at the next start");
    }
}

async fn serve(address: SocketAddr, service: Service) -> Result<(), ScannerError> {
    // Before anything is answered, so that no signal falls between.
    let mut terminate = signal(SignalKind::terminate()).map_err(ScannerError::Signal)?;
    let listen = |source| ScannerError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let bound = listener.local_addr().map_err(listen)?;
    tracing::info!("listening on {bound}");
    let (end, ended) = oneshot::channel::<()>();
    let server = Server::builder()
        .add_service(ScannerServer::new(service))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
            // The sender is dropped in place of being used: both mean the end.
            let _ = ended.await;
        });
    tokio::pin!(server);
    tokio::select! {
        // Serving ends by itself only when it fails.
        outcome = &mut server => return Ok(outcome?),
        // Asked to end: no new scans, and those under way get a moment.
        _ = terminate.recv() => {}
    }
    tracing::info!("ending");
    drop(end);
    match tokio::time::timeout(LAST_SCANS, server).await {
        Ok(outcome) => Ok(outcome?),
        // A peer that keeps its connection open does not keep us.
        Err(_) => Ok(()),
    }
}
