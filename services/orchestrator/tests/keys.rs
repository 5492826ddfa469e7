//! Every key that the orchestrator reads, changed while it runs: what it decides or does changes as the key's
//! description says, and the broker sees one session that is never dropped.
#![allow(clippy::unwrap_used, reason = "in a test the place says enough")]

#[path = "../../scanner/tests/support/mod.rs"]
mod support;

mod stack;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stack::{Broker, Scanner, Stack, stays};
use support::until;

/// The decision about the first candidate that would be entered.
fn entry(decisions: &[Value]) -> Option<&Value> {
    decisions.iter().find(|line| line["decision"] == "enter")
}

fn entries(decisions: &[Value]) -> usize {
    decisions
        .iter()
        .filter(|line| line["decision"] == "enter")
        .count()
}

fn reasons(decisions: &[Value]) -> String {
    let reasons: Vec<&str> = decisions
        .iter()
        .filter_map(|line| line["reason"].as_str())
        .collect();
    reasons.join("\n")
}

fn number(of: &Value, key: &str) -> f64 {
    of[key].as_f64().unwrap_or_else(|| panic!("{key} in {of}"))
}

/// A value, another one, and what must have changed from the decisions with the one to those with the other.
type Case = (
    &'static str,
    &'static str,
    &'static str,
    fn(&[Value], &[Value]) -> bool,
);

fn check(stack: &mut Stack, cases: &[Case]) {
    for (key, one, other, judge) in cases {
        let before = stack.decide(&format!("{key} = {one}"));
        let after = stack.decide(&format!("{key} = {other}"));
        assert!(judge(&before, &after), "{key}: {before:#?}\nthen {after:#?}");
    }
    stack.assert_untouched();
}

#[test]
fn each_limit_of_trading_changes_what_is_decided() {
    let mut stack = Stack::start(&["--position", "XOM=100@600", "--position", "KO=10@60"]);
    check(
        &mut stack,
        &[
            ("trading.risk_per_trade", "0.01", "0.02", |before, after| {
                let contracts = |all| number(entry(all).unwrap(), "contracts");
                contracts(before) < contracts(after)
            }),
            ("trading.max_contracts_per_trade", "10", "1", |before, after| {
                let contracts = |all| number(entry(all).unwrap(), "contracts");
                contracts(before) > 1.0 && contracts(after) == 1.0
            }),
            (
                "trading.price_improvement_factor",
                "0.0",
                "1.0",
                |before, after| {
                    let cost = |all| number(&entry(all).unwrap()["spread"], "cost");
                    cost(before) < cost(after)
                },
            ),
            ("trading.stop_loss_atr_mult", "2.0", "0.5", |before, after| {
                let stop = |all| number(entry(all).unwrap(), "stop");
                // The first candidate is a bullish one, whose stop comes nearer from below.
                stop(before) < stop(after)
            }),
            // Two positions are held.
            ("trading.max_positions", "5", "3", |before, after| {
                (entries(before), entries(after)) == (3, 1)
                    && reasons(after).contains("3 positions are the limit")
            }),
            ("trading.max_daily_trades", "3", "2", |before, after| {
                (entries(before), entries(after)) == (3, 2)
                    && reasons(after).contains("2 entries a day are the limit")
            }),
            ("trading.max_sector_exposure", "0.3", "0.001", |before, after| {
                entries(before) == 3 && entries(after) == 0 && reasons(after).contains("the sector ")
            }),
            ("trading.min_buying_power", "5000", "500000", |before, after| {
                entries(before) == 3 && reasons(after).contains("is below 500000 USD")
            }),
        ],
    );
}

#[test]
fn each_limit_of_the_options_changes_the_spread() {
    let mut stack = Stack::start(&[]);
    check(
        &mut stack,
        &[
            ("options.min_dte", "30", "40", |before, after| {
                let days = |all| number(&entry(all).unwrap()["spread"], "days");
                days(before) < 40.0 && days(after) == 42.0
            }),
            ("options.max_dte", "45", "31", |before, after| {
                entries(before) == 3 && reasons(after).contains("no contract within 30 to 31 days")
            }),
            ("options.min_delta", "0.30", "0.46", |before, after| {
                let bought = |all| number(&entry(all).unwrap()["spread"], "bought");
                // The first candidate is bullish: a greater delta is a lower strike of a call.
                bought(before) > bought(after)
            }),
            ("options.max_delta", "0.50", "0.34", |before, after| {
                let bought = |all| number(&entry(all).unwrap()["spread"], "bought");
                bought(before) < bought(after)
            }),
            ("options.max_spread_cost", "500", "100", |before, after| {
                let cost = |all: &[Value]| entry(all).map_or(0.0, |entry| number(&entry["spread"], "cost"));
                cost(before) > 100.0 && cost(after) <= 100.0
            }),
            ("options.min_reward_risk", "1.5", "20", |before, after| {
                entries(before) == 3 && reasons(after).contains("below 20")
            }),
        ],
    );
}

