//! The scanner as a process on a hand-made volume, asked over real gRPC.
#![allow(clippy::unwrap_used, reason = "in a test the place says enough")]

mod support;

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use lockstep_protocol::StatusState;
use scanner_api::{ScanRequest, ScanResponse, ScannerClient, Strategy};
use support::{Process, Service, Volume, until};
use tonic::Code;

const SCANNER: &str = env!("CARGO_BIN_EXE_scanner");

fn start(volume: &Volume) -> (Service, String) {
    let scanner = volume.start("scanner", SCANNER, &["--listen", "127.0.0.1:0"]);
    let address = scanner.process.line_with("listening on ");
    (scanner, format!("http://{address}"))
}

async fn scan(address: &str, strategies: &[Strategy]) -> ScanResponse {
    let mut client = ScannerClient::connect(address.to_owned()).await.unwrap();
    let strategies = strategies.iter().map(|strategy| (*strategy).into()).collect();
    client
        .scan(ScanRequest { strategies })
        .await
        .unwrap()
        .into_inner()
}

#[tokio::test]
async fn a_changed_value_changes_what_a_scan_finds_without_a_restart() {
    let mut volume = Volume::with("[strategy.high_base]\nmin_rsi = 60\n");
    let (mut scanner, address) = start(&volume);
    scanner.applied(lockstep_protocol::SwitchNumber(1));
    let before = scan(&address, &[Strategy::HighBase]).await;
    assert_eq!((before.switch, before.universe), (Some(1), 26));

    let second = volume.switch_to("[strategy.high_base]\nmin_rsi = 75\n");
    scanner.applied(second);
    let after = scan(&address, &[Strategy::HighBase]).await;
    assert_eq!(after.switch, Some(2));
    assert_ne!(after.revision, before.revision);
    assert!(after.matches.len() < before.matches.len(), "{after:?}");
    assert!(after.matches.iter().all(|found| found.rsi >= 75.0), "{after:?}");
    assert!(scanner.process.is_running());
    assert_eq!(scanner.process.count("listening on"), 1);
}

#[tokio::test]
async fn the_reload_signal_does_no_harm_and_is_answered() {
    let mut volume = Volume::with("");
    let (mut scanner, _) = start(&volume);
    let second = volume.switch_to("[strategy.high_base]\nmin_rsi = 75\n");
    scanner.process.signal("USR1");
    scanner.applied(second);
    assert!(scanner.process.is_running());
}

#[tokio::test]
async fn a_symbol_without_bars_is_refused_and_the_old_values_stay() {
    let mut volume = Volume::with("");
    let (scanner, address) = start(&volume);
    let second = volume.switch_to("[universe]\nsymbols = [\"AAPL\", \"ZZZZ\"]\n");
    let status = scanner.attempted(second);
    assert_eq!(status.state, StatusState::Rejected);
    assert_eq!(status.switch.map(|switch| switch.0), Some(1));
    let error = status.error.unwrap();
    assert!(
        error
            .message
            .starts_with("universe.symbols: no daily bars for ZZZZ"),
        "{error}"
    );
    assert_eq!(
        (error.path.as_deref(), error.line, error.column),
        (Some("config.toml"), Some(2), Some(11))
    );
    assert_eq!(scan(&address, &[]).await.switch, Some(1));
}

#[tokio::test]
async fn an_offer_is_answered_without_touching_what_runs() {
    let volume = Volume::with("");
    let (scanner, address) = start(&volume);
    let good = volume.offer(&scanner, "1", "[universe]\nsymbols = [\"KO\"]\n");
    assert!(good.accept, "{:?}", good.error);
    let bad = volume.offer(&scanner, "2", "[universe]\nsymbols = [\"ZZZZ\"]\n");
    assert!(!bad.accept);
    assert!(bad.error.unwrap().message.contains("ZZZZ"));
    assert_eq!(scan(&address, &[]).await.universe, 26);
}

#[tokio::test]
async fn a_port_that_changes_is_accepted_and_taken_at_the_next_start() {
    let mut volume = Volume::with("");
    let (scanner, address) = start(&volume);
    scanner.applied(volume.switch_to("[scanner]\nport = 50099\n"));
    scanner
        .process
        .line_with("scanner.port and data.cache_dir are taken at the next start");
    assert_eq!(scan(&address, &[]).await.switch, Some(2));
}

