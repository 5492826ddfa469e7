//! Sizing against known values, and what no configuration and no market may break.

use super::*;
use crate::contracts::tests::chain;
use proptest::prelude::{any, prop, prop_assert, proptest};

const MONEY: Money = Money {
    equity: 100_000.0,
    buying_power: 400_000.0,
};

/// With an ATR of 10 the stop is too far to matter: a spread risks all of the 166 USD that it costs.
fn found(symbol: &str, sector: &str) -> Match {
    Match {
        symbol: symbol.to_owned(),
        strategy: Strategy::HighBase.into(),
        sector: sector.to_owned(),
        price: 100.0,
        rsi: 65.0,
        atr: 10.0,
        atr_ratio: 10.0,
    }
}

fn with(change: impl FnOnce(&mut OrchestratorView)) -> OrchestratorView {
    let mut view = OrchestratorView::default();
    change(&mut view);
    view
}

fn plan(view: &OrchestratorView) -> Plan {
    Plan::new(Frame {
        day: "2026-07-01".parse().unwrap(),
        hold: None,
        view: view.clone(),
        scanner_switch: None,
        account: "DU1".to_owned(),
    })
}

fn decide(plan: &mut Plan, money: Money, holdings: &[Holding], found: &[Match]) -> Vec<Decision> {
    let sectors = found
        .iter()
        .map(|found| (found.symbol.clone(), found.sector.clone()))
        .collect();
    let chains = found
        .iter()
        .map(|found| (found.symbol.clone(), chain()))
        .collect();
    plan.decide(&Facts {
        money,
        holdings,
        found,
        sectors: &sectors,
        chains: &chains,
    })
}

fn told(decisions: Vec<Decision>) -> Vec<String> {
    let verdict = |decision: Decision| match decision.verdict {
        Verdict::Enter(Entry { contracts, cost, .. }) => format!("{contracts} for {cost:.0}"),
        Verdict::Skip(reason) => reason.to_string(),
    };
    decisions.into_iter().map(verdict).collect()
}

fn verdicts(view: &OrchestratorView, money: Money, holdings: &[Holding], all: &[Match]) -> Vec<String> {
    told(decide(&mut plan(view), money, holdings, all))
}

fn one(view: &OrchestratorView) -> String {
    verdicts(view, MONEY, &[], &[found("AAPL", "Technology")]).remove(0)
}

fn held(symbol: &str, value: f64) -> Holding {
    Holding {
        symbol: symbol.to_owned(),
        value,
    }
}

#[test]
fn more_risk_means_more_contracts_up_to_the_limit() {
    let risk = |risk: f64| one(&with(|view| view.trading.risk_per_trade = risk));
    assert_eq!(risk(0.01), "6 for 996");
    assert_eq!(risk(0.005), "3 for 498");
    assert_eq!(risk(0.05), "10 for 1660");
    assert_eq!(
        risk(0.001),
        "one contract risks 166 USD, more than the 100 USD of a trade"
    );
    let more = with(|view| {
        view.trading.risk_per_trade = 0.05;
        view.trading.max_contracts_per_trade = 20;
    });
    assert_eq!(one(&more), "20 for 3320");
}

#[test]
fn a_nearer_stop_risks_less_and_allows_more() {
    let view = |mult: f64| {
        with(|view| {
            view.trading.stop_loss_atr_mult = mult;
            view.trading.risk_per_trade = 0.005;
        })
    };
    // A delta of 0.2 on a hundred shares that move five dollars: 100 USD.
    assert_eq!(one(&view(0.5)), "5 for 830");
    assert_eq!(one(&view(2.0)), "3 for 498");
    let stop = |strategy: Strategy| {
        let mut candidate = found("AAPL", "Technology");
        candidate.strategy = strategy.into();
        let decisions = decide(&mut plan(&view(0.5)), MONEY, &[], &[candidate]);
        match &decisions[0].verdict {
            Verdict::Enter(entry) => (entry.stop, entry.spread.right, entry.risk.round()),
            Verdict::Skip(reason) => panic!("{reason}"),
        }
    };
    assert_eq!(stop(Strategy::BullPullback), (95.0, "call", 500.0));
    assert_eq!(stop(Strategy::BearRally), (105.0, "put", 500.0));
}

#[test]
fn the_price_that_is_offered_decides_the_cost() {
    let cost = |factor: f64| one(&with(|view| view.trading.price_improvement_factor = factor));
    assert_eq!(
        (cost(0.0), cost(1.0)),
        ("10 for 1500".to_owned(), "10 for 1900".to_owned())
    );
}

