//! Rules, messages and what each service depends on.
#![allow(clippy::unwrap_used, reason = "in a test the place says enough")]

use trader_config::{OrchestratorView, Problem, ScannerView, TraderConfig, View, parse};

fn problems(text: &str) -> Vec<String> {
    parse::<TraderConfig>(text)
        .expect_err(text)
        .iter()
        .map(Problem::to_string)
        .collect()
}

#[test]
fn an_empty_document_means_the_defaults() {
    assert_eq!(parse::<TraderConfig>("").unwrap(), TraderConfig::default());
    assert_eq!(parse::<ScannerView>("").unwrap(), ScannerView::default());
    assert_eq!(
        parse::<OrchestratorView>("").unwrap(),
        OrchestratorView::default()
    );
}

#[test]
fn an_unknown_key_is_named_with_its_place() {
    let found = problems("[trading]\nmax_postions = 3\n");
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("2:1: unknown field `max_postions`"),
        "{found:?}"
    );
}

#[test]
fn an_unknown_section_is_refused() {
    let found = problems("[tradign]\n");
    assert!(found[0].starts_with("1:2: unknown field `tradign`"), "{found:?}");
}

#[test]
fn a_wrong_type_and_a_syntax_error_are_named_with_their_place() {
    let found = problems("[trading]\nmax_positions = \"five\"\n");
    assert!(found[0].starts_with("2:17: "), "{found:?}");
    let found = problems("[trading]\n# ärger\nmode = \"PAPER\n");
    assert!(found[0].starts_with("3:"), "{found:?}");
}

#[test]
fn the_column_counts_characters() {
    let found = problems("logging.file = \"é\"\nuniverse = { symbols = [\"Ä\"] }");
    assert!(found[0].starts_with("2:24: \"Ä\" is not a symbol"), "{found:?}");
    let found = problems("'schédule' = 1");
    assert!(found[0].starts_with("1:1: "), "{found:?}");
    let found = problems("logging = { file = \"é\", max_size_mb = 0 }");
    assert_eq!(
        found,
        ["1:39: logging.max_size_mb: 0 is too low: at least 1 MB is expected"]
    );
}

#[test]
fn rsi_lies_within_0_to_100() {
    for key in [
        "high_base.min_rsi",
        "low_base.max_rsi",
        "bull_pullback.rsi_threshold",
        "bear_rally.rsi_threshold",
    ] {
        for good in ["0", "100", "55.5"] {
            assert!(
                parse::<TraderConfig>(&format!("[strategy]\n{key} = {good}\n")).is_ok(),
                "{key} = {good}"
            );
        }
        assert_eq!(
            problems(&format!("[strategy]\n{key} = 100.5\n")),
            [format!(
                "2:{}: strategy.{key}: 100.5 is too high: at most 100 RSI is expected",
                key.len() + 4
            )]
        );
        assert_eq!(problems(&format!("[strategy]\n{key} = -1\n")).len(), 1);
    }
}

#[test]
fn risk_is_above_0_and_at_most_0_05() {
    for good in ["0.05", "0.0001"] {
        assert!(
            parse::<TraderConfig>(&format!("trading.risk_per_trade = {good}")).is_ok(),
            "{good}"
        );
    }
    for bad in ["0", "0.0", "-0.01", "0.0501", "nan", "inf", "5"] {
        let found = problems(&format!("trading.risk_per_trade = {bad}"));
        assert_eq!(found.len(), 1, "{bad}: {found:?}");
        assert!(
            found[0].starts_with("1:26: trading.risk_per_trade: "),
            "{found:?}"
        );
    }
}

