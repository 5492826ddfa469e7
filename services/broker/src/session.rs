//! One connection, from the handshake to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncReadExt, AsyncWrite, BufReader};
use tokio::net::TcpStream;

use crate::stats::Stats;
use crate::wire::{self, Ended, request, response};

/// What all sessions share.
pub(crate) struct Broker {
    pub(crate) accounts: Vec<String>,
    /// Of each account, in USD.
    pub(crate) equity: u32,
    /// Of the first account.
    pub(crate) positions: Vec<Held>,
    pub(crate) stats: Arc<Stats>,
}

/// Shares that an account holds.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    symbol: String,
    quantity: f64,
    /// Of one share, in USD.
    cost: f64,
}

impl std::str::FromStr for Held {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = || {
            let (symbol, rest) = text.split_once('=')?;
            let (quantity, cost) = rest.split_once('@')?;
            Some(Self {
                symbol: symbol.to_owned(),
                quantity: quantity.parse().ok()?,
                cost: cost.parse().ok()?,
            })
        };
        parsed().ok_or_else(|| "SYMBOL=QUANTITY@COST is expected, as in KO=100@63.5".to_owned())
    }
}

/// An established session; it is counted for as long as this lives.
struct Established<'a> {
    stats: &'a Stats,
    client_id: i32,
}

impl<'a> Established<'a> {
    /// Takes the client id, unless a session has it already.
    fn new(stats: &'a Stats, client_id: i32) -> Option<Self> {
        stats.change(|counts| {
            if counts.clients.contains(&client_id) {
                counts.refused += 1;
                return None;
            }
            counts.clients.push(client_id);
            counts.connections_total += 1;
            counts.open += 1;
            Some(Self { stats, client_id })
        })
    }
}

impl Drop for Established<'_> {
    fn drop(&mut self) {
        self.stats.change(|counts| {
            counts.clients.retain(|id| *id != self.client_id);
            counts.open -= 1;
            counts.disconnects += 1;
        });
    }
}

/// Serves one connection until it ends.
pub(crate) async fn run(broker: Arc<Broker>, stream: TcpStream, peer: SocketAddr) {
    match serve(&broker, stream).await {
        Ok(()) | Err(Ended::Closed) => tracing::info!("{peer} is gone"),
        Err(Ended::Garbled(what)) => tracing::warn!("{peer} is dropped: it sent {what}"),
    }
}

async fn serve(broker: &Broker, stream: TcpStream) -> Result<(), Ended> {
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let client_id = handshake(&mut reader, &mut writer).await?;
    let Some(session) = Established::new(&broker.stats, client_id) else {
        let text = "Unable to connect as the client id is already in use. Retry with a unique client id.";
        return send_error(&mut writer, -1, wire::CLIENT_ID_IN_USE, text).await;
    };
    tracing::info!("client {client_id} has a session");
    let accounts = wire::ManagedAccounts {
        accounts_list: Some(broker.accounts.join(",")),
    };
    wire::send(&mut writer, response::MANAGED_ACCOUNTS, &accounts).await?;
    wire::send(
        &mut writer,
        response::NEXT_VALID_ID,
        &wire::NextValidId { order_id: Some(1) },
    )
    .await?;
    loop {
        let body = wire::read_frame(&mut reader).await?;
        session.stats.change(|counts| counts.requests += 1);
        answer(broker, &mut writer, &body).await?;
    }
}

