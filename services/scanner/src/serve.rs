//! The gRPC service: answers with whatever configuration is live when a call gets its place.
//!
//! A call waits for a place, then works on a thread of its own, since it may read files. The server drops a call whose
//! deadline has passed: one that waits goes, one that works is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use lockstep_client::Client;
use scanner_api::{ChainRequest, ChainResponse, ScanRequest, ScanResponse, Scanner, Strategy};
use tonic::{Request, Response, Status};

use crate::config::Config;
use crate::limit::Limit;
use crate::scan::scan;

/// Answers scans and questions for contracts.
pub(crate) struct Service {
    pub(crate) config: Client<Config>,
    pub(crate) limit: Arc<Limit>,
}

impl Service {
    /// Does some work in a place of its own, with one configuration: a switch meanwhile does not mix into it.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Config, &AtomicBool) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let most = || self.config.current().view.scanner.max_concurrency;
        let working = self.limit.enter(most).await;
        let working = working.map_err(|full| Status::resource_exhausted(full.to_string()))?;
        let config = Arc::clone(&self.config.current());
        let caller = Caller(Arc::new(AtomicBool::new(false)));
        let gone = Arc::clone(&caller.0);
        let done = tokio::task::spawn_blocking(move || {
            // The place is left when the work ends, not when the caller goes.
            let _working = working;
            work(&config, &gone)
        });
        let done = done.await;
        done.map_err(|_| Status::internal("the scan failed, its cause is in the scanner's log"))?
    }
}

/// Who waits for the answer; says so when it goes.
struct Caller(Arc<AtomicBool>);

impl Drop for Caller {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[tonic::async_trait]
impl Scanner for Service {
    async fn scan(&self, request: Request<ScanRequest>) -> Result<Response<ScanResponse>, Status> {
        let wanted = strategies(request.get_ref())?;
        let scanned = self.work(move |config, gone| {
            let given_up = || gone.load(Ordering::Relaxed);
            let pass = scan(&config.view, &config.market, &wanted, Instant::now(), given_up);
            let pass = pass.ok_or_else(|| Status::cancelled("nobody waits for the answer"))?;
            tracing::debug!(universe = pass.universe, matches = pass.matches.len(), "scanned");
            Ok(ScanResponse {
                revision: config
                    .revision
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                switch: config.switch.map(|switch| switch.0),
                universe: pass.universe,
                matches: pass.matches,
                sectors: pass.sectors,
            })
        });
        scanned.await.map(Response::new)
    }

    async fn chain(&self, request: Request<ChainRequest>) -> Result<Response<ChainResponse>, Status> {
        let ChainRequest { symbol } = request.into_inner();
        let answered = self.work(move |config, _| {
            let universe = &config.view.universe.symbols;
            // A name from outside is never made part of a path before it is known.
            if !universe.iter().any(|known| known.as_str() == symbol) {
                return Err(Status::not_found(format!(
                    "{symbol:?} is not in universe.symbols"
                )));
            }
            let chain = config.market.chain(&symbol, &config.view.data, Instant::now());
            Ok(ChainResponse {
                contracts: chain.as_ref().clone(),
            })
        });
        answered.await.map(Response::new)
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
