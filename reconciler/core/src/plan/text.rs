//! A plan for people at a terminal.

use super::{FileChangeKind, KeyChange, Plan, ServiceEffect, ServicePlan, Side, Undo};
use crate::diagnostic::Severity;
use crate::validate::{literal, plain};

/// A document with more new or removed keys than this is summed up: its values are to be read in the file.
pub(super) const LISTED: usize = 20;

/// The keys with old and new value, the services, and what undoing takes.
#[must_use]
pub fn text(plan: &Plan) -> String {
    let mut out = String::new();
    let from = plan.from.as_ref().map_or_else(|| "nothing".to_owned(), name);
    line(&mut out, &format!("Plan: {from} -> {}", name(&plan.to)));
    if plan.is_empty() {
        line(&mut out, "\nNo published file changes.");
    } else {
        changes(&mut out, plan);
    }
    rules(&mut out, plan);
    services(&mut out, plan);
    out
}

fn rules(out: &mut String, plan: &Plan) {
    if plan.rules.is_empty() {
        return;
    }
    line(out, "\nRules that judge it");
    for rule in &plan.rules {
        let only = match rule.severity {
            Severity::Error => "",
            Severity::Warning => " (a warning)",
        };
        line(out, &format!("  {}{only}", rule.name));
    }
}

pub(super) fn name(side: &Side) -> String {
    match &side.revision {
        Some(revision) => revision.short().to_owned(),
        None => format!("uncommitted ({})", side.digest.short()),
    }
}

fn changes(out: &mut String, plan: &Plan) {
    let mut paths: Vec<_> = plan.changes.iter().map(|change| &change.path).collect();
    paths.extend(plan.files.iter().map(|file| &file.path));
    paths.sort_unstable();
    paths.dedup();
    for path in paths {
        let kind = plan
            .files
            .iter()
            .find(|file| file.path == *path)
            .map(|file| file.kind);
        let word = match kind {
            None => "",
            Some(FileChangeKind::Added) => " (new)",
            Some(FileChangeKind::Removed) => " (removed)",
            Some(FileChangeKind::Modified) => " (modified)",
            Some(FileChangeKind::Layout) => " (comments or layout alone)",
        };
        let keys: Vec<_> = plan
            .changes
            .iter()
            .filter(|change| change.path == *path)
            .collect();
        if kind.is_some() && keys.len() > LISTED {
            line(out, &format!("\n  {path}{word}, {} keys", keys.len()));
            continue;
        }
        line(out, &format!("\n  {path}{word}"));
        let width = keys
            .iter()
            .map(|change| change.key.to_string().chars().count())
            .max()
            .unwrap_or(0);
        for change in keys {
            line(out, &format!("    {}", key(change, width)));
        }
    }
}

fn key(change: &KeyChange, width: usize) -> String {
    let unit = change
        .unit
        .as_ref()
        .map(|unit| format!(" {unit}"))
        .unwrap_or_default();
    let absent = match &change.default {
        Some(default) => format!("absent (default {}{unit})", plain(default)),
        None => "absent".to_owned(),
    };
    let name = change.key.to_string();
    match (&change.old, &change.new) {
        (Some(old), Some(new)) => format!("~ {name:width$}  {} -> {}{unit}", literal(old), literal(new)),
        (None, Some(new)) => format!("+ {name:width$}  {absent} -> {}{unit}", literal(new)),
        (Some(old), None) => format!("- {name:width$}  {}{unit} -> {absent}", literal(old)),
        // A change has a value on one side at least.
        (None, None) => format!("  {name}"),
    }
}

fn services(out: &mut String, plan: &Plan) {
    if plan.services.is_empty() {
        line(out, "\nServices: unknown without settings");
        return;
    }
    line(out, "\nServices");
    let width = plan
        .services
        .iter()
        .map(|one| one.service.chars().count())
        .max()
        .unwrap_or(0);
    for ServicePlan { service, effect } in &plan.services {
        let effect = match effect {
            ServiceEffect::Unaffected => "unaffected".to_owned(),
            ServiceEffect::Reload => "reload".to_owned(),
            ServiceEffect::Restart { because } => format!("restart: {}", because.join("; ")),
        };
        line(out, &format!("  {service:width$}  {effect}"));
    }
    line(out, &format!("\n{}", undo(&plan.undo)));
}

pub(super) fn undo(undo: &Undo) -> String {
    let services = match undo {
        Undo::Nothing => return "Undoing it: there is no release before this one to go back to.".to_owned(),
        Undo::Release { services } => services,
    };
    let named = |wanted: fn(&ServiceEffect) -> bool| {
        let names: Vec<_> = services
            .iter()
            .filter(|one| wanted(&one.effect))
            .map(|one| one.service.as_str())
            .collect();
        names.join(", ")
    };
    let reload = named(|effect| matches!(effect, ServiceEffect::Reload));
    let restart = named(|effect| matches!(effect, ServiceEffect::Restart { .. }));
    match (reload.as_str(), restart.as_str()) {
        ("", "") => "Undoing it: touches no service.".to_owned(),
        (reload, "") => format!("Undoing it: reload of {reload}."),
        ("", restart) => format!("Undoing it: restart of {restart}, whose connections are gone once more."),
        (reload, restart) => format!(
            "Undoing it: reload of {reload}; restart of {restart}, whose connections are gone once more."
        ),
    }
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}
