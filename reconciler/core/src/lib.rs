//! Lockstep's decisions, without any I/O.

pub mod admission;
pub mod instances;
pub mod ledger;
pub mod rollout;
pub mod service;
pub mod status;
pub mod tree;
