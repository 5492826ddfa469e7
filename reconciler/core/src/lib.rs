//! Lockstep's decisions, without any I/O.

pub mod admission;
pub mod convert;
pub mod counts;
pub mod diagnostic;
pub mod document;
pub mod instances;
pub mod ledger;
pub mod lookup;
pub mod plan;
pub mod policy;
pub mod reads;
pub mod rollout;
pub mod rule;
pub mod schema_change;
pub mod secret;
pub mod service;
pub mod status;
pub mod tree;
pub mod validate;
pub mod window;
