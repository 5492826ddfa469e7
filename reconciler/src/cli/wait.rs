//! `lockstep wait`.

use std::time::{Duration, Instant};

use super::client::Client;
use super::{Failure, SettingsFile, block_on, moment, output};
use crate::progress::for_a_person;
use crate::web::{WaitFor, Waited};

/// Wait until a revision, or one that descends from it, is live
///
/// Without REV the repository is looked at first, and its head is waited for. Ends at once with the reason
/// when the revision was rejected or its rollout failed.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  git push && lockstep wait\n  lockstep wait $(git rev-parse HEAD) --timeout 10s\n\n\
                        Exit codes: 0 it is live, 1 it is not and will not be, or not in time, 3 no reconciler"
)]
pub(super) struct Wait {
    /// A commit id, an abbreviation of one, or the branch; the head if none
    #[arg(value_name = "REV")]
    revision: Option<String>,
    /// How long to wait at most
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = moment::duration)]
    timeout: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Wait {
    pub(super) fn execute(self, settings: &SettingsFile) -> Result<(), Failure> {
        let client = Client::at(settings.reach()?);
        // All that is left of it, should it have to be asked again.
        let until = Instant::now().checked_add(self.timeout);
        let wanted = || {
            let left = until.map_or(self.timeout, |until| {
                until.saturating_duration_since(Instant::now())
            });
            WaitFor {
                revision: self.revision.clone(),
                timeout_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            }
        };
        let told = for_a_person("waiting until it is live", None);
        let waited: Waited = block_on(client.post_anew("/api/v1/wait", wanted))?;
        drop(told);
        if self.json {
            output::json(&waited)?;
        }
        let name = || match (&waited.revision, &self.revision) {
            (Some(revision), _) => revision.to_string(),
            (None, Some(text)) => text.clone(),
            (None, None) => "the head".to_owned(),
        };
        match waited.settled {
            true if self.json => Ok(()),
            true => output::line(format_args!("{} is live", name())),
            false => {
                let reason = waited
                    .reason
                    .as_deref()
                    .unwrap_or("no reason is known: see `lockstep status`");
                // Diagnostics begin on a line of their own, so that their carets stand where they belong.
                let gap = if reason.contains('\n') { "\n" } else { " " };
                Err(Failure::refused(format!("{} is not live:{gap}{reason}", name())))
            }
        }
    }
}
