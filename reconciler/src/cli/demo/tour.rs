//! The tour that `--script` plays: what a user would try, each step with what must come of it.
//!
//! A step edits the clone, commits and pushes, and then listens to the events until the commit's
//! outcome is told. Nothing is waited for by time alone.

use std::collections::BTreeMap;
use std::time::Duration;

use lockstep_core::status::StatusView;
use owo_colors::OwoColorize;

use super::place::{CONFIG, Place};
use super::programs::Broker;
use super::table::{Row, table};
use super::{Documents, next};
use crate::cli::client::Client;
use crate::cli::{Failure, output, story};
use crate::events::Event;

/// How long a step may take. Far above what it does take.
const STEP: Duration = Duration::from_secs(20);

/// What must come of a step.
#[derive(Debug, Clone, Copy)]
enum Expected {
    /// It goes live, these services take it, and the others are not touched.
    Taken(&'static [&'static str]),
    /// It is live at once and nobody is touched: no published file changed.
    AtOnce,
    /// It is rejected before anything is touched, with this in the reason.
    Rejected(&'static str),
}

impl Expected {
    fn words(self) -> String {
        match self {
            Self::Taken(services) => format!("live in {}", services.join(" and ")),
            Self::AtOnce => "live at once, nobody touched".to_owned(),
            Self::Rejected(why) => format!("rejected: {why}"),
        }
    }
}

/// What a step does to the clone.
#[derive(Debug, Clone, Copy)]
enum Change {
    /// Replaces texts of the document.
    Edit(&'static [(&'static str, &'static str)]),
    /// Adds a line to a file outside the published folder.
    Outside,
    /// Takes back the commit of an earlier step, counted from 0.
    Revert(usize),
}

struct Step {
    subject: &'static str,
    change: Change,
    expected: Expected,
}

const BOTH: &[&str] = &["scanner", "orchestrator"];

const STEPS: &[Step] = &[
    Step {
        subject: "A hot change of both services",
        change: Change::Edit(&[
            ("max_positions = 5 ", "max_positions = 6 "),
            ("min_rsi = 60 ", "min_rsi = 55 "),
        ]),
        expected: Expected::Taken(BOTH),
    },
    Step {
        subject: "Keys that only the scanner reads",
        change: Change::Edit(&[("max_rsi = 40 ", "max_rsi = 42 ")]),
        expected: Expected::Taken(&["scanner"]),
    },
    Step {
        subject: "A file outside the published folder",
        change: Change::Outside,
        expected: Expected::AtOnce,
    },
    Step {
        subject: "Broken TOML",
        change: Change::Edit(&[("max_daily_trades = 3 ", "max_daily_trades = ")]),
        expected: Expected::Rejected("config/config.toml:24:"),
    },
    Step {
        subject: "That taken back",
        change: Change::Revert(3),
        expected: Expected::AtOnce,
    },
    Step {
        subject: "A symbol that the schema allows and the scanner refuses",
        change: Change::Edit(&[("\"BA\",", "\"BA\", \"NOPE\",")]),
        expected: Expected::Rejected("no daily bars for NOPE"),
    },
    Step {
        subject: "That taken back",
        change: Change::Revert(5),
        expected: Expected::AtOnce,
    },
    Step {
        subject: "A revert of the first step",
        change: Change::Revert(0),
        expected: Expected::Taken(BOTH),
    },
];

/// What came of a step.
#[derive(Debug, Default)]
struct Outcome {
    kind: String,
    message: String,
    /// Services that reached their tier on it.
    reached: Vec<String>,
    pause_us: Option<u64>,
    total_us: Option<u64>,
}

/// Plays it, prints the table, and fails unless all of it went as it must.
pub(super) async fn play(
    place: &Place,
    client: &Client,
    events: &mut Documents,
    broker: &Broker,
) -> Result<(), Failure> {
    let before = running(client).await?;
    let mut commits: Vec<String> = Vec::new();
    let mut rows = Vec::new();
    for (number, step) in STEPS.iter().enumerate() {
        output::line(format_args!("\n{}. {}", (number + 1).bold(), step.subject.bold()))?;
        describe(step)?;
        let switches = running(client).await?;
        let commit = match step.change {
            Change::Edit(replacements) => {
                place.edit(replacements)?;
                place.push(step.subject)?
            }
            Change::Outside => {
                place.append("README.md", "\nEdited by the demo.")?;
                place.push(step.subject)?
            }
            Change::Revert(step) => place.push_revert(&commits[step])?,
        };
        let outcome = tokio::time::timeout(STEP, outcome(events, &commit))
            .await
            .unwrap_or_else(|_| {
                Ok(Outcome {
                    kind: format!("nothing within {} s", STEP.as_secs()),
                    ..Outcome::default()
                })
            })?;
        commits.push(commit);
        let wrong = judge(step.expected, &outcome, &switches, &running(client).await?);
        rows.push(row(number + 1, step, &outcome, wrong));
    }
    rows.push(processes(&before, &running(client).await?));
    rows.push(session(broker));
    let failed = rows.iter().filter(|row| row.wrong.is_some()).count();
    output::print(&format!("\n{}", table(&rows)))?;
    match failed {
        0 => output::line(format_args!("{}", "All of it went as it must.".green().bold())),
        failed => Err(Failure::refused(format!(
            "{failed} of {} did not end as they must",
            rows.len()
        ))),
    }
}

fn describe(step: &Step) -> Result<(), Failure> {
    match step.change {
        Change::Edit(replacements) => {
            for (old, new) in replacements {
                output::line(format_args!(
                    "   {CONFIG}: {} -> {}",
                    old.trim_end().red(),
                    new.trim_end().green()
                ))?;
            }
            Ok(())
        }
        Change::Outside => output::line("   README.md: a line more"),
        Change::Revert(step) => output::line(format_args!("   git revert of step {}", step + 1)),
    }
}

/// Listens until the commit's end is told.
async fn outcome(events: &mut Documents, commit: &str) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::default();
    while let Some(event) = next(events).await? {
        output::print(&indented(&story::tell(&event)))?;
        let mine = event
            .revision
            .as_ref()
            .is_some_and(|revision| revision.as_str() == commit);
        let Event {
            kind,
            message,
            service,
            pause_us,
            total_us,
            ..
        } = event;
        match kind.as_str() {
            "Reached" if mine => outcome.reached.extend(service),
            "Settled" | "Rejected" if mine => {
                return Ok(Outcome {
                    kind,
                    message,
                    pause_us,
                    total_us,
                    ..outcome
                });
            }
            // What goes back is told of the revision that it goes back to.
            "RolledBack" | "Stuck" => {
                return Ok(Outcome {
                    kind,
                    message,
                    ..outcome
                });
            }
            _ => {}
        }
    }
    Err(Failure::refused("the reconciler ended during the tour"))
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("   {line}\n")).collect()
}

