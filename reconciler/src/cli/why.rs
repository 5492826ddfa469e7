//! `lockstep why KEY`: who set a value, in which commit, since when it is live, and who runs it.
//!
//! Read from the mirror and the history in the state folder, so that it can be asked while no reconciler runs; in a clone
//! of the config repository without settings, from its history alone.

use std::path::Path;

use jiff::Timestamp;
use lockstep_core::document::{Document, KeyPath, Syntax};
use lockstep_core::lookup::{Found, find};
use lockstep_core::secret::shown;
use lockstep_core::status::{InstanceView, StatusView};
use lockstep_core::tree::TreePath;
use lockstep_core::validate::{Scope, literal, plain, repo_path};
use lockstep_protocol::{Revision, SwitchNumber};
use lockstep_source::CommitFacts;
use owo_colors::OwoColorize;
use serde::Serialize;
use serde_json::Value;

use super::checkout::Checkout;
use super::client::Client;
use super::{Failure, SettingsFile, block_on, moment, output};
use crate::candidate::{Material, Reader};
use crate::history::{self, Entry};
use crate::progress::for_a_person;
use crate::settings::Settings;

/// Show who set a value, in which commit, since when it is live, and who runs it
///
/// With settings: the value that is live. Without, in a clone of the config repository: that of HEAD.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockstep why trading.max_positions\n  lockstep why 'config.toml#scanner.timeout' --json\n\n\
                  Exit codes: 0 this is why, 1 there is no such key or nothing is live, 3 neither settings nor clone"
)]
pub(super) struct Why {
    /// A key as in `trading.mode`; with its document where more than one has it
    #[arg(value_name = "[FILE#]KEY")]
    key: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// All that is known of a value.
#[derive(Debug, Serialize)]
struct Story {
    path: TreePath,
    key: KeyPath,
    /// None where the key is absent and its default holds.
    value: Option<Value>,
    default: Option<Value>,
    unit: Option<String>,
    description: Option<String>,
    /// What was there before; none where the key was absent.
    before: Option<Value>,
    set: Commit,
    /// The merge that brought the commit to the branch.
    merged: Option<Commit>,
    /// The trailers of both: as they were typed.
    reviews: Vec<String>,
    /// The revision that was looked at.
    revision: Revision,
    live: Option<Live>,
    /// The services that read it; none when no settings name any.
    services: Option<Vec<Reads>>,
}

#[derive(Debug, Serialize)]
struct Commit {
    revision: Revision,
    author: String,
    committed: Timestamp,
    subject: String,
}

/// Since when a value is live.
#[derive(Debug, Serialize)]
struct Live {
    since: Timestamp,
    /// The revision that brought it.
    by: Revision,
    switch: Option<SwitchNumber>,
    /// Whether it is the oldest that is still known: then it may be longer.
    at_least: bool,
}

/// A service that reads it.
#[derive(Debug, Serialize)]
struct Reads {
    service: String,
    /// Its instances; none when no reconciler can be asked.
    instances: Option<Vec<InstanceView>>,
}

impl Why {
    pub(super) fn execute(self, file: &SettingsFile) -> Result<(), Failure> {
        let mut story = match file.find()? {
            Some(settings) => self.live(&settings)?,
            None => self.in_clone()?,
        };
        // Whoever asks need not be one of those who may read the files.
        for value in [&mut story.value, &mut story.before, &mut story.default] {
            *value = value.take().map(|value| shown(&story.key, &value));
        }
        if self.json {
            return output::json(&story);
        }
        output::print(&tell(&story))
    }

    /// The value that is live.
    fn live(&self, settings: &Settings) -> Result<Story, Failure> {
        let entries = history::read(&settings.state).map_err(Failure::refused)?;
        let settled: Vec<_> = entries
            .iter()
            .filter(|entry| entry.outcome == "Settled")
            .collect();
        let Some(live) = settled.last() else {
            return Err(Failure::refused(
                "nothing is live yet: see `lockstep status` and `lockstep history`",
            ));
        };
        let checkout = Checkout::of_mirror(&settings.state.join("mirror.git"), &settings.source.spec.path)?;
        let readers = Reader::all(settings);
        let mut story = self.tell_of(&checkout, &live.revision, &readers)?;
        story.live = since(&checkout, &story, &settings.source.spec.path, &settled);
        let status: Option<StatusView> = block_on(Client::of(settings).get("/api/v1/status")).ok();
        let reads = readers
            .iter()
            .filter(|reader| reader.reads.covers(&story.path, Some(&story.key)));
        let reads = reads.map(|reader| Reads {
            service: reader.name.to_string(),
            instances: status.as_ref().map(|status| {
                let service = status.services.iter().find(|service| service.name == reader.name);
                service
                    .map(|service| service.instances.clone())
                    .unwrap_or_default()
            }),
        });
        story.services = Some(reads.collect());
        Ok(story)
    }

    fn in_clone(&self) -> Result<Story, Failure> {
        let root = Checkout::root_of(Path::new("."))?;
        if !root.join(".git").exists() {
            return Err(Failure::unreachable(
                "there are neither settings (name them by --settings FILE) nor a clone of a config repository here",
            ));
        }
        let checkout = Checkout::open(&root, "")?;
        let head = checkout.named("HEAD")?;
        output::note(format_args!(
            "no settings: this is told from HEAD in {}, which need not be live",
            root.display()
        ));
        self.tell_of(&checkout, &head, &[])
    }

