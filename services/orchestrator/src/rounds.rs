//! The rounds: the scanner is asked on a schedule, what it finds is sized, what is decided is written down.
//!
//! Within trading hours a round comes every so often. Outside of them one comes when something changed (the
//! configuration, the session), so that a change shows its effect at any time; what it decides is marked as held.
//! A scanner that is away is no fault of ours: the next look asks again.

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lockstep_client::Client;
use scanner_api::{Contract, ScanResponse};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use trader_config::{ScannerAddress, Schedule};

use crate::clock::Clock;
use crate::config::Config;
use crate::decisions::{Decisions, Round};
use crate::scanner::{Away, Scanner};
use crate::schedule::{Hours, day, hours, opens};
use crate::session::{Account, LOOK_AGAIN, NoAccount, Up, changed};
use crate::sizing::{Decision, Facts, Frame, Money, Plan, Verdict, hold};

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

/// How the rounds go.
#[derive(Debug)]
pub(crate) struct Settings {
    /// How often there is one within trading hours.
    pub(crate) every: Duration,
    pub(crate) clock: Clock,
    /// Where decisions are written besides the log.
    pub(crate) decisions: Option<PathBuf>,
}

/// Goes round for ever.
pub(crate) async fn run(
    config: &Client<Config>,
    mut session: watch::Receiver<Option<Arc<Up>>>,
    mut changes: watch::Receiver<u64>,
    settings: Settings,
) -> Infallible {
    let Settings {
        every,
        clock,
        decisions,
    } = settings;
    let mut scanner = Scanner::default();
    let mut journal = Journal::new(decisions);
    let mut due = Instant::now();
    let mut seen = None;
    let mut closed = false;
    loop {
        let look = Instant::now() + LOOK_AGAIN;
        // What is due while trading is closed is not waited for: it may be long ago.
        let next = if closed { look } else { due.min(look) };
        tokio::select! {
            // It is time, or time to look whether something changed: the configuration's bell rings just before the
            // value is swapped, so a look right then may be too early.
            () = sleep_until(next) => {}
            // What changed shows at once, not a period later.
            () = changed(&mut changes) => {}
            // The session came, went, or tells other figures.
            () = changed(&mut session) => {}
        }
        let before = (Arc::clone(&config.current()), session.borrow().clone());
        let schedule = &before.0.view.schedule;
        closed = hours(schedule, clock.now()) == Hours::Closed;
        journal.waits(schedule, closed, &clock);
        let news = !seen.as_ref().is_some_and(|seen| same(seen, &before));
        if !news && (closed || Instant::now() < due) {
            continue;
        }
        due = Instant::now() + every;
        let address = before.0.view.scanner.clone();
        match round(&mut scanner, &address, config, &session, &mut journal, &clock).await {
            Ok(decided) => seen = Some(decided),
            Err(away) => journal.away(&address, &away.to_string()),
        }
    }
}

/// Asks and decides; what was decided with.
async fn round(
    scanner: &mut Scanner,
    address: &ScannerAddress,
    config: &Client<Config>,
    session: &watch::Receiver<Option<Arc<Up>>>,
    journal: &mut Journal,
    clock: &Clock,
) -> Result<Seen, Away> {
    let found = scanner.scan(address).await?;
    // One value for all that follows, taken after the waiting. What changes from here on is the next round's.
    let seen = (Arc::clone(&config.current()), session.borrow().clone());
    let Some(begun) = journal.begin(&seen.0, seen.1.as_deref(), &found, clock) else {
        return Ok(seen);
    };
    let mut chains = HashMap::new();
    for symbol in &begun.wanted {
        chains.insert(symbol.clone(), scanner.chain(address, symbol).await?);
    }
    journal.finish(&seen.0, begun, &found, &chains);
    Ok(seen)
}

/// A configuration and a session.
type Seen = (Arc<Config>, Option<Arc<Up>>);

fn same(one: &Seen, other: &Seen) -> bool {
    Arc::ptr_eq(&one.0, &other.0) && one.1 == other.1
}

/// A round whose candidates are known and whose contracts are not.
struct Begun<'a> {
    round: Round,
    /// Whether it is worth a line though nothing is decided.
    told: bool,
    account: &'a Account,
    money: Money,
    /// The symbols whose contracts are needed.
    wanted: Vec<String>,
}

/// What was decided and written down, so that only what is new is written.
struct Journal {
    file: Decisions,
    /// Why the scanner could not be asked; none while it answers.
    away: Option<String>,
    /// Why nothing was sized.
    unsized_because: Option<Unsized>,
    plan: Option<Plan>,
    /// Until when it was said that nothing is traded.
    closed_until: Option<jiff::Timestamp>,
}

