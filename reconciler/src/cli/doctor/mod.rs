//! `lockstep doctor`: whether this machine, the folders, the repository and the services are fit, and what to do where
//! they are not.
//!
//! | module | looks at |
//! |---|---|
//! | [`machine`] | what the kernel lets us do: stop, continue, look |
//! | [`folders`] | volume and state: rename, link, flush, room |
//! | [`repository`] | whether it can be reached, and whether the clocks agree |
//! | [`services`] | their programs and folders; and, where they run, their handlers, mounts and cgroups |
//!
//! It changes nothing: what it has to try, it tries in a folder of its own beside the real ones and takes away again.

mod folders;
mod machine;
mod repository;
mod services;

use owo_colors::OwoColorize;
use serde::Serialize;

pub(super) use machine::Patient;

use super::{Failure, SettingsFile, output};
use crate::progress::for_a_person;

/// Look whether this machine, the folders, the repository and the services are fit
///
/// Each finding says what to do next. Run it as the user who runs `lockstep run`; it changes nothing, and may be
/// run while everything is under way.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockstep doctor\n  lockstep doctor --json | jq -r '.[] | select(.level != \"ok\") | .next'"
)]
pub(super) struct Doctor {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// As it should be.
    Ok,
    /// It works, and less well than it could.
    Warning,
    /// Something will not work.
    Problem,
}

/// One thing that was looked at. The fields are stable: `--json` prints them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    /// What was looked at.
    what: String,
    level: Level,
    /// What was found.
    found: String,
    /// What to do; none where all is well.
    next: Option<String>,
}

impl Finding {
    fn ok(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            level: Level::Ok,
            found: found.into(),
            next: None,
        }
    }

    fn warning(what: impl Into<String>, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            level: Level::Warning,
            found: found.into(),
            next: Some(next.into()),
        }
    }

    fn problem(what: impl Into<String>, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            level: Level::Problem,
            ..Self::warning(what, found, next)
        }
    }
}

impl Doctor {
    pub(super) fn execute(self, settings: &SettingsFile) -> Result<(), Failure> {
        let settings = settings.read_to_run()?;
        let told_of = for_a_person("looking at machine, folders, repository and services", None);
        let mut findings = vec![Finding::ok("settings", settings.file.display().to_string())];
        findings.extend(machine::look());
        findings.extend(folders::look(&settings));
        findings.extend(repository::look(&settings));
        findings.extend(services::look(&settings));
        drop(told_of);
        if self.json {
            output::json(&findings)?;
        } else {
            output::print(&told(&findings))?;
        }
        if findings.iter().any(|finding| finding.level == Level::Problem) {
            Err(Failure::told())
        } else {
            Ok(())
        }
    }
}

/// The findings as lines for people, and a last line that counts.
fn told(findings: &[Finding]) -> String {
    let width = findings
        .iter()
        .map(|finding| finding.what.len())
        .max()
        .unwrap_or_default();
    let mut out = String::new();
    for finding in findings {
        let mark = match finding.level {
            Level::Ok => "ok     ".green().to_string(),
            Level::Warning => "warning".yellow().bold().to_string(),
            Level::Problem => "problem".red().bold().to_string(),
        };
        out.push_str(&format!("{mark}  {:<width$}  {}\n", finding.what, finding.found));
        if let Some(next) = &finding.next {
            out.push_str(&format!("         {:<width$}  {} {next}\n", "", "next:".bold()));
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let count = |level, one: &str| match count(level) {
        1 => format!("1 {one}"),
        number => format!("{number} {one}s"),
    };
    out.push_str(&format!(
        "\n{}, {}\n",
        count(Level::Problem, "problem"),
        count(Level::Warning, "warning")
    ));
    out
}