    /// What the repository knows.
    fn tell_of(
        &self,
        checkout: &Checkout,
        revision: &Revision,
        readers: &[Reader],
    ) -> Result<Story, Failure> {
        let told = for_a_person("looking through the history", None);
        let mirror = checkout.mirror();
        let material =
            Material::read(mirror, revision, None, readers, Scope::All).map_err(Failure::refused)?;
        let snapshot = material.snapshot();
        let Found {
            path,
            key,
            value,
            default,
            unit,
            description,
        } = find(&snapshot, &self.key).map_err(Failure::refused)?;
        let full = repo_path(&mirror.spec().path, path);
        let set = mirror
            .set_by(revision, &full, |contents| {
                at(&full, contents, &key).as_ref() == value
            })
            .map_err(Failure::refused)?;
        let before = set.commit.parents.first();
        let before = before.and_then(|before| mirror.said(before, &full).ok().flatten());
        drop(told);
        Ok(Story {
            path: path.clone(),
            before: at(&full, before.as_deref(), &key),
            value: value.cloned(),
            default: default.cloned(),
            unit: unit.map(str::to_owned),
            description: description.map(str::to_owned),
            key,
            set: Commit::of(set.commit),
            merged: set.merged.map(Commit::of),
            reviews: set.reviews,
            revision: revision.clone(),
            live: None,
            services: None,
        })
    }
}

impl Commit {
    fn of(facts: CommitFacts) -> Self {
        Self {
            revision: facts.revision,
            author: facts.author,
            committed: facts.committed,
            subject: facts.subject,
        }
    }
}

/// The value that a document's text has at a key.
fn at(path: &str, contents: Option<&[u8]>, key: &KeyPath) -> Option<Value> {
    let syntax = Syntax::of_document(path)?;
    let document = Document::parse(path, contents?, syntax).ok()?;
    document.get(key).cloned()
}

/// Since when the value is live: back through what settled, as long as it was the same.
fn since(checkout: &Checkout, story: &Story, published: &str, settled: &[&Entry]) -> Option<Live> {
    let path = repo_path(published, &story.path);
    let mirror = checkout.mirror();
    let mut oldest: Option<(&Entry, bool)> = None;
    for entry in settled.iter().rev() {
        // What is no longer known may have had the same value, or not.
        let Ok(contents) = mirror.said(&entry.revision, &path) else {
            oldest = oldest.map(|(entry, _)| (entry, true));
            break;
        };
        if at(&path, contents.as_deref(), &story.key) != story.value {
            oldest = oldest.map(|(entry, _)| (entry, false));
            break;
        }
        // Before the first release that is known was nothing, or something that is no longer kept.
        oldest = Some((entry, entry.from.is_some()));
    }
    oldest.map(|(entry, at_least)| Live {
        since: entry.at,
        by: entry.revision.clone(),
        switch: entry.switch,
        at_least,
    })
}

fn tell(story: &Story) -> String {
    let unit = story
        .unit
        .as_ref()
        .map(|unit| format!(" {unit}"))
        .unwrap_or_default();
    let default = story
        .default
        .as_ref()
        .map(|default| format!("{}{unit}", plain(default)));
    let value = match (&story.value, &default) {
        (Some(value), Some(default)) => format!("{}{unit}  (default {default})", literal(value).bold()),
        (Some(value), None) => format!("{}{unit}", literal(value).bold()),
        (None, Some(default)) => format!("{} by default, the key is absent", default.bold()),
        (None, None) => "absent".to_owned(),
    };
    let mut out = format!("{}#{} = {value}\n", story.path, story.key);
    if let Some(description) = &story.description {
        out.push_str(&format!("  {}\n", description.replace('\n', " ").dimmed()));
    }
    let mut row = |name: &str, text: String| out.push_str(&format!("  {name:<10}  {text}\n"));
    row("set by", commit(&story.set));
    let before = story.before.as_ref().map(literal);
    row(
        "before",
        before.map_or_else(|| "absent".to_owned(), |before| format!("{before}{unit}")),
    );
    if let Some(merged) = &story.merged {
        row("merged by", commit(merged));
    }
    for review in &story.reviews {
        row("", review.clone());
    }
    if let Some(live) = &story.live {
        let at_least = if live.at_least { "at least since" } else { "since" };
        let switch = live
            .switch
            .map(|switch| format!(", switch {switch}"))
            .unwrap_or_default();
        row(
            "live",
            format!(
                "{at_least} {}, by {}{switch}",
                moment::local(live.since),
                live.by.short()
            ),
        );
    }
    match story.services.as_deref() {
        None => {}
        Some([]) => row("read by", "no service of these settings".to_owned()),
        Some(services) => {
            for reads in services {
                row("read by", reader(reads));
            }
        }
    }
    out
}

fn commit(commit: &Commit) -> String {
    format!(
        "{}  {}  {}",
        commit.revision.short().cyan(),
        commit.subject,
        format!("{}, {}", commit.author, moment::local(commit.committed)).dimmed()
    )
}

fn reader(reads: &Reads) -> String {
    let Some(instances) = &reads.instances else {
        return format!(
            "{} (no reconciler answers: who runs it is in `lockstep at`)",
            reads.service
        );
    };
    let one = |instance: &InstanceView| {
        let pid = instance.pid.map(|pid| format!(" pid {pid}")).unwrap_or_default();
        let other = match (&instance.revision, instance.current) {
            (Some(revision), false) => format!(", runs {}", revision.short()),
            (Some(_), true) | (None, _) => String::new(),
        };
        format!("{}{pid}{other}", instance.state.as_str())
    };
    let all: Vec<_> = instances.iter().map(one).collect();
    format!("{}: {}", reads.service, all.join("; "))
}