/// Who runs what, by service.
type Running = BTreeMap<String, (Option<u32>, u32, Option<u64>)>;

async fn running(client: &Client) -> Result<Running, Failure> {
    let status: StatusView = client.get("/api/v1/status").await?;
    let services = status.services.into_iter().filter_map(|service| {
        let instance = service.instances.first()?;
        let facts = (
            instance.pid,
            instance.restarts,
            instance.switch.map(|switch| switch.0),
        );
        Some((service.name.to_string(), facts))
    });
    Ok(services.collect())
}

/// What is wrong with an outcome; nothing if it is as it must be.
fn judge(expected: Expected, outcome: &Outcome, before: &Running, after: &Running) -> Option<String> {
    let kind = match expected {
        Expected::Taken(_) | Expected::AtOnce => "Settled",
        Expected::Rejected(_) => "Rejected",
    };
    if outcome.kind != kind {
        return Some(format!("{kind} was expected"));
    }
    let switch = |running: &Running, service: &str| running.get(service).and_then(|facts| facts.2);
    let moved = |service: &&str| switch(before, service) != switch(after, service);
    let taken: Vec<_> = BOTH.iter().copied().filter(moved).collect();
    match expected {
        Expected::Taken(services) => {
            if taken != services {
                return Some(format!("taken by {taken:?}"));
            }
            let missing = services
                .iter()
                .find(|service| !outcome.reached.iter().any(|reached| reached == *service));
            missing.map(|service| format!("{service} did not acknowledge"))
        }
        Expected::AtOnce if !taken.is_empty() || outcome.pause_us != Some(0) => {
            Some("somebody was touched".to_owned())
        }
        Expected::Rejected(_) if !taken.is_empty() => Some("somebody was touched".to_owned()),
        Expected::Rejected(why) if !outcome.message.contains(why) => {
            Some(format!("{why:?} is not in the reason"))
        }
        Expected::AtOnce | Expected::Rejected(_) => None,
    }
}

