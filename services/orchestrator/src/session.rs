//! The one broker session: connected, kept alive, found again when it is lost.
//!
//! A changed configuration never touches a session that is up: connection keys are taken by the next one.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use ibapi::accounts::types::AccountGroup;
use ibapi::accounts::{AccountSummaryResult, AccountSummaryTags};
use ibapi::prelude::StreamExt;
use ibapi::subscriptions::SubscriptionItem;
use lockstep_client::Client;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use trader_config::Ibkr;

use crate::config::Config;
use crate::sizing::Money;

/// The first delay before connecting again; it doubles with each failure.
const FIRST_DELAY: Duration = Duration::from_millis(500);
/// The longest.
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// How often the configuration is looked at besides.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Where a session goes to: what makes it another session when it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    host: String,
    port: u16,
    client_id: i32,
}

impl Endpoint {
    fn of(ibkr: &Ibkr) -> Self {
        Self {
            host: ibkr.host.clone(),
            port: ibkr.port,
            client_id: ibkr.client_id,
        }
    }

    pub(crate) fn is_that_of(&self, ibkr: &Ibkr) -> bool {
        *self == Self::of(ibkr)
    }
}

/// A session that is up.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Up {
    pub(crate) endpoint: Endpoint,
    /// The accounts it manages, with what is known of their money.
    accounts: Vec<(String, Option<Money>)>,
}

impl Up {
    /// What is known of the money of this account; an empty name means the only one.
    pub(crate) fn account(&self, wanted: &str) -> Result<Option<Money>, NoAccount> {
        let managed = || {
            self.accounts
                .iter()
                .map(|(name, _)| name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        match self.accounts.as_slice() {
            [(_, money)] if wanted.is_empty() => Ok(*money),
            accounts => match accounts.iter().find(|(name, _)| name == wanted) {
                Some((_, money)) => Ok(*money),
                None if wanted.is_empty() => Err(NoAccount::Several { managed: managed() }),
                None => Err(NoAccount::NotManaged {
                    wanted: wanted.to_owned(),
                    managed: managed(),
                }),
            },
        }
    }
}

/// Why a session could not be had, or ended. All of it is answered by trying again.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("the client id {client_id} is in use at {address} (326): choose another ibkr.client_id")]
    ClientIdInUse { address: String, client_id: i32 },
    #[error("{address}: {source}; is TWS or the Gateway running there, with its API enabled?")]
    NotConnected { address: String, source: ibapi::Error },
    #[error("no answer within {0} s (ibkr.timeout)")]
    Silent(u32),
    #[error("the accounts cannot be read: {0}")]
    Accounts(ibapi::Error),
    #[error("the heartbeat failed: {0}")]
    Heartbeat(ibapi::Error),
    #[error("the connection is closed")]
    Closed,
}

/// Why an account cannot be traded in the session that is up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoAccount {
    #[error("the broker's session manages several accounts, name one of {managed}")]
    Several { managed: String },
    #[error("the broker's session does not manage {wanted:?}; it manages {managed}")]
    NotManaged { wanted: String, managed: String },
}

/// Holds one session after the other, for ever.
pub(crate) async fn hold(
    config: &Client<Config>,
    up: &watch::Sender<Option<Arc<Up>>>,
    mut changes: watch::Receiver<u64>,
    heartbeat: Duration,
) -> Infallible {
    let mut number = 0_u64;
    let mut delay = FIRST_DELAY;
    loop {
        let ibkr = config.current().view.ibkr.clone();
        match connect(&ibkr).await {
            Ok(mut session) => {
                number += 1;
                delay = FIRST_DELAY;
                let reason = run(config, &mut session, number, up, heartbeat).await;
                up.send_replace(None);
                session.client.disconnect().await;
                tracing::warn!(%reason, "session {number} down");
            }
            Err(reason) => tracing::warn!(%reason, "no session with the broker"),
        }
        if config.current().view.ibkr.auto_reconnect {
            tokio::select! {
                () = sleep(delay) => {}
                // Perhaps it is just the address that was mended.
                () = another(config, &ibkr, &mut changes) => {}
            }
            delay = (delay * 2).min(LONGEST_DELAY);
        } else {
            tracing::warn!("ibkr.auto_reconnect is off: no session until [ibkr] changes");
            another(config, &ibkr, &mut changes).await;
        }
    }
}

/// Waits until the section is another than the one that was tried.
async fn another(config: &Client<Config>, tried: &Ibkr, changes: &mut watch::Receiver<u64>) {
    while config.current().view.ibkr == *tried {
        tokio::select! {
            () = changed(changes) => {}
            // It rings just before the value is swapped, so a look right then may be too early.
            () = sleep(LOOK_AGAIN) => {}
        }
    }
}

/// Waits for a change of the configuration.
pub(crate) async fn changed(changes: &mut watch::Receiver<u64>) {
    if changes.changed().await.is_err() {
        // Nobody can change it any more: that is a change which never comes.
        std::future::pending::<()>().await;
    }
}

