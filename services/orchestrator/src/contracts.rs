//! Which contracts to buy on a candidate: a vertical debit spread out of its option chain, by the limits in `[options]`.
//!
//! A function of its arguments. One contract is bought within the limits of days and delta, one further out of the
//! money of the same expiry is sold; what that costs is the most that can be lost.

use scanner_api::{Contract, Right};
use serde::Serialize;
use trader_config::Options;

/// A contract is for so many shares.
pub(crate) const SHARES: f64 = 100.0;

/// Where a candidate is expected to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Up: calls.
    Up,
    /// Down: puts.
    Down,
}

impl Direction {
    fn right(self) -> Right {
        match self {
            Self::Up => Right::Call,
            Self::Down => Right::Put,
        }
    }
}

/// A spread: one contract bought, one sold. Amounts are USD for one spread of a hundred shares.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Spread {
    /// Days to expiry.
    pub(crate) days: u32,
    /// "call" or "put".
    pub(crate) right: &'static str,
    /// The strike of what is bought.
    pub(crate) bought: f64,
    /// The strike of what is sold.
    pub(crate) sold: f64,
    /// The delta of both together, as an absolute value.
    pub(crate) delta: f64,
    /// What it costs at the price that is offered.
    pub(crate) cost: f64,
    /// What it wins at best, for each dollar that it may lose.
    pub(crate) reward_risk: f64,
}

/// Why there is no spread. Amounts are in USD.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum NoSpread {
    #[error("no contract within {min_dte} to {max_dte} days and a delta of {min_delta} to {max_delta}")]
    NoContract {
        min_dte: u32,
        max_dte: u32,
        min_delta: f64,
        max_delta: f64,
    },
    #[error("the cheapest spread costs {cost:.0} USD, more than {most:.0} USD")]
    TooDear { cost: f64, most: f64 },
    #[error("the best reward to risk is {ratio:.2}, below {least}")]
    PoorReward { ratio: f64, least: f64 },
}

/// The spread to buy: what is bought has the delta nearest to the middle of its limits, then the expiry nearest to the
/// middle; what is sold gives the best reward to risk.
pub(crate) fn choose(
    options: &Options,
    price_improvement_factor: f64,
    direction: Direction,
    chain: &[Contract],
) -> Result<Spread, NoSpread> {
    let Options {
        min_dte,
        max_dte,
        min_delta,
        max_delta,
        max_spread_cost,
        min_reward_risk,
    } = *options;
    let right = direction.right();
    let chain: Vec<&Contract> = chain
        .iter()
        .filter(|contract| contract.right() == right)
        .collect();
    let mut buyable: Vec<&Contract> = chain
        .iter()
        .copied()
        .filter(|contract| (min_dte..=max_dte).contains(&contract.days))
        .filter(|contract| (min_delta..=max_delta).contains(&contract.delta.abs()))
        .collect();
    let middle = |least: f64, most: f64, value: f64| (value - f64::midpoint(least, most)).abs();
    let away = |contract: &Contract| {
        (
            middle(min_delta, max_delta, contract.delta.abs()),
            middle(min_dte.into(), max_dte.into(), contract.days.into()),
        )
    };
    buyable.sort_by(|one, other| {
        let ((delta, days), (other_delta, other_days)) = (away(one), away(other));
        delta.total_cmp(&other_delta).then(days.total_cmp(&other_days))
    });
    let spreads: Vec<Spread> = buyable
        .into_iter()
        .flat_map(|bought| {
            let sellable = chain
                .iter()
                .copied()
                .filter(move |sold| sold.days == bought.days && sold.delta.abs() < bought.delta.abs());
            sellable.filter_map(move |sold| spread(bought, sold, price_improvement_factor))
        })
        .collect();
    let Some(cost) = spreads.iter().map(|spread| spread.cost).min_by(f64::total_cmp) else {
        return Err(NoSpread::NoContract {
            min_dte,
            max_dte,
            min_delta,
            max_delta,
        });
    };
    if cost > max_spread_cost {
        let most = max_spread_cost;
        return Err(NoSpread::TooDear { cost, most });
    }
    let affordable: Vec<&Spread> = spreads
        .iter()
        .filter(|spread| spread.cost <= max_spread_cost)
        .collect();
    let fits = |spread: &&&Spread| spread.reward_risk >= min_reward_risk;
    let Some(first) = affordable.iter().find(fits) else {
        let ratio = affordable
            .iter()
            .map(|spread| spread.reward_risk)
            .fold(f64::MIN, f64::max);
        let least = min_reward_risk;
        return Err(NoSpread::PoorReward { ratio, least });
    };
    // Of those with the same contract bought, the best.
    let same = |spread: &&&Spread| spread.days == first.days && spread.bought == first.bought;
    let best = affordable
        .iter()
        .filter(same)
        .max_by(|one, other| one.reward_risk.total_cmp(&other.reward_risk));
    Ok((*best.unwrap_or(first)).clone())
}

