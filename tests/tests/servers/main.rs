//! Repositories behind servers: `git http-backend` behind real TLS and a real `sshd`, through the whole of Lockstep.
//!
//! Run by `cargo e2e servers`, because it needs an sshd. What HTTPS can do wrong is tested case by case in
//! `reconciler/source/tests/https.rs`; here it is what the operator sees, and that what is live stays.

#![allow(clippy::unwrap_used, reason = "a test has no use for a failure")]

mod hanging;
mod https;
mod pushing;
mod ssh;
