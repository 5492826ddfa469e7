//! `lockstep suspend`, `resume` and `retry`: holding candidates back, and letting them go.

use jiff::Timestamp;

use super::client::Client;
use super::{Failure, SettingsFile, block_on, moment, output};
use crate::web;

/// Suspend reconciling: candidates are held until it is resumed
///
/// Services run on; a rollout under way goes to its end; healing and ways back are never held.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockstep suspend --reason \"maintenance at the broker\" --until 17:30\n  \
                  lockstep suspend --reason \"looking into it\" --until 2h"
)]
pub(super) struct Suspend {
    /// Why: shown in the status and to whoever waits
    #[arg(long, value_name = "WHY")]
    reason: String,
    /// Until when: a duration as in "2h", a time as in "17:30" or "2026-01-31T17:30"; until `resume` if none
    #[arg(long, value_name = "TIME | DURATION", value_parser = moment::future)]
    until: Option<Timestamp>,
}

impl Suspend {
    pub(super) fn execute(self, settings: &SettingsFile) -> Result<(), Failure> {
        let client = Client::at(settings.reach()?);
        let until = self
            .until
            .map_or_else(|| "`lockstep resume`".to_owned(), moment::local);
        let wanted = web::Suspend {
            reason: self.reason,
            until: self.until,
        };
        let () = block_on(client.post("/api/v1/suspend", &wanted))?;
        output::line(format_args!("suspended until {until}"))
    }
}

/// Resume reconciling: what was held is tried at once
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  lockstep resume && lockstep wait")]
pub(super) struct Resume {}

impl Resume {
    pub(super) fn execute(self, settings: &SettingsFile) -> Result<(), Failure> {
        let Self {} = self;
        let client = Client::at(settings.reach()?);
        let () = block_on(client.post("/api/v1/resume", &()))?;
        output::line("resumed")
    }
}

/// Forget which revisions were rejected or quarantined, and try the head again
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  lockstep retry && lockstep wait")]
pub(super) struct Retry {}

impl Retry {
    pub(super) fn execute(self, settings: &SettingsFile) -> Result<(), Failure> {
        let Self {} = self;
        let client = Client::at(settings.reach()?);
        let forgotten: usize = block_on(client.post("/api/v1/retry", &()))?;
        match forgotten {
            0 => output::line("there was no verdict to forget; the head is looked at again"),
            1 => output::line("1 verdict is forgotten; the head is tried again"),
            many => output::line(format_args!(
                "{many} verdicts are forgotten; the head is tried again"
            )),
        }
    }
}
