//! The real client against the stand-in, as a process of its own.
#![allow(clippy::unwrap_used, reason = "in a test the place says enough")]

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ibapi::accounts::types::{AccountGroup, AccountId};
use ibapi::accounts::{AccountSummaryResult, AccountSummaryTags, PositionUpdate};
use ibapi::prelude::StreamExt;
use ibapi::subscriptions::SubscriptionItem;
use ibapi::{Client, Error};
use serde_json::Value;

/// A running stand-in; it is killed when the test ends, however it ends.
struct Broker {
    child: Child,
    address: String,
    stats_address: String,
    stats_file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Broker {
    fn start(more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let stats_file = folder.path().join("stats.json");
        let mut child = Command::new(env!("CARGO_BIN_EXE_broker"))
            .args([
                "--listen",
                "127.0.0.1:0",
                "--stats-listen",
                "127.0.0.1:0",
                "--stats",
            ])
            .arg(&stats_file)
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut after = |prefix: &str| {
            let line = lines.next().unwrap().unwrap();
            line.strip_prefix(prefix).unwrap().to_owned()
        };
        let address = after("listening on ");
        let stats_address = after("stats on ");
        Self {
            child,
            address,
            stats_address,
            stats_file,
            _folder: folder,
        }
    }

    async fn connect(&self, client_id: i32) -> Result<Client, Error> {
        Client::builder()
            .address(&self.address)
            .client_id(client_id)
            .max_reconnect_attempts(0)
            .connect()
            .await
    }

    fn stats(&self) -> Value {
        read_json(&self.stats_file)
    }

    /// Waits until the counts are these; what the other side does on its own takes a moment.
    fn await_stats(&self, expected: &Value) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let stats = self.stats();
            if stats == *expected {
                return;
            }
            assert!(Instant::now() < deadline, "{stats} is not {expected}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[tokio::test]
async fn a_client_gets_a_session_and_its_heartbeats_are_counted() {
    let broker = Broker::start(&[]);
    let client = broker.connect(7).await.unwrap();
    assert_eq!(client.server_version(), 213);
    assert_eq!(client.handshake_managed_accounts(), ["DU1234567"]);
    assert_eq!(client.next_order_id(), 1);

    let now = client.server_time().await.unwrap();
    let millis = client.server_time_millis().await.unwrap();
    assert!(now.unix_timestamp() > 1_700_000_000 && (millis - now).whole_seconds().abs() <= 1);
    assert_eq!(client.managed_accounts().await.unwrap().len(), 1);

    broker.await_stats(&serde_json::json!({
        "connections_total": 1, "open": 1, "requests": 3, "disconnects": 0, "refused": 0, "clients": [7]
    }));
    client.disconnect().await;
    drop(client);
    broker.await_stats(&serde_json::json!({
        "connections_total": 1, "open": 0, "requests": 3, "disconnects": 1, "refused": 0, "clients": []
    }));
}

#[tokio::test]
async fn a_second_session_with_the_same_client_id_is_refused_and_the_first_lives_on() {
    let broker = Broker::start(&[]);
    let first = broker.connect(1).await.unwrap();
    match broker.connect(1).await {
        Err(Error::ClientIdInUse { client_id: 1 }) => {}
        other => panic!("{:?}", other.map(|_| "a session")),
    }
    first.server_time().await.unwrap();
    let other = broker.connect(2).await.unwrap();
    other.server_time().await.unwrap();
    broker.await_stats(&serde_json::json!({
        "connections_total": 2, "open": 2, "requests": 2, "disconnects": 0, "refused": 1, "clients": [1, 2]
    }));
}

#[tokio::test]
async fn a_client_id_is_free_again_when_its_session_has_ended() {
    let broker = Broker::start(&[]);
    let client = broker.connect(1).await.unwrap();
    client.disconnect().await;
    drop(client);
    broker.await_stats(&serde_json::json!({
        "connections_total": 1, "open": 0, "requests": 0, "disconnects": 1, "refused": 0, "clients": []
    }));
    broker.connect(1).await.unwrap().server_time().await.unwrap();
}

#[tokio::test]
async fn the_account_summary_tells_equity_and_buying_power_of_each_account() {
    let broker = Broker::start(&["--account", "DU1", "--account", "DU2", "--equity", "50000"]);
    let client = broker.connect(1).await.unwrap();
    assert_eq!(client.handshake_managed_accounts(), ["DU1", "DU2"]);
    let tags = [
        AccountSummaryTags::NET_LIQUIDATION,
        AccountSummaryTags::BUYING_POWER,
    ];
    let mut rows = client
        .account_summary(&AccountGroup("All".to_owned()), &tags)
        .await
        .unwrap();
    let mut found = Vec::new();
    while let Some(item) = rows.next().await {
        match item.unwrap() {
            SubscriptionItem::Data(AccountSummaryResult::Summary(row)) => {
                found.push(format!(
                    "{} {} {} {}",
                    row.account, row.tag, row.value, row.currency
                ));
            }
            SubscriptionItem::Data(AccountSummaryResult::End) => break,
            SubscriptionItem::Notice(notice) => panic!("{notice}"),
        }
    }
    let expected = [
        "DU1 NetLiquidation 50000.00 USD",
        "DU1 BuyingPower 200000.00 USD",
        "DU2 NetLiquidation 50000.00 USD",
        "DU2 BuyingPower 200000.00 USD",
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn what_it_does_not_know_is_answered_with_an_error_and_the_session_stays() {
    let broker = Broker::start(&[]);
    let (client, mut notices) = Client::builder()
        .address(&broker.address)
        .client_id(1)
        .connect_with_notice_stream()
        .await
        .unwrap();
    let _profit = client
        .pnl(&AccountId("DU1234567".to_owned()), None)
        .await
        .unwrap();
    let notice = notices.next().await.unwrap();
    assert_eq!(notice.code, 505, "{notice}");
    client.server_time().await.unwrap();
    assert_eq!(broker.stats()["disconnects"], 0);
}

#[test]
fn the_port_of_the_counts_says_the_same_as_the_file() {
    let broker = Broker::start(&[]);
    let mut line = String::new();
    TcpStream::connect(&broker.stats_address)
        .unwrap()
        .read_to_string(&mut line)
        .unwrap();
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), broker.stats());
}

#[test]
fn a_connection_that_speaks_something_else_is_dropped_and_counts_nowhere() {
    let broker = Broker::start(&[]);
    let mut stream = TcpStream::connect(&broker.address).unwrap();
    std::io::Write::write_all(&mut stream, b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // A reset is as good as an end: nothing was answered.
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty());
    assert_eq!(broker.stats()["connections_total"], 0);
}

#[tokio::test]
async fn positions_are_told_as_they_were_given() {
    let broker = Broker::start(&["--position", "KO=100@63.5", "--position", "PG=-20@171"]);
    let client = broker.connect(7).await.unwrap();
    let mut rows = client.positions().await.unwrap();
    let mut told = Vec::new();
    while let Some(item) = rows.next().await {
        match item.unwrap() {
            SubscriptionItem::Data(PositionUpdate::Position(row)) => {
                told.push((
                    row.account,
                    row.contract.symbol.to_string(),
                    row.position,
                    row.average_cost,
                ));
            }
            SubscriptionItem::Data(PositionUpdate::PositionEnd) => break,
            SubscriptionItem::Notice(notice) => panic!("{notice}"),
        }
    }
    let account = || "DU1234567".to_owned();
    assert_eq!(
        told,
        [
            (account(), "KO".to_owned(), 100.0, 63.5),
            (account(), "PG".to_owned(), -20.0, 171.0)
        ]
    );
}
