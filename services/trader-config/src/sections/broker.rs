//! `[ibkr]`: where the broker is and how its session behaves.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The connection to TWS or IB Gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Broker")]
pub struct Ibkr {
    /// Host name or address of TWS or IB Gateway. In a container or a pod it is not 127.0.0.1.
    #[schemars(title = "Host", length(min = 1), extend("x-lockstep-effect" = "restart"))]
    pub host: String,
    /// Port of its API: TWS paper 7497, TWS live 7496, Gateway paper 4002, Gateway live 4001.
    #[schemars(title = "Port", range(min = 1, max = 65535), extend("x-lockstep-effect" = "restart"))]
    pub port: u16,
    /// The client id of the session. Two sessions with one id cannot exist: the broker refuses the second.
    #[schemars(
        title = "Client id",
        range(min = 0, max = 2_147_483_647),
        extend("x-lockstep-effect" = "restart")
    )]
    pub client_id: i32,
    /// Never send an order, whatever the strategies say. LIVE trading needs `false`.
    #[schemars(title = "Read only")]
    pub read_only: bool,
    /// The account to trade, as the broker names it (for example DU1234567). Empty: the session's only one.
    #[schemars(title = "Account")]
    pub account: String,
    /// How long to wait for the broker's answer, when connecting and for each request.
    // At least 5 s: well above the longest pause of a service, or a heartbeat under way would end the session.
    #[schemars(title = "Time-out", range(min = 5, max = 300), extend("x-unit" = "s"))]
    pub timeout: u32,
    /// Connect again, with growing delays, when the session is lost.
    #[schemars(title = "Reconnect")]
    pub auto_reconnect: bool,
    /// The most requests that are sent to the broker in a second. Its own limit is 50.
    #[schemars(title = "Request rate", range(min = 1, max = 50), extend("x-unit" = "requests/s"))]
    pub max_rate: u32,
}

impl Ibkr {
    /// The ports on which TWS and IB Gateway serve live accounts.
    pub const LIVE_PORTS: [u16; 2] = [7496, 4001];
}

impl Default for Ibkr {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 7497,
            client_id: 1,
            read_only: false,
            account: String::new(),
            timeout: 20,
            auto_reconnect: true,
            max_rate: 45,
        }
    }
}