struct Session {
    client: ibapi::Client,
    notices: ibapi::subscriptions::NoticeStream,
    endpoint: Endpoint,
}

async fn connect(ibkr: &Ibkr) -> Result<Session, Lost> {
    let address = format!("{}:{}", ibkr.host, ibkr.port);
    let connecting = ibapi::Client::builder()
        .address(&address)
        .client_id(ibkr.client_id)
        // Reconnecting is decided here, where each session is told apart and the configuration is known.
        .max_reconnect_attempts(0)
        .connect_with_notice_stream();
    match timeout(limit(ibkr), connecting).await {
        Ok(Ok((client, notices))) => Ok(Session {
            client,
            notices,
            endpoint: Endpoint::of(ibkr),
        }),
        Ok(Err(ibapi::Error::ClientIdInUse { client_id })) => Err(Lost::ClientIdInUse { address, client_id }),
        Ok(Err(source)) => Err(Lost::NotConnected { address, source }),
        Err(_) => Err(Lost::Silent(ibkr.timeout)),
    }
}

fn limit(ibkr: &Ibkr) -> Duration {
    Duration::from_secs(ibkr.timeout.into())
}

/// Keeps a session for as long as it lives; why it ended.
async fn run(
    config: &Client<Config>,
    session: &mut Session,
    number: u64,
    up: &watch::Sender<Option<Arc<Up>>>,
    heartbeat: Duration,
) -> Lost {
    let Session {
        client,
        notices,
        endpoint,
    } = session;
    let mut pace = Pace { next: Instant::now() };
    pace.wait(config).await;
    let ibkr = config.current().view.ibkr.clone();
    let accounts = match timeout(limit(&ibkr), money(client)).await {
        Ok(Ok(accounts)) => accounts,
        Ok(Err(error)) => return Lost::Accounts(error),
        Err(_) => return Lost::Silent(ibkr.timeout),
    };
    let state = Up {
        endpoint: endpoint.clone(),
        accounts,
    };
    let managed = client.handshake_managed_accounts().join(",");
    tracing::info!(
        accounts = managed,
        server_version = client.server_version(),
        "session {number} up"
    );
    if let Err(reason) = state.account(&config.current().view.ibkr.account) {
        tracing::error!("ibkr.account: {reason}; nothing is sized");
    }
    up.send_replace(Some(Arc::new(state)));
    let mut beat = Instant::now() + heartbeat;
    loop {
        tokio::select! {
            // The session ended: the sooner it is noticed the better.
            notice = notices.next() => match notice {
                Some(notice) => tracing::info!("the broker says: {notice}"),
                None => return Lost::Closed,
            },
            // A session that does not answer is none, though its connection may look well.
            () = sleep_until(beat) => {
                pace.wait(config).await;
                let ibkr = config.current().view.ibkr.clone();
                match timeout(limit(&ibkr), client.server_time()).await {
                    Ok(Ok(time)) => tracing::debug!(time = time.unix_timestamp(), "heartbeat"),
                    Ok(Err(error)) => return Lost::Heartbeat(error),
                    Err(_) => return Lost::Silent(ibkr.timeout),
                }
                beat = Instant::now() + heartbeat;
            }
        }
    }
}

/// At most `ibkr.max_rate` requests in a second, by the rate that is configured at each of them.
struct Pace {
    next: Instant,
}

impl Pace {
    async fn wait(&mut self, config: &Client<Config>) {
        sleep_until(self.next).await;
        let rate = config.current().view.ibkr.max_rate.max(1);
        self.next = Instant::now() + Duration::from_secs(1) / rate;
    }
}

/// The accounts of the session, each with its equity and buying power as far as the broker tells them in USD.
async fn money(client: &ibapi::Client) -> Result<Vec<(String, Option<Money>)>, ibapi::Error> {
    let tags = [
        AccountSummaryTags::NET_LIQUIDATION,
        AccountSummaryTags::BUYING_POWER,
    ];
    let mut rows = client
        .account_summary(&AccountGroup("All".to_owned()), &tags)
        .await?;
    let mut told = Vec::new();
    while let Some(item) = rows.next().await {
        match item? {
            SubscriptionItem::Data(AccountSummaryResult::Summary(row)) => told.push(row),
            SubscriptionItem::Data(AccountSummaryResult::End) => break,
            SubscriptionItem::Notice(notice) => tracing::info!("the broker says: {notice}"),
        }
    }
    let value = |account: &str, tag: &str| {
        let row = told.iter().find(|row| row.account == account && row.tag == tag);
        row.and_then(|row| row.value.parse::<f64>().ok())
            .filter(|value| value.is_finite())
    };
    let managed = client.handshake_managed_accounts().iter().map(|account| {
        let equity = value(account, AccountSummaryTags::NET_LIQUIDATION);
        let buying_power = value(account, AccountSummaryTags::BUYING_POWER);
        let money = equity
            .zip(buying_power)
            .map(|(equity, buying_power)| Money { equity, buying_power });
        (account.clone(), money)
    });
    Ok(managed.collect())
}
