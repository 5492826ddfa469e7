//! Whether a change that takes a second person has one.
//!
//! Protections of the candidate, of the base and of the operator judge, so that no change takes off its own. What is
//! compared is what holds: the values with the defaults of each side's schema. What cannot be read, or a condition that
//! cannot be evaluated, counts as protected.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::rules::{completed, read};
use super::{Candidate, Fit, Way, plain, published_path};
use crate::diagnostic::{Code, Diagnostic, Findings, LISTED, Severity};
use crate::document::KeyPath;
use crate::policy::{Approvals, POLICY_PATH, Policy, Protection};
use crate::rule::Expression;
use crate::secret::kept;

/// A key that differs, with its values.
struct Difference {
    key: KeyPath,
    old: Option<Value>,
    new: Option<Value>,
}

/// Tells each change that lacks an approval.
pub(super) fn check(
    candidate: &Candidate<'_>,
    policy: Option<&Policy>,
    base: Option<&Candidate<'_>>,
    way: Way<'_>,
    fit: &Fit<'_>,
    findings: &mut Findings,
) {
    // The first revision changes nothing.
    let Some(base) = base else { return };
    let of_base = base.policy().map(|(policy, _)| policy).unwrap_or_default();
    let own = policy
        .map(|policy| policy.protections.as_slice())
        .unwrap_or_default();
    let base_name = base.name();
    let operator = way.operator.into_iter().flat_map(|operator| {
        let of = format!("{} of the operator", operator.path);
        operator.policy.protections.iter().map(move |it| (it, of.clone()))
    });
    let of_base_only = of_base.protections.iter().filter(|it| !own.contains(it));
    let all: Vec<(&Protection, String)> = own
        .iter()
        .map(|it| (it, format!("this change's {POLICY_PATH}")))
        .chain(of_base_only.map(|it| (it, format!("{POLICY_PATH} of {base_name}"))))
        .chain(operator)
        .filter(|(it, _)| it.approvals > way.approvals.count())
        .collect();
    if all.is_empty() {
        return;
    }
    let named = policy.into_iter().chain([&of_base]).flat_map(|it| &it.documents);
    let named = named.map(|document| document.path.as_str());
    let asked = all.iter().filter_map(|(it, _)| it.document.as_deref());
    let paths: BTreeSet<&str> = named.chain(asked).collect();
    for path in paths {
        // A way back is not narrower than the way there was; but the policy did not settle with the files.
        let back = way.settled_before && path != POLICY_PATH;
        if back || fit.refused.contains(path) || is_same(candidate, base, path) {
            continue;
        }
        let (old, new) = (completed(base, path), completed(candidate, path));
        let mut differences = Vec::new();
        differing(&KeyPath::root(), old.as_ref(), new.as_ref(), &mut differences);
        let mut lacking: BTreeMap<usize, (u64, &str)> = BTreeMap::new();
        for (protection, whose) in &all {
            let here = protection
                .document
                .as_deref()
                .map_or(path != POLICY_PATH, |document| document == path);
            if !here || !applies(protection, new.as_ref(), old.as_ref()) {
                continue;
            }
            for (at, difference) in differences.iter().enumerate() {
                if protection.keys.iter().any(|keys| keys.meets(&difference.key)) {
                    let most = lacking.entry(at).or_insert((0, whose));
                    if most.0 < protection.approvals {
                        *most = (protection.approvals, whose);
                    }
                }
            }
        }
        let document = read(candidate, path);
        for (at, (approvals, whose)) in lacking {
            let difference = &differences[at];
            let mut lacks = told(path, difference, approvals, whose, way.approvals);
            let place = document.as_ref().and_then(|document| {
                let key = &difference.key;
                match document.get(key) {
                    Some(_) => Some(document.value_span(key)),
                    // It is gone, or a default: its table is what is left of it.
                    None => Some(document.header_span(&key.parent()?)),
                }
            });
            lacks.span = place;
            findings.push(lacks);
        }
    }
}

/// Whether a document is what it was, as far as that can be told without reading it.
fn is_same(candidate: &Candidate<'_>, base: &Candidate<'_>, path: &str) -> bool {
    match (base.files.get(path), candidate.files.get(path)) {
        // With the same text, another schema may have other defaults.
        (Some(_), _) => false,
        (None, None) => true,
        // The base did not name it, so it was not read.
        (None, Some(_)) => published_path(candidate.prefix, path)
            .is_some_and(|path| candidate.tree.get(&path) == base.tree.get(&path)),
    }
}

fn applies(protection: &Protection, new: Option<&Value>, old: Option<&Value>) -> bool {
    let Some(when) = &protection.when else { return true };
    let (Ok(when), Some(new)) = (Expression::parse(when), new) else {
        return true;
    };
    when.holds(new, old).unwrap_or(true)
}

/// The keys whose values differ. Tables are broken down, and lists of the same length.
fn differing(at: &KeyPath, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<Difference>) {
    if old == new || found.len() > LISTED {
        return;
    }
    let table = |value: Option<&Value>| match value {
        None => Some(Vec::new()),
        Some(Value::Object(table)) => Some(table.keys().cloned().collect::<Vec<_>>()),
        Some(_) => None,
    };
    if let (Some(before), Some(after)) = (table(old), table(new)) {
        let keys: BTreeSet<String> = before.into_iter().chain(after).collect();
        for key in keys {
            let of = |value: Option<&Value>| value.and_then(|value| value.get(&key)).cloned();
            differing(&at.key(&key), of(old).as_ref(), of(new).as_ref(), found);
        }
        return;
    }
    match (old, new) {
        (Some(Value::Array(old)), Some(Value::Array(new))) if old.len() == new.len() => {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                differing(&at.index(index), Some(old), Some(new), found);
            }
        }
        (old, new) => found.push(Difference {
            key: at.clone(),
            old: old.cloned(),
            new: new.cloned(),
        }),
    }
}

fn told(path: &str, it: &Difference, approvals: u64, whose: &str, given: Approvals<'_>) -> Diagnostic {
    let key = &it.key;
    let value = |value: &Option<Value>| value.as_ref().map(|value| plain(&kept(key, value)));
    let change = match (value(&it.old), value(&it.new)) {
        (Some(old), Some(new)) => format!("changes from {old} to {new}"),
        (None, Some(new)) => format!("is new, {new}"),
        (Some(old), None) => format!("goes, it was {old}"),
        (None, None) => "changes".to_owned(),
    };
    let people = match approvals {
        1 => "somebody beside its author".to_owned(),
        many => format!("{many} people beside its author"),
    };
    let message = format!("`{key}` {change}, which takes the approval of {people}");
    let (severity, so_far) = match given {
        Approvals::Ahead => (
            Severity::Warning,
            "it is asked for where the change goes live".to_owned(),
        ),
        Approvals::Given { .. } => (
            Severity::Error,
            format!("{} of {approvals} so far", given.count()),
        ),
    };
    let help = format!(
        "{whose} protects it; {so_far}: have these very files approved where that is proven, what a commit message says \
         counts for nothing; going back to what settled before takes no approval"
    );
    let mut lacks = Diagnostic::error(Code::ApprovalMissing, path, message)
        .about(key.clone())
        .with_help(help);
    lacks.severity = severity;
    lacks
}
