//! Option chains: the contracts on one share, their CSV, and what the generator asks for them.
//!
//! Prices by Black and Scholes ("The Pricing of Options and Corporate Liabilities", 1973) without interest and
//! dividends: a chain that hangs together, not a market's.

use scanner_api::{Contract, Right};

use crate::bars::{BadLine, number, rows};

/// The heading of a file of contracts.
pub(crate) const HEADING: &str = "days,right,strike,delta,bid,ask";

/// The days to expiry that the generator offers: weeklies, then monthlies.
const EXPIRIES: [u32; 10] = [7, 14, 21, 28, 35, 42, 49, 63, 91, 182];
/// The days of a year in which prices move.
pub(crate) const TRADING_DAYS: f64 = 252.0;

/// Reads a chain.
pub(crate) fn read(text: &str) -> Result<Vec<Contract>, BadLine> {
    rows(text, HEADING, |[days, right, strike, delta, bid, ask]| {
        let right = match right {
            "call" => Right::Call,
            "put" => Right::Put,
            other => return Err(format!("{other:?} is neither call nor put")),
        };
        let contract = Contract {
            days: days
                .parse()
                .map_err(|_| format!("{days:?} is no number of days"))?,
            right: right.into(),
            strike: number(strike)?,
            delta: number(delta)?,
            bid: number(bid)?,
            ask: number(ask)?,
        };
        let whole = contract.strike > 0.0
            && contract.delta.abs() <= 1.0
            && 0.0 <= contract.bid
            && contract.bid <= contract.ask;
        if whole {
            Ok(contract)
        } else {
            Err("strike > 0, delta within -1 to 1 and 0 <= bid <= ask is expected".to_owned())
        }
    })
}

/// Writes what [`read`] reads.
pub(crate) fn write(chain: &[Contract]) -> String {
    let mut text = format!("{HEADING}\n");
    for contract in chain {
        let right = match contract.right() {
            Right::Put => "put",
            Right::Call | Right::Unspecified => "call",
        };
        let Contract {
            days,
            right: _,
            strike,
            delta,
            bid,
            ask,
        } = contract;
        text.push_str(&format!("{days},{right},{strike},{delta:.4},{bid:.2},{ask:.2}\n"));
    }
    text
}

/// The contracts on a share at this price that moves so much in a year (0.3 is thirty percent).
pub(crate) fn chain(price: f64, volatility: f64) -> Vec<Contract> {
    let step = match price {
        ..25.0 => 0.5,
        25.0..100.0 => 1.0,
        100.0..250.0 => 2.5,
        250.0..1000.0 => 5.0,
        _ => 10.0,
    };
    let middle = (price / step).round();
    let mut chain = Vec::new();
    for days in EXPIRIES {
        for right in [Right::Call, Right::Put] {
            for offset in -12..=12 {
                let strike = (middle + f64::from(offset)) * step;
                if strike > 0.0 {
                    chain.push(quote(price, volatility, days, right, strike));
                }
            }
        }
    }
    chain
}

fn quote(price: f64, volatility: f64, days: u32, right: Right, strike: f64) -> Contract {
    let deviation = volatility * (f64::from(days) / 365.0).sqrt();
    let near = ((price / strike).ln() + deviation * deviation / 2.0) / deviation;
    let far = near - deviation;
    let call = price * normal(near) - strike * normal(far);
    let (value, delta) = match right {
        Right::Put => (call - price + strike, normal(near) - 1.0),
        Right::Call | Right::Unspecified => (call, normal(near)),
    };
    // Market makers want two percent of the price each way, and a cent at least.
    let half = (value * 0.02).max(0.01);
    let cents = |amount: f64| (amount.max(0.0) * 100.0).round() / 100.0;
    Contract {
        days,
        right: right.into(),
        strike,
        delta: (delta * 1e4).round() / 1e4,
        bid: cents(value - half),
        ask: cents(value + half),
    }
}

/// The normal distribution up to `x`: Abramowitz and Stegun, "Handbook of Mathematical Functions", 26.2.17, whose
/// error is below 7.5e-8.
fn normal(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let polynomial = t
        * (0.319_381_53
            + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    let density = (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt();
    let beyond = density * polynomial;
    if x < 0.0 { beyond } else { 1.0 - beyond }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_normal_distribution_has_its_known_values() {
        for (x, expected) in [
            (0.0, 0.5),
            (1.0, 0.841_344_746),
            (-1.96, 0.024_997_895),
            (3.0, 0.998_650_102),
        ] {
            assert!((normal(x) - expected).abs() < 1e-7, "{x}: {}", normal(x));
        }
    }

    /// Put-call parity, which holds whatever the model.
    #[test]
    fn a_call_less_a_put_is_the_price_less_the_strike() {
        for strike in [35.0, 40.0, 42.0, 50.0] {
            let middle = |right| {
                let Contract { bid, ask, .. } = quote(42.0, 0.2, 182, right, strike);
                f64::midpoint(bid, ask)
            };
            let difference = middle(Right::Call) - middle(Right::Put);
            assert!(
                (difference - (42.0 - strike)).abs() < 0.02,
                "{strike}: {difference}"
            );
        }
    }

    #[test]
    fn a_call_at_the_money_costs_about_two_fifths_of_the_deviation() {
        let Contract { delta, bid, ask, .. } = quote(100.0, 0.2, 365, Right::Call, 100.0);
        // 100 * 0.2 * 0.3989 less the curvature: 7.9656, and its delta is N(0.1).
        assert!((f64::midpoint(bid, ask) - 7.9656).abs() < 0.01);
        assert!((delta - 0.5398).abs() < 1e-4, "{delta}");
    }

    #[test]
    fn a_chain_is_read_as_it_was_written_and_mistakes_are_named() {
        let chain = chain(228.0, 0.22);
        assert_eq!(chain.len(), EXPIRIES.len() * 2 * 25);
        assert_eq!(read(&write(&chain)), Ok(chain));
        let said = |line: &str| read(&format!("{HEADING}\n{line}\n")).unwrap_err().to_string();
        assert_eq!(
            said("35,straddle,1,1,1,1"),
            "line 2: \"straddle\" is neither call nor put"
        );
        assert_eq!(said("soon,call,1,1,1,1"), "line 2: \"soon\" is no number of days");
        assert_eq!(
            said("35,call,230,0.4,2,1"),
            "line 2: strike > 0, delta within -1 to 1 and 0 <= bid <= ask is expected"
        );
    }
}
