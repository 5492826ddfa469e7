//! Whether the repository can be reached, has the branch, and whether the clocks agree.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use lockstep_source::{Head, Mirror};

use super::Finding;
use crate::history;
use crate::settings::Settings;

/// A listing that takes longer makes each look slow.
const SLOW: Duration = Duration::from_secs(2);

pub(super) fn look(settings: &Settings) -> Vec<Finding> {
    let mut findings = vec![listing(settings)];
    findings.extend(clock(settings));
    findings
}

fn listing(settings: &Settings) -> Finding {
    let what = "repository";
    let spec = settings.source.spec.clone();
    let (url, branch) = (spec.url.clone(), spec.branch.clone());
    let began = Instant::now();
    // A mirror of its own: the real one may be in use.
    let listed = tempfile::tempdir()
        .map_err(|error| error.to_string())
        .and_then(|folder| {
            let mirror =
                Mirror::open(folder.path().join("mirror.git"), spec).map_err(|error| error.to_string())?;
            mirror.list_head().map_err(|error| error.to_string())
        });
    let took = began.elapsed();
    match listed {
        Ok(Head::Revision(head)) if took > SLOW => Finding::warning(
            what,
            format!(
                "{url}: {branch} is {}, after {:.1} s",
                head.short(),
                took.as_secs_f32()
            ),
            "each look takes as long: is there a nearer mirror of it?",
        ),
        Ok(Head::Revision(head)) => Finding::ok(
            what,
            format!("{url}: {branch} is {}, in {} ms", head.short(), took.as_millis()),
        ),
        Ok(Head::BranchMissing { branches }) => Finding::problem(
            what,
            format!("{url} has no branch {branch}; it has {}", branches.join(", ")),
            "push that branch, or correct `[source] branch`",
        ),
        Ok(Head::Empty) => Finding::problem(
            what,
            format!("{url} is empty"),
            format!("push the first commit to {branch}; config-repo-template/ is one to start from"),
        ),
        Err(error) => Finding::problem(what, error, "see the message, and docs/sources.md"),
    }
}

/// A clock that went back shows in what was written before.
fn clock(settings: &Settings) -> Option<Finding> {
    let what = "clock";
    let newest = history::read(&settings.state).ok()?.pop()?.at;
    let now = Timestamp::now();
    let ahead = newest.duration_since(now);
    Some(if ahead > SignedDuration::from_secs(1) {
        Finding::problem(
            what,
            format!("it is {now}, and the newest entry of the history is of {newest}"),
            "the clock went back: synchronise it (chrony, systemd-timesyncd); certificates and back-offs depend on it",
        )
    } else {
        Finding::ok(what, format!("it is {now}, after everything in the history"))
    })
}
