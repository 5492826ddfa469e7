//! Every key that the scanner reads, changed while it runs: what it answers changes as the key's description says.
#![allow(clippy::unwrap_used, reason = "in a test the place says enough")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use scanner_api::{ChainRequest, ScanRequest, ScanResponse, ScannerClient, Strategy};
use support::{Service, Volume};
use tonic::transport::Channel;
use tonic::{Code, Request};

/// Far above what anything here takes, for machines under load.
const PATIENCE: Duration = Duration::from_secs(20);

const SCANNER: &str = env!("CARGO_BIN_EXE_scanner");

/// A scanner that is never restarted, and a client that stays connected to it.
struct Running {
    volume: Volume,
    scanner: Service,
    client: ScannerClient<Channel>,
}

impl Running {
    async fn with(config: &str) -> Self {
        let volume = Volume::with(config);
        let scanner = volume.start("scanner", SCANNER, &["--listen", "127.0.0.1:0"]);
        let address = scanner.process.line_with("listening on ");
        let client = ScannerClient::connect(format!("http://{address}")).await.unwrap();
        Self {
            volume,
            scanner,
            client,
        }
    }

    fn take(&mut self, config: &str) {
        let switch = self.volume.switch_to(config);
        self.scanner.applied(switch);
        assert_eq!(
            self.scanner.process.count("listening on"),
            1,
            "it was not restarted"
        );
    }

    async fn scan(&mut self, strategies: &[Strategy]) -> ScanResponse {
        let strategies = strategies.iter().map(|strategy| (*strategy).into()).collect();
        let answer = self.client.scan(ScanRequest { strategies }).await;
        answer.unwrap().into_inner()
    }

    async fn found(&mut self, strategy: Strategy) -> BTreeSet<String> {
        let found = self.scan(&[strategy]).await.matches;
        found.into_iter().map(|found| found.symbol).collect()
    }

    async fn universe(&mut self) -> u32 {
        self.scan(&[]).await.universe
    }