fn row(number: usize, step: &Step, outcome: &Outcome, wrong: Option<String>) -> Row {
    Row {
        step: format!("{number}. {}", step.subject),
        expected: step.expected.words(),
        outcome: outcome.kind.clone(),
        pause_us: outcome.pause_us.filter(|pause| *pause > 0),
        total_us: outcome.total_us,
        wrong,
    }
}

fn processes(before: &Running, after: &Running) -> Row {
    let same = |service: &&str| {
        let pid = |running: &Running| running.get(*service).map(|facts| (facts.0, facts.1));
        pid(before).is_some_and(|(pid, _)| pid.is_some()) && pid(before) == pid(after)
    };
    let all = BOTH.iter().all(same);
    Row {
        step: "Processes".to_owned(),
        expected: "no pid changed, no restart".to_owned(),
        outcome: if all { "the same" } else { "others" }.to_owned(),
        pause_us: None,
        total_us: None,
        wrong: (!all).then(|| format!("{before:?} became {after:?}")),
    }
}

fn session(broker: &Broker) -> Row {
    let counts = broker.counts();
    let one = counts
        .as_ref()
        .is_some_and(|counts| (counts.connections_total, counts.open, counts.disconnects) == (1, 1, 0));
    Row {
        step: "Broker".to_owned(),
        expected: "one session, never dropped".to_owned(),
        outcome: match &counts {
            Some(counts) => format!(
                "{} since the start, {} ended",
                counts.connections_total, counts.disconnects
            ),
            None => "unknown".to_owned(),
        },
        pause_us: None,
        total_us: None,
        wrong: (!one).then(|| "exactly one open session was expected".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(scanner: u64, orchestrator: u64) -> Running {
        let facts = |switch| (Some(1), 0, Some(switch));
        Running::from([
            ("scanner".to_owned(), facts(scanner)),
            ("orchestrator".to_owned(), facts(orchestrator)),
        ])
    }

    fn settled(reached: &[&str], pause_us: u64) -> Outcome {
        Outcome {
            kind: "Settled".to_owned(),
            reached: reached.iter().map(|&service| service.to_owned()).collect(),
            pause_us: Some(pause_us),
            ..Outcome::default()
        }
    }

    #[test]
    fn a_service_that_should_not_have_been_touched_is_noticed() {
        let scanner = Expected::Taken(&["scanner"]);
        let outcome = settled(&["scanner"], 900);
        assert_eq!(judge(scanner, &outcome, &running(1, 1), &running(2, 1)), None);
        assert!(judge(scanner, &outcome, &running(1, 1), &running(2, 2)).is_some());
        assert!(
            judge(
                Expected::AtOnce,
                &settled(&[], 900),
                &running(1, 1),
                &running(1, 1)
            )
            .is_some()
        );
    }

    #[test]
    fn a_switch_without_acknowledgement_is_noticed() {
        let wrong = judge(
            Expected::Taken(BOTH),
            &settled(&["scanner"], 900),
            &running(1, 1),
            &running(2, 2),
        );
        assert_eq!(wrong.unwrap(), "orchestrator did not acknowledge");
    }

    #[test]
    fn a_rejection_counts_only_with_its_reason() {
        let rejected = Outcome {
            kind: "Rejected".to_owned(),
            message: "a.toml:3:1 no".to_owned(),
            ..Outcome::default()
        };
        let one = running(1, 1);
        assert_eq!(
            judge(Expected::Rejected("a.toml:3:1"), &rejected, &one, &one),
            None
        );
        assert!(judge(Expected::Rejected("a.toml:4:1"), &rejected, &one, &one).is_some());
        assert!(judge(Expected::AtOnce, &rejected, &one, &one).is_some());
    }

    #[test]
    fn each_edit_finds_its_text_in_the_template_once() {
        let text = include_str!("../../../../config-repo-template/config/config.toml");
        for step in STEPS {
            if let Change::Edit(replacements) = step.change {
                for (old, _) in replacements {
                    assert_eq!(text.matches(old).count(), 1, "{old:?}");
                }
            }
        }
    }
}