#[test]
fn without_contracts_within_the_limits_nothing_is_entered() {
    let dear = one(&with(|view| view.options.max_spread_cost = 10.0));
    assert!(dear.starts_with("the cheapest spread costs"), "{dear}");
}

#[test]
fn entries_wait_for_trading_hours_for_leave_to_trade_and_for_the_right_account() {
    let default = with(|_| {});
    assert_eq!(hold(&default, "DU1", Hours::Open), None);
    assert_eq!(hold(&default, "DU1", Hours::Late), None);
    assert_eq!(hold(&default, "DU1", Hours::Closed), Some(Hold::Closed));
    let early = with(|view| view.trading.allow_late_day_entry = false);
    assert_eq!(hold(&early, "DU1", Hours::Late), Some(Hold::TooLate));
    assert_eq!(hold(&early, "DU1", Hours::Open), None);
    let reader = with(|view| view.ibkr.read_only = true);
    assert_eq!(hold(&reader, "DU1", Hours::Open), Some(Hold::ReadOnly));
    assert_eq!(hold(&default, "U1", Hours::Open), Some(Hold::NotPaper));
    let live = with(|view| view.trading.mode = Mode::Live);
    assert_eq!(hold(&live, "DU1", Hours::Open), Some(Hold::NotLive));
    assert_eq!(hold(&live, "U1", Hours::Open), None);
}

#[test]
fn too_little_buying_power_forbids_any_entry() {
    let poor = Money {
        buying_power: 4999.0,
        ..MONEY
    };
    let all = [found("AAPL", "Technology")];
    let expected = ["the buying power of 4999 USD is below 5000 USD"];
    assert_eq!(verdicts(&with(|_| {}), poor, &[], &all), expected);
    let less = with(|view| view.trading.min_buying_power = 4999.0);
    assert_eq!(verdicts(&less, poor, &[], &all), ["10 for 1660"]);
}

#[test]
fn entries_are_limited_by_the_day_and_by_what_is_open() {
    let all = ["A", "A", "B", "C", "D"].map(|symbol| found(symbol, symbol));
    let entry = "10 for 1660";
    let expected = [entry, entry, entry, "3 entries a day are the limit"];
    assert_eq!(verdicts(&with(|_| {}), MONEY, &[], &all), expected);
    let fewer = with(|view| view.trading.max_daily_trades = 1);
    assert_eq!(
        verdicts(&fewer, MONEY, &[], &all)[1],
        "1 entries a day are the limit"
    );
    let open = [held("X", 1.0), held("Y", 1.0), held("Z", 1.0), held("B", 1.0)];
    let expected = [
        entry,
        "the account holds it already",
        "5 positions are the limit",
        "5 positions are the limit",
    ];
    assert_eq!(verdicts(&with(|_| {}), MONEY, &open, &all), expected);
    let more = with(|view| view.trading.max_positions = 6);
    assert_eq!(verdicts(&more, MONEY, &open, &all)[2], entry);
}

#[test]
fn a_sector_holds_only_so_much_positions_included() {
    let all = [
        found("A", "Technology"),
        found("B", "Technology"),
        found("C", "Energy"),
    ];
    let view = with(|view| view.trading.max_sector_exposure = 0.03);
    let full = "the sector Technology would hold 3320 USD, more than 3000 USD";
    assert_eq!(
        verdicts(&view, MONEY, &[], &all),
        ["10 for 1660", full, "10 for 1660"]
    );
    let sectors = HashMap::from([("OLD".to_owned(), "Energy".to_owned())]);
    let mut plan = plan(&view);
    let decisions = plan.decide(&Facts {
        money: MONEY,
        holdings: &[held("OLD", 2000.0), held("UNKNOWN", 90_000.0)],
        found: &all[2..],
        sectors: &sectors,
        chains: &HashMap::from([("C".to_owned(), chain())]),
    });
    assert_eq!(
        told(decisions),
        ["the sector Energy would hold 3660 USD, more than 3000 USD"]
    );
}