    /// Asks for scans until one shows it.
    async fn until(&mut self, what: &str, so: impl Fn(&ScanResponse, &Service) -> bool) {
        let begun = Instant::now();
        loop {
            let scan = self.scan(&[]).await;
            if so(&scan, &self.scanner) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "in vain: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn each_key_of_a_strategy_changes_what_it_finds() {
    // Each begins with a value that finds something; the stricter one finds a part of that, or another selection.
    let part = |before: &BTreeSet<String>, after: &BTreeSet<String>| {
        after.len() < before.len() && after.is_subset(before)
    };
    let other = |before: &BTreeSet<String>, after: &BTreeSet<String>| before != after;
    type Judge = fn(&BTreeSet<String>, &BTreeSet<String>) -> bool;
    let keys: [(&str, Strategy, &str, &str, Judge); 10] = [
        ("high_base.min_rsi", Strategy::HighBase, "60", "75", part),
        ("high_base.max_atr_ratio", Strategy::HighBase, "2.0", "0.9", part),
        ("low_base.max_rsi", Strategy::LowBase, "40", "20", part),
        ("low_base.min_atr_ratio", Strategy::LowBase, "0.5", "3.0", part),
        (
            "bull_pullback.rsi_threshold",
            Strategy::BullPullback,
            "45",
            "20",
            part,
        ),
        (
            "bull_pullback.recovery_periods",
            Strategy::BullPullback,
            "2",
            "15",
            other,
        ),
        (
            "bull_pullback.uptrend_periods",
            Strategy::BullPullback,
            "20",
            "3",
            other,
        ),
        ("bear_rally.rsi_threshold", Strategy::BearRally, "55", "90", part),
        (
            "bear_rally.reversal_periods",
            Strategy::BearRally,
            "2",
            "15",
            other,
        ),
        (
            "bear_rally.downtrend_periods",
            Strategy::BearRally,
            "20",
            "3",
            other,
        ),
    ];
    let mut running = Running::with("").await;
    for (key, strategy, value, stricter, judge) in keys {
        running.take(&format!("strategy.{key} = {value}\n"));
        let before = running.found(strategy).await;
        running.take(&format!("strategy.{key} = {stricter}\n"));
        let after = running.found(strategy).await;
        assert!(judge(&before, &after), "{key}: {before:?} then {after:?}");
        running.take(&format!("strategy.{key} = {value}\n"));
        assert_eq!(running.found(strategy).await, before, "{key} taken back");
    }
}

#[tokio::test]
async fn each_key_of_the_universe_changes_who_is_looked_at() {
    let mut running = Running::with("").await;
    assert_eq!(running.universe().await, 26);
    for (change, left) in [
        ("symbols = [\"KO\", \"PG\"]", 2),
        ("min_market_cap = 1e12", 7),
        ("min_price = 300", 10),
        ("min_volume = 20_000_000", 10),
    ] {
        running.take(&format!("universe.{change}\n"));
        assert_eq!(running.universe().await, left, "{change}");
    }
    running.take("");
    assert_eq!(running.universe().await, 26);
}

/// A folder of market data, made by the scanner's own generator.
fn data(seed: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new(SCANNER)
        .arg("--make-data")
        .arg(folder.path())
        .args(["--seed", seed])
        .status()
        .unwrap();
    assert!(made.success());
    folder
}

fn put(folder: &Path, name: &str, text: &str) {
    let staged = folder.join("new");
    std::fs::write(&staged, text).unwrap();
    std::fs::rename(&staged, folder.join(name)).unwrap();
}

#[tokio::test]
async fn the_universe_is_kept_for_its_time() {
    let folder = data("0");
    let config = |expiry: u32| {
        let folder = folder.path();
        format!("[data]\ncache_dir = {folder:?}\nuniverse_cache_expiry = {expiry}\n")
    };
    let mut running = Running::with(&config(604_800)).await;
    assert_eq!(running.universe().await, 26);
    // The day after, nobody wants KO any more.
    let file = "KO.daily.csv";
    let text = std::fs::read_to_string(folder.path().join(file)).unwrap();
    let quiet = |line: &str| match line.rsplit_once(',') {
        Some((rest, volume)) if volume != "volume" => format!("{rest},1\n"),
        Some(_) | None => format!("{line}\n"),
    };
    put(folder.path(), file, &text.lines().map(quiet).collect::<String>());
    assert_eq!(running.universe().await, 26);
    running.take(&config(1));
    running
        .until("a universe without KO", |scan, _| scan.universe == 25)
        .await;
    // What is damaged later is not believed.
    put(folder.path(), file, "begun,open\n");
    let told = |_: &ScanResponse, scanner: &Service| scanner.process.count("market data: ") > 0;
    running.until("a word about the damage", told).await;
    let line = running.scanner.process.line_with("market data: ");
    assert!(line.contains("KO.daily.csv: line 1: the heading"), "{line}");
    assert_eq!(running.universe().await, 25);
}

#[tokio::test]
async fn prices_and_contracts_are_kept_for_their_time() {
    let folder = data("0");
    let config = |minutes: u32, options: u32| {
        format!(
            "[strategy.high_base]\nmin_rsi = 0\nmax_atr_ratio = 100\n\
             [data]\ncache_dir = {:?}\nminute_data_cache_expiry = {minutes}\noptions_cache_expiry = {options}\n",
            folder.path()
        )
    };
    let mut running = Running::with(&config(604_800, 604_800)).await;
    let first = running.scan(&[]).await.matches[0].clone();
    let symbol = first.symbol;
    let contracts = |running: &mut Running| {
        let symbol = symbol.clone();
        let mut client = running.client.clone();
        async move {
            client
                .chain(ChainRequest { symbol })
                .await
                .unwrap()
                .into_inner()
                .contracts
        }
    };
    assert_eq!(contracts(&mut running).await.len(), 500);

    let minutes = "begun,open,high,low,close,volume\n2026-07-02T09:30:00,777,777,777,777,1\n";
    put(folder.path(), &format!("{symbol}.minute.csv"), minutes);
    let options = "days,right,strike,delta,bid,ask\n35,call,700,0.4,3.10,3.20\n";
    put(folder.path(), &format!("{symbol}.options.csv"), options);
    assert_eq!(running.scan(&[]).await.matches[0].price, first.price);
    assert_eq!(contracts(&mut running).await.len(), 500);

    running.take(&config(1, 604_800));
    running
        .until("the new price", |scan, _| scan.matches[0].price == 777.0)
        .await;
    assert_eq!(
        contracts(&mut running).await.len(),
        500,
        "contracts have a time of their own"
    );
    running.take(&config(1, 1));
    let begun = Instant::now();
    while contracts(&mut running).await.len() != 1 {
        assert!(begun.elapsed() < PATIENCE, "in vain: the new contracts");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_data_folder_is_taken_at_the_start_and_judged_before() {
    let (one, other) = (data("0"), data("7"));
    let config = |folder: &Path, symbol: &str| {
        format!("[data]\ncache_dir = {folder:?}\n[universe]\nsymbols = [\"AAPL\", {symbol:?}]\n")
    };
    put(
        other.path(),
        "listings.csv",
        "symbol,sector,market_cap\nNEW,Media,2e10\n",
    );
    std::fs::copy(
        other.path().join("KO.daily.csv"),
        other.path().join("NEW.daily.csv"),
    )
    .unwrap();
    let mut running = Running::with(&config(one.path(), "KO")).await;
    let all = running.scan(&[]).await;
    // The symbol is known in the new folder alone: a scanner that is restarted will find it.
    running.take(&config(other.path(), "NEW"));
    running
        .scanner
        .process
        .line_with("scanner.port and data.cache_dir are taken at the next start");
    assert_eq!(running.universe().await, 1, "AAPL of the folder that was taken");
    let restarted = Running::with(&config(other.path(), "NEW")).await.scan(&[]).await;
    assert_eq!((all.universe, restarted.universe), (2, 2));
    assert!(restarted.sectors.contains_key("NEW"));
}

/// Five shares with so many days of trading that a scan takes a while.
fn slow_data() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let first: jiff::civil::Date = "1970-01-01".parse().unwrap();
    let mut text = "begun,open,high,low,close,volume\n".to_owned();
    for day in 0..20_000_i64 {
        let begun = first.saturating_add(jiff::Span::new().days(day));
        let close = 100 + day % 7;
        text.push_str(&format!("{begun},{close},{close},{close},{close},5000000\n"));
    }
    let mut listings = "symbol,sector,market_cap\n".to_owned();
    for symbol in ["OLDA", "OLDB", "OLDC", "OLDD", "OLDE"] {
        put(folder.path(), &format!("{symbol}.daily.csv"), &text);
        listings.push_str(&format!("{symbol},Media,2e10\n"));
    }
    put(folder.path(), "listings.csv", &listings);
    folder
}

/// So many scans at one time; how many were refused for want of a place.
async fn refused(running: &Running, scans: usize) -> usize {
    let scans: Vec<_> = (0..scans)
        .map(|_| {
            let mut client = running.client.clone();
            tokio::spawn(async move { client.scan(ScanRequest::default()).await })
        })
        .collect();
    let mut refused = 0;
    for scan in scans {
        match scan.await.unwrap() {
            Ok(answer) => assert_eq!(answer.get_ref().universe, 5),
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                assert!(status.message().contains("scanner.max_concurrency"), "{status}");
                refused += 1;
            }
        }
    }
    refused
}

#[tokio::test]
async fn more_scans_than_may_run_and_wait_are_refused() {
    let folder = slow_data();
    let config = |most: u32| {
        format!(
            "[data]\ncache_dir = {:?}\n[scanner]\nmax_concurrency = {most}\n\
             [universe]\nsymbols = [\"OLDA\", \"OLDB\", \"OLDC\", \"OLDD\", \"OLDE\"]\n",
            folder.path()
        )
    };
    let mut running = Running::with(&config(1)).await;
    // Read before, so that the scans below all take the same time.
    assert_eq!(running.universe().await, 5);
    let few = refused(&running, 30).await;
    assert!(few > 0, "one at work and one that waits are not thirty");
    running.take(&config(15));
    assert_eq!(
        refused(&running, 30).await,
        0,
        "fifteen at work and as many who wait are thirty"
    );
    running.take(&config(1));
    assert!(refused(&running, 30).await > 0);

    // Who waits no longer than its deadline is told so, by whichever side notices first.
    let mut busy = running.client.clone();
    let busy = tokio::spawn(async move { busy.scan(ScanRequest::default()).await });
    let mut hasty = Request::new(ScanRequest::default());
    hasty.set_timeout(Duration::from_millis(1));
    let status = running.client.scan(hasty).await.unwrap_err();
    let codes = [Code::Cancelled, Code::DeadlineExceeded, Code::ResourceExhausted];
    assert!(codes.contains(&status.code()), "{status}");
    let _ = busy.await.unwrap();
    assert_eq!(running.universe().await, 5, "nobody holds a place any more");
}

#[tokio::test]
async fn contracts_are_told_of_the_universe_alone() {
    let mut running = Running::with("universe.symbols = [\"KO\"]\n").await;
    let mut ask = async |symbol: &str| {
        let symbol = symbol.to_owned();
        running.client.chain(ChainRequest { symbol }).await
    };
    assert!(!ask("KO").await.unwrap().into_inner().contracts.is_empty());
    for unknown in ["PG", "../KO", ""] {
        assert_eq!(
            ask(unknown).await.unwrap_err().code(),
            Code::NotFound,
            "{unknown:?}"
        );
    }
}

#[test]
fn data_that_cannot_be_made_is_told() {
    let output = Command::new(SCANNER)
        .args(["--make-data", "/dev/null/data"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("/dev/null/data")
    );
}

#[test]
fn a_seed_makes_a_market_of_its_own() {
    let read =
        |folder: &tempfile::TempDir| std::fs::read_to_string(folder.path().join("KO.daily.csv")).unwrap();
    assert_ne!(read(&data("1")), read(&data("2")));
    assert_eq!(read(&data("1")), read(&data("1")));
}
