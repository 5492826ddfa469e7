//! `lockstep sync`.

use lockstep_protocol::Revision;

use super::client::Client;
use super::{Failure, SettingsFile, block_on, output};
use crate::coordinator::request::{Passed, Synced};
use crate::progress::for_a_person;
use crate::web;

/// Look at the repository now, without waiting for the interval
///
/// Returns when the head was fetched and judged; `lockstep wait` returns when it is live. With --now the head passes a
/// window that is closed: that revision alone, and who let it through is recorded, with the reason.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockstep sync\n  lockstep sync --json | jq -r .head\n  \
                  lockstep sync --now --reason \"the stop is wrong, the desk knows\" && lockstep wait"
)]
pub(super) struct Sync {
    /// Let the head through a window that is closed
    #[arg(long, requires = "reason")]
    now: bool,
    /// Why it has to go out now: recorded with your name, and shown in the history
    #[arg(long, value_name = "WHY", requires = "now")]
    reason: Option<String>,
    /// With --now: the revision that you mean; refused if the head is another one by now
    #[arg(value_name = "REV", requires = "now")]
    revision: Option<String>,
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
        match (&synced.head, &synced.error) {
            (Some(_), None) if self.json => {}
            (Some(head), None) => {
                output::line(format_args!("{head} is the head of {}", synced.branch))?;
            }
            (_, error) => {
                return Err(Failure::refused(
                    error
                        .clone()
                        .unwrap_or_else(|| "the branch has no commit yet: push one".to_owned()),
                ));
            }
        }
        match (synced.head, self.reason) {
            (Some(head), Some(reason)) => let_through(&client, head, self.revision.as_deref(), reason),
            (_, _) => Ok(()),
        }
    }
}

fn let_through(client: &Client, head: Revision, meant: Option<&str>, reason: String) -> Result<(), Failure> {
    if let Some(meant) = meant
        && (meant.len() < 7 || !head.as_str().starts_with(meant))
    {
        return Err(Failure::refused(format!(
            "the head is {}, not {meant}: nothing is let through; look at it first (`lockstep plan`), or name it with \
             at least 7 digits",
            head.short()
        )));
    }
    let wanted = web::Pass {
        revision: head,
        reason,
    };
    let passed: Passed = block_on(client.post("/api/v1/pass", &wanted))?;
    output::note(match passed.passed {
        true => "it is let through the window that is closed",
        false => "no window holds it",
    });
    match passed.held {
        Some(why) => Err(Failure::refused(format!("it is held all the same: {why}"))),
        None => Ok(()),
    }
}
