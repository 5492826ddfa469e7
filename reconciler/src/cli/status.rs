//! `lockstep status`.

use lockstep_core::status::StatusView;

use super::client::Client;
use super::{Failure, SettingsFile, block_on};

/// Show what is live, what is under way, and what each instance runs
#[derive(Debug, clap::Args)]
pub(super) struct Status {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) fn execute(self, settings: &SettingsFile) -> Result<(), Failure> {
        let settings = settings.read()?;
        let status: StatusView = block_on(Client::of(&settings).get("/api/v1/status"))?;
        println!(
            "{}",
            serde_json::to_string_pretty(&status).map_err(Failure::refused)?
        );
        Ok(())
    }
}
