//! A stand-in for TWS and IB Gateway: it speaks enough of their protocol for the real client to hold a session.
//!
//! It exists so that a test or a demo can say "one session, never dropped": it counts sessions, requests and
//! disconnects, and tells the counts at any moment. It must never become a simulation of a market: what it
//! does not know is answered with an error, as the real one does.
//!
//! | module | what it is for |
//! |---|---|
//! | `wire` | frames and the few messages that are spoken |
//! | `session` | one connection from handshake to end |
//! | `stats` | the counts, in a file and on a port |

mod session;
mod stats;
mod wire;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use tokio::net::TcpListener;
use tracing_subscriber::filter::LevelFilter;

use crate::session::{Broker, Held};
use crate::stats::{Stats, StatsError};

/// A stand-in for TWS: holds sessions of the real client and counts them.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Where the API is served. TWS paper listens on 7497. Port 0 takes a free one, which is printed.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7497")]
    listen: SocketAddr,
    /// An account that sessions manage; repeat it for several.
    #[arg(long = "account", value_name = "ACCOUNT", default_value = "DU1234567")]
    accounts: Vec<String>,
    /// The equity of each account in USD; the buying power is four times as much.
    #[arg(long, value_name = "USD", default_value_t = 100_000)]
    equity: u32,
    /// Shares that the first account holds, as in KO=100@63.5; repeat it for several.
    #[arg(long = "position", value_name = "SYMBOL=QUANTITY@COST")]
    positions: Vec<Held>,
    /// A file that always holds the counts as JSON; it is replaced whole at each change.
    #[arg(long, value_name = "FILE")]
    stats: Option<PathBuf>,
    /// Where one line of JSON with the counts is sent to whoever connects.
    #[arg(long, value_name = "ADDR")]
    stats_listen: Option<SocketAddr>,
}

/// Why the stand-in cannot go on.
#[derive(Debug, thiserror::Error)]
enum BrokerError {
    #[error("the runtime cannot be started: {0}")]
    Runtime(io::Error),
    #[error("{at} cannot be listened on: {source}; choose another address")]
    Listen { at: SocketAddr, source: io::Error },
    #[error("{at}: no connection can be accepted: {source}")]
    Accept { at: SocketAddr, source: io::Error },
    #[error(transparent)]
    Stats(#[from] StatsError),
}

fn main() -> ExitCode {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::INFO)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .log_internal_errors(false)
        .init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(serve(args)),
        Err(error) => Err(BrokerError::Runtime(error)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(args: Args) -> Result<(), BrokerError> {
    let (listener, bound) = bind(args.listen).await?;
    // The counts are there before anybody is told where to connect.
    let stats = Arc::new(Stats::new(args.stats)?);
    say(&format!("listening on {bound}"));
    if let Some(at) = args.stats_listen {
        let (listener, bound) = bind(at).await?;
        say(&format!("stats on {bound}"));
        tokio::spawn(Arc::clone(&stats).answer(listener));
    }
    let broker = Arc::new(Broker {
        accounts: args.accounts,
        equity: args.equity,
        positions: args.positions,
        stats,
    });
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(session::run(Arc::clone(&broker), stream, peer));
            }
            Err(source) => return Err(BrokerError::Accept { at: bound, source }),
        }
    }
}

/// A listener, and the address it really has.
async fn bind(at: SocketAddr) -> Result<(TcpListener, SocketAddr), BrokerError> {
    let bound = async {
        let listener = TcpListener::bind(at).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bound.await.map_err(|source| BrokerError::Listen { at, source })
}

/// One line for whoever started this. Nobody may be reading any more: that is no reason to end.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