#[test]
fn each_key_of_the_schedule_decides_when_entries_wait() {
    // Eleven in the morning of a Wednesday in New York.
    let mut stack = Stack::start(&[]);
    let held = |decisions: Vec<Value>| decisions[0]["held"].as_str().map(str::to_owned);
    let closed = Some("outside trading hours".to_owned());
    assert_eq!(held(stack.decide("")), None);
    for change in [
        "schedule.trading_start = \"11:30\"",
        "schedule.trading_end = \"10:30\"",
        // There it is midnight.
        "schedule.timezone = \"Asia/Tokyo\"",
    ] {
        assert_eq!(held(stack.decide(change)), closed, "{change}");
    }
    let line = stack
        .orchestrator
        .process
        .line_with("the scanner is not asked on schedule until=");
    assert!(
        line.contains("2026-07-01T11:30:00-04:00[America/New_York]"),
        "{line}"
    );
    // The last hour is late, and that matters to whom it is forbidden.
    let late = "schedule.trading_end = \"11:45\"";
    assert_eq!(held(stack.decide(late)), None);
    let forbidden = stack.decide(&format!("{late}\ntrading.allow_late_day_entry = false"));
    assert_eq!(held(forbidden), Some("too late in the day".to_owned()));
    stack.assert_untouched();

    let mut saturday = Stack::start_at("2026-07-04T15:00:00Z", &[]);
    assert_eq!(held(saturday.decide("")), closed);
    assert_eq!(held(saturday.decide("schedule.weekend_trading = true")), None);
    saturday.assert_untouched();
}

#[test]
fn outside_trading_hours_the_scanner_is_asked_only_when_something_changed() {
    let mut stack = Stack::start_at("2026-07-04T15:00:00Z", &[]);
    let scans = |stack: &Stack| stack.scanner.service.process.count(" scanned ");
    stack.scanner.take("logging.level = \"DEBUG\"");
    stack.decide("");
    let before = scans(&stack);
    // In that time several rounds would be due.
    stack.broker.hears(20);
    assert_eq!(scans(&stack), before);
    stack.decide("trading.max_positions = 4");
    assert!(scans(&stack) > before);
}

#[test]
fn leave_to_trade_and_the_mode_decide_whether_entries_wait() {
    let mut stack = Stack::start_on_live_port(&["--account", "DU1", "--account", "U2"]);
    let held = |decisions: Vec<Value>| decisions[0]["held"].as_str().map(str::to_owned);
    let mut with = |change: &str| stack.decide(change);
    assert_eq!(held(with("ibkr.account = \"DU1\"")), None);
    let reader = with("ibkr.account = \"DU1\"\nibkr.read_only = true");
    assert_eq!(held(reader), Some("the session is read only".to_owned()));
    let real = with("ibkr.account = \"U2\"");
    assert_eq!(real[0]["account"], "U2");
    assert_eq!(
        held(real),
        Some("trading.mode is PAPER and the account is a real one".to_owned())
    );
    let live = with("ibkr.account = \"U2\"\ntrading.mode = \"LIVE\"");
    assert_eq!(
        (&live[0]["mode"], &live[0]["held"]),
        (&json!("LIVE"), &Value::Null)
    );
    let paper = with("ibkr.account = \"DU1\"\ntrading.mode = \"LIVE\"");
    assert_eq!(
        held(paper),
        Some("trading.mode is LIVE and the account is one of paper".to_owned())
    );
    stack.assert_untouched();
}

#[test]
fn requests_keep_to_the_rate_that_is_configured_now() {
    let mut stack = Stack::start(&[]);
    // As many heartbeats as the rate allows: they follow each other at once.
    let mut seconds_for = |requests: u64, rate: u32| {
        stack.take(&format!("ibkr.max_rate = {rate}"));
        // The request after the change is the first that the new rate has spaced.
        stack.broker.hears(2);
        let begun = Instant::now();
        stack.broker.hears(requests);
        begun.elapsed().as_secs_f64()
    };
    // What is seen first may be up to one gap old.
    assert!(seconds_for(10, 5) >= 9.0 / 5.0 - 0.05);
    // Four requests need 4 s at 1 a second, less than that at 50 whatever else the machine does.
    assert!(seconds_for(4, 50) < 2.0);
    stack.assert_untouched();
}

