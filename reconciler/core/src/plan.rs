//! What a candidate would change, and which services that touches: shown before the merge, executed after.
//!
//! A plan is computed from two snapshots and never fails. The way back is the same computation with its two
//! sides exchanged. A plan is a fact about two revisions: it never looks at instances, windows or roles.

mod difference;
mod markdown;
mod snapshot;
mod text;

use std::collections::BTreeSet;

use lockstep_protocol::{Digest, Revision};
use serde::Serialize;
use serde_json::Value;

pub use markdown::markdown;
pub use snapshot::Snapshot;
pub use text::text;

use crate::diagnostic::Severity;
use crate::document::KeyPath;
use crate::policy::Restart;
use crate::reads::Reads;
use crate::secret::shown;
use crate::tree::{TreeChange, TreePath};

/// What a plan has to know of a service.
#[derive(Debug, Clone, Copy)]
pub struct PlanInput<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it reads.
    pub reads: &'a Reads,
    /// Whether it is reloaded by being restarted.
    pub reload_is_restart: bool,
}

/// What a candidate would change.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// What is live; nothing before the first release.
    pub from: Option<Side>,
    /// What would be.
    pub to: Side,
    /// The keys that change in documents.
    pub changes: Vec<KeyChange>,
    /// The files that change otherwise.
    pub files: Vec<FileChange>,
    /// The rules that judge what changes, of either side, in the order of their documents and names.
    pub rules: Vec<PlanRule>,
    /// What happens to each service, in the order they were given.
    pub services: Vec<ServicePlan>,
    /// What going back would take.
    pub undo: Undo,
}

/// A revision as a plan names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Side {
    /// The commit; none for what is not committed yet.
    pub revision: Option<Revision>,
    /// The digest over its files.
    pub digest: Digest,
}

/// A key whose value changes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KeyChange {
    /// The document, from the published folder.
    pub path: TreePath,
    /// The key.
    pub key: KeyPath,
    /// Its value before; none if the key is new.
    pub old: Option<Value>,
    /// Its value after; none if the key goes.
    pub new: Option<Value>,
    /// What it is counted in, by the schema.
    pub unit: Option<String>,
    /// What holds where the key is absent, by the schema.
    pub default: Option<Value>,
    /// What the schema tells about it.
    pub description: Option<String>,
}

/// A file that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// The file, from the published folder.
    pub path: TreePath,
    /// How it changes.
    pub kind: FileChangeKind,
}

/// How a file changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileChangeKind {
    /// It is new.
    Added,
    /// It goes.
    Removed,
    /// Its contents or its mode change.
    Modified,
    /// A document whose text changes and whose values do not: comments, order, spaces.
    Layout,
}

/// A rule of the policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PlanRule {
    /// The document that it judges, from the published folder.
    pub path: TreePath,
    /// Its name.
    pub name: String,
    /// How bad it is to break it.
    pub severity: Severity,
}

/// What happens to a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServicePlan {
    /// Its name.
    pub service: String,
    /// What happens to it.
    #[serde(flatten)]
    pub effect: ServiceEffect,
}

/// What a change takes of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "effect", rename_all = "lowercase")]
pub enum ServiceEffect {
    /// Nothing that it reads changes: it is not paused, signalled or waited for.
    Unaffected,
    /// It reads the new values as it runs.
    Reload,
    /// It ends and starts again, so its connections are gone once.
    Restart {
        /// Why, one phrase a cause.
        because: Vec<String>,
    },
}

/// What going back would take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "to", rename_all = "lowercase")]
pub enum Undo {
    /// There is nothing before: a first rollout that fails leaves the services stopped.
    Nothing,
    /// The release before, by the same road.
    Release {
        /// What happens to each service on the way back.
        services: Vec<ServicePlan>,
    },
}

/// Says what changes from what is live to a candidate, and what that takes of the services.
#[must_use]
pub fn plan(live: Option<&Snapshot>, candidate: &Snapshot, services: &[PlanInput<'_>]) -> Plan {
    let changes = match live {
        Some(live) => candidate.published().tree.changes_since(live.published().tree),
        None => {
            let all = candidate.published().tree.iter();
            all.map(|(path, file)| TreeChange::Added(path.clone(), *file))
                .collect()
        }
    };
    let (mut keys, files) = broken_down(live, candidate, &changes);
    let (there, undo) = match live {
        None => (first(candidate, services), Undo::Nothing),
        Some(live) => {
            let there = effects(live, candidate, &changes, &keys, services);
            let back = candidate.way_back(live);
            let services = effects(candidate, live, &back, &keys, services);
            (there, Undo::Release { services })
        }
    };
    // Whoever sees a plan need not be one of those who may read the files.
    for change in &mut keys {
        for value in [&mut change.old, &mut change.new, &mut change.default] {
            *value = value.take().map(|value| shown(&change.key, &value));
        }
    }
    Plan {
        from: live.map(side),
        to: side(candidate),
        rules: judging(live, candidate, &changes),
        changes: keys,
        files,
        services: there,
        undo,
    }
}

impl Plan {
    /// Whether no published file changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.files.is_empty()
    }
}