/// Agrees on the version and learns the client id.
async fn handshake(
    reader: &mut (impl tokio::io::AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
) -> Result<i32, Ended> {
    let mut greeting = [0; 4];
    reader.read_exact(&mut greeting).await?;
    if &greeting != wire::GREETING {
        return Err(Ended::Garbled(
            "something else than the API's greeting".to_owned(),
        ));
    }
    let range = wire::read_frame(reader).await?;
    let range = String::from_utf8_lossy(&range);
    let (least, most) = versions(&range).ok_or_else(|| Ended::Garbled(format!("the versions {range:?}")))?;
    if !(least..=most).contains(&wire::SERVER_VERSION) {
        let wanted = wire::SERVER_VERSION;
        return Err(Ended::Garbled(format!(
            "the versions {range:?}, without {wanted}"
        )));
    }
    // The clock is told per request; the handshake's is informative, and a fixed one needs no calendar.
    let hello = format!("{}\0{}\0", wire::SERVER_VERSION, "20260101 00:00:00 UTC");
    wire::write_frame(writer, hello.as_bytes()).await?;
    let body = wire::read_frame(reader).await?;
    let (kind, payload) = wire::split(&body)?;
    if kind != request::START_API {
        return Err(Ended::Garbled(format!(
            "message {kind} before the start of the API"
        )));
    }
    let start: wire::StartApi = wire::decode(payload)?;
    Ok(start.client_id.unwrap_or_default())
}

/// The range in `v213..226`, or in `v213` alone; options may follow a space.
fn versions(text: &str) -> Option<(i32, i32)> {
    let range = text.strip_prefix('v')?.split(' ').next()?;
    let (least, most) = range.split_once("..").unwrap_or((range, range));
    Some((least.parse().ok()?, most.parse().ok()?))
}

async fn answer(broker: &Broker, to: &mut (impl AsyncWrite + Unpin), body: &[u8]) -> Result<(), Ended> {
    let (kind, payload) = wire::split(body)?;
    match kind {
        request::CURRENT_TIME => {
            let time = wire::CurrentTime {
                time: Some(millis() / 1000),
            };
            wire::send(to, response::CURRENT_TIME, &time).await
        }
        request::CURRENT_TIME_MILLIS => {
            let time = wire::CurrentTime { time: Some(millis()) };
            wire::send(to, response::CURRENT_TIME_MILLIS, &time).await
        }
        request::MANAGED_ACCOUNTS => {
            let accounts = wire::ManagedAccounts {
                accounts_list: Some(broker.accounts.join(",")),
            };
            wire::send(to, response::MANAGED_ACCOUNTS, &accounts).await
        }
        request::ACCOUNT_SUMMARY => summary(broker, to, &wire::decode(payload)?).await,
        request::POSITIONS => positions(broker, to).await,
        request::CANCEL_ACCOUNT_SUMMARY | request::CANCEL_POSITIONS => Ok(()),
        unknown => {
            let text = format!("Fatal Error: Unknown message id ({unknown})");
            send_error(to, -1, wire::UNKNOWN_REQUEST, &text).await
        }
    }
}

async fn summary(
    broker: &Broker,
    to: &mut (impl AsyncWrite + Unpin),
    request: &wire::AccountSummaryRequest,
) -> Result<(), Ended> {
    let wire::AccountSummaryRequest { req_id, tags } = request;
    let tags = tags.as_deref().unwrap_or_default();
    let equity = u64::from(broker.equity);
    for account in &broker.accounts {
        for (tag, value) in [("NetLiquidation", equity), ("BuyingPower", equity * 4)] {
            if !tags.split(',').any(|wanted| wanted == tag) {
                continue;
            }
            let row = wire::AccountSummary {
                req_id: *req_id,
                account: Some(account.clone()),
                tag: Some(tag.to_owned()),
                value: Some(format!("{value}.00")),
                currency: Some("USD".to_owned()),
            };
            wire::send(to, response::ACCOUNT_SUMMARY, &row).await?;
        }
    }
    wire::send(
        to,
        response::ACCOUNT_SUMMARY_END,
        &wire::AccountSummaryEnd { req_id: *req_id },
    )
    .await
}

async fn positions(broker: &Broker, to: &mut (impl AsyncWrite + Unpin)) -> Result<(), Ended> {
    for Held {
        symbol,
        quantity,
        cost,
    } in &broker.positions
    {
        let contract = wire::Contract {
            symbol: Some(symbol.clone()),
            sec_type: Some("STK".to_owned()),
            currency: Some("USD".to_owned()),
        };
        let row = wire::Position {
            account: broker.accounts.first().cloned(),
            contract: Some(contract),
            position: Some(quantity.to_string()),
            avg_cost: Some(*cost),
        };
        wire::send(to, response::POSITION, &row).await?;
    }
    wire::send(to, response::POSITION_END, &wire::PositionEnd {}).await
}

async fn send_error(to: &mut (impl AsyncWrite + Unpin), id: i32, code: i32, text: &str) -> Result<(), Ended> {
    let error = wire::ErrorMessage {
        id: Some(id),
        error_time: Some(millis()),
        error_code: Some(code),
        error_msg: Some(text.to_owned()),
    };
    wire::send(to, response::ERROR, &error).await
}

fn millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::versions;

    #[test]
    fn a_version_range_is_read_in_both_of_its_forms() {
        assert_eq!(versions("v213..226"), Some((213, 226)));
        assert_eq!(versions("v213"), Some((213, 213)));
        assert_eq!(versions("v100..213 +PACEAPI"), Some((100, 213)));
        assert_eq!(versions("213..226"), None);
        assert_eq!(versions("vx..y"), None);
    }
}
