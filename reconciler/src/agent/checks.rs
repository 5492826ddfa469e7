//! `check` commands: a dry run of a service's own on the candidate.

use std::time::Duration;

use lockstep_core::rollout::CheckVerdict;
use tokio::process::Command;

use super::commands::{self, Unsuccessful};

/// Runs a check to its end, or kills it when its time is up.
pub(super) async fn run(command: &[String], within: Duration) -> CheckVerdict {
    let Some((program, arguments)) = command.split_first() else {
        return CheckVerdict::Unknown("its command is empty".to_owned());
    };
    let mut command = Command::new(program);
    command.args(arguments);
    match commands::run(command, within).await {
        Ok(()) => CheckVerdict::Passed,
        Err(Unsuccessful::Said(text)) => CheckVerdict::Refused(text),
        Err(Unsuccessful::NotRun(why)) => CheckVerdict::Unknown(why),
    }
}
