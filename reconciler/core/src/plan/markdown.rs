//! A plan as a comment on a pull request: what the text says, with the keys as a table.

use super::text::{LISTED, name, undo};
use super::{FileChangeKind, KeyChange, Plan, ServiceEffect};
use crate::validate::{literal, plain};

/// The plan as GitHub's and GitLab's Markdown. Whatever comes from the repository is shown as it is written there and
/// can neither break the table nor link, mention or embed anything.
#[must_use]
pub fn markdown(plan: &Plan) -> String {
    let mut out = String::new();
    let from = plan.from.as_ref().map_or_else(|| "nothing".to_owned(), name);
    out.push_str(&format!(
        "### Plan: {} → {}\n\n",
        code(&from),
        code(&name(&plan.to))
    ));
    if plan.is_empty() {
        out.push_str("No published file changes.\n\n");
    }
    if !plan.changes.is_empty() {
        out.push_str("| key | before | after | default |\n|---|---|---|---|\n");
        for change in plan.changes.iter().take(LISTED) {
            out.push_str(&row(change));
        }
        if let Some(more @ 1..) = plan.changes.len().checked_sub(LISTED) {
            out.push_str(&format!("\n… and {more} keys more.\n"));
        }
        out.push('\n');
    }
    for file in &plan.files {
        let word = match file.kind {
            FileChangeKind::Added => "new",
            FileChangeKind::Removed => "removed",
            FileChangeKind::Modified => "modified",
            FileChangeKind::Layout => "comments or layout alone",
        };
        out.push_str(&format!("- {} {word}\n", code(file.path.as_str())));
    }
    if !plan.files.is_empty() {
        out.push('\n');
    }
    if plan.services.is_empty() {
        out.push_str("Services: unknown without settings\n");
    } else {
        out.push_str("| service | |\n|---|---|\n");
        for service in &plan.services {
            let effect = match &service.effect {
                ServiceEffect::Unaffected => "unaffected".to_owned(),
                ServiceEffect::Reload => "reload".to_owned(),
                ServiceEffect::Restart { because } => {
                    format!("**restart**: {}", code(&because.join("; ").replace('`', "")))
                }
            };
            out.push_str(&format!("| {} | {effect} |\n", code(&service.service)));
        }
        out.push_str(&format!("\n{}\n", undo(&plan.undo)));
    }
    if !plan.rules.is_empty() {
        let names: Vec<_> = plan.rules.iter().map(|rule| code(&rule.name)).collect();
        out.push_str(&format!("\nRules that judge it: {}\n", names.join(", ")));
    }
    out
}

fn row(change: &KeyChange) -> String {
    let unit = change
        .unit
        .as_ref()
        .map(|unit| format!(" {unit}"))
        .unwrap_or_default();
    let value = |value: &Option<serde_json::Value>| match value {
        Some(value) => code(&format!("{}{unit}", literal(value))),
        None => "absent".to_owned(),
    };
    let default = change
        .default
        .as_ref()
        .map(|default| code(&plain(default)))
        .unwrap_or_default();
    let key = code(&format!("{}#{}", change.path, change.key));
    format!(
        "| {key} | {} | {} | {default} |\n",
        value(&change.old),
        value(&change.new)
    )
}

/// As code: between more backticks than it has in a row, on one line, and with no bar that would end a cell.
fn code(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest + 1);
    let space = if text.starts_with('`') || text.ends_with('`') {
        " "
    } else {
        ""
    };
    format!("{fence}{space}{}{space}{fence}", text.replace('|', "\\|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_the_repository_stays_in_its_cell() {
        assert_eq!(code("a"), "`a`");
        assert_eq!(code("a | b\nc"), "`a \\| b c`");
        assert_eq!(code("`@team` ``x``"), "``` `@team` ``x`` ```");
    }
}
