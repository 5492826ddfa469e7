//! `lockstep events`.

use jiff::Timestamp;

use super::client::Client;
use super::status::{Documents, not_understood};
use super::{Failure, SettingsFile, block_on, moment, output, story};
use crate::events::Event;

/// Show what happened: each step of each rollout, refusals, ends of services
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockstep events --since 1h\n  lockstep events --follow\n  \
                        lockstep events --json --follow --since 120 | jq -r 'select(.kind == \"Settled\") | .total_us'"
)]
pub(super) struct Events {
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// Go on with what happens from now on, until interrupted
    #[arg(long)]
    follow: bool,
    /// Only what came after: an event's number, a duration as in "10m", a time as in "09:30"
    #[arg(long, value_name = "SINCE", value_parser = since)]
    since: Option<Since>,
}

/// Where to begin.
#[derive(Debug, Clone, Copy)]
enum Since {
    Number(u64),
    Time(Timestamp),
}

fn since(text: &str) -> Result<Since, String> {
    match text.parse() {
        Ok(number) => Ok(Since::Number(number)),
        Err(_) => moment::past(text).map(Since::Time),
    }
}

impl Events {
    pub(super) fn execute(self, settings: &SettingsFile) -> Result<(), Failure> {
        let client = Client::at(settings.reach()?);
        let (mut after, earliest) = match self.since {
            None => (0, None),
            Some(Since::Number(number)) => (number, None),
            Some(Since::Time(time)) => (0, Some(time)),
        };
        block_on(async {
            loop {
                let path = format!("/api/v1/events?since={after}&follow={}", self.follow);
                let mut events = Documents::open(&client, &path).await?;
                while let Some(line) = events.next().await {
                    let event: Event = serde_json::from_str(&line).map_err(not_understood)?;
                    after = event.seq;
                    if earliest.is_some_and(|earliest| event.at < earliest) {
                        continue;
                    }
                    if self.json {
                        output::line(line)?;
                    } else {
                        output::print(&story::tell(&event))?;
                    }
                }
                // Over the moment in which it begins anew with other settings, until nobody is there any more.
                if !self.follow {
                    return Ok(());
                }
            }
        })
    }
}