#[test]
fn a_silent_broker_is_given_up_after_the_time_that_is_configured_now() {
    let mut stack = Stack::start(&[]);
    stack.take("ibkr.timeout = 300");
    stack.broker.hears(1);
    stack.take("ibkr.timeout = 5");
    // The request that may be under way still has its 300 s: it is answered before.
    stack.broker.hears(2);
    let begun = Instant::now();
    stack.broker.process.signal("STOP");
    stack
        .orchestrator
        .process
        .line_with("no answer within 5 s (ibkr.timeout)");
    assert!(
        begun.elapsed() >= Duration::from_millis(4900),
        "{:?}",
        begun.elapsed()
    );
    stack.broker.process.signal("CONT");
    stack.orchestrator.process.line_with("session 2 up");
}

#[test]
fn the_scanner_is_found_where_the_configuration_says() {
    let mut stack = Stack::start(&[]);
    let elsewhere = Scanner::start("127.0.0.2");
    let scans = |scanner: &Scanner| scanner.service.process.count(" scanned ");
    elsewhere.wait_ready();
    let port = elsewhere.port;
    let switch = stack
        .volume
        .switch_to(&stack.config_with(&format!("scanner.host = \"127.0.0.2\"\nscanner.port = {port}")));
    stack.orchestrator.process.signal("USR1");
    stack.orchestrator.applied(switch);
    until("a scan of the other scanner", || {
        (scans(&elsewhere) > 0).then_some(())
    });
    stack.assert_untouched();
}

#[test]
fn each_key_of_the_log_is_taken_while_running() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trader.orchestrator.log");
    let size = |name: &str| std::fs::metadata(folder.path().join(name)).map_or(0, |file| file.len());
    let full = || std::fs::write(&file, vec![b'\n'; 2_000_000]).unwrap();
    let mut stack = Stack::start(&[]);
    let heartbeats = |stack: &Stack| stack.orchestrator.process.count(" heartbeat ");

    stack.broker.hears(2);
    assert_eq!(heartbeats(&stack), 0);
    stack.take("logging.level = \"DEBUG\"");
    until("a line that only a debug log has", || {
        (heartbeats(&stack) > 0).then_some(())
    });

    stack.take("logging.format = \"json\"");
    stack.orchestrator.process.line_with("\"message\":\"round\"");

    let logging = |more: &str| format!("logging.file = {:?}\n{more}", folder.path().join("trader.log"));
    stack.take(&logging(""));
    assert!(size("trader.orchestrator.log") > 0);
    full();
    stack.take(&logging("logging.max_size_mb = 3\nlogging.backup_count = 2"));
    assert_eq!(size("trader.orchestrator.log.1"), 0, "it fits");
    stack.take(&logging("logging.max_size_mb = 1\nlogging.backup_count = 2"));
    until("a file set aside", || {
        (size("trader.orchestrator.log.1") >= 2_000_000).then_some(())
    });
    full();
    stack.take(&logging(
        "logging.max_size_mb = 1\nlogging.backup_count = 2\nlogging.level = \"INFO\"",
    ));
    until("a second one", || {
        (size("trader.orchestrator.log.2") >= 2_000_000).then_some(())
    });
    // With no backups the full file is gone.
    full();
    stack.take(&logging("logging.max_size_mb = 1\nlogging.backup_count = 0"));
    until("a file begun anew", || {
        (size("trader.orchestrator.log") < 1_000_000).then_some(())
    });
    assert_eq!(size("trader.orchestrator.log.3"), 0);
    stack.assert_untouched();
}

#[test]
fn reconnecting_is_switched_off_and_on_while_running() {
    let mut stack = Stack::start_at_lasting_port();
    stack.take("ibkr.auto_reconnect = false");
    let port = stack.broker.port;
    stack.broker = Broker::none();
    stack
        .orchestrator
        .process
        .line_with("no session until [ibkr] changes");
    stack.broker = Broker::start(&format!("127.0.0.1:{port}"), &[]);
    // Twice the time after which it would be back by itself.
    let alone = || stack.broker.stats()["connections_total"] == 0;
    stays("nobody comes by itself", Duration::from_millis(1100), alone);
    stack.take("ibkr.auto_reconnect = true");
    stack.orchestrator.process.line_with("session 2 up");
}

#[test]
fn decisions_name_the_switches_and_the_account() {
    let mut stack = Stack::start(&[]);
    let decisions = stack.decide("trading.max_positions = 4");
    let first = entry(&decisions).unwrap();
    assert_eq!(first["day"], "2026-07-01");
    assert_eq!(
        (&first["mode"], &first["account"]),
        (&json!("PAPER"), &json!("DU1234567"))
    );
    assert_eq!(
        (&first["switch"], &first["scanner_switch"]),
        (&json!(2), &json!(1))
    );
    assert!(
        first["at"].as_str().unwrap().starts_with("2026-07-01T15:0"),
        "{first}"
    );
    stack.assert_untouched();
}