#[test]
fn contracts_are_wanted_of_what_may_still_be_entered() {
    let mut plan = plan(&with(|view| view.trading.max_daily_trades = 2));
    let all = ["A", "A", "B", "C"].map(|symbol| found(symbol, symbol));
    let wanted = |plan: &Plan| {
        plan.wanted(&Facts {
            money: MONEY,
            holdings: &[held("C", 1.0)],
            found: &all,
            sectors: &HashMap::new(),
            chains: &HashMap::new(),
        })
    };
    assert_eq!(wanted(&plan), ["A", "B"]);
    decide(&mut plan, MONEY, &[], &all[..2]);
    assert_eq!(wanted(&plan), ["B"]);
    decide(&mut plan, MONEY, &[], &all[2..3]);
    assert!(wanted(&plan).is_empty(), "two a day are the limit");
}

#[test]
fn an_entry_stands_and_only_what_is_new_is_told() {
    let mut plan = plan(&with(|view| view.trading.max_daily_trades = 1));
    let [a, b] = ["A", "B"].map(|symbol| found(symbol, symbol));
    assert_eq!(decide(&mut plan, MONEY, &[], &[a.clone(), b.clone()]).len(), 2);
    assert!(decide(&mut plan, MONEY, &[], &[a, b.clone()]).is_empty());
    // A is not found any more; its entry is still one of the day's.
    assert!(decide(&mut plan, MONEY, &[], std::slice::from_ref(&b)).is_empty());
    assert!(plan.has_entered("A") && plan.entries() == 1);
    let now_held = decide(&mut plan, MONEY, &[held("B", 1.0)], &[b]);
    assert_eq!(told(now_held), ["the account holds it already"]);
}

proptest! {
    /// Whatever is found, whatever is held, round after round: no limit is ever passed.
    #[test]
    fn no_limit_is_ever_passed(
        rounds in prop::collection::vec(prop::collection::vec((0_u8..12, 0.1..20.0_f64, any::<bool>()), 0..12), 1..4),
        held_values in prop::collection::vec(0.0..20_000.0_f64, 0..4),
        limits in (1_u32..6, 1_u32..6, 0.001..0.05_f64, 0.01..0.5_f64, 1_u32..12),
        equity in 5_000.0..500_000.0_f64,
    ) {
        let (max_positions, max_daily_trades, risk_per_trade, max_sector_exposure, max_contracts_per_trade) = limits;
        let view = with(|view| {
            view.trading = Trading {
                max_positions, max_daily_trades, risk_per_trade, max_sector_exposure, max_contracts_per_trade,
                ..Trading::default()
            };
        });
        let holdings: Vec<Holding> = held_values.iter().zip(["A0", "A1", "H2", "H3"]).map(|(value, symbol)| held(symbol, *value)).collect();
        let sector = |symbol: &str| format!("sector {}", symbol.len() + usize::from(symbol.as_bytes()[1]) % 3);
        let sectors: HashMap<String, String> = (0..12).map(|n| format!("A{n}"))
            .chain(["H2".to_owned(), "H3".to_owned()])
            .map(|symbol| { let sector = sector(&symbol); (symbol, sector) })
            .collect();
        let chains = sectors.keys().map(|symbol| (symbol.clone(), chain())).collect();
        let money = Money { equity, buying_power: equity };
        let mut plan = plan(&view);
        for round in rounds {
            let all: Vec<Match> = round.into_iter().map(|(n, atr, up)| {
                let symbol = format!("A{n}");
                let strategy = if up { Strategy::HighBase } else { Strategy::LowBase };
                Match { atr, strategy: strategy.into(), ..found(&symbol, &sector(&symbol)) }
            }).collect();
            plan.decide(&Facts { money, holdings: &holdings, found: &all, sectors: &sectors, chains: &chains });
        }
        let entries = u32::try_from(plan.entries()).unwrap();
        prop_assert!(entries <= max_daily_trades);
        prop_assert!(entries == 0 || entries + u32::try_from(holdings.len()).unwrap() <= max_positions);
        let mut by_sector: BTreeMap<&str, f64> = BTreeMap::new();
        for (symbol, entry) in plan.entered() {
            prop_assert!(entry.contracts <= max_contracts_per_trade);
            prop_assert!(entry.risk <= equity * risk_per_trade + 1e-6, "{entry:?}");
            prop_assert!(entry.risk <= entry.cost + 1e-6);
            prop_assert!(holdings.iter().all(|holding| holding.symbol != *symbol));
            *by_sector.entry(&sectors[symbol]).or_default() += entry.cost;
        }
        for (sector, entered) in by_sector {
            let before: f64 = holdings.iter().filter(|holding| sectors[&holding.symbol] == sector).map(|holding| holding.value).sum();
            prop_assert!(entered + before <= equity * max_sector_exposure + 1e-6);
        }
    }
}
