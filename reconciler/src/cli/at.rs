//! `lockstep at TIME`: what was live then, and what each instance ran. Read from the state folder itself, so that it can
//! be asked while no reconciler runs.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lockstep_core::instances::InstanceState;
use owo_colors::OwoColorize;
use serde::Serialize;

use super::{Failure, SettingsFile, moment, output};
use crate::history::{self, Entry};
use crate::runs::{self, Record, Run};

/// Show what was live at a time, and what each instance ran then
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockstep at 14:03\n  lockstep at 2h\n  lockstep at 2026-11-01T09:30 --json | jq -r .live.revision\n\n\
                  Exit codes: 0 this was live, 1 nothing is known of that time"
)]
pub(super) struct At {
    /// A duration ago as in "2h", a time as in "09:30", a date and time
    #[arg(value_name = "TIME", value_parser = moment::past)]
    time: Timestamp,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was at a time.
#[derive(Debug, Serialize)]
struct Then {
    at: Timestamp,
    /// The entry of the history by which it went live; none before the first release.
    live: Option<Entry>,
    /// The rollout that was under way, as it ended.
    rollout: Option<Entry>,
    /// What each service's instances ran, and since when.
    services: Vec<Record>,
}

impl At {
    pub(super) fn execute(self, settings: &SettingsFile) -> Result<(), Failure> {
        let reach = settings.reach()?;
        if self.time > Timestamp::now() {
            return Err(Failure::misuse(format!(
                "{} is still to come: name a moment that is over",
                moment::local(self.time)
            )));
        }
        let entries = history::read(&reach.state).map_err(Failure::refused)?;
        let services = runs::at(&reach.state, self.time).map_err(Failure::refused)?;
        let then = then(self.time, &entries, services);
        if then.live.is_none() && then.rollout.is_none() && then.services.is_empty() {
            let kept = match entries.first() {
                Some(first) => format!("what is kept begins at {}", moment::local(first.at)),
                None => "nothing has happened yet".to_owned(),
            };
            return Err(Failure::refused(format!(
                "nothing is known of {} in {}: {kept}",
                moment::local(self.time),
                reach.state.display()
            )));
        }
        if self.json {
            return output::json(&then);
        }
        output::print(&tell(&then))
    }
}

/// What the history and the records say of a time.
fn then(at: Timestamp, entries: &[Entry], services: Vec<Record>) -> Then {
    let live = entries
        .iter()
        .rfind(|entry| entry.at <= at && entry.outcome == "Settled");
    let rollout = entries
        .iter()
        .find(|entry| entry.at > at && entry.rollout.is_some() && began(entry) <= at);
    Then {
        at,
        live: live.cloned(),
        rollout: rollout.cloned(),
        services,
    }
}

/// When its candidate was seen.
fn began(entry: &Entry) -> Timestamp {
    let took = Duration::from_micros(entry.total_us.unwrap_or_default());
    SignedDuration::try_from(took)
        .ok()
        .and_then(|took| entry.at.checked_sub(took).ok())
        .unwrap_or(entry.at)
}

fn tell(then: &Then) -> String {
    let mut rows = Vec::new();
    match &then.live {
        Some(entry) => {
            let mut words = vec![entry.revision.short().green().bold().to_string()];
            words.extend(entry.subject.clone());
            words.extend(entry.author.as_ref().map(|author| author.dimmed().to_string()));
            words.push(format!("since {}", moment::local(entry.at)).dimmed().to_string());
            rows.push(("live", words.join("  ")));
        }
        None => rows.push(("live", "nothing yet".to_owned())),
    }
    if let Some(entry) = &then.rollout {
        let ended = format!("{} at {}", entry.outcome, moment::local(entry.at));
        rows.push((
            "rollout",
            format!("of {} under way; it ended: {ended}", entry.revision.short()),
        ));
    }
    for record in &then.services {
        for run in &record.instances {
            rows.push((record.service.as_str(), told(run, record.at)));
        }
    }
    let width = rows
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    let mut out = format!("At {}\n", moment::local(then.at));
    for (name, text) in rows {
        out.push_str(&format!("  {name:width$}  {text}\n"));
    }
    out
}

fn told(run: &Run, since: Timestamp) -> String {
    let state = match run.state {
        InstanceState::Fit | InstanceState::Applied => run.state.as_str().green().to_string(),
        InstanceState::Starting | InstanceState::Rejected => run.state.as_str().yellow().to_string(),
        InstanceState::Silent | InstanceState::Dead | InstanceState::Diverged => {
            run.state.as_str().red().bold().to_string()
        }
    };
    let mut words = vec![state];
    words.extend(run.revision.as_ref().map(|revision| revision.short().to_owned()));
    words.extend(run.switch.map(|switch| format!("switch {switch}")));
    words.extend(run.pid.map(|pid| format!("pid {pid}")));
    words.push(format!("since {}", moment::local(since)).dimmed().to_string());
    words.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at: &str, outcome: &str, revision: char) -> Entry {
        let revision = revision.to_string().repeat(40).parse().unwrap();
        Entry {
            at: at.parse().unwrap(),
            rollout: Some(lockstep_protocol::RolloutId("one".to_owned())),
            total_us: Some(5_000_000),
            ..Entry::new(&revision, outcome)
        }
    }

    #[test]
    fn live_is_what_settled_last_and_a_rollout_that_went_back_changes_nothing() {
        let entries = [
            entry("2026-03-05T10:00:00Z", "Settled", 'a'),
            entry("2026-03-05T11:00:00Z", "RolledBack", 'b'),
            entry("2026-03-05T12:00:00Z", "Settled", 'c'),
        ];
        let live = |at: &str| {
            let then = then(at.parse().unwrap(), &entries, Vec::new());
            let short = |entry: &Entry| entry.revision.as_str()[..1].to_owned();
            (then.live.as_ref().map(short), then.rollout.as_ref().map(short))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(live("2026-03-05T09:00:00Z"), (None, None));
        assert_eq!(live("2026-03-05T09:59:57Z"), (None, some("a")));
        assert_eq!(live("2026-03-05T10:30:00Z"), (some("a"), None));
        assert_eq!(live("2026-03-05T10:59:58Z"), (some("a"), some("b")));
        assert_eq!(live("2026-03-05T11:30:00Z"), (some("a"), None));
        assert_eq!(live("2026-03-05T12:00:00Z"), (some("c"), None));
    }
}