impl Snapshot {
    fn way_back(&self, live: &Self) -> Vec<TreeChange> {
        live.published().tree.changes_since(self.published().tree)
    }
}

fn side(snapshot: &Snapshot) -> Side {
    Side {
        revision: snapshot.revision().cloned(),
        digest: snapshot.digest(),
    }
}

/// The rules of either side about a document that changes: the base's judge as well.
fn judging(live: Option<&Snapshot>, candidate: &Snapshot, changes: &[TreeChange]) -> Vec<PlanRule> {
    let all = live.into_iter().chain([candidate]).flat_map(Snapshot::rules);
    let changed = |rule: &&PlanRule| changes.iter().any(|change| *change.path() == rule.path);
    let rules: BTreeSet<_> = all.filter(changed).cloned().collect();
    rules.into_iter().collect()
}

/// Documents as their keys, other files whole.
fn broken_down(
    live: Option<&Snapshot>,
    candidate: &Snapshot,
    changes: &[TreeChange],
) -> (Vec<KeyChange>, Vec<FileChange>) {
    let (mut keys, mut files) = (Vec::new(), Vec::new());
    for change in changes {
        let path = change.path();
        let (old, new) = (
            live.and_then(|live| live.document(path)),
            candidate.document(path),
        );
        let differences = difference::between(old, new);
        let kind = match change {
            TreeChange::Added(..) => Some(FileChangeKind::Added),
            TreeChange::Removed(_) => Some(FileChangeKind::Removed),
            TreeChange::Modified(..) if old.is_none() || new.is_none() => Some(FileChangeKind::Modified),
            TreeChange::Modified(..) if !differences.is_empty() => None,
            TreeChange::Modified(_, file) => {
                let before = live.and_then(|live| live.published().tree.get(path));
                let same = before.is_some_and(|before| before.sha256 == file.sha256);
                Some(if same {
                    FileChangeKind::Modified
                } else {
                    FileChangeKind::Layout
                })
            }
        };
        files.extend(kind.map(|kind| FileChange {
            path: path.clone(),
            kind,
        }));
        keys.extend(differences.into_iter().map(|difference| {
            let note = |keyword: &str| {
                let of = |snapshot: &Snapshot| snapshot.annotation(path, &difference.key, keyword).cloned();
                of(candidate).or_else(|| live.and_then(of))
            };
            let text = |keyword: &str| note(keyword)?.as_str().map(str::to_owned);
            KeyChange {
                path: path.clone(),
                unit: text("x-unit"),
                default: note("default"),
                description: text("description"),
                key: difference.key,
                old: difference.old,
                new: difference.new,
            }
        }));
    }
    (keys, files)
}

/// Nothing runs an old value yet: no change can need a restart.
fn first(candidate: &Snapshot, services: &[PlanInput<'_>]) -> Vec<ServicePlan> {
    let tree = candidate.published().tree;
    let plan = |service: &PlanInput<'_>| {
        let reads = tree.iter().any(|(path, _)| service.reads.covers(path, None));
        let effect = if reads {
            ServiceEffect::Reload
        } else {
            ServiceEffect::Unaffected
        };
        ServicePlan {
            service: service.name.to_owned(),
            effect,
        }
    };
    services.iter().map(plan).collect()
}

fn effects(
    from: &Snapshot,
    to: &Snapshot,
    changes: &[TreeChange],
    keys: &[KeyChange],
    services: &[PlanInput<'_>],
) -> Vec<ServicePlan> {
    // Schema and policy of both sides count: a change that lifts a restart is itself one that needs it.
    let restarts: Vec<(&KeyChange, Vec<Restart>)> = keys
        .iter()
        .map(|change| {
            let mut found = Vec::new();
            for snapshot in [from, to] {
                found.extend(snapshot.restarts(&change.path, &change.key, change.old.as_ref()));
                found.extend(snapshot.restarts(&change.path, &change.key, change.new.as_ref()));
            }
            (change, found)
        })
        .collect();
    let effect = |service: &PlanInput<'_>| {
        if !service.reads.touched(from.published(), to.published(), changes) {
            return ServiceEffect::Unaffected;
        }
        let mut because: Vec<_> = restarts
            .iter()
            .filter(|(change, _)| service.reads.covers(&change.path, Some(&change.key)))
            .filter(|(_, restarts)| restarts.iter().any(|restart| restart.concerns(service.name)))
            .map(|(change, _)| format!("`{}` takes effect at a start only", change.key))
            .collect();
        if service.reload_is_restart {
            because.push("the service takes every change by a restart".to_owned());
        }
        if because.is_empty() {
            ServiceEffect::Reload
        } else {
            ServiceEffect::Restart { because }
        }
    };
    let plan = |service| (service, effect(service));
    services
        .iter()
        .map(plan)
        .map(|(service, effect)| ServicePlan {
            service: service.name.to_owned(),
            effect,
        })
        .collect()
}
