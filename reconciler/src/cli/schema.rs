//! `lockstep schema diff`: what a change of a schema breaks, before it is merged.

use std::path::Path;
use std::sync::Arc;

use git2::Repository;
use lockstep_core::diagnostic::{Code, Diagnostic, Lines, Related, Report, Sources, Style, text};
use lockstep_core::document::{Document, KeyPath, Syntax};
use lockstep_core::schema_change::{Finding, compare};
use serde_json::{Value, json};

use super::{Failure, output};

/// Tell what a change of a schema breaks
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  lockstep schema diff main:.lockstep/schema/trader.json .lockstep/schema/trader.json"
)]
pub(super) struct Schema {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Diff(Diff),
}

/// Tell whether a change of a JSON Schema breaks configs that exist, or services that read them
///
/// Configs break where the new schema refuses what the old one took, or gives it another default; services where it
/// takes what the old one refused. What cannot be compared counts as breaking.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockstep schema diff main:.lockstep/schema/trader.json .lockstep/schema/trader.json\n  \
                        lockstep schema diff v1.json v2.json --json\n\n\
                        Exit codes: 0 nothing breaks, 1 something does, 2 called wrongly"
)]
struct Diff {
    /// The old schema: a file, or REV:PATH in the clone around this folder
    #[arg(value_name = "OLD")]
    old: String,
    /// The new schema: a file, or REV:PATH
    #[arg(value_name = "NEW")]
    new: String,
    /// Print one JSON array
    #[arg(long)]
    json: bool,
}

impl Schema {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let Command::Diff(diff) = self.command;
        diff.execute()
    }
}

impl Diff {
    fn execute(self) -> Result<(), Failure> {
        let mut sources = Sources::new();
        let old = read(&self.old, &mut sources)?;
        let new = read(&self.new, &mut sources)?;
        let found = compare(&old, &new);
        let broken = found.iter().any(Finding::breaks);
        if self.json {
            let findings: Vec<Value> = found
                .iter()
                .map(|found| self.as_json(found, &old, &new))
                .collect();
            output::json(&findings)?;
        } else {
            self.tell(&found, &old, &new, &sources)?;
        }
        if broken { Err(Failure::told()) } else { Ok(()) }
    }

    fn tell(
        &self,
        found: &[Finding],
        old: &Document,
        new: &Document,
        sources: &Sources,
    ) -> Result<(), Failure> {
        let (breaking, harmless): (Vec<&Finding>, Vec<&Finding>) =
            found.iter().partition(|found| found.breaks());
        let diagnostics = breaking.iter().map(|found| self.diagnostic(found, old, new));
        // In their order: what breaks configs first.
        let report = Report::new(diagnostics);
        let style = Style {
            color: true,
            ..Style::default()
        };
        output::print(&text(&report, sources, style))?;
        for found in &harmless {
            output::line(format_args!("harmless: `{}`: {}", found.key, found.message))?;
        }
        let count = |breaks: fn(&Finding) -> bool| found.iter().filter(|found| breaks(found)).count();
        output::line(format_args!(
            "{} -> {}: {} of {} changes break configs, {} break services",
            self.old,
            self.new,
            count(|found| found.breaks_configs),
            found.len(),
            count(|found| found.breaks_services),
        ))
    }

    fn diagnostic(&self, found: &Finding, old: &Document, new: &Document) -> Diagnostic {
        let (code, breaks) = match (found.breaks_configs, found.breaks_services) {
            (true, true) => (Code::BreaksConfigs, "configs and services"),
            (true, false) => (Code::BreaksConfigs, "configs"),
            (false, _) => (Code::BreaksServices, "services"),
        };
        let key = if found.key.is_empty() {
            "the document"
        } else {
            &found.key
        };
        let message = format!("`{key}`: {}; breaks {breaks}", found.message);
        let before = found.before.as_ref().map(|at| (&self.old, old.key_span(at)));
        let after = found.after.as_ref().map(|at| (&self.new, new.key_span(at)));
        let (place, other) = match (after, before) {
            (Some(after), before) => (Some(after), before),
            (None, before) => (before, None),
        };
        let path = place.as_ref().map_or(&self.new, |(path, _)| path);
        let mut diagnostic = Diagnostic::error(code, path, message);
        diagnostic.span = place.map(|(_, span)| span);
        diagnostic.related.extend(other.map(|(path, span)| Related {
            path: path.clone(),
            span,
            message: "it was here before".to_owned(),
        }));
        diagnostic
    }

    fn as_json(&self, found: &Finding, old: &Document, new: &Document) -> Value {
        let place = |path: &str, document: &Document, at: &Option<KeyPath>| {
            at.as_ref().map(|at| {
                let place = Lines::of(document.text()).at(document.key_span(at).start);
                json!({ "path": path, "at": at.to_string(), "line": place.line, "column": place.column })
            })
        };
        json!({
            "key": found.key,
            "breaks_configs": found.breaks_configs,
            "breaks_services": found.breaks_services,
            "message": found.message,
            "before": place(&self.old, old, &found.before),
            "after": place(&self.new, new, &found.after),
        })
    }
}

/// Reads a schema from a file or a revision.
fn read(name: &str, sources: &mut Sources) -> Result<Document, Failure> {
    let bytes = match (Path::new(name).exists(), name.split_once(':')) {
        (false, Some((revision, path))) => at_revision(revision, path)?,
        _ => std::fs::read(name).map_err(|error| {
            Failure::misuse(format!(
                "{name} cannot be read: {error}; give a file, or REV:PATH in a clone"
            ))
        })?,
    };
    let bytes: Arc<[u8]> = bytes.into();
    sources.insert(name.to_owned(), bytes.clone());
    Document::parse(name, &bytes, Syntax::Json).map_err(|mistakes| {
        let report = Report::new(mistakes);
        Failure::refused(text(&report, sources, Style::default()).trim_end())
    })
}

fn at_revision(revision: &str, path: &str) -> Result<Vec<u8>, Failure> {
    let repo = Repository::discover(".").map_err(|_| {
        Failure::misuse(format!(
            "{revision}:{path} is no file, and there is no git clone here to find it in"
        ))
    })?;
    let object = repo.revparse_single(&format!("{revision}:{path}"));
    let blob = object.and_then(|object| object.peel_to_blob());
    blob.map(|blob| blob.content().to_vec()).map_err(|_| {
        Failure::misuse(format!(
            "{revision}:{path} is not in this clone: a path counts from the root of the repository"
        ))
    })
}
