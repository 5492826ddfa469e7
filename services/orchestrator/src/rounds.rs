//! The rounds: the scanner is asked on a schedule, what it finds is sized, what is decided is written down.
//!
//! A scanner that is away is no fault of ours: the next round asks again.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use lockstep_client::Client;
use scanner_api::{ScanRequest, ScanResponse, ScannerClient};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tonic::transport::{Channel, Endpoint};
use trader_config::ScannerAddress;

use crate::config::Config;
use crate::hours::hours;
use crate::session::{NoAccount, Up, changed};
use crate::sizing::{Decision, Hold, Verdict, decide, hold};

/// How long a scan may take, the connection included.
const SCAN_LIMIT: Duration = Duration::from_secs(5);

/// Why the scanner gave no answer.
#[derive(Debug, thiserror::Error)]
enum Away {
    #[error("scanner.host is no host: {0}")]
    Address(tonic::transport::Error),
    #[error("{}: {}", .0.code(), .0.message())]
    Scan(tonic::Status),
}

/// Why nothing can be sized.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
enum Unsized {
    #[error("there is no session with the broker")]
    NoSession,
    #[error("ibkr.account: {0}")]
    Account(#[from] NoAccount),
    #[error("the broker does not tell the account's equity in USD")]
    MoneyUnknown,
}

/// Goes round for ever, every so often and whenever the configuration changed.
pub(crate) async fn run(
    config: &Client<Config>,
    session: watch::Receiver<Option<Arc<Up>>>,
    mut changes: watch::Receiver<u64>,
    every: Duration,
) -> Infallible {
    let mut scanner = Scanner::default();
    let mut journal = Journal::default();
    let mut next = Instant::now();
    loop {
        tokio::select! {
            // It is time.
            () = sleep_until(next) => {}
            // What changed shows at once, not a period later.
            () = changed(&mut changes) => {}
        }
        next = Instant::now() + every;
        let address = config.current().view.scanner.clone();
        let answer = match scanner.client(&address) {
            Ok(client) => client.scan(ScanRequest::default()).await.map_err(Away::Scan),
            Err(away) => Err(away),
        };
        match answer {
            Ok(found) => {
                // One value for the whole round, taken after the waiting.
                let config = config.current();
                let up = session.borrow().clone();
                journal.round(&config, up.as_deref(), found.get_ref());
            }
            Err(away) => journal.away(&address, &away.to_string()),
        }
    }
}

/// The connection to the scanner, made when first needed and anew when its address changes.
#[derive(Default)]
struct Scanner(Option<(ScannerAddress, ScannerClient<Channel>)>);

impl Scanner {
    fn client(&mut self, address: &ScannerAddress) -> Result<&mut ScannerClient<Channel>, Away> {
        let (_, client) = match self.0.take() {
            Some(known) if known.0 == *address => self.0.insert(known),
            Some(_) | None => {
                let ScannerAddress { host, port } = address;
                let endpoint =
                    Endpoint::from_shared(format!("http://{host}:{port}")).map_err(Away::Address)?;
                // The channel connects when it is used, again after each failure.
                let channel = endpoint
                    .connect_timeout(SCAN_LIMIT)
                    .timeout(SCAN_LIMIT)
                    .connect_lazy();
                self.0.insert((address.clone(), ScannerClient::new(channel)))
            }
        };
        Ok(client)
    }
}

/// What was written down last, so that only what is new is written.
#[derive(Default)]
struct Journal {
    /// Why the scanner could not be asked; none while it answers.
    away: Option<String>,
    decisions: Vec<Decision>,
    /// Why no entry was due.
    held: Option<Hold>,
    /// Why nothing was sized.
    unsized_because: Option<Unsized>,
}

impl Journal {
    fn away(&mut self, address: &ScannerAddress, reason: &str) {
        if self.away.as_deref() != Some(reason) {
            let ScannerAddress { host, port } = address;
            tracing::warn!(reason, "the scanner at {host}:{port} does not answer");
            self.away = Some(reason.to_owned());
        }
    }

    fn round(&mut self, config: &Config, up: Option<&Up>, found: &ScanResponse) {
        if self.away.take().is_some() {
            tracing::info!("the scanner answers again");
        }
        let money = match up {
            Some(up) => match up.account(&config.view.ibkr.account) {
                Ok(money) => money.ok_or(Unsized::MoneyUnknown),
                Err(reason) => Err(reason.into()),
            },
            None => Err(Unsized::NoSession),
        };
        let decisions = match money {
            Ok(money) => {
                self.unsized_because = None;
                decide(&config.view, money, &found.matches)
            }
            Err(reason) => {
                if self.unsized_because.as_ref() != Some(&reason) {
                    tracing::warn!(%reason, "nothing is sized");
                    self.unsized_because = Some(reason);
                }
                Vec::new()
            }
        };
        let held = hold(&config.view, hours(&config.view.schedule, jiff::Timestamp::now()));
        if decisions == self.decisions && held == self.held {
            tracing::debug!(scanner_switch = found.switch, "the same decisions");
            return;
        }
        let entries = decisions
            .iter()
            .filter(|decision| matches!(decision.verdict, Verdict::Enter { .. }))
            .count();
        tracing::info!(
            switch = config.switch.map(|switch| switch.0),
            scanner_switch = found.switch,
            universe = found.universe,
            matches = found.matches.len(),
            entries,
            held = held.map(tracing::field::display),
            "round"
        );
        for Decision {
            symbol,
            strategy,
            verdict,
        } in &decisions
        {
            match verdict {
                Verdict::Enter { contracts, cost } => {
                    tracing::info!(symbol, strategy, contracts, cost = cost.round(), "would enter");
                }
                Verdict::Skip(reason) => tracing::info!(symbol, strategy, %reason, "skipped"),
            }
        }
        self.decisions = decisions;
        self.held = held;
    }
}
