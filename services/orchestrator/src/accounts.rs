//! What the broker tells of its accounts: money and positions, at first all of it, then whatever changes.
//!
//! Two subscriptions that stay open for as long as the session does: figures are never older than the broker's own
//! rhythm, and no round costs a request.

use std::collections::BTreeMap;

use ibapi::accounts::types::AccountGroup;
use ibapi::accounts::{AccountSummaryResult, AccountSummaryTags, PositionUpdate};
use ibapi::prelude::StreamExt;
use ibapi::subscriptions::{Subscription, SubscriptionItem};

use crate::session::Account;
use crate::sizing::{Holding, Money};

const TAGS: [&str; 2] = [
    AccountSummaryTags::NET_LIQUIDATION,
    AccountSummaryTags::BUYING_POWER,
];

/// The two subscriptions.
pub(crate) struct Watched {
    money: Subscription<AccountSummaryResult>,
    positions: Subscription<PositionUpdate>,
}

/// One thing that was told.
#[derive(Debug)]
pub(crate) enum News {
    /// A figure of an account.
    Figure {
        account: String,
        tag: String,
        value: Option<f64>,
    },
    /// A position; without a holding it was closed.
    Position {
        account: String,
        contract: i32,
        symbol: String,
        holding: Option<Holding>,
    },
    /// All figures were told once.
    AllMoney,
    /// All positions were told once.
    AllPositions,
    /// Something for the log.
    Notice,
}

/// Why nothing more is told: an error, or none if the session has ended.
pub(crate) type Ended = Option<ibapi::Error>;

impl Watched {
    /// Asks for money: one request.
    pub(crate) async fn money(client: &ibapi::Client) -> Result<Subscription<AccountSummaryResult>, Ended> {
        let all = AccountGroup("All".to_owned());
        client.account_summary(&all, &TAGS).await.map_err(Some)
    }

    /// Asks for positions as well: one request more.
    pub(crate) async fn positions(
        money: Subscription<AccountSummaryResult>,
        client: &ibapi::Client,
    ) -> Result<Self, Ended> {
        let positions = client.positions().await.map_err(Some)?;
        Ok(Self { money, positions })
    }

    /// Waits for the next thing that is told. Nothing is lost when the wait is given up.
    pub(crate) async fn next(&mut self) -> Result<News, Ended> {
        tokio::select! {
            item = self.money.next() => match item.ok_or(None)?.map_err(Some)? {
                SubscriptionItem::Data(AccountSummaryResult::Summary(row)) => Ok(News::Figure {
                    value: row.value.parse().ok().filter(|value: &f64| value.is_finite()),
                    account: row.account,
                    tag: row.tag,
                }),
                SubscriptionItem::Data(AccountSummaryResult::End) => Ok(News::AllMoney),
                SubscriptionItem::Notice(notice) => Ok(noticed(&notice)),
            },
            item = self.positions.next() => match item.ok_or(None)?.map_err(Some)? {
                SubscriptionItem::Data(PositionUpdate::Position(row)) => Ok(News::Position {
                    holding: (row.position != 0.0).then(|| Holding {
                        symbol: row.contract.symbol.to_string(),
                        value: (row.position * row.average_cost).abs(),
                    }),
                    account: row.account,
                    contract: row.contract.contract_id,
                    symbol: row.contract.symbol.to_string(),
                }),
                SubscriptionItem::Data(PositionUpdate::PositionEnd) => Ok(News::AllPositions),
                SubscriptionItem::Notice(notice) => Ok(noticed(&notice)),
            },
        }
    }
}

fn noticed(notice: &impl std::fmt::Display) -> News {
    tracing::info!("the broker says: {notice}");
    News::Notice
}

/// What was told so far.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// By account and tag.
    figures: BTreeMap<(String, String), Option<f64>>,
    /// By account, symbol and contract.
    positions: BTreeMap<(String, String, i32), Holding>,
    all_money: bool,
    all_positions: bool,
}

impl Told {
    /// Whether everything was told once.
    pub(crate) fn is_complete(&self) -> bool {
        self.all_money && self.all_positions
    }

    pub(crate) fn take(&mut self, news: News) {
        match news {
            News::Figure { account, tag, value } => {
                self.figures.insert((account, tag), value);
            }
            News::Position {
                account,
                contract,
                symbol,
                holding,
            } => {
                let key = (account, symbol, contract);
                match holding {
                    Some(holding) => self.positions.insert(key, holding),
                    None => self.positions.remove(&key),
                };
            }
            News::AllMoney => self.all_money = true,
            News::AllPositions => self.all_positions = true,
            News::Notice => {}
        }
    }

    /// What is known of one account.
    pub(crate) fn account(&self, name: &str) -> Account {
        let figure = |tag: &str| *self.figures.get(&(name.to_owned(), tag.to_owned()))?;
        let equity = figure(AccountSummaryTags::NET_LIQUIDATION);
        let money = equity.zip(figure(AccountSummaryTags::BUYING_POWER));
        let held = self.positions.iter().filter(|((account, ..), _)| account == name);
        Account {
            name: name.to_owned(),
            money: money.map(|(equity, buying_power)| Money { equity, buying_power }),
            holdings: held.map(|(_, holding)| holding.clone()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(symbol: &str, value: Option<f64>) -> News {
        News::Position {
            account: "DU1".to_owned(),
            contract: 1,
            symbol: symbol.to_owned(),
            holding: value.map(|value| Holding {
                symbol: symbol.to_owned(),
                value,
            }),
        }
    }

    fn figure(tag: &str, value: f64) -> News {
        News::Figure {
            account: "DU1".to_owned(),
            tag: tag.to_owned(),
            value: Some(value),
        }
    }

    #[test]
    fn what_is_told_later_replaces_what_was_told_before() {
        let mut told = Told::default();
        told.take(figure("NetLiquidation", 100.0));
        assert_eq!(
            told.account("DU1").money,
            None,
            "half of it is nothing to size by"
        );
        told.take(figure("BuyingPower", 400.0));
        told.take(News::AllMoney);
        assert!(!told.is_complete());
        told.take(position("KO", Some(50.0)));
        told.take(position("PG", Some(70.0)));
        told.take(News::AllPositions);
        assert!(told.is_complete());
        told.take(figure("NetLiquidation", 90.0));
        told.take(position("PG", None));
        let account = told.account("DU1");
        let money = Money {
            equity: 90.0,
            buying_power: 400.0,
        };
        assert_eq!((account.money, account.holdings.len()), (Some(money), 1));
        assert_eq!(told.account("DU2").holdings, []);
    }
}
