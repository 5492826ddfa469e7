//! `lockstep rollback` and `lockstep revert`: the ways back, each an ordinary commit that is pushed.

use super::client::Client;
use super::{Failure, SettingsFile, block_on, output};
use crate::coordinator::request::{Committed, Undo};
use crate::progress::for_a_person;

/// Commit an earlier tree and push it: it goes out by the same road as every commit
///
/// Without --to: the live tree if the head is not live, else that of the newest settled revision that differs.
/// It cannot conflict.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockstep rollback -m \"fills stopped\"\n  lockstep rollback --to 9f3c0aa && lockstep wait"
)]
pub(super) struct Rollback {
    /// Whose tree
    #[arg(long, value_name = "REV")]
    to: Option<String>,
    /// Why, for the commit's message
    #[arg(short, long, value_name = "WHY")]
    message: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Rollback {
    pub(super) fn execute(self, settings: &SettingsFile) -> Result<(), Failure> {
        commit(
            settings,
            &Undo::Rollback {
                to: self.to,
                message: self.message,
            },
            self.json,
        )
    }
}

/// Undo one commit by a new one and push it: it goes out by the same road as every commit
///
/// Where later commits touched the same lines it is refused, and `lockstep rollback` is the way.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  lockstep revert 9f3c0aa -m \"too much risk\" && lockstep wait")]
pub(super) struct Revert {
    /// Which commit
    #[arg(value_name = "REV")]
    revision: String,
    /// Why, for the commit's message
    #[arg(short, long, value_name = "WHY")]
    message: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Revert {
    pub(super) fn execute(self, settings: &SettingsFile) -> Result<(), Failure> {
        commit(
            settings,
            &Undo::Revert {
                revision: self.revision,
                message: self.message,
            },
            self.json,
        )
    }
}

fn commit(settings: &SettingsFile, undo: &Undo, json: bool) -> Result<(), Failure> {
    let client = Client::at(settings.reach()?);
    let told = for_a_person("committing and pushing", None);
    let made: Committed = block_on(client.post_once("/api/v1/commit", undo))?;
    drop(told);
    if json {
        return output::json(&made);
    }
    output::line(format_args!(
        "{} {} is pushed to {}; `lockstep wait` ends when it is live",
        made.revision.short(),
        made.subject,
        made.branch
    ))
}
