//! The gRPC service: scans with whatever configuration is live when they begin.

use std::sync::Arc;

use lockstep_client::Client;
use scanner_api::{ScanRequest, ScanResponse, Scanner, Strategy};
use tonic::{Request, Response, Status};

use crate::config::Config;
use crate::limit::Limit;
use crate::market::Market;
use crate::scan::scan;

/// Answers scans.
pub(crate) struct Service {
    pub(crate) config: Client<Config>,
    pub(crate) market: Arc<Market>,
    pub(crate) limit: Arc<Limit>,
}

#[tonic::async_trait]
impl Scanner for Service {
    async fn scan(&self, request: Request<ScanRequest>) -> Result<Response<ScanResponse>, Status> {
        let wanted = strategies(request.get_ref())?;
        let _working = self
            .limit
            .enter(|| self.config.current().view.scanner.max_concurrency)
            .await;
        // One value for the whole scan: a switch meanwhile does not mix into it.
        let config = self.config.current();
        let pass = scan(&config.view, &self.market, &wanted);
        tracing::debug!(universe = pass.universe, matches = pass.matches.len(), "scanned");
        Ok(Response::new(ScanResponse {
            revision: config
                .revision
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            switch: config.switch.map(|switch| switch.0),
            universe: pass.universe,
            matches: pass.matches,
        }))
    }
}

fn strategies(request: &ScanRequest) -> Result<Vec<Strategy>, Status> {
    let known = request
        .strategies
        .iter()
        .map(|number| match Strategy::try_from(*number) {
            Ok(Strategy::Unspecified) | Err(_) => Err(Status::invalid_argument(format!(
                "there is no strategy {number}: 1 to 4 are expected"
            ))),
            Ok(strategy) => Ok(strategy),
        });
    known.collect()
}
