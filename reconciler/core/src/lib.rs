//! Lockstep's decisions, without any I/O.

pub mod tree;
