//! How much may be published.

use super::{Candidate, repo_path};
use crate::diagnostic::{Code, Diagnostic, Findings};
use crate::policy::{Limits, OperatorPolicy, POLICY_PATH, Policy};
use crate::tree::TreeChange;

/// Checks the limits of the candidate, of its base and of the operator; gives those that hold, the lowest of each.
pub(super) fn check(
    candidate: &Candidate<'_>,
    policy: Option<&Policy>,
    base: Option<&Candidate<'_>>,
    operator: Option<&OperatorPolicy>,
    findings: &mut Findings,
) -> Limits {
    let own = policy.map(|policy| policy.limits).unwrap_or_default();
    let of_base = base.map(|base| base.policy().map(|(policy, _)| policy.limits).unwrap_or_default());
    let least = |own: Limits, other: Limits| Limits {
        file_bytes: own.file_bytes.min(other.file_bytes),
        files: own.files.min(other.files),
        total_bytes: own.total_bytes.min(other.total_bytes),
    };
    let of_repository = of_base.map_or(own, |other| least(own, other));
    let limits = operator.map_or(of_repository, |it| least(of_repository, it.policy.limits));
    let advice = |own: u64, of_repository: u64, limit: u64, key: &str| match base {
        _ if limit < of_repository => format!(
            "the limit is `limits.{key}` of the operator's policy{}, which no change of the repository touches: publish less",
            operator.map(|it| format!(" {}", it.path)).unwrap_or_default()
        ),
        Some(base) if limit < own => format!(
            "the limit is that of {}: a change that raises it holds from the next one on, so push it first",
            base.name()
        ),
        Some(_) | None => {
            format!("raise `limits.{key}` in {POLICY_PATH} in a change of its own, or publish less")
        }
    };

    // What the base has was within its limits; it is looked at again only if they became tighter.
    let changed: Option<Vec<_>> = base
        .filter(|_| of_base == Some(limits))
        .map(|base| candidate.tree.changes_since(base.tree));
    let mut file = |path: String, size: u64| {
        if size > limits.file_bytes {
            let (size, limit) = (bytes(size), bytes(limits.file_bytes));
            let message = format!("the file has {size}; at most {limit} are allowed");
            let help = advice(
                own.file_bytes,
                of_repository.file_bytes,
                limits.file_bytes,
                "file_bytes",
            );
            findings.push(Diagnostic::error(Code::FileSize, &path, message).with_help(help));
        }
    };
    match changed {
        None => {
            for (path, entry) in candidate.tree.iter() {
                file(repo_path(candidate.prefix, path), entry.size);
            }
        }
        Some(changes) => {
            for change in changes {
                match change {
                    TreeChange::Added(path, entry) | TreeChange::Modified(path, entry) => {
                        file(repo_path(candidate.prefix, &path), entry.size);
                    }
                    TreeChange::Removed(_) => {}
                }
            }
        }
    }

    let folder = if candidate.prefix.is_empty() {
        "."
    } else {
        candidate.prefix
    };
    let files = candidate.tree.len() as u64;
    if files > limits.files {
        let message = format!(
            "{files} files are published; at most {} are allowed",
            limits.files
        );
        let help = advice(own.files, of_repository.files, limits.files, "files");
        findings.push(Diagnostic::error(Code::FileCount, folder, message).with_help(help));
    }
    let total = candidate
        .tree
        .iter()
        .fold(0_u64, |sum, (_, entry)| sum.saturating_add(entry.size));
    if total > limits.total_bytes {
        let (total, limit) = (bytes(total), bytes(limits.total_bytes));
        let message = format!("the published files have {total} together; at most {limit} are allowed");
        let help = advice(
            own.total_bytes,
            of_repository.total_bytes,
            limits.total_bytes,
            "total_bytes",
        );
        findings.push(Diagnostic::error(Code::TotalSize, folder, message).with_help(help));
    }
    limits
}

/// A size in the largest unit that keeps it exact enough to compare.
fn bytes(size: u64) -> String {
    const MIB: u64 = 1 << 20;
    if size >= MIB && size.is_multiple_of(MIB) {
        format!("{} MiB", size / MIB)
    } else {
        format!("{size} bytes")
    }
}