#[tokio::test]
async fn without_a_listen_address_the_port_is_that_of_the_configuration() {
    let port = support::port();
    let volume = Volume::with(&format!("scanner.port = {port}\n"));
    let scanner = volume.start("scanner", SCANNER, &[]);
    assert_eq!(
        scanner.process.line_with("listening on "),
        format!("127.0.0.1:{port}")
    );
}

#[tokio::test]
async fn an_unknown_strategy_is_an_invalid_argument() {
    let volume = Volume::with("");
    let (_scanner, address) = start(&volume);
    let mut client = ScannerClient::connect(address).await.unwrap();
    let error = client
        .scan(ScanRequest { strategies: vec![9] })
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_term_signal_ends_it_cleanly_though_a_client_is_connected() {
    let volume = Volume::with("");
    let (mut scanner, address) = start(&volume);
    let mut client = ScannerClient::connect(address).await.unwrap();
    client.scan(ScanRequest::default()).await.unwrap();
    scanner.process.signal("TERM");
    assert!(scanner.process.ended().success());
}

#[test]
fn a_closed_standard_output_ends_nothing() {
    let mut volume = Volume::with("");
    // The pipe breaks after the first line.
    let script = "\"$0\" --listen 127.0.0.1:0 | head -n 1";
    let mut shell = volume.start("scanner", "sh", &["-c", script, SCANNER]);
    shell.process.line_with("INFO");
    let scanner = until("the scanner below the shell", || {
        child_named(shell.process.pid(), "scanner")
    });
    until("the end of head", || {
        child_named(shell.process.pid(), "head").is_none().then_some(())
    });
    // Each of these makes it write a line.
    for min_rsi in [61, 62, 63] {
        shell.applied(volume.switch_to(&format!("[strategy.high_base]\nmin_rsi = {min_rsi}\n")));
    }
    assert!(
        Command::new("kill")
            .arg(scanner.to_string())
            .status()
            .unwrap()
            .success()
    );
    shell.process.ended();
}

fn child_named(parent: u32, name: &str) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    children
        .split(' ')
        .filter_map(|pid| pid.parse().ok())
        .find(|pid: &u32| {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)
        })
}

#[test]
fn it_serves_within_a_moment() {
    let volume = Volume::with("");
    let begun = Instant::now();
    let (_scanner, _) = start(&volume);
    // The figure promised is 300 ms; tests of other packages may be running beside this one.
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

fn check(text: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    std::fs::write(&file, text).unwrap();
    let output = Command::new(SCANNER).arg("--check").arg(&file).output().unwrap();
    assert!(output.stdout.is_empty());
    let shown = String::from_utf8(output.stderr)
        .unwrap()
        .replace(&file.display().to_string(), "FILE");
    Output {
        stderr: shown.into_bytes(),
        ..output
    }
}

#[test]
fn a_check_names_every_mistake_with_its_place() {
    let good = check(include_str!("../../../config-repo-template/config/config.toml"));
    assert_eq!((good.status.code(), good.stderr.len()), (Some(0), 0));

    let bad = check("[strategy.low_base]\nmax_rsi = 101\nmin_atr_ratio = -1\n");
    assert_eq!(bad.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(bad.stderr).unwrap(),
        "FILE:2:11: strategy.low_base.max_rsi: 101 is too high: at most 100 RSI is expected\n\
         FILE:3:17: strategy.low_base.min_atr_ratio: -1 is too low: at least 0 % of price is expected\n"
    );
    let unknown = check("universe.symbols = [\"ZZZZ\"]\n");
    assert_eq!(unknown.status.code(), Some(1));

    let missing = Command::new(SCANNER)
        .args(["--check", "/nowhere/config.toml"])
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8(missing.stderr).unwrap().contains("/nowhere"));
}

#[test]
fn without_any_configuration_it_says_what_to_do() {
    let mut command = Command::new(SCANNER);
    command.env_remove("LOCKSTEP_CONFIG").env_remove("CONFIG_PATH");
    let mut scanner = Process::start(command);
    assert_eq!(scanner.ended().code(), Some(1));
    scanner.line_with("CONFIG_PATH");
}
