//! Whether secrets lie in a candidate that no policy allows.
//!
//! An allowance judges like a limit: that of the candidate *and* that of the base, so that a change cannot bring its own
//! secret and the allowance for it. The operator's holds by itself.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::{Candidate, Way, not_loaded, repo_path};
use crate::diagnostic::{Code, Diagnostic, Findings, Report};
use crate::policy::{POLICY_PATH, Policy};
use crate::secret::{Found, Scanned, Words, scan, to_scan};
use crate::tree::TreePath;

/// Tells each secret that is not allowed; gives what was found, for whoever has to keep it from being shown.
pub(super) fn check<'s>(
    candidate: &Candidate<'_>,
    policy: Option<&Policy>,
    base: Option<&Candidate<'_>>,
    way: Way<'s>,
    findings: &mut Findings,
) -> Cow<'s, Scanned> {
    let scanned = match way.scanned {
        Some(scanned) => {
            let (published, others) = to_scan(candidate, base);
            let published = published.iter().map(|path| repo_path(candidate.prefix, path));
            for path in published.chain(others).filter(|path| !scanned.knows(path)) {
                findings.push(not_loaded(&path));
            }
            Cow::Borrowed(scanned)
        }
        None => {
            let nothing = |_: &TreePath| Ok::<_, std::convert::Infallible>(None);
            let Ok((scanned, _)) = scan(candidate, base, way.operator.map(|it| &it.policy), nothing);
            Cow::Owned(scanned)
        }
    };
    let of_base = base.map(|base| {
        let policy = base.policy().map(|(policy, _)| policy);
        (base.name(), policy.unwrap_or_default().secrets.allow)
    });
    let none = BTreeSet::new();
    let own = policy.map_or(&none, |policy| &policy.secrets.allow);
    let operator = way.operator.map_or(&none, |it| &it.policy.secrets.allow);
    for (path, found) in &scanned.0 {
        for one in found {
            let mark = &one.fingerprint;
            let earlier = of_base.as_ref().filter(|(_, allow)| !allow.contains(mark));
            if operator.contains(mark) || (own.contains(mark) && earlier.is_none()) {
                continue;
            }
            let early = earlier
                .filter(|_| own.contains(mark))
                .map(|(name, _)| name.as_str());
            findings.push(told(path, one, early));
        }
    }
    scanned
}

fn told(path: &str, found: &Found, only_own: Option<&str>) -> Diagnostic {
    let holder = match &found.key {
        Some(key) => format!("`{key}`"),
        None => "this file".to_owned(),
    };
    let message = format!("{holder} holds {} (`{}`)", found.what, found.head);
    let help = match only_own {
        Some(base) => format!(
            "this change allows \"{}\" itself, and {base} does not: a change cannot allow what it brings, so push the \
             allowance first, in a change of its own",
            found.fingerprint
        ),
        None => format!(
            "git keeps what was committed: have it revoked, and let the service read the new one from a file or its \
             environment; if it is no secret, add \"{}\" to `allow` in `[secrets]` of {POLICY_PATH}, in a change of its \
             own before this one",
            found.fingerprint
        ),
    };
    Diagnostic::error(Code::Secret, path, message)
        .at(found.span.clone())
        .with_help(help)
}

/// Takes the values of secrets out of all that is said, and notes where they lie.
pub(super) fn keep(report: Report, candidate: &Candidate<'_>, scanned: &Scanned) -> Report {
    let mut words = Words::default();
    let mut places = crate::secret::Places::new();
    for (path, found) in scanned.0.iter().filter(|(_, found)| !found.is_empty()) {
        let spans: Vec<_> = found.iter().map(|it| it.span.clone()).collect();
        if let Some(contents) = candidate.files.get(path) {
            words.of(contents, &spans);
        }
        places.insert(path.clone(), spans);
    }
    report.keeping(places, |diagnostic| {
        if !words.is_empty() {
            words.keep_from(diagnostic);
        }
    })
}