impl Journal {
    fn new(file: Option<PathBuf>) -> Self {
        Self {
            file: Decisions::new(file),
            away: None,
            unsized_because: None,
            plan: None,
            closed_until: None,
        }
    }

    fn waits(&mut self, schedule: &Schedule, closed: bool, clock: &Clock) {
        let until = opens(schedule, clock.now()).filter(|_| closed);
        if let Some(until) = until.filter(|_| self.closed_until != until) {
            let local = schedule
                .zone()
                .map(|zone| until.to_zoned_datetime(zone).to_string());
            tracing::info!(
                until = local,
                "outside trading hours: the scanner is not asked on schedule"
            );
        }
        self.closed_until = until;
    }

    fn away(&mut self, address: &ScannerAddress, reason: &str) {
        if self.away.as_deref() != Some(reason) {
            let ScannerAddress { host, port } = address;
            tracing::warn!(reason, "the scanner at {host}:{port} does not answer");
            self.away = Some(reason.to_owned());
        }
    }

    fn begin<'a>(
        &mut self,
        config: &Config,
        up: Option<&'a Up>,
        found: &ScanResponse,
        clock: &Clock,
    ) -> Option<Begun<'a>> {
        let back = self.away.take().is_some();
        if back {
            tracing::info!("the scanner answers again");
        }
        let (account, money) = match sizable(config, up) {
            Ok(sizable) => sizable,
            Err(reason) => {
                if self.unsized_because.as_ref() != Some(&reason) {
                    tracing::warn!(%reason, "nothing is sized");
                    self.unsized_because = Some(reason);
                }
                return None;
            }
        };
        self.unsized_because = None;
        let (view, now) = (&config.view, clock.now());
        let day = day(&view.schedule, now)?;
        let frame = Frame {
            day,
            hold: hold(view, &account.name, hours(&view.schedule, now)),
            view: view.clone(),
            scanner_switch: found.switch,
            account: account.name.clone(),
        };
        let round = Round {
            at: now,
            day,
            switch: config.switch.map(|switch| switch.0),
            scanner_switch: found.switch,
            mode: view.trading.mode,
            account: account.name.clone(),
            held: frame.hold.map(|hold| hold.to_string()),
        };
        let known = self.plan.take().filter(|plan| plan.frame == frame);
        let anew = known.is_none();
        let plan = self.plan.insert(known.unwrap_or_else(|| Plan::new(frame)));
        let wanted = plan.wanted(&facts(money, account, found, &HashMap::new()));
        Some(Begun {
            round,
            told: anew || back,
            account,
            money,
            wanted,
        })
    }

    fn finish(
        &mut self,
        config: &Config,
        begun: Begun<'_>,
        found: &ScanResponse,
        chains: &HashMap<String, Vec<Contract>>,
    ) {
        let Begun {
            round,
            told,
            account,
            money,
            wanted: _,
        } = begun;
        let Some(plan) = &mut self.plan else { return };
        let decisions = plan.decide(&facts(money, account, found, chains));
        if !told && decisions.is_empty() {
            tracing::debug!(scanner_switch = found.switch, "nothing new");
            return;
        }
        tracing::info!(
            switch = round.switch,
            scanner_switch = round.scanner_switch,
            mode = ?round.mode,
            universe = found.universe,
            matches = found.matches.len(),
            entries = plan.entries(),
            held = round.held,
            "round"
        );
        decisions.iter().for_each(tell);
        self.file.write(&config.view.logging, &round, &decisions);
    }
}

fn facts<'a>(
    money: Money,
    account: &'a Account,
    found: &'a ScanResponse,
    chains: &'a HashMap<String, Vec<Contract>>,
) -> Facts<'a> {
    Facts {
        money,
        holdings: &account.holdings,
        found: &found.matches,
        sectors: &found.sectors,
        chains,
    }
}

/// The account that is traded, and its money.
fn sizable<'a>(config: &Config, up: Option<&'a Up>) -> Result<(&'a Account, Money), Unsized> {
    let account = up.ok_or(Unsized::NoSession)?.account(&config.view.ibkr.account)?;
    Ok((account, account.money.ok_or(Unsized::MoneyUnknown)?))
}

fn tell(decision: &Decision) {
    let Decision {
        symbol,
        strategy,
        verdict,
    } = decision;
    match verdict {
        Verdict::Enter(entry) => {
            let spread = &entry.spread;
            tracing::info!(
                symbol,
                strategy,
                contracts = entry.contracts,
                cost = entry.cost.round(),
                risk = entry.risk.round(),
                stop = (entry.stop * 100.0).round() / 100.0,
                spread = format!(
                    "{} days {} {}/{}",
                    spread.days, spread.right, spread.bought, spread.sold
                ),
                "would enter"
            );
        }
        Verdict::Skip(reason) => tracing::info!(symbol, strategy, %reason, "skipped"),
    }
}
