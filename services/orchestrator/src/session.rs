//! The one broker session: connected, kept alive, found again when it is lost.
//!
//! A changed configuration never touches a session that is up: connection keys are taken by the next one.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use lockstep_client::Client;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use trader_config::Ibkr;

use crate::accounts::{Told, Watched};
use crate::config::Config;
use crate::pace::Pace;
use crate::sizing::{Holding, Money};

/// The first delay before connecting again; it doubles with each failure.
const FIRST_DELAY: Duration = Duration::from_millis(500);
/// The longest.
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// How often the configuration is looked at besides.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(1);

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

/// An account that a session manages.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Account {
    pub(crate) name: String,
    /// None as long as the broker does not tell it in USD.
    pub(crate) money: Option<Money>,
    pub(crate) holdings: Vec<Holding>,
}

/// A session that is up.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Up {
    pub(crate) endpoint: Endpoint,
    accounts: Vec<Account>,
}

impl Up {
    /// What is known of this account; an empty name means the only one.
    pub(crate) fn account(&self, wanted: &str) -> Result<&Account, NoAccount> {
        let managed = || {
            self.accounts
                .iter()
                .map(|account| account.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        match self.accounts.as_slice() {
            [account] if wanted.is_empty() => Ok(account),
            accounts => match accounts.iter().find(|account| account.name == wanted) {
                Some(account) => Ok(account),
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

/// Waits for a change.
pub(crate) async fn changed<T>(changes: &mut watch::Receiver<T>) {
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
    match timeout(Duration::from_secs(ibkr.timeout.into()), connecting).await {
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
    let mut pace = Pace::default();
    let limit_of = || config.current().view.ibkr.timeout;
    let first = async {
        // Two requests; what they ask for is told again whenever it changes.
        paced(&mut pace, config).await;
        let money = Watched::money(client).await?;
        paced(&mut pace, config).await;
        let mut watched = Watched::positions(money, client).await?;
        let mut told = Told::default();
        while !told.is_complete() {
            told.take(watched.next().await?);
        }
        Ok((watched, told))
    };
    let timed = limit_of();
    let (mut watched, mut told) = match timeout(Duration::from_secs(timed.into()), first).await {
        Ok(Ok(first)) => first,
        Ok(Err(Some(error))) => return Lost::Accounts(error),
        Ok(Err(None)) => return Lost::Closed,
        Err(_) => return Lost::Silent(timed),
    };
    let managed = client.handshake_managed_accounts();
    let state = |told: &Told| Up {
        endpoint: endpoint.clone(),
        accounts: managed.iter().map(|name| told.account(name)).collect(),
    };
    let begun = state(&told);
    tracing::info!(
        accounts = managed.join(","),
        server_version = client.server_version(),
        "session {number} up"
    );
    if let Err(reason) = begun.account(&config.current().view.ibkr.account) {
        tracing::error!("ibkr.account: {reason}; nothing is sized");
    }
    up.send_replace(Some(Arc::new(begun)));
    let mut beat = Instant::now() + heartbeat;
    loop {
        tokio::select! {
            // The session ended: the sooner it is noticed the better.
            notice = notices.next() => match notice {
                Some(notice) => tracing::info!("the broker says: {notice}"),
                None => return Lost::Closed,
            },
            // Figures of an account changed.
            news = watched.next() => match news {
                Ok(news) => {
                    told.take(news);
                    let now = state(&told);
                    up.send_if_modified(|up| {
                        let news = up.as_deref() != Some(&now);
                        *up = Some(Arc::new(now));
                        news
                    });
                }
                Err(Some(error)) => return Lost::Accounts(error),
                Err(None) => return Lost::Closed,
            },
            // A session that does not answer is none, though its connection may look well.
            () = sleep_until(beat) => {
                paced(&mut pace, config).await;
                let timed = limit_of();
                match timeout(Duration::from_secs(timed.into()), client.server_time()).await {
                    Ok(Ok(time)) => tracing::debug!(time = time.unix_timestamp(), "heartbeat"),
                    Ok(Err(error)) => return Lost::Heartbeat(error),
                    Err(_) => return Lost::Silent(timed),
                }
                beat = Instant::now() + heartbeat;
            }
        }
    }
}

/// Waits until a request may be sent, by the rate that is configured now.
async fn paced(pace: &mut Pace, config: &Client<Config>) {
    let rate = config.current().view.ibkr.max_rate;
    sleep_until(pace.due(rate, std::time::Instant::now()).into()).await;
    pace.sent(std::time::Instant::now());
}