/// The spread of two contracts at the price that is offered; none if the quotes contradict each other.
fn spread(bought: &Contract, sold: &Contract, price_improvement_factor: f64) -> Option<Spread> {
    let (bid, ask) = (bought.bid - sold.ask, bought.ask - sold.bid);
    let cost = SHARES * (bid + price_improvement_factor * (ask - bid));
    let most = SHARES * (bought.strike - sold.strike).abs();
    (cost > 0.0 && cost < most).then(|| Spread {
        days: bought.days,
        right: match bought.right() {
            Right::Put => "put",
            Right::Call | Right::Unspecified => "call",
        },
        bought: bought.strike,
        sold: sold.strike,
        delta: (bought.delta - sold.delta).abs(),
        cost,
        reward_risk: (most - cost) / cost,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn contract(days: u32, right: Right, strike: f64, delta: f64, middle: f64) -> Contract {
        Contract {
            days,
            right: right.into(),
            strike,
            delta,
            bid: middle - 0.1,
            ask: middle + 0.1,
        }
    }

    /// Calls and puts around 100, each four dollars apart.
    pub(crate) fn chain() -> Vec<Contract> {
        let mut chain = Vec::new();
        for days in [7, 35, 42, 63] {
            let time = f64::from(days) / 35.0;
            for (step, (delta, middle)) in [(0.5, 4.0), (0.4, 2.6), (0.3, 1.6), (0.2, 0.9)]
                .into_iter()
                .enumerate()
            {
                let away = 4.0 * step as f64;
                chain.push(contract(days, Right::Call, 100.0 + away, delta, middle * time));
                chain.push(contract(days, Right::Put, 100.0 - away, -delta, middle * time));
            }
        }
        chain
    }

    fn chosen(change: impl FnOnce(&mut Options)) -> String {
        let mut options = Options::default();
        change(&mut options);
        match choose(&options, 0.5, Direction::Up, &chain()) {
            Ok(Spread {
                days,
                right,
                bought,
                sold,
                cost,
                reward_risk,
                ..
            }) => format!("{days} {right} {bought}/{sold} for {cost:.0}, {reward_risk:.2}"),
            Err(none) => none.to_string(),
        }
    }

    #[test]
    fn the_middle_of_the_limits_is_bought_and_the_best_reward_sold() {
        assert_eq!(chosen(|_| {}), "35 call 104/112 for 170, 3.71");
        let options = Options::default();
        let put = choose(&options, 0.5, Direction::Down, &chain()).unwrap();
        assert_eq!((put.right, put.bought, put.sold), ("put", 96.0, 88.0));
        assert!((put.delta - 0.2).abs() < 1e-9);
    }

    #[test]
    fn each_limit_of_the_options_moves_the_choice() {
        assert_eq!(
            chosen(|options| options.min_dte = 40),
            "42 call 104/112 for 204, 2.92"
        );
        assert_eq!(
            chosen(|options| options.max_dte = 34),
            "no contract within 30 to 34 days and a delta of 0.3 to 0.5"
        );
        assert_eq!(
            chosen(|options| options.min_delta = 0.45),
            "35 call 100/112 for 310, 2.87"
        );
        assert_eq!(
            chosen(|options| options.max_delta = 0.35),
            "35 call 108/112 for 70, 4.71"
        );
        assert_eq!(
            chosen(|options| options.max_spread_cost = 120.0),
            "35 call 104/108 for 100, 3.00"
        );
        assert_eq!(
            chosen(|options| options.max_spread_cost = 60.0),
            "the cheapest spread costs 70 USD, more than 60 USD"
        );
        assert_eq!(
            chosen(|options| options.min_reward_risk = 4.0),
            "35 call 108/112 for 70, 4.71"
        );
        assert_eq!(
            chosen(|options| options.min_reward_risk = 9.0),
            "the best reward to risk is 4.71, below 9"
        );
    }

    #[test]
    fn the_price_lies_between_bid_and_ask_of_the_spread() {
        let cost = |factor| {
            choose(&Options::default(), factor, Direction::Up, &chain())
                .unwrap()
                .cost
        };
        for (factor, expected) in [(0.0, 150.0), (0.4, 166.0), (0.5, 170.0), (1.0, 190.0)] {
            assert!(
                (cost(factor) - expected).abs() < 1e-9,
                "{factor}: {}",
                cost(factor)
            );
        }
    }

    proptest! {
        /// Whatever the limits: what is chosen keeps every one of them.
        #[test]
        fn what_is_chosen_keeps_all_limits(
            dte in (0_u32..60, 1_u32..40),
            delta in (0.0..0.6_f64, 0.01..0.4_f64),
            max_spread_cost in 10.0..600.0_f64,
            min_reward_risk in 0.0..6.0_f64,
            factor in 0.0..=1.0_f64,
            down: bool,
        ) {
            let options = Options {
                min_dte: dte.0,
                max_dte: dte.0 + dte.1,
                min_delta: delta.0,
                max_delta: delta.0 + delta.1,
                max_spread_cost,
                min_reward_risk,
            };
            let direction = if down { Direction::Down } else { Direction::Up };
            let chain = chain();
            if let Ok(spread) = choose(&options, factor, direction, &chain) {
                prop_assert!((options.min_dte..=options.max_dte).contains(&spread.days));
                let bought = chain.iter().find(|contract| {
                    contract.days == spread.days && contract.strike == spread.bought && contract.right() == direction.right()
                });
                let delta = bought.unwrap().delta.abs();
                prop_assert!((options.min_delta..=options.max_delta).contains(&delta));
                prop_assert!(spread.cost <= max_spread_cost && spread.reward_risk >= min_reward_risk);
                let further = if down { spread.sold < spread.bought } else { spread.sold > spread.bought };
                prop_assert!(further);
            }
        }
    }
}
