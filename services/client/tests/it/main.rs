//! The client on a volume made by hand: in this process, and in real ones that get signals.

#![allow(clippy::unwrap_used, reason = "a test ends by panicking")]

mod offers;
mod places;
mod reload;
mod services;
mod volume;

use lockstep_client::{Builder, Client, Refusal, Snapshot, SwitchNumber};
use serde::Deserialize;
use volume::Volume;

#[derive(Debug, PartialEq, Deserialize)]
pub(crate) struct Config {
    pub(crate) limit: u32,
}

pub(crate) fn load(snapshot: &Snapshot) -> Result<Config, Refusal> {
    let config: Config = snapshot.toml(snapshot.document())?;
    match config.limit {
        0 => Err(Refusal::new("`limit` must be above 0").in_file(snapshot.document())),
        666 => panic!("nobody thought of {}", config.limit),
        _ => Ok(config),
    }
}

pub(crate) fn supervised(volume: &Volume) -> Builder<Config> {
    Client::builder(load).from_vars(volume.var()).unwrap()
}

/// Publishes a release whose one document gives this limit.
pub(crate) fn publish(volume: &mut Volume, limit: &str) -> SwitchNumber {
    volume.publish(&[("config.toml", &format!("limit = {limit}\n"))])
}
