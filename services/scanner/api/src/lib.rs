//! The scanner's gRPC API, as `proto/scanner.proto` describes it: what the orchestrator and the scanner share.
//!
//! Generated code only. It must never hold anything that one of the two knows alone.

#[allow(
    missing_docs,
    clippy::all,
    clippy::semicolon_if_nothing_returned,
    unreachable_pub,
    reason = "generated"
)]
mod generated {
    tonic::include_proto!("trader.scanner.v1");
}

pub use generated::scanner_client::ScannerClient;
pub use generated::scanner_server::{Scanner, ScannerServer};
pub use generated::{
    ChainRequest, ChainResponse, Contract, Match, Right, ScanRequest, ScanResponse, Strategy,
};
