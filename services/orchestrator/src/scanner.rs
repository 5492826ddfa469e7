//! The scanner, as the orchestrator asks it.

use std::time::Duration;

use scanner_api::{ChainRequest, Contract, ScanRequest, ScanResponse, ScannerClient};
use tonic::Request;
use tonic::transport::{Channel, Endpoint};
use trader_config::ScannerAddress;

/// How long an answer may take, the connection included. The scanner is told, and gives up as well.
const LIMIT: Duration = Duration::from_secs(5);

/// Why the scanner gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Away {
    #[error("scanner.host is no host: {0}")]
    Address(tonic::transport::Error),
    #[error("{}: {}", .0.code(), .0.message())]
    Asked(#[from] tonic::Status),
}

/// The connection to the scanner, made when first needed and anew when its address changes.
#[derive(Default)]
pub(crate) struct Scanner(Option<(ScannerAddress, ScannerClient<Channel>)>);

impl Scanner {
    /// One scan with all strategies.
    pub(crate) async fn scan(&mut self, address: &ScannerAddress) -> Result<ScanResponse, Away> {
        let request = within_limit(ScanRequest::default());
        Ok(self.client(address)?.scan(request).await?.into_inner())
    }

    /// The contracts on a symbol of the scanner's universe.
    pub(crate) async fn chain(
        &mut self,
        address: &ScannerAddress,
        symbol: &str,
    ) -> Result<Vec<Contract>, Away> {
        let symbol = symbol.to_owned();
        let request = within_limit(ChainRequest { symbol });
        match self.client(address)?.chain(request).await {
            Ok(answer) => Ok(answer.into_inner().contracts),
            // Its universe changed since the scan: then there is nothing to buy.
            Err(status) if status.code() == tonic::Code::NotFound => Ok(Vec::new()),
            Err(status) => Err(status.into()),
        }
    }

    fn client(&mut self, address: &ScannerAddress) -> Result<&mut ScannerClient<Channel>, Away> {
        let (_, client) = match self.0.take() {
            Some(known) if known.0 == *address => self.0.insert(known),
            Some(_) | None => {
                let ScannerAddress { host, port } = address;
                let endpoint =
                    Endpoint::from_shared(format!("http://{host}:{port}")).map_err(Away::Address)?;
                // The channel connects when it is used, again after each failure.
                let channel = endpoint.connect_timeout(LIMIT).timeout(LIMIT).connect_lazy();
                self.0.insert((address.clone(), ScannerClient::new(channel)))
            }
        };
        Ok(client)
    }
}

fn within_limit<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(LIMIT);
    request
}
