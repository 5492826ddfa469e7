//! `lockstep history`: read from the state folder itself, so that it can be asked while no reconciler runs.

use jiff::Timestamp;
use owo_colors::{OwoColorize, Style};

use super::{Failure, SettingsFile, moment, output};
use crate::history::{self, Entry};

/// Show how each candidate ended: what was live when, what was refused, and why
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockstep history\n  lockstep history --since 2026-11-01T00:00 --limit 1000\n  \
                  lockstep history --json --limit 1000 | jq -r 'select(.outcome == \"RolledBack\") | .reason'"
)]
pub(super) struct History {
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// At most so many, the newest ones
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Only what ended after: a duration as in "2h", a time as in "09:30", a date and time
    #[arg(long, value_name = "SINCE", value_parser = moment::past)]
    since: Option<Timestamp>,
}

impl History {
    pub(super) fn execute(self, settings: &SettingsFile) -> Result<(), Failure> {
        let reach = settings.reach()?;
        let mut entries = history::read(&reach.state).map_err(Failure::refused)?;
        if let Some(since) = self.since {
            entries.retain(|entry| entry.at >= since);
        }
        let newest = entries.len().saturating_sub(self.limit);
        for entry in entries.drain(newest..) {
            if self.json {
                output::line(serde_json::to_string(&entry).map_err(Failure::refused)?)?;
            } else {
                output::print(&tell(&entry))?;
            }
        }
        Ok(())
    }
}

/// An entry as lines for people: what it was, whom it touched, and why it did not go as it should.
fn tell(entry: &Entry) -> String {
    let style = match entry.outcome.as_str() {
        "Settled" => Style::new().green().bold(),
        "RolledBack" | "Superseded" => Style::new().red().bold(),
        _ => Style::new().yellow().bold(),
    };
    let mut words = vec![
        moment::local(entry.at).dimmed().to_string(),
        format!("{:<10}", entry.outcome).style(style).to_string(),
        entry.revision.short().to_owned(),
    ];
    words.extend(entry.subject.clone());
    words.extend(entry.author.as_ref().map(|author| author.dimmed().to_string()));
    let mut out = format!("{}\n", words.join("  "));
    let mut line = |text: &str| {
        out.push_str(format!("    {text}").trim_end());
        out.push('\n');
    };
    let touched: Vec<_> = entry
        .services
        .iter()
        .map(|(service, effect)| format!("{service} {effect}"))
        .collect();
    let mut facts = Vec::new();
    if !touched.is_empty() {
        facts.push(touched.join(", "));
    }
    if let Some(switch) = entry.switch {
        facts.push(format!("switch {switch}"));
    }
    match entry.pause_us {
        Some(0) | None => {}
        Some(pause) => facts.push(format!("paused for {}", moment::micros(pause))),
    }
    if let Some(total) = entry.total_us.filter(|_| !touched.is_empty()) {
        facts.push(format!("{} in all", moment::micros(total)));
    }
    if !facts.is_empty() {
        line(&facts.join("; ").dimmed().to_string());
    }
    if let Some(passed) = &entry.passed {
        line(&format!("passed a closed window: {passed}"));
    }
    for reason in entry.reason.lines() {
        line(reason);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_says_what_it_was_whom_it_touched_and_why_it_failed() {
        let revision = "9f3c0aa1b2c3d4e5f60718293a4b5c6d7e8f9012".parse().unwrap();
        let entry = Entry {
            author: Some("Ada <ada@example.com>".to_owned()),
            subject: Some("Raise the limit".to_owned()),
            reason: "scanner: it refused\nthe release".to_owned(),
            switch: Some(lockstep_protocol::SwitchNumber(7)),
            services: [(
                lockstep_core::service::ServiceName::new("scanner"),
                "reload".to_owned(),
            )]
            .into(),
            pause_us: Some(812),
            total_us: Some(23_400),
            ..Entry::new(&revision, "RolledBack")
        };
        let text = anstream::adapter::strip_str(&tell(&entry)).to_string();
        // The time of day is local, and so differs from machine to machine.
        let text = text.split_once("  ").unwrap().1;
        assert_eq!(
            text,
            "RolledBack  9f3c0aa1b2c3  Raise the limit  Ada <ada@example.com>\n    scanner reload; switch 7; paused for \
             812 µs; 23.4 ms in all\n    scanner: it refused\n    the release\n"
        );
    }
}
