//! `lockstep sync`.

use super::client::Client;
use super::{Failure, SettingsFile, block_on, output};
use crate::coordinator::request::Synced;
use crate::progress::for_a_person;

/// Look at the repository now, without waiting for the interval
///
/// Returns when the head was fetched and judged; `lockstep wait` returns when it is live.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lockstep sync\n  lockstep sync --json | jq -r .head")]
pub(super) struct Sync {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Sync {
    pub(super) fn execute(self, settings: &SettingsFile) -> Result<(), Failure> {
        let client = Client::at(settings.reach()?);
        let told = for_a_person("looking at the repository", None);
        let synced: Synced = block_on(client.post("/api/v1/sync", &()))?;
        drop(told);
        if self.json {
            output::json(&synced)?;
        }
        match (synced.head, synced.error) {
            (Some(_), None) if self.json => Ok(()),
            (Some(head), None) => output::line(format_args!("{head} is the head of {}", synced.branch)),
            (_, error) => {
                Err(Failure::refused(error.unwrap_or_else(|| {
                    "the branch has no commit yet: push one".to_owned()
                })))
            }
        }
    }
}