#[test]
fn the_lower_of_a_pair_is_below_the_upper() {
    assert_eq!(
        problems("[options]\nmin_dte = 45\n"),
        ["2:11: options.min_dte: 45 days is not below options.max_dte (45 days)"]
    );
    // The key at fault is a default here: the section's header is the nearest place.
    assert_eq!(
        problems("[options]\nmax_delta = 0.2\n"),
        ["1:2: options.min_delta: 0.3 is not below options.max_delta (0.2)"]
    );
    assert_eq!(
        problems("[schedule]\ntrading_start = \"16:30\"\n"),
        ["2:17: schedule.trading_start: 16:30 is not before schedule.trading_end (16:00)"]
    );
}

#[test]
fn a_time_zone_must_exist() {
    assert!(parse::<TraderConfig>("schedule.timezone = \"Europe/Berlin\"").is_ok());
    let found = problems("schedule.timezone = \"Mars/Olympus\"");
    assert!(
        found[0].starts_with("1:21: schedule.timezone: \"Mars/Olympus\" is no time zone"),
        "{found:?}"
    );
}

#[test]
fn live_needs_an_account_a_live_port_and_write_access() {
    let found = problems("trading.mode = \"LIVE\"\nibkr.read_only = true\n");
    let keys: Vec<_> = found
        .iter()
        .map(|problem| problem.split(": ").nth(1).unwrap_or_default())
        .collect();
    assert_eq!(keys, ["ibkr.account", "ibkr.port", "ibkr.read_only"], "{found:?}");
    for port in [7496, 4001] {
        let text = format!("trading.mode = \"LIVE\"\nibkr = {{ account = \"U1234567\", port = {port} }}");
        assert!(parse::<TraderConfig>(&text).is_ok(), "{text}");
    }
    assert!(
        parse::<TraderConfig>("trading.mode = \"LIVE\"\nibkr = { account = \"U1\", port = 7497 }").is_err()
    );
}

#[test]
fn symbols_are_listed_once_and_there_is_at_least_one() {
    assert_eq!(
        problems("universe.symbols = []"),
        ["1:20: universe.symbols: at least one entry is expected"]
    );
    assert_eq!(
        problems("universe.symbols = [\"AAPL\", \"AAPL\"]"),
        ["1:20: universe.symbols: \"AAPL\" is listed twice"]
    );
}

#[test]
fn all_problems_are_reported_at_once() {
    let found =
        problems("trading.risk_per_trade = 1\nstrategy.low_base.max_rsi = 101\noptions.min_dte = 60\n");
    assert_eq!(found.len(), 3, "{found:?}");
}

const EVERYTHING: &str = include_str!("../../../config-repo-template/config/config.toml");

/// `reads` promises that nothing else can matter to the service: not its values, not its faults.
#[test]
fn a_view_depends_on_what_it_reads_and_on_nothing_else() {
    isolated::<ScannerView>();
    isolated::<OrchestratorView>();
}

fn isolated<V: View + PartialEq + std::fmt::Debug>() {
    let whole: V = parse(EVERYTHING).unwrap();
    let document: toml::Table = toml::from_str(EVERYTHING).unwrap();
    let read: Vec<Vec<&str>> = V::READS
        .iter()
        .map(|part| part.split_once('#').unwrap().1.split('.').collect())
        .collect();
    for (section, value) in &document {
        let mut garbled = document.clone();
        if read.contains(&vec![section.as_str()]) {
            garbled.insert(section.clone(), "garbage".into());
            assert!(
                parse::<V>(&garbled.to_string()).is_err(),
                "{section} is read but does not matter"
            );
        } else if read.iter().any(|part| part[0] == section) {
            for key in value.as_table().unwrap().keys() {
                let mut garbled = document.clone();
                garbled[section][key] = toml::Value::Array(vec![]);
                let outcome = parse::<V>(&garbled.to_string());
                let matters = read.contains(&vec![section.as_str(), key.as_str()]);
                assert_eq!(outcome.is_err(), matters, "{section}.{key}");
            }
        } else {
            garbled.insert(section.clone(), "garbage".into());
            assert_eq!(
                parse::<V>(&garbled.to_string()).unwrap(),
                whole,
                "{section} is not read but matters"
            );
        }
    }
}
